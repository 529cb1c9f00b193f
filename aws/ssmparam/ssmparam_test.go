package ssmparam_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/aws/kms"
	"github.com/fleetwright/fleetwright/aws/kms/kmstest"
	"github.com/fleetwright/fleetwright/aws/ssmparam"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/parameter/parametertest"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/store/memstore"
)

const (
	region  = "eu-central-1"
	account = "111122223333"
)

// caller is who calls the native service, whoever signed.
var caller = access.Principal{Tenant: account, Name: "signer"}

// server is the operations of Systems Manager over the native service, on loopback, for clients that sign.
type server struct {
	*parameter.Service
	url string

	mu    sync.Mutex
	calls []string
	// before is asked before each call; true says that it has answered.
	before func(op string, w http.ResponseWriter, r *http.Request) bool
	// after may spoil an answer that the service has given.
	after func(op string, w http.ResponseWriter, answer *httptest.ResponseRecorder) bool
}

func serve(t testing.TB) *server {
	keys := kmstest.New()
	kh := httptest.NewServer(keys)
	t.Cleanup(kh.Close)
	kt := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(kt.CloseIdleConnections)
	kc := awskms.New(awskms.Options{Region: kmstest.Region, BaseEndpoint: &kh.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""), HTTPClient: &http.Client{Transport: kt}})
	wrapper, err := kms.New(kc, keys.CreateKey(), &kms.Options{Region: region})
	require.NoError(t, err)
	st := memstore.New()
	log := audit.New(audit.Config{Store: st, Authorize: access.AllowAll{}})
	var ticks atomic.Int64 // no two changes in one millisecond: the wire holds no more
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
	s := &server{Service: parameter.New(parameter.Config{Store: st, Box: seal.NewBox(wrapper, nil), Authorizer: access.AllowAll{}, Audit: log, Region: region, Now: clock})}
	face := ssmops.New(ssmops.Services{Parameters: s.Service, Audit: log}, nil).Handler(ssmops.AuthenticatorFunc(func(r *http.Request) (access.Principal, error) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=") {
			return access.Principal{}, errors.New("the request is not signed")
		}
		return caller, nil
	}), nil)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSSM.")
		s.mu.Lock()
		s.calls = append(s.calls, op)
		before, after := s.before, s.after
		s.mu.Unlock()
		if before != nil && before(op, w, r) {
			return
		}
		if after == nil {
			face.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		face.ServeHTTP(rec, r)
		if !after(op, w, rec) {
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			w.Write(rec.Body.Bytes()) //nolint:errcheck // the client is away
		}
	}))
	t.Cleanup(h.Close)
	s.url = h.URL
	return s
}

// plant sets what happens before or after calls.
func (s *server) plant(before func(op string, w http.ResponseWriter, r *http.Request) bool, after func(op string, w http.ResponseWriter, answer *httptest.ResponseRecorder) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// seen returns the calls since it was asked last.
func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = nil
	return out
}

func (s *server) client(t testing.TB, change ...func(*ssm.Options)) *ssm.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return ssm.New(ssm.Options{Region: region, BaseEndpoint: aws.String(s.url), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""), HTTPClient: &http.Client{Transport: transport},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
		})}, change...)
}

func open(t testing.TB, api ssmparam.API, o *ssmparam.Options) *ssmparam.Store {
	s, err := ssmparam.New(api, o)
	require.NoError(t, err)
	return s
}

// native is the ctx of calls of the native service that sees what the store sees.
func native() context.Context { return access.With(context.Background(), caller) }

func TestSuite(t *testing.T) {
	parametertest.Run(t, func(t testing.TB) parametertest.Subject {
		return parametertest.Subject{Store: open(t, serve(t).client(t), nil)}
	})
}

// TestSuiteWithCache: a program that reads what it wrote does not notice the cache, secrets or not.
func TestSuiteWithCache(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: short")
	}
	parametertest.Run(t, func(t testing.TB) parametertest.Subject {
		return parametertest.Subject{Store: open(t, serve(t).client(t), &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Hour, Entries: 16, Secrets: true}})}
	})
}

func TestNewNeedsAClient(t *testing.T) {
	_, err := ssmparam.New(nil, nil)
	require.Error(t, err)
}

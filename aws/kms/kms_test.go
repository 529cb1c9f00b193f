package kms_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/aws/kms"
	"github.com/fleetwright/fleetwright/aws/kms/kmstest"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
	"github.com/fleetwright/fleetwright/secret"
)

// serve starts a KMS on loopback and returns the real client to it.
func serve(t testing.TB) (*kmstest.Server, *awskms.Client) {
	s := kmstest.New()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, client(t, h.URL)
}

func client(t testing.TB, url string) *awskms.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return awskms.New(awskms.Options{Region: kmstest.Region, BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient: &http.Client{Transport: transport},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
		})})
}

func open(t testing.TB, api kms.API, primary string, o *kms.Options) *kms.Wrapper {
	w, err := kms.New(api, primary, o)
	require.NoError(t, err)
	return w
}

func keys(t testing.TB) sealtest.Keys {
	s, c := serve(t)
	ids := []string{s.CreateKey(), s.CreateKey(), s.CreateKey()}
	s.Alias("fleetwright", ids[0])
	return sealtest.Keys{Wrapper: open(t, c, "alias/fleetwright", nil), IDs: ids,
		Rotate: func(context.Context) (string, error) {
			id := s.CreateKey()
			s.Alias("fleetwright", id)
			return id, nil
		},
		Lose: func(_ context.Context, id string) error {
			s.Delete(id)
			return nil
		}}
}

func TestWrapper(t *testing.T) { sealtest.RunWrapper(t, keys) }

func TestBox(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: thousands of requests; run without -short")
	}
	sealtest.RunBox(t, func(t testing.TB) sealtest.Subject {
		k := keys(t)
		return sealtest.Subject{Box: sealtest.Of(seal.NewBox(k, nil)), Keys: k}
	})
}

func parameter(name string) seal.Binding {
	return seal.Binding{Tenant: "t1", Kind: "parameter", Name: name, Version: 1, Type: "SecureString"}
}

// TestTheContextIsTheParametersARN (S25): one pair, one slash, and what policies pin.
func TestTheContextIsTheParametersARN(t *testing.T) {
	s, c := serve(t)
	arn := s.CreateKey()
	o := &kms.Options{Region: "eu-central-1", Account: "111122223333"}
	box := seal.NewBox(open(t, c, arn, o), &seal.BoxOptions{CacheKeys: -1})
	seals := func(b seal.Binding) []byte {
		p, err := box.Prepare(t.Context(), "", b)
		require.NoError(t, err)
		ct, err := p.Seal(secret.String("v"))
		require.NoError(t, err)
		return ct
	}
	for name, want := range map[string]string{"/app/db": "app/db", "app/db": "app/db", "color": "color", "/color": "color"} {
		s.Forget()
		ct := seals(parameter(name))
		_, err := box.Open(t.Context(), ct, parameter(name))
		require.NoError(t, err)
		got := s.Requests()
		require.Len(t, got, 2, "one call each")
		require.Equal(t, "GenerateDataKey", got[0].Operation)
		require.Equal(t, "Decrypt", got[1].Operation)
		require.Equal(t, arn, got[1].KeyID, "the key is pinned")
		for _, r := range got {
			require.Equal(t, map[string]string{"PARAMETER_ARN": "arn:aws:ssm:eu-central-1:111122223333:parameter/" + want}, r.Context)
		}
	}
	s.Refuse(func(r kmstest.Request) bool {
		return !strings.HasPrefix(r.Context["PARAMETER_ARN"], "arn:aws:ssm:eu-central-1:111122223333:parameter/app/")
	})
	seals(parameter("/app/db"))
	_, err := box.Prepare(t.Context(), "", parameter("/other"))
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))

	s.Refuse(nil)
	s.Forget()
	seals(seal.Binding{Tenant: "t1", Kind: "controller", Name: "x"})
	r := s.Requests()[0]
	require.Len(t, r.Context, 1)
	require.Len(t, r.Context["fleetwright:record"], 44)
}

// TestRecordsWithTheSameARNStayApart: /color and color are one ARN at AWS, and tenants may share an account.
func TestRecordsWithTheSameARNStayApart(t *testing.T) {
	s, c := serve(t)
	w := open(t, c, s.CreateKey(), &kms.Options{Account: "111122223333"})
	aad := func(b seal.Binding) []byte {
		var got []byte
		_, err := seal.NewBox(spy{func(a []byte) { got = a }}, nil).Prepare(t.Context(), "", b)
		require.Error(t, err)
		return got
	}
	one := aad(parameter("/color"))
	other := parameter("/color")
	other.Tenant = "t2"
	key, wrapped, err := w.GenerateDataKey(t.Context(), "", one)
	require.NoError(t, err)
	require.Len(t, key, 32)
	got, err := w.UnwrapKey(t.Context(), wrapped, one)
	require.NoError(t, err)
	require.Equal(t, key, got)
	for _, b := range []seal.Binding{parameter("color"), other} {
		_, err := w.UnwrapKey(t.Context(), wrapped, aad(b))
		require.ErrorIs(t, err, seal.ErrTampered)
	}
	_, _, err = open(t, c, s.CreateKey(), &kms.Options{ParameterARN: func(seal.Binding) string { return "" }}).GenerateDataKey(t.Context(), "", one)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	_, _, err = w.GenerateDataKey(t.Context(), "", aad(parameter("\xff")))
	require.Equal(t, fault.Validation, fault.CodeOf(err), "JSON would turn it into another name")
}

// spy shows the associated data that a Box hands on.
type spy struct{ see func(aad []byte) }

func (s spy) WrapKey(_ context.Context, _ string, _, aad []byte) (seal.Wrapped, error) {
	s.see(aad)
	return seal.Wrapped{}, errors.New("no")
}

func (s spy) UnwrapKey(context.Context, seal.Wrapped, []byte) ([]byte, error) {
	return nil, errors.New("no")
}

func TestTheSDKTriesAgain(t *testing.T) {
	s, c := serve(t)
	w := open(t, c, s.CreateKey(), nil)
	for _, code := range []string{"ThrottlingException", "KMSInternalException", "DependencyTimeoutException"} {
		s.Forget()
		s.Fail(code, 2)
		_, _, err := w.GenerateDataKey(t.Context(), "", nil)
		require.NoError(t, err, code)
		require.Len(t, s.Requests(), 3, code)
	}
}

func TestErrorsOfKMSHaveCodes(t *testing.T) {
	s, c := serve(t)
	arn := s.CreateKey()
	w := open(t, c, arn, nil)
	_, good, err := w.GenerateDataKey(t.Context(), "", []byte("a"))
	require.NoError(t, err)
	for code, want := range map[string]struct {
		code fault.Code
		is   error
	}{
		"ThrottlingException": {fault.Throttling, nil}, "LimitExceededException": {fault.Throttling, nil},
		"KMSInternalException": {fault.ServiceUnavailable, nil}, "DependencyTimeoutException": {fault.ServiceUnavailable, nil}, "KeyUnavailableException": {fault.ServiceUnavailable, nil},
		"DisabledException": {seal.InvalidKeyID, seal.ErrKeyDisabled}, "KMSInvalidStateException": {seal.InvalidKeyID, seal.ErrKeyDisabled}, "InvalidKeyUsageException": {seal.InvalidKeyID, seal.ErrKeyDisabled},
		"NotFoundException": {seal.InvalidKeyID, seal.ErrKeyNotFound}, "InvalidArnException": {seal.InvalidKeyID, seal.ErrKeyNotFound},
		"InvalidCiphertextException": {fault.DataCorrupt, seal.ErrTampered}, "IncorrectKeyException": {fault.DataCorrupt, seal.ErrTampered},
		"AccessDeniedException": {fault.AccessDenied, nil}, "UnrecognizedClientException": {fault.AccessDenied, nil}, "ExpiredTokenException": {fault.AccessDenied, nil},
		"ValidationException": {fault.Validation, nil}, "SomethingNewException": {fault.ServiceUnavailable, nil},
	} {
		for name, call := range map[string]func() error{
			"WrapKey": func() error { _, err := w.WrapKey(t.Context(), "", make([]byte, 32), nil); return err },
			"GenerateDataKey": func() error {
				k, _, err := w.GenerateDataKey(t.Context(), "", nil)
				require.Nil(t, k)
				return err
			},
			"UnwrapKey": func() error {
				k, err := w.UnwrapKey(t.Context(), good, []byte("a"))
				require.Nil(t, k)
				return err
			},
			"Resolve": func() error { _, err := w.Resolve(t.Context(), ""); return err },
		} {
			s.Fail(code, 3)
			err := call()
			require.Equal(t, want.code, fault.CodeOf(err), "%s %s: %v", name, code, err)
			if want.is != nil {
				require.ErrorIs(t, err, want.is, "%s %s", name, code)
			}
			for s.Fail("", 0); ; { // those that were not tried again are still planted
				if _, err := w.Resolve(t.Context(), ""); err == nil {
					break
				}
			}
		}
	}
}

func TestAKeyThatCannotBeUsed(t *testing.T) {
	s, c := serve(t)
	arn := s.CreateKey()
	w := open(t, c, arn, nil)
	_, wrapped, err := w.GenerateDataKey(t.Context(), "", nil)
	require.NoError(t, err)
	for _, state := range []string{"Disabled", "PendingDeletion"} {
		s.SetState(arn, state)
		_, err = w.UnwrapKey(t.Context(), wrapped, nil)
		require.ErrorIs(t, err, seal.ErrKeyDisabled, state)
		_, _, err = w.GenerateDataKey(t.Context(), "", nil)
		require.ErrorIs(t, err, seal.ErrKeyDisabled, state)
		_, err = w.Resolve(t.Context(), "")
		require.ErrorIs(t, err, seal.ErrKeyDisabled, state)
	}
	s.SetState(arn, "Enabled")
	_, err = w.UnwrapKey(t.Context(), wrapped, nil)
	require.NoError(t, err)
	s.Rotate(arn)
	_, again, err := w.GenerateDataKey(t.Context(), "", nil)
	require.NoError(t, err)
	for _, x := range []seal.Wrapped{wrapped, again} { // KMS's own rotation keeps the id
		require.Equal(t, arn, x.KeyID)
		_, err = w.UnwrapKey(t.Context(), x, nil)
		require.NoError(t, err)
	}
}

// TestKeysByAnyName: ids, ARNs, aliases and ARNs of aliases all lead to ciphertexts that name the ARN.
func TestKeysByAnyName(t *testing.T) {
	s, c := serve(t)
	arn := s.CreateKey()
	s.Alias("x", arn)
	id := arn[strings.LastIndex(arn, "/")+1:]
	for _, name := range []string{arn, id, "alias/x", strings.Replace(arn, "key/"+id, "alias/x", 1)} {
		w := open(t, c, name, nil)
		_, x, err := w.GenerateDataKey(t.Context(), "", nil)
		require.NoError(t, err, name)
		require.Equal(t, arn, x.KeyID)
		got, err := w.Resolve(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, arn, got)
	}
	_, err := open(t, c, "alias/none", nil).Resolve(t.Context(), "")
	require.ErrorIs(t, err, seal.ErrKeyNotFound)
}

// TestRotationByAlias: what was sealed under the old key is rewrapped for the alias's new one, once.
func TestRotationByAlias(t *testing.T) {
	s, c := serve(t)
	first, second := s.CreateKey(), s.CreateKey()
	s.Alias("x", first)
	w := open(t, c, "alias/x", nil)
	box, b := seal.NewBox(w, nil), parameter("/p")
	p, err := box.Prepare(t.Context(), "", b)
	require.NoError(t, err)
	ct, err := p.Seal(secret.String("value"))
	require.NoError(t, err)
	s.Alias("x", second)
	to, err := w.Resolve(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, second, to)
	for range 2 {
		ct, err = box.Rewrap(t.Context(), ct, to, b)
		require.NoError(t, err)
	}
	wraps := 0
	for _, r := range s.Requests() {
		if r.Operation == "Encrypt" {
			wraps++
		}
	}
	require.Equal(t, 1, wraps, "a rotation that is run again wraps nothing twice")
	s.Delete(first)
	box.Forget()
	v, err := box.Open(t.Context(), ct, b)
	require.NoError(t, err)
	require.Equal(t, "value", string(v.Reveal()))
}

func TestAKMSThatHangs(t *testing.T) {
	s, c := serve(t)
	arn := s.CreateKey()
	release := s.Stall()
	defer release()
	_, _, err := open(t, c, arn, &kms.Options{Timeout: 20 * time.Millisecond}).GenerateDataKey(t.Context(), "", nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), "%v", err)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller set no deadline")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = open(t, c, arn, &kms.Options{Timeout: -1}).WrapKey(ctx, "", make([]byte, 32), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, fault.RequestCanceled, fault.CodeOf(err))
}

func TestAKMSThatIsAway(t *testing.T) {
	h := httptest.NewServer(http.NotFoundHandler())
	h.Close()
	_, _, err := open(t, client(t, h.URL), "k", nil).GenerateDataKey(t.Context(), "", nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })) //nolint:errcheck // a test
	defer liar.Close()
	w := open(t, client(t, liar.URL), "k", nil)
	_, _, err = w.GenerateDataKey(t.Context(), "", nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	_, err = w.WrapKey(t.Context(), "", make([]byte, 32), nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	_, err = open(t, client(t, liar.URL), "arn:aws:kms:r:1:key/k", nil).UnwrapKey(t.Context(), seal.Wrapped{KeyID: "arn:aws:kms:r:1:key/k", Data: append([]byte{1}, make([]byte, 60)...)}, nil)
	require.ErrorIs(t, err, seal.ErrTampered)
	_, err = w.Resolve(t.Context(), "")
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	_, err = kms.New(nil, "k", nil)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	require.Equal(t, "kms:k", fmt.Sprintf("%+v", w))
}

// TestAValueOfAWSStandardTier (S26): KMS's Encrypt of the value itself, with the parameter's ARN.
func TestAValueOfAWSStandardTier(t *testing.T) {
	s, c := serve(t)
	arn := s.CreateKey()
	w := open(t, c, s.CreateKey(), nil)
	at := "arn:aws:ssm:us-east-1:444455556666:parameter/app/db"
	out, err := c.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: &arn, Plaintext: []byte("from AWS"), EncryptionContext: map[string]string{"PARAMETER_ARN": at}})
	require.NoError(t, err)
	value := base64.StdEncoding.EncodeToString(out.CiphertextBlob)
	for _, key := range []string{"", arn} {
		v, err := w.Import(t.Context(), value, at, key)
		require.NoError(t, err)
		require.Equal(t, "from AWS", string(v.Reveal()))
	}
	_, err = w.Import(t.Context(), value, at+"2", "")
	require.ErrorIs(t, err, seal.ErrTampered)
	_, err = w.Import(t.Context(), value, at, s.CreateKey())
	require.ErrorIs(t, err, seal.ErrTampered, "another key")
	_, err = w.Import(t.Context(), value, "", "")
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	for _, bad := range []string{"", "not base64!", base64.StdEncoding.EncodeToString([]byte("plain"))} {
		_, err = w.Import(t.Context(), bad, at, "")
		require.Error(t, err)
		require.NotContains(t, err.Error(), "plain")
	}
}

// TestAKeyOfAStranger: a stored value that a key of another account wrapped is refused before KMS is asked to open it.
func TestAKeyOfAStranger(t *testing.T) {
	s, c := serve(t)
	mine := s.CreateKey()
	s.Alias("x", mine)
	theirs := strings.Replace(mine, kmstest.Account, "999999999999", 1)
	for _, primary := range []string{mine, "alias/x"} {
		w := open(t, c, primary, nil)
		_, x, err := w.GenerateDataKey(t.Context(), "", nil)
		require.NoError(t, err)
		_, err = w.UnwrapKey(t.Context(), x, nil)
		require.NoError(t, err)
		s.Forget()
		for _, id := range []string{theirs, "alias/x", "k", strings.Replace(mine, "arn:aws:", "arn:aws-cn:", 1), strings.Replace(mine, ":key/", ":alias/", 1)} {
			_, err = w.UnwrapKey(t.Context(), seal.Wrapped{KeyID: id, Data: x.Data}, nil)
			require.ErrorIs(t, err, seal.ErrKeyNotFound, id)
		}
		require.Empty(t, s.Requests())
	}
	other := s.CreateKey()
	w := open(t, c, mine, &kms.Options{Accept: func(arn string) bool { return arn == mine }})
	x, err := w.WrapKey(t.Context(), other, make([]byte, 32), nil)
	require.NoError(t, err)
	_, err = w.UnwrapKey(t.Context(), x, nil)
	require.ErrorIs(t, err, seal.ErrKeyNotFound)
}

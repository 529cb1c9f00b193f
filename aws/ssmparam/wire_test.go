package ssmparam_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go/logging"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/aws/ssmparam"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

// both calls a method of the store and of the native service behind it: what comes over the wire is what the service says, to the last member.
func both[Q, R any](t *testing.T, s *server, st *ssmparam.Store, m func(parameter.Store, context.Context, Q) (R, error), req Q) R {
	t.Helper()
	want, werr := m(s.Service, native(), req)
	got, err := m(st, t.Context(), req)
	require.Equal(t, fault.CodeOf(werr), fault.CodeOf(err), "%v", err)
	require.Equal(t, want, got)
	return got
}

func TestEveryMemberCrossesTheWire(t *testing.T) {
	s := serve(t)
	st := open(t, s.client(t), nil)
	ctx := t.Context()
	_, err := st.PutParameter(ctx, parameter.PutParameterRequest{Name: "/w/a", Value: parameter.Text(`é "<&>" 😀`), Type: parameter.String, Description: "d", AllowedPattern: ".*", DataType: "text", Tier: parameter.Advanced,
		Tags:     []parameter.Tag{{Key: "z", Value: "1"}, {Key: "a", Value: ""}},
		Policies: `[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2199-12-31T21:34:33.000Z"}}]`})
	require.NoError(t, err)
	for v := range 3 {
		_, err = st.PutParameter(ctx, parameter.PutParameterRequest{Name: "/w/s", Value: parameter.Secret(secret.String(fmt.Sprint("hunter", v))), Type: parameter.SecureString, Overwrite: true})
		require.NoError(t, err)
	}
	_, err = st.PutParameter(ctx, parameter.PutParameterRequest{Name: "flat", Value: parameter.Text("a,b"), Type: parameter.StringList})
	require.NoError(t, err)
	_, err = st.LabelParameterVersion(ctx, parameter.LabelParameterVersionRequest{Name: "/w/s", ParameterVersion: 2, Labels: []string{"good", "also"}})
	require.NoError(t, err)
	for _, name := range []string{"/w/a", "flat", "/flat", "/w/s", "/w/s:2", "/w/s:good", "/w/s:9", "/w/s:bad", "/none", "", "arn:aws:ssm:" + region + ":" + account + ":parameter/w/s", "arn:aws:ssm:" + region + ":222233334444:parameter/w/s"} {
		for _, d := range []bool{true, false} {
			both(t, s, st, parameter.Store.GetParameter, parameter.GetParameterRequest{Name: name, WithDecryption: d})
			both(t, s, st, parameter.Store.GetParameterHistory, parameter.GetParameterHistoryRequest{Name: name, WithDecryption: d, MaxResults: 2})
		}
	}
	for _, names := range [][]string{nil, {"/w/s:1", "/w/s:good", "flat", "nope"}, {"/w/a", "/w/a"}, {""}} {
		both(t, s, st, parameter.Store.GetParameters, parameter.GetParametersRequest{Names: names, WithDecryption: true})
	}
	p := both(t, s, st, parameter.Store.GetParametersByPath, parameter.GetParametersByPathRequest{Path: "/", Recursive: true, MaxResults: 2, WithDecryption: true})
	both(t, s, st, parameter.Store.GetParametersByPath, parameter.GetParametersByPathRequest{Path: "/", Recursive: true, MaxResults: 2, WithDecryption: true, NextToken: p.NextToken})
	both(t, s, st, parameter.Store.GetParametersByPath, parameter.GetParametersByPathRequest{Path: "/w", ParameterFilters: []parameter.ParameterStringFilter{{Key: "Label", Option: "Equals", Values: []string{"good"}}}})
	for _, n := range []int{0, 1, -1, 51, 1 << 40, -1 << 40} {
		both(t, s, st, parameter.Store.DescribeParameters, parameter.DescribeParametersRequest{MaxResults: n})
	}
	both(t, s, st, parameter.Store.DescribeParameters, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{{Key: "tag:z"}, {Key: "Name", Option: "BeginsWith", Values: []string{"/w"}}}})
	both(t, s, st, parameter.Store.DescribeParameters, parameter.DescribeParametersRequest{Filters: []parameter.ParametersFilter{{Key: "Name", Values: []string{"/w"}}}})
	both(t, s, st, parameter.Store.DescribeParameters, parameter.DescribeParametersRequest{Shared: true})
	both(t, s, st, parameter.Store.ListTagsForResource, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: "/w/a"})
	for _, kind := range []string{"", "Document", "Nonsense"} {
		_, err := st.ListTagsForResource(ctx, parameter.ListTagsForResourceRequest{ResourceType: kind, ResourceID: "/w/a"})
		require.Error(t, err, kind)
	}
	u, err := st.UnlabelParameterVersion(ctx, parameter.UnlabelParameterVersionRequest{Name: "/w/s", ParameterVersion: 2, Labels: []string{"good", "bad"}})
	require.NoError(t, err)
	require.Equal(t, parameter.UnlabelParameterVersionResult{RemovedLabels: []string{"good"}, InvalidLabels: []string{"bad"}}, u)
}

// TestSharing (S33).
func TestSharing(t *testing.T) {
	s := serve(t)
	st := open(t, s.client(t), nil)
	ctx := t.Context()
	arn := "arn:aws:ssm:" + region + ":" + account + ":parameter/shared"
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222233334444"},"Action":["ssm:GetParameter"],"Resource":"` + arn + `"}]}`
	_, err := st.PutResourcePolicy(ctx, parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: policy})
	require.Equal(t, parameter.CodeResourceNotFound, fault.CodeOf(err))
	_, err = st.PutParameter(ctx, parameter.PutParameterRequest{Name: "/shared", Value: parameter.Text("v"), Type: parameter.String, Tier: parameter.Advanced})
	require.NoError(t, err)
	put, err := st.PutResourcePolicy(ctx, parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: policy})
	require.NoError(t, err)
	list, err := st.GetResourcePolicies(ctx, parameter.GetResourcePoliciesRequest{ResourceARN: arn, MaxResults: 1})
	require.NoError(t, err)
	require.Equal(t, []parameter.ResourcePolicy{{PolicyID: put.PolicyID, PolicyHash: put.PolicyHash, Policy: policy}}, list.Policies)
	_, err = st.DeleteResourcePolicy(ctx, parameter.DeleteResourcePolicyRequest{ResourceARN: arn, PolicyID: put.PolicyID, PolicyHash: "other"})
	require.Equal(t, parameter.CodePolicyConflict, fault.CodeOf(err))
	_, err = st.PutResourcePolicy(ctx, parameter.PutResourcePolicyRequest{ResourceARN: arn, Policy: "{}"})
	require.Equal(t, parameter.CodeMalformedPolicy, fault.CodeOf(err))
	_, err = st.DeleteResourcePolicy(ctx, parameter.DeleteResourcePolicyRequest{ResourceARN: arn, PolicyID: put.PolicyID, PolicyHash: put.PolicyHash})
	require.NoError(t, err)
	list, err = st.GetResourcePolicies(ctx, parameter.GetResourcePoliciesRequest{ResourceARN: arn})
	require.NoError(t, err)
	require.Empty(t, list.Policies)
}

func answer(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": text}) //nolint:errcheck // the client is away
}

func TestCodesOfAWS(t *testing.T) {
	s := serve(t)
	st := open(t, s.client(t, func(o *ssm.Options) { o.Retryer = aws.NopRetryer{} }), nil)
	same := []fault.Code{parameter.CodeNotFound, parameter.CodeAlreadyExists, parameter.CodeLimitExceeded, parameter.CodeMaxVersion, parameter.CodePatternMismatch, parameter.CodeVersionNotFound,
		parameter.CodeLabelLimit, parameter.CodeLevelLimit, parameter.CodeTypeMismatch, parameter.CodeAllowedPattern, parameter.CodeFilterOption, parameter.CodeKeyID, parameter.CodePolicyType,
		parameter.CodePolicyAttribute, parameter.CodeIncompatiblePolicy, parameter.CodePoliciesLimit, parameter.CodeUnsupportedType, parameter.CodeTooManyUpdates, fault.InvalidFilterKey,
		fault.InvalidFilterValue, fault.InvalidNextToken, fault.InvalidResourceID, fault.InvalidResourceType, fault.TooManyTags, fault.Validation, fault.AccessDenied, fault.Throttling, "SomethingNewException"}
	type row struct {
		status      int
		code        string
		read, write fault.Code
	}
	var rows []row
	for _, c := range same {
		rows = append(rows, row{400, string(c), c, c}, row{400, "com.amazonaws.ssm#" + string(c), c, c})
	}
	rows = append(rows, row{400, "RequestLimitExceeded", fault.Throttling, fault.Throttling}, row{400, "UnrecognizedClientException", fault.AccessDenied, fault.AccessDenied},
		row{403, "ExpiredTokenException", fault.AccessDenied, fault.AccessDenied}, row{500, "InternalServerError", fault.InternalServerError, fault.OutcomeUnknown},
		row{500, "InternalFailure", fault.InternalServerError, fault.OutcomeUnknown}, row{503, "ServiceUnavailable", fault.ServiceUnavailable, fault.ServiceUnavailable},
		row{502, "", fault.ServiceUnavailable, fault.OutcomeUnknown}, row{504, "Some Gateway", fault.ServiceUnavailable, fault.OutcomeUnknown}, row{500, "Strange", fault.ServiceUnavailable, fault.OutcomeUnknown})
	for _, c := range rows {
		s.plant(func(op string, w http.ResponseWriter, r *http.Request) bool {
			answer(w, c.status, c.code, "said\x1b[31m by AWS")
			return true
		}, nil)
		_, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "a"})
		require.Equal(t, c.read, fault.CodeOf(err), "%+v: %v", c, err)
		require.NotContains(t, err.Error(), "\x1b")
		_, err = st.PutParameter(t.Context(), parameter.PutParameterRequest{Name: "a", Value: parameter.Text("v"), Type: parameter.String})
		require.Equal(t, c.write, fault.CodeOf(err), "%+v: %v", c, err)
	}
	for _, body := range []string{"", "<html>", `{"Parameter":`, `{"Parameter":null}`, `[]`, `{"Parameter":{"Version":"x"}}`} {
		s.plant(func(op string, w http.ResponseWriter, r *http.Request) bool {
			w.Write([]byte(body)) //nolint:errcheck // the client is away
			return true
		}, nil)
		_, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "a"})
		require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), "%q: %v", body, err)
	}
}

// times plants n answers of that kind before the service is asked.
func (s *server) times(n int, status int, code string) {
	s.plant(func(op string, w http.ResponseWriter, r *http.Request) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n == 0 {
			return false
		}
		n--
		answer(w, status, code, "slow down")
		return true
	}, nil)
}

func put(name, value string) parameter.PutParameterRequest {
	return parameter.PutParameterRequest{Name: name, Value: parameter.Text(value), Type: parameter.String, Overwrite: true}
}

// TestThrottling: the SDK tries again, as it is configured; when its tries are used up the code says so.
func TestThrottling(t *testing.T) {
	s := serve(t)
	st := open(t, s.client(t), nil)
	ctx := t.Context()
	s.times(2, 400, "ThrottlingException")
	out, err := st.PutParameter(ctx, put("a", "v"))
	require.NoError(t, err)
	require.EqualValues(t, 1, out.Version)
	require.Len(t, s.seen(), 3)
	s.times(2, 400, "ThrottlingException")
	_, err = st.GetParameter(ctx, parameter.GetParameterRequest{Name: "a"})
	require.NoError(t, err)
	require.Len(t, s.seen(), 3)
	s.times(3, 400, "ThrottlingException")
	_, err = st.GetParameter(ctx, parameter.GetParameterRequest{Name: "a"})
	require.Equal(t, fault.Throttling, fault.CodeOf(err), err)
	s.times(3, 400, "ThrottlingException")
	_, err = st.PutParameter(ctx, put("a", "w"))
	require.Equal(t, fault.Throttling, fault.CodeOf(err), err)
	s.times(2, 500, "InternalServerError")
	_, err = st.GetParameter(ctx, parameter.GetParameterRequest{Name: "a"})
	require.NoError(t, err, "reads are repeated after any failure")
}

// TestALostAnswerOfAWriteIsNotRepeated: repeating would make a second version.
func TestALostAnswerOfAWriteIsNotRepeated(t *testing.T) {
	s := serve(t)
	st := open(t, s.client(t), nil)
	ctx := t.Context()
	for name, spoil := range map[string]func(w http.ResponseWriter){
		"broken":  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"500":     func(w http.ResponseWriter) { answer(w, 500, "InternalServerError", "") },
		"gateway": func(w http.ResponseWriter) { w.WriteHeader(502) },
		"garbled": func(w http.ResponseWriter) { w.Write([]byte("{")) }, //nolint:errcheck // the client is away
	} {
		s.plant(nil, func(op string, w http.ResponseWriter, _ *httptest.ResponseRecorder) bool {
			spoil(w)
			return true
		})
		s.seen()
		_, err := st.PutParameter(ctx, put(name, "v"))
		require.Equal(t, fault.OutcomeUnknown, fault.CodeOf(err), "%s: %v", name, err)
		require.Len(t, s.seen(), 1, name)
		s.plant(nil, nil)
		got, err := st.GetParameter(ctx, parameter.GetParameterRequest{Name: name})
		require.NoError(t, err, name)
		require.EqualValues(t, 1, got.Parameter.Version, name)
	}
}

func TestWithoutAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	s := &server{url: "http://" + l.Addr().String()}
	st := open(t, s.client(t), nil)
	_, err = st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "a"})
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), err)
	_, err = st.PutParameter(t.Context(), put("a", "v"))
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), "nothing was sent: %v", err)
}

func TestTimeouts(t *testing.T) {
	s := serve(t)
	hang := func(op string, w http.ResponseWriter, r *http.Request) bool {
		r.Body.Close() //nolint:errcheck // only its end matters
		<-r.Context().Done()
		return true
	}
	s.plant(hang, nil)
	st := open(t, s.client(t), &ssmparam.Options{Timeout: 20 * time.Millisecond})
	_, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "a"})
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), err)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's ctx goes on")
	_, err = st.PutParameter(t.Context(), put("a", "v"))
	require.Equal(t, fault.OutcomeUnknown, fault.CodeOf(err), err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)

	st = open(t, s.client(t), &ssmparam.Options{Timeout: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = st.GetParameter(ctx, parameter.GetParameterRequest{Name: "a"})
	require.Equal(t, fault.RequestCanceled, fault.CodeOf(err), err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	s.seen()
	_, err = st.PutParameter(ctx, put("a", "v"))
	require.Equal(t, fault.RequestCanceled, fault.CodeOf(err), "ctx had ended before")
	require.Empty(t, s.seen())
	ctx, cancel = context.WithCancel(t.Context())
	s.plant(func(op string, w http.ResponseWriter, r *http.Request) bool {
		cancel()
		return hang(op, w, r)
	}, nil)
	_, err = st.PutParameter(ctx, put("a", "v"))
	require.Equal(t, fault.OutcomeUnknown, fault.CodeOf(err), err)
	require.ErrorIs(t, err, context.Canceled)
}

// TestSecretsAreNotTold: neither by values, nor by errors that quote, nor by the SDK's log, however much it is told to write.
func TestSecretsAreNotTold(t *testing.T) {
	s := serve(t)
	var sdk bytes.Buffer
	st := open(t, s.client(t, func(o *ssm.Options) {
		o.Logger = logging.StandardLogger{Logger: slog.NewLogLogger(slog.NewTextHandler(&sdk, &slog.HandlerOptions{Level: slog.LevelDebug}), slog.LevelDebug)}
		o.ClientLogMode = aws.LogRetries | aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogDeprecatedUsage
	}), &ssmparam.Options{Cache: &ssmparam.Cache{Secrets: true}})
	ctx := t.Context()
	const canary = "canary-5c0ffee5"
	var told []string
	tell := func(v any, err error) { told = append(told, fmt.Sprintf("%v %+v %#v %v", v, v, v, err)) }
	for _, typ := range []parameter.Type{parameter.SecureString, ""} {
		req := parameter.PutParameterRequest{Name: "/s", Value: parameter.Text(canary), Type: typ, Overwrite: true}
		tell(st.PutParameter(ctx, req))
		for _, code := range []string{"ValidationException", "ParameterPatternMismatchException", "SomethingNewException", "InvalidKeyId"} {
			text := "1 validation error detected: Value '" + canary + "' at 'value' failed to satisfy a constraint"
			if code == "InvalidKeyId" {
				text = "no key"
			}
			s.plant(func(op string, w http.ResponseWriter, r *http.Request) bool { answer(w, 400, code, text); return true }, nil)
			_, err := st.PutParameter(ctx, req)
			require.Equal(t, fault.Code(code), fault.CodeOf(err))
			require.Equal(t, code == "InvalidKeyId", strings.Contains(err.Error(), "no key"))
			tell(nil, err)
		}
		s.plant(nil, nil)
	}
	got, err := st.GetParameter(ctx, parameter.GetParameterRequest{Name: "/s", WithDecryption: true})
	require.Equal(t, canary, got.Parameter.Value.Reveal())
	tell(got, err)
	many, err := st.GetParameters(ctx, parameter.GetParametersRequest{Names: []string{"/s"}, WithDecryption: true})
	require.Equal(t, canary, many.Parameters[0].Value.Reveal())
	tell(many, err)
	tell(st.GetParametersByPath(ctx, parameter.GetParametersByPathRequest{Path: "/", WithDecryption: true}))
	tell(st.GetParameterHistory(ctx, parameter.GetParameterHistoryRequest{Name: "/s", WithDecryption: true}))
	tell(fmt.Sprintf("%+v", st), nil)
	s.plant(nil, func(op string, w http.ResponseWriter, rec *httptest.ResponseRecorder) bool {
		w.Write(rec.Body.Bytes()[:rec.Body.Len()-2]) //nolint:errcheck // an answer that breaks off behind the value
		return true
	})
	_, err = st.GetParameterHistory(ctx, parameter.GetParameterHistoryRequest{Name: "/s", WithDecryption: true})
	require.Error(t, err)
	tell(nil, err)
	for e := err; e != nil; {
		tell(fmt.Sprintf("%+v", e), nil)
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			break
		}
		e = u.Unwrap()
	}
	require.NotEmpty(t, sdk.String())
	for _, line := range append(told, strings.Split(sdk.String(), "\n")...) {
		require.NotContains(t, line, canary)
	}
}

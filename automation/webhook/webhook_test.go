package webhook_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/webhook"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// hooks are integrations by name.
type hooks map[string]webhook.Integration

func (h hooks) Integration(_ context.Context, _ automation.Call, name string) (webhook.Integration, error) {
	in, ok := h[name]
	switch {
	case name == "forbidden":
		return in, fault.New("test", fault.AccessDenied, "no")
	case !ok:
		return in, fault.New("test", fault.DoesNotExist, "there is none of that name")
	}
	return in, nil
}

// loopback allows this machine, on which the tests' servers are; nowhere nothing.
type loopback struct{}

func (loopback) Check(a netip.Addr) error {
	if a.IsLoopback() {
		return nil
	}
	return errors.New("no")
}

type nowhere struct{ asked atomic.Int32 }

func (n *nowhere) Check(netip.Addr) error { n.asked.Add(1); return errors.New("no") }

func call(t *testing.T, in webhook.Integrations, g webhook.Guard, o *webhook.Options, inputs map[string]any) (map[string]any, *automation.Failure) {
	t.Helper()
	out, err := webhook.New(in, g, o).Run(t.Context(), automation.Call{Execution: "e", Step: "hook", Action: "aws:invokeWebhook", Inputs: inputs})
	if err != nil {
		var e *automation.CallError
		require.ErrorAs(t, err, &e)
		require.NotContains(t, fmt.Sprintf("%+v", e.Failure), "hush", "secrets stand in no failure")
		return nil, &e.Failure
	}
	return out.(map[string]any), nil
}

func named(name string) map[string]any { return map[string]any{"IntegrationName": name} }

// serve starts an HTTPS server and returns options that trust it.
func serve(t *testing.T, h http.HandlerFunc) (string, *webhook.Options) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.URL, &webhook.Options{TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"}, Pause: time.Millisecond}
}

func TestCall(t *testing.T) {
	url, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("X-Token"), b)
	})
	in := hooks{"chat": {URL: secret.String(url + "/hush"), Headers: map[string]secret.Value{"X-Token": secret.String("hush")}, Payload: `{"default":true}`}}
	for _, c := range []struct {
		rule   string
		inputs map[string]any
		want   string
	}{
		{"Body is what is sent", map[string]any{"IntegrationName": "chat", "Body": `{"text":"hello"}`}, `application/json hush {"text":"hello"}`},
		{"without Body the integration's payload is", named("chat"), `application/json hush {"default":true}`},
		{"text is text", map[string]any{"IntegrationName": "chat", "Body": "hello"}, "text/plain; charset=utf-8 hush hello"},
		{"a map is sent as JSON", map[string]any{"IntegrationName": "chat", "Body": map[string]any{"a": []any{"b"}}}, `application/json hush {"a":["b"]}`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			out, bad := call(t, in, loopback{}, o, c.inputs)
			require.Nil(t, bad, "%+v", bad)
			require.Equal(t, map[string]any{"Response": "POST /hush " + c.want, "ResponseCode": int64(200)}, out)
		})
	}
}

func TestAnswers(t *testing.T) {
	var calls atomic.Int32
	url, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		switch r.URL.Path {
		case "/created":
			w.WriteHeader(201)
			io.WriteString(w, strings.Repeat("é", 100_000))
		case "/busy":
			w.WriteHeader(429)
		case "/busy-once":
			if n == 1 {
				w.WriteHeader(429)
			}
		case "/forbidden":
			w.WriteHeader(403)
		case "/broken":
			w.WriteHeader(500)
			io.WriteString(w, "oops")
		case "/cut":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
		}
	})
	in := hooks{}
	for _, name := range []string{"created", "busy", "busy-once", "forbidden", "broken", "cut"} {
		in["the-"+name] = webhook.Integration{URL: secret.String(url + "/" + name)}
	}
	for _, c := range []struct {
		name  string
		code  any
		typ   automation.FailureType
		calls int32
	}{
		{"created", int64(201), "", 1},
		{"busy", nil, automation.ThrottlingFailure, 3},
		{"busy-once", int64(200), "", 2},
		{"forbidden", nil, automation.PermissionFailure, 1},
		{"broken", nil, automation.ActionFailure, 1},
		{"cut", nil, automation.ActionFailure, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls.Store(0)
			out, bad := call(t, in, loopback{}, o, named("the-"+c.name))
			require.Equal(t, c.calls, calls.Load())
			if c.typ == "" {
				require.Nil(t, bad, "%+v", bad)
				require.Equal(t, c.code, out["ResponseCode"])
				require.LessOrEqual(t, len(out["Response"].(string)), 100<<10)
				return
			}
			require.NotNil(t, bad)
			require.Equal(t, c.typ, bad.Type)
			require.Equal(t, automation.Invocation, bad.Stage)
		})
	}
	all := *o
	all.AnyCode = true
	out, bad := call(t, in, loopback{}, &all, named("the-broken"))
	require.Nil(t, bad)
	require.Equal(t, map[string]any{"Response": "oops", "ResponseCode": int64(500)}, out)
}

// Who writes an integration does not reach where the guard does not let them, whatever they write.
func TestWhereItDoesNotGo(t *testing.T) {
	url, o := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Error("it was called") })
	for _, c := range []struct{ rule, url string }{
		{"an address", url + "/hush"},
		{"a name", strings.Replace(url, "127.0.0.1", "localhost", 1) + "/hush"},
		{"an odd spelling", strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1) + "/hush"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			g := &nowhere{}
			_, bad := call(t, hooks{"x": {URL: secret.String(c.url)}}, g, o, named("x"))
			require.NotNil(t, bad)
			require.Equal(t, automation.PreVerification, bad.Stage)
			require.Equal(t, automation.PermissionFailure, bad.Type)
			require.NotZero(t, g.asked.Load())
		})
	}
	t.Run("without a guard, nowhere", func(t *testing.T) {
		_, bad := call(t, hooks{"x": {URL: secret.String(url)}}, nil, o, named("x"))
		require.NotNil(t, bad)
		require.Equal(t, automation.PreVerification, bad.Stage)
	})
	for rule, u := range map[string]string{"plain HTTP": "http://example.com/hush", "another scheme": "file:///etc/hush", "no host": "https:///hush", "no URL": "hush", "a user": "https://u:hush@example.com/",
		"no text": "https://exa mple.com/hush", "opaque": "https:hush"} {
		t.Run(rule, func(t *testing.T) {
			g := &nowhere{}
			_, bad := call(t, hooks{"x": {URL: secret.String(u)}}, g, nil, named("x"))
			require.NotNil(t, bad)
			require.Equal(t, automation.PreVerification, bad.Stage)
			require.Zero(t, g.asked.Load())
		})
	}
	for rule, name := range map[string]string{"a header that is two": "X\r\nY", "no name": "", "the host": "host"} {
		t.Run(rule, func(t *testing.T) {
			_, bad := call(t, hooks{"x": {URL: secret.String(url), Headers: map[string]secret.Value{name: secret.String("hush")}}}, loopback{}, o, named("x"))
			require.NotNil(t, bad)
		})
	}
}

// A redirect is followed on the same host, with the request unchanged; what leads elsewhere is the answer itself.
func TestRedirects(t *testing.T) {
	var elsewhere atomic.Int32
	other, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1) })
	url, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/other":
			http.Redirect(w, r, other, http.StatusTemporaryRedirect)
		case "/get":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusPermanentRedirect)
		case "/end":
			b, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Method, " ", string(b))
		}
	})
	at := func(path string) hooks { return hooks{"x": {URL: secret.String(url + path), Payload: "body"}} }
	out, bad := call(t, at("/same"), loopback{}, o, named("x"))
	require.Nil(t, bad, "%+v", bad)
	require.Equal(t, "POST body", out["Response"])
	for path, code := range map[string]string{"/other": "307", "/get": "302", "/loop": "308"} {
		_, bad := call(t, at(path), loopback{}, o, named("x"))
		require.NotNil(t, bad, path)
		require.Equal(t, []string{code}, bad.Details["ResponseCode"], path)
	}
	require.Zero(t, elsewhere.Load(), "secrets of an integration go nowhere else")
}

func TestWhatIsNotCalled(t *testing.T) {
	for _, c := range []struct {
		rule   string
		in     webhook.Integrations
		inputs map[string]any
		stage  automation.Stage
		typ    automation.FailureType
	}{
		{"no name", hooks{}, map[string]any{}, automation.InputValidation, automation.ActionFailure},
		{"no such integration", hooks{}, named("x"), automation.PreVerification, automation.ActionFailure},
		{"one that the caller may not use", hooks{}, named("forbidden"), automation.PreVerification, automation.PermissionFailure},
		{"no integrations at all", nil, named("x"), automation.PreVerification, automation.InternalFailure},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, bad := call(t, c.in, loopback{}, nil, c.inputs)
			require.NotNil(t, bad)
			require.Equal(t, c.stage, bad.Stage)
			require.Equal(t, c.typ, bad.Type)
		})
	}
	require.False(t, webhook.New(nil, nil, nil).Repeat, "a message is not sent twice")
}

func TestTooSlow(t *testing.T) {
	stop := make(chan struct{})
	url, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	o.Timeout = 50 * time.Millisecond
	_, bad := call(t, hooks{"x": {URL: secret.String(url + "/hush")}}, loopback{}, o, named("x"))
	require.NotNil(t, bad)
	require.Contains(t, bad.Message, "in time")
}

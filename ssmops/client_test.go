package ssmops

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// plane is a control plane of documents behind TLS.
func plane(t *testing.T, token secret.Value) (*httptest.Server, []byte) {
	st := memstore.New()
	callers := parseText(t, "admin "+TokenHash(token)+" *\n")
	log1 := audit.New(audit.Config{Store: st, Authorize: callers})
	api := New(Services{Documents: library.New(library.Config{Store: st, Authorizer: callers, Audit: log1}), Audit: log1}, nil)
	s := httptest.NewUnstartedServer(api.Handler(callers.Bearer(), &HandlerOptions{Stall: 200 * time.Millisecond}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestClient(t *testing.T) {
	token := NewToken()
	s, ca := plane(t, token)
	c, err := NewClient(s.URL+"/", &ClientOptions{Token: token, CA: ca})
	require.NoError(t, err)
	var made DocumentResult
	require.NoError(t, c.Call(t.Context(), "CreateDocument", library.CreateDocumentRequest{Name: "Greet", Content: greet}, &made))
	require.Equal(t, "Greet", made.DocumentDescription.Name)
	require.False(t, made.DocumentDescription.CreatedDate.IsZero())
	require.NoError(t, c.Call(t.Context(), "DeleteDocument", GroupName{"Greet"}, nil))

	err = c.Call(t.Context(), "GetDocument", GroupName{"Greet"}, nil)
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
	require.Contains(t, fault.MessageOf(err), "Greet")
	_, _, err = c.Stream(t.Context(), "WatchCommand", nil)
	require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err))

	wrong, err := NewClient(s.URL, &ClientOptions{Token: NewToken(), CA: ca})
	require.NoError(t, err)
	err = wrong.Call(t.Context(), "ListDocuments", nil, nil)
	require.Equal(t, fault.Unauthorized, fault.CodeOf(err))
	none, err := NewClient(s.URL, &ClientOptions{CA: ca})
	require.NoError(t, err)
	require.EqualError(t, none.Call(t.Context(), "ListDocuments", nil, nil), err2(err, wrong.Call(t.Context(), "ListDocuments", nil, nil)))

	stranger, err := NewClient(s.URL, &ClientOptions{Token: token})
	require.NoError(t, err)
	err = stranger.Call(t.Context(), "ListDocuments", nil, nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), "a server whose authority is not known is not spoken to")
	require.ErrorContains(t, err, "certificate")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Call(ctx, "ListDocuments", nil, nil), context.Canceled)
}

func err2(_, err error) string { return err.Error() }

func TestClientRefusesBadAddresses(t *testing.T) {
	for _, u := range []string{"", "plane:8443", "ftp://plane", "https://", "https://plane/x", "https://plane?x=1", "https://me:secret@plane", "http://plane:8443", "http://10.0.0.1", "https://plane#x", "://"} {
		_, err := NewClient(u, nil)
		require.Equal(t, fault.Validation, fault.CodeOf(err), u)
		require.NotContains(t, err.Error(), "secret")
	}
	for _, u := range []string{"https://plane", "https://plane:8443/", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"} {
		_, err := NewClient(u, nil)
		require.NoError(t, err, u)
	}
	_, err := NewClient("https://plane", &ClientOptions{CA: []byte("nonsense")})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

// Whatever answers in the place of a control plane, the token goes nowhere else and its words are printable.
func TestClientAmongStrangers(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var answer func(w http.ResponseWriter, r *http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer s.Close()
	c, err := NewClient(s.URL, &ClientOptions{Token: NewToken()})
	require.NoError(t, err)
	call := func() error { return c.Call(t.Context(), "ListDocuments", nil, &struct{}{}) }

	answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}
	require.ErrorContains(t, call(), "is this the control plane's address?")
	require.Zero(t, elsewhere.Load())
	answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); io.WriteString(w, "<html>\x1b[2J") }
	err = call()
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	require.NotContains(t, err.Error(), "\x1b")
	answer = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		io.WriteString(w, `{"__type":"A\u001b[2J","Message":"b\u001b[2J\nc"}`)
	}
	err = call()
	require.Equal(t, `b\x1b[2J`+"\nc", fault.MessageOf(err))
	require.NotContains(t, err.Error(), "\x1b")
	answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "not JSON") }
	require.ErrorContains(t, call(), "not understood")
	answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "{")
	}
	require.ErrorContains(t, call(), "did not arrive whole")
	s.Close()
	require.ErrorContains(t, call(), "cannot be reached")
}

// A caller that sends its request a byte a minute, or takes nothing of an answer, does not hold a place for ever.
func TestSlowCallersAreCut(t *testing.T) {
	token := NewToken()
	s, _ := plane(t, token)
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's own server
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSSM.ListDocuments\r\nAuthorization: Bearer "+string(token.Reveal())+"\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	b, err := io.ReadAll(conn) // ends because the server cuts
	require.True(t, err == nil || !errors.Is(err, io.EOF))
	require.Contains(t, string(b), "SerializationException")
}

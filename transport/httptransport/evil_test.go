package httptransport_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// These tests speak the protocol by hand, from its description and not with the package's own code.

// fields is the signed form: every field behind its length in four bytes.
func fields(fs ...[]byte) (b []byte) {
	for _, f := range fs {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

type stranger struct {
	t    *testing.T
	http *http.Client
	url  string
}

func newStranger(t *testing.T, w *world) *stranger {
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(w.files.CA))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return &stranger{t, &http.Client{Transport: tr}, w.url}
}

// hello connects and returns the challenge and what a signature must be bound to.
func (s *stranger) hello() (ws *websocket.Conn, challenge, binding []byte) {
	ws, resp, err := websocket.Dial(s.t.Context(), s.url+"connect", &websocket.DialOptions{HTTPClient: s.http})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { ws.CloseNow() })
	ws.SetReadLimit(1 << 20)
	_, b, err := ws.Read(s.t.Context())
	require.NoError(s.t, err)
	require.Len(s.t, b, 34)
	require.Equal(s.t, []byte{1, 1}, b[:2], "version 1, bound to TLS")
	binding, err = resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(s.t, err)
	return ws, b[2:], binding
}

func authBody(a transport.Address, sig []byte) []byte {
	b := []byte{1, byte(len(a.Tenant))}
	b = append(b, a.Tenant...)
	b = append(b, byte(len(a.Name)))
	b = append(b, a.Name...)
	return append(b, sig...)
}

func signBy(key ed25519.PrivateKey, medium string, a transport.Address, challenge, binding []byte) []byte {
	return ed25519.Sign(key, fields([]byte("fleetwright/httptransport/v1/auth"), []byte(medium), []byte(a.Tenant), []byte(a.Name), challenge, binding))
}

// verdict sends an auth message and returns the second byte of the welcome: 0 accepted, 1 refused.
func verdict(t *testing.T, ws *websocket.Conn, typ websocket.MessageType, body []byte) byte {
	require.NoError(t, ws.Write(t.Context(), typ, body))
	_, b, err := ws.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, b, 6)
	require.Equal(t, byte(1), b[0])
	return b[1]
}

func TestTheHandshakeHasOneShape(t *testing.T) {
	w := newWorld(t, nil)
	a := addr(1)
	w.know(a)
	key := keyOf(a)
	s := newStranger(t, w)
	flip := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 1; return b }
	const accepted, refused = 0, 1
	for name, c := range map[string]struct {
		want byte
		body func(challenge, binding []byte) []byte
	}{
		"right":                {accepted, func(c, b []byte) []byte { return authBody(a, signBy(key, "websocket", a, c, b)) }},
		"another challenge":    {refused, func(c, b []byte) []byte { return authBody(a, signBy(key, "websocket", a, flip(c, 0), b)) }},
		"bound to nothing":     {refused, func(c, b []byte) []byte { return authBody(a, signBy(key, "websocket", a, c, nil)) }},
		"bound to another":     {refused, func(c, b []byte) []byte { return authBody(a, signBy(key, "websocket", a, c, flip(b, 31))) }},
		"for the other medium": {refused, func(c, b []byte) []byte { return authBody(a, signBy(key, "poll", a, c, b)) }},
		"for another tenant": {refused, func(c, b []byte) []byte {
			return authBody(a, signBy(key, "websocket", transport.Address{Tenant: "other", Name: a.Name}, c, b))
		}},
		"another node's name": {refused, func(c, b []byte) []byte { return authBody(addr(2), signBy(key, "websocket", addr(2), c, b)) }},
		"a flipped bit":       {refused, func(c, b []byte) []byte { return authBody(a, flip(signBy(key, "websocket", a, c, b), 63)) }},
		"a byte too many":     {refused, func(c, b []byte) []byte { return append(authBody(a, signBy(key, "websocket", a, c, b)), 0) }},
		"a byte too few":      {refused, func(c, b []byte) []byte { return authBody(a, signBy(key, "websocket", a, c, b)[:63]) }},
		"version 0": {refused, func(c, b []byte) []byte {
			return append([]byte{0}, authBody(a, signBy(key, "websocket", a, c, b))[1:]...)
		}},
		"version 2": {refused, func(c, b []byte) []byte {
			return append([]byte{2}, authBody(a, signBy(key, "websocket", a, c, b))[1:]...)
		}},
		"nothing":                  {refused, func(c, b []byte) []byte { return nil }},
		"the control plane's name": {refused, func(c, b []byte) []byte { return authBody(plane, signBy(key, "websocket", plane, c, b)) }},
		"a name with a slash": {refused, func(c, b []byte) []byte {
			x := transport.Address{Tenant: "default", Name: "a/b"}
			return authBody(x, signBy(key, "websocket", x, c, b))
		}},
		"a length beyond the end":    {refused, func(c, b []byte) []byte { return []byte{1, 255, 'a'} }},
		"a JSON of the same content": {refused, func(c, b []byte) []byte { return []byte(`{"tenant":"default","name":"mi-00001"}`) }},
	} {
		t.Run(name, func(t *testing.T) {
			ws, challenge, binding := s.hello()
			require.Equal(t, c.want, verdict(t, ws, websocket.MessageBinary, c.body(challenge, binding)))
		})
	}
	t.Run("as text", func(t *testing.T) {
		ws, challenge, binding := s.hello()
		require.Equal(t, byte(refused), verdict(t, ws, websocket.MessageText, authBody(a, signBy(key, "websocket", a, challenge, binding))))
	})
}

// fields at their limit pass, one more is refused.
func TestNamesHaveALimit(t *testing.T) {
	w := newWorld(t, nil)
	s := newStranger(t, w)
	for _, c := range []struct {
		tenant, name int
		want         byte
	}{{64, 128, 0}, {65, 128, 1}, {64, 129, 1}, {0, 1, 1}, {1, 0, 1}, {1, 1, 0}} {
		a := transport.Address{Tenant: strings.Repeat("t", c.tenant), Name: strings.Repeat("n", c.name)}
		w.know(a)
		ws, challenge, binding := s.hello()
		body := authBody(a, signBy(keyOf(a), "websocket", a, challenge, binding))
		if len(body) > 2+64+1+128+64 { // more than any right message has: the connection just ends
			require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, body))
			_, _, err := ws.Read(t.Context())
			require.Error(t, err)
			continue
		}
		require.Equal(t, c.want, verdict(t, ws, websocket.MessageBinary, body), "%d %d", c.tenant, c.name)
	}
}

// A recorded signature is worth nothing: not on another connection, and for long poll not a second time either.
func TestARecordedSignatureIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	a := addr(1)
	w.know(a)
	s := newStranger(t, w)
	ws, challenge, binding := s.hello()
	recorded := authBody(a, signBy(keyOf(a), "websocket", a, challenge, binding))
	require.Equal(t, byte(0), verdict(t, ws, websocket.MessageBinary, recorded))
	ws, _, _ = s.hello()
	require.Equal(t, byte(1), verdict(t, ws, websocket.MessageBinary, recorded))

	resp, body := s.post("challenge", nil, "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	challenge, cookie := body[2:34], body[34:]
	binding, err := resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(t, err)
	recorded = append(bytes.Clone(cookie), authBody(a, signBy(keyOf(a), "poll", a, challenge, binding))...)
	_, body = s.post("session", recorded, "")
	require.Equal(t, byte(0), body[1])
	_, body = s.post("session", recorded, "")
	require.Equal(t, byte(2), body[1], "begin anew")
	require.Equal(t, make([]byte, 32), body[6:], "without a token")
	require.Eventually(t, func() bool { return w.srv.Stats().Accepted >= 2 }, 10*time.Second, time.Millisecond, "counted after the verdict is sent")
	require.Equal(t, uint64(2), w.srv.Stats().Accepted, "no second session")
	// One challenge is good for one guess.
	resp, body = s.post("challenge", nil, "")
	challenge, cookie = body[2:34], body[34:]
	binding, err = resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(t, err)
	for i, want := range []byte{1, 2} {
		key := []ed25519.PrivateKey{keyOf(addr(2)), keyOf(a)}[i]
		_, body = s.post("session", append(bytes.Clone(cookie), authBody(a, signBy(key, "poll", a, challenge, binding))...), "")
		require.Equal(t, want, body[1])
		require.Equal(t, make([]byte, 32), body[6:])
	}
	for _, i := range []int{0, 8, 9, 41, 73, 104} { // a cookie that was tampered with: expiry, binding, exporter, challenge, mac
		bad := bytes.Clone(recorded)
		bad[i] ^= 1
		_, body = s.post("session", bad, "")
		require.Equal(t, byte(2), body[1], "byte %d: begin anew", i)
	}
}

func (s *stranger) post(path string, body []byte, token string) (*http.Response, []byte) {
	s.t.Helper()
	return s.do(http.MethodPost, path, body, token)
}

func (s *stranger) do(method, path string, body []byte, token string) (*http.Response, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	require.NoError(s.t, err)
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := s.http.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, b
}

// everything in the table, asked by somebody who has nothing, gives nothing.
func TestAnonymousGetsNothing(t *testing.T) {
	w := newWorld(t, nil)
	in := receive(t, w.srv)
	s := newStranger(t, w)
	for _, route := range httptransport.Routes() {
		for _, token := range []string{"", "Bearer ", "Bearer AAAA", "Bearer " + strings.Repeat("A", 43), "Basic AAAA"} {
			resp, body := s.do(route.Method, route.Name, []byte{0, 0, 0, 1, 'x'}, token)
			switch route.Needs {
			case "session token":
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode, route.Name)
			case "node key":
				require.Contains(t, []int{http.StatusBadRequest, http.StatusUpgradeRequired}, resp.StatusCode, route.Name)
			default:
				if route.Name == "enroll" {
					require.Equal(t, http.StatusNotFound, resp.StatusCode)
				} else {
					require.Equal(t, http.StatusOK, resp.StatusCode)
					require.Len(t, body, 34+105, "a challenge and no more")
				}
			}
		}
		resp, _ := s.do(http.MethodPut, route.Name, nil, "")
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	}
	resp, _ := s.do(http.MethodGet, "else", nil, "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Empty(t, in.got)
	require.Zero(t, w.srv.Stats().Connected)
}

// accepted returns a websocket that has shown its key.
func (s *stranger) accepted(a transport.Address) *websocket.Conn {
	ws, challenge, binding := s.hello()
	require.Equal(s.t, byte(0), verdict(s.t, ws, websocket.MessageBinary, authBody(a, signBy(keyOf(a), "websocket", a, challenge, binding))))
	return ws
}

func TestFramesThatBreakTheRulesEndTheirConnectionAndNoOther(t *testing.T) {
	w := newWorld(t, nil)
	in := receive(t, w.srv)
	good := w.dial(addr(9), nil)
	s := newStranger(t, w)
	w.know(addr(1))
	for name, f := range map[string]func(ws *websocket.Conn){
		"one byte over the limit": func(ws *websocket.Conn) {
			ws.Write(t.Context(), websocket.MessageBinary, make([]byte, transport.MaxMessage+1))
		},
		"over the limit in many frames": func(ws *websocket.Conn) {
			wr, err := ws.Writer(t.Context(), websocket.MessageBinary)
			require.NoError(t, err)
			for range 20 {
				if _, err := wr.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"text": func(ws *websocket.Conn) { ws.Write(t.Context(), websocket.MessageText, []byte("hello")) },
	} {
		ws := s.accepted(addr(1))
		f(ws)
		_, _, err := ws.Read(t.Context())
		require.Error(t, err, name)
		eventually(t, name, func() bool { return !w.srv.Connected(addr(1)) })
	}
	send(t, good, plane, []byte("good"))
	require.Equal(t, "good", string(in.next(t).Data))
	require.Empty(t, in.got)
}

func TestBatchesThatBreakTheRulesAreNotDelivered(t *testing.T) {
	w := newWorld(t, nil)
	in := receive(t, w.srv)
	a := addr(1)
	w.know(a)
	s := newStranger(t, w)
	resp, body := s.post("challenge", nil, "")
	binding, err := resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(t, err)
	_, welcome := s.post("session", append(body[34:], authBody(a, signBy(keyOf(a), "poll", a, body[2:34], binding))...), "")
	require.Equal(t, byte(0), welcome[1])
	token := "Bearer " + base64url(welcome[6:])
	seq := 0
	sendSeq := func(seq string, batch []byte) int {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url+"send", bytes.NewReader(batch))
		require.NoError(t, err)
		req.Header.Set("Authorization", token)
		req.Header.Set("Fleetwright-Seq", seq)
		resp, err := s.http.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	next := func(batch []byte) int { seq++; return sendSeq(itoa(seq), batch) }
	require.Equal(t, http.StatusNoContent, next(fields([]byte("one"), []byte("two"), nil)))
	for _, want := range []string{"one", "two", ""} {
		require.Equal(t, want, string(in.next(t).Data))
	}
	require.Equal(t, http.StatusNoContent, sendSeq(itoa(seq), fields([]byte("again"))), "an answer that got lost")
	for name, bad := range map[string][]byte{"empty": {}, "cut length": {0, 0, 0}, "cut data": {0, 0, 0, 2, 1}, "good, then cut": append(fields([]byte("x")), 0), "too large": fields(make([]byte, transport.MaxMessage+1))} {
		require.Equal(t, http.StatusBadRequest, next(bad), name)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, next(make([]byte, 1<<20+1)))
	for _, bad := range []string{"", "0", "-1", "x", "99999999999999999999"} {
		require.Equal(t, http.StatusBadRequest, sendSeq(bad, fields([]byte("y"))))
	}
	require.Equal(t, http.StatusNoContent, next(fields([]byte("last"))))
	require.Equal(t, "last", string(in.next(t).Data))
	require.Empty(t, in.got, "nothing of a bad batch is delivered")
}

// Somebody in the middle, whose certificate the node trusts, passes the handshake on between node and server: the signature is bound to the wrong connection. A server behind something
// like that on purpose says NoBinding.
func TestAManInTheMiddleCannotPassASignatureOn(t *testing.T) {
	for _, noBinding := range []bool{false, true} {
		w := newWorld(t, func(c *httptransport.ServerConfig) { c.NoBinding = noBinding })
		for _, m := range media {
			middle := newMiddle(t, w)
			cfg := w.config(addr(1))
			m.change(&cfg)
			cfg.URL, cfg.RootCAs = middle.url, middle.files.CA
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			c, err := httptransport.Dial(ctx, cfg)
			cancel()
			if !noBinding {
				require.ErrorIs(t, err, transport.ErrRefused, m.name)
				continue
			}
			require.NoError(t, err, m.name)
			require.NoError(t, c.Close())
		}
	}
}

package httptransport_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// Strangers who begin a handshake and never end it take places for as long as Handshake and no longer; while all places are taken, others are told to come back.
func TestStrangersWhoDoNotAnswerDoNotStay(t *testing.T) {
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.MaxPending = 3; c.Handshake = 300 * time.Millisecond })
	s := newStranger(t, w)
	for range 3 {
		s.hello()
	}
	resp, _ := s.post("challenge", nil, "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.NotEmpty(t, resp.Header.Get("Fleetwright-Retry-Ms"))
	require.Equal(t, 3, w.srv.Stats().Pending)
	w.dial(addr(1), nil) // gets in when their time is over
	eventually(t, "the places are free", func() bool { return w.srv.Stats().Pending == 0 })
}

// A challenge of long poll holds for as long as a handshake may take.
func TestAnOldChallengeIsNotAnswered(t *testing.T) {
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.Handshake = time.Millisecond })
	a := addr(1)
	w.know(a)
	s := newStranger(t, w)
	resp, body := s.post("challenge", nil, "")
	binding, err := resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(t, err)
	answer := append(body[34:], authBody(a, signBy(keyOf(a), "poll", a, body[2:34], binding))...)
	time.Sleep(10 * time.Millisecond) // its life, ten times over
	_, body = s.post("session", answer, "")
	require.Equal(t, byte(2), body[1])
	require.Zero(t, w.srv.Stats().Connected)
}

// A node whose polls stop without a word is gone when two and a half keep-alive intervals are over, and a stolen glance at its token is worth nothing then.
func TestAPollThatStopsLapses(t *testing.T) {
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.KeepAlive = 20 * time.Millisecond })
	a := addr(1)
	w.know(a)
	s := newStranger(t, w)
	resp, body := s.post("challenge", nil, "")
	binding, err := resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(t, err)
	_, welcome := s.post("session", append(body[34:], authBody(a, signBy(keyOf(a), "poll", a, body[2:34], binding))...), "")
	require.Equal(t, byte(0), welcome[1])
	require.Equal(t, uint64(1), w.srv.Stats().Accepted)
	eventually(t, "it lapses", func() bool { return !w.srv.Connected(a) })
	resp, _ = s.post("close", nil, "Bearer "+base64url(welcome[6:]))
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

// A node that is between two polls when the server leaves learns it from the next one.
func TestALeavingServerSaysSoBetweenPolls(t *testing.T) {
	w := newWorld(t, nil)
	a := addr(1)
	w.know(a)
	s := newStranger(t, w)
	resp, body := s.post("challenge", nil, "")
	binding, err := resp.TLS.ExportKeyingMaterial("EXPORTER-fleetwright-httptransport-v1", nil, 32)
	require.NoError(t, err)
	_, welcome := s.post("session", append(body[34:], authBody(a, signBy(keyOf(a), "poll", a, body[2:34], binding))...), "")
	require.Equal(t, byte(0), welcome[1])
	require.NoError(t, w.srv.Shutdown(t.Context()))
	resp, _ = s.do(http.MethodGet, "poll", nil, "Bearer "+base64url(welcome[6:]))
	require.Equal(t, http.StatusGone, resp.StatusCode)
	require.Equal(t, "0", resp.Header.Get("Fleetwright-Retry-Ms"))
	resp, _ = s.post("challenge", nil, "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

// Bytes that are no TLS, and TLS that is no HTTP, reach nothing.
func TestOtherProtocolsReachNothing(t *testing.T) {
	w := newWorld(t, nil)
	conn, err := net.Dial("tcp", w.host)
	require.NoError(t, err)
	conn.Write([]byte("SSH-2.0-x\r\n"))
	conn.Close()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.files.CA)
	tc, err := tls.Dial("tcp", w.host, &tls.Config{RootCAs: pool})
	require.NoError(t, err)
	tc.Write([]byte("\x00\x01\x02\x03\r\n\r\n"))
	tc.Close()
	w.dial(addr(1), nil)
	require.Equal(t, uint64(0), w.srv.Stats().Refused)
}

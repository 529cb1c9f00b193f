package httptransport_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// Whatever a proxy does to websockets, the node ends up with long poll, and messages go both ways.
func TestLongPollWhereWebsocketsAreBroken(t *testing.T) {
	isUpgrade := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/connect") }
	for name, breakIt := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"refused": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			http.Error(w, "no upgrades here", http.StatusForbidden)
		},
		"bad gateway": func(w http.ResponseWriter, r *http.Request, next http.Handler) { w.WriteHeader(http.StatusBadGateway) },
		"headers stripped": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Del("Upgrade")
			r.Header.Del("Connection")
			next.ServeHTTP(w, r)
		},
		"redirected": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			http.Redirect(w, r, "https://example.invalid/", http.StatusFound)
		},
		"reset": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		},
		"cut after the upgrade": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			conn, brw, err := http.NewResponseController(w).Hijack()
			if err == nil {
				defer conn.Close()
				brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: nonsense\r\n\r\n")
				brw.Flush()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			inner := w.inner
			var tries atomic.Int32
			w.setHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if isUpgrade(r) {
					tries.Add(1)
					breakIt(rw, r, inner)
					return
				}
				inner.ServeHTTP(rw, r)
			}))
			c := w.dial(addr(1), nil)
			require.Equal(t, "poll", c.Medium())
			in, up := receive(t, c), receive(t, w.srv)
			send(t, w.srv, addr(1), []byte("down"))
			require.Equal(t, "down", string(in.next(t).Data))
			send(t, c, plane, []byte("up"))
			require.Equal(t, "up", string(up.next(t).Data))
			require.LessOrEqual(t, tries.Load(), int32(2))
		})
	}
}

// One that accepts the upgrade and then swallows everything costs a handshake's time, twice.
func TestLongPollWhereWebsocketsHang(t *testing.T) {
	w := newWorld(t, nil)
	inner := w.inner
	w.setHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/connect") {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err == nil {
				defer conn.Close()
				io.Copy(io.Discard, conn)
			}
			return
		}
		inner.ServeHTTP(rw, r)
	}))
	c := w.dial(addr(1), func(cfg *httptransport.ClientConfig) { cfg.Handshake = 100 * time.Millisecond })
	require.Equal(t, "poll", c.Medium())
}

// An impatient proxy answers polls itself; the session stays, and the node asks for shorter ones.
func TestAnImpatientProxyDoesNotEndTheSession(t *testing.T) {
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.Poll = 2 * time.Second })
	inner := w.inner
	var cut, quiet204 atomic.Int32
	w.setHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/poll") {
			ctx, cancel := context.WithTimeout(r.Context(), 1200*time.Millisecond)
			defer cancel()
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r.WithContext(ctx))
			if ctx.Err() != nil {
				cut.Add(1)
				rw.WriteHeader(http.StatusGatewayTimeout)
				return
			}
			if rec.Code == http.StatusNoContent {
				quiet204.Add(1)
			}
			for k, v := range rec.Header() {
				rw.Header()[k] = v
			}
			rw.WriteHeader(rec.Code)
			rw.Write(rec.Body.Bytes())
			return
		}
		inner.ServeHTTP(rw, r)
	}))
	c := w.dial(addr(1), poll)
	eventually(t, "a poll of its own length", func() bool { return quiet204.Load() > 0 })
	require.Positive(t, cut.Load())
	require.Equal(t, uint64(1), w.srv.Stats().Accepted, "the session was opened anew")
	in := receive(t, c)
	send(t, w.srv, addr(1), []byte("down"))
	require.Equal(t, "down", string(in.next(t).Data))
}

// A batch whose answer got lost on its way to the node is sent again, and one whose acknowledgement got lost on its way back is not delivered again.
func TestLongPollLosesAndRepeatsNothing(t *testing.T) {
	w := newWorld(t, nil)
	inner := w.inner
	var polls, sends atomic.Int32
	w.setHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := &polls
		if strings.HasSuffix(r.URL.Path, "/send") {
			n = &sends
		} else if !strings.HasSuffix(r.URL.Path, "/poll") {
			inner.ServeHTTP(rw, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		if (rec.Code == http.StatusOK || n == &sends) && n.Add(1)%2 == 1 { // every other one that has something to lose
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err == nil {
				conn.Close()
			}
			return
		}
		for k, v := range rec.Header() {
			rw.Header()[k] = v
		}
		rw.WriteHeader(rec.Code)
		rw.Write(rec.Body.Bytes())
	}))
	c := w.dial(addr(1), poll)
	in, up := receive(t, c), receive(t, w.srv)
	for i := range 5 {
		send(t, w.srv, addr(1), fmt.Append(nil, i))
		require.Equal(t, fmt.Sprint(i), string(in.next(t).Data))
		send(t, c, plane, fmt.Append(nil, i))
		require.Equal(t, fmt.Sprint(i), string(up.next(t).Data))
	}
	require.Equal(t, uint64(1), w.srv.Stats().Accepted)
	require.GreaterOrEqual(t, polls.Load(), int32(9))
	require.Empty(t, in.got)
	require.Empty(t, up.got)
}

// Through an HTTP proxy by CONNECT, with TLS to the server all the way: signatures stay bound.
func TestThroughAProxy(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			var connects atomic.Int32
			proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodConnect || r.Host != w.host {
					rw.WriteHeader(http.StatusForbidden)
					return
				}
				connects.Add(1)
				server, err := net.Dial("tcp", r.Host)
				if err != nil {
					return
				}
				defer server.Close()
				client, brw, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					return
				}
				defer client.Close()
				io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { io.Copy(server, bufio.NewReader(brw)); server.Close() }()
				io.Copy(client, server)
			}))
			t.Cleanup(proxy.Close)
			at, err := url.Parse(proxy.URL)
			require.NoError(t, err)
			c := w.dial(addr(1), func(cfg *httptransport.ClientConfig) { m.change(cfg); cfg.Proxy = http.ProxyURL(at) })
			require.Equal(t, m.name, c.Medium())
			require.Positive(t, connects.Load())
			in := receive(t, c)
			send(t, w.srv, addr(1), []byte("through"))
			require.Equal(t, "through", string(in.next(t).Data))
			require.NoError(t, c.Close())
		})
	}
}

package httptransport_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// Shutdown sends every node elsewhere, at once: the backoff of hours is not waited for.
func TestShutdownSendsNodesElsewhere(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w, other := newWorld(t, nil), newWorld(t, nil)
			other.know(addr(1))
			// The node has failed so often that its next wait would be an hour.
			var failures atomic.Int32
			broken := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				failures.Add(1)
				rw.WriteHeader(http.StatusInternalServerError)
			})
			w.setHandler(broken)
			other.setHandler(broken)
			var patient atomic.Bool
			c, err := httptransport.NewClient(func() httptransport.ClientConfig {
				cfg := w.config(addr(1))
				m.change(&cfg)
				cfg.Alternates = []string{other.url}
				cfg.RootCAs = append(cfg.RootCAs, other.files.CA...)
				cfg.BackoffBase, cfg.BackoffCap = 10*time.Millisecond, time.Hour
				cfg.Rand = func() float64 {
					if patient.Load() {
						return 0.99
					}
					return 0
				}
				return cfg
			}())
			require.NoError(t, err)
			defer c.Close()
			eventually(t, "it failed often", func() bool { return failures.Load() > 50 })
			w.setHandler(w.inner)
			eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
			patient.Store(true)
			other.setHandler(other.inner)
			received := make(chan error, 1)
			go func() { received <- w.srv.Receive(t.Context(), func(context.Context, transport.Message) {}) }()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, w.srv.Shutdown(ctx))
			require.ErrorIs(t, <-received, transport.ErrClosed)
			require.ErrorIs(t, w.srv.Send(ctx, addr(1), nil), transport.ErrClosed)
			eventually(t, "the node is at the other one", func() bool { return other.srv.Connected(addr(1)) })
			require.NoError(t, c.Wait(ctx))
			require.NoError(t, w.srv.Close(), "a second end is none")
		})
	}
}

func TestShutdownThatIsNotWaitedForCutsTheRest(t *testing.T) {
	w := newWorld(t, nil)
	p := newProxy(t, w.host)
	w.dial(addr(1), func(cfg *httptransport.ClientConfig) { cfg.URL = p.url() })
	eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
	p.freeze() // the farewell does not arrive
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.srv.Shutdown(ctx), context.DeadlineExceeded)
	require.False(t, w.srv.Connected(addr(1)))
}

// A server that has too much to do says when to come back; the client does, and not before.
func TestTheClientComesBackWhenItWasTold(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			var asked, early atomic.Int32
			var notBefore atomic.Int64
			inner := w.inner
			w.setHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if time.Now().UnixNano() < notBefore.Load() {
					early.Add(1)
				}
				if asked.Add(1) <= 3 {
					notBefore.Store(time.Now().Add(60 * time.Millisecond).UnixNano())
					rw.Header().Set("Fleetwright-Transport", "1")
					rw.Header().Set("Fleetwright-Retry-Ms", "60")
					rw.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				inner.ServeHTTP(rw, r)
			}))
			w.dial(addr(1), m.change)
			require.Zero(t, early.Load())
			require.GreaterOrEqual(t, asked.Load(), int32(4))
		})
	}
}

func TestConnectionsHaveALimit(t *testing.T) {
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.MaxConnections = 1; c.Admit = 1000 })
	first := w.dial(addr(1), nil)
	eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
	cfg := w.config(addr(2))
	second, err := httptransport.NewClient(cfg)
	require.NoError(t, err)
	defer second.Close()
	eventually(t, "the second one is sent away", func() bool { return w.srv.Stats().Throttled > 1 })
	require.False(t, w.srv.Connected(addr(2)))
	require.Error(t, second.Err())
	require.NoError(t, first.Close())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, second.Wait(ctx))
}

// What arrives shortly before a Receive begins is kept for it: a node that has just connected need not be sent everything twice.
func TestMessagesWaitAMomentForAReceive(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			c := w.dial(addr(1), m.change)
			send(t, w.srv, addr(1), []byte("early"))
			send(t, c, plane, []byte("early"))
			eventually(t, "it arrived", func() bool { return w.srv.Stats().Received > 0 })
			require.Equal(t, "early", string(receive(t, c).next(t).Data))
			require.Equal(t, "early", string(receive(t, w.srv).next(t).Data))
		})
	}
}

// The host's http.Server may have deadlines for its other handlers; a long poll outlives them.
func TestTheHostsDeadlinesDoNotHurt(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorldHost(t, func(c *httptransport.ServerConfig) { c.Poll = 150 * time.Millisecond }, func(h *http.Server) {
				h.ReadTimeout, h.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
			})
			var dials atomic.Int32
			c := w.dial(addr(1), func(cfg *httptransport.ClientConfig) {
				m.change(cfg)
				cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials.Add(1)
					return (&net.Dialer{}).DialContext(ctx, network, addr)
				}
			})
			in := receive(t, c)
			up := receive(t, w.srv)
			eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
			sessions := func() uint64 { return w.srv.Stats().Accepted }
			before := sessions()
			timer := time.After(500 * time.Millisecond) // more than three polls
			<-timer
			send(t, w.srv, addr(1), []byte("down"))
			require.Equal(t, "down", string(in.next(t).Data))
			send(t, c, plane, []byte("up"))
			require.Equal(t, "up", string(up.next(t).Data))
			require.Equal(t, before, sessions(), "the session was opened anew")
			require.LessOrEqual(t, dials.Load(), int32(3), "connections were cut")
		})
	}
}

// A client that nobody answers says why, keeps trying, and ends when it is told to.
func TestNobodyAnswers(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			cfg := w.config(addr(1))
			m.change(&cfg)
			cfg.URL = "https://127.0.0.1:1/"
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := httptransport.Dial(ctx, cfg)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "127.0.0.1:1")
			c, err := httptransport.NewClient(cfg)
			require.NoError(t, err)
			require.ErrorIs(t, c.Send(t.Context(), plane, nil), transport.ErrNotConnected)
			require.True(t, errors.Is(c.Close(), nil))
			require.ErrorIs(t, c.Wait(t.Context()), transport.ErrClosed)
		})
	}
}

package httptransport_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// A network that cuts every connection after a random number of bytes: nothing that arrives is cut, mixed up or invented, and what is sent again and again arrives in the end.
func TestAProxyThatCutsAtRandomBytes(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			p := newProxy(t, w.host)
			dice := rand.New(rand.NewPCG(1, 2))
			p.set(func(p *tcpProxy) { p.budget = func(int) int { return dice.IntN(60_000) } })
			var up, down sync.Map
			receiveInto := func(tr transport.Transport, m *sync.Map) {
				ctx, stop := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() {
					defer close(done)
					tr.Receive(ctx, func(_ context.Context, msg transport.Message) { m.Store(string(msg.Data), true) })
				}()
				t.Cleanup(func() { stop(); <-done })
			}
			cfg := w.config(addr(1))
			m.change(&cfg)
			cfg.URL = p.url()
			cfg.BackoffBase, cfg.BackoffCap = time.Millisecond, 5*time.Millisecond
			c, err := httptransport.NewClient(cfg)
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
			receiveInto(w.srv, &up)
			receiveInto(c, &down)

			count := 60
			if testing.Short() {
				count = 25
			}
			sent := make(map[string]bool)
			end := time.Now().Add(patience)
			for i := range count {
				data := append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte{byte(i)}, i*400)...)
				sent[string(data)] = true
				for tries := 0; ; tries++ {
					_, a := up.Load(string(data))
					_, b := down.Load(string(data))
					if a && b {
						break
					}
					if !a && tries%20 == 0 {
						c.Send(t.Context(), plane, data)
					}
					if !b && tries%20 == 0 {
						w.srv.Send(t.Context(), addr(1), data)
					}
					require.True(t, time.Now().Before(end), "message %d did not get through: %v", i, c.Err())
					time.Sleep(time.Millisecond)
				}
			}
			for _, got := range []*sync.Map{&up, &down} {
				got.Range(func(k, _ any) bool {
					require.True(t, sent[k.(string)], "a message arrived that nobody sent: %.40q", k)
					return true
				})
			}
			require.Greater(t, p.count(), 5, "the proxy hardly cut anything")
		})
	}
}

// Half-open: the network swallows everything without closing anything. Both ends find out, and come back when it heals.
func TestHalfOpenConnectionsAreFound(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, quick)
			p := newProxy(t, w.host)
			var states atomic.Int32
			c := w.dial(addr(1), func(cfg *httptransport.ClientConfig) {
				m.change(cfg)
				cfg.URL = p.url()
				cfg.OnState = func(bool) { states.Add(1) }
				cfg.Handshake = time.Second
			})
			eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
			p.freeze()
			eventually(t, "the server misses the node", func() bool { return !w.srv.Connected(addr(1)) })
			if m.name == "websocket" { // a poll gives its proxy 15 s of grace
				eventually(t, "the node misses the server", func() bool { return !c.Connected(plane) })
			}
			p.thaw()
			p.cutAll()
			eventually(t, "both are back", func() bool { return w.srv.Connected(addr(1)) && c.Connected(plane) })
			require.GreaterOrEqual(t, states.Load(), int32(3))
		})
	}
}

// F11: nodes that do not read cost their own messages, and nobody else's time.
func TestASlowReaderDelaysNobodyElse(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *httptransport.ServerConfig) { c.Queue, c.QueueBytes, c.Write = 64, 1<<20, time.Hour })
			p := newProxy(t, w.host)
			for i := range 5 {
				w.dial(addr(i), func(cfg *httptransport.ClientConfig) { m.change(cfg); cfg.URL = p.url() })
			}
			good := w.dial(addr(9), m.change)
			in := receive(t, good)
			eventually(t, "connected", func() bool { return w.srv.Stats().Connected == 6 })
			p.freeze()
			data := make([]byte, 64<<10)
			for i := range 5 { // until each slow one's queue is full
				eventually(t, "ErrBusy", func() bool { return w.srv.Send(t.Context(), addr(i), data) != nil })
				require.ErrorIs(t, w.srv.Send(t.Context(), addr(i), data), transport.ErrBusy)
			}
			for i := range 100 {
				require.NoError(t, w.srv.Send(t.Context(), addr(9), fmt.Append(nil, i)))
				require.Equal(t, fmt.Sprint(i), string(in.next(t).Data))
				w.srv.Send(t.Context(), addr(i%5), data)
			}
			require.GreaterOrEqual(t, w.srv.Stats().Busy, uint64(100))
			p.thaw()
		})
	}
}

func TestAWriteThatDoesNotMoveEndsTheConnection(t *testing.T) {
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.Write = 50 * time.Millisecond })
	p := newProxy(t, w.host)
	w.dial(addr(1), func(cfg *httptransport.ClientConfig) {
		cfg.URL = p.url()
		cfg.BackoffCap = time.Hour
		cfg.BackoffBase = time.Hour
	})
	eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
	p.freeze()
	data := make([]byte, transport.MaxMessage)
	eventually(t, "the stuck connection is dropped", func() bool {
		w.srv.Send(t.Context(), addr(1), data)
		return !w.srv.Connected(addr(1))
	})
}

func TestANewConnectionReplacesTheOld(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			stay := func(cfg *httptransport.ClientConfig) {
				m.change(cfg)
				cfg.BackoffBase, cfg.BackoffCap = time.Hour, time.Hour
			}
			old := w.dial(addr(1), stay)
			eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
			var events []bool
			ctx, stop := context.WithCancel(t.Context())
			watched := make(chan bool, 10)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				w.srv.Watch(ctx, func(_ transport.Address, c bool) { watched <- c })
			}()
			for len(events) < 1 {
				events = append(events, <-watched)
			}
			young := w.dial(addr(1), stay)
			in := receive(t, young)
			for len(events) < 3 {
				events = append(events, <-watched)
			}
			stop()
			<-ended
			require.Equal(t, []bool{true, false, true}, events)
			eventually(t, "the old one is told", func() bool { return !old.Connected(plane) })
			send(t, w.srv, addr(1), []byte("for the young one"))
			require.Equal(t, "for the young one", string(in.next(t).Data))
			require.Equal(t, uint64(1), w.srv.Stats().Replaced)
			require.Equal(t, 1, w.srv.Stats().Connected)
		})
	}
}

// A node that was cut off in the middle of a handler and comes back: the two connections' messages take turns (T-TURN), and the server does not forget the new one when the old one ends.
func TestMessagesOfAReplacedConnectionTakeTurnsWithTheNewOnes(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			release := make(chan struct{})
			var once sync.Once
			t.Cleanup(func() { once.Do(func() { close(release) }) })
			var running, most atomic.Int32
			begun := make(chan string, 10)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				w.srv.Receive(ctx, func(_ context.Context, msg transport.Message) {
					most.Store(max(most.Load(), running.Add(1)))
					begun <- string(msg.Data)
					<-release
					running.Add(-1)
				})
			}()
			t.Cleanup(func() { once.Do(func() { close(release) }); stop(); <-ended })
			stay := func(cfg *httptransport.ClientConfig) {
				m.change(cfg)
				cfg.BackoffBase, cfg.BackoffCap = time.Hour, time.Hour
			}
			old := w.dial(addr(1), stay)
			send(t, old, plane, []byte("old"))
			require.Equal(t, "old", <-begun)
			young := w.dial(addr(1), stay)
			send(t, young, plane, []byte("young"))
			eventually(t, "replaced", func() bool { return w.srv.Stats().Replaced == 1 })
			select {
			case what := <-begun:
				t.Fatalf("%q is handled while a message of the old connection is", what)
			case <-time.After(50 * time.Millisecond): // long enough for it to have come
			}
			once.Do(func() { close(release) })
			require.Equal(t, "young", <-begun)
			require.Equal(t, int32(1), most.Load())
			require.True(t, w.srv.Connected(addr(1)))
		})
	}
}

func TestDisconnectAsksForTheKeyAnew(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, quick)
			c := w.dial(addr(1), m.change)
			eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
			w.forget(addr(1))
			w.srv.Disconnect(addr(1))
			require.ErrorIs(t, c.Receive(t.Context(), nil), transport.ErrRefused)
			require.ErrorIs(t, c.Send(t.Context(), plane, nil), transport.ErrRefused)
			require.ErrorIs(t, c.Wait(t.Context()), transport.ErrRefused)
			eventually(t, "gone", func() bool { return !w.srv.Connected(addr(1)) })
			w.srv.Disconnect(addr(7)) // nobody
		})
	}
}

func TestKeysThatCannotBeAskedAreNoRefusal(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var broken atomic.Bool
			broken.Store(true)
			var asked atomic.Int32
			w := newWorld(t, nil)
			w2 := newWorld(t, func(c *httptransport.ServerConfig) {
				c.Key = func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
					asked.Add(1)
					if broken.Load() {
						return nil, fmt.Errorf("the store is away")
					}
					return w.key(ctx, a)
				}
			})
			cfg := w.config(addr(1))
			m.change(&cfg)
			cfg.URL, cfg.RootCAs = w2.url, w2.files.CA
			c, err := httptransport.NewClient(cfg)
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
			eventually(t, "it tries again", func() bool { return asked.Load() > 2 })
			broken.Store(false)
			require.NoError(t, c.Wait(t.Context()))
			require.Zero(t, w2.srv.Stats().Refused)
		})
	}
}

func TestCertificatesReloadUnderLiveConnections(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(addr(1), nil)
	in := receive(t, c)
	serial := func() string {
		conn, err := tls.Dial("tcp", w.host, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	require.Equal(t, before, serial())
	renew(t, w.files.CertFile) // the certificate is damaged, so that SelfSigned makes a new one
	require.Equal(t, before, serial(), "a damaged certificate must not replace a good one")
	_, err := httptransport.SelfSigned(dirOf(w.files.CertFile))
	require.NoError(t, err)
	require.NotEqual(t, before, serial())
	send(t, w.srv, addr(1), []byte("still here"))
	require.Equal(t, "still here", string(in.next(t).Data))
	w.dial(addr(2), nil) // with the authority that it always had
}

func TestTheClientReadsItsCAFileAgain(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w, other := newWorld(t, quick), certificates(t)
			ca := t.TempDir() + "/ca.pem"
			write(t, ca, w.files.CA)
			c := w.dial(addr(1), func(cfg *httptransport.ClientConfig) {
				m.change(cfg)
				cfg.RootCAs, cfg.CAFile = nil, ca
			})
			eventually(t, "connected", func() bool { return w.srv.Connected(addr(1)) })
			write(t, ca, other.CA) // now it trusts somebody else
			w.srv.Disconnect(addr(1))
			eventually(t, "it does not trust the server any more", func() bool { return c.Err() != nil && !c.Connected(plane) })
			write(t, ca, w.files.CA)
			require.NoError(t, c.Wait(t.Context()))
		})
	}
}

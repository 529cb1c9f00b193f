package natstransport_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

// listen runs a Receive that gives what comes to a channel.
func listen(t testing.TB, tr transport.Transport) chan string {
	got := make(chan string, 10_000)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.Receive(ctx, func(_ context.Context, m transport.Message) { got <- string(m.Data) })
	}()
	t.Cleanup(func() { stop(); <-done })
	return got
}

func next(t testing.TB, c chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(patience):
		t.Fatal("no message came")
		return ""
	}
}

// Three planes on three brokers: each knows every node and reaches it, a node's messages reach the plane that sent to it last and no other, and go on with another when that one goes.
func TestEveryPlaneReachesEveryNode(t *testing.T) {
	t.Parallel()
	w := newCluster(t, 3, nil)
	var planes []*natstransport.Controller
	var ups []chan string
	for i := range 3 {
		c := w.plane(i, nil)
		planes, ups = append(planes, c), append(ups, listen(t, c))
	}
	n := w.node(1, addr(1), func(c *natstransport.NodeConfig) { c.Doubt = 50 * time.Millisecond })
	down := listen(t, n)
	for round := range 2 {
		for i, c := range planes {
			eventually(t, "each plane knows the node", func() bool { return c.Connected(addr(1)) })
			require.NoError(t, c.Send(t.Context(), addr(1), []byte{byte(i)}))
			require.Equal(t, string([]byte{byte(i)}), next(t, down))
			require.NoError(t, n.Send(t.Context(), plane, []byte{byte(round), byte(i)}))
			require.Equal(t, string([]byte{byte(round), byte(i)}), next(t, ups[i]), "who asked gets the answer")
		}
	}
	for _, up := range ups {
		require.Empty(t, up, "and nobody else")
	}
	// The plane that the node speaks with goes: the others take over.
	require.NoError(t, planes[2].Close())
	eventually(t, "the node's messages go on", func() bool {
		n.Send(t.Context(), plane, []byte("still"))
		select {
		case s := <-ups[0]:
			return s == "still"
		case s := <-ups[1]:
			return s == "still"
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	// A plane that comes later learns of the node by its roll call.
	late := w.plane(2, nil)
	eventually(t, "a new plane knows the node", func() bool { return late.Connected(addr(1)) })
	require.NoError(t, late.Send(t.Context(), addr(1), []byte("late")))
	require.Equal(t, "late", next(t, down))
	// The node's farewell is heard by all.
	require.NoError(t, n.Close())
	for _, c := range []*natstransport.Controller{planes[0], planes[1], late} {
		eventually(t, "the node went", func() bool { return !c.Connected(addr(1)) })
		require.ErrorIs(t, c.Send(t.Context(), addr(1), nil), transport.ErrNotConnected)
	}
}

// A broker with a small max_payload: messages go in pieces and arrive whole, MaxMessage bytes too, both ways.
func TestASmallBrokerGetsPieces(t *testing.T) {
	w := newWorld(t, func(c *broker.Config) { c.MaxPayload = 4 << 10 })
	c := w.plane(0, nil)
	n := w.node(0, addr(1), nil)
	eventually(t, "it is there", func() bool { return c.Connected(addr(1)) })
	down, up := listen(t, n), listen(t, c)
	for _, size := range []int{0, 1, 4 << 10, 100_000, transport.MaxMessage - 1, transport.MaxMessage} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * 7)
		}
		eventually(t, "taken", func() bool { return c.Send(t.Context(), addr(1), data) == nil })
		require.True(t, string(data) == next(t, down), size)
		eventually(t, "taken", func() bool { return n.Send(t.Context(), plane, data) == nil })
		require.True(t, string(data) == next(t, up), size)
	}
	small, err := broker.Start(broker.Config{Trust: w.keys.Trust(), Listen: "127.0.0.1:0", MaxPayload: 1000})
	require.NoError(t, err)
	defer small.Close()
	cfg := natstransport.ControllerConfig{Brokers: natstransport.Brokers{URLs: []string{small.URL()}}, Keys: w.keys, Key: w.key}
	far, err := natstransport.NewController(cfg)
	require.NoError(t, err)
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, far.Wait(ctx), "max_payload")
}

// Over TLS, by a root certificate and by a pin; the certificate changes while everybody is connected, and those who come later see the new one. Who does not know it does not connect.
func TestTLSWithACertificateThatChanges(t *testing.T) {
	files, err := httptransport.SelfSigned(t.TempDir(), "127.0.0.1")
	require.NoError(t, err)
	get, err := httptransport.ReloadingCertificate(files.CertFile, files.KeyFile)
	require.NoError(t, err)
	var mu sync.Mutex
	shown := 0
	w := newWorld(t, func(c *broker.Config) {
		c.Certificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			shown++
			mu.Unlock()
			return get(h)
		}
	})
	c := w.plane(0, func(c *natstransport.ControllerConfig) { c.RootCAs = files.CA })
	w.node(0, addr(1), func(c *natstransport.NodeConfig) { c.RootCAs = files.CA })
	w.node(0, addr(2), func(c *natstransport.NodeConfig) { c.Pins = []string{files.Pin} })

	other, err := httptransport.SelfSigned(t.TempDir(), "127.0.0.1")
	require.NoError(t, err)
	for from, to := range map[string]string{other.CertFile: files.CertFile, other.KeyFile: files.KeyFile} {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, b, 0o600))
	}
	w.node(0, addr(3), func(c *natstransport.NodeConfig) { c.RootCAs = other.CA })
	for i := 1; i <= 3; i++ {
		eventually(t, "all are connected", func() bool { return c.Connected(addr(i)) })
	}
	cfg := w.config(0, addr(4))
	cfg.RootCAs = files.CA
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = natstransport.Dial(ctx, cfg)
	require.ErrorContains(t, err, "certificate")
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(t, shown, 4)
}

// A plane that freezes without a word: its node's messages go to another one after NodeConfig.Doubt. The broker's process and the plane's socket live on, as with SIGSTOP.
func TestAFrozenPlaneIsLeft(t *testing.T) {
	w := newWorld(t, nil)
	var way freezer
	frozen := w.plane(0, func(c *natstransport.ControllerConfig) { c.Dial = way.dial })
	n := w.node(0, addr(1), func(c *natstransport.NodeConfig) { c.Doubt = 100 * time.Millisecond })
	down := listen(t, n)
	other := w.plane(0, nil)
	up := listen(t, other)
	eventually(t, "both know it", func() bool { return frozen.Connected(addr(1)) && other.Connected(addr(1)) })
	require.NoError(t, frozen.Send(t.Context(), addr(1), []byte("mine")))
	require.Equal(t, "mine", next(t, down))
	way.freeze()
	defer way.thaw()
	eventually(t, "the other plane gets the node's messages", func() bool {
		n.Send(t.Context(), plane, []byte("x"))
		select {
		case <-up:
			return true
		case <-time.After(5 * time.Millisecond):
			return false
		}
	})
	require.True(t, n.Connected(plane))
}

// freezer is a way to the network on which reads stop.
type freezer struct {
	mu  sync.RWMutex
	off sync.Once
}

type frozenConn struct {
	net.Conn
	f *freezer
}

func (c frozenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.f.mu.RLock()
	defer c.f.mu.RUnlock()
	return n, err
}

func (f *freezer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return frozenConn{c, f}, err
}

func (f *freezer) freeze() { f.mu.Lock() }
func (f *freezer) thaw()   { f.off.Do(f.mu.Unlock) }

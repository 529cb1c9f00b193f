package natstransport_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

var plane = transport.Address{Tenant: "default", Name: message.Controller}

func addr(i int) transport.Address {
	return transport.Address{Tenant: "default", Name: fmt.Sprintf("mi-%05d", i)}
}

// keyOf is the node's private key, made of its address.
func keyOf(a transport.Address) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, a.String())
	return ed25519.NewKeyFromSeed(seed)
}

func fleetKeys(t testing.TB) natstransport.Keys {
	k, err := natstransport.NewKeys(secret.String("a secret of the planes, long enough for anybody"))
	require.NoError(t, err)
	return k
}

// world is a cluster of brokers, and the nodes that are known.
type world struct {
	t       testing.TB
	keys    natstransport.Keys
	brokers []*broker.Server

	mu    sync.Mutex
	known map[transport.Address]ed25519.PublicKey
}

func newWorld(t testing.TB, change func(*broker.Config)) *world {
	return newCluster(t, 1, change)
}

// newCluster starts n brokers that know each other.
func newCluster(t testing.TB, n int, change func(*broker.Config)) *world {
	w := &world{t: t, keys: fleetKeys(t), known: map[transport.Address]ed25519.PublicKey{}}
	var routes []string
	for range n {
		c := broker.Config{Trust: w.keys.Trust(), Listen: "127.0.0.1:0", AuthTimeout: time.Second} // a broker may ask before it knows of a plane on another
		if n > 1 {
			c.Cluster, c.Routes = "127.0.0.1:0", routes
		}
		if change != nil {
			change(&c)
		}
		s, err := broker.Start(c)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		w.brokers = append(w.brokers, s)
		routes = append(routes, s.ClusterAddr())
	}
	for _, s := range w.brokers {
		eventually(t, "the brokers know each other", func() bool { return s.Routes() >= n-1 })
	}
	return w
}

func (w *world) know(a transport.Address) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[a] = keyOf(a).Public().(ed25519.PublicKey)
}

func (w *world) forget(a transport.Address) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, a)
}

func (w *world) key(_ context.Context, a transport.Address) (ed25519.PublicKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.known[a]
	if !ok {
		return nil, fault.New("test.Key", fault.InvalidInstanceID, "no such node")
	}
	return k, nil
}

// at returns where broker i is, quick to come back to.
func (w *world) at(i int) natstransport.Brokers {
	return natstransport.Brokers{URLs: []string{w.brokers[i%len(w.brokers)].URL()}, BackoffBase: 5 * time.Millisecond, BackoffCap: 50 * time.Millisecond}
}

// plane starts a control plane on broker i.
func (w *world) plane(i int, change func(*natstransport.ControllerConfig)) *natstransport.Controller {
	cfg := natstransport.ControllerConfig{Brokers: w.at(i), Keys: w.keys, Key: w.key, Roll: 20 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	c, err := natstransport.NewController(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	require.NoError(w.t, c.Wait(within(w.t)))
	return c
}

// config is a known node's on broker i.
func (w *world) config(i int, a transport.Address) natstransport.NodeConfig {
	w.know(a)
	return natstransport.NodeConfig{Brokers: w.at(i), Address: a, Key: keyOf(a)}
}

// node connects a known node to broker i.
func (w *world) node(i int, a transport.Address, change func(*natstransport.NodeConfig)) *natstransport.Node {
	cfg := w.config(i, a)
	if change != nil {
		change(&cfg)
	}
	n, err := natstransport.Dial(within(w.t), cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { n.Close() })
	return n
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition that no event tells.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 2*time.Millisecond, what)
}

// cable is a node's way to the network: it can be pulled out.
type cable struct {
	mu    sync.Mutex
	out   bool
	conns map[net.Conn]struct{}
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	}
	if c.conns == nil {
		c.conns = make(map[net.Conn]struct{})
	}
	c.conns[conn] = struct{}{}
	return conn, nil
}

func (c *cable) pull(out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = out
	if out {
		for conn := range c.conns {
			conn.Close()
		}
		clear(c.conns)
	}
}

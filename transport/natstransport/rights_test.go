package natstransport_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

// raw is a client of its own making that shows a key and calls itself what it likes.
type raw struct {
	*nats.Conn
	mu     sync.Mutex
	denied []string
}

func rawConnect(url, name string, key ed25519.PrivateKey, more ...nats.Option) (*raw, error) {
	r := &raw{}
	user, err := nkeys.Encode(nkeys.PrefixByteUser, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	opts := append([]nats.Option{nats.Name(name), nats.Nkey(string(user), func(nonce []byte) ([]byte, error) { return ed25519.Sign(key, nonce), nil }), nats.NoReconnect(),
		nats.Timeout(patience), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.denied = append(r.denied, err.Error())
		})}, more...)
	r.Conn, err = nats.Connect(url, opts...)
	return r, err
}

func (r *raw) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.denied)
}

// A node's connection may hear what is for that node, and speak as that node: the broker denies everything else, whatever program the node runs.
func TestANodeHearsItselfAndSpeaksAsItself(t *testing.T) {
	w := newWorld(t, nil)
	c := w.plane(0, nil)
	me, other := addr(1), addr(2)
	w.know(me)
	w.node(0, other, nil)
	r, err := rawConnect(w.brokers[0].URL(), "fw1.n.default.mi-00001", keyOf(me))
	require.NoError(t, err)
	defer r.Close()

	denied := 0
	deny := func(what string, err error) {
		require.NoError(t, err)
		require.NoError(t, r.Flush())
		denied++
		eventually(t, what+" is denied", func() bool { return r.refusals() >= denied })
	}
	for _, s := range []string{"fw.n.default.mi-00002.d.*", "fw.n.default.mi-00002.d.m", "fw.n.default.*.d.m", "fw.n.*.mi-00001.d.*", "fw.n.default.mi-00001.>", "fw.n.default.mi-00001.p", "fw.n.default.mi-00001.u.*",
		"fw.>", ">", "*", "_INBOX.>", "_INBOX.somebody.*", "$SYS.>", "$SYS.REQ.USER.AUTH", "fw.c.>", "fw.e.*", "fw.f.*", "fw.n.other.mi-00001.d.*"} {
		_, err := r.Subscribe(s, func(*nats.Msg) { t.Error("heard something on", s) })
		deny("to hear "+s, err)
		_, err = r.QueueSubscribe(s, "fleetwright", func(*nats.Msg) { t.Error("heard something on", s) })
		deny("to hear in a group "+s, err)
	}
	for _, s := range []string{"fw.n.default.mi-00002.p", "fw.n.default.mi-00002.u.0011223344556677", "fw.n.default.mi-00002.d.m", "fw.n.default.mi-00001.d.m", "fw.all", "fw.c.0011223344556677.default.mi-00002.00",
		"fw.e.00112233445566778899aabbccddeeff", "fw.f.00112233445566778899aabbccddeeff", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "_INBOX.somebody.1", "anything", "fw.n.other.mi-00001.p"} {
		deny("to speak on "+s, r.Publish(s, []byte("x")))
	}
	// What it may.
	_, err = r.Subscribe("fw.n.default.mi-00001.d.*", func(*nats.Msg) {})
	require.NoError(t, err)
	require.NoError(t, r.Publish("fw.n.default.mi-00001.p", []byte("no frame")))
	require.NoError(t, r.Flush())
	eventually(t, "what it says arrives as its own, and is no frame", func() bool { return c.Stats().Malformed == 1 })
	require.Equal(t, denied, r.refusals())
	require.False(t, c.Connected(me))
}

// Whoever cannot show a node's key is let in to be told so, and to nothing else; what is neither a node nor a plane is not let in at all.
func TestWhoIsNotLetIn(t *testing.T) {
	w := newWorld(t, nil)
	c := w.plane(0, nil)
	w.know(addr(1))
	url := w.brokers[0].URL()
	powerless := func(name string, key ed25519.PrivateKey) {
		r, err := rawConnect(url, name, key)
		require.NoError(t, err, name)
		defer r.Close()
		for i, s := range []string{"fw.n.default.mi-00001.d.*", "fw.all", ">"} {
			_, err = r.Subscribe(s, func(*nats.Msg) {})
			require.NoError(t, err)
			require.NoError(t, r.Publish("fw.n.default.mi-00001.p", nil))
			require.NoError(t, r.Flush())
			eventually(t, "denied", func() bool { return r.refusals() == 2*(i+1) })
		}
	}
	powerless("fw1.n.default.mi-00001", keyOf(addr(2))) // a wrong key
	powerless("fw1.n.default.mi-00009", keyOf(addr(9))) // an unknown node
	powerless("fw1.n.other.mi-00001", keyOf(addr(1)))   // the key of a node of another tenant
	for _, name := range []string{"", "mi-00001", "fw1.n.", "fw1.n.default", "fw1.n.default.*", "fw1.n.default.>", "fw1.n..mi-00001", "fw1.n.default.mi-00001.x", "fw1.n.default.mi 1", "fw1.n.default.controller",
		"fw1.n.default.mi=2D00001", "fw1.n.default.mi-00001.", "fw1.e.", "fw1.e.00", "fw1.plane.0011223344556677", "fw1.n." + strings.Repeat("x", 65) + ".n", strings.Repeat("fw1.n.", 500)} {
		_, err := rawConnect(url, name, keyOf(addr(1)))
		require.ErrorIs(t, err, nats.ErrAuthorization, name)
	}
	_, err := nats.Connect(url)
	require.ErrorIs(t, err, nats.ErrAuthorization, "without anything")
	require.Zero(t, c.Stats().Connected)

	// An honest node is told for good.
	cfg := w.config(0, addr(5))
	cfg.Key = keyOf(addr(6))
	_, err = natstransport.Dial(within(t), cfg)
	require.ErrorIs(t, err, transport.ErrRefused)
	n, err := natstransport.NewNode(cfg)
	require.NoError(t, err)
	defer n.Close()
	require.ErrorIs(t, n.Receive(within(t), func(context.Context, transport.Message) {}), transport.ErrRefused)
	require.ErrorIs(t, n.Send(t.Context(), plane, nil), transport.ErrRefused)
}

// A key that cannot be read now is no refusal.
func TestAPlaneThatCannotAnswerSendsAwayUntilLater(t *testing.T) {
	w := newWorld(t, nil)
	var mu sync.Mutex
	bad := true
	w.plane(0, func(c *natstransport.ControllerConfig) {
		c.Key = func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
			mu.Lock()
			defer mu.Unlock()
			if bad {
				return nil, fault.New("test.Key", fault.ServiceUnavailable, "the store is away")
			}
			return w.key(ctx, a)
		}
	})
	n, err := natstransport.NewNode(w.config(0, addr(1)))
	require.NoError(t, err)
	defer n.Close()
	eventually(t, "it says why", func() bool { return n.Err() != nil })
	mu.Lock()
	bad = false
	mu.Unlock()
	require.NoError(t, n.Wait(within(t)))
}

// A node that was removed is cut off on whatever broker it is, also one that does not obey, and does not come back.
func TestARemovedNodeIsCutOff(t *testing.T) {
	t.Parallel()
	w := newCluster(t, 2, nil)
	c := w.plane(0, nil)
	a := addr(1)
	honest := w.node(1, a, nil)
	eventually(t, "the plane knows it", func() bool { return c.Connected(a) })
	r, err := rawConnect(w.brokers[1].URL(), "fw1.n.default.mi-00001", keyOf(a))
	require.NoError(t, err)
	w.forget(a)
	c.Disconnect(a)
	require.False(t, c.Connected(a))
	eventually(t, "the connection of a program that does not obey is cut", r.IsClosed)
	require.ErrorIs(t, honest.Receive(within(t), func(context.Context, transport.Message) {}), transport.ErrRefused)
	require.ErrorIs(t, c.Send(t.Context(), a, nil), transport.ErrNotConnected)
	c.Disconnect(transport.Address{Tenant: "*", Name: ">"}) // nobody
}

// Credentials end by themselves: the node shows its key anew, and goes on.
func TestCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := w.plane(0, func(c *natstransport.ControllerConfig) { c.Validity = time.Millisecond })
	n := w.node(0, addr(1), nil)
	first := c.Stats().Accepted
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go n.Receive(ctx, func(context.Context, transport.Message) {})
	eventually(t, "it was let in again", func() bool { return c.Stats().Accepted > first && c.Connected(addr(1)) && n.Connected(plane) })
}

// A broker is a stranger: it gets a signature of a nonce, and of nothing else.
func TestABrokerGetsNoOtherSignatureThanOfANonce(t *testing.T) {
	for _, nonce := range []string{"", "short", "fleetwright/message/v1/command", "with space 12345", "0123456789\x00", strings.Repeat("x", 65), "ünonce-12345"} {
		require.False(t, natstransport.ValidNonce([]byte(nonce)), "%q", nonce)
	}
	require.True(t, natstransport.ValidNonce([]byte("yHe4Wp0D7Oqxs-k")))
}

// Names of every kind stay apart: what would be dots, wildcards and spaces in a subject are none.
func TestNamesOfEveryKind(t *testing.T) {
	w := newWorld(t, nil)
	c := w.plane(0, nil)
	got := make(chan transport.Message, 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go c.Receive(ctx, func(_ context.Context, m transport.Message) { got <- m })
	for _, a := range []transport.Address{{Tenant: "a.b", Name: "c"}, {Tenant: "a", Name: "b.c"}, {Tenant: "*", Name: ">"}, {Tenant: "with space", Name: "tab\tand\r\nline"}, {Tenant: "t", Name: "ünïcode"},
		{Tenant: "t", Name: "=C3"}, {Tenant: "$SYS", Name: "\xff\x00"}, {Tenant: strings.Repeat("ä", 32), Name: strings.Repeat("*", 128)}} {
		n := w.node(0, a, nil)
		eventually(t, fmt.Sprintf("%q is there", a), func() bool { return c.Connected(a) })
		require.NoError(t, n.Send(t.Context(), transport.Address{Tenant: a.Tenant, Name: plane.Name}, []byte(a.String())))
		m := <-got
		require.Equal(t, a, m.From)
		require.Equal(t, a.String(), string(m.Data))
	}
}

func TestConfigurationsThatAreNone(t *testing.T) {
	keys := fleetKeys(t)
	ok := natstransport.Brokers{URLs: []string{"nats://127.0.0.1:1"}}
	key := func(context.Context, transport.Address) (ed25519.PublicKey, error) { return nil, nil }
	for _, b := range []natstransport.Brokers{{}, {URLs: []string{"nats://broker.example:4222"}}, {URLs: []string{"http://127.0.0.1"}}, {URLs: []string{"tls://me:secret@broker.example"}}, {URLs: []string{"tls://"}}, {URLs: []string{"::"}},
		{URLs: []string{"tls://broker.example?x"}}, {URLs: ok.URLs, Pins: []string{"00"}}, {URLs: ok.URLs, RootCAs: []byte("no PEM")}, {URLs: ok.URLs, CAFile: "there/is/none"}} {
		_, err := natstransport.NewNode(natstransport.NodeConfig{Brokers: b, Address: addr(1), Key: keyOf(addr(1))})
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err), "%v", b.URLs)
		require.NotContains(t, err.Error(), "secret")
		_, err = natstransport.NewController(natstransport.ControllerConfig{Brokers: b, Keys: keys, Key: key})
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
		_, err = natstransport.Enroll(t.Context(), b, "", nil)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	for _, cfg := range []natstransport.NodeConfig{{Brokers: ok, Address: addr(1)}, {Brokers: ok, Key: keyOf(addr(1))}, {Brokers: ok, Key: keyOf(addr(1)), Address: plane}, {Brokers: ok, Key: keyOf(addr(1)), Address: addr(1), Prefix: "a.*"},
		{Brokers: ok, Key: keyOf(addr(1)), Address: addr(1), Prefix: "a..b"}, {Brokers: ok, Key: keyOf(addr(1)), Address: transport.Address{Tenant: "t", Name: strings.Repeat("x", 129)}}} {
		_, err := natstransport.NewNode(cfg)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	for _, cfg := range []natstransport.ControllerConfig{{Brokers: ok, Key: key}, {Brokers: ok, Keys: keys}, {Brokers: ok, Keys: keys, Key: key, Prefix: "a b"}} {
		_, err := natstransport.NewController(cfg)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	for _, cfg := range []broker.Config{{}, {Trust: keys.Trust(), Listen: "0.0.0.0:0"}, {Trust: keys.Trust(), Listen: "nonsense"}, {Trust: keys.Trust(), Listen: "127.0.0.1:99999"}, {Trust: keys.Trust(), Cluster: ":0"},
		{Trust: keys.Trust(), Cluster: "127.0.0.1:0", Routes: []string{"nonsense"}}} {
		_, err := broker.Start(cfg)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err))
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", keys, keys, keys), "SA")
}

// Somebody without an identity asks for one, hears the answer alone, and is told a code when there is none.
func TestEnrolment(t *testing.T) {
	w := newCluster(t, 2, nil)
	w.plane(0, func(c *natstransport.ControllerConfig) {
		c.Enroll = func(_ context.Context, _ string, body []byte) ([]byte, error) {
			switch string(body) {
			case "bad":
				return nil, fault.New("test.Enroll", fault.InvalidActivation, "the code is not valid")
			case "worse":
				return nil, fmt.Errorf("a password: hunter2")
			}
			return append([]byte("welcome "), body...), nil
		}
	})
	answer, err := natstransport.Enroll(within(t), w.at(1), "", []byte("me"))
	require.NoError(t, err)
	require.Equal(t, "welcome me", string(answer))
	_, err = natstransport.Enroll(within(t), w.at(1), "", []byte("bad"))
	require.Equal(t, fault.InvalidActivation, fault.CodeOf(err))
	require.Contains(t, err.Error(), "the code is not valid")
	_, err = natstransport.Enroll(within(t), w.at(1), "", []byte("worse"))
	require.NotContains(t, err.Error(), "hunter2")
	_, err = natstransport.Enroll(within(t), w.at(1), "", make([]byte, 65<<10))
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

package natstransport

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// NodeConfig configures a Node. Brokers, Address and Key are required.
type NodeConfig struct {
	Brokers
	Prefix string // as the planes'

	Address transport.Address // the node's own: tenant and node id
	// Key is the node's key, an ed25519.PrivateKey or anything whose Public is an ed25519.PublicKey; it is asked at each connection, so that a key may rotate behind it.
	Key crypto.Signer

	Doubt time.Duration // a plane that sends nothing for so long after it was sent something may be gone: the others are asked; default 3 s

	Window      int // messages, or pieces of them, on the way to a plane and not handled there before Send answers ErrBusy; default 256
	WindowBytes int // bytes of them; default 2 MiB, at least transport.MaxMessage

	Rand func() float64 // of all jitter, in [0, 1); safe for concurrent use; nil: math/rand/v2
	// OnState is told of each change: connected, or not any more. It is called on the node's own goroutines, one at a time, and must not block.
	OnState func(connected bool)
	Logger  *slog.Logger // nil: none
}

func (c NodeConfig) withDefaults(op string) (NodeConfig, error) {
	if c.Key == nil {
		return c, fault.New(op, fault.InvalidParameters, "Key is missing: the node's Ed25519 key")
	}
	if _, ok := c.Key.Public().(ed25519.PublicKey); !ok {
		return c, fault.New(op, fault.InvalidParameters, "Key is a %T; only Ed25519 is taken", c.Key.Public())
	}
	if !nodeAddress(c.Address) {
		return c, fault.New(op, fault.InvalidParameters, "Address %q is no node's: a tenant of 1 to %d bytes and a name of 1 to %d, not %q",
			fault.Clean(c.Address.String()), maxTenant, maxName, message.Controller)
	}
	if c.Doubt <= 0 {
		c.Doubt = 3 * time.Second
	}
	if c.Window <= 0 {
		c.Window = 256
	}
	if c.WindowBytes <= 0 {
		c.WindowBytes = 2 << 20
	}
	c.WindowBytes = max(c.WindowBytes, transport.MaxMessage)
	if c.Rand == nil {
		c.Rand = mathrand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Node is a node's end. It implements transport.Transport, and transport.Presence for the control plane's address, which is connected while some plane answers. It connects, and connects again, on
// goroutines of its own until it is closed or refused.
type Node struct {
	cfg   NodeConfig
	names names
	plane transport.Address
	base  string // the node's subject
	d     *dialer
	gate  end.Gate
	board end.Board
	count counts
	lane  *lane

	ctx     context.Context
	cancel  context.CancelFunc
	state   sync.Mutex // held while OnState is told
	wake    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	leaving bool
	line    *line // nil: no broker
	session sessionID
	flows   map[planeID]*flow // of this session
	via     planeID           // where messages go; zero: no plane has answered
	every   time.Duration     // between two beats
	heard   time.Time         // when the last frame of via came
	asked   time.Time         // when it was sent something that may be answered; zero: it has answered since
	missed  int               // beats that it did not answer
	doubted time.Time         // when the others were asked
	hellos  int               // that nobody answered
	due     time.Time         // of the next beat or hello
	roll    planeID           // a plane that wants to know who is there
	rollAt  time.Time
	told    bool // what OnState was told
	err     error
	changed chan struct{}
}

var _ transport.Presence = (*Node)(nil)

// NewNode returns a Node that is connecting. Its error tells what is wrong with cfg; an unreachable broker is none.
func NewNode(cfg NodeConfig) (*Node, error) {
	const op = "natstransport.NewNode"
	cfg, err := cfg.withDefaults(op)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, plane: transport.Address{Tenant: cfg.Address.Tenant, Name: message.Controller}, wake: make(chan struct{}, 1), changed: make(chan struct{}), flows: map[planeID]*flow{}}
	if n.names, err = parsePrefix(op, cfg.Prefix); err != nil {
		return nil, err
	}
	if n.d, err = cfg.Brokers.dialer(op, time.Minute); err != nil {
		return nil, err
	}
	if len(n.d.urls) > 1 {
		n.d.next = int(cfg.Rand() * float64(len(n.d.urls)))
	}
	n.base = n.names.node(cfg.Address)
	n.d.name = whoNode + userName(cfg.Address)
	n.d.secrets = func() (nats.Option, error) { return bySigner(cfg.Key) }
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.lane = &lane{from: n.plane, gate: &n.gate, over: n.ctx.Done(), count: &n.count, most: limits{8 * cfg.Window, 4 * cfg.WindowBytes}, run: n.goes, answer: func(f *flow, ack []byte) {
		n.post(n.base+".u."+f.plane.String(), ack)
	}}
	l := &link{d: n.d, max: limits{4 * cfg.Window, 2 * cfg.WindowBytes}, rand: cfg.Rand, opts: n.options, listen: n.listen, up: n.up, down: n.down, again: func(error) bool { return n.gate.Dead() == nil }}
	n.goes(func() { l.run(n.ctx) })
	n.goes(n.tick)
	return n, nil
}

// Dial returns a Node that is connected, or the reason why it is not when ctx ends or the planes refuse it.
func Dial(ctx context.Context, cfg NodeConfig) (*Node, error) {
	n, err := NewNode(cfg)
	if err != nil {
		return nil, err
	}
	if err := n.Wait(ctx); err != nil {
		n.Close() //nolint:errcheck // it has none
		return nil, err
	}
	return n, nil
}

func (n *Node) goes(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leaving {
		return false
	}
	n.running.Go(f)
	return true
}

// Wait returns nil once a plane has answered, ErrRefused or ErrClosed when none ever will, or ctx's error with the reason of the last attempt.
func (n *Node) Wait(ctx context.Context) error {
	for {
		n.mu.Lock()
		up, last, changed := n.line != nil && n.via != planeID{}, n.err, n.changed
		n.mu.Unlock()
		if err := n.gate.Dead(); err != nil {
			return err
		}
		if up {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("natstransport: %w; the last attempt to connect: %v", ctx.Err(), last)
			}
			return ctx.Err()
		}
	}
}

// Err returns why the node is not connected, nil when it is.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.line != nil && n.via != (planeID{}) {
		return nil
	}
	return n.err
}

var (
	errRefused = errors.New("natstransport: the control planes refused this node: it is unknown there, or its key is another")
	errNoPlane = errors.New("natstransport: a broker is connected, and no control plane has answered yet")
)

func (n *Node) options() []nats.Option {
	return []nats.Option{nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(strings.ToLower(err.Error()), "subscription") {
			n.refuse()
			return
		}
		n.cfg.Logger.Debug("the broker connection has trouble", "error", err)
	})}
}

// refuse ends everything: the broker lets the node hear nothing.
func (n *Node) refuse() {
	err := fmt.Errorf("%w: %w", errRefused, transport.ErrRefused)
	n.gate.Kill(err)
	n.mu.Lock()
	n.err = err
	n.signal()
	n.mu.Unlock()
	n.cfg.Logger.Error("refused", "error", err)
	n.cancel()
	n.d.cut()
}

func (n *Node) listen(nc *nats.Conn) error {
	s, err := nc.Subscribe(n.base+".d.*", n.onFrame)
	if err == nil {
		_, err = nc.Subscribe(n.names.all(), n.onAll)
	}
	if err == nil {
		err = s.SetPendingLimits(8*n.cfg.Window, 4*n.cfg.WindowBytes)
	}
	return err
}

// up begins with a broker: a new session, which planes are told of.
func (n *Node) up(ln *line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line, n.err = ln, errNoPlane
	n.begin()
	n.signal()
}

// begin makes a new session and says hello; the mutex is held.
func (n *Node) begin() {
	n.session = newID()
	n.flows = map[planeID]*flow{}
	n.via, n.asked, n.missed, n.hellos, n.doubted = planeID{}, time.Time{}, 0, 0, time.Time{}
	n.hello()
}

// hello says hello to all planes; the mutex is held.
func (n *Node) hello() {
	n.hellos++
	n.due = time.Now().Add(helloBase/4 + backoff(n.hellos, helloBase, helloCap, n.cfg.Rand()))
	n.say(kindHello, planeID{})
	n.poke()
}

const (
	helloBase = 200 * time.Millisecond
	helloCap  = 10 * time.Second
)

// say publishes a word on presence; the mutex is held.
func (n *Node) say(k kind, to planeID) {
	if n.line == nil {
		return
	}
	f := frame{kind: k, session: n.session, plane: to}
	if k != kindBye {
		f.data = appendMillis(patience(n.every))
	}
	n.line.put(n.base+".p", "", f.encode()) //nolint:errcheck // there is a next time
}

func (n *Node) down(ln *line, err error) {
	n.mu.Lock()
	first := n.err == nil || n.err.Error() != err.Error()
	if n.gate.Dead() == nil {
		n.err = err
	}
	if ln != nil {
		n.line = nil
		n.via = planeID{}
	}
	n.signal()
	n.mu.Unlock()
	n.settle()
	if first && n.ctx.Err() == nil {
		n.cfg.Logger.Warn("no connection to a broker", "error", err)
	}
}

// signal wakes all who wait for a change; the mutex is held.
func (n *Node) signal() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// poke makes tick look at what is due; the mutex may be held.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// settle tells of the connection what it is now.
func (n *Node) settle() {
	n.state.Lock()
	defer n.state.Unlock()
	n.mu.Lock()
	now := n.line != nil && n.via != planeID{}
	was := n.told
	n.told = now
	n.mu.Unlock()
	n.board.Set(n.plane, now)
	if was == now {
		return
	}
	if now {
		n.cfg.Logger.Info("a control plane answers")
	} else {
		n.cfg.Logger.Info("no control plane answers")
	}
	if n.cfg.OnState != nil {
		n.cfg.OnState(now)
	}
}

// tick does what is due: hellos, beats, answers to roll calls.
func (n *Node) tick() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		n.mu.Lock()
		now := time.Now()
		next := now.Add(time.Hour)
		if n.line != nil {
			n.dueNow(now)
			if next = n.due; !n.rollAt.IsZero() && n.rollAt.Before(next) {
				next = n.rollAt
			}
		}
		n.mu.Unlock()
		n.settle()
		t.Reset(max(time.Until(next), time.Millisecond))
		select {
		case <-n.ctx.Done():
			return
		case <-n.wake:
		case <-t.C:
		}
	}
}

// dueNow does what is due; the mutex is held.
func (n *Node) dueNow(now time.Time) {
	if !n.rollAt.IsZero() && !now.Before(n.rollAt) {
		n.say(kindBeat, n.roll)
		n.rollAt = time.Time{}
	}
	if now.Before(n.due) {
		return
	}
	switch {
	case n.via == planeID{}:
		n.hello()
	case n.missed >= 2:
		n.err = errNoPlane
		n.begin()
	default:
		n.missed++
		n.say(kindBeat, n.via)
		if n.missed == 2 {
			n.doubt(now)
		}
		n.due = now.Add(n.every - time.Duration(n.cfg.Rand()*float64(n.every)/10))
	}
}

// doubt asks whether another plane answers, at most once a second; the mutex is held.
func (n *Node) doubt(now time.Time) {
	if now.Sub(n.doubted) >= time.Second {
		n.doubted = now
		n.say(kindHello, planeID{})
	}
}

// lost notes that a plane is not there; the mutex is held.
func (n *Node) lost(p planeID, within time.Duration) {
	delete(n.flows, p)
	if n.via != p {
		return
	}
	n.err = errNoPlane
	n.via, n.asked, n.missed, n.hellos = planeID{}, time.Time{}, 0, 0
	n.due = time.Now().Add(time.Duration(n.cfg.Rand() * float64(within)))
	n.poke()
}

// flowOf returns the flow with a plane; the mutex is held.
func (n *Node) flowOf(p planeID) *flow {
	f := n.flows[p]
	if f == nil {
		if len(n.flows) >= maxPlanes {
			for old := range n.flows {
				if old != n.via {
					delete(n.flows, old)
					break
				}
			}
		}
		f = newFlow(n.session, p, limits{n.cfg.Window, n.cfg.WindowBytes})
		n.flows[p] = f
	}
	return f
}

// maxPlanes is how many planes a node keeps account of.
const maxPlanes = 64

// onFrame takes what planes, and the broker, tell this node.
func (n *Node) onFrame(msg *nats.Msg) {
	last := msg.Subject[len(n.base)+len(".d."):]
	if last != "m" {
		n.onAbsent(msg, last)
		return
	}
	f, err := parseFrame(msg.Data)
	if err != nil || f.plane == (planeID{}) {
		n.count.malformed.Add(1)
		return
	}
	now := time.Now()
	n.mu.Lock()
	if f.session != n.session {
		if now.Sub(n.doubted) >= time.Second && n.line != nil && n.via != (planeID{}) { // it does not know of this session yet
			n.doubted = now
			n.say(kindBeat, f.plane)
		}
		n.mu.Unlock()
		return
	}
	var fl *flow
	switch f.kind {
	case kindWelcome:
		n.every = max(millis(f.data), time.Millisecond)
		took := n.via == planeID{}
		if took || n.via != f.plane && now.Sub(n.heard) > n.cfg.Doubt && (!n.asked.IsZero() || n.missed > 0) {
			n.via = f.plane
			n.hellos, n.err = 0, nil
			n.due = now.Add(time.Duration(n.cfg.Rand() * float64(n.every)))
			n.heardOf(now)
			n.signal()
		} else if n.via == f.plane {
			n.heardOf(now)
		}
		n.mu.Unlock()
		if took {
			n.settle()
			n.poke()
		}
		return
	case kindData, kindProbe, kindAck:
		fl = n.flowOf(f.plane)
		if n.via != (planeID{}) {
			if f.kind == kindData {
				n.via = f.plane // who sent last is who wants the answer
			}
			if n.via == f.plane {
				n.heardOf(now)
			}
		}
	case kindDrop:
		ln := n.line
		n.mu.Unlock()
		if ln != nil {
			n.goes(ln.nc.Close)
		}
		return
	default:
		n.count.malformed.Add(1)
	}
	n.mu.Unlock()
	if fl == nil {
		return
	}
	fl.acknowledged(f.ack)
	if f.kind != kindAck && !n.lane.put(fl, f) {
		n.count.overrun.Add(1)
	}
}

// heardOf notes a sign of life of via; the mutex is held.
func (n *Node) heardOf(now time.Time) {
	n.heard, n.asked, n.missed = now, time.Time{}, 0
}

// onAbsent takes the broker's word that a plane is not there.
func (n *Node) onAbsent(msg *nats.Msg, plane string) {
	if msg.Header.Get("Status") != "503" {
		n.count.malformed.Add(1)
		return
	}
	n.mu.Lock()
	if n.via.String() == plane {
		n.lost(n.via, 50*time.Millisecond)
		n.signal()
	}
	n.mu.Unlock()
	n.settle()
}

// onAll takes what a plane tells all nodes.
func (n *Node) onAll(msg *nats.Msg) {
	f, err := parseFrame(msg.Data)
	if err != nil {
		n.count.malformed.Add(1)
		return
	}
	n.mu.Lock()
	switch f.kind {
	case kindRoll:
		n.roll = f.plane
		n.rollAt = time.Now().Add(time.Duration(n.cfg.Rand() * float64(millis(f.data))))
		n.poke()
	case kindLeave:
		n.lost(f.plane, time.Second)
	default:
		n.count.malformed.Add(1)
	}
	n.mu.Unlock()
	n.settle()
}

func (n *Node) post(subject string, frame []byte) {
	n.mu.Lock()
	ln := n.line
	n.mu.Unlock()
	if ln != nil {
		ln.put(subject, "", frame) //nolint:errcheck // it is asked for again
	}
}

// Send is transport.Transport's: to is the control plane's address within the node's tenant, there is no other that a node reaches. The message goes to the plane that sent to this node last. It
// never waits: a full window is transport.ErrBusy.
func (n *Node) Send(ctx context.Context, to transport.Address, data []byte) error {
	if err := n.gate.Dead(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > transport.MaxMessage {
		return tooLarge(len(data))
	}
	err := error(transport.ErrNotConnected)
	now := time.Now()
	n.mu.Lock()
	if n.line != nil && to == n.plane && n.via != (planeID{}) {
		if n.asked.IsZero() {
			n.asked = now
		} else if now.Sub(n.asked) > n.cfg.Doubt {
			n.doubt(now)
		}
		ln, id := n.line, n.via.String()
		err = n.flowOf(n.via).send(data, ln.most, now, func(frames [][]byte) error { return ln.put(n.base+".u."+id, n.base+".d."+id, frames...) })
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("natstransport: %s: %w", fault.Clean(to.String()), err)
	}
	return nil
}

// Receive is transport.Transport's. A handler that blocks makes the planes' Sends answer ErrBusy once a window is full. Messages that arrive within two seconds before a Receive begins are kept for it.
func (n *Node) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	return n.gate.Receive(ctx, handle)
}

// Connected is transport.Presence's: it knows of the control plane's address only.
func (n *Node) Connected(a transport.Address) bool { return n.board.Connected(a) }

// Watch is transport.Presence's.
func (n *Node) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	return n.board.Watch(ctx, f)
}

// Close tells the planes that this node goes, ends everything and returns when it has ended, a running handler of Receive included; it must not be called by one.
func (n *Node) Close() error {
	n.mu.Lock()
	first := !n.leaving
	n.leaving = true
	ln := n.line
	if first {
		n.say(kindBye, planeID{})
	}
	n.mu.Unlock()
	n.gate.Kill(transport.ErrClosed)
	if first && ln != nil {
		ln.drain(farewell)
	}
	n.cancel()
	n.d.cut()
	n.running.Wait()
	return nil
}

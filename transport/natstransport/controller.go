package natstransport

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// ControllerConfig configures a Controller. Brokers, Keys and Key are required.
type ControllerConfig struct {
	Brokers
	Keys   Keys
	Prefix string // of all subjects; "" is "fw". The same for planes and nodes

	// Key returns the node's public key. A nil key, transport.ErrRefused, or an error of the kinds NotFound, Denied, Unauthenticated, Invalid and Conflict mean that there is no such
	// node: it is refused for good. Any other error sends the node away until later. It is called for each connection, concurrently, with addresses that anybody made up.
	Key func(ctx context.Context, node transport.Address) (ed25519.PublicKey, error)
	// Enroll answers a request of somebody without an identity; nil means that there is no enrolment. The body is at most 64 KiB, and so may the answer be. remote is "nats": the broker
	// knows more. Of an error the other side sees code and message, of one without a fault in it only that there was one.
	Enroll func(ctx context.Context, remote string, body []byte) ([]byte, error)

	Logger *slog.Logger // nil: none

	Beat     time.Duration // how often a node gives a sign of life; default 15 s. After two and a half of them without any it is gone
	Roll     time.Duration // within what time nodes answer a plane that connected and does not know who is there; default 10 s
	Validity time.Duration // how long a broker takes a node's word; then it has to show its key anew. Between half of this and this, so that not all come at once; default 1 h

	Window      int // messages, or pieces of them, on the way to a node and not handled there before Send answers ErrBusy; default 256
	WindowBytes int // bytes of them; default 2 MiB, at least transport.MaxMessage
	Queue       int // messages waiting for the broker, of all nodes; default 65,536
	QueueBytes  int // bytes of them; default 64 MiB

	Admit       float64 // connections that are let in a second; default 500
	AdmitBurst  int     // of them at once; default 500
	MaxPending  int     // questions of brokers under way; default 256
	EnrollRate  float64 // enrolments a second; default 20
	EnrollBurst int     // of them at once; default 50
}

func (c ControllerConfig) withDefaults(op string) (ControllerConfig, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	num := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	switch {
	case c.Keys.issuer == nil:
		return c, fault.New(op, fault.InvalidParameters, "Keys is missing: NewKeys makes them of the planes' shared secret")
	case c.Key == nil:
		return c, fault.New(op, fault.InvalidParameters, "Key is missing: it returns a node's public key")
	}
	def(&c.Beat, 15*time.Second)
	c.Beat = min(max(c.Beat, 10*time.Millisecond), 20*time.Minute)
	def(&c.Roll, 10*time.Second)
	def(&c.Validity, time.Hour)
	num(&c.Window, 256)
	num(&c.WindowBytes, 2<<20)
	c.WindowBytes = max(c.WindowBytes, transport.MaxMessage)
	num(&c.Queue, 65536)
	num(&c.QueueBytes, 64<<20)
	num(&c.AdmitBurst, 500)
	num(&c.MaxPending, 256)
	num(&c.EnrollBurst, 50)
	if !(c.Admit > 0) {
		c.Admit = 500
	}
	if !(c.EnrollRate > 0) {
		c.EnrollRate = 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// counts are what an end counts.
type counts struct {
	accepted, refused, throttled, replaced, sent, busy, received, unheard, overrun, malformed atomic.Uint64
}

// ControllerStats are counts since NewController, and what is now.
type ControllerStats struct {
	Connected int    // nodes that are there now
	Broker    bool   // a broker is connected now
	Accepted  uint64 // connections of nodes that this plane let in
	Refused   uint64 // for an unknown node or a wrong key
	Throttled uint64 // sent away until later
	Replaced  uint64 // connections that gave way to a newer one of the same node
	Sent      uint64 // messages taken by Send
	Busy      uint64 // messages that Send did not take, a window or the queue being full
	Received  uint64 // messages that arrived
	Unheard   uint64 // of them, those dropped because no Receive was running
	Overrun   uint64 // frames dropped because a node sent more than its window, or the end was closing
	Malformed uint64 // frames and subjects that are none
}

// Controller is the end of one control plane. It implements transport.Transport and transport.Presence. Any number of planes may be on the same brokers: each reaches every node, and each knows
// of every node that is there.
type Controller struct {
	cfg    ControllerConfig
	names  names
	log    *slog.Logger
	id     planeID
	d      *dialer
	gate   end.Gate
	board  end.Board
	admit  *rate.Limiter
	enroll *rate.Limiter
	nobody ed25519.PublicKey // stands in for the key of an unknown node
	count  counts

	pending chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.RWMutex
	line    *line // nil: no broker
	peers   map[transport.Address]*peer
	leaving bool
	running sync.WaitGroup // Add only with mu held and leaving false
	changed chan struct{}  // closed at the next change of line
	err     error
}

// peer is what a plane knows of a node.
type peer struct {
	addr    transport.Address
	lane    *lane
	subject string

	// with the controller's mutex
	flow *flow         // of the present session; nil: the node went
	was  sessionID     // the session that the present one replaced: its last words are not heard
	seen time.Time     // the last sign of life
	hold time.Duration // without one for so long it is gone
	doze bool          // there before the broker went: there again with the broker, until something says otherwise
}

var (
	_ transport.Presence = (*Controller)(nil)
	_ transport.Counter  = (*Controller)(nil)
)

// NewController returns a Controller that is connecting. Its error tells what is wrong with cfg; an unreachable broker is none.
func NewController(cfg ControllerConfig) (*Controller, error) {
	const op = "natstransport.NewController"
	cfg, err := cfg.withDefaults(op)
	if err != nil {
		return nil, err
	}
	c := &Controller{cfg: cfg, log: cfg.Logger, id: newID(), peers: map[transport.Address]*peer{}, pending: make(chan struct{}, cfg.MaxPending), changed: make(chan struct{})}
	if c.names, err = parsePrefix(op, cfg.Prefix); err != nil {
		return nil, err
	}
	if c.d, err = cfg.Brokers.dialer(op, 5*time.Second); err != nil {
		return nil, err
	}
	c.d.name = "fw1.plane." + c.id.String()
	c.d.secrets = func() (nats.Option, error) { return byNkey(cfg.Keys.plane, cfg.Keys.trust.Plane), nil }
	c.admit = rate.NewLimiter(rate.Limit(cfg.Admit), cfg.AdmitBurst)
	c.enroll = rate.NewLimiter(rate.Limit(cfg.EnrollRate), cfg.EnrollBurst)
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:]) //nolint:errcheck // it never fails
	c.nobody = ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	l := &link{d: c.d, max: limits{cfg.Queue, cfg.QueueBytes}, rand: mathrand.Float64, opts: c.options, listen: c.listen, up: c.up, down: c.down}
	c.goes(func() { l.run(c.ctx) })
	c.goes(c.sweep)
	return c, nil
}

// goes runs f on a goroutine that Close waits for; false means that the end is closing.
func (c *Controller) goes(f func()) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.leaving {
		return false
	}
	c.running.Go(f)
	return true
}

func (c *Controller) options() []nats.Option {
	return []nats.Option{nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
		if s != nil && errors.Is(err, nats.ErrSlowConsumer) {
			c.count.overrun.Add(1)
		}
		c.log.Warn("the broker connection has trouble", "error", err)
	})}
}

func (c *Controller) listen(nc *nats.Conn) error {
	_, err := nc.Subscribe(c.names.presence(), c.onPresence)
	if err == nil {
		_, err = nc.Subscribe(c.names.up(c.id), c.onData)
	}
	if err == nil {
		_, err = nc.Subscribe(c.names.absent(c.id), c.onAbsent)
	}
	if err == nil {
		_, err = nc.QueueSubscribe(calloutSubject, "fleetwright", c.callout)
	}
	if err == nil && c.cfg.Enroll != nil {
		_, err = nc.QueueSubscribe(string(c.names)+".e.*", "fleetwright", c.onEnroll)
	}
	return err
}

// up begins with a broker: nodes that were there are taken to be there still, and everybody is asked.
func (c *Controller) up(ln *line) {
	now := time.Now()
	c.mu.Lock()
	c.line, c.err = ln, nil
	c.signal()
	for _, p := range c.peers {
		if p.doze {
			p.doze, p.seen = false, now
			c.board.Set(p.addr, true)
		}
	}
	c.mu.Unlock()
	c.log.Info("connected to a broker", "broker", ln.nc.ConnectedUrlRedacted())
	f := frame{kind: kindRoll, plane: c.id, data: appendMillis(c.cfg.Roll)}
	ln.put(c.names.all(), "", f.encode()) //nolint:errcheck // beats tell the rest
}

func (c *Controller) down(ln *line, err error) {
	c.mu.Lock()
	first := c.err == nil || c.err.Error() != err.Error()
	c.err = err
	if ln != nil {
		c.line = nil
		for _, p := range c.peers {
			if p.flow != nil && !p.doze {
				p.doze = true
				c.board.Set(p.addr, false)
			}
		}
	}
	c.signal()
	c.mu.Unlock()
	if first && c.ctx.Err() == nil {
		c.log.Warn("no connection to a broker", "error", err)
	}
}

// signal wakes all who wait for a change; the mutex is held.
func (c *Controller) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Wait returns nil once a broker is connected, ErrClosed when none will ever be, or ctx's error with the reason of the last attempt.
func (c *Controller) Wait(ctx context.Context) error {
	for {
		c.mu.RLock()
		up, last, changed := c.line != nil, c.err, c.changed
		c.mu.RUnlock()
		if err := c.gate.Dead(); err != nil {
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

// onPresence takes a node's word that it is there or goes.
func (c *Controller) onPresence(msg *nats.Msg) {
	a, ok := c.names.from(msg.Subject)
	f, err := parseFrame(msg.Data)
	if !ok || err != nil {
		c.count.malformed.Add(1)
		return
	}
	switch f.kind {
	case kindHello, kindBeat:
		p := c.learn(a, f.session, millis(f.data))
		if p != nil && (f.kind == kindHello || f.plane == c.id) {
			c.tell(p, frame{kind: kindWelcome, session: f.session, plane: c.id, data: appendMillis(c.cfg.Beat)})
		}
	case kindBye:
		c.forget(a, f.session)
	default:
		c.count.malformed.Add(1)
	}
}

// learn notes a sign of life of a node's session, which may be a new one.
func (c *Controller) learn(a transport.Address, s sessionID, hold time.Duration) *peer {
	now := time.Now()
	if hold == 0 {
		hold = patience(c.cfg.Beat)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || c.line == nil {
		return nil
	}
	p := c.peers[a]
	switch {
	case p == nil:
		p = &peer{addr: a, subject: c.names.node(a) + ".d."}
		most := limits{4 * c.cfg.Window, 2 * c.cfg.WindowBytes}
		p.lane = &lane{from: a, gate: &c.gate, over: c.ctx.Done(), count: &c.count, most: most, run: c.goes, answer: func(_ *flow, ack []byte) { c.post(p.subject+"m", "", ack) }}
		c.peers[a] = p
	case p.flow != nil && p.flow.session == s:
		p.seen, p.hold = now, hold
		if p.doze {
			p.doze = false
			c.board.Set(a, true)
		}
		return p
	case p.was == s:
		return nil
	}
	if p.flow != nil {
		p.was = p.flow.session
	}
	if p.flow != nil && !p.doze {
		c.count.replaced.Add(1)
		c.board.Replace(a)
	} else {
		c.board.Set(a, true)
	}
	p.flow = newFlow(s, c.id, limits{c.cfg.Window, c.cfg.WindowBytes})
	p.seen, p.hold, p.doze = now, hold, false
	return p
}

// forget notes that a session has ended.
func (c *Controller) forget(a transport.Address, s sessionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[a]; p != nil && p.flow != nil && p.flow.session == s {
		c.gone(p)
	}
}

// gone ends a node's session; the mutex is held.
func (c *Controller) gone(p *peer) {
	p.was, p.flow, p.doze = p.flow.session, nil, false
	c.board.Set(p.addr, false)
}

// sweep misses those that vanished without a word.
func (c *Controller) sweep() {
	t := time.NewTicker(min(max(c.cfg.Beat/4, 5*time.Millisecond), 5*time.Second))
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		c.mu.Lock()
		for a, p := range c.peers {
			switch silent := now.Sub(p.seen); {
			case silent <= p.hold:
			case p.flow != nil:
				c.gone(p)
			case silent > p.hold+forgetAfter:
				delete(c.peers, a)
			}
		}
		c.mu.Unlock()
	}
}

// forgetAfter is how long a node that went is remembered, so that the last words of its session are known as such.
const forgetAfter = time.Minute

// onData takes a frame of a node for this plane.
func (c *Controller) onData(msg *nats.Msg) {
	a, ok := c.names.from(msg.Subject)
	f, err := parseFrame(msg.Data)
	if !ok || err != nil || f.plane != c.id {
		c.count.malformed.Add(1)
		return
	}
	c.mu.Lock()
	p := c.peers[a]
	var fl *flow
	if p != nil && p.flow != nil && p.flow.session == f.session {
		fl = p.flow
		p.seen = time.Now()
	}
	c.mu.Unlock()
	if fl == nil {
		return // of a session that ended, or that is not known yet
	}
	fl.acknowledged(f.ack)
	switch f.kind {
	case kindAck:
	case kindData, kindProbe:
		if !p.lane.put(fl, f) {
			c.count.overrun.Add(1)
		}
	default:
		c.count.malformed.Add(1)
	}
}

// onAbsent takes the broker's word that nobody listens on a node's subject.
func (c *Controller) onAbsent(msg *nats.Msg) {
	rest := msg.Subject[len(string(c.names)+".c.")+2*len(c.id)+1:]
	a, ok := twoTokens(rest)
	if !ok || msg.Header.Get("Status") != "503" {
		c.count.malformed.Add(1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[a]
	if p != nil && p.flow != nil && rest == c.absentTail(p) && !p.doze {
		c.gone(p)
	}
}

func (c *Controller) absentTail(p *peer) string {
	return userName(p.addr) + "." + p.flow.session.String()
}

// post queues a frame, as far as there is a broker.
func (c *Controller) post(subject, reply string, frames ...[]byte) error {
	c.mu.RLock()
	ln := c.line
	c.mu.RUnlock()
	if ln == nil {
		return transport.ErrNotConnected
	}
	return ln.put(subject, reply, frames...)
}

func (c *Controller) tell(p *peer, f frame) {
	c.post(p.subject+"m", "", f.encode()) //nolint:errcheck // it is asked for again
}

// Send is transport.Transport's. It never waits: a full window or queue is transport.ErrBusy.
func (c *Controller) Send(ctx context.Context, to transport.Address, data []byte) error {
	if err := c.gate.Dead(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > transport.MaxMessage {
		return tooLarge(len(data))
	}
	c.mu.RLock()
	ln, p := c.line, c.peers[to]
	var fl *flow
	var reply string
	if ln != nil && p != nil && p.flow != nil && !p.doze {
		fl = p.flow
		reply = string(c.names) + ".c." + c.id.String() + "." + c.absentTail(p)
	}
	c.mu.RUnlock()
	err := error(transport.ErrNotConnected)
	if fl != nil {
		err = fl.send(data, ln.most, time.Now(), func(frames [][]byte) error { return ln.put(p.subject+"m", reply, frames...) })
	}
	switch err {
	case nil:
		c.count.sent.Add(1)
		return nil
	case transport.ErrBusy:
		c.count.busy.Add(1)
	}
	return fmt.Errorf("natstransport: %s: %w", fault.Clean(to.String()), err)
}

func tooLarge(n int) error {
	return fmt.Errorf("natstransport: %d bytes, at most %d: %w", n, transport.MaxMessage, transport.ErrTooLarge)
}

// Receive is transport.Transport's. Each node's messages are handled on a goroutine of their own, which lives while there are any: a handler that blocks stops that node and no other. Messages that
// arrive within two seconds before a Receive begins are kept for it.
func (c *Controller) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	return c.gate.Receive(ctx, handle)
}

// Connected is transport.Presence's.
func (c *Controller) Connected(a transport.Address) bool { return c.board.Connected(a) }

// Len is transport.Counter's: how many nodes are there. Every control plane on the brokers counts them all.
func (c *Controller) Len() int { return c.board.Len() }

// Shared says that every control plane on the brokers reaches every node (transport.Shared).
func (c *Controller) Shared() bool { return true }

// Watch is transport.Presence's.
func (c *Controller) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	return c.board.Watch(ctx, f)
}

// Stats returns the counts.
func (c *Controller) Stats() ControllerStats {
	c.mu.RLock()
	up := c.line != nil
	c.mu.RUnlock()
	n := &c.count
	return ControllerStats{Connected: c.board.Len(), Broker: up, Accepted: n.accepted.Load(), Refused: n.refused.Load(), Throttled: n.throttled.Load(), Replaced: n.replaced.Load(),
		Sent: n.sent.Load(), Busy: n.busy.Load(), Received: n.received.Load(), Unheard: n.unheard.Load(), Overrun: n.overrun.Load(), Malformed: n.malformed.Load()}
}

// Close tells the nodes that this plane goes, ends everything and returns when it has ended, a running handler of Receive included; it must not be called by one.
func (c *Controller) Close() error {
	c.mu.Lock()
	first := !c.leaving
	c.leaving = true
	ln := c.line
	c.mu.Unlock()
	c.gate.Kill(transport.ErrClosed)
	if first && ln != nil {
		f := frame{kind: kindLeave, plane: c.id}
		if ln.put(c.names.all(), "", f.encode()) == nil {
			ln.drain(farewell)
		}
	}
	c.cancel()
	c.d.cut()
	c.running.Wait()
	return nil
}

// farewell is how long Close waits for its last words to be written.
const farewell = 500 * time.Millisecond

package fleetwright

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/transport"
)

// hub is where messages become calls and calls become messages: it signs, seals, opens and verifies, and knows nothing of what they mean.
type hub struct {
	f          *Fleet
	transports []transport.Transport
	desk       *desk

	mu     sync.Mutex
	peers  map[transport.Address]cachedPeer
	heard  map[transport.Address]heard
	pinned map[transport.Address]uint64 // the epoch that a node obeys, where it is known
	forgot uint64                       // counts what forget did

	dropped map[transport.Address]time.Time // when those were dropped that are not known any more
}

// cachedPeer is a node's public keys. They are read again after peerLife, so that a deregistered node and an old key stop working soon.
type cachedPeer struct {
	peer  message.Peer
	since time.Time
}

// heard is the newest hello of a node, so that a recorded one replayed later gives no sign of life.
type heard struct {
	session string
	seq     uint64
	sent    time.Time
}

const (
	peerLife = 10 * time.Second
	// peerDoubt is the age at which keys are read again when a message does not verify with them: another control plane may have taken new ones.
	peerDoubt = time.Second
	maxPeers  = 200_000
	// maxDropped bounds what is remembered of nodes that are not known any more.
	maxDropped = 10_000
	// helloValid is how long the answer to a hello holds.
	welcomeValid = 2 * time.Minute
)

func newHub(f *Fleet, ts []transport.Transport) *hub {
	return &hub{f: f, transports: ts, desk: newDesk(f.nodeOps(), f.cfg.Now), peers: map[transport.Address]cachedPeer{}, heard: map[transport.Address]heard{},
		pinned: map[transport.Address]uint64{}, dropped: map[transport.Address]time.Time{}}
}

// Connected implements command.Sender: also to another control plane.
func (h *hub) Connected(tenant, node string) bool {
	return h.elsewhere(tenant, node) != "" || h.via(transport.Address{Tenant: tenant, Name: node}) != nil
}

// elsewhere returns the id of the control plane that a node is connected to, if that is another one.
func (h *hub) elsewhere(tenant, node string) string {
	if h.f.places == nil {
		return ""
	}
	return h.f.places.Where(tenant, node)
}

// via returns the transport that reaches a node from here: the first that knows that it does, else the first that cannot know; nil if there is none.
func (h *hub) via(a transport.Address) transport.Transport {
	var perhaps transport.Transport
	for _, t := range h.transports {
		if p, knows := t.(transport.Presence); !knows {
			if perhaps == nil {
				perhaps = t
			}
		} else if p.Connected(a) {
			return t
		}
	}
	return perhaps
}

// watch follows who comes and goes on a transport: of connections of this control plane's own it tells the others who left; on one that all share it notes who came, whichever of them the
// node says hello to.
func (h *hub) watch(ctx context.Context, t transport.Transport) error {
	shared := transport.Shared(t)
	return transport.Watch(ctx, t, func(a transport.Address, connected bool) {
		switch {
		case shared && connected:
			h.f.Commands.Heard(a.Tenant, a.Name, true)
		case !shared && !connected && !transport.Connected(t, a): // not replaced by a new connection
			h.f.places.Left(a.Tenant, a.Name)
		}
	})
}

// Send implements command.Sender.
func (h *hub) Send(ctx context.Context, tenant, node string, kind message.Kind, ref message.Ref, notAfter time.Time, body []byte) error {
	a := transport.Address{Tenant: tenant, Name: node}
	via := h.via(a)
	if via == nil {
		return transport.ErrNotConnected
	}
	return h.send(ctx, via, a, kind, ref.Attempt, notAfter, body)
}

func (h *hub) send(ctx context.Context, via transport.Transport, a transport.Address, kind message.Kind, attempt int, notAfter time.Time, body []byte) error {
	peer, err := h.peer(ctx, a)
	if err != nil {
		return err
	}
	own, err := h.own(ctx, a)
	if err != nil {
		return err
	}
	data, err := own.id.Seal(peer, message.Envelope{Kind: kind, ID: message.NewID(h.f.cfg.Rand), Attempt: attempt, Epoch: own.epoch + own.raise,
		NotBefore: h.f.cfg.Now(), NotAfter: notAfter, Body: body})
	if err != nil {
		return err
	}
	return via.Send(ctx, a, data)
}

// peer returns a node's keys, or message.ErrUnknownSender.
func (h *hub) peer(ctx context.Context, a transport.Address) (message.Peer, error) {
	return h.peerOf(ctx, a, peerLife)
}

// peerOf returns a node's keys, not older than the age.
func (h *hub) peerOf(ctx context.Context, a transport.Address, age time.Duration) (message.Peer, error) {
	now := h.f.cfg.Now()
	h.mu.Lock()
	c, ok := h.peers[a]
	forgot := h.forgot
	h.mu.Unlock()
	if ok && now.Sub(c.since).Abs() < age {
		return c.peer, nil
	}
	nodes, err := h.f.Nodes.Nodes(ctx, a.Tenant, []string{a.Name})
	if err != nil {
		return message.Peer{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(nodes) == 0 || len(nodes[0].SignKey) == 0 {
		delete(h.peers, a)
		delete(h.heard, a)
		delete(h.pinned, a)
		return message.Peer{}, message.ErrUnknownSender
	}
	p := message.Peer{Tenant: a.Tenant, Name: a.Name, SignKey: nodes[0].SignKey, SealKey: nodes[0].SealKey}
	if forgot != h.forgot {
		return p, nil // perhaps read before the change; the next one reads again
	}
	if len(h.peers) >= maxPeers {
		clear(h.peers)
	}
	h.peers[a] = cachedPeer{p, now}
	return p, nil
}

// receive takes one message of a node. What is not signed by the node it claims to be from, or not for this control plane, leaves no trace but a line in the log.
func (h *hub) receive(ctx context.Context, via transport.Transport, m transport.Message) {
	if err := h.take(ctx, via, m); err != nil && ctx.Err() == nil {
		level := h.f.cfg.Log.Debug
		if errors.Is(err, message.ErrBadSignature) || errors.Is(err, message.ErrNotForMe) || errors.Is(err, message.ErrMalformed) {
			level = h.f.cfg.Log.Warn
		}
		level("message of a node not taken", "from", fault.Clean(m.From.String()), "error", err)
	}
}

func (h *hub) take(ctx context.Context, via transport.Transport, m transport.Message) (err error) {
	var e message.Envelope
	if o := h.f.cfg.Observer; o != nil {
		start := h.f.cfg.Now()
		defer func() {
			o.Observe(ctx, observe.Event{Kind: observe.Receive, Label: string(e.Kind), Start: start, End: h.f.cfg.Now(), Err: err, Tenant: e.Tenant, Node: e.From})
		}()
	}
	tenant, to, err := message.Header(m.Data)
	if err != nil {
		return err
	}
	if to != message.Controller || tenant != m.From.Tenant {
		return message.ErrNotForMe
	}
	var by uint64
	e, by, err = h.open(ctx, tenant, m.Data, peerLife)
	if errors.Is(err, message.ErrBadSignature) {
		h.f.keys.doubt(tenant, peerDoubt)
		e, by, err = h.open(ctx, tenant, m.Data, peerDoubt)
	}
	if err != nil {
		if errors.Is(err, message.ErrUnknownSender) {
			h.drop(via, m.From)
		}
		return err
	}
	from := transport.Address{Tenant: tenant, Name: e.From}
	switch e.Kind {
	case message.KindHello:
		hello, err := message.Unmarshal[message.Hello](e)
		if err != nil {
			return err
		}
		return h.hello(ctx, via, from, &e, &hello, by)
	case message.KindPinned:
		if err := h.obeys(ctx, from, by, false); err != nil {
			return err
		}
		return h.lead(ctx, via, from)
	}
	if err := h.obeys(ctx, from, by, false); err != nil {
		return err
	}
	if e.Kind == message.KindAsk {
		q, err := message.Unmarshal[message.Ask](e)
		if err == nil {
			h.ask(ctx, via, from, q)
		}
		return err
	}
	return h.f.Commands.Handle(ctx, tenant, e.From, e)
}

// drop ends the connection of who is not known any more, deregistered here or by another control plane: it is not let in again. Who comes through all the same is not dropped for each
// message anew.
func (h *hub) drop(via transport.Transport, a transport.Address) {
	d, ok := via.(disconnecter)
	if !ok {
		return
	}
	now := h.f.cfg.Now()
	h.mu.Lock()
	at, again := h.dropped[a]
	again = again && now.Sub(at).Abs() < peerLife
	if !again {
		if len(h.dropped) >= maxDropped {
			clear(h.dropped)
		}
		h.dropped[a] = now
	}
	h.mu.Unlock()
	if !again {
		d.Disconnect(a)
	}
}

// hello notes that a node is there, answers, and has what waits for it sent.
func (h *hub) hello(ctx context.Context, via transport.Transport, a transport.Address, e *message.Envelope, hello *message.Hello, by uint64) error {
	h.mu.Lock()
	was, ok := h.heard[a]
	if ok && (was.session == hello.Session && hello.Seq <= was.seq || was.session != hello.Session && e.NotBefore.Before(was.sent)) {
		h.mu.Unlock()
		return nil // repeated or replayed
	}
	h.heard[a] = heard{hello.Session, hello.Seq, e.NotBefore}
	h.mu.Unlock()
	if err := h.obeys(ctx, a, by, true); err != nil {
		return err
	}
	if h.f.places != nil && !transport.Shared(via) && transport.Connected(via, a) {
		h.f.places.Here(a.Tenant, a.Name, hello.Session, hello.Seq)
	}
	now := h.f.cfg.Now()
	if err := h.f.Nodes.Seen(ctx, a.Tenant, a.Name, nil, now); err != nil {
		return err
	}
	if hello.Facts != nil { // durable before the answer: the node does not send them again
		if err := h.f.Nodes.Learn(ctx, a.Tenant, a.Name, *hello.Facts); err != nil && fault.KindOf(err) != fault.Invalid {
			h.mu.Lock()
			h.heard[a] = was
			h.mu.Unlock()
			return err
		} else if err != nil {
			h.f.cfg.Log.Warn("facts of a node not taken", "node", a.Name, "error", err)
		}
	}
	body, err := message.Marshal(message.KindWelcome, message.Welcome{Session: hello.Session, Seq: hello.Seq, Time: now, Heartbeat: h.f.cfg.Heartbeat})
	if err != nil {
		return err
	}
	err = h.send(ctx, via, a, message.KindWelcome, 0, now.Add(welcomeValid), body)
	h.f.Commands.Heard(a.Tenant, a.Name, hello.First)
	return errors.Join(err, h.lead(ctx, via, a))
}

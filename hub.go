package fleetwright

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// hub is where messages become calls and calls become messages: it signs, seals, opens and verifies, and knows nothing of what they mean.
type hub struct {
	f          *Fleet
	transports []transport.Transport

	mu    sync.Mutex
	peers map[transport.Address]cachedPeer
	heard map[transport.Address]heard
}

// cachedPeer is a node's public keys. They are read again after peerLife, so that a deregistered node and an old key stop working soon.
type cachedPeer struct {
	peer  message.Peer
	until time.Time
}

// heard is the newest hello of a node, so that a recorded one replayed later gives no sign of life.
type heard struct {
	session string
	seq     uint64
	sent    time.Time
}

const (
	peerLife = 10 * time.Second
	maxPeers = 200_000
	// helloValid is how long the answer to a hello holds.
	welcomeValid = 2 * time.Minute
)

func newHub(f *Fleet, ts []transport.Transport) *hub {
	return &hub{f: f, transports: ts, peers: map[transport.Address]cachedPeer{}, heard: map[transport.Address]heard{}}
}

// Connected implements command.Sender.
func (h *hub) Connected(tenant, node string) bool {
	a := transport.Address{Tenant: tenant, Name: node}
	for _, t := range h.transports {
		if transport.Connected(t, a) {
			return true
		}
	}
	return false
}

// Send implements command.Sender.
func (h *hub) Send(ctx context.Context, tenant, node string, kind message.Kind, ref message.Ref, notAfter time.Time, body []byte) error {
	a := transport.Address{Tenant: tenant, Name: node}
	var via transport.Transport
	for _, t := range h.transports {
		if transport.Connected(t, a) {
			via = t
			break
		}
	}
	if via == nil {
		return transport.ErrNotConnected
	}
	return h.send(ctx, via, a, kind, ref.Attempt, notAfter, body)
}

func (h *hub) send(ctx context.Context, via transport.Transport, a transport.Address, kind message.Kind, attempt int, notAfter time.Time, body []byte) error {
	own, err := h.f.keys.get(ctx, a.Tenant)
	if err != nil {
		return err
	}
	peer, err := h.peer(ctx, a)
	if err != nil {
		return err
	}
	data, err := own.id.Seal(peer, message.Envelope{Kind: kind, ID: message.NewID(h.f.cfg.Rand), Attempt: attempt, Epoch: own.epoch,
		NotBefore: h.f.cfg.Now(), NotAfter: notAfter, Body: body})
	if err != nil {
		return err
	}
	return via.Send(ctx, a, data)
}

// peer returns a node's keys, or message.ErrUnknownSender.
func (h *hub) peer(ctx context.Context, a transport.Address) (message.Peer, error) {
	now := h.f.cfg.Now()
	h.mu.Lock()
	c, ok := h.peers[a]
	h.mu.Unlock()
	if ok && now.Before(c.until) {
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
		return message.Peer{}, message.ErrUnknownSender
	}
	p := message.Peer{Tenant: a.Tenant, Name: a.Name, SignKey: nodes[0].SignKey, SealKey: nodes[0].SealKey}
	if len(h.peers) >= maxPeers {
		clear(h.peers)
	}
	h.peers[a] = cachedPeer{p, now.Add(peerLife)}
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

func (h *hub) take(ctx context.Context, via transport.Transport, m transport.Message) error {
	tenant, to, err := message.Header(m.Data)
	if err != nil {
		return err
	}
	if to != message.Controller || tenant != m.From.Tenant {
		return message.ErrNotForMe
	}
	own, err := h.f.keys.get(ctx, tenant)
	if err != nil {
		return err
	}
	e, err := own.id.Open(m.Data, func(name string) (message.Peer, error) {
		return h.peer(ctx, transport.Address{Tenant: tenant, Name: name})
	}, h.f.cfg.Now(), h.f.cfg.Skew)
	if err != nil {
		return err
	}
	if e.Kind != message.KindHello {
		return h.f.Commands.Handle(ctx, tenant, e.From, e)
	}
	hello, err := message.Unmarshal[message.Hello](e)
	if err != nil {
		return err
	}
	return h.hello(ctx, via, transport.Address{Tenant: tenant, Name: e.From}, &e, &hello)
}

// hello notes that a node is there, answers, and has what waits for it sent.
func (h *hub) hello(ctx context.Context, via transport.Transport, a transport.Address, e *message.Envelope, hello *message.Hello) error {
	h.mu.Lock()
	was, ok := h.heard[a]
	if ok && (was.session == hello.Session && hello.Seq <= was.seq || was.session != hello.Session && e.NotBefore.Before(was.sent)) {
		h.mu.Unlock()
		return nil // repeated or replayed
	}
	h.heard[a] = heard{hello.Session, hello.Seq, e.NotBefore}
	h.mu.Unlock()
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
	return err
}

// NodeKey returns a node's public key for a transport that authenticates its peers (httptransport.ServerConfig.Key). An unknown node is transport.ErrRefused.
func (f *Fleet) NodeKey(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
	p, err := f.hub.peer(ctx, a)
	if errors.Is(err, message.ErrUnknownSender) {
		return nil, transport.ErrRefused
	}
	if err != nil {
		return nil, err
	}
	return ed25519.PublicKey(p.SignKey), nil
}

// Enroll registers a node over a transport that can carry a question of somebody without an identity (httptransport.ServerConfig.Enroll): body is the JSON of
// message.RegisterRequest, the answer that of message.RegisterResponse.
func (f *Fleet) Enroll(ctx context.Context, _ string, body []byte) ([]byte, error) {
	const op = "fleetwright.Enroll"
	var req message.RegisterRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fault.New(op, fault.Validation, "the request is no JSON of a registration")
	}
	resp, err := f.Nodes.Register(ctx, req)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	return json.Marshal(resp)
}

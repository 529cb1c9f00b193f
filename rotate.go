package fleetwright

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/transport"
)

// NodeKey returns a node's public key for a transport that authenticates its peers (httptransport.ServerConfig.Key), as the store has it now. An unknown node is transport.ErrRefused.
func (f *Fleet) NodeKey(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
	p, err := f.hub.peerOf(ctx, a, 0)
	if errors.Is(err, message.ErrUnknownSender) {
		return nil, transport.ErrRefused
	}
	if err != nil {
		return nil, err
	}
	return ed25519.PublicKey(p.SignKey), nil
}

// Enroll registers a node, or gives one new keys, over a transport that can carry a question of somebody without an identity (httptransport.ServerConfig.Enroll). body is the JSON
// of message.RegisterRequest or of message.RotateRequest, which is the one that has a "rotation"; the answer that of message.RegisterResponse or message.RotateResponse.
func (f *Fleet) Enroll(ctx context.Context, _ string, body []byte) ([]byte, error) {
	const op = "fleetwright.Enroll"
	var kind struct {
		Rotation json.RawMessage `json:"rotation"`
	}
	if err := json.Unmarshal(body, &kind); err != nil {
		return nil, fault.New(op, fault.Validation, "the request is no JSON of a registration")
	}
	if kind.Rotation != nil {
		// Nothing else may be in it: no request is half of each.
		var req message.RotateRequest
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&req); err != nil || req.Rotation == nil {
			return nil, fault.New(op, fault.Validation, "the request is no JSON of a rotation")
		}
		resp, err := f.RotateNodeKeys(ctx, req)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		return json.Marshal(resp)
	}
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

// disconnecter is a transport whose connections are authenticated.
type disconnecter interface{ Disconnect(a transport.Address) }

// RotateNodeKeys puts a node's new keys in force (see node.Service.RotateKeys for who may, and the errors). The old ones stop working at once: what is known of them is forgotten,
// and the node's connections are dropped so that it shows the new ones. A repeat succeeds again and drops nothing.
func (f *Fleet) RotateNodeKeys(ctx context.Context, req message.RotateRequest) (message.RotateResponse, error) {
	const op = "fleetwright.RotateNodeKeys"
	r := req.Rotation
	if r == nil || !message.ValidName(r.Tenant) || !message.ValidName(r.Node) {
		return message.RotateResponse{}, fault.New(op, fault.Validation, "the request names no node")
	}
	a := transport.Address{Tenant: r.Tenant, Name: r.Node}
	was, err := f.hub.peerOf(ctx, a, 0)
	if err != nil && !errors.Is(err, message.ErrUnknownSender) {
		return message.RotateResponse{}, fault.Wrap(op, err)
	}
	if err := f.Nodes.RotateKeys(ctx, *r); err != nil {
		return message.RotateResponse{}, fault.Wrap(op, err)
	}
	if !bytes.Equal(was.SignKey, r.SignKey) {
		f.hub.forget(a)
		for _, t := range f.cfg.Transports {
			if d, ok := t.(disconnecter); ok {
				d.Disconnect(a)
			}
		}
		f.cfg.Log.Info("a node has new keys", "node", r.Node, "serial", r.Serial)
	}
	set, err := f.keys.get(ctx, r.Tenant)
	if err != nil {
		return message.RotateResponse{}, fault.Wrap(op, err)
	}
	return message.RotateResponse{Signature: set.at(req.Epoch, f.cfg.Now()).id.Sign(message.RotatedContext, r.Message())}, nil
}

// ActionRotateControllerKeys is the permission of RotateControllerKeys.
const ActionRotateControllerKeys = "fleetwright:RotateControllerKeys"

// DefaultGrace is how long the control plane's former keys are kept when nothing else is said.
const DefaultGrace = 30 * 24 * time.Hour

// RotateControllerKeys gives the control plane new keys for the tenant, which must be the caller's, and returns their epoch. They are signed by the present ones, and each node is led to
// them when it is next heard of; until it has confirmed them the control plane speaks to it with those that it knows. A node that was away during several rotations is led over each. The former keys are
// kept for the grace, 0 is DefaultGrace: a node that is not heard of within it obeys nobody any more and must be registered anew. New nodes know the newest keys only.
func (f *Fleet) RotateControllerKeys(ctx context.Context, tenant string, grace time.Duration) (epoch uint64, err error) {
	const op, resource = "fleetwright.RotateControllerKeys", "controller/keys"
	defer func() {
		if err != nil {
			f.Audit.Read(ctx, audit.Of(ActionRotateControllerKeys, resource, err)) //nolint:errcheck // the error stands anyway
			err = fault.Wrap(op, err)
		}
	}()
	if err := access.Check(ctx, f.cfg.Authorizer, ActionRotateControllerKeys, resource, nil); err != nil {
		return 0, err
	}
	switch {
	case tenant != access.Tenant(ctx):
		return 0, fault.New(op, fault.AccessDenied, "the caller is of another tenant")
	case grace < 0:
		return 0, fault.New(op, fault.Validation, "the grace is negative: give 0 for %v", DefaultGrace)
	case grace == 0:
		grace = DefaultGrace
	}
	epoch, err = f.keys.rotate(ctx, tenant, grace, func(ctx context.Context, tx store.Tx, epoch uint64) error {
		return f.Audit.Record(ctx, tx, audit.Entry{Tenant: tenant, Action: ActionRotateControllerKeys, Resource: resource, IDs: map[string]string{"epoch": strconv.FormatUint(epoch, 10)}})
	})
	return epoch, err
}

// own returns the identity to speak to the node with: of the newest keys that it is known to obey.
func (h *hub) own(ctx context.Context, a transport.Address) (*controllerKey, error) {
	set, err := h.f.keys.get(ctx, a.Tenant)
	if err != nil {
		return nil, err
	}
	if len(set.former) == 0 {
		return &set.controllerKey, nil
	}
	epoch, err := h.epochOf(ctx, a)
	if err != nil {
		return nil, err
	}
	return set.at(epoch, h.f.cfg.Now()), nil
}

// epochOf returns the epoch that the node is known to obey.
func (h *hub) epochOf(ctx context.Context, a transport.Address) (uint64, error) {
	h.mu.Lock()
	epoch, ok := h.pinned[a]
	h.mu.Unlock()
	if ok {
		return epoch, nil
	}
	epoch, err := h.f.keys.pinned(ctx, a.Tenant, a.Name)
	if err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if now, ok := h.pinned[a]; ok { // heard of meanwhile
		return now, nil
	}
	if len(h.pinned) >= maxPeers {
		clear(h.pinned)
	}
	h.pinned[a] = epoch
	return epoch, nil
}

// obeys notes which keys a node's message was sealed for: a node seals for those that it obeys. Messages overtake each other, so that only a fresh hello may lower the epoch, as of
// a node whose disk was restored.
func (h *hub) obeys(ctx context.Context, a transport.Address, epoch uint64, fresh bool) error {
	if epoch == 1 {
		set, err := h.f.keys.get(ctx, a.Tenant)
		if err != nil || set.epoch == 1 {
			return err // the common case costs nothing
		}
	}
	known, err := h.epochOf(ctx, a)
	if err != nil || epoch == known || epoch < known && !fresh {
		return err
	}
	if err := h.f.keys.pin(ctx, a.Tenant, a.Name, epoch); err != nil {
		return err
	}
	h.mu.Lock()
	h.pinned[a] = epoch
	h.mu.Unlock()
	return nil
}

// lead sends a node that obeys former keys the next ones.
func (h *hub) lead(ctx context.Context, via transport.Transport, a transport.Address) error {
	own, err := h.own(ctx, a)
	if err != nil || own.next.Epoch == 0 {
		return err
	}
	body, err := message.Marshal(message.KindKeys, own.next)
	if err != nil {
		return err
	}
	return h.send(ctx, via, a, message.KindKeys, 0, h.f.cfg.Now().Add(welcomeValid), body)
}

// open opens a message with the present identity or one in its grace, and says of which epoch that is. age is how old the node's keys may be.
func (h *hub) open(ctx context.Context, tenant string, data []byte, age time.Duration) (e message.Envelope, epoch uint64, err error) {
	set, err := h.f.keys.get(ctx, tenant)
	if err != nil {
		return e, 0, err
	}
	now := h.f.cfg.Now()
	var first error
	for _, own := range set.live(now) {
		e, err := own.id.Open(data, func(name string) (message.Peer, error) {
			return h.peerOf(ctx, transport.Address{Tenant: tenant, Name: name}, age)
		}, now, h.f.cfg.Skew)
		if err == nil {
			return e, own.epoch, nil
		}
		if first == nil || !errors.Is(err, message.ErrBadSignature) {
			first = err
		}
		if !errors.Is(err, message.ErrBadSignature) {
			break
		}
	}
	return message.Envelope{}, 0, first
}

// forget drops what is known of a node's keys.
func (h *hub) forget(a transport.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.peers, a)
	h.forgot++
}

package memtransport

import (
	"context"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// Node is a node's end. It implements transport.Transport, and transport.Presence for the control plane's address.
type Node struct {
	net   *Network
	addr  transport.Address
	port  *port // nil for an end that was refused
	gate  end.Gate
	want  bool      // connected, unless a partition was noticed; guarded by the port's mutex
	down  lane      // from the control plane
	board end.Board // whether the control plane is connected
}

// Address returns the node's own address.
func (nd *Node) Address() transport.Address { return nd.addr }

func (nd *Node) controller() transport.Address {
	return transport.Address{Tenant: nd.addr.Tenant, Name: message.Controller}
}

// Connect connects the node again after Disconnect. It does nothing for a node that is connected, and for an end that was replaced or closed.
func (nd *Node) Connect() { nd.set(true) }

// Disconnect drops the connection: both sides see it at once, Send answers ErrNotConnected, and what was under way in either direction is lost.
func (nd *Node) Disconnect() { nd.set(false) }

func (nd *Node) set(connected bool) {
	p := nd.port
	if p == nil || nd.gate.Dead() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node == nd {
		nd.want = connected
		nd.net.settle(p)
	}
}

// Close disconnects the node and closes its end: Send and Receive answer ErrClosed from now on.
func (nd *Node) Close() error {
	nd.Disconnect()
	nd.gate.Kill(transport.ErrClosed)
	return nil
}

// Send is transport.Transport's: to is the control plane's address within the node's tenant, there is no other that a node reaches. It never waits.
func (nd *Node) Send(ctx context.Context, to transport.Address, data []byte) error {
	if err := sendable(ctx, &nd.gate, data); err != nil {
		return err
	}
	if to != nd.controller() {
		return notConnected(to)
	}
	p := nd.port
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node != nd {
		return notConnected(to)
	}
	return p.up.send(data)
}

// Receive is transport.Transport's.
func (nd *Node) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	return nd.gate.Receive(ctx, handle)
}

// Handle is Receive without a goroutine: handle is called for each message until stop is called, which returns after running handlers returned. ctx is only handed on to
// handle. For fleets of many thousand nodes in one process.
func (nd *Node) Handle(ctx context.Context, handle func(context.Context, transport.Message)) (stop func(), err error) {
	stop, _, err = nd.gate.Open(ctx, handle)
	return stop, err
}

// Connected is transport.Presence's: it knows of the control plane's address only.
func (nd *Node) Connected(a transport.Address) bool { return nd.board.Connected(a) }

// Watch is transport.Presence's.
func (nd *Node) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	return nd.board.Watch(ctx, f)
}

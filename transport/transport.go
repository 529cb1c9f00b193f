// Package transport is the seam between the control plane and its nodes: addressed, best-effort delivery of encoded message envelopes.
//
// A transport is a carrier, not a queue. It may lose, repeat, reorder and delay; what is above it resends until acknowledged and handles every
// repetition. It is not trusted either: envelopes are signed and sealed by package message, and who a transport says sent something is a
// hint for routing only.
//
// transport/memtransport is the in-process driver with seeded faults, transport/httptransport the one over HTTPS. transporttest holds the suite.
package transport

import (
	"context"
	"errors"
)

// MaxMessage is the largest message in bytes. Send refuses a larger one with ErrTooLarge.
const MaxMessage = 256 << 10

// The errors of the contract. Drivers wrap them with %w.
var (
	// ErrNotConnected: the address has no connection here at present; the message was not taken. Only a hint: nil promises nothing either.
	ErrNotConnected = errors.New("transport: not connected")
	// ErrBusy: the address's queue is full; the message was not taken; try again later.
	ErrBusy = errors.New("transport: queue is full")
	// ErrTooLarge: the message is over MaxMessage.
	ErrTooLarge = errors.New("transport: message too large")
	// ErrRefused: the other side will never take this peer as it is (unknown node, wrong key). Reconnecting does not help.
	ErrRefused = errors.New("transport: refused")
	// ErrClosed: this end was closed by its owner.
	ErrClosed = errors.New("transport: closed")
)

// Address names one peer within a tenant: a node id, or message.Controller.
type Address struct {
	Tenant, Name string
}

// String returns "tenant/name".
func (a Address) String() string { return a.Tenant + "/" + a.Name }

// Message is what Receive hands over. Data belongs to the handler.
type Message struct {
	From Address // a hint, not proof
	Data []byte
}

// Transport is one end of a transport: the control plane's end, which reaches all nodes, or a node's end, which reaches the control plane.
// All methods are safe for concurrent use. Closing belongs to the constructor of each driver.
type Transport interface {
	// Send hands data over for delivery to the address. nil means handed over, not delivered (T-HANDOVER). It does not keep or change data after it returned
	// (T-ALIAS). It does not wait for the receiver: at most for room in a queue until ctx ends, and drivers prefer ErrBusy (T-PRESSURE). A message
	// reaches no other address (T-ADDRESS), whole or not at all (T-WHOLE).
	Send(ctx context.Context, to Address, data []byte) error

	// Receive calls handle for each message that arrives for this end until ctx ends; then it returns ctx's error, after running handlers returned (T-END). Messages of one sender are handled
	// one after another, those of different senders may be handled at once (T-TURN). One Receive at a time. What arrives while none runs may be lost.
	// handle must not block for long; it may call Send.
	Receive(ctx context.Context, handle func(context.Context, Message)) error
}

// Presence is an optional ability of the control plane's end: it knows who is connected.
type Presence interface {
	// Connected reports whether the address has a connection here now.
	Connected(a Address) bool
	// Watch calls f for each address that connects (true) or goes (false) until ctx ends; first once with true for each that is connected already. It
	// blocks until then. f must not block.
	Watch(ctx context.Context, f func(a Address, connected bool)) error
}

// Connected asks t whether a is connected. A transport that does not know says yes: trying is the only way to find out.
func Connected(t Transport, a Address) bool {
	if p, ok := t.(Presence); ok {
		return p.Connected(a)
	}
	return true
}

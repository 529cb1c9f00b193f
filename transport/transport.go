// Package transport is the seam between the control plane and its nodes: addressed, best-effort delivery of encoded message envelopes, plus presence.
//
// A transport is a carrier, not a queue. It may lose, repeat, reorder and delay; what is above it resends until acknowledged and handles every
// repetition. It is not trusted either: envelopes are signed and sealed by package message, and who a transport says sent something is a
// hint for routing only.
//
// The tour: [Transport] is one end, [Presence] what an end may know besides, [Connected] and [Watch] reach it and fall back where it is missing.
// transport/memtransport is the in-process driver with seeded faults, transport/httptransport the one over HTTPS. transport/transporttest holds the
// suite that every driver runs; the rules in brackets (T-HANDOVER ...) are its cases.
package transport

import (
	"context"
	"errors"

	"github.com/fleetwright/fleetwright/fault"
)

// MaxMessage is the largest message in bytes. Send refuses a larger one with ErrTooLarge.
const MaxMessage = 256 << 10

// The errors of the contract. Drivers wrap them with %w; each has a code of package fault.
var (
	// ErrNotConnected: the address has no connection here at present; the message was not taken. Only a hint: nil promises nothing either.
	ErrNotConnected error = &sentinel{fault.TargetNotConnected, "transport: not connected"}
	// ErrBusy: the address's queue is full; the message was not taken; try again later.
	ErrBusy error = &sentinel{fault.Throttling, "transport: queue is full"}
	// ErrTooLarge: the message is over MaxMessage.
	ErrTooLarge error = &sentinel{fault.Validation, "transport: message too large"}
	// ErrRefused: the other side will never take this peer as it is (unknown node, wrong key). Reconnecting does not help.
	ErrRefused error = &sentinel{fault.Unauthorized, "transport: refused"}
	// ErrClosed: this end was closed by its owner.
	ErrClosed error = &sentinel{fault.ServiceUnavailable, "transport: closed"}
	// ErrReceiving: Receive was called on an end on which another Receive is running.
	ErrReceiving error = &sentinel{fault.InternalServerError, "transport: another Receive is running on this end"}
	// ErrNoPresence: Watch was asked of a transport that does not know who is connected.
	ErrNoPresence error = &sentinel{fault.UnsupportedOperation, "transport: this transport has no presence"}
)

// sentinel is an error of the contract: compared by identity, with a code.
type sentinel struct {
	code fault.Code
	text string
}

func (s *sentinel) Error() string         { return s.text }
func (s *sentinel) FaultCode() fault.Code { return s.code }

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
	// reaches no other address (T-ADDRESS), whole or not at all (T-WHOLE). MaxMessage bytes and none at all are messages; one byte more is
	// ErrTooLarge (T-SIZE). The control plane's end answers ErrNotConnected for an address that it has no connection with, and once its owner closed
	// an end Send answers ErrClosed (T-CLOSED).
	Send(ctx context.Context, to Address, data []byte) error

	// Receive calls handle for each message that arrives for this end until ctx ends; then it returns ctx's error, after running handlers returned (T-END). Messages of one sender are handled
	// one after another, those of different senders may be handled at once (T-TURN). One Receive at a time: a second one is ErrReceiving at once, and
	// another may follow when one has ended. What arrives while none runs may be lost. handle must not block for long; it may call Send. Its context ends with ctx.
	// Receive also ends, with ErrClosed, when the owner closed the end, and with ErrRefused when the other side refused this peer for good.
	Receive(ctx context.Context, handle func(context.Context, Message)) error
}

// Presence is an optional ability of an end: it knows who is connected. The control plane's end knows it of the nodes, a node's end of the control plane.
// It is found out with delay: a peer that vanished without a word counts as connected until the driver misses it.
type Presence interface {
	// Connected reports whether the address has a connection here now.
	Connected(a Address) bool
	// Watch calls f for each address that connects (true) or goes (false) until ctx ends; first once with true for each that is connected already. It
	// blocks until then, and returns ctx's error. f is called by one goroutine; it must not block. For one address the calls alternate, true first, and the last
	// one tells the truth; a change that was undone before f was told may be left out, but never that a connection was replaced by a new one: that
	// is false, then true (T-PRESENCE).
	Watch(ctx context.Context, f func(a Address, connected bool)) error
}

// Connected asks t whether a is connected. A transport that does not know says yes: trying is the only way to find out.
func Connected(t Transport, a Address) bool {
	if p, ok := t.(Presence); ok {
		return p.Connected(a)
	}
	return true
}

// Watch watches t's presence as Presence.Watch does. For a transport that does not know it returns ErrNoPresence at once: the caller then polls its outbox.
func Watch(ctx context.Context, t Transport, f func(a Address, connected bool)) error {
	if p, ok := t.(Presence); ok {
		return p.Watch(ctx, f)
	}
	return ErrNoPresence
}

// Counter is an optional ability of an end: it knows how many addresses are connected.
type Counter interface {
	// Len returns how many addresses have a connection here now. It does not block.
	Len() int
}

// Len returns how many addresses are connected to t; ok is false for a transport that does not know.
func Len(t Transport) (n int, ok bool) {
	c, ok := t.(Counter)
	if !ok {
		return 0, false
	}
	return c.Len(), true
}

// Shared reports whether every control plane that uses the same carrier reaches the same nodes through it, as over a broker, so that nothing has to be passed on between control planes. An
// end says so with a method Shared() bool; one without it is shared if it has no Presence: it may reach anybody then.
func Shared(t Transport) bool {
	if s, ok := t.(interface{ Shared() bool }); ok {
		return s.Shared()
	}
	_, knows := t.(Presence)
	return !knows
}

// IsTemporary reports whether a later Send may succeed: true for ErrNotConnected and ErrBusy.
func IsTemporary(err error) bool { return errors.Is(err, ErrNotConnected) || errors.Is(err, ErrBusy) }

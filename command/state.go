package command

import (
	"maps"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

// Counts says how many invocations of a command ended how. The zero value counts nothing.
type Counts map[message.Detail]int

// Errors returns the invocations that count against MaxErrors (R16).
func (c Counts) Errors() int {
	n := 0
	for d, k := range c {
		if d.CountsAsError() {
			n += k
		}
	}
	return n
}

// Done returns the invocations that ended, however.
func (c Counts) Done() int {
	n := 0
	for _, k := range c {
		n += k
	}
	return n
}

// State is the part of a command's record that the engine owns: counters, never lists, so that an event costs the same whatever the number of nodes.
type State struct {
	ID          string      `json:"id"`
	N           int         `json:"n"`           // targets
	Concurrency int         `json:"concurrency"` // C: most slots in use
	ErrorLimit  int         `json:"errorLimit"`  // L: the command stops when errors > L
	Ramp        target.Ramp `json:"ramp"`

	Turn    int    `json:"turn"`    // targets before this index have an invocation record
	Slots   int    `json:"slots"`   // invocations that hold a slot: offered or running
	Offered int    `json:"offered"` // of these, not answered yet
	Running int    `json:"running"` // delivered and not ended
	Delayed int    `json:"delayed"` // offered once, not answering, holding no slot
	Counts  Counts `json:"counts"`

	Cancel  bool           `json:"cancel,omitempty"`  // the whole command was asked to stop
	Closing message.Detail `json:"closing,omitempty"` // nothing new is dispatched, and what never ran ends so: Cancelled, Terminated or DeliveryTimedOut
	Expired bool           `json:"expired,omitempty"` // ExpiresAt passed: what still runs ends as DeliveryTimedOut
	Rest    message.Detail `json:"rest,omitempty"`    // how the targets from Turn on ended

	RequestedAt     time.Time     `json:"requestedAt"`
	DeliveryTimeout time.Duration `json:"deliveryTimeout"` // how long an invocation is offered
	ExpiresAt       time.Time     `json:"expiresAt"`
	EndedAt         time.Time     `json:"endedAt,omitzero"`

	Form int `json:"form,omitempty"` // of the command's records, when it is not the first one
}

// NewState returns the state of a command that was just sent to n nodes. With ramp the number of unanswered offers begins at one and doubles (R13).
func NewState(id string, n, concurrency, errorLimit int, ramp bool, now time.Time, delivery, execution time.Duration) State {
	s := State{ID: id, N: n, Concurrency: concurrency, ErrorLimit: errorLimit, Ramp: target.NoRamp(concurrency), Counts: Counts{},
		RequestedAt: now, DeliveryTimeout: delivery, ExpiresAt: now.Add(delivery + execution)}
	if ramp {
		s.Ramp = target.NewRamp(concurrency)
	}
	if n == 0 {
		s.EndedAt = now
	}
	return s
}

// clone returns a copy that shares nothing with s.
func (s State) clone() State {
	s.Counts = maps.Clone(s.Counts)
	return s
}

// Done reports whether every invocation has ended.
func (s *State) Done() bool { return s.Counts.Done() >= s.N }

// Room returns how many nodes may be offered the command now.
func (s *State) Room() int {
	if s.Closing != "" || s.Done() {
		return 0
	}
	return s.Ramp.Allow(s.Slots)
}

// Detail derives the command's StatusDetails from its counters (spec §1.2.4; T2 and T3 resolved there). It is a total function; once [State.Done] it never changes. A command
// whose nodes were all cancelled one by one is Cancelled, as if it had been cancelled at once; AWS does not say.
func (s *State) Detail() message.Detail {
	c := s.Counts
	never := c[message.DetailUndeliverable] + c[message.DetailInvalidPlatform] + c[message.DetailAccessDenied]
	switch errors := c.Errors(); {
	case s.N == 0:
		return message.DetailNoInstancesInTag
	case !s.Done() && s.Cancel:
		return message.DetailCancelling
	case !s.Done() && s.Running == 0 && c.Done() == 0:
		return message.DetailPending
	case !s.Done():
		return message.DetailInProgress
	case s.Cancel && c[message.DetailCancelled] > 0, c[message.DetailCancelled] == s.N:
		return message.DetailCancelled
	case errors > s.ErrorLimit && errors == c[message.DetailExecutionTimedOut]:
		return message.DetailExecutionTimedOut
	case errors > s.ErrorLimit:
		return message.DetailFailed
	case c[message.DetailDeliveryTimedOut] > s.ErrorLimit:
		return message.DetailDeliveryTimedOut
	case never == s.N:
		return message.DetailFailed
	case c[message.DetailSuccess]+never == s.N:
		return message.DetailSuccess
	}
	return message.DetailIncomplete
}

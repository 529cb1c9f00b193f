package command

import (
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// Candidate is a target that the engine may offer the command to, with what the host found out about it.
type Candidate struct {
	Node    string
	Refused message.Detail // Undeliverable (gone), InvalidPlatform, AccessDenied; empty to offer
	Reason  string
	Exists  bool // it has an invocation record already (cancelled before its turn): skip it
	Absent  bool // it is not connected: Delayed at once, without a slot, until it is heard of
}

// Event is what happens to a command: one of candidates, an answer, a report, a sign of life, a cancellation.
type Event struct {
	Candidates []Candidate     // the next targets from State.Turn on; what there is no Room for is left
	Node       string          // the node the following speak of
	Ready      *message.Ready  // it answered an offer
	Report     *message.Report // it reported
	Present    bool            // it was heard of; First after a reconnect
	First      bool
	Cancel     bool     // cancel Nodes, or all when it is empty
	Nodes      []string // targets of the command whose invocation has not ended
}

// Send is an effect: a message for a node. It is sent after the state was committed, and may be lost: the engine sends again.
type Send struct {
	Node    string
	Kind    message.Kind // offer, run, cancel, ack
	Attempt int
	Ack     *message.Ack
	Detail  message.Detail // of a cancel
}

// Timing are the engine's intervals. Zero fields take the defaults.
type Timing struct {
	Resend time.Duration // between the first and second sending of a message; doubles up to Max. Default 1 s
	Max    time.Duration // default 30 s. Also between two tries to reach a Delayed node that nothing is heard of; those double up to 16 times as much
	Delay  time.Duration // an offer that was not answered for so long makes the invocation Delayed. Default 15 s
	Grace  time.Duration // how long after ExpiresAt an execution may still report its own end. Default 5 s
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.Resend, time.Second)
	def(&t.Max, 30*time.Second)
	def(&t.Delay, 15*time.Second)
	def(&t.Grace, 5*time.Second)
	return t
}

// What one Flush should hold at most, so that it fits into one transaction of a store with what goes with it.
const (
	flushRecords = 2000
	flushBytes   = 3 << 20
	flushSends   = 4 * flushRecords
)

// open is an invocation that has not ended, with what only memory knows of it.
type open struct {
	Invocation
	due      time.Time // next resend or check
	backoff  time.Duration
	said     time.Time // when something was sent last
	reported bool      // the node has the run: stop resending it
	waiting  bool      // Delayed, and it answered: it is to get the next slot
	passed   bool      // Offered, and its place in the ramp went to another
	dirty    bool      // among changed
	bytes    int       // its part of the engine's weight
	class    int       // of its last timer
}

// Engine decides what a command does next. It is pure: no I/O, no goroutine, no clock; the same events at the same times give the same effects.
//
// The caller owns the only Engine of a command, feeds it events, then takes what [Engine.Flush] returns, commits the records in one transaction, and only
// then sends the messages. It may feed the next events while that commit is under way, if it commits in order. If a commit fails it throws the engine
// away and makes another from the store with [Restore].
type Engine struct {
	State
	timing  Timing
	open    map[string]*open
	timers  timers
	changed []*open // to be written
	weight  int     // most bytes that writing them takes
	sends   []Send
	sweep   []string        // nodes of open that Closing or Expired has to end, in batches
	waiting []*open         // Delayed nodes that answered and wait for a slot, in this order; some may have ended
	early   map[string]bool // targets from Turn on that have a record: cancelled before their turn
	unheard []asked         // who had their turn, in this order; some have answered or ended meanwhile
	heard   []delivery      // who answered since the last Flush, if somebody is to be told
	watched bool
	final   bool // the end of the command is among what Flush returns
	dirty   bool
}

// NewEngine returns the engine of a command without invocations.
func NewEngine(s State, t Timing) *Engine {
	return &Engine{State: s.clone(), timing: t.withDefaults(), open: map[string]*open{}, early: map[string]bool{}}
}

// Restore returns the engine of a command from its stored state and its invocations that have not ended, in any order. What was sent and not answered is sent again at once.
func Restore(s State, t Timing, invs []Invocation, now time.Time) *Engine {
	e := NewEngine(s, t)
	for _, inv := range invs {
		if inv.Phase == PhaseDone {
			continue
		}
		o := &open{Invocation: inv, reported: inv.Seq > 0}
		e.open[inv.Node] = o
		if inv.Phase != PhaseDelivered {
			e.unheard = append(e.unheard, asked{inv.Node, inv.OfferedAt})
		}
		switch {
		case inv.Phase == PhaseDelayed:
			e.armDelayed(now, o)
		default:
			e.arm(o, now, irregular)
		}
	}
	slices.SortFunc(e.unheard, func(a, b asked) int { return a.at.Compare(b.at) })
	if !e.Ramp.Done() { // whose place went to another has one again
		e.Ramp.Sent = e.Ramp.Acked + e.Offered
	}
	if e.Closing != "" || e.Expired {
		e.startSweep()
	}
	return e
}

// asked is a node that had its turn.
type asked struct {
	node string
	at   time.Time
}

// delivery is a node that answered.
type delivery struct {
	node     string
	attempt  int
	from, at time.Time
}

// waits reports whether the node has an invocation that it has not answered.
func (e *Engine) waits(node string) bool {
	o := e.open[node]
	return o != nil && o.Phase != PhaseDelivered
}

// Oldest returns since when the longest waiting of the invocations that were not answered waits; ok is false when there is none.
func (e *Engine) Oldest() (since time.Time, ok bool) {
	for len(e.unheard) > 0 && !e.waits(e.unheard[0].node) {
		e.unheard[0] = asked{}
		e.unheard = e.unheard[1:]
	}
	if len(e.unheard) == 0 {
		return time.Time{}, false
	}
	return e.unheard[0].at, true
}

// turn notes that a node had its turn. Those who answered are forgotten when they are the most.
func (e *Engine) turn(node string, at time.Time) {
	if n := len(e.unheard); n == cap(e.unheard) && n > 64 && n > 2*(e.Offered+e.Delayed) {
		e.unheard = slices.DeleteFunc(e.unheard, func(a asked) bool { return !e.waits(a.node) })
	}
	e.unheard = append(e.unheard, asked{node, at})
}

// Open returns the number of invocations that were offered and have not ended.
func (e *Engine) Open() int { return len(e.open) }

// Has reports whether node has an invocation that was offered and has not ended.
func (e *Engine) Has(node string) bool { return e.open[node] != nil }

// Changes are what Flush hands over. The invocations' steps are shared with the engine, which never changes them in place.
type Changes struct {
	State       State
	Invocations []Invocation // sorted by node
	Sends       []Send
	Ended       bool // the command ended with this change
}

// Dirty reports whether Flush has something to commit or send.
func (e *Engine) Dirty() bool { return e.dirty || len(e.sends) > 0 }

// Pending returns how many invocation records the next Flush would hold.
func (e *Engine) Pending() int { return len(e.changed) }

// Full reports whether what the next Flush would hold nears what one transaction of a store may write (store.MaxWrites, store.MaxTxBytes): flush before more is stepped.
func (e *Engine) Full() bool {
	return len(e.changed) >= flushRecords || e.weight >= flushBytes || len(e.sends) >= flushSends
}

// Flush returns what changed since the last Flush and forgets it. commit says whether there is something to write, else there are only messages.
func (e *Engine) Flush() (c Changes, commit bool) {
	if n := len(e.changed); n > 0 {
		c.Invocations = make([]Invocation, 0, n)
	}
	commit = e.flush(&c, func(inv *Invocation) { c.Invocations = append(c.Invocations, *inv) })
	return c, commit
}

// flush is Flush for who is quick to write down what changed: each invocation is shown once, in order, and changes after that.
func (e *Engine) flush(c *Changes, show func(*Invocation)) (commit bool) {
	c.State, c.Sends, c.Ended = e.State.clone(), e.sends, e.final
	slices.SortFunc(e.changed, func(a, b *open) int { return strings.Compare(a.Node, b.Node) })
	for _, o := range e.changed {
		show(&o.Invocation)
		o.apart, o.dirty, o.bytes = nil, false, 0
	}
	commit = e.dirty
	clear(e.changed)
	e.changed, e.weight, e.sends, e.heard, e.dirty, e.final = e.changed[:0], 0, nil, nil, false, false
	return commit
}

// Next returns when [Engine.Tick] has something to do. ok is false when it never has.
func (e *Engine) Next() (t time.Time, ok bool) {
	if e.State.Done() {
		return t, false
	}
	if len(e.sweep) > 0 || len(e.waiting) > 0 && e.Room() > 0 {
		return time.Time{}, true
	}
	t = e.ExpiresAt
	if e.Expired {
		t = e.ExpiresAt.Add(e.timing.Grace)
	}
	if first, _ := e.timers.first(); first != nil && first.at.Before(t) {
		t = first.at
	}
	return t, true
}

// Step applies one event.
func (e *Engine) Step(now time.Time, ev Event) {
	if e.State.Done() {
		return
	}
	switch {
	case ev.Candidates != nil:
		e.dispatch(now, ev.Candidates)
	case ev.Cancel && len(ev.Nodes) == 0:
		e.cancelAll()
	case ev.Cancel:
		for _, n := range ev.Nodes {
			e.cancelNode(now, n)
		}
	case ev.Ready != nil:
		e.ready(now, ev.Node, ev.Ready)
	case ev.Report != nil:
		e.report(now, ev.Node, ev.Report)
	case ev.Present:
		e.present(now, ev.Node, ev.First)
	}
	e.settle(now)
}

// Tick does what time demands: resend, give up on offers, expire, and go on ending what a closing command has to end; at most limit invocations a call, and no more than makes the engine
// Full.
func (e *Engine) Tick(now time.Time, limit int) {
	if e.State.Done() {
		return
	}
	if !e.Expired && !now.Before(e.ExpiresAt) {
		e.Expired, e.dirty = true, true
		e.close(message.DetailDeliveryTimedOut)
	}
	if e.Expired && len(e.sweep) == 0 && len(e.open) > 0 && !now.Before(e.ExpiresAt.Add(e.timing.Grace)) {
		e.startSweep()
	}
	for ; limit > 0 && len(e.sweep) > 0 && !e.Full(); limit-- {
		node := e.sweep[0]
		e.sweep = e.sweep[1:]
		if o := e.open[node]; o != nil {
			e.endClosing(now, o)
		}
	}
	for ; limit > 0 && len(e.waiting) > 0 && e.Room() > 0 && !e.Full(); limit-- {
		o := e.waiting[0]
		e.waiting[0] = nil
		e.waiting = e.waiting[1:]
		if o.waiting && o.Phase == PhaseDelayed {
			e.Delayed--
			e.offer(now, o)
		}
	}
	for ; limit > 0 && !e.Full(); limit-- {
		o := e.timers.pop(now)
		if o == nil {
			break
		}
		e.due(now, o)
	}
	e.settle(now)
}

// settle applies the rules that hold after every event: the error limit, and the end.
func (e *Engine) settle(now time.Time) {
	if e.Closing == "" && e.Counts.Errors() > e.ErrorLimit {
		e.close(message.DetailTerminated)
	}
	if e.State.Done() && e.EndedAt.IsZero() {
		e.EndedAt, e.dirty, e.final = now, true, true
	}
}

// put notes that an invocation is to be written.
func (e *Engine) put(o *open) {
	if !o.dirty {
		o.dirty = true
		e.changed = append(e.changed, o)
	}
	e.weight -= o.bytes
	o.bytes = o.Invocation.weight()
	e.weight += o.bytes
	e.dirty = true
}

func (e *Engine) send(now time.Time, o *open, k message.Kind) {
	s := Send{Node: o.Node, Kind: k, Attempt: o.Attempt}
	switch {
	case k != message.KindCancel:
	case o.Overdue:
		s.Detail = message.DetailDeliveryTimedOut
	default:
		s.Detail = message.DetailCancelled
	}
	o.said = now
	e.sends = append(e.sends, s)
}

// sendAgain sends what a node asks for again, unless it was sent a moment ago: nobody makes this control plane send more than it would by itself.
func (e *Engine) sendAgain(now time.Time, o *open, k message.Kind, apart time.Duration) {
	if o.said.IsZero() || now.Sub(o.said) >= apart {
		e.send(now, o, k)
	}
}

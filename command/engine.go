package command

import (
	"container/heap"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// Phase is how far the delivery of an invocation is; it is finer than AWS's status.
type Phase string

// The phases.
const (
	PhaseOffered   Phase = "offered"   // asked whether it can take the command; holds a slot
	PhaseDelayed   Phase = "delayed"   // did not answer; holds no slot, and cannot start without another offer
	PhaseDelivered Phase = "delivered" // answered Ready: may run; holds a slot
	PhaseDone      Phase = "done"
)

// Invocation is one command on one node, as it is stored. It is made when the node is first offered the command; until then it is Pending.
type Invocation struct {
	Node        string               `json:"node"`
	Attempt     int                  `json:"attempt"`
	Phase       Phase                `json:"phase"`
	Detail      message.Detail       `json:"detail"`
	Reason      string               `json:"reason,omitempty"`   // why it ended so, for a person
	ExitCode    int                  `json:"exitCode"`           // -1 before anything ended
	OfferedAt   time.Time            `json:"offeredAt,omitzero"` // first
	AskedAt     time.Time            `json:"askedAt,omitzero"`   // with the newest offer
	DeliveredAt time.Time            `json:"deliveredAt,omitzero"`
	Started     time.Time            `json:"started,omitzero"` // by the node's clock
	Ended       time.Time            `json:"ended,omitzero"`   // by the node's clock
	DoneAt      time.Time            `json:"doneAt,omitzero"`  // when this control plane recorded the end
	Seq         uint64               `json:"seq,omitempty"`    // of the newest report
	Cancelling  bool                 `json:"cancelling,omitempty"`
	Steps       []message.StepReport `json:"steps,omitempty"`
	StepsApart  bool                 `json:"stepsApart,omitempty"` // the heads of the steps' output lie in records of their own
	Late        *Late                `json:"late,omitempty"`
}

// Late is a result that came after the invocation had ended: evidence, which changes no status.
type Late struct {
	At       time.Time      `json:"at"`
	Detail   message.Detail `json:"detail"`
	ExitCode int            `json:"exitCode"`
}

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
	Candidates []Candidate     // the next targets from State.Turn on, at most Room of them
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
	Resend time.Duration // between the first and second sending of a message; doubles up to ResendMax. Default 1 s
	Max    time.Duration // default 30 s
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

// open is an invocation that has not ended, with its timer.
type open struct {
	Invocation
	due      time.Time // next resend or check
	backoff  time.Duration
	reported bool // the node has the run: stop resending it
	pos      int  // in the heap, -1 when absent
}

// Engine decides what a command does next. It is pure: no I/O, no goroutine, no clock; the same events at the same times give the same effects.
//
// The caller owns the only Engine of a command, feeds it events, then takes what [Engine.Flush] returns, commits the records in one transaction, and only
// then sends the messages. If the commit fails it throws the engine away and makes another from the store with [Restore].
type Engine struct {
	State
	timing  Timing
	open    map[string]*open
	timers  timers
	changed map[string]*Invocation // to be written
	sends   []Send
	sweep   []string // nodes of open that Closing or Expired has to end, in batches
	final   bool     // the end of the command is among what Flush returns
	dirty   bool
	waiting []string // Delayed nodes that were heard of and wait for a slot
}

// NewEngine returns the engine of a command without invocations.
func NewEngine(s State, t Timing) *Engine {
	return &Engine{State: s.clone(), timing: t.withDefaults(), open: map[string]*open{}, changed: map[string]*Invocation{}}
}

// Restore returns the engine of a command from its stored state and its invocations that have not ended, in any order. What was sent and not answered is sent again at once.
func Restore(s State, t Timing, invs []Invocation, now time.Time) *Engine {
	e := NewEngine(s, t)
	for _, inv := range invs {
		if inv.Phase == PhaseDone {
			continue
		}
		o := &open{Invocation: inv, pos: -1, reported: inv.Seq > 0}
		e.open[inv.Node] = o
		switch {
		case inv.Phase == PhaseDelayed:
			e.arm(o, inv.OfferedAt.Add(e.DeliveryTimeout))
		default:
			e.arm(o, now)
		}
	}
	if e.Closing != "" || e.Expired {
		e.startSweep()
	}
	return e
}

// Open returns the number of invocations that were offered and have not ended.
func (e *Engine) Open() int { return len(e.open) }

// Has reports whether node has an invocation that was offered and has not ended.
func (e *Engine) Has(node string) bool { return e.open[node] != nil }

// Changes are what Flush hands over.
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

// Flush returns what changed since the last Flush and forgets it.
func (e *Engine) Flush() (c Changes, commit bool) {
	c = Changes{State: e.State.clone(), Sends: e.sends, Ended: e.final}
	for _, inv := range e.changed {
		c.Invocations = append(c.Invocations, *inv)
	}
	slices.SortFunc(c.Invocations, func(a, b Invocation) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	commit = e.dirty
	e.changed, e.sends, e.dirty, e.final = map[string]*Invocation{}, nil, false, false
	return c, commit
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
	if len(e.timers) > 0 && e.timers[0].due.Before(t) {
		t = e.timers[0].due
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
		e.cancelAll(now)
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

// Tick does what time demands: resend, give up on offers, expire, and go on ending what a closing command has to end, at most limit invocations a call.
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
	for ; limit > 0 && len(e.sweep) > 0; limit-- {
		node := e.sweep[0]
		e.sweep = e.sweep[1:]
		if o := e.open[node]; o != nil {
			e.endClosing(now, o)
		}
	}
	for ; limit > 0 && len(e.waiting) > 0 && e.Room() > 0; limit-- {
		node := e.waiting[0]
		e.waiting = e.waiting[1:]
		if o := e.open[node]; o != nil && o.Phase == PhaseDelayed {
			e.Delayed--
			e.offer(now, o)
		}
	}
	for ; limit > 0 && len(e.timers) > 0 && !e.timers[0].due.After(now); limit-- {
		e.due(now, e.timers[0])
	}
	e.settle(now)
}

// dispatch makes the invocations of the next targets.
func (e *Engine) dispatch(now time.Time, cs []Candidate) {
	for _, c := range cs {
		if e.Closing != "" || e.Turn >= e.N {
			return
		}
		switch {
		case c.Exists:
		case c.Refused != "":
			e.add(Invocation{Node: c.Node, Attempt: 1, OfferedAt: now, ExitCode: -1})
			e.end(now, e.open[c.Node], c.Refused, c.Reason)
		case c.Absent:
			e.add(Invocation{Node: c.Node, Attempt: 1, OfferedAt: now, ExitCode: -1})
			e.delay(e.open[c.Node])
		case e.Room() == 0:
			return
		default:
			e.add(Invocation{Node: c.Node, Attempt: 1, OfferedAt: now, ExitCode: -1})
			e.offer(now, e.open[c.Node])
		}
		e.Turn++
		e.dirty = true
	}
}

func (e *Engine) add(inv Invocation) {
	e.open[inv.Node] = &open{Invocation: inv, pos: -1}
}

// offer asks a node, giving it a slot.
func (e *Engine) offer(now time.Time, o *open) {
	o.Phase, o.Detail = PhaseOffered, message.DetailPending
	e.Slots++
	e.Offered++
	e.Ramp = e.Ramp.Start(1)
	o.AskedAt, o.backoff = now, 0 // the wait for an answer begins anew, the delivery timeout does not
	e.put(o)
	e.send(o, message.KindOffer)
	e.rearm(now, o)
}

// delay lets an invocation wait, without a slot, until its node is heard of or the delivery timeout ends it.
func (e *Engine) delay(o *open) {
	o.Phase, o.Detail = PhaseDelayed, message.DetailDelayed
	e.Delayed++
	e.put(o)
	e.arm(o, o.OfferedAt.Add(e.DeliveryTimeout))
}

// leave takes an invocation out of the counters of its phase.
func (e *Engine) leave(o *open) {
	switch o.Phase {
	case PhaseOffered:
		e.Slots--
		e.Offered--
		e.Ramp = e.Ramp.Ack(1)
	case PhaseDelivered:
		e.Slots--
		e.Running--
	case PhaseDelayed:
		e.Delayed--
	}
}

func (e *Engine) end(now time.Time, o *open, d message.Detail, reason string) {
	e.leave(o)
	o.Phase, o.Detail, o.DoneAt = PhaseDone, d, now
	if reason != "" {
		o.Reason = reason
	}
	e.Counts[d]++
	e.put(o)
	e.disarm(o)
	delete(e.open, o.Node)
}

func (e *Engine) ready(now time.Time, node string, r *message.Ready) {
	o := e.open[node]
	if o == nil || o.Attempt != r.Attempt {
		return
	}
	switch {
	case o.Phase == PhaseDelivered:
		if !o.reported { // it asks again: our run was lost
			e.send(o, message.KindRun)
		}
		return
	case r.Refused != "":
		e.end(now, o, refusal(r.Refused), r.Reason)
		return
	case e.Closing != "":
		return
	case o.Phase == PhaseDelayed:
		if e.Concurrency-e.Slots <= 0 {
			e.wait(node)
			return
		}
		e.Delayed--
	default:
		e.Slots--
		e.Offered--
		e.Ramp = e.Ramp.Ack(1)
	}
	e.Slots++
	e.Running++
	o.Phase, o.Detail, o.DeliveredAt, o.backoff = PhaseDelivered, message.DetailInProgress, now, 0
	e.put(o)
	e.send(o, message.KindRun)
	e.rearm(now, o)
}

// refusal keeps a node from ending an invocation with a detail that is not its to give.
func refusal(d message.Detail) message.Detail {
	switch d {
	case message.DetailInvalidPlatform, message.DetailAccessDenied:
		return d
	}
	return message.DetailUndeliverable
}

func (e *Engine) report(now time.Time, node string, r *message.Report) {
	o := e.open[node]
	if o == nil || o.Attempt != r.Attempt || o.Phase != PhaseDelivered {
		return // never told to run, or ended: the service keeps late results as evidence
	}
	d := reported(r.Detail)
	if r.Seq > o.Seq || d.Terminal() {
		o.Seq, o.ExitCode, o.Started, o.Ended, o.Steps = max(o.Seq, r.Seq), r.ExitCode, r.Started, r.Ended, r.Steps
		o.reported = true
		switch {
		case d == message.DetailCancelled && e.Expired && !e.Cancel:
			e.end(now, o, message.DetailDeliveryTimedOut, "stopped at the command's deadline")
		case d.Terminal():
			e.end(now, o, d, r.Reason)
		default:
			e.put(o)
			if o.Cancelling {
				e.rearm(now, o)
			} else {
				e.disarm(o)
			}
		}
	}
	e.sends = append(e.sends, Send{Node: node, Kind: message.KindAck, Attempt: o.Attempt,
		Ack: &message.Ack{Ref: r.Ref, Seq: o.Seq, Final: o.Phase == PhaseDone}})
}

// reported maps what a node may say to what is recorded.
func reported(d message.Detail) message.Detail {
	switch d {
	case message.DetailSuccess, message.DetailFailed, message.DetailExecutionTimedOut, message.DetailCancelled, message.DetailInterrupted,
		message.DetailInvalidPlatform, message.DetailAccessDenied, message.DetailUndeliverable:
		return d
	case message.DetailPending, message.DetailInProgress, message.DetailCancelling, message.DetailDelayed:
		return message.DetailInProgress
	}
	return message.DetailFailed
}

// present: the node was heard of. What it may have missed is sent again when it reconnected, and a Delayed one is offered the command anew.
func (e *Engine) present(now time.Time, node string, first bool) {
	o := e.open[node]
	switch {
	case o == nil:
	case o.Phase == PhaseDelayed:
		if e.Closing == "" {
			e.wait(node)
		}
	case first && o.Phase == PhaseOffered:
		e.send(o, message.KindOffer)
	case first && o.Phase == PhaseDelivered && !o.reported:
		e.send(o, message.KindRun)
	case first && o.Cancelling:
		e.send(o, message.KindCancel)
	}
}

func (e *Engine) wait(node string) {
	if !slices.Contains(e.waiting, node) {
		e.waiting = append(e.waiting, node)
	}
}

func (e *Engine) cancelAll(now time.Time) {
	if e.Cancel {
		return
	}
	e.Cancel, e.dirty = true, true
	e.close(message.DetailCancelled)
}

// cancelNode stops one target; a node that had no turn yet gets its record, already ended.
func (e *Engine) cancelNode(now time.Time, node string) {
	o := e.open[node]
	if o == nil {
		if e.Closing != "" || e.changed[node] != nil {
			return
		}
		e.add(Invocation{Node: node, Attempt: 1, ExitCode: -1})
		o = e.open[node]
	}
	e.stop(now, o, message.DetailCancelled, "cancelled before it started")
}

// stop ends what never ran and asks the node to end what may run.
func (e *Engine) stop(now time.Time, o *open, d message.Detail, reason string) {
	if o.Phase != PhaseDelivered {
		e.end(now, o, d, reason)
		return
	}
	if !o.Cancelling {
		o.Cancelling, o.Detail, o.backoff = true, message.DetailCancelling, 0
		e.put(o)
		e.send(o, message.KindCancel)
		e.rearm(now, o)
	}
}

// close stops dispatching: the targets without a record end as d at once, those with one in batches.
func (e *Engine) close(d message.Detail) {
	if e.Closing == "" {
		e.Closing, e.Rest, e.dirty = d, d, true
		rest := e.N - e.Turn
		// Targets beyond Turn that were cancelled one by one have records and were counted.
		e.Counts[d] += rest - e.ahead()
	}
	e.startSweep()
}

// ahead returns how many targets from Turn on have a record of their own.
func (e *Engine) ahead() int { return e.Counts.Done() + len(e.open) - e.Turn }

func (e *Engine) startSweep() {
	e.sweep = make([]string, 0, len(e.open))
	for n := range e.open {
		e.sweep = append(e.sweep, n)
	}
	slices.Sort(e.sweep)
}

func (e *Engine) endClosing(now time.Time, o *open) {
	switch {
	case o.Phase != PhaseDelivered:
		e.end(now, o, e.Closing, closingReason(e.Closing))
	case e.Expired && !now.Before(e.ExpiresAt.Add(e.timing.Grace)):
		e.sends = append(e.sends, Send{Node: o.Node, Kind: message.KindCancel, Attempt: o.Attempt, Detail: message.DetailDeliveryTimedOut})
		e.end(now, o, message.DetailDeliveryTimedOut, "no result by the command's deadline")
	case e.Cancel || e.Expired:
		e.stop(now, o, message.DetailCancelled, "")
	}
}

func closingReason(d message.Detail) string {
	switch d {
	case message.DetailTerminated:
		return "not started: more than MaxErrors invocations failed"
	case message.DetailDeliveryTimedOut:
		return "not started by the command's deadline"
	}
	return "cancelled before it started"
}

// due handles one timer.
func (e *Engine) due(now time.Time, o *open) {
	switch o.Phase {
	case PhaseOffered:
		switch {
		case !now.Before(o.OfferedAt.Add(e.DeliveryTimeout)):
			e.end(now, o, message.DetailDeliveryTimedOut, "the node did not answer within the delivery timeout")
		case !now.Before(o.AskedAt.Add(e.timing.Delay)):
			e.leave(o)
			e.delay(o)
		default:
			e.send(o, message.KindOffer)
			e.rearm(now, o)
		}
	case PhaseDelayed:
		e.end(now, o, message.DetailDeliveryTimedOut, "the node did not answer within the delivery timeout")
	case PhaseDelivered:
		switch {
		case o.Cancelling:
			e.send(o, message.KindCancel)
			e.rearm(now, o)
		case !o.reported:
			e.send(o, message.KindRun)
			e.rearm(now, o)
		default:
			e.disarm(o)
		}
	default:
		e.disarm(o)
	}
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

func (e *Engine) put(o *open) {
	inv := o.Invocation
	e.changed[o.Node] = &inv
	e.dirty = true
}

func (e *Engine) send(o *open, k message.Kind) {
	s := Send{Node: o.Node, Kind: k, Attempt: o.Attempt}
	if k == message.KindCancel {
		s.Detail = message.DetailCancelled
	}
	e.sends = append(e.sends, s)
}

// rearm sets the timer of the next resend: Resend, then doubling.
func (e *Engine) rearm(now time.Time, o *open) {
	if o.backoff == 0 {
		o.backoff = e.timing.Resend
	} else {
		o.backoff = min(2*o.backoff, e.timing.Max)
	}
	at := now.Add(o.backoff)
	if o.Phase == PhaseOffered {
		for _, t := range []time.Time{o.AskedAt.Add(e.timing.Delay), o.OfferedAt.Add(e.DeliveryTimeout)} {
			if t.Before(at) {
				at = t
			}
		}
	}
	e.arm(o, at)
}

func (e *Engine) arm(o *open, at time.Time) {
	o.due = at
	if o.pos < 0 {
		heap.Push(&e.timers, o)
	} else {
		heap.Fix(&e.timers, o.pos)
	}
}

func (e *Engine) disarm(o *open) {
	if o.pos >= 0 {
		heap.Remove(&e.timers, o.pos)
	}
}

// timers is a heap of invocations by due time, then by node, so that replays are exact.
type timers []*open

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	if t[i].due.Equal(t[j].due) {
		return t[i].Node < t[j].Node
	}
	return t[i].due.Before(t[j].due)
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i]; t[i].pos, t[j].pos = i, j }
func (t *timers) Push(x any)   { o := x.(*open); o.pos = len(*t); *t = append(*t, o) }
func (t *timers) Pop() any {
	old := *t
	o := old[len(old)-1]
	*t = old[:len(old)-1]
	o.pos = -1
	return o
}

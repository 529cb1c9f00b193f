package command

import (
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// This half of the engine is about one invocation at a time: from its turn to its end.

// dispatch makes the invocations of the next targets.
func (e *Engine) dispatch(now time.Time, cs []Candidate) {
	for _, c := range cs {
		if e.Closing != "" || e.Turn >= e.N {
			return
		}
		switch {
		case c.Exists || e.early[c.Node]:
			delete(e.early, c.Node)
		case c.Refused != "":
			e.end(now, e.add(c.Node, now), c.Refused, c.Reason)
		case c.Absent:
			e.delay(now, e.add(c.Node, now))
		case e.Room() == 0:
			return
		default:
			e.offer(now, e.add(c.Node, now))
		}
		e.Turn++
		e.dirty = true
	}
}

func (e *Engine) add(node string, offered time.Time) *open {
	o := &open{Invocation: Invocation{Node: node, Attempt: 1, OfferedAt: offered, ExitCode: -1}}
	e.open[node] = o
	if !offered.IsZero() {
		e.turn(node, offered)
	}
	return o
}

// offer asks a node, giving it a slot.
func (e *Engine) offer(now time.Time, o *open) {
	o.Phase, o.Detail, o.waiting, o.passed = PhaseOffered, message.DetailPending, false, false
	e.Slots++
	e.Offered++
	e.Ramp = e.Ramp.Start(1)
	o.AskedAt, o.backoff = now, 0 // the wait for an answer begins anew, the delivery timeout does not
	e.put(o)
	e.send(now, o, message.KindOffer)
	e.rearm(now, o)
}

// delay lets an invocation wait, without a slot, until its node answers or the delivery timeout ends it.
func (e *Engine) delay(now time.Time, o *open) {
	o.Phase, o.Detail, o.backoff = PhaseDelayed, message.DetailDelayed, 0
	e.Delayed++
	e.put(o)
	e.armDelayed(now, o)
}

// leave takes an invocation out of the counters of its phase. answered says that its node was heard: the ramp goes on; else another takes its place.
func (e *Engine) leave(o *open, answered bool) {
	switch o.Phase {
	case PhaseOffered:
		e.Slots--
		e.Offered--
		if !answered {
			e.pass(o)
			break
		}
		if o.passed {
			e.Ramp = e.Ramp.Start(1)
		}
		e.Ramp = e.Ramp.Ack(1)
	case PhaseDelivered:
		e.Slots--
		e.Running--
	case PhaseDelayed:
		e.Delayed--
	}
}

// pass gives the place in the ramp of one that was offered and did not answer to another. Its slot it keeps.
func (e *Engine) pass(o *open) {
	if !o.passed {
		o.passed = true
		e.Ramp = e.Ramp.Drop(1)
	}
}

// end ends an invocation for good.
func (e *Engine) end(now time.Time, o *open, d message.Detail, reason string) {
	e.leave(o, false)
	e.finish(now, o, d, reason)
}

// finish is end for one that has left its phase.
func (e *Engine) finish(now time.Time, o *open, d message.Detail, reason string) {
	o.Phase, o.Detail, o.DoneAt, o.waiting = PhaseDone, d, now, false
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
			e.sendAgain(now, o, message.KindRun, e.timing.Resend)
		}
		return
	case r.Refused != "":
		e.leave(o, true)
		e.finish(now, o, refusal(r.Refused), r.Reason)
		return
	case e.Closing != "":
		return
	case o.Phase == PhaseDelayed:
		if e.Room() == 0 {
			if !o.waiting {
				o.waiting = true
				e.waiting = append(e.waiting, o)
			}
			return
		}
		e.Ramp = e.Ramp.Start(1).Ack(1)
		e.leave(o, true)
	default:
		e.leave(o, true)
	}
	e.Slots++
	e.Running++
	o.Phase, o.Detail, o.DeliveredAt, o.backoff, o.waiting = PhaseDelivered, message.DetailInProgress, now, 0, false
	if e.watched {
		e.heard = append(e.heard, delivery{node, o.Attempt, o.OfferedAt, now})
	}
	e.put(o)
	e.send(now, o, message.KindRun)
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
		o.Seq, o.ExitCode, o.Started, o.Ended = max(o.Seq, r.Seq), r.ExitCode, r.Started, r.Ended
		o.take(r.Steps)
		o.reported = true
		switch {
		case d == message.DetailCancelled && o.Overdue && !e.Cancel:
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

// present: the node was heard of. What it may have missed is sent again when it reconnected. A Delayed one is asked anew, but gets no slot before it answers: a node that shows signs
// of life and never answers costs the others nothing.
func (e *Engine) present(now time.Time, node string, first bool) {
	o := e.open[node]
	switch {
	case o == nil:
	case o.Phase != PhaseDelivered && e.Closing != "": // it is about to end
	case o.Phase == PhaseDelayed:
		if !o.waiting {
			apart := e.timing.Delay
			if first {
				apart = e.timing.Resend
			}
			e.sendAgain(now, o, message.KindOffer, apart)
		}
	case !first:
	case o.Phase == PhaseOffered:
		e.sendAgain(now, o, message.KindOffer, e.timing.Resend)
	case o.Cancelling:
		e.sendAgain(now, o, message.KindCancel, e.timing.Resend)
	case !o.reported:
		e.sendAgain(now, o, message.KindRun, e.timing.Resend)
	}
}

// due handles one timer.
func (e *Engine) due(now time.Time, o *open) {
	lapsed := !now.Before(o.OfferedAt.Add(e.DeliveryTimeout))
	switch o.Phase {
	case PhaseOffered:
		switch {
		case lapsed:
			e.end(now, o, message.DetailDeliveryTimedOut, "the node did not answer within the delivery timeout")
		case !now.Before(o.AskedAt.Add(e.timing.Delay)):
			e.leave(o, false)
			e.delay(now, o)
		default:
			e.pass(o)
			if e.Closing == "" {
				e.send(now, o, message.KindOffer)
			}
			e.rearm(now, o)
		}
	case PhaseDelayed:
		if lapsed {
			e.end(now, o, message.DetailDeliveryTimedOut, "the node did not answer within the delivery timeout")
			return
		}
		if e.Closing == "" && !o.waiting {
			e.send(now, o, message.KindOffer) // it may be back without our having heard of it
		}
		e.armDelayed(now, o)
	case PhaseDelivered:
		switch {
		case o.Cancelling:
			e.send(now, o, message.KindCancel)
			e.rearm(now, o)
		case !o.reported:
			e.send(now, o, message.KindRun)
			e.rearm(now, o)
		default:
			e.disarm(o)
		}
	default:
		e.disarm(o)
	}
}

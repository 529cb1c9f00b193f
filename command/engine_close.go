package command

import (
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// This half of the engine is about ends that many invocations come to at once: cancellation, the error limit, the deadline.

func (e *Engine) cancelAll() {
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
		ended := func(c *open) bool { return c.Node == node } // a moment ago, so that the host could not know
		if e.Closing != "" || e.early[node] || slices.ContainsFunc(e.changed, ended) {
			return
		}
		o = e.add(node, time.Time{})
		e.early[node] = true
	}
	e.stop(now, o, message.DetailCancelled, closingReason(message.DetailCancelled))
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
		e.send(now, o, message.KindCancel)
		e.rearm(now, o)
	}
}

// close stops dispatching: the targets without a record end as d at once, those with one in batches.
func (e *Engine) close(d message.Detail) {
	if e.Closing == "" {
		e.Closing, e.Rest, e.dirty = d, d, true
		// Targets from Turn on that were cancelled one by one have records and were counted.
		e.Counts[d] += e.N - e.Turn - e.ahead()
		if e.Counts[d] == 0 {
			delete(e.Counts, d)
		}
	}
	e.waiting = nil
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
	case e.Expired && !o.Cancelling:
		o.Overdue = true
		e.stop(now, o, message.DetailDeliveryTimedOut, "")
	case e.Cancel:
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

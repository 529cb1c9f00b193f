package command

import (
	"container/heap"
	"strings"
	"time"
)

// rearm sets the timer of the next resend: Resend, then doubling.
func (e *Engine) rearm(now time.Time, o *open) {
	if o.backoff == 0 {
		o.backoff = e.timing.Resend
	} else {
		o.backoff = min(2*o.backoff, e.timing.Max)
	}
	at := now.Add(o.backoff)
	if o.Phase == PhaseOffered {
		at = sooner(at, sooner(o.AskedAt.Add(e.timing.Delay), o.OfferedAt.Add(e.DeliveryTimeout)))
	}
	e.arm(o, at)
}

// armDelayed sets the timer of the next try to reach a Delayed node, or of its end.
func (e *Engine) armDelayed(now time.Time, o *open) {
	if o.backoff == 0 {
		o.backoff = e.timing.Max
	} else {
		o.backoff = min(2*o.backoff, 16*e.timing.Max)
	}
	e.arm(o, sooner(now.Add(o.backoff), o.OfferedAt.Add(e.DeliveryTimeout)))
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
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
	if c := t[i].due.Compare(t[j].due); c != 0 {
		return c < 0
	}
	return strings.Compare(t[i].Node, t[j].Node) < 0
}

func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i]; t[i].pos, t[j].pos = i, j }

func (t *timers) Push(x any) {
	o := x.(*open) //nolint:forcetypeassert // the heap holds nothing else
	o.pos = len(*t)
	*t = append(*t, o)
}

func (t *timers) Pop() any {
	last := len(*t) - 1
	o := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	o.pos = -1
	return o
}

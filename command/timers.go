package command

import (
	"container/heap"
	"time"
)

// rearm sets the timer of the next resend: Resend, then doubling.
func (e *Engine) rearm(now time.Time, o *open) {
	class := o.class + 1
	if o.backoff == 0 {
		o.backoff, class = e.timing.Resend, 0
	} else if o.backoff = 2 * o.backoff; o.backoff >= e.timing.Max {
		o.backoff, class = e.timing.Max, lastClass
	}
	o.class = class
	at := now.Add(o.backoff)
	if o.Phase == PhaseOffered {
		if s := sooner(o.AskedAt.Add(e.timing.Delay), o.OfferedAt.Add(e.DeliveryTimeout)); s.Before(at) {
			at, class = s, irregular
		}
	}
	e.arm(o, at, class)
}

// armDelayed sets the timer of the next try to reach a Delayed node, or of its end.
func (e *Engine) armDelayed(now time.Time, o *open) {
	if o.backoff == 0 {
		o.backoff = e.timing.Max
	} else {
		o.backoff = min(2*o.backoff, 16*e.timing.Max)
	}
	e.arm(o, sooner(now.Add(o.backoff), o.OfferedAt.Add(e.DeliveryTimeout)), irregular)
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (e *Engine) arm(o *open, at time.Time, class int) {
	if !o.due.Equal(at) {
		o.due = at
		e.timers.push(timer{at, o}, class)
	}
}

func (e *Engine) disarm(o *open) { o.due = time.Time{} }

// timer is a moment at which an invocation is due. It counts as long as the invocation says the same: what is disarmed or armed anew leaves its old timer behind.
type timer struct {
	at time.Time
	o  *open
}

func (t *timer) stale() bool { return !t.o.due.Equal(t.at) }

const (
	classes   = 16
	lastClass = classes - 1
	irregular = -1
)

// timers hold what is due when. Most timers are set for the same time from now as the one before of their class, so that each class is a queue in order; the others lie in
// a heap. Replays are exact: what is due at the same moment comes in the order in which it was set, class by class.
type timers struct {
	queues [classes]timerQueue
	rest   timerHeap
}

type timerQueue struct {
	q    []timer
	next int
}

func (t *timers) push(x timer, class int) {
	if class >= 0 && class < classes {
		q := &t.queues[class]
		if n := len(q.q); n == q.next || !x.at.Before(q.q[n-1].at) {
			q.q = append(q.q, x)
			return
		}
	}
	heap.Push(&t.rest, x)
}

// first returns the earliest timer that counts, and its queue, nil for the heap. Those before it that do not count are dropped.
func (t *timers) first() (x *timer, from *timerQueue) {
	for i := range t.queues {
		q := &t.queues[i]
		for q.next < len(q.q) && q.q[q.next].stale() {
			q.drop()
		}
		if q.next < len(q.q) && (x == nil || q.q[q.next].at.Before(x.at)) {
			x, from = &q.q[q.next], q
		}
	}
	for len(t.rest) > 0 && t.rest[0].stale() {
		heap.Pop(&t.rest)
	}
	if len(t.rest) > 0 && (x == nil || t.rest[0].at.Before(x.at)) {
		return &t.rest[0], nil
	}
	return x, from
}

// pop returns the invocation that is due first, if it is due by now.
func (t *timers) pop(now time.Time) *open {
	x, from := t.first()
	if x == nil || x.at.After(now) {
		return nil
	}
	o := x.o
	if from == nil {
		heap.Pop(&t.rest)
	} else {
		from.drop()
	}
	o.due = time.Time{}
	return o
}

func (q *timerQueue) drop() {
	q.q[q.next] = timer{}
	if q.next++; q.next == len(q.q) {
		q.q, q.next = q.q[:0], 0
	} else if q.next > 1024 && q.next > len(q.q)/2 {
		q.q, q.next = append(q.q[:0:0], q.q[q.next:]...), 0
	}
}

type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].o.Node < h[j].o.Node
}

func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(timer)) } //nolint:forcetypeassert // the heap holds nothing else
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = timer{}
	*h = (*h)[:last]
	return x
}

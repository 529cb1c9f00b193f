package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"math/rand/v2"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
)

// world is everything there is.
type world struct {
	cfg   Config
	rng   *rand.Rand
	now   time.Time
	queue queue
	n     uint64
	hash  hash.Hash64
	plane *plane
	nodes []*machine

	starts map[startKey]int // what really happened on the nodes
	res    Result
}

// startKey names what may start once.
type startKey struct {
	command, node string
	step, reboots int
}

func (w *world) note(what string) {
	fmt.Fprintf(w.hash, "%d %s\n", w.now.UnixNano(), what)
	if w.cfg.trace {
		w.res.Log = append(w.res.Log, fmt.Sprintf("%12v %s", w.now.Sub(dawn), what))
	}
}

func (w *world) after(d time.Duration, what string, do func()) {
	w.n++
	heap.Push(&w.queue, &event{at: w.now.Add(max(0, d)), n: w.n, what: what, do: do})
}

func (w *world) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("VIOLATED " + text)
	w.res.Violations = append(w.res.Violations, fmt.Sprintf("seed %d at %v: %s", w.cfg.Seed, w.now.Sub(dawn), text))
}

// chance draws whether a fault happens; there are none after the calm began.
func (w *world) chance(p float64) bool {
	return p > 0 && w.rng.Float64() < p && w.now.Before(dawn.Add(w.cfg.Calm))
}

// carry sends a message on its way: it may be lost, come twice, and be overtaken.
func (w *world) carry(what string, n *machine, deliver func()) {
	w.res.Messages++
	copies := 1
	if w.chance(w.cfg.Repeat) {
		copies = 2
	}
	for range copies {
		if w.chance(w.cfg.Loss) {
			w.res.Lost++
			w.note("lost " + what)
			continue
		}
		d := time.Millisecond
		if w.cfg.Delay > 0 && w.now.Before(dawn.Add(w.cfg.Calm)) {
			d += time.Duration(w.rng.Int64N(int64(w.cfg.Delay)))
		}
		w.after(d, what, func() {
			if n.cut {
				w.note("cut off")
				return
			}
			deliver()
		})
	}
}

// partition cuts a node off for up to ten minutes. The control plane's presence notices after a while.
func (w *world) partition(n *machine) {
	if n.cut {
		return
	}
	n.cut = true
	w.after(20*time.Second, "presence notices "+n.id, func() {
		if n.cut {
			n.present = false
		}
	})
	w.after(time.Duration(w.rng.Int64N(int64(10*time.Minute))), "heal "+n.id, func() {
		n.cut = false
		n.reconnect()
	})
}

// done reports whether every command ended and every node knows that its results are safe.
func (w *world) done() bool {
	if w.plane.sent < w.cfg.Commands || w.now.Before(dawn.Add(w.cfg.Calm)) {
		return false
	}
	for _, c := range w.plane.disk {
		if !c.state.Done() {
			return false
		}
	}
	for _, n := range w.nodes {
		if n.engine == nil || n.engine.Health().Unacknowledged > 0 {
			return false
		}
	}
	return true
}

// judge looks at the end of it.
func (w *world) judge() {
	for _, id := range w.plane.order {
		c := w.plane.disk[id]
		if !c.state.Done() {
			w.violated("command %s has not ended: %+v", id, c.state)
			continue
		}
		if late := c.state.EndedAt.Sub(c.state.ExpiresAt); late > grace {
			w.violated("command %s ended %v after its deadline", id, late)
		}
		if errs := c.state.Counts.Errors(); errs > c.state.ErrorLimit+c.state.Concurrency {
			w.violated("command %s has %d errors with MaxErrors %d and MaxConcurrency %d", id, errs, c.state.ErrorLimit, c.state.Concurrency)
		}
		total := 0
		for _, inv := range c.invs {
			total++
			w.res.Ended[string(inv.Detail)]++
			if inv.Phase != command.PhaseDone {
				w.violated("invocation %s of %s has not ended", inv.Node, id)
			}
		}
		if c.state.Rest != "" {
			w.res.Ended[string(c.state.Rest)] += c.state.N - total
		}
		w.res.Invocations += c.state.N
	}
	for _, n := range w.nodes {
		if n.engine != nil && w.now.Before(dawn.Add(horizon)) && n.engine.Health().Unacknowledged > 0 {
			w.violated("node %s still has results that nobody confirmed", n.id)
		}
	}
}

// grace is how long after a command's deadline everything must have ended: the engine's own, and the longest that a control plane is away.
const grace = 5*time.Second + longestOutage + time.Second

// atWork counts the nodes that really execute a command whose invocation has not ended by the record.
func (w *world) atWork(id string) int {
	n := 0
	for _, m := range w.nodes {
		for _, r := range m.running {
			if r.ref.Command == id && w.plane.disk[id].invs[m.id].Phase != command.PhaseDone {
				n++
				break
			}
		}
	}
	return n
}

func envelope(from, to string, k message.Kind, attempt int, epoch uint64, notBefore, notAfter time.Time, body any) message.Envelope {
	b, err := message.Marshal(k, body)
	if err != nil {
		panic(err) // a body of ours
	}
	return message.Envelope{Tenant: "default", From: from, To: to, Kind: k, Attempt: attempt, Epoch: epoch, NotBefore: notBefore, NotAfter: notAfter, Body: b}
}

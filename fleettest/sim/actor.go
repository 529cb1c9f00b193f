package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

var errUnanswered = store.ErrCommitUnknown

// mailKinds are the messages of nodes that are left for who owns the command.
var mailKinds = []message.Kind{message.KindReady, message.KindReport}

// actor owns a command on one control plane, as in package command: it feeds the engine, commits what it decides under the lease, and then sends what it says; one commit at a time, and
// the engine goes on meanwhile. When a commit fails it begins again from the store.
type actor struct {
	p       *plane
	c       *stored
	held    *lease.Held
	engine  *command.Engine
	early   []bool // targets that have a record
	busy    bool
	gone    bool
	gen     int // of the engine
	timer   int
	letters map[mailKey]uint64 // taken, to be removed with their effect
	cancels []uint64           // likewise
	tries   int
	fresh   bool // the mark that announced the command is to be removed
}

// load makes the engine from what is stored.
func (a *actor) load() {
	p, c := a.p, a.c
	if p.cutOff {
		a.again()
		return
	}
	a.gen++
	a.busy, a.letters, a.cancels, a.fresh = false, map[mailKey]uint64{}, nil, true
	a.early = make([]bool, len(p.w.nodes))
	st := c.state
	var open []command.Invocation
	for i, inv := range c.invs {
		if inv == nil {
			continue
		}
		a.early[i] = i >= st.Turn
		if inv.Phase != command.PhaseDone {
			open = append(open, *inv)
		}
	}
	if p.w.cfg.plant == plantSlotsInMemory {
		st.Slots = 0
	}
	a.engine = command.Restore(st, command.Timing{}, open, p.wall())
	for _, x := range c.cancels {
		a.cancelled(x)
	}
	a.turn()
}

// again loads a little later.
func (a *actor) again() {
	a.engine = nil
	a.gen++
	a.timer++
	a.tries++
	d := min(50*time.Millisecond<<min(a.tries, 10), 5*time.Second)
	a.p.after(d, label{kind: "begins again", node: -1, plane: a.p.i, cmd: a.c.n}, func() {
		if !a.gone {
			a.load()
		}
	})
}

func (a *actor) cancelled(x cancellation) {
	if slices.Contains(a.cancels, x.n) {
		return
	}
	a.cancels = append(a.cancels, x.n)
	var nodes []string
	for _, n := range x.nodes {
		i := a.p.w.byID[n].i
		ahead := i >= a.engine.Turn && a.engine.Closing == "" && !a.early[i]
		if ahead {
			a.early[i] = true
		}
		if ahead || a.engine.Has(n) {
			nodes = append(nodes, n)
		}
	}
	if len(x.nodes) == 0 || len(nodes) > 0 {
		a.engine.Step(a.p.wall(), command.Event{Cancel: true, Nodes: nodes})
	}
}

// letter takes a message that another control plane left.
func (a *actor) letter(k mailKey, l letter) {
	if a.letters[k] == l.n {
		return
	}
	a.letters[k] = l.n
	a.take(a.p.w.nodes[k.node], l.body)
}

// take steps the engine with a message of a node.
func (a *actor) take(m *machine, body any) {
	switch b := body.(type) {
	case message.Ready:
		a.engine.Step(a.p.wall(), command.Event{Node: m.id, Ready: &b})
	case message.Report:
		if !a.engine.Has(m.id) {
			a.p.late(a.c, m, &b)
			return
		}
		a.engine.Step(a.p.wall(), command.Event{Node: m.id, Report: &b})
	}
}

// turn lets the engine go as far as it can, and begins a commit if there is something to write and none is under way.
func (a *actor) turn() {
	if a.engine == nil || a.gone {
		return
	}
	p, e := a.p, a.engine
	now := p.wall()
	e.Tick(now, 1000)
	for room := e.Room(); room > 0 && e.Turn < e.N; room = e.Room() {
		var cs []command.Candidate
		for i := e.Turn; i < min(e.N, e.Turn+room); i++ {
			cs = append(cs, command.Candidate{Node: p.w.nodes[i].id, Exists: a.early[i], Absent: !p.connected(i)})
		}
		before := e.Turn
		e.Step(now, command.Event{Candidates: cs})
		if e.Turn == before {
			break
		}
	}
	if !a.busy && (e.Dirty() || a.fresh || len(a.letters)+len(a.cancels) > 0) {
		a.flush()
	}
	if !a.gone && a.engine != nil {
		a.plan()
	}
}

// flush commits what the engine decided.
func (a *actor) flush() {
	p, c, w := a.p, a.c, a.p.w
	ch, dirty := a.engine.Flush()
	letters, cancels, fresh := a.letters, a.cancels, a.fresh
	a.letters, a.cancels, a.fresh = map[mailKey]uint64{}, nil, false
	if !dirty && len(letters)+len(cancels) == 0 && !fresh {
		a.tell(ch.Sends)
		return
	}
	if w.chance(w.cfg.PlaneCrashes) {
		p.crash("dies before a commit")
		return
	}
	held := a.held
	if w.cfg.plant == plantCheckBefore {
		if !a.holds() {
			a.lost()
			return
		}
		held = nil
	}
	ch.Sends = a.hurry(ch.Sends)
	a.busy = true
	gen := a.gen
	p.stall()
	p.write(label{kind: "commit", node: -1, plane: p.i, cmd: c.n}, held, func() error {
		if dirty {
			w.apply(c, &ch)
		}
		if fresh {
			c.news = false
		}
		for k, n := range letters {
			if c.mail[k].n == n {
				delete(c.mail, k)
			}
		}
		c.cancels = slices.DeleteFunc(c.cancels, func(x cancellation) bool { return slices.Contains(cancels, x.n) })
		if c.state.Done() {
			c.news, c.cancels = false, nil
			clear(c.mail)
		}
		return nil
	}, func(err error) {
		if a.gone || a.gen != gen {
			return
		}
		a.busy = false
		if w.cfg.plant == plantUnknownIsDone && errors.Is(err, errUnanswered) {
			err = nil
		}
		switch {
		case errors.Is(err, lease.ErrLost):
			a.lost()
			return
		case err != nil:
			a.again()
			return
		case w.chance(w.cfg.PlaneCrashes):
			p.crash("dies after a commit")
			return
		}
		a.tries = 0
		a.tell(ch.Sends)
		if ch.Ended {
			a.gone = true
			delete(p.actors, c.n)
			return
		}
		a.turn()
	})
}

// lost ends the actor: another control plane has the command.
func (a *actor) lost() {
	a.gone = true
	if a.p.actors[a.c.n] == a {
		delete(a.p.actors, a.c.n)
	}
	if h := a.p.shards[a.c.shard]; h != nil && h.Epoch == a.held.Epoch {
		h.Forget()
	}
}

// apply writes a change, and checks what may never be undone.
func (w *world) apply(c *stored, ch *command.Changes) {
	for i := range ch.Invocations {
		inv := ch.Invocations[i]
		n := w.byID[inv.Node].i
		was := c.invs[n]
		if was != nil && was.Phase == command.PhaseDone {
			w.violated(n, c.n, "invocation %d of %s ended as %s and changed to %s", n, c.id, was.Detail, inv.Detail)
		}
		if c.stopped && was == nil && inv.Phase == command.PhaseOffered {
			w.violated(n, c.n, "node %d was offered %s after its errors were over the limit", n, c.id)
		}
		c.invs[n] = &inv
	}
	c.state = ch.State
	c.stopped = c.state.Counts.Errors() > c.state.ErrorLimit
	if ch.State.Slots > ch.State.Concurrency {
		w.violated(-1, c.n, "%s uses %d slots of %d", c.id, ch.State.Slots, ch.State.Concurrency)
	}
	if ch.Ended {
		c.ended = w.now
		w.check.ended(c)
	}
}

// tell sends messages.
func (a *actor) tell(sends []command.Send) {
	c := a.c
	for i := range sends {
		s := &sends[i]
		ref := message.Ref{Command: c.id, Attempt: s.Attempt}
		until := c.state.ExpiresAt
		var body []byte
		switch s.Kind {
		case message.KindOffer:
			body = c.offer
		case message.KindRun:
			body = c.run
		case message.KindCancel:
			body, until = marshal(s.Kind, message.Cancel{Ref: ref, Detail: s.Detail}), until.Add(time.Hour)
		case message.KindAck:
			body, until = marshal(s.Kind, s.Ack), until.Add(time.Hour)
		}
		a.p.tell(a.p.w.byID[s.Node], s.Kind, c.n, s.Attempt, until, body)
	}
}

// plan makes the engine's next tick happen.
func (a *actor) plan() {
	t, ok := a.engine.Next()
	if !ok {
		return
	}
	a.timer++
	gen := a.timer
	d := max(t.Sub(a.p.wall()), 0)
	if a.busy {
		d = max(d, time.Second)
	}
	a.p.after(d, label{kind: "plane tick", node: -1, plane: a.p.i, cmd: a.c.n}, func() {
		if gen == a.timer && !a.gone {
			a.turn()
		}
	})
}

// hurry sends what a plant sends before the commit, and returns the rest.
func (a *actor) hurry(sends []command.Send) []command.Send {
	plant := a.p.w.cfg.plant
	if plant != plantAckFirst && plant != plantRunFirst {
		return sends
	}
	var early, rest []command.Send
	for _, s := range sends {
		if (s.Kind == message.KindAck) == (plant == plantAckFirst) {
			early = append(early, s)
		} else {
			rest = append(rest, s)
		}
	}
	a.tell(early)
	return rest
}

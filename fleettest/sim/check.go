package sim

import (
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// checker holds what clients saw and what nodes did, and what may follow from it.
type checker struct {
	w       *world
	jumped  time.Duration // of control planes' clocks, all together
	starts  map[startKey]int
	working map[string]int              // nodes at work, by command
	seen    map[string][]message.Detail // newest, by command and node
	barred  map[string][]string         // why a node may not start it any more
	finals  map[string][]final          // what a node was told that it may forget
}

// startKey names what may start once.
type startKey struct {
	ref           message.Ref
	node          int
	step, reboots int
}

// final is a node's last word.
type final struct {
	detail message.Detail
	seq    uint64
}

func newChecker(w *world) *checker {
	return &checker{w: w, starts: map[startKey]int{}, working: map[string]int{}, seen: map[string][]message.Detail{}, barred: map[string][]string{}, finals: map[string][]final{}}
}

// of returns m[id], made if there is none.
func of[T any](m map[string][]T, id string, n int) []T {
	if m[id] == nil {
		m[id] = make([]T, n)
	}
	return m[id]
}

// number returns the number of a command, for the log.
func (k *checker) number(id string) int {
	if c := k.w.disk.command(id); c != nil {
		return c.n
	}
	return -1
}

// client returns whose command it is.
func (k *checker) client(id string) *client {
	if c := k.w.disk.command(id); c != nil {
		return k.w.clients[c.token]
	}
	return nil
}

// started takes a line of a node's log of side effects.
func (k *checker) started(m *machine, r *running, written bool) {
	w, id := k.w, r.ref.Command
	n := k.number(id)
	w.res.Starts++
	w.note(label{kind: "starts on", node: m.i, plane: -1, cmd: n, n: int64(r.step)})
	key := startKey{r.ref, m.i, r.step, r.reboots}
	k.starts[key]++
	if times := k.starts[key]; times > 1 {
		w.res.Doubles++
		w.violated(m.i, n, "step %d of %s started %d times on node %d", r.step, id, times, m.i)
	}
	if !written {
		w.violated(m.i, n, "step %d of %s started on node %d without a journal", r.step, id, m.i)
	}
	// A node that could not write its journal says that nothing started; if it then dies before its disk is well it does not know that it said so, and a copy of the order may start.
	if why := of(k.barred, id, len(w.nodes))[m.i]; why != "" && !m.unwritten[r.ref] {
		w.violated(m.i, n, "step %d of %s started on node %d, which had been seen %s", r.step, id, m.i, why)
	}
	k.working[id]++
	c := k.client(id)
	if c == nil {
		w.violated(m.i, n, "node %d runs %s, which nobody sent", m.i, id)
		return
	}
	// An invocation that ended by the deadline alone leaves its slot while its node may still be at work.
	if at, most := k.working[id], c.req.c; at > most && (len(c.ids) == 0 || w.now < c.expires-k.spread()) {
		w.violated(m.i, n, "%d nodes are at work on %s with MaxConcurrency %d", at, id, most)
	}
}

// stopped takes the end of what started.
func (k *checker) stopped(m *machine, r *running) {
	k.w.note(label{kind: "ends on", node: m.i, plane: -1, cmd: k.number(r.ref.Command), n: int64(r.step)})
	k.working[r.ref.Command]--
}

// acked takes what a node is told: what it may forget must be safe.
func (k *checker) acked(m *machine, env message.Envelope) {
	a, err := message.Unmarshal[message.Ack](env)
	if err != nil || !a.Final {
		return
	}
	c := k.w.disk.command(a.Command)
	if c == nil || c.invs[m.i] == nil || !c.invs[m.i].Detail.Terminal() {
		k.w.violated(m.i, k.number(a.Command), "node %d was told to forget %s, which is not stored as ended", m.i, a.Command)
		return
	}
	if e, ok := m.journal[a.Ref]; ok && e.Detail.Terminal() && a.Seq >= e.Seq {
		of(k.finals, a.Command, len(k.w.nodes))[m.i] = final{e.Detail, e.Seq}
	}
}

// detail is how an invocation shows itself to clients.
func (c *stored) detail(i int) message.Detail {
	switch inv := c.invs[i]; {
	case inv != nil:
		return inv.Detail
	case c.state.Rest != "":
		return c.state.Rest
	}
	return message.DetailPending
}

func rank(d message.Detail) int {
	switch {
	case d == "" || d == message.DetailPending || d == message.DetailDelayed:
		return 0
	case !d.Terminal():
		return 1
	}
	return 2
}

// saw takes what a client read.
func (k *checker) saw(cl *client, c *stored) {
	w := k.w
	seen, barred := of(k.seen, c.id, len(w.nodes)), of(k.barred, c.id, len(w.nodes))
	errors := 0
	for i := range w.nodes {
		d := c.detail(i)
		switch was := seen[i]; {
		case rank(was) == 2 && was != d:
			w.violated(i, c.n, "%s on node %d was seen to have ended as %s, and then as %s", c.id, i, was, d)
		case rank(d) < rank(was):
			w.violated(i, c.n, "%s on node %d was seen as %s, and then as %s", c.id, i, was, d)
		}
		seen[i] = d
		if d.CountsAsError() {
			errors++
		}
		if d.Terminal() && d != message.DetailDeliveryTimedOut && barred[i] == "" {
			barred[i] = "to have ended as " + string(d)
		}
	}
	if errors <= cl.req.l {
		return
	}
	for i := range w.nodes {
		if rank(seen[i]) == 0 && barred[i] == "" {
			barred[i] = "not to have had its turn when the errors were over MaxErrors"
		}
	}
}

// spread is how far apart the clocks of control planes can be.
func (k *checker) spread() time.Duration {
	return 2*k.w.cfg.PlaneSkew + k.jumped + time.Duration(float64(2*horizon)*k.w.cfg.Drift) + time.Second
}

// settles is how long it takes at most until some control plane goes on with a command, once nothing keeps it from that.
func (k *checker) settles() time.Duration {
	return 5*time.Second + 3*k.w.cfg.TTL + 3*k.w.cfg.Poll + time.Minute
}

// ended takes the end of a command.
func (k *checker) ended(c *stored) {
	due := max(c.state.ExpiresAt.Sub(dawn)+k.spread(), k.w.lastFault) + k.settles()
	if k.w.now > due {
		k.w.violated(-1, c.n, "%s ended %v after it should", c.id, k.w.now-due)
	}
}

// done reports whether every command ended and every node knows that its results are safe.
func (w *world) done() bool {
	if w.now < w.cfg.Calm {
		return false
	}
	for _, c := range w.clients {
		if len(c.ids) == 0 {
			return false
		}
	}
	for _, c := range w.disk.commands {
		if !c.state.Done() {
			return false
		}
	}
	for _, m := range w.nodes {
		if m.engine == nil || m.engine.Health().Unacknowledged > 0 {
			return false
		}
	}
	return true
}

// judge looks at the end of it.
func (w *world) judge() {
	if len(w.res.Violations) > 0 {
		return
	}
	k := w.check
	of := map[int]int{} // commands by token
	for _, c := range w.disk.commands {
		of[c.token]++
	}
	for _, cl := range w.clients {
		if len(cl.ids) == 0 {
			w.violated(-1, -1, "client %d never had an answer", cl.i)
			continue
		}
		if of[cl.i] != 1 {
			w.violated(-1, -1, "%d commands came of the token of client %d", of[cl.i], cl.i)
		}
		for _, id := range cl.ids {
			if id != cl.ids[0] {
				w.violated(-1, -1, "client %d was answered %s and %s for one token", cl.i, cl.ids[0], id)
			}
		}
		if c := w.disk.command(cl.ids[0]); c != nil {
			k.saw(cl, c)
			k.judge(cl, c)
		} else {
			w.violated(-1, -1, "command %s was accepted and is not there", cl.ids[0])
		}
	}
	for _, m := range w.nodes {
		if m.engine == nil || m.engine.Health().Unacknowledged > 0 {
			w.violated(m.i, -1, "node %d still has results that nobody confirmed", m.i)
		}
	}
}

// judge looks at the end of one command.
func (k *checker) judge(cl *client, c *stored) {
	w := k.w
	w.res.Invocations += len(w.nodes)
	if !c.state.Done() {
		w.violated(-1, c.n, "%s has not ended: %+v", c.id, c.state)
		return
	}
	if cl.cancelled > 0 && !c.state.Cancel && c.ended > max(cl.cancelled, w.lastFault)+k.settles() {
		w.violated(-1, c.n, "%s was cancelled at %v, and went on", c.id, cl.cancelled)
	}
	errors := 0
	finals := of(k.finals, c.id, len(w.nodes))
	for i := range w.nodes {
		d := c.detail(i)
		w.res.Ended[string(d)]++
		if !d.Terminal() {
			w.violated(i, c.n, "%s on node %d has not ended: %s", c.id, i, d)
		}
		if d.CountsAsError() {
			errors++
		}
		said, inv := finals[i], c.invs[i]
		switch {
		case said.detail == "" || inv == nil:
		case d == message.DetailDeliveryTimedOut && said.detail != message.DetailCancelled && said.seq > inv.Seq && inv.Late == nil:
			w.violated(i, c.n, "the late result of node %d for %s, %s, was not kept", i, c.id, said.detail)
		case d != message.DetailDeliveryTimedOut && d != said.detail && (inv.Late == nil || inv.Late.Detail != said.detail):
			// A node whose disk failed tells its end without its journal; if it then dies it says something else, which is kept as a late result.
			w.violated(i, c.n, "node %d ended %s as %s and the record says %s", i, c.id, said.detail, d)
		}
	}
	if errors > cl.req.l+cl.req.c {
		w.violated(-1, c.n, "%s has %d errors with MaxErrors %d and MaxConcurrency %d", c.id, errors, cl.req.l, cl.req.c)
	}
	if got := c.state.Counts.Errors(); got != errors {
		w.violated(-1, c.n, "%s counts %d errors of %d", c.id, got, errors)
	}
}

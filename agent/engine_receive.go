package agent

import (
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// receive takes a verified message. What is not for this node, of a lower epoch, outside of its time, or malformed is left alone: the control plane resends what matters.
func (e *Engine) receive(now time.Time, env *message.Envelope) {
	if env.To != e.cfg.Node || env.From != message.Controller || env.Epoch < e.epoch {
		return
	}
	if env.Kind == message.KindWelcome {
		if w, err := message.Unmarshal[message.Welcome](*env); err == nil {
			e.welcome(now, &w, env.Epoch)
		}
		return // an answer to a hello of this session proves its age by itself
	}
	if e.clock.synced {
		e.clock.atLeast(now, env.NotBefore)
	}
	if e.clock.latest(now).After(env.NotAfter.Add(e.cfg.Skew)) {
		return
	}
	e.learn(env.Epoch)
	switch env.Kind {
	case message.KindOffer:
		if o, err := message.Unmarshal[message.Offer](*env); err == nil && o.Attempt == env.Attempt {
			e.offer(now, &o)
		}
	case message.KindRun:
		if r, err := message.Unmarshal[message.Run](*env); err == nil && r.Attempt == env.Attempt {
			e.run(now, &r)
		}
	case message.KindCancel:
		if c, err := message.Unmarshal[message.Cancel](*env); err == nil && c.Attempt == env.Attempt {
			e.cancel(now, &c)
		}
	case message.KindAck:
		if a, err := message.Unmarshal[message.Ack](*env); err == nil && a.Attempt == env.Attempt {
			e.ack(now, &a)
		}
	case message.KindAnswer:
		if a, err := message.Unmarshal[message.Answer](*env); err == nil {
			e.answer(&a)
		}
	}
}

// learn remembers a higher epoch of the control plane.
func (e *Engine) learn(epoch uint64) {
	if epoch > e.epoch {
		if epoch-e.epoch > restoredJump {
			e.tellAll()
		}
		e.epoch = epoch
		e.out.remember = append(e.out.remember, Remember{epoch})
	}
}

// restoredJump is by how much an epoch rises at least when a control plane was restored from a backup; a rotation of its keys raises it by one.
const restoredJump = 1 << 10

// tellAll makes every end that the control plane has confirmed be reported once more: a control plane that was restored from a backup has lost what came after it. Nothing starts by this.
func (e *Engine) tellAll() {
	refs := make([]message.Ref, 0, len(e.stones))
	for ref := range e.stones {
		refs = append(refs, ref)
	}
	sortRefs(refs)
	for _, ref := range refs {
		c := e.stones[ref]
		delete(e.stones, ref)
		e.add(c)
	}
	for _, c := range e.commands {
		c.acked, c.reportAt, c.backoff = 0, time.Time{}, 0
		if c.Final {
			c.Final, c.dirty = false, true
		}
	}
}

func (e *Engine) welcome(now time.Time, w *message.Welcome, epoch uint64) {
	sent, ok := e.hello.sent[w.Seq]
	if w.Session != e.cfg.Session || !ok {
		return
	}
	e.learn(epoch)
	if rtt := now.Sub(sent); !e.clock.synced || rtt < e.clock.rtt+slowAnswer {
		e.clock.welcome(now, sent, w.Time)
	}
	for seq := range e.hello.sent {
		if seq <= w.Seq {
			delete(e.hello.sent, seq)
		}
	}
	if e.hello.facts && w.Seq >= e.hello.factsSeq && e.hello.factsSeq > 0 {
		e.hello.facts = false
	}
	if w.Seq >= e.hello.firstSeq {
		e.hello.first = false
	}
	if w.Heartbeat > 0 {
		e.hello.every = min(max(w.Heartbeat, time.Second), 24*time.Hour)
	}
	e.hello.backoff = 0
	e.hello.due = now.Add(e.jitter(e.hello.every, e.hello.seq, "heartbeat"))
}

// offer answers at once, also when every worker is busy: a Run then waits. It leaves no trace.
func (e *Engine) offer(now time.Time, o *message.Offer) {
	if e.stopping || o.Command == "" {
		return
	}
	r := message.Ready{Ref: o.Ref}
	missing := ""
	for _, need := range o.Needs {
		if _, ok := slices.BinarySearch(e.cfg.Capabilities, need); !ok {
			missing = need
			break
		}
	}
	c := e.byRef[o.Ref]
	switch {
	case c != nil:
		e.again(now, c)
	case e.stones[o.Ref] != nil:
		e.again(now, e.stones[o.Ref])
	case missing != "":
		r.Refused, r.Reason = message.DetailInvalidPlatform, "this node does not have what the document needs: "+shorten(missing)
	case o.Signed && e.cfg.Unsigned:
		r.Refused, r.Reason = message.DetailAccessDenied, "the document demands signed messages, and this node's are not"
	case e.clock.synced && e.clock.latest(now).After(o.ExpiresAt):
		r.Refused, r.Reason = message.DetailUndeliverable, "the command's deadline has passed"
	case e.below(o.ExpiresAt):
		r.Refused, r.Reason = message.DetailUndeliverable, "the control plane's clock went back behind deadlines that this node has seen pass"
	case e.noRoom:
		r.Refused, r.Reason = message.DetailUndeliverable, "the node's disk is full"
	case now.Before(e.broken):
		r.Refused, r.Reason = message.DetailUndeliverable, "the node cannot write its journal"
	case len(e.commands) >= e.cfg.Slots+e.cfg.Queue:
		r.Refused, r.Reason = message.DetailUndeliverable, "the node has too many commands waiting"
	}
	e.send(now, message.KindReady, o.Attempt, r)
}

// again makes a known reference's last report go out once more.
func (e *Engine) again(now time.Time, c *command) {
	if e.stones[c.Ref] == c {
		e.send(now, message.KindReport, c.Attempt, c.report())
		return
	}
	c.acked, c.reportAt, c.backoff = 0, now, 0
}

// run takes a command. It becomes durable before anything of it starts, and a known reference starts nothing (law 4). Nothing is taken before the control plane's clock is
// known: without it this node could not tell a replayed Run, whose memory it has dropped long ago, from a new one (rule R-08).
func (e *Engine) run(now time.Time, r *message.Run) {
	if c := e.byRef[r.Ref]; c != nil {
		e.again(now, c)
		return
	}
	if c := e.stones[r.Ref]; c != nil {
		e.again(now, c)
		return
	}
	if !e.clock.synced || e.stopping || e.noRoom || now.Before(e.broken) || e.below(r.ExpiresAt) || r.Command == "" || len(e.commands) >= e.cfg.Slots+e.cfg.Queue {
		return
	}
	c := &command{running: -1, dirty: true, Entry: Entry{Ref: r.Ref, Run: r, Expires: r.ExpiresAt.Round(0), Seq: 1, Detail: message.DetailInProgress, ExitCode: -1, Arrived: now.Round(0)}}
	if c.Expires.IsZero() || c.Expires.Sub(e.clock.earliest(now)) > longestRun {
		c.Expires = e.clock.earliest(now).Add(longestRun).Round(0)
	}
	c.Life = max(0, c.Expires.Sub(e.clock.earliest(now)))
	c.reportAt = now
	e.add(c)
	if e.expired(now, c) {
		e.endExpired(now, c)
		return
	}
	p, err := makePlan(r, e.cfg.Platform, e.cfg.Actions)
	if err != nil {
		e.end(now, c, message.DetailFailed, shorten(err.Error()), 1)
		return
	}
	c.plan = p
	for i := range p.Steps {
		c.Steps = append(c.Steps, StepEntry{StepReport: message.StepReport{Name: p.Steps[i].Name, Action: p.Steps[i].Action, Status: message.Pending, ExitCode: -1}})
	}
}

// cancel stops what runs, ends what waits, and remembers what it never heard of, so that a Run that comes late starts nothing.
func (e *Engine) cancel(now time.Time, m *message.Cancel) {
	c := e.byRef[m.Ref]
	switch {
	case m.Command == "":
	case c == nil && e.stones[m.Ref] != nil:
		e.again(now, e.stones[m.Ref])
	case c == nil:
		c = &command{running: -1, Entry: Entry{Ref: m.Ref, Arrived: now.Round(0), Cancel: true, Expires: e.clock.latest(now).Add(longestRun).Round(0), Life: longestRun, ExitCode: -1}}
		e.add(c)
		e.end(now, c, message.DetailCancelled, "cancelled before it came", -1)
	case c.terminal():
		e.again(now, c)
	case c.Cancel: // it is stopping, and reports that it has stopped: to answer each copy would be answered with a cancel again, as fast as the line is
	default:
		c.Cancel, c.dirty = true, true
		c.changed(now)
		if c.running < 0 {
			e.endCancelled(now, c)
			return
		}
		e.stop(now, c, errCancelled)
	}
}

// ack takes the control plane's confirmation.
func (e *Engine) ack(now time.Time, a *message.Ack) {
	c := e.byRef[a.Ref]
	if c == nil {
		return
	}
	if a.Seq <= c.Seq {
		c.acked = max(c.acked, a.Seq)
	}
	if a.Final && c.terminal() && a.Seq >= c.Seq && !c.Final {
		c.Final, c.dirty = true, true
	}
	for _, u := range c.streams {
		if off, ok := a.Offsets[message.StreamID(u.step, u.err == 1)]; ok {
			u.confirm(now, off)
			c.Steps[u.step].Acked[u.err] = max(c.Steps[u.step].Acked[u.err], u.acked)
			if u.acked-u.saved >= saveEvery || u.acked > u.saved && u.acked == u.size && c.terminal() {
				u.saved, c.dirty = u.acked, true
			}
		}
	}
}

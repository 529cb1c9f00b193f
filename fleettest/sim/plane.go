package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
)

// longestOutage is how long a control plane is away at most after a crash.
const longestOutage = 90 * time.Second

const doc = `{"schemaVersion":"2.2","mainSteps":[
{"action":"aws:runShellScript","name":"one","inputs":{"runCommand":["true"],"timeoutSeconds":"300"}},
{"action":"aws:runShellScript","name":"two","inputs":{"runCommand":["true"],"timeoutSeconds":"300"}}]}`

var docHash = func() string {
	sum := sha256.Sum256([]byte(doc))
	return hex.EncodeToString(sum[:])
}()

// plane is the control plane: what it has in memory, and its disk.
type plane struct {
	w       *world
	up      bool
	life    int
	engines map[string]*command.Engine
	timer   int // generation of the planned tick

	disk  map[string]*stored
	order []string
	sent  int
}

// stored is a command as it is committed.
type stored struct {
	state   command.State
	invs    map[string]command.Invocation
	late    map[string]bool
	outputs map[string]int64 // bytes kept, by node and stream
	run     message.Run
	stopped bool // errors > limit was committed
}

func newPlane(w *world) *plane {
	return &plane{w: w, up: true, engines: map[string]*command.Engine{}, disk: map[string]*stored{}}
}

// send accepts a command; a caller whose control plane is away tries again.
func (p *plane) send(i int) {
	if !p.up {
		p.w.after(5*time.Second, "send again", func() { p.send(i) })
		return
	}
	n := len(p.w.nodes)
	id := fmt.Sprintf("command-%d", i)
	c, l := 1+p.w.rng.IntN(n), p.w.rng.IntN(n+1)
	st := command.NewState(id, n, c, l, p.w.rng.IntN(2) == 0, p.w.now, time.Duration(2+p.w.rng.IntN(28))*time.Minute, 10*time.Minute+time.Duration(p.w.rng.IntN(120))*time.Minute)
	p.disk[id] = &stored{state: st, invs: map[string]command.Invocation{}, late: map[string]bool{}, outputs: map[string]int64{},
		run: message.Run{Ref: message.Ref{Command: id, Attempt: 1}, DocumentName: "sim", DocumentHash: docHash, Document: []byte(doc), Format: "JSON", ExpiresAt: st.ExpiresAt}}
	p.order = append(p.order, id)
	p.sent++
	p.engines[id] = command.NewEngine(st, command.Timing{})
	if p.w.rng.Float64() < p.w.cfg.Cancels {
		p.w.after(time.Duration(p.w.rng.Int64N(int64(5*time.Minute))), "cancel "+id, func() { p.cancel(id) })
	}
	p.turn(id)
}

func (p *plane) cancel(id string) {
	if !p.up {
		p.w.after(5*time.Second, "cancel again", func() { p.cancel(id) })
		return
	}
	p.step(id, command.Event{Cancel: true})
}

func (p *plane) step(id string, ev command.Event) {
	if e := p.engines[id]; e != nil && p.up {
		e.Step(p.w.now, ev)
		p.turn(id)
	}
}

// turn lets the engine of a command go as far as it can, commits, and sends.
func (p *plane) turn(id string) {
	e, d := p.engines[id], p.disk[id]
	for p.up {
		e.Tick(p.w.now, 1000)
		for room := e.Room(); room > 0 && e.Turn < e.N; room = e.Room() {
			var cs []command.Candidate
			for i := e.Turn; i < min(e.N, e.Turn+room); i++ {
				n := p.w.nodes[i]
				_, exists := d.invs[n.id]
				cs = append(cs, command.Candidate{Node: n.id, Exists: exists, Absent: !n.present})
			}
			before := e.Turn
			e.Step(p.w.now, command.Event{Candidates: cs})
			if e.Turn == before {
				break
			}
		}
		if !e.Dirty() {
			break
		}
		ch, commit := e.Flush()
		if p.w.chance(p.w.cfg.PlaneCrashes) {
			p.crash("before the commit")
			return
		}
		if commit {
			p.commit(id, d, &ch)
		}
		if p.w.chance(p.w.cfg.PlaneCrashes) {
			p.crash("after the commit, before its messages")
			return
		}
		for _, s := range ch.Sends {
			p.tell(d, s)
		}
		if d.state.Done() {
			delete(p.engines, id)
			break
		}
	}
	p.plan()
}

// commit makes a change durable, and checks what may never be undone.
func (p *plane) commit(id string, d *stored, ch *command.Changes) {
	for _, inv := range ch.Invocations {
		was, known := d.invs[inv.Node]
		if known && was.Phase == command.PhaseDone {
			p.w.violated("invocation %s of %s ended as %s and changed to %s", inv.Node, id, was.Detail, inv.Detail)
		}
		if d.stopped && !known && inv.Phase == command.PhaseOffered {
			p.w.violated("%s was offered %s after its errors were over the limit", inv.Node, id)
		}
		d.invs[inv.Node] = inv
	}
	d.state = ch.State
	d.stopped = d.state.Counts.Errors() > d.state.ErrorLimit
	if ch.State.Slots > ch.State.Concurrency {
		p.w.violated("%s uses %d slots of %d", id, ch.State.Slots, ch.State.Concurrency)
	}
}

func (p *plane) tell(d *stored, s command.Send) {
	ref := message.Ref{Command: d.state.ID, Attempt: s.Attempt}
	var body any
	switch s.Kind {
	case message.KindOffer:
		body = message.Offer{Ref: ref, Document: "sim", ExpiresAt: d.state.ExpiresAt}
	case message.KindRun:
		body = d.run
	case message.KindCancel:
		body = message.Cancel{Ref: ref, Detail: s.Detail}
	case message.KindAck:
		body = *s.Ack
	}
	p.post(s.Node, s.Kind, s.Attempt, d.state.ExpiresAt.Add(time.Hour), body)
}

// post sends a message to a node.
func (p *plane) post(node string, k message.Kind, attempt int, notAfter time.Time, body any) {
	n := p.w.machine(node)
	env := envelope(message.Controller, node, k, attempt, 1, p.w.now, notAfter, body)
	p.w.carry(fmt.Sprintf("%s to %s", k, node), n, func() { n.receive(env) })
}

func (w *world) machine(id string) *machine {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// receive takes a message of a node.
func (p *plane) receive(n *machine, env message.Envelope) {
	if !p.up {
		return
	}
	n.present = true
	switch env.Kind {
	case message.KindHello:
		h := must[message.Hello](env)
		p.post(n.id, message.KindWelcome, 0, p.w.now.Add(2*time.Minute), message.Welcome{Session: h.Session, Seq: h.Seq, Time: p.w.now, Heartbeat: 30 * time.Second})
		for _, id := range p.order {
			p.step(id, command.Event{Node: n.id, Present: true, First: h.First})
		}
	case message.KindReady:
		r := must[message.Ready](env)
		p.step(r.Command, command.Event{Node: n.id, Ready: &r})
	case message.KindReport:
		r := must[message.Report](env)
		d := p.disk[r.Command]
		if e := p.engines[r.Command]; e != nil && e.Has(n.id) {
			p.step(r.Command, command.Event{Node: n.id, Report: &r})
			return
		}
		if d == nil || d.invs[n.id].Phase != command.PhaseDone {
			return // its next copy comes
		}
		if !r.Detail.Terminal() {
			p.post(n.id, message.KindCancel, r.Attempt, p.w.now.Add(time.Hour), message.Cancel{Ref: r.Ref})
			return
		}
		d.late[n.id] = true
		p.post(n.id, message.KindAck, r.Attempt, p.w.now.Add(time.Hour), message.Ack{Ref: r.Ref, Seq: r.Seq, Final: true})
	case message.KindOutput:
		o := must[message.Output](env)
		d := p.disk[o.Command]
		k := fmt.Sprint(n.id, "/", message.StreamID(o.Step, o.Stderr))
		if o.Offset == d.outputs[k] {
			d.outputs[k] += int64(len(o.Data))
		}
		p.post(n.id, message.KindAck, o.Attempt, p.w.now.Add(time.Hour), message.Ack{Ref: o.Ref, Offsets: map[string]int64{message.StreamID(o.Step, o.Stderr): d.outputs[k]}})
	}
}

func must[T any](env message.Envelope) T {
	v, err := message.Unmarshal[T](env)
	if err != nil {
		panic(err) // our own engines wrote it
	}
	return v
}

// crash takes the control plane down; it comes back from its disk.
func (p *plane) crash(where string) {
	p.w.res.PlaneCrashes++
	p.w.note("control plane dies " + where)
	p.up, p.engines = false, map[string]*command.Engine{}
	p.timer++
	p.w.after(time.Duration(p.w.rng.Int64N(int64(longestOutage))), "control plane is back", func() {
		p.up = true
		p.life++
		for _, id := range p.order {
			d := p.disk[id]
			if d.state.Done() {
				continue
			}
			var invs []command.Invocation
			for _, n := range p.w.nodes {
				if inv, ok := d.invs[n.id]; ok {
					invs = append(invs, inv)
				}
			}
			p.engines[id] = command.Restore(d.state, command.Timing{}, invs, p.w.now)
		}
		for _, n := range p.w.nodes {
			n.reconnect()
		}
		for _, id := range p.order {
			if p.engines[id] != nil && p.up {
				p.turn(id)
			}
		}
	})
}

// plan makes the next tick of the engines happen.
func (p *plane) plan() {
	if !p.up {
		return
	}
	p.timer++
	gen := p.timer
	var at time.Time
	for _, id := range p.order {
		if e := p.engines[id]; e != nil {
			if t, ok := e.Next(); ok && (at.IsZero() || t.Before(at)) {
				at = t
				if t.Before(p.w.now) {
					at = p.w.now
				}
			}
		}
	}
	if at.IsZero() {
		return
	}
	p.w.after(at.Sub(p.w.now), "tick", func() {
		if gen != p.timer {
			return
		}
		for _, id := range p.order {
			if p.engines[id] != nil && p.up {
				p.turn(id)
			}
		}
	})
}

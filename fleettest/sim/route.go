package sim

import (
	"context"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// sent is a message of a node on its way.
type sent struct {
	kind              message.Kind
	attempt           int
	notBefore, notAft time.Time
	body              any
}

// piece is an output message without its bytes.
type piece struct {
	message.Ref
	stream int
	id     string
	offset int64
	length int
}

// connected reports whether a node is connected to some control plane, as far as is known.
func (p *plane) connected(i int) bool {
	return p.nodes[i] || !p.cutOff && p.w.disk.home[i] >= 0
}

// hears notes that a node is connected here.
func (p *plane) hears(i int) {
	if p.nodes[i] {
		return
	}
	p.nodes[i] = true
	p.write(label{kind: "is connected", node: i, plane: p.i, cmd: -1}, nil, func() error {
		p.w.disk.home[i] = p.i
		return nil
	}, func(error) { p.drain() })
}

// misses notes that a node is not connected here any more.
func (p *plane) misses(i int) {
	if !p.nodes[i] {
		return
	}
	p.nodes[i] = false
	p.write(label{kind: "is gone", node: i, plane: p.i, cmd: -1}, nil, func() error {
		if p.w.disk.home[i] == p.i {
			p.w.disk.home[i] = -1
		}
		return nil
	}, func(error) {})
}

// tell sends a message to a node: at once if it is connected here, else through the store.
func (p *plane) tell(m *machine, k message.Kind, cmd, attempt int, until time.Time, body []byte) {
	env := envelope(message.Controller, m.id, k, attempt, p.wall(), until, body)
	if p.nodes[m.i] {
		p.post(m, cmd, env)
		return
	}
	d := p.w.disk
	key := outKey{m.i, cmd, k}
	p.write(label{kind: "leaves a message for", node: m.i, plane: p.i, cmd: cmd}, nil, func() error {
		d.outbox[key] = outMail{d.number(), func(o *plane) { o.post(m, cmd, env) }}
		p.w.res.Routed++
		if h := d.home[m.i]; h >= 0 && p.w.planes[h].up {
			o := p.w.planes[h]
			o.after(p.w.latency(), o.label("look"), o.drain)
		}
		return nil
	}, func(error) {})
}

// drain sends what others left for the nodes that are connected here.
func (p *plane) drain() {
	d := p.w.disk
	if p.cutOff || !p.up || len(d.outbox) == 0 {
		return
	}
	for i, here := range p.nodes {
		if !here {
			continue
		}
		for _, c := range d.commands {
			for _, k := range [...]message.Kind{message.KindOffer, message.KindRun, message.KindCancel, message.KindAck} {
				key := outKey{i, c.n, k}
				if o, ok := d.outbox[key]; ok {
					delete(d.outbox, key)
					o.send(p)
				}
			}
		}
	}
}

// post hands a message to the network. Some are seen again much later.
func (p *plane) post(m *machine, cmd int, env message.Envelope) {
	l := label{kind: kinds[env.Kind], node: m.i, plane: p.i, cmd: cmd}
	p.w.carry(l, m, p, func() { m.receive(env) })
	if p.w.chance(p.w.cfg.Replays) {
		l.kind = "a replay"
		p.w.after(p.w.draw(45*time.Minute), l, func() { m.receive(env) })
	}
}

var kinds = map[message.Kind]string{message.KindOffer: "offer to", message.KindRun: "run to", message.KindCancel: "cancel to", message.KindAck: "ack to", message.KindWelcome: "welcome to",
	message.KindHello: "hello from", message.KindReady: "ready from", message.KindReport: "report from", message.KindOutput: "output from"}

// receive takes a message of a node.
func (p *plane) receive(m *machine, s *sent) {
	w := p.w
	// The receiver refuses what is out of its time, with five minutes for clocks that differ.
	if now := p.wall(); now.Add(message.DefaultSkew).Before(s.notBefore) || now.Add(-message.DefaultSkew).After(s.notAft) {
		w.note(label{kind: "out of time", node: m.i, plane: p.i, cmd: -1})
		return
	}
	if m.line == p {
		p.hears(m.i)
	}
	switch b := s.body.(type) {
	case message.Hello:
		env := envelope(message.Controller, m.id, message.KindWelcome, 0, p.wall(), p.wall().Add(2*time.Minute),
			marshal(message.KindWelcome, message.Welcome{Session: b.Session, Seq: b.Seq, Time: p.wall(), Heartbeat: 30 * time.Second}))
		p.post(m, -1, env)
		for _, c := range w.disk.commands {
			if a := p.actors[c.n]; a != nil && a.engine != nil {
				a.engine.Step(p.wall(), command.Event{Node: m.id, Present: true, First: b.First})
				a.turn()
			}
		}
	case message.Ready:
		p.forOwner(m, message.KindReady, b.Command, b, nil)
	case message.Report:
		p.forOwner(m, message.KindReport, b.Command, b, &b)
	case piece:
		p.output(m, &b)
	}
}

// forOwner gives a message to the owner of its command, here or elsewhere.
func (p *plane) forOwner(m *machine, k message.Kind, id string, body any, r *message.Report) {
	d := p.w.disk
	c := d.command(id)
	if c == nil {
		return
	}
	if a := p.actors[c.n]; a != nil {
		if a.engine != nil {
			a.take(m, body)
			a.turn()
		}
		return // else its next copy comes
	}
	if p.cutOff {
		return
	}
	inv := c.invs[m.i]
	over := inv == nil || inv.Phase == command.PhaseDone
	if p.shards[c.shard] == nil && !over {
		p.write(label{kind: "leaves a message of", node: m.i, plane: p.i, cmd: c.n}, nil, func() error {
			if inv := c.invs[m.i]; inv != nil && inv.Phase != command.PhaseDone {
				c.mail[mailKey{m.i, k}] = letter{d.number(), body}
				p.w.res.Routed++
				p.w.wake(c.shard)
			}
			return nil
		}, func(error) {})
		return
	}
	if r != nil {
		p.late(c, m, r)
	}
}

// late keeps a result that came after its invocation had ended, and tells the node that it may forget it; a node that still runs what has ended is told to stop.
func (p *plane) late(c *stored, m *machine, r *message.Report) {
	if p.cutOff {
		return
	}
	inv := c.invs[m.i]
	ack := func() {
		p.tell(m, message.KindAck, c.n, r.Attempt, p.wall().Add(time.Hour), marshal(message.KindAck, message.Ack{Ref: r.Ref, Seq: r.Seq, Final: true}))
	}
	evidence := func() bool {
		inv := c.invs[m.i]
		return inv != nil && inv.Phase == command.PhaseDone && inv.Late == nil && inv.Attempt == r.Attempt && inv.Seq < r.Seq
	}
	switch ends := r.Detail.Terminal(); {
	case inv == nil && ends:
		ack()
	case inv == nil, inv.Phase != command.PhaseDone:
	case !ends:
		p.tell(m, message.KindCancel, c.n, r.Attempt, p.wall().Add(time.Hour), marshal(message.KindCancel, message.Cancel{Ref: r.Ref, Detail: inv.Detail}))
	case !evidence() || p.w.cfg.plant == plantLateDropped:
		ack()
	default:
		p.write(label{kind: "keeps the late result of", node: m.i, plane: p.i, cmd: c.n}, nil, func() error {
			if evidence() {
				with := *c.invs[m.i]
				with.Late = &command.Late{At: p.wall(), Detail: r.Detail, ExitCode: r.ExitCode}
				if p.w.cfg.plant == plantLateWins {
					with.Detail = r.Detail
				}
				c.invs[m.i] = &with
				p.w.res.Late++
			}
			return nil
		}, func(err error) {
			if err == nil {
				ack()
			}
		})
	}
}

// output keeps a piece of output.
func (p *plane) output(m *machine, o *piece) {
	c := p.w.disk.command(o.Command)
	if c == nil {
		return
	}
	var have int64
	p.write(label{kind: "keeps output of", node: m.i, plane: p.i, cmd: c.n}, nil, func() error {
		at := &c.outputs[m.i][o.stream]
		if o.offset == *at {
			*at += int64(o.length)
		}
		have = *at
		return nil
	}, func(err error) {
		if err == nil {
			p.tell(m, message.KindAck, c.n, o.Attempt, p.wall().Add(time.Hour), marshal(message.KindAck, message.Ack{Ref: o.Ref, Offsets: map[string]int64{o.id: have}}))
		}
	})
}

// holds asks the store whether the actor's lease is still held.
func (a *actor) holds() bool {
	return reach{a.p.w.disk, a.p}.View(context.Background(), func(ctx context.Context, r store.Reader) error {
		return a.held.Check(ctx, r.(store.Tx))
	}) == nil
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/lease"
)

// longestOutage is how long a control plane is away at most after a crash.
const longestOutage = 90 * time.Second

// plane is a control plane: what it has in memory.
type plane struct {
	w       *world
	i       int
	life    int
	up      bool
	stopped bool     // it stands still, as with SIGSTOP
	cutOff  bool     // from the store
	held    []func() // what happened to it meanwhile
	offset  time.Duration
	jumped  time.Duration
	drift   float64
	cuts    int // generation of the cut from the store

	leases  *lease.Leases
	shards  [shards]*lease.Held
	actors  map[int]*actor // by command
	nodes   []bool         // by node: connected, as far as it knows
	renewAt time.Duration
}

func newPlane(w *world, i int) *plane {
	p := &plane{w: w, i: i, nodes: make([]bool, w.cfg.Nodes)}
	if w.cfg.PlaneSkew > 0 {
		p.offset = w.draw(2*w.cfg.PlaneSkew) - w.cfg.PlaneSkew
	}
	p.drift = (2*w.rng.Float64() - 1) * w.cfg.Drift
	w.after(w.draw(time.Duration(i)*time.Second), p.label("begins"), p.start)
	return p
}

func (p *plane) label(kind string) label { return label{kind: kind, node: -1, plane: p.i, cmd: -1} }

// about is an event of the plane on what another was about.
func (p *plane) about(kind string, l label) label {
	return label{kind: kind, node: l.node, plane: p.i, cmd: l.cmd}
}

// wall is what the plane's clock shows.
func (p *plane) wall() time.Time {
	return dawn.Add(p.w.now + p.offset + p.jumped + time.Duration(float64(p.w.now)*p.drift))
}

// mono is its monotonic clock, from an origin of its own; every second play it is its wall clock, which jumps.
func (p *plane) mono() time.Time {
	if p.w.cfg.Seed%2 == 0 {
		return p.wall()
	}
	return dawn.Add(p.w.now + time.Duration(float64(p.w.now)*p.drift))
}

// after makes something happen to the plane as it lives now: not if it died, and later if it stands still.
func (p *plane) after(d time.Duration, l label, do func()) {
	life := p.life
	var run func()
	run = func() {
		switch {
		case p.life != life:
		case p.stopped:
			p.held = append(p.held, run)
		default:
			do()
		}
	}
	p.w.after(d, l, run)
}

// start begins a life of the plane with what the store has.
func (p *plane) start() {
	p.up = true
	p.actors = map[int]*actor{}
	p.shards = [shards]*lease.Held{}
	p.leases = lease.New(reach{p.w.disk, p}, nil, lease.Config{Owner: fmt.Sprint("plane ", p.i), TTL: p.w.cfg.TTL, Now: p.mono, Rand: entropy{p.w.rng}})
	p.poll()
}

type entropy struct{ *rand.Rand }

func (e entropy) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e.Uint32())
	}
	return len(b), nil
}

// poll is what Run of package command does again and again: keep the session alive, ask for leases, look for what was left.
func (p *plane) poll() {
	ctx := context.Background()
	if p.w.now >= p.renewAt {
		p.renewAt = p.w.now + p.w.cfg.TTL/3
		p.leases.Renew(ctx) //nolint:errcheck // it is tried again
	}
	for n := range p.shards {
		if h := p.shards[n]; h != nil {
			select {
			case <-h.Lost():
				p.drop(n)
			default:
				continue
			}
		}
		h, err := p.leases.Acquire(ctx, "", fmt.Sprint("command/", n))
		if err != nil {
			continue
		}
		if h.Epoch > 1 {
			p.w.res.Takeovers++
		}
		p.w.note(label{kind: "has the lease", node: -1, plane: p.i, cmd: -1, n: int64(h.Epoch)})
		p.shards[n] = &h
		if !p.cutOff {
			for _, c := range p.w.disk.commands {
				if c.shard == n && !c.state.Done() {
					p.adopt(c)
				}
			}
		}
	}
	p.collect()
	p.drain()
	if !p.up {
		return
	}
	p.after(min(p.w.cfg.Poll, p.w.cfg.TTL/3), p.label("poll"), p.poll)
}

// drop ends the actors of a shard whose lease was lost.
func (p *plane) drop(n int) {
	p.shards[n] = nil
	for c, a := range p.actors {
		if a.c.shard == n {
			a.gone = true
			delete(p.actors, c)
		}
	}
}

func (p *plane) adopt(c *stored) {
	if p.up && p.actors[c.n] == nil {
		a := &actor{p: p, c: c, held: p.shards[c.shard]}
		p.actors[c.n] = a
		a.load()
	}
}

// collect takes what was left for the shards that the plane owns.
func (p *plane) collect() {
	if p.cutOff {
		return
	}
	for _, c := range p.w.disk.commands {
		if !p.up || p.shards[c.shard] == nil || c.state.Done() {
			continue
		}
		if c.news {
			p.adopt(c)
		}
		a := p.actors[c.n]
		if a == nil || a.engine == nil {
			continue
		}
		for _, x := range c.cancels {
			a.cancelled(x)
		}
		for i := range p.w.nodes {
			for _, k := range mailKinds {
				if l, ok := c.mail[mailKey{i, k}]; ok {
					a.letter(mailKey{i, k}, l)
				}
			}
		}
		a.turn()
	}
}

// wake tells the control planes that own a shard that something was left for it, as a store that is watched does.
func (w *world) wake(shard int) {
	for _, p := range w.planes {
		if p.up && p.shards[shard] != nil {
			p.after(w.latency(), p.label("look"), p.collect)
		}
	}
}

// pause makes the plane stand still; what happens to it meanwhile happens all at once when it goes on.
func (p *plane) pause(d time.Duration) {
	if !p.up || p.stopped {
		return
	}
	p.stopped = true
	p.w.res.Pauses++
	p.w.trouble(d)
	for _, m := range p.w.nodes {
		m.lineBreaks(p, 20*time.Second+p.w.draw(20*time.Second))
	}
	life := p.life
	p.w.after(d, p.label("goes on"), func() {
		if p.life != life {
			return
		}
		p.stopped = false
		held := p.held
		p.held = nil
		for _, do := range held {
			do()
		}
	})
}

// cut takes the store away for a while.
func (p *plane) cut(d time.Duration) {
	p.cutOff = true
	p.cuts++
	gen := p.cuts
	p.w.res.StoreCuts++
	p.w.trouble(d)
	p.w.after(d, p.label("reaches the store"), func() {
		if p.cuts == gen {
			p.cutOff = false
		}
	})
}

// trouble notes that a control plane cannot work for a while.
func (w *world) trouble(d time.Duration) { w.lastFault = max(w.lastFault, w.now+d) }

func (p *plane) jump(by time.Duration) {
	p.jumped += by
	p.w.res.Jumps++
	p.w.check.jumped += by.Abs()
}

// crash takes the plane down; it comes back from the store.
func (p *plane) crash(where string) {
	p.w.res.PlaneCrashes++
	p.w.note(p.label(where))
	for _, a := range p.actors {
		a.gone = true
	}
	p.up, p.stopped, p.held, p.actors = false, false, nil, nil
	p.life++
	p.shards = [shards]*lease.Held{}
	clear(p.nodes)
	for _, m := range p.w.nodes {
		m.lineBreaks(p, p.w.draw(2*time.Second))
	}
	d := p.w.draw(longestOutage)
	p.w.trouble(d)
	p.w.after(d, p.label("is back"), p.start)
}

// send accepts a command, or gives the one that was made of the token before; done gets the answer, if the plane lives to give it.
func (p *plane) send(r request, done func(id string, st command.State, err error)) {
	d := p.w.disk
	n := p.w.res.Commits // only to tell ids apart; two planes never draw the same
	id := fmt.Sprintf("command-%d-%d-%d", r.token, p.i, n)
	st := command.NewState(id, len(p.w.nodes), r.c, r.l, r.ramp, p.wall(), r.delivery, r.execution)
	var known, got *stored
	if p.w.cfg.plant == plantTokenOutside {
		known = d.tokens[r.token]
	}
	p.stall()
	l := label{kind: "send", node: -1, plane: p.i, cmd: -1, n: int64(r.token)}
	p.write(l, nil, func() error {
		if p.w.cfg.plant != plantTokenOutside {
			known = d.tokens[r.token]
		}
		got = d.create(st, r.token, known)
		return nil
	}, func(err error) {
		if errors.Is(err, errUnanswered) && p.w.cfg.plant == plantRetryUnknown {
			delete(d.tokens, r.token) // as if it had sent none
			done("", st, err)
			return
		}
		if err != nil {
			if there := d.command(id); errors.Is(err, errUnanswered) && there != nil && !p.cutOff {
				got, err = there, nil // settled by reading
			}
		}
		if err != nil {
			done("", st, err)
			return
		}
		if p.shards[got.shard] != nil && !got.state.Done() {
			p.adopt(got)
		} else {
			p.w.wake(got.shard)
		}
		done(got.id, got.state, nil)
	})
}

// cancel asks a command to stop on some nodes, or on all when there are none.
func (p *plane) cancel(c *stored, nodes []string, done func(error)) {
	x := cancellation{n: p.w.disk.number(), nodes: nodes}
	p.write(label{kind: "cancel", node: -1, plane: p.i, cmd: c.n}, nil, func() error {
		if !c.state.Done() && p.w.cfg.plant != plantCancelForgotten {
			c.cancels = append(c.cancels, x)
		}
		return nil
	}, func(err error) {
		if a := p.actors[c.n]; err == nil && a != nil && a.engine != nil {
			a.cancelled(x)
			a.turn()
		} else if err == nil {
			p.w.wake(c.shard)
		}
		done(err)
	})
}

// stall makes the plane stand still now and then, at the worst of moments.
func (p *plane) stall() {
	if p.w.chance(p.w.cfg.Stalls) {
		p.w.note(p.label("stalls"))
		p.pause(p.w.draw(4*p.w.cfg.TTL) + time.Second)
	}
}

//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/ssmops"
)

// acts are what is done to the fleet, and what came of it.
type acts struct {
	h     *house
	l     *load
	say   func(string, ...any)
	rand  *rand.Rand
	nodes []string // ids

	kills, freezes, breaks int
	killHandover           time.Duration // the longest
	freezeHandover         time.Duration
	refused                int64 // stale writes that were not taken
	reconnect              time.Duration
	rightOutput, askOutput int
}

// round kills a control plane, freezes one, and wipes the broker.
func (a *acts) round(ctx context.Context) error {
	if err := a.calm(ctx); err != nil {
		return err
	}
	if err := a.kill(ctx); err != nil {
		return err
	}
	if err := a.calm(ctx); err != nil {
		return err
	}
	if err := a.freeze(ctx); err != nil {
		return err
	}
	if a.h.broker == nil {
		return nil
	}
	if err := a.calm(ctx); err != nil {
		return err
	}
	return a.wipe(ctx)
}

// calm lets things run for a moment whose length is chosen at random.
func (a *acts) calm(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(a.h.o.lease/4 + time.Duration(a.rand.Int64N(int64(a.h.o.lease/4)))):
		return nil
	}
}

// busiest returns the plane that owns most, and at least one shard.
func (a *acts) busiest(ctx context.Context) (n int, err error) {
	err = a.h.until(ctx, a.h.o.patience, "some control plane owns the commands", func() bool {
		most := 0
		for i, v := range a.h.seen() {
			if len(v.Shards) > most && v.Ready == "" {
				n, most = i, len(v.Shards)
			}
		}
		return most > 0
	})
	return n, err
}

// disturbed sends a command that takes longer than what is done to the fleet, and returns when nodes are in the middle of it.
func (a *acts) disturbed(ctx context.Context, takes time.Duration) (*order, error) {
	before := a.lines()
	o := a.l.send(ctx, takes, true)
	err := a.h.until(ctx, a.h.o.patience, "a command is in the middle of its work", func() bool {
		a.l.mu.Lock()
		defer a.l.mu.Unlock()
		return a.l.fail != nil || o.running > 0 && a.l.lines > before
	})
	if err == nil {
		a.l.mu.Lock()
		err = a.l.fail
		a.l.mu.Unlock()
	}
	return o, err
}

func (a *acts) lines() int64 {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	return a.l.lines
}

// allOwned reports whether every shard is owned by a plane other than the one.
func (a *acts) allOwned(but int) bool {
	a.h.look(context.Background())
	owned := map[int]bool{}
	for i, v := range a.h.seen() {
		if i == but {
			continue
		}
		for _, s := range v.Shards {
			owned[s] = true
		}
	}
	return len(owned) == shards
}

// outcome waits for the end of a command and says how it was.
func (a *acts) outcome(ctx context.Context, o *order) error {
	err := a.h.until(ctx, a.h.o.patience, "the command that was disturbed has ended", func() bool {
		a.l.mu.Lock()
		defer a.l.mu.Unlock()
		return !o.ended.IsZero()
	})
	if err != nil {
		return err
	}
	a.say("the command that was in the middle of it: %s on %d of %d nodes, after %s", o.detail, o.done, o.targets, secs(o.ended.Sub(o.sent)))
	return nil
}

// kill kills the plane that owns most with SIGKILL, in the middle of a command.
func (a *acts) kill(ctx context.Context) error {
	o, err := a.disturbed(ctx, a.h.o.lease/2)
	if err != nil {
		return err
	}
	n, err := a.busiest(ctx)
	if err != nil {
		return err
	}
	p := a.h.planes[n]
	a.say("kill -9 %s (process %d), which owns %s, in the middle of a command", p.name, p.pid(), plural(len(a.h.seen()[n].Shards), "shard"))
	began := time.Now()
	p.kill()
	if err := a.h.until(ctx, a.h.o.patience, "the others own everything", func() bool { return a.allOwned(n) }); err != nil {
		return err
	}
	took := time.Since(began)
	a.kills++
	a.killHandover = max(a.killHandover, took)
	a.say("the others own everything after %s", secs(took))
	if err := a.outcome(ctx, o); err != nil {
		return err
	}
	if o.detail == message.DetailSuccess {
		right, asked, err := a.l.sameOutput(ctx, a.nodes[a.rand.IntN(len(a.nodes))])
		a.rightOutput += right
		a.askOutput += asked
		if err != nil {
			a.say("its output could not be read: %v", err)
		}
	}
	if err := p.start(); err != nil {
		return err
	}
	if err := a.h.ready(ctx, n, a.h.o.patience); err != nil {
		return err
	}
	a.say("%s is started again and ready: process %d", p.name, p.pid())
	return nil
}

// freeze stops the plane that owns most for three lease periods, and lets it go on as if nothing had been.
func (a *acts) freeze(ctx context.Context) error {
	n, err := a.busiest(ctx)
	if err != nil {
		return err
	}
	o, err := a.disturbed(ctx, a.h.o.lease/2)
	if err != nil {
		return err
	}
	p := a.h.planes[n]
	before := a.h.seen()[n].Refused
	a.say("kill -STOP %s (process %d) for three lease periods, %s", p.name, p.pid(), secs(3*a.h.o.lease))
	began := time.Now()
	p.pause()
	if err := a.h.until(ctx, a.h.o.patience, "the others own everything", func() bool { return a.allOwned(n) }); err != nil {
		return err
	}
	took := time.Since(began)
	a.freezes++
	a.freezeHandover = max(a.freezeHandover, took)
	a.say("the others own everything after %s", secs(took))
	if err := a.outcome(ctx, o); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(3*a.h.o.lease - time.Since(began)):
	}
	p.resume()
	a.say("kill -CONT %s, which believes that it still owns everything", p.name)
	refused := int64(0)
	if err := a.h.until(ctx, a.h.o.patience, p.name+" is ready again", func() bool {
		v, err := a.h.ask(ctx, n)
		refused = v.Refused - before
		return err == nil && v.Ready == "" && refused > 0
	}); err != nil {
		return err
	}
	a.refused += refused
	a.say("refused: %s of its own; it is a new one now, and ready", plural(int(refused), "stale write"))
	return nil
}

// wipe kills the broker, removes its disk, and starts it again.
func (a *acts) wipe(ctx context.Context) error {
	o, err := a.disturbed(ctx, a.h.o.lease/2)
	if err != nil {
		return err
	}
	b := a.h.broker
	a.say("kill -9 %s (process %d), with all that it has: it keeps nothing on a disk", b.name, b.pid())
	b.kill()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(a.h.o.lease / 2):
	}
	if err := b.start(); err != nil {
		return err
	}
	began := time.Now()
	if err := a.h.until(ctx, a.h.o.patience, "the nodes are back on the broker", func() bool { return a.h.onBroker() >= a.h.byNATS }); err != nil {
		return err
	}
	took := time.Since(began)
	a.breaks++
	a.reconnect = max(a.reconnect, took)
	a.say("%s is started again, empty; its %s are back after %s", b.name, plural(a.h.byNATS, "node"), secs(took))
	return a.outcome(ctx, o)
}

// onBroker counts the nodes that are connected by the broker.
func (h *house) onBroker() (n int) {
	h.look(context.Background())
	for _, v := range h.seen() {
		n = max(n, v.NATS)
	}
	return n
}

// nodeIDs returns the ids of all nodes.
func nodeIDs(ctx context.Context, h *house) (ids []string, err error) {
	for next := ""; ; {
		var got ssmops.DescribeInstanceInformationResult
		if err := h.call(ctx, "DescribeInstanceInformation", ssmops.DescribeInstanceInformationRequest{MaxResults: 50, NextToken: next}, &got); err != nil {
			return nil, err
		}
		for _, n := range got.InstanceInformationList {
			ids = append(ids, n.ID)
		}
		if next = got.NextToken; next == "" {
			break
		}
	}
	if len(ids) != h.o.nodes {
		return nil, fmt.Errorf("%d nodes are registered, not %d", len(ids), h.o.nodes)
	}
	return ids, nil
}

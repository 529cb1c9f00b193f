package transporttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/transport"
)

func closeCases() []Case {
	return []Case{
		{"T-CLOSED", "after", "once an end is closed, Send and Receive answer ErrClosed, a running Receive too", needsClose, checkClosed},
		{"T-CLOSED", "traffic", "an end may be closed while messages go both ways: nothing hangs, and every error is the contract's", needsClose, checkCloseTraffic},
	}
}

func needsClose(p Pair) string {
	if p.Close == nil {
		return "the pair cannot close ends"
	}
	return ""
}

func checkClosed(b *bench) error {
	return b.ends(func(_ string, end, from transport.Transport, to transport.Address) error {
		in := b.receive(end)
		if err := b.deliver(from, to, []byte("before"), in); err != nil {
			return err
		}
		if err := b.within("Close returns", func() error { return b.Close(end) }); err != nil {
			return err
		}
		err, ok := in.wait()
		if !ok {
			return errors.New("the running Receive did not end")
		}
		if !errors.Is(err, transport.ErrClosed) {
			return fmt.Errorf("the running Receive ended with %v, want ErrClosed", err)
		}
		back := plane(node(0))
		if to != node(0) {
			back = node(1)
		}
		if err := end.Send(b.ctx, back, []byte("after")); !errors.Is(err, transport.ErrClosed) {
			return fmt.Errorf("the Send answered %v, want ErrClosed", err)
		}
		return b.within("Receive returns", func() error {
			if err := end.Receive(b.ctx, func(context.Context, transport.Message) {}); !errors.Is(err, transport.ErrClosed) {
				return fmt.Errorf("the Receive answered %v, want ErrClosed", err)
			}
			return nil
		})
	})
}

// within runs f, which must return in time.
func (b *bench) within(what string, f func() error) error {
	answer := make(chan error, 1)
	b.go_(func() { answer <- f() })
	t := time.NewTimer(b.patience)
	defer t.Stop()
	select {
	case err := <-answer:
		return err
	case <-t.C:
		return fmt.Errorf("waited %v until %s", b.patience, what)
	}
}

func checkCloseTraffic(b *bench) error {
	up := b.receive(b.Controller)
	var links []*link
	for i := range 4 {
		l, err := b.link(node(i), up)
		if err != nil {
			return err
		}
		links = append(links, l)
	}
	ctx, stop := context.WithCancel(b.ctx)
	var mu sync.Mutex
	var bad error
	var rounds []*atomic.Int32
	send := func(from transport.Transport, to transport.Address) {
		var round atomic.Int32
		rounds = append(rounds, &round)
		b.go_(func() {
			for i := 0; ctx.Err() == nil; i++ {
				round.Add(1)
				if err := from.Send(ctx, to, pattern(100+i%5000, uint32(i))); !contractual(err) {
					mu.Lock()
					bad = fmt.Errorf("the Send answered %w", err)
					mu.Unlock()
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	b.cleanups = append(b.cleanups, stop)
	for _, l := range links {
		send(b.Controller, l.a)
		send(l.end, plane(l.a))
	}
	for _, l := range links {
		if err := b.until("traffic flows", func() bool { return len(l.down.all()) > 5 && len(up.all()) > 5 }); err != nil {
			return err
		}
	}
	for _, l := range links[:2] {
		if err := b.within("a node's Close returns", func() error { return b.Close(l.end) }); err != nil {
			return err
		}
		if err, ok := l.down.wait(); !ok || !errors.Is(err, transport.ErrClosed) {
			return fmt.Errorf("a node's Receive ended: %v, with %v", ok, err)
		}
	}
	if err := b.within("the control plane's Close returns", func() error { return b.Close(b.Controller) }); err != nil {
		return err
	}
	if err, ok := up.wait(); !ok || !errors.Is(err, transport.ErrClosed) {
		return fmt.Errorf("the control plane's Receive ended: %v, with %v", ok, err)
	}
	for _, round := range rounds {
		n := round.Load()
		if err := b.until("Sends go on after everything was closed", func() bool { return round.Load() > n+2 }); err != nil {
			return err
		}
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	return bad
}

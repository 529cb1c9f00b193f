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

func receiveCases() []Case {
	return []Case{
		{"T-END", "context", "Receive returns its context's error when that ends, after running handlers, and none is called any more", nil, checkEnd},
		{"T-END", "before", "Receive with a context that has ended returns its error", nil, checkEndBefore},
		{"T-TURN", "turns", "messages of one sender are handled one after another", nil, checkTurns},
		{"T-TURN", "reply", "a handler may call Send", nil, checkReply},
		{"T-ONE", "second", "a second Receive is ErrReceiving at once, and does not disturb the first", nil, checkSecond},
		{"T-ONE", "next", "another Receive may follow when one has ended", nil, checkNext},
	}
}

// ends calls f for the node's end and for the control plane's; from sends to it.
func (b *bench) ends(f func(which string, end, from transport.Transport, to transport.Address) error) error {
	for i, which := range []string{"the node's end", "the control plane's end"} {
		a := node(i)
		nd, err := b.connect(a)
		if err != nil {
			return err
		}
		if i == 0 {
			err = f(which, nd, b.Controller, a)
		} else {
			err = f(which, b.Controller, nd, plane(a))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", which, err)
		}
	}
	return nil
}

func checkEnd(b *bench) error {
	return b.ends(func(_ string, end, from transport.Transport, to transport.Address) error {
		begun, release := make(chan struct{}), make(chan struct{})
		open := sync.OnceFunc(func() { close(release) })
		b.cleanups = append(b.cleanups, open)
		var once sync.Once
		var returned atomic.Bool
		var late atomic.Int32
		in := b.receiveWith(end, func(ctx context.Context, _ transport.Message) {
			if returned.Load() {
				late.Add(1)
			}
			once.Do(func() { close(begun) })
			select {
			case <-ctx.Done(): // told to end; takes its time
			case <-release:
			}
			<-release
			time.Sleep(time.Millisecond)
		})
		ended := func() bool { return len(in.ended) > 0 }
		if err := b.until("a handler is running", func() bool {
			from.Send(b.ctx, to, []byte("work"))
			select {
			case <-begun:
				return true
			default:
				return false
			}
		}); err != nil {
			return err
		}
		in.stop()
		for range 5 {
			from.Send(b.ctx, to, []byte("late"))
			time.Sleep(2 * time.Millisecond)
			if ended() {
				return errors.New("the Receive returned while a handler was running")
			}
		}
		open()
		err, ok := in.wait()
		returned.Store(true)
		switch {
		case !ok:
			return errors.New("the Receive did not return when its context ended")
		case !errors.Is(err, context.Canceled):
			return fmt.Errorf("the Receive returned %v, want context.Canceled", err)
		}
		for range 5 {
			from.Send(b.ctx, to, []byte("late"))
			time.Sleep(2 * time.Millisecond)
		}
		if n := late.Load(); n > 0 {
			return fmt.Errorf("%d messages were handled after Receive had returned", n)
		}
		return nil
	})
}

func checkEndBefore(b *bench) error {
	return b.ends(func(_ string, end, _ transport.Transport, _ transport.Address) error {
		for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
			ctx, cancel := context.WithCancel(b.ctx)
			if want == context.DeadlineExceeded {
				ctx, cancel = context.WithDeadline(b.ctx, time.Unix(0, 0))
			}
			cancel()
			answer := make(chan error, 1)
			b.go_(func() { answer <- end.Receive(ctx, func(context.Context, transport.Message) {}) })
			t := time.NewTimer(b.patience)
			defer t.Stop()
			select {
			case err := <-answer:
				if !errors.Is(err, want) {
					return fmt.Errorf("the Receive returned %v, want %w", err, want)
				}
			case <-t.C:
				return errors.New("the Receive did not return")
			}
		}
		return nil
	})
}

func checkTurns(b *bench) error {
	return b.ends(func(_ string, end, from transport.Transport, to transport.Address) error {
		var at, most atomic.Int32
		in := b.receiveWith(end, func(context.Context, transport.Message) {
			n := at.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Millisecond)
			at.Add(-1)
		})
		var wg sync.WaitGroup
		for s := range 4 {
			wg.Go(func() {
				for i := range 10 {
					b.take(from, to, numbered(fmt.Sprint(s), i))
				}
			})
		}
		wg.Wait()
		if err := b.deliver(from, to, []byte("fence"), in); err != nil {
			return err
		}
		if n := most.Load(); n > 1 {
			return fmt.Errorf("%d messages of one sender were handled at once", n)
		}
		return nil
	})
}

func checkReply(b *bench) error {
	nd, err := b.connect(node(1))
	if err != nil {
		return err
	}
	up := b.receive(b.Controller)
	down := b.receiveWith(nd, func(ctx context.Context, m transport.Message) {
		nd.Send(ctx, plane(node(1)), append([]byte("re: "), m.Data...))
	})
	for i := range 10 {
		before := up.count([]byte("re: ping"))
		if err := b.until(fmt.Sprintf("answer %d", i), func() bool {
			b.deliver(b.Controller, node(1), []byte("ping"), down)
			time.Sleep(time.Millisecond)
			return up.count([]byte("re: ping")) > before
		}); err != nil {
			return err
		}
	}
	return nil
}

func checkSecond(b *bench) error {
	return b.ends(func(_ string, end, from transport.Transport, to transport.Address) error {
		in := b.receive(end)
		if err := b.deliver(from, to, []byte("one"), in); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(b.ctx)
		defer cancel()
		answer := make(chan error, 1)
		b.go_(func() { answer <- end.Receive(ctx, func(context.Context, transport.Message) {}) })
		t := time.NewTimer(b.patience)
		defer t.Stop()
		select {
		case err := <-answer:
			if !errors.Is(err, transport.ErrReceiving) {
				return fmt.Errorf("a second Receive returned %v, want ErrReceiving", err)
			}
		case <-t.C:
			return errors.New("a second Receive runs")
		}
		for i := range 5 {
			if err := b.deliver(from, to, numbered("still", i), in); err != nil {
				return fmt.Errorf("after a second Receive: %w", err)
			}
		}
		return nil
	})
}

func checkNext(b *bench) error {
	return b.ends(func(_ string, end, from transport.Transport, to transport.Address) error {
		for i := range 3 {
			in := b.receive(end)
			if err := b.deliver(from, to, numbered("round", i), in); err != nil {
				return fmt.Errorf("the Receive number %d: %w", i+1, err)
			}
			if _, ok := in.end(); !ok {
				return errors.New("the Receive did not return")
			}
		}
		return nil
	})
}

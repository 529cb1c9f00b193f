package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

var cancelCases = []Case{
	{Rule: "S-CANCEL", Name: "a context that has ended", check: cancelledBefore},
	{Rule: "S-CANCEL", Name: "a view in the middle", check: cancelledView},
	{Rule: "S-CANCEL", Name: "an update that waits for another", check: cancelledWaiting},
	{Rule: "S-CANCEL", Name: "after the function returned the outcome is true", check: cancelledWithin},
	{Rule: "S-CANCEL", Name: "64 updates with short deadlines", check: deadlines},
}

func cancelledBefore(c *c) {
	c.fill("k", "1")
	for _, k := range []struct {
		want error
		ctx  func() (context.Context, context.CancelFunc)
	}{
		{context.Canceled, func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(c.ctx)
			cancel()
			return ctx, cancel
		}},
		{context.DeadlineExceeded, func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(c.ctx, time.Now().Add(-time.Second))
		}},
	} {
		ctx, cancel := k.ctx()
		ran := false
		err := c.s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			ran = true
			return tx.Put([]byte("k"), []byte("2"))
		})
		c.is(err, k.want, "Update with a context that has ended")
		c.equal(ran, false, "the function ran")
		err = c.s.View(ctx, func(ctx context.Context, r store.Reader) error {
			_, err := r.Get(ctx, []byte("k"))
			return err
		})
		c.is(err, k.want, "View with a context that has ended")
		cancel()
	}
	c.equal(c.get("k"), "1", "value after Updates with a context that had ended")
}

func cancelledView(c *c) {
	c.fill("k", "1")
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	mine := errors.New("mine")
	err := c.s.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, []byte("k"))
		c.ok(err, "Get before the end of the context")
		cancel()
		_, err = r.Get(ctx, []byte("k"))
		c.is(err, context.Canceled, "Get after the end of the context")
		_, err = r.GetMany(ctx, [][]byte{[]byte("k")})
		c.is(err, context.Canceled, "GetMany after the end of the context")
		_, err = scan(ctx, r, store.Range{})
		c.is(err, context.Canceled, "Scan after the end of the context")
		_, err = r.Get(c.ctx, []byte("k"))
		c.is(err, context.Canceled, "Get with another context after the end of the View's")
		return mine
	})
	if !errors.Is(err, mine) && !errors.Is(err, context.Canceled) {
		c.fatal("View returned %v", err)
	}
	c.equal(c.get("k"), "1", "value after a View that was cancelled")
}

func cancelledWaiting(c *c) {
	running, release := make(chan struct{}, 100), make(chan struct{})
	holder := make(chan error, 1)
	go func() {
		holder <- update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
			if err := tx.Put([]byte("holder"), []byte("1")); err != nil {
				return err
			}
			running <- struct{}{}
			select {
			case <-release:
			case <-time.After(store.MaxUpdate * 8 / 10):
			}
			return nil
		})
	}()
	select {
	case <-running:
	case <-time.After(patience):
		c.fatal("an Update did not run")
	}
	ctx, cancel := context.WithCancel(c.ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	var mu sync.Mutex
	returned, late := false, false
	err := c.s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		mu.Lock()
		late = late || returned
		mu.Unlock()
		return tx.Put([]byte("waiter"), []byte("1"))
	})
	mu.Lock()
	returned = true
	mu.Unlock()
	waited := false
	select {
	case err := <-holder:
		holder <- err
		waited = true
	default:
	}
	close(release)
	c.ok(<-holder, "the Update that was waited for")
	if waited && err != nil {
		c.fatal("an Update whose context ended waited for the Update before it")
	}
	if err != nil {
		c.is(err, context.Canceled, "an Update whose context ended while it waited")
		c.fill("another", "update")
		c.equal(c.get("waiter"), "-", "value of an Update that was cancelled")
	} else if waited {
		c.fatal("an Update whose context ended while it waited returned nil after the wait")
	}
	mu.Lock()
	defer mu.Unlock()
	c.equal(late, false, "the function ran after Update returned")
}

func cancelledWithin(c *c) {
	for i := range 5 {
		key := fmt.Sprint("k", i)
		ctx, cancel := context.WithCancel(c.ctx)
		err := c.s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			defer cancel()
			return tx.Put([]byte(key), []byte("1"))
		})
		cancel()
		switch {
		case err == nil:
			c.equal(c.get(key), "1", "value of an Update that returned nil although its context had ended")
		case errors.Is(err, context.Canceled), errors.Is(err, store.ErrConflict):
			c.equal(c.get(key), "-", "value of an Update that returned its context's error")
		default:
			c.fatal("Update: %v", err)
		}
	}
}

func deadlines(c *c) {
	const n = 64
	var wg sync.WaitGroup
	errs := make([]error, n*4)
	for i := range errs {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(c.ctx, time.Duration(i%n)*50*time.Microsecond)
			defer cancel()
			errs[i] = c.s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				return tx.Put(fmt.Appendf(nil, "d%03d", i), []byte("1"))
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		got := c.get(fmt.Sprintf("d%03d", i))
		switch {
		case err == nil:
			c.equal(got, "1", "value of an Update with a deadline that returned nil")
		case errors.Is(err, store.ErrCommitUnknown):
			if got != "1" && got != "-" {
				c.fatal("an Update of unknown outcome left %q", got)
			}
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrConflict):
			c.equal(got, "-", "value of an Update that returned its deadline's error")
		default:
			c.fatal("Update with a deadline: %v", err)
		}
	}
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

var endCases = []Case{
	{Rule: "S-PANIC", Name: "update unwinds and writes nothing", check: panicUpdate},
	{Rule: "S-PANIC", Name: "view unwinds", check: panicView},
	{Rule: "S-PANIC", Name: "goexit ends the caller alone", check: goexit},
	{Rule: "S-GOROUTINE", Name: "the function runs on the caller's goroutine", check: goroutine},
	{Rule: "S-NESTED", Name: "refused at once in every combination", check: nested},
	{Rule: "S-DEAD", Name: "reader after return", check: deadReader},
	{Rule: "S-DEAD", Name: "tx after return", check: deadTx},
	{Rule: "S-DEAD", Name: "tx after an error and a panic", check: deadAfterError},
}

// catch runs fn and returns what it panicked with.
func catch(fn func()) (p any) {
	defer func() { p = recover() }()
	fn()
	return nil
}

func panicUpdate(c *c) {
	c.fill("k", "1")
	mine := errors.New("mine")
	for range 3 {
		p := catch(func() {
			err := c.s.Update(c.ctx, func(ctx context.Context, tx store.Tx) error {
				c.ok(tx.Put([]byte("k"), []byte("2")), "Put")
				c.ok(tx.Put([]byte("new"), []byte("2")), "Put")
				panic(mine)
			})
			c.fatal("Update returned %v although its function panicked", err)
		})
		if p != mine {
			c.fatal("Update panicked with %v, want its function's own value", p)
		}
	}
	c.equal([]string{c.get("k"), c.get("new")}, []string{"1", "-"}, "k, new after an Update that panicked")
	c.fill("k", "3")
	c.equal(c.get("k"), "3", "value of the Update after one that panicked")
}

func panicView(c *c) {
	mine := errors.New("mine")
	for range 3 {
		p := catch(func() {
			err := c.s.View(c.ctx, func(ctx context.Context, r store.Reader) error { panic(mine) })
			c.fatal("View returned %v although its function panicked", err)
		})
		if p != mine {
			c.fatal("View panicked with %v, want its function's own value", p)
		}
	}
	c.fill("k", "1")
	c.equal(c.get("k"), "1", "value after Views that panicked")
}

func goexit(c *c) {
	ended := make(chan struct{})
	for _, run := range []func(){
		func() {
			_ = c.s.Update(c.ctx, func(ctx context.Context, tx store.Tx) error {
				if err := tx.Put([]byte("k"), []byte("exit")); err != nil {
					return err
				}
				runtime.Goexit()
				return nil
			})
		},
		func() {
			_ = c.s.View(c.ctx, func(ctx context.Context, r store.Reader) error {
				runtime.Goexit()
				return nil
			})
		},
	} {
		go func() {
			defer func() { ended <- struct{}{} }()
			run()
		}()
		<-ended
	}
	c.equal(c.get("k"), "-", "value written by a function that ended its goroutine")
	c.fill("k", "1")
	c.equal(c.get("k"), "1", "value of the Update after one that ended its goroutine")
}

//go:noinline
func (c *c) calledFromHere(call func()) { call() }

func goroutine(c *c) {
	here := func() bool {
		pcs := make([]uintptr, 256)
		frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
		for {
			f, more := frames.Next()
			if strings.HasSuffix(f.Function, ".calledFromHere") {
				return true
			}
			if !more {
				return false
			}
		}
	}
	var inView, inUpdate bool
	c.calledFromHere(func() {
		c.view(func(context.Context, store.Reader) error { inView = here(); return nil })
		c.ok(c.update(func(context.Context, store.Tx) error { inUpdate = here(); return nil }), "Update")
	})
	c.equal([]bool{inView, inUpdate}, []bool{true, true}, "functions of View and Update run on the goroutine that called")
}

func nested(c *c) {
	type key struct{}
	inner := func(ctx context.Context, where string) {
		ctx, cancel := context.WithTimeout(context.WithValue(ctx, key{}, 1), 2*time.Second)
		defer cancel()
		for range 2 {
			ran := false
			err := c.s.View(ctx, func(context.Context, store.Reader) error { ran = true; return nil })
			c.is(err, store.ErrNested, "View in "+where)
			err = c.s.Update(ctx, func(context.Context, store.Tx) error { ran = true; return nil })
			c.is(err, store.ErrNested, "Update in "+where)
			c.equal(ran, false, "the nested function ran")
		}
	}
	c.view(func(ctx context.Context, r store.Reader) error { inner(ctx, "a View"); return nil })
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		inner(ctx, "an Update")
		return tx.Put([]byte("k"), []byte("1"))
	}), "Update that tried to nest")
	c.equal(c.get("k"), "1", "value written by an Update that tried to nest")
}

// deadCalls checks that every call fails now.
func deadCalls(c *c, r store.Reader, what string) {
	_, err := r.Get(c.ctx, []byte("k1"))
	c.is(err, store.ErrClosed, "Get of "+what)
	_, err = r.GetMany(c.ctx, [][]byte{[]byte("k1")})
	c.is(err, store.ErrClosed, "GetMany of "+what)
	_, err = scan(c.ctx, r, store.Range{})
	c.is(err, store.ErrClosed, "Scan of "+what)
	if tx, ok := r.(store.Tx); ok {
		c.is(tx.Put([]byte("late"), nil), store.ErrClosed, "Put of "+what)
		c.is(tx.Delete([]byte("k1")), store.ErrClosed, "Delete of "+what)
	}
}

func fillMany(c *c) {
	var kv []string
	for i := range 500 { // more than a driver would fetch ahead
		kv = append(kv, fmt.Sprintf("k%d", i), strings.Repeat("x", 2000))
	}
	c.fill(kv...)
}

func deadReader(c *c) {
	fillMany(c)
	var kept store.Reader
	var seq iter.Seq2[store.Item, error]
	var next func() (store.Item, error, bool)
	stop := func() {}
	defer func() { stop() }()
	c.view(func(ctx context.Context, r store.Reader) error {
		kept, seq = r, r.Scan(c.ctx, store.Range{})
		next, stop = iter.Pull2(r.Scan(c.ctx, store.Range{}))
		_, err, _ := next()
		return err
	})
	deadEnd(c, next)
	deadCalls(c, kept, "a View that returned")
	for _, err := range seq {
		c.is(err, store.ErrClosed, "an iteration begun after the end of a View")
	}
}

// deadEnd goes on with an iteration, which may give what was fetched ahead but must end in ErrClosed.
func deadEnd(c *c, next func() (store.Item, error, bool)) {
	for range 500 {
		_, err, ok := next()
		if !ok {
			c.fatal("an iteration that went on after its transaction's end ended without an error")
		}
		if err != nil {
			c.is(err, store.ErrClosed, "an iteration that went on after its transaction's end")
			return
		}
	}
}

func deadTx(c *c) {
	fillMany(c)
	var kept store.Tx
	var next func() (store.Item, error, bool)
	stop := func() {}
	defer func() { stop() }()
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		stop()
		kept = tx
		c.ok(tx.Put([]byte("zz"), nil), "Put")
		next, stop = iter.Pull2(tx.Scan(c.ctx, store.Range{}))
		_, err, _ := next()
		return err
	}), "Update")
	deadEnd(c, next)
	deadCalls(c, kept, "an Update that returned")
	c.equal([]string{c.get("late"), c.get("k1")[:1]}, []string{"-", "x"}, "late, k1 after writes through a dead transaction")
}

func deadAfterError(c *c) {
	c.fill("k1", "x")
	var kept store.Tx
	_ = c.update(func(ctx context.Context, tx store.Tx) error { kept = tx; return errors.New("no") })
	deadCalls(c, kept, "an Update that failed")
	catch(func() {
		_ = c.update(func(ctx context.Context, tx store.Tx) error { kept = tx; panic("no") })
	})
	deadCalls(c, kept, "an Update that panicked")
	c.equal([]string{c.get("late"), c.get("k1")}, []string{"-", "x"}, "late, k1 after writes through a dead transaction")
}

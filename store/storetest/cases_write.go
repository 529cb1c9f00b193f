package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

var writeCases = []Case{
	{Rule: "S-ATOMIC", Name: "an error leaves nothing behind", check: atomicError},
	{Rule: "S-ATOMIC", Name: "all or nothing for a reader", check: atomicAll},
	{Rule: "S-NEIGHBOUR", Name: "errors of others", check: func(c *c) { neighbours(c, "error") }},
	{Rule: "S-NEIGHBOUR", Name: "panics of others", check: func(c *c) { neighbours(c, "panic") }},
	{Rule: "S-NEIGHBOUR", Name: "goexits of others", check: func(c *c) { neighbours(c, "goexit") }},
	{Rule: "S-NEIGHBOUR", Name: "64 writers of their own keys", check: writers64},
	{Rule: "S-WATCH", Name: "a commit under the prefix is signalled", check: watch},
}

func atomicError(c *c) {
	c.fill("kept", "1", "changed", "1")
	bad := errors.New("no")
	_ = c.update(func(ctx context.Context, tx store.Tx) error {
		c.ok(tx.Put([]byte("new"), []byte("2")), "Put")
		c.ok(tx.Put([]byte("changed"), []byte("2")), "Put")
		c.ok(tx.Delete([]byte("kept")), "Delete")
		return bad
	})
	for range 2 {
		c.equal([]string{c.get("new"), c.get("changed"), c.get("kept")}, []string{"-", "1", "1"}, "new, changed, kept after an Update that failed")
		c.fill("another", "update")
	}
}

// dirtyRead lets a View look while an Update has written and not returned.
func dirtyRead(c *c) {
	for range 3 {
		c.fill("k", "clean")
		wrote, looked := make(chan struct{}, 100), make(chan struct{})
		result := make(chan error, 1)
		var seen string
		go func() {
			select {
			case <-wrote:
			case <-time.After(patience):
			}
			ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
			defer cancel()
			result <- c.s.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
				seen, err = get(ctx, r, "k")
				return err
			})
			close(looked)
		}()
		_ = c.update(func(ctx context.Context, tx store.Tx) error {
			c.ok(tx.Put([]byte("k"), []byte("dirty")), "Put")
			wrote <- struct{}{}
			select { // a driver may let the View wait until the Update is over
			case <-looked:
			case <-time.After(200 * time.Millisecond):
			}
			return errors.New("never mind")
		})
		if err := <-result; err != nil {
			c.fatal("a View beside an Update: %v", err)
		}
		c.equal(seen, "clean", "value seen beside an Update that had not returned")
	}
}

// snapshot moves one unit to and fro between 10 accounts while Views add them up.
func snapshot(c *c) {
	const accounts = 10
	var kv []string
	for i := range accounts {
		kv = append(kv, fmt.Sprintf("acc%d", i), "100")
	}
	c.fill(kv...)
	var stop atomic.Bool
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for w := range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				from, to := fmt.Sprintf("acc%d", (i+w)%accounts), fmt.Sprintf("acc%d", (i+w+3+i%5)%accounts)
				if from == to {
					continue
				}
				if err := update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
					return errors.Join(add(ctx, tx, from, -1), add(ctx, tx, to, 1))
				}); err != nil {
					errs <- err
					return
				}
				time.Sleep(20 * time.Microsecond)
			}
		})
	}
	defer wg.Wait()
	defer stop.Store(true)
	for i := range 100 {
		sum := func(values []string) (n int) {
			for _, v := range values {
				x, _ := strconv.Atoi(v)
				n += x
			}
			return n
		}
		var byGet, byScan []string
		c.view(func(ctx context.Context, r store.Reader) error {
			byGet, byScan = nil, nil
			for j := range accounts {
				v, err := get(ctx, r, fmt.Sprintf("acc%d", j))
				c.ok(err, "Get")
				byGet = append(byGet, v)
				runtime.Gosched()
				if i%30 == 0 && j%4 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			for it, err := range r.Scan(ctx, prefix("acc")) {
				c.ok(err, "Scan")
				byScan = append(byScan, string(it.Value))
			}
			return nil
		})
		c.equal([]int{sum(byGet), sum(byScan)}, []int{1000, 1000}, "sums of all accounts by Get and by Scan within one View")
	}
	select {
	case err := <-errs:
		c.fatal("Update beside Views: %v", err)
	default:
	}
}

// add adds n to the decimal number under key.
func add(ctx context.Context, tx store.Tx, key string, n int) error {
	s, err := get(ctx, tx, key)
	if err != nil {
		return err
	}
	x := 0
	if s != "-" {
		if x, err = strconv.Atoi(s); err != nil {
			return err
		}
	}
	return tx.Put([]byte(key), []byte(strconv.Itoa(x+n)))
}

func fresh(c *c) {
	for i := range 100 {
		want := fmt.Sprint(i)
		c.fill("fresh", want)
		c.equal(c.get("fresh"), want, "value seen by a View that began after the Update returned")
		got := make(chan string, 1)
		go func() {
			var v string
			if err := c.s.View(c.ctx, func(ctx context.Context, r store.Reader) (err error) {
				v, err = get(ctx, r, "fresh")
				return err
			}); err != nil {
				v = err.Error()
			}
			got <- v
		}()
		c.equal(<-got, want, "value seen by another goroutine's View that began after the Update returned")
		c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
			v, err := get(ctx, tx, "fresh")
			c.equal(v, want, "value seen by the next Update")
			return err
		}), "Update")
	}
}

// atomicAll writes two keys together while Views compare them.
func atomicAll(c *c) {
	c.fill("left", "0", "right", "0")
	done := make(chan error, 1)
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	wg.Go(func() {
		var err error
		for i := 1; i <= 100 && err == nil && !stop.Load(); i++ {
			err = update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
				v := []byte(strconv.Itoa(i))
				return errors.Join(tx.Put([]byte("left"), v), tx.Put([]byte("right"), v))
			})
		}
		done <- err
	})
	for {
		select {
		case err := <-done:
			c.ok(err, "Update")
			c.equal(c.get("right"), "100", "last value")
			return
		default:
		}
		c.view(func(ctx context.Context, r store.Reader) error {
			vs, err := r.GetMany(ctx, [][]byte{[]byte("left"), []byte("right")})
			c.ok(err, "GetMany")
			c.equal(vs[0], string(vs[1]), "two values that are always written together")
			return nil
		})
		runtime.Gosched()
	}
}

// neighbours runs Updates of which every third ends badly; the others must not notice.
func neighbours(c *c, how string) {
	const callers, rounds = 24, 6
	bad := errors.New("bad")
	type outcome struct {
		key string
		err error
	}
	var mu sync.Mutex
	var out []outcome
	var wg sync.WaitGroup
	for w := range callers {
		for i := range rounds {
			wg.Go(func() {
				o := outcome{fmt.Sprintf("n/%02d/%d", w, i), errors.New("did not return")}
				spoil := (w+i)%3 == 0
				defer func() {
					if p := recover(); p != nil && p != bad {
						o.err = fmt.Errorf("panic: %v", p)
					}
					if !spoil {
						mu.Lock()
						out = append(out, o)
						mu.Unlock()
					}
				}()
				o.err = update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
					if err := tx.Put([]byte(o.key), []byte("x")); err != nil || !spoil {
						return err
					}
					time.Sleep(100 * time.Microsecond) // so that others wait beside it
					switch how {
					case "panic":
						panic(bad)
					case "goexit":
						runtime.Goexit()
					}
					return bad
				})
			})
		}
	}
	wg.Wait()
	c.equal(len(out), callers*rounds*2/3, "Updates that did not spoil anything")
	for _, o := range out {
		if o.err != nil {
			c.fatal("an Update beside one that ended by %s: %v", how, o.err)
		}
		c.equal(c.get(o.key), "x", "value of an Update beside one that ended by "+how)
	}
}

func writers64(c *c) {
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for w := range 64 {
		wg.Go(func() {
			for i := range 5 {
				if err := update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
					return tx.Put(fmt.Appendf(nil, "w/%02d/%d", w, i), fmt.Append(nil, w*i))
				}); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		c.fatal("one of 64 concurrent Updates: %v", err)
	}
	for w := range 64 {
		for i := range 5 {
			c.equal(c.get(fmt.Sprintf("w/%02d/%d", w, i)), fmt.Sprint(w*i), "value of one of 64 writers")
		}
	}
}

func watch(c *c) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	// The first one to watch begins while an Update is under way, and hears of it: nothing may fall between the last look and the first signal.
	var first <-chan struct{}
	c.ok(c.s.Update(ctx, func(_ context.Context, tx store.Tx) (err error) {
		if first == nil {
			if first, err = store.Watch(ctx, c.s, []byte("v/")); err != nil {
				return err
			}
		}
		return tx.Put([]byte("v/1"), []byte("x"))
	}), "an Update during which somebody begins to watch")
	select {
	case <-first:
	case <-time.After(20 * time.Second):
		c.fatal("no signal for who began to watch while the Update was under way")
	}
	ch, err := store.Watch(ctx, c.s, []byte("w/"))
	c.ok(err, "Watch")
	for i := range 3 {
		select { // what may be there from before
		case <-ch:
		default:
		}
		c.fill(fmt.Sprintf("w/%d", i), "x")
		select {
		case _, ok := <-ch:
			if !ok {
				c.fatal("the channel of Watch was closed before its context ended")
			}
		case <-time.After(20 * time.Second):
			c.fatal("no signal after a commit under the prefix")
		}
	}
	cancel()
	for closed := false; !closed; {
		select {
		case _, ok := <-ch:
			closed = !ok
		case <-time.After(20 * time.Second):
			c.fatal("the channel of Watch is not closed after its context ended")
		}
	}
}

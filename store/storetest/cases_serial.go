package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

var serialCases = []Case{
	{Rule: "S-SERIAL/lost-update", Name: "64 writers of one counter", check: lostUpdate},
	{Rule: "S-SERIAL/lost-update", Name: "history", check: history},
	{Rule: "S-SERIAL/write-skew", Name: "two doctors on call", check: writeSkew},
	{Rule: "S-SERIAL/phantom", Name: "one booking of a room", check: phantom},
}

// meeting lets functions that run beside each other, if the driver lets them, reach the same point; else they go on after a moment.
type meeting struct {
	n    atomic.Int32
	want int32
	all  chan struct{}
}

func newMeeting(n int) *meeting { return &meeting{want: int32(n), all: make(chan struct{})} }

func (m *meeting) wait() {
	if m.n.Add(1) == m.want {
		close(m.all)
	}
	select {
	case <-m.all:
	case <-time.After(2 * time.Millisecond):
	}
}

// both runs two functions at once and fails the case on their errors.
func (c *c) both(what string, a, b func() error) {
	c.Helper()
	second := make(chan error, 1)
	go func() { second <- b() }()
	err := errors.Join(a(), <-second)
	c.ok(err, what)
}

func lostUpdate(c *c) {
	const writers, each = 64, 4
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for range writers {
		wg.Go(func() {
			for range each {
				if err := update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
					s, err := get(ctx, tx, "counter")
					if err != nil {
						return err
					}
					runtime.Gosched()
					n, _ := strconv.Atoi(s)
					return tx.Put([]byte("counter"), []byte(strconv.Itoa(n+1)))
				}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		c.fatal("one of 64 concurrent Updates of one key: %v", err)
	default:
	}
	c.equal(c.get("counter"), strconv.Itoa(writers*each), "a counter that 64 writers raised")
	for i := range 20 {
		key := fmt.Sprint("pair", i)
		m := newMeeting(2)
		inc := func() error {
			return update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
				s, err := get(ctx, tx, key)
				if err != nil {
					return err
				}
				m.wait()
				n, _ := strconv.Atoi(s)
				return tx.Put([]byte(key), []byte(strconv.Itoa(n+1)))
			})
		}
		c.both("two Updates of one key", inc, inc)
		c.equal(c.get(key), "2", "a counter that two raised at once")
	}
}

// writeSkew: of two on call each may leave if the other stays.
func writeSkew(c *c) {
	for i := range 20 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		c.fill(a, "on", b, "on")
		m := newMeeting(2)
		leave := func(me, other string) func() error {
			return func() error {
				return update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
					s, err := get(ctx, tx, other)
					if err != nil {
						return err
					}
					m.wait()
					if s != "on" {
						return nil
					}
					return tx.Put([]byte(me), []byte("off"))
				})
			}
		}
		c.both("two Updates that read what the other writes", leave(a, b), leave(b, a))
		got := []string{c.get(a), c.get(b)}
		slices.Sort(got)
		c.equal(got, []string{"off", "on"}, "states after two tried to leave, each only if the other stays (write skew)")
	}
}

// phantom: who finds no booking makes one, under a key of his own.
func phantom(c *c) {
	for i := range 20 {
		room := fmt.Sprintf("room%d/", i)
		m := newMeeting(2)
		book := func(who string) func() error {
			return func() error {
				return update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
					found, err := scan(ctx, tx, prefix(room))
					if err != nil {
						return err
					}
					m.wait()
					if len(found) > 0 {
						return nil
					}
					return tx.Put([]byte(room+who), []byte("x"))
				})
			}
		}
		c.both("two Updates that insert into the range that both scanned", book("ann"), book("bob"))
		c.view(func(ctx context.Context, r store.Reader) error {
			got, err := scan(ctx, r, prefix(room))
			c.equal(len(got), 1, "bookings after two booked, each only if there was none (phantom)")
			return err
		})
	}
}

// done is a transaction of the history, as it saw itself.
type done struct {
	seq, called, returned int64
	writes                map[string]string // "-" deletes
	saw                   map[string]string // before the writes
	view                  bool
}

// history runs random transactions that all count one key up, and checks that running them one after another in that order gives what each saw.
func history(c *c) {
	const workers, each = 8, 25
	var clock atomic.Int64
	var mu sync.Mutex
	var log []done
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				d := done{view: i%5 == 4, called: clock.Add(1), writes: map[string]string{}}
				for range 1 + rnd.IntN(3) {
					v := fmt.Sprintf("%d.%d", w, i)
					if rnd.IntN(4) == 0 {
						v = "-"
					}
					d.writes["h/"+strconv.Itoa(rnd.IntN(6))] = v
				}
				err := d.run(c)
				d.returned = clock.Add(1)
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				log = append(log, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		c.fatal("a transaction of the history: %v", err)
	default:
	}
	slices.SortStableFunc(log, func(a, b done) int {
		if a.seq != b.seq {
			return int(a.seq - b.seq)
		}
		if a.view == b.view {
			return 0
		} else if a.view {
			return 1
		}
		return -1
	})
	state := map[string]string{}
	var seq, latestCall int64
	for _, d := range log {
		if d.returned < latestCall {
			c.fatal("an Update returned before another was called, but comes after it in the order")
		}
		if !d.view {
			if d.seq != seq+1 {
				c.fatal("the Update after number %d has number %d", seq, d.seq)
			}
			seq++
			latestCall = max(latestCall, d.called)
		}
		if !maps.Equal(d.saw, state) {
			c.fatal("transaction %d (a View: %v) saw %v; one after another it would have seen %v", d.seq, d.view, d.saw, state)
		}
		if d.view {
			continue
		}
		for k, v := range d.writes {
			if v == "-" {
				delete(state, k)
			} else {
				state[k] = v
			}
		}
	}
}

func (d *done) run(c *c) error {
	read := func(ctx context.Context, r store.Reader) error {
		d.seq, d.saw = 0, map[string]string{}
		for it, err := range r.Scan(ctx, prefix("h/")) {
			if err != nil {
				return err
			}
			d.saw[string(it.Key)] = string(it.Value)
		}
		d.seq, _ = strconv.ParseInt(d.saw["h/seq"], 10, 64)
		delete(d.saw, "h/seq")
		return nil
	}
	if d.view {
		return c.s.View(c.ctx, read)
	}
	return update(c.ctx, c.s, func(ctx context.Context, tx store.Tx) error {
		if err := read(ctx, tx); err != nil {
			return err
		}
		s, err := get(ctx, tx, "h/seq")
		if err != nil {
			return err
		}
		n, _ := strconv.ParseInt(s, 10, 64)
		if n != d.seq {
			return fmt.Errorf("Get says number %d and Scan %d", n, d.seq)
		}
		d.seq++
		for k, v := range d.writes {
			if v == "-" {
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
				continue
			}
			if err := tx.Put([]byte(k), []byte(v)); err != nil {
				return err
			}
			runtime.Gosched()
		}
		return tx.Put([]byte("h/seq"), []byte(strconv.FormatInt(d.seq, 10)))
	})
}

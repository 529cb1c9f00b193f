package lease

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

const ttl = 15 * time.Second

// clock is one plane's own clock: planes never agree on the time.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func check(h Held, s store.Store) error {
	return s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error { return h.Check(ctx, tx) })
}

func TestAcquireHoldsAgainstOthersUntilTheSessionIsSilent(t *testing.T) {
	ctx, s := t.Context(), memstore.New()
	ca, cb := &clock{time.Unix(1e9, 0)}, &clock{time.Unix(5, 0)} // thirty years apart
	a := New(s, nil, Config{Owner: "a", TTL: ttl, Now: ca.now})
	b := New(s, nil, Config{Owner: "b", TTL: ttl, Now: cb.now})

	ha, err := a.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.EqualValues(t, 1, ha.Epoch)
	require.NoError(t, check(ha, s))
	again, err := a.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.Equal(t, ha, again, "acquiring what one has changes nothing")

	_, err = b.Acquire(ctx, "t", "x")
	var he *HeldError
	require.True(t, errors.As(err, &he))
	require.ErrorIs(t, err, ErrHeld)
	require.Equal(t, "a", he.Owner)
	require.Equal(t, patience(ttl), he.Retry, "silence counts from when b first looked")
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))

	cb.t = cb.t.Add(patience(ttl) - 1)
	require.NoError(t, a.Renew(ctx))
	_, err = b.Acquire(ctx, "t", "x")
	require.ErrorIs(t, err, ErrHeld, "a sign of life starts the wait anew")
	cb.t = cb.t.Add(patience(ttl) - 1)
	_, err = b.Acquire(ctx, "t", "x")
	require.ErrorIs(t, err, ErrHeld)
	cb.t = cb.t.Add(1)
	hb, err := b.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.EqualValues(t, 2, hb.Epoch)
	require.NoError(t, check(hb, s))
	err = check(ha, s)
	require.ErrorIs(t, err, ErrLost)
	require.True(t, ha.Alive(), "a does not know yet, which is why only Check counts")
	require.NoError(t, a.Renew(ctx))
	require.False(t, ha.Alive())
	<-ha.Lost()

	other, err := a.Acquire(ctx, "u", "x")
	require.NoError(t, err, "another tenant's lease of the same name is another lease")
	require.EqualValues(t, 1, other.Epoch)
}

func TestReleaseAndDeleteKeepTheEpochRising(t *testing.T) {
	ctx, s := t.Context(), memstore.New()
	a, b := New(s, nil, Config{Owner: "a"}), New(s, nil, Config{Owner: "b"})
	h, err := a.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.NoError(t, h.Release(ctx))
	<-h.Lost()
	require.ErrorIs(t, check(h, s), ErrLost)
	require.NoError(t, h.Release(ctx), "twice is no error")

	h2, err := b.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.EqualValues(t, 2, h2.Epoch)
	require.NoError(t, s.Update(ctx, h2.DeleteTx))
	h2.Forget()
	require.ErrorIs(t, check(h2, s), ErrLost)
	require.ErrorIs(t, s.Update(ctx, h2.DeleteTx), ErrLost)
	require.ErrorIs(t, s.Update(ctx, h2.ReleaseTx), ErrLost)

	h3, err := a.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.EqualValues(t, 3, h3.Epoch)
	require.NoError(t, s.Update(ctx, h3.ReleaseTx))
	again, err := a.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.Greater(t, again.Epoch, h3.Epoch)
	require.ErrorIs(t, check(h3, s), ErrLost, "an earlier hold of the same process is another hold")
	require.NoError(t, s.Update(ctx, again.DeleteTx))
	require.NoError(t, a.Renew(ctx))
	<-again.Lost() // Renew finds out what was deleted

	require.NoError(t, s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return a.Raise(ctx, tx, 100) }))
	require.NoError(t, s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return a.Raise(ctx, tx, 50) }))
	h4, err := a.Acquire(ctx, "t", "y")
	require.NoError(t, err)
	require.EqualValues(t, 101, h4.Epoch, "a restore raises every later epoch")

	require.ErrorIs(t, check(Held{}, s), ErrLost)
	require.False(t, Held{}.Alive())
	require.NoError(t, Held{}.Release(ctx))
	Held{}.Forget()
	require.Nil(t, Held{}.Lost())
}

func TestExclusiveTakesOverAtOnceWithARaisedEpoch(t *testing.T) {
	ctx, s := t.Context(), memstore.New()
	before := New(s, nil, Config{Owner: "p", Exclusive: true})
	h, err := before.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	after := New(s, nil, Config{Owner: "p", Exclusive: true}) // the process was killed and started again
	h2, err := after.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.Equal(t, h.Epoch+1, h2.Epoch)
	require.NoError(t, after.Renew(ctx))
	var sessions int
	require.NoError(t, s.View(ctx, func(ctx context.Context, r store.Reader) error {
		for range r.Scan(ctx, key.New("").Str("lease").Str("session").Range()) {
			sessions++
		}
		return nil
	}))
	require.Equal(t, 1, sessions, "the dead process's session is buried")
}

func TestABuriedSessionBeginsAnew(t *testing.T) {
	ctx, s := t.Context(), memstore.New()
	ca, cb := &clock{}, &clock{}
	a, b := New(s, nil, Config{Owner: "a", TTL: ttl, Now: ca.now}), New(s, nil, Config{Owner: "b", TTL: ttl, Now: cb.now})
	h, err := a.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.NoError(t, b.Renew(ctx))
	cb.t = cb.t.Add(buryAfter*ttl + 1)
	require.NoError(t, b.Renew(ctx))
	h2, err := a.Acquire(ctx, "t", "y")
	require.NoError(t, err, "a learns that it was buried and goes on under another session")
	require.NoError(t, check(h2, s))
	<-h.Lost()
	hx, err := b.Acquire(ctx, "t", "x")
	require.NoError(t, err)
	require.Greater(t, hx.Epoch, h.Epoch)
}

// F10: a plane is stopped for three TTLs in the middle of its work and then goes on. The other plane takes over; nothing that the first one
// writes afterwards commits, and it learns of it.
func TestF10_APausedOwnerCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		base := memstore.New()
		gate := &gated{Store: base}
		running := make(chan struct{})
		close(running)
		gate.open.Store(&running)
		a, b := New(gate, nil, Config{Owner: "a", TTL: ttl}), New(base, nil, Config{Owner: "b", TTL: ttl})
		ended := make(chan error, 2)
		for _, l := range []*Leases{a, b} {
			go func() { ended <- l.Run(ctx) }()
		}
		ha, err := a.Acquire(ctx, "t", "x")
		require.NoError(t, err)
		time.Sleep(10 * ttl)
		_, err = b.Acquire(ctx, "t", "x")
		require.ErrorIs(t, err, ErrHeld, "while a renews, b never gets it")

		stopped := make(chan struct{})
		gate.open.Store(&stopped) // SIGSTOP
		time.Sleep(3 * ttl)
		require.False(t, ha.Alive(), "by its own clock a knows that it was silent too long")
		hb, err := b.Acquire(ctx, "t", "x")
		require.NoError(t, err)
		require.Equal(t, ha.Epoch+1, hb.Epoch)
		require.NoError(t, check(hb, base))

		close(stopped) // SIGCONT
		require.ErrorIs(t, check(ha, gate), ErrLost)
		select {
		case <-ha.Lost():
		case <-time.After(ttl):
			t.Fatal("a did not learn that it lost")
		}
		_, err = a.Acquire(ctx, "t", "x")
		require.ErrorIs(t, err, ErrHeld)

		cancel()
		for range 2 {
			require.ErrorIs(t, <-ended, context.Canceled)
		}
		<-hb.Lost()
		c := New(base, nil, Config{Owner: "c", TTL: ttl})
		hc, err := c.Acquire(t.Context(), "t", "x")
		require.NoError(t, err, "who stops in order leaves nothing to wait for")
		require.Equal(t, hb.Epoch+1, hc.Epoch)
	})
}

// gated is a store whose calls stand still until open is closed.
type gated struct {
	store.Store
	open atomic.Pointer[chan struct{}]
}

func (g *gated) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	<-*g.open.Load()
	return g.Store.View(ctx, fn)
}

func (g *gated) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	<-*g.open.Load()
	return g.Store.Update(ctx, fn)
}

// between is a store that lets something happen before the next Update.
type between struct {
	store.Store
	do func()
}

func (b *between) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.Store.Update(ctx, fn)
}

// What Acquire saw may have changed when it writes: another was quicker, or the holder gave a sign of life. Then it does not take.
func TestAcquireLooksAgainWhenItWrites(t *testing.T) {
	ctx := t.Context()
	base := memstore.New()
	s := &between{Store: base}
	ca := &clock{}
	a, b := New(s, nil, Config{Owner: "a", TTL: ttl, Now: ca.now}), New(base, nil, Config{Owner: "b", TTL: ttl})
	var hb Held
	s.do = func() {
		var err error
		hb, err = b.Acquire(ctx, "t", "x")
		require.NoError(t, err)
	}
	_, err := a.Acquire(ctx, "t", "x")
	require.ErrorIs(t, err, ErrHeld)
	require.NoError(t, check(hb, base))

	ca.t = ca.t.Add(ttl)
	s.do = func() { require.NoError(t, b.Renew(ctx)) }
	_, err = a.Acquire(ctx, "t", "x")
	require.ErrorIs(t, err, ErrHeld, "it lives")
	require.NoError(t, check(hb, base))

	ca.t = ca.t.Add(ttl)
	require.NoError(t, a.watch(ctx, "none"))
	s.do = func() { require.NoError(t, b.Renew(ctx)) }
	ca.t = ca.t.Add(buryAfter*ttl + 1)
	require.NoError(t, a.watch(ctx, "none"))
	require.NoError(t, b.Renew(ctx))
	require.NoError(t, check(hb, base), "nor is a session buried that moves at the last moment")
	_, err = b.Acquire(ctx, "t", "y")
	require.NoError(t, err)
	require.True(t, hb.Alive())
}

// Planes with clocks of their own acquire, renew, write, release, delete and crash in any order. Epochs of one lease never repeat or fall, and once a
// higher epoch has written, no lower one does. Whatever happened, after a TTL of silence the lease can be had.
func TestModel(t *testing.T) {
	names := []string{"x", "y"}
	rapid.Check(t, func(t *rapid.T) {
		ctx, s := context.Background(), memstore.New()
		type plane struct {
			l    *Leases
			c    *clock
			held map[string][]Held // every hold it ever had, so that stale ones try to write too
		}
		number := 0
		start := func() *plane {
			number++
			c := &clock{time.Unix(int64(number)*1e6, 0)}
			return &plane{New(s, nil, Config{Owner: fmt.Sprint("plane ", number), TTL: ttl, Now: c.now}), c, map[string][]Held{}}
		}
		planes := []*plane{start(), start(), start()}
		granted, written := map[string]uint64{}, map[string]uint64{}
		pick := func(t *rapid.T) *plane { return rapid.SampledFrom(planes).Draw(t, "plane") }
		name := func(t *rapid.T) string { return rapid.SampledFrom(names).Draw(t, "name") }
		drawHeld := func(t *rapid.T) (Held, string) {
			p, n := pick(t), name(t)
			if len(p.held[n]) == 0 {
				t.Skip("nothing held")
			}
			return rapid.SampledFrom(p.held[n]).Draw(t, "held"), n
		}
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				p, n := pick(t), name(t)
				h, err := p.l.Acquire(ctx, "t", n)
				if errors.Is(err, ErrHeld) {
					return
				}
				require.NoError(t, err)
				if hs := p.held[n]; len(hs) > 0 && hs[len(hs)-1].Epoch == h.Epoch {
					return
				}
				require.Greater(t, h.Epoch, granted[n], "epochs rise")
				granted[n] = h.Epoch
				p.held[n] = append(p.held[n], h)
			},
			"renew": func(t *rapid.T) { require.NoError(t, pick(t).l.Renew(ctx)) },
			"pass": func(t *rapid.T) {
				c := pick(t).c
				c.t = c.t.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "s")) * time.Second)
			},
			"jump": func(t *rapid.T) { c := pick(t).c; c.t = c.t.Add(-time.Hour) },
			"write": func(t *rapid.T) {
				h, n := drawHeld(t)
				if err := check(h, s); err != nil {
					require.ErrorIs(t, err, ErrLost)
					return
				}
				require.GreaterOrEqual(t, h.Epoch, written[n], "a stale holder wrote")
				require.Equal(t, granted[n], h.Epoch, "one of two holders wrote")
				written[n] = h.Epoch
			},
			"release": func(t *rapid.T) { h, _ := drawHeld(t); require.NoError(t, h.Release(ctx)) },
			"delete": func(t *rapid.T) {
				h, _ := drawHeld(t)
				if err := s.Update(ctx, h.DeleteTx); err != nil {
					require.ErrorIs(t, err, ErrLost)
				}
				h.Forget()
			},
			"crash": func(t *rapid.T) {
				i := rapid.IntRange(0, 2).Draw(t, "i")
				planes[i] = start() // the old one is silent from now on
			},
		})
		p := start()
		for _, n := range names {
			_, err := p.l.Acquire(ctx, "t", n)
			if err != nil {
				require.ErrorIs(t, err, ErrHeld)
				p.c.t = p.c.t.Add(ttl)
				_, err = p.l.Acquire(ctx, "t", n)
			}
			require.NoError(t, err, "after a TTL of silence it is free")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s := memstore.New()
	h, err := New(s, nil, Config{}).Acquire(b.Context(), "t", "x")
	require.NoError(b, err)
	run := func(n int, f func(ctx context.Context, tx store.Tx) error) time.Duration {
		start := time.Now()
		for range n {
			require.NoError(b, s.Update(b.Context(), f))
		}
		return time.Since(start)
	}
	k := []byte("k")
	write := func(_ context.Context, tx store.Tx) error { return tx.Put(k, k) }
	bare := run(b.N, write)
	fenced := run(b.N, func(ctx context.Context, tx store.Tx) error {
		if err := h.Check(ctx, tx); err != nil {
			return err
		}
		return write(ctx, tx)
	})
	b.ReportMetric(float64(fenced)/float64(bare), "ratio")
}

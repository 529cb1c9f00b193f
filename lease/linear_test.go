package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// grip is what a holder asks of a lease: to take it, to write under it, or to let it go.
type grip struct {
	op    string // take, write, release
	epoch uint64 // of what is in hand; of write and release
}

// hold is the answer.
type hold struct {
	epoch   uint64 // of take: what was got, 0 nothing
	value   int    // of write: how many writes there were before
	refused bool
	unknown bool // nobody knows whether it happened
}

// owned is the state: the newest epoch, whether somebody has it, and how many writes were accepted.
type owned struct {
	epoch  uint64
	free   bool
	writes int
}

// oneOwner is the sequential specification: an epoch is given once and rises; a write is accepted of the newest epoch alone, while it is held.
var oneOwner = porcupine.NondeterministicModel{
	Init: func() []any { return []any{owned{free: true}} },
	Step: func(s, i, o any) []any {
		st, in, out := s.(owned), i.(grip), o.(hold)
		switch in.op {
		case "take":
			next := owned{st.epoch + 1, false, st.writes}
			switch {
			case out.unknown: // perhaps it has it, and will be told so when it asks again
				return []any{st, next}
			case out.epoch == 0:
				return []any{st}
			case out.epoch == st.epoch && !st.free: // it had it
				return []any{st}
			case out.epoch == next.epoch:
				return []any{next}
			}
			return nil
		case "write":
			mine := in.epoch == st.epoch && !st.free
			switch next := (owned{st.epoch, st.free, st.writes + 1}); {
			case out.unknown && mine:
				return []any{st, next}
			case out.unknown:
				return []any{st}
			case out.refused && !mine:
				return []any{st}
			case !out.refused && mine && out.value == st.writes:
				return []any{next}
			}
			return nil
		}
		mine := in.epoch == st.epoch && !st.free
		next := owned{st.epoch, true, st.writes}
		switch {
		case !mine:
			return []any{st}
		case out.unknown:
			return []any{st, next}
		}
		return []any{next}
	},
	Equal: func(a, b any) bool { return a == b },
}

// unsure is a store whose commits fail now and then, with and without effect, known and unknown, and whose callers are stopped at bad moments.
type unsure struct {
	store.Store
	mu  sync.Mutex
	rng *rand.Rand
}

func (u *unsure) draw() (fate int, pause time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rng.IntN(10) == 0 {
		pause = time.Duration(u.rng.IntN(300)) * time.Microsecond
	}
	return u.rng.IntN(16), pause
}

func (u *unsure) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	fate, pause := u.draw()
	if pause > 0 {
		<-time.After(pause)
	}
	switch fate {
	case 0:
		return store.ErrConflict
	case 1:
		if err := u.Store.Update(ctx, fn); err != nil {
			return err
		}
		return store.ErrCommitUnknown
	case 2:
		err := u.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return store.ErrCommitUnknown
		})
		return err
	}
	return u.Store.Update(ctx, fn)
}

var counted = []byte("counted")

// write counts under the lease, in one transaction, or with the check before it as a bug would have it.
func (h Held) write(ctx context.Context, s store.Store, careless bool) (n int, err error) {
	if careless {
		if err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return h.Check(ctx, tx) }); err != nil {
			return 0, err
		}
	}
	err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if !careless {
			if err := h.Check(ctx, tx); err != nil {
				return err
			}
		}
		v, err := tx.Get(ctx, counted)
		if n = 0; err == nil {
			n, err = strconv.Atoi(string(v))
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return err
		}
		return tx.Put(counted, strconv.AppendInt(nil, int64(n+1), 10))
	})
	return n, err
}

// contend lets several processes take a lease from each other, whose sessions are silent for long at times, and returns what each was answered.
func contend(round uint64, careless bool) []porcupine.Operation {
	st := &unsure{Store: memstore.New(), rng: rand.New(rand.NewPCG(round, 5))}
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	start := time.Now()
	for who := range 4 {
		wg.Go(func() {
			ctx := context.Background()
			rng := rand.New(rand.NewPCG(round, uint64(who)))
			var now time.Time // each has a clock of its own, which runs as it likes
			l := New(st, nil, Config{Owner: fmt.Sprint(who), TTL: 10 * time.Second, Now: func() time.Time { return now }})
			var h Held
			for range 14 {
				now = now.Add(time.Duration(rng.IntN(9)) * time.Second)
				var in grip
				var out hold
				call := int64(time.Since(start))
				var err error
				switch x := rng.IntN(10); {
				case x < 2:
					l.Renew(ctx) //nolint:errcheck // as it may be
					continue
				case h.Epoch == 0 || x < 4:
					in.op = "take"
					var got Held
					if got, err = l.Acquire(ctx, "t", "x"); err == nil {
						h, out.epoch = got, got.Epoch
					} else {
						h = Held{}
					}
				case x < 9:
					in = grip{"write", h.Epoch}
					out.value, err = h.write(ctx, st, careless)
					if out.refused = errors.Is(err, ErrLost); out.refused {
						out.value, h = 0, Held{}
					}
				default:
					in = grip{"release", h.Epoch}
					err = h.Release(ctx)
					h = Held{}
				}
				back := int64(time.Since(start))
				switch {
				case errors.Is(err, store.ErrCommitUnknown):
					out, back = hold{unknown: true}, int64(time.Hour)
				case errors.Is(err, store.ErrConflict):
					continue // nothing happened
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: who, Input: in, Call: call, Output: out, Return: back})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history
}

// TestOneOwnerAtATime: whatever the store and the processes do, some order explains every answer in which epochs rise one by one and only the newest one's writes are accepted.
// FLEETWRIGHT_HISTORIES plays more.
func TestOneOwnerAtATime(t *testing.T) {
	n := testenv.Count(t, "FLEETWRIGHT_HISTORIES", 60)
	model, total, accepted, refused, unknown := oneOwner.ToModel(), 0, 0, 0, 0
	for round := range n {
		history := contend(uint64(round), false)
		total += len(history)
		for _, o := range history {
			switch out := o.Output.(hold); {
			case out.unknown:
				unknown++
			case out.refused:
				refused++
			case o.Input.(grip).op == "write":
				accepted++
			}
		}
		require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(model, history, 20*time.Second), "history %d", round)
	}
	t.Logf("%d histories, %d calls: %d writes accepted, %d refused, %d calls without an outcome", n, total, accepted, refused, unknown)
	require.NotZero(t, accepted)
	require.NotZero(t, refused)
	testenv.Figure(t, "linearizable histories of leases", n, 0)
}

// TestOneOwnerAtATimeBites: who asks for the lease before the transaction, not in it, is found out.
func TestOneOwnerAtATimeBites(t *testing.T) {
	model := oneOwner.ToModel()
	for round := range uint64(400) {
		if porcupine.CheckOperationsTimeout(model, contend(round, true), 20*time.Second) == porcupine.Illegal {
			t.Logf("found in history %d", round)
			return
		}
	}
	require.Fail(t, "a check outside the transaction was not found")
}

package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
)

// step is an operation on a register: read, add, or compare and swap.
type step struct {
	key      string
	kind     string
	arg, was int
}

type answer struct {
	value   int
	swapped bool
	unknown bool
}

// registers is the model: one register a key.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(step).key
			by[k] = append(by[k], o)
		}
		var out [][]porcupine.Operation
		for _, h := range by {
			out = append(out, h)
		}
		return out
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		n, in, out := state.(int), input.(step), output.(answer)
		switch in.kind {
		case "read":
			return out.unknown || out.value == n, n
		case "add":
			return out.unknown || out.value == n+in.arg, n + in.arg
		}
		if n == in.was {
			return out.unknown || out.swapped, in.arg
		}
		return out.unknown || !out.swapped, n
	},
}

func number(ctx context.Context, r store.Reader, key string) (n int, err error) {
	v, err := r.Get(ctx, []byte(key))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err == nil {
		_, err = fmt.Sscan(string(v), &n)
	}
	return n, err
}

func (o step) run(ctx context.Context, s store.Store) (a answer, err error) {
	if o.kind == "read" {
		err = s.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			a.value, err = number(ctx, r, o.key)
			return err
		})
		return a, err
	}
	err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err := number(ctx, tx, o.key)
		if err != nil {
			return err
		}
		a = answer{}
		if o.kind == "add" {
			a.value = n + o.arg
			return tx.Put([]byte(o.key), fmt.Append(nil, a.value))
		}
		if a.swapped = n == o.was; !a.swapped {
			return nil
		}
		return tx.Put([]byte(o.key), fmt.Append(nil, o.arg))
	})
	return a, err
}

// TestThreePlanesAreLinearizable: three planes, whose connections are ended now and then, do what one would do.
func TestThreePlanesAreLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds; run without -short")
	}
	resetPools(t)
	p := newPlanes(t, 3, patient())
	admin := pool(t)
	each := times(60, 1000)
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	var done atomic.Bool
	var ops atomic.Int64
	start := time.Now()
	for w := range 9 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			for i := range each {
				// A key has few operations, so that the check stays short.
				o := step{key: fmt.Sprintf("reg%d.%d", rnd.IntN(3), i/50), kind: []string{"read", "add", "cas"}[rnd.IntN(3)], arg: 1 + rnd.IntN(3), was: rnd.IntN(6)}
				op := porcupine.Operation{ClientId: w, Input: o, Call: int64(time.Since(start))}
				a, err := o.run(context.Background(), p.all[w%3])
				op.Return = int64(time.Since(start))
				ops.Add(1)
				if err != nil {
					if !errors.Is(err, store.ErrCommitUnknown) && o.kind != "read" {
						t.Errorf("%v: %v", o, err)
						return
					}
					if o.kind == "read" {
						continue // its connection was ended
					}
					a, op.Return = answer{unknown: true}, 1<<62
				}
				op.Output = a
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	var killer sync.WaitGroup
	killer.Go(func() {
		for !done.Load() {
			_, err := admin.Exec(context.Background(), "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and datname = 'fleet' order by random() limit 1")
			if err != nil {
				admin.Reset()
			}
			for n := ops.Load() + 15; ops.Load() < n && !done.Load(); {
				time.Sleep(time.Millisecond)
			}
		}
	})
	wg.Wait()
	done.Store(true)
	killer.Wait()
	result, _ := porcupine.CheckOperationsVerbose(registers, history, time.Minute)
	require.Equal(t, porcupine.Ok, result)
	t.Logf("%d operations", len(history))
}

package memstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func open(*testing.T) store.Store { return memstore.New() }

func TestContract(t *testing.T) { storetest.Run(t, open) }

func TestContractInABubble(t *testing.T) {
	for _, k := range storetest.Cases() {
		t.Run(k.Rule+"/"+k.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { k.Check(t, memstore.New()) })
		})
	}
}

func TestModel(t *testing.T) { storetest.Model(t, open) }

func TestViewsAndUpdatesOf100000Nodes(t *testing.T) {
	s := memstore.New()
	const nodes = 100_000
	for from := 0; from < nodes; from += 5_000 {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := from; i < from+5_000; i++ {
				if err := tx.Put(fmt.Appendf(nil, "node/%08d", i), []byte("online")); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	n := 0
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for _, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			if n++; n == 1 { // an Update beside this View, which does not see it
				require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Delete([]byte("node/00099999")) }))
			}
		}
		return nil
	}))
	require.Equal(t, nodes, n)
}

func Benchmark(b *testing.B) {
	storetest.Bench(b, func(*testing.B) store.Store { return memstore.New() }, func(*testing.B) storetest.Raw {
		var mu sync.Mutex
		m := map[string][]byte{}
		return storetest.Raw{ // a Go map under a mutex
			Commit: func(key, value []byte) error {
				mu.Lock()
				defer mu.Unlock()
				m[string(key)] = append([]byte(nil), value...)
				return nil
			},
		}
	})
}

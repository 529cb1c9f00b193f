package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
)

// load runs Updates that are told apart afterwards: each raises one of a few counters and writes a record of its own with the counter's value;
// every fourth writes its record only.
type load struct {
	stop                    atomic.Bool
	wg                      sync.WaitGroup
	mu                      sync.Mutex
	acked, refused, unknown map[string]bool
	others                  map[string]int // errors by text
	n                       atomic.Int64
}

const counters = 3

func startLoad(workers int, stores ...store.Store) *load {
	l := &load{acked: map[string]bool{}, refused: map[string]bool{}, unknown: map[string]bool{}, others: map[string]int{}}
	for w := range workers {
		l.wg.Go(func() {
			for i := 0; !l.stop.Load(); i++ {
				l.one(stores[w%len(stores)], w, i)
			}
		})
	}
	return l
}

func (l *load) one(s store.Store, w, i int) {
	record := fmt.Sprintf("r/%d/%02d/%06d", (w+i)%counters, w, i)
	blind := i%4 == 3
	if blind {
		record = fmt.Sprintf("b/%02d/%06d", w, i)
	}
	err := s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		if blind {
			return tx.Put([]byte(record), []byte("x"))
		}
		key := fmt.Appendf(nil, "c/%d", (w+i)%counters)
		v, err := tx.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n, _ := strconv.Atoi(string(v))
		next := []byte(strconv.Itoa(n + 1))
		return errors.Join(tx.Put(key, next), tx.Put([]byte(record), next))
	})
	l.n.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.acked[record] = true
	case errors.Is(err, store.ErrCommitUnknown):
		l.unknown[record] = true
	default:
		l.refused[record] = true
		l.others[fmt.Sprintf("%.160s", err)]++
	}
}

// until waits for so many more Updates to have returned.
func (l *load) until(t *testing.T, more int64) {
	t.Helper()
	want := l.n.Load() + more
	require.Eventually(t, func() bool { return l.n.Load() >= want }, time.Minute, time.Millisecond)
}

// verify ends the load and checks what the store holds against what was answered.
func (l *load) verify(t *testing.T, s store.Store) {
	t.Helper()
	l.stop.Store(true)
	l.wg.Wait()
	there := map[string]string{}
	scan := func(p string) {
		from := []byte(p)
		for {
			n := 0
			require.NoError(t, s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
				for it, err := range r.Scan(ctx, store.Range{Start: from, End: []byte(p + "\xff"), Limit: 5000}) {
					if err != nil {
						return err
					}
					there[string(it.Key)] = string(it.Value)
					from = append(append([]byte(nil), it.Key...), 0)
					n++
				}
				return nil
			}))
			if n == 0 {
				return
			}
		}
	}
	scan("r/")
	scan("b/")
	scan("c/")
	for k := range l.acked {
		require.Contains(t, there, k, "an acknowledged record")
	}
	for k := range l.refused {
		require.NotContains(t, there, k, "a record that was refused: %v", l.others)
	}
	for c := range counters {
		seen := map[string]string{}
		for k, v := range there {
			if strings.HasPrefix(k, fmt.Sprintf("r/%d/", c)) {
				require.Empty(t, seen[v], "two records with one value of the counter: %s", k)
				seen[v] = k
			}
		}
		n, _ := strconv.Atoi(there[fmt.Sprintf("c/%d", c)])
		require.Len(t, seen, n, "the counter says how often it was raised: every Update was applied once or not at all")
	}
	for k := range there {
		require.True(t, k[0] == 'c' || l.acked[k] || l.unknown[k], "%s is there and was never promised", k)
	}
	t.Logf("%d acknowledged, %d refused, %d unknown; errors: %v", len(l.acked), len(l.refused), len(l.unknown), l.others)
}

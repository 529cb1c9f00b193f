package driver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

func TestEnterRefusesWhatItMarked(t *testing.T) {
	ctx, err := driver.Enter(t.Context())
	require.NoError(t, err)
	derived, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err = driver.Enter(derived)
	require.ErrorIs(t, err, store.ErrNested)
	_, err = driver.Enter(t.Context())
	require.NoError(t, err)
}

func TestMeter(t *testing.T) {
	var m driver.Meter
	for range store.MaxWrites / 2 {
		require.NoError(t, m.Put([]byte("k"), []byte("vv")))
		require.NoError(t, m.Delete([]byte("k")))
	}
	require.Equal(t, store.MaxWrites, m.Writes())
	require.Equal(t, store.MaxWrites/2*4, m.Bytes())
	require.NoError(t, m.Err())
	require.ErrorIs(t, m.Delete([]byte("k")), store.ErrTooLarge)
	require.ErrorIs(t, m.Put([]byte("k"), nil), store.ErrTooLarge, "it sticks")
	require.ErrorIs(t, m.Err(), store.ErrTooLarge)

	m = driver.Meter{}
	require.ErrorIs(t, m.Put(nil, nil), store.ErrTooLarge)
	m = driver.Meter{}
	require.ErrorIs(t, m.Put([]byte("k"), make([]byte, store.MaxValue+1)), store.ErrTooLarge)
	require.NoError(t, driver.CheckKey(make([]byte, store.MaxKey)))
	require.ErrorIs(t, driver.CheckKey(make([]byte, store.MaxKey+1)), store.ErrTooLarge)
}

// items yields a model's items of the range in its direction, without its limit.
func items(m map[string]string, r store.Range) func(yield func(store.Item, error) bool) {
	keys := []string{}
	for k := range m {
		if k >= string(r.Start) && (r.End == nil || k < string(r.End)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if r.Reverse {
		slices.Reverse(keys)
	}
	return func(yield func(store.Item, error) bool) {
		for _, k := range keys {
			if !yield(store.Item{Key: []byte(k), Value: []byte(m[k])}, nil) {
				return
			}
		}
	}
}

func collect(seq func(yield func(store.Item, error) bool)) (out []string) {
	seq(func(it store.Item, err error) bool {
		out = append(out, fmt.Sprintf("%s=%s%v", it.Key, it.Value, err))
		return true
	})
	return out
}

func TestScanMergesWritesWithWhatIsThere(t *testing.T) {
	keys := rapid.StringMatching("[abc]{1,3}")
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.MapOf(keys, rapid.Just("base")).Draw(t, "base")
		want := map[string]string{}
		for k, v := range base {
			want[k] = v
		}
		var w driver.Writes
		for range rapid.IntRange(0, 12).Draw(t, "writes") {
			k := keys.Draw(t, "key")
			if rapid.Bool().Draw(t, "delete") {
				require.NoError(t, w.Delete([]byte(k)))
				delete(want, k)
				v, known := w.Get([]byte(k))
				require.True(t, known && v == nil)
			} else {
				require.NoError(t, w.Put([]byte(k), []byte("own")))
				want[k] = "own"
			}
		}
		r := store.Range{Reverse: rapid.Bool().Draw(t, "reverse"), Limit: rapid.IntRange(0, 5).Draw(t, "limit")}
		if rapid.Bool().Draw(t, "start") {
			r.Start = []byte(keys.Draw(t, "from"))
		}
		if rapid.Bool().Draw(t, "end") {
			r.End = []byte(keys.Draw(t, "to"))
		}
		require.Equal(t, collect(driver.Limit(r, items(want, r))), collect(w.Scan(r, items(base, r))))
		n := 0
		for range w.Scan(r, items(base, r)) { // early break
			n++
			break
		}
		require.LessOrEqual(t, n, 1)
		applied := map[string]string{}
		for k, v := range base {
			applied[k] = v
		}
		for k, v := range w.All() {
			if v == nil {
				delete(applied, string(k))
			} else {
				applied[string(k)] = string(v)
			}
		}
		require.Equal(t, want, applied)
	})
}

func TestScanPassesAnErrorOnAndStops(t *testing.T) {
	bad := errors.New("bad")
	var w driver.Writes
	require.NoError(t, w.Put([]byte("b"), nil))
	require.NoError(t, w.Put([]byte("z"), nil))
	got := collect(w.Scan(store.Range{}, func(yield func(store.Item, error) bool) {
		_ = yield(store.Item{Key: []byte("a")}, nil) && yield(store.Item{}, bad) && yield(store.Item{Key: []byte("c")}, nil)
	}))
	require.Equal(t, []string{"a=<nil>", "=bad"}, got)
}

func TestWatchersSignalByPrefix(t *testing.T) {
	var ws driver.Watchers
	require.Zero(t, ws.Len())
	ws.Notify([][]byte{[]byte("nobody")})
	ctx, cancel := context.WithCancel(t.Context())
	all, a, ab := ws.Watch(ctx, nil), ws.Watch(ctx, []byte("a")), ws.Watch(ctx, []byte("ab"))
	require.Equal(t, 3, ws.Len())
	state := func() string {
		var s strings.Builder
		for _, ch := range []<-chan struct{}{all, a, ab} {
			select {
			case <-ch:
				s.WriteByte('x')
			default:
				s.WriteByte('.')
			}
		}
		return s.String()
	}
	for keys, want := range map[string]string{"": "...", "b": "x..", "a": "xx.", "abc": "xxx", "aa,ac": "xx.", "z,ab,0": "xxx", "ab,ab": "xxx"} {
		var ks [][]byte
		for _, k := range strings.Split(keys, ",") {
			if k != "" {
				ks = append(ks, []byte(k))
			}
		}
		ws.Notify(ks)
		ws.Notify(ks) // merged
		require.Equal(t, want, state(), keys)
		require.Equal(t, "...", state(), keys)
	}
	cancel()
	_, ok := <-all
	require.False(t, ok)
	<-a
	<-ab
	require.Zero(t, ws.Len(), "nothing is kept of those that left")
}

func TestWatchersComeAndGoDuringNotify(t *testing.T) {
	var ws driver.Watchers
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				ctx, cancel := context.WithCancel(context.Background())
				ch := ws.Watch(ctx, []byte("k"))
				ws.Notify([][]byte{[]byte("k1")})
				<-ch
				cancel()
				for range ch {
				}
			}
		})
	}
	wg.Wait()
}

package observed_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/observed"
	"github.com/fleetwright/fleetwright/store/storetest"
)

type log struct {
	mu     sync.Mutex
	events []observe.Event
}

func (l *log) Observe(_ context.Context, e observe.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) take() []observe.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.events
	l.events = nil
	return out
}

// nothing is an observer that costs as little as one can.
type nothing struct{}

func (nothing) Observe(context.Context, observe.Event) {}

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return observed.New(memstore.New(), nothing{}, nil) })
}

func TestNobodyListeningIsNoWrapper(t *testing.T) {
	inner := memstore.New()
	require.Same(t, inner, observed.New(inner, nil, nil))
}

// broken fails after its function ran, as a driver does whose disk is full, or before.
type broken struct {
	store.Store
	err    error
	before bool
}

func (b broken) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	if b.before {
		return b.err
	}
	return errors.Join(b.Store.Update(ctx, fn), b.err)
}

func (b broken) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	return fmt.Errorf("reading: %w", b.err)
}

func TestWhatIsTold(t *testing.T) {
	own := errors.New("the caller's own")
	put := func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), []byte("v")) }
	for _, c := range []struct {
		name  string
		inner store.Store
		do    func(ctx context.Context, s store.Store) error
		label string
		told  error
	}{
		{"a commit", memstore.New(), func(ctx context.Context, s store.Store) error { return s.Update(ctx, put) }, observed.OK, nil},
		{"the function's error is no failure", memstore.New(), func(ctx context.Context, s store.Store) error {
			return s.Update(ctx, func(context.Context, store.Tx) error { return own })
		}, observed.Aborted, nil},
		{"what is missing is no failure", memstore.New(), func(ctx context.Context, s store.Store) error {
			return s.View(ctx, func(ctx context.Context, r store.Reader) error {
				_, err := r.Get(ctx, []byte("k"))
				return err
			})
		}, observed.Aborted, nil},
		{"a full disk", broken{memstore.New(), store.ErrReadOnly, false}, func(ctx context.Context, s store.Store) error { return s.Update(ctx, put) }, observed.Failed, store.ErrReadOnly},
		{"the function handed the store's failure on", memstore.New(), func(ctx context.Context, s store.Store) error {
			return s.View(ctx, func(context.Context, store.Reader) error { return fmt.Errorf("read: %w", store.ErrTooLong) })
		}, observed.Failed, store.ErrTooLong},
		{"a read that fails", broken{memstore.New(), store.ErrClosed, true}, func(ctx context.Context, s store.Store) error { return s.View(ctx, nil) }, observed.Failed, store.ErrClosed},
		{"a caller who gave up", memstore.New(), func(ctx context.Context, s store.Store) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return s.Update(ctx, put)
		}, observed.Aborted, nil},
		{"a panic", memstore.New(), func(ctx context.Context, s store.Store) (err error) {
			defer func() { err = fmt.Errorf("%v", recover()) }()
			return s.Update(ctx, func(context.Context, store.Tx) error { panic("boom") })
		}, observed.Aborted, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &log{}
			at := time.Unix(1000, 0)
			err := c.do(t.Context(), observed.New(c.inner, l, func() time.Time { at = at.Add(time.Second); return at }))
			got := l.take()
			require.Len(t, got, 1)
			require.Equal(t, c.label, got[0].Label)
			require.Equal(t, time.Second, got[0].Took())
			if c.told == nil {
				require.NoError(t, got[0].Err)
			} else {
				require.ErrorIs(t, got[0].Err, c.told)
				require.ErrorIs(t, err, c.told)
			}
			if c.label == observed.OK {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}

func TestAbilitiesAreReached(t *testing.T) {
	inner, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"), nil)
	require.NoError(t, err)
	s := observed.New(inner, nothing{}, nil)
	require.Equal(t, store.DiskFree(inner) > 0, store.DiskFree(s) > 0)
	require.NoError(t, store.Err(s))
	ch, err := store.Watch(t.Context(), s, []byte("k"))
	require.NoError(t, err)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), nil) }))
	<-ch
	require.NoError(t, inner.Close())
	require.ErrorIs(t, store.Err(s), store.ErrClosed)
	require.EqualValues(t, -1, store.DiskFree(observed.New(memstore.New(), nothing{}, nil)))
	require.NoError(t, store.Err(memstore.New()))
}

// A copy of a store of one moment is one also through the wrapper, and is not claimed for a store that cannot give it.
func TestExportIsReached(t *testing.T) {
	inner, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"), nil)
	require.NoError(t, err)
	defer inner.Close()
	s := observed.New(inner, nothing{}, nil)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), []byte("v")) }))
	require.Implements(t, (*store.Exporter)(nil), s)
	var got []string
	consistent, err := store.Export(t.Context(), s, func(k, v []byte) error { got = append(got, string(k)+"="+string(v)); return nil })
	require.NoError(t, err)
	require.True(t, consistent)
	require.Equal(t, []string{"k=v"}, got)
	_, claims := observed.New(broken{Store: memstore.New()}, nothing{}, nil).(store.Exporter)
	require.False(t, claims)
}

// BenchmarkCommit measures what an observed commit costs beside the bare one, on the quickest store.
func BenchmarkCommit(b *testing.B) {
	v := make([]byte, 100)
	run := func(s store.Store, n int) time.Duration {
		start := time.Now()
		for range n {
			if err := s.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), v) }); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	bare, with := memstore.New(), observed.New(memstore.New(), nothing{}, nil)
	run(bare, 1000)
	run(with, 1000)
	var a, o time.Duration
	n := 0
	for b.Loop() {
		for range 20 {
			a += run(bare, 200)
			o += run(with, 200)
			n += 200
		}
	}
	b.ReportMetric(float64(o)/float64(a), "ratio")
	b.ReportMetric(float64(o-a)/float64(n), "ns-added")
}

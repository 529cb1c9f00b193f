// Package memstore is a store in memory: for tests, simulations and fleets that need not survive their process.
//
// Updates run one after another on the goroutines of their callers; Views see immutable states and run beside them. It waits on channels and never
// holds a mutex while a transaction's function runs, so that it works inside a testing/synctest bubble, where its clock is the
// bubble's. It keeps the whole contract, limits of size and time included, but what "durable" means ends with the process.
package memstore

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
	"github.com/fleetwright/fleetwright/store/internal/tree"
)

// Store is a store.Store and a store.Watcher. Make it with [New]. It is safe for concurrent use and needs no closing.
type Store struct {
	turn     chan struct{}            // holds a token while an Update runs
	state    atomic.Pointer[tree.Map] // the last committed state; never changed, only replaced
	watchers driver.Watchers
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	s := &Store{turn: make(chan struct{}, 1)}
	s.state.Store(new(tree.Map))
	return s
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	inner, err := driver.Enter(ctx)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &tx{m: s.state.Load().Frozen(), ctx: ctx, until: time.Now().Add(store.MaxView)}
	defer t.dead.Store(true)
	return fn(inner, reader{t})
}

// Update implements store.Store. It waits for the Updates before it, or for the end of ctx.
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	inner, err := driver.Enter(ctx)
	if err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if err := ctx.Err(); err != nil { // both cases of the select were ready
		return err
	}
	start := time.Now()
	t := &tx{m: s.state.Load().Frozen(), until: start.Add(store.MaxUpdate)}
	defer t.dead.Store(true)
	err = fn(inner, t)
	t.dead.Store(true)
	switch {
	case err != nil:
		return err
	case t.meter.Err() != nil:
		return t.meter.Err()
	case !time.Now().Before(t.until):
		return tooLong(store.MaxUpdate)
	}
	if t.meter.Writes() > 0 {
		done := t.m.Clone()
		s.state.Store(&done)
		s.watchers.Notify(t.keys)
	}
	return nil
}

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	return s.watchers.Watch(ctx, prefix), nil
}

func tooLong(limit time.Duration) error {
	return fmt.Errorf("%w: the limit is %v; page through long lists, keep waiting out of transactions", store.ErrTooLong, limit)
}

// tx is one run of a function. An Update changes its own copy of the state.
type tx struct {
	m     tree.Map
	ctx   context.Context // of the View; nil in an Update
	until time.Time
	meter driver.Meter
	keys  [][]byte // written; also while nobody watches, for somebody may begin to before the function ends
	dead  atomic.Bool
}

// reader hides Put and Delete from a View.
type reader struct{ store.Reader }

// ok says why a call with ctx must fail.
func (t *tx) ok(ctx context.Context) error {
	if t.dead.Load() {
		return fmt.Errorf("%w: the transaction's function has returned", store.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	limit := store.MaxUpdate
	if t.ctx != nil {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		limit = store.MaxView
	}
	if !time.Now().Before(t.until) {
		return tooLong(limit)
	}
	return nil
}

// Get implements store.Reader.
func (t *tx) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := t.ok(ctx); err != nil {
		return nil, err
	}
	v, found := t.m.Get(key)
	if !found {
		return nil, store.ErrNotFound
	}
	return v[:len(v):len(v)], nil
}

// GetMany implements store.Reader.
func (t *tx) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if err := t.ok(ctx); err != nil {
		return nil, err
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if v, found := t.m.Get(k); found {
			out[i] = v[:len(v):len(v)]
		}
	}
	return out, nil
}

// Scan implements store.Reader.
func (t *tx) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	return driver.Limit(r, func(yield func(store.Item, error) bool) {
		if err := t.ok(ctx); err != nil {
			yield(store.Item{}, err)
			return
		}
		for k, v := range t.m.Scan(r.Start, r.End, r.Reverse) {
			if err := t.ok(ctx); err != nil {
				yield(store.Item{}, err)
				return
			}
			if !yield(store.Item{Key: k[:len(k):len(k)], Value: v[:len(v):len(v)]}, nil) {
				return
			}
		}
	})
}

func (t *tx) writable() error {
	if t.dead.Load() {
		return fmt.Errorf("%w: the transaction's function has returned", store.ErrClosed)
	}
	if !time.Now().Before(t.until) {
		return tooLong(store.MaxUpdate)
	}
	return nil
}

// Put implements store.Tx.
func (t *tx) Put(key, value []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := t.meter.Put(key, value); err != nil {
		return err
	}
	buf := make([]byte, len(key)+len(value))
	copy(buf, key)
	copy(buf[len(key):], value)
	k := buf[:len(key):len(key)]
	t.m.Set(k, buf[len(key):])
	t.keys = append(t.keys, k)
	return nil
}

// Delete implements store.Tx.
func (t *tx) Delete(key []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := t.meter.Delete(key); err != nil {
		return err
	}
	t.m.Delete(key)
	t.keys = append(t.keys, append([]byte(nil), key...))
	return nil
}

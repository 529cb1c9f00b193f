package pgstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// learner is the store.Tx of a first run: it reads a snapshot, keeps its writes to itself and notes what it read.
type learner struct {
	snapshot
	w     driver.Writes // guarded by mu
	reads reads
}

// Get implements store.Reader.
func (l *learner) Get(ctx context.Context, key []byte) ([]byte, error) {
	if v, known, err := l.own(ctx, key); known || err != nil {
		return v, err
	}
	v, err := l.snapshot.Get(ctx, key)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		l.reads.key(key)
		l.reads.bytes += len(v)
	}
	return v, err
}

// own returns what the run itself wrote under key.
func (l *learner) own(ctx context.Context, key []byte) (v []byte, known bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ok(ctx); err != nil {
		return nil, false, err
	}
	if v, known = l.w.Get(key); known && v == nil {
		return nil, true, store.ErrNotFound
	}
	return v[:len(v):len(v)], known, nil
}

// GetMany implements store.Reader.
func (l *learner) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	out := make([][]byte, len(keys))
	var ask [][]byte
	var at []int
	for i, k := range keys {
		v, known, err := l.own(ctx, k)
		switch {
		case err != nil && !known:
			return nil, err
		case known:
			out[i] = v
		default:
			ask, at = append(ask, k), append(at, i)
		}
	}
	got, err := l.snapshot.GetMany(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i, v := range got {
		out[at[i]] = v
		l.reads.key(ask[i])
		l.reads.bytes += len(v)
	}
	return out, nil
}

// Scan implements store.Reader.
func (l *learner) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	lo, hi := bounds(r)
	return func(yield func(store.Item, error) bool) {
		l.mu.Lock()
		own := l.w.Clone()
		l.mu.Unlock()
		hint := r.Limit
		if hint > 0 {
			hint += own.Len()
		}
		base := l.scan(ctx, lo, hi, r.Reverse, hint, func(n int) {
			l.reads.ranges = append(l.reads.ranges, ranged{lo, hi, r.Reverse, n})
		})
		for it, err := range own.Scan(r, base) {
			if err == nil && own.Len() > 0 { // an item may come from the writes, which know no end
				if err = l.alive(ctx); err != nil {
					it = store.Item{}
				}
			}
			l.reads.bytes += len(it.Key) + len(it.Value)
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// Put implements store.Tx.
func (l *learner) Put(key, value []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ok(context.Background()); err != nil {
		return err
	}
	return l.w.Put(key, value)
}

// Delete implements store.Tx.
func (l *learner) Delete(key []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ok(context.Background()); err != nil {
		return err
	}
	return l.w.Delete(key)
}

// run runs the function on the snapshot. A panic unwinds, unless the database failed: then the run does not count.
func (l *learner) run(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	defer func() {
		l.end(errDead)
		if l.broken != nil {
			_ = recover()
		}
	}()
	return fn(ctx, l)
}

// late says whether the function took too long, for who asks after it.
func (l *learner) late() bool { return time.Since(l.start)-l.waited >= l.limit }

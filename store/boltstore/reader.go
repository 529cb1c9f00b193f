package boltstore

import (
	"bytes"
	"context"
	"iter"
	"runtime/debug"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// reader reads a bucket of the engine until it is ended. Everything it returns is a copy, since the engine's bytes are a mapping of the file that
// moves, and a bucket that is ended by the clock may have been handed to another.
type reader struct {
	ctx context.Context // of the View; nil in an Update

	mu     sync.Mutex // held while the engine is read; ending waits for it
	bucket *bolt.Bucket
	dead   error
	ended  func() // gives the engine's transaction back; may be nil
}

// end makes every later call fail with err. The first end counts.
func (r *reader) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead != nil {
		if r.ended == nil {
			r.dead = err
		}
		return
	}
	r.dead, r.bucket = err, nil
	if r.ended != nil {
		r.ended()
		r.ended = nil
	}
}

// ok says why a call must fail. r.mu is held.
func (r *reader) ok(ctx context.Context) error {
	if r.dead != nil {
		return r.dead
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.ctx != nil {
		return r.ctx.Err()
	}
	return nil
}

// Get implements store.Reader.
func (r *reader) Get(ctx context.Context, key []byte) (v []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ok(ctx); err != nil {
		return nil, err
	}
	defer guard(debug.SetPanicOnFault(true), &err)
	if v = r.bucket.Get(key); v == nil {
		return nil, store.ErrNotFound
	}
	return append(make([]byte, 0, len(v)), v...), nil
}

// GetMany implements store.Reader.
func (r *reader) GetMany(ctx context.Context, keys [][]byte) (out [][]byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ok(ctx); err != nil {
		return nil, err
	}
	defer guard(debug.SetPanicOnFault(true), &err)
	out = make([][]byte, len(keys))
	for i, k := range keys {
		if v := r.bucket.Get(k); v != nil {
			out[i] = append(make([]byte, 0, len(v)), v...)
		}
	}
	return out, nil
}

// Scan implements store.Reader.
func (r *reader) Scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	return driver.Limit(rng, r.scan(ctx, rng))
}

// scan yields the items of rng without regard to its Limit.
func (r *reader) scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		var c *bolt.Cursor
		var buf []byte
		step := func() (it store.Item, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if err := r.ok(ctx); err != nil {
				return it, err
			}
			defer guard(debug.SetPanicOnFault(true), &err)
			var k, v []byte
			switch {
			case c == nil:
				c = r.bucket.Cursor()
				k, v = first(c, rng)
			case rng.Reverse:
				k, v = c.Prev()
			default:
				k, v = c.Next()
			}
			if k == nil || !rng.Reverse && rng.End != nil && bytes.Compare(k, rng.End) >= 0 || rng.Reverse && bytes.Compare(k, rng.Start) < 0 {
				return store.Item{}, nil
			}
			buf = append(append(buf[:0], k...), v...)
			return store.Item{Key: buf[:len(k):len(k)], Value: buf[len(k):len(buf):len(buf)]}, nil
		}
		for {
			it, err := step()
			if err == nil && it.Key == nil || !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// first places the cursor on the first item of the range in its direction.
func first(c *bolt.Cursor, rng store.Range) (k, v []byte) {
	if !rng.Reverse {
		return c.Seek(rng.Start)
	}
	if rng.End == nil {
		return c.Last()
	}
	if k, _ := c.Seek(rng.End); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// tx is one run of the function of an Update: it reads the open transaction of its batch through its own writes.
type tx struct {
	reader
	w driver.Writes
}

// Get implements store.Reader.
func (t *tx) Get(ctx context.Context, key []byte) ([]byte, error) {
	t.mu.Lock()
	if err := t.ok(ctx); err != nil {
		t.mu.Unlock()
		return nil, err
	}
	v, known := t.w.Get(key)
	t.mu.Unlock()
	switch {
	case !known:
		return t.reader.Get(ctx, key)
	case v == nil:
		return nil, store.ErrNotFound
	}
	return v[:len(v):len(v)], nil
}

// GetMany implements store.Reader.
func (t *tx) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	out, err := t.reader.GetMany(ctx, keys)
	if err != nil || t.w.Len() == 0 {
		return out, err
	}
	for i, k := range keys {
		if v, known := t.w.Get(k); known {
			out[i] = v
		}
	}
	return out, nil
}

// Scan implements store.Reader.
func (t *tx) Scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	merged := t.w.Scan(rng, t.scan(ctx, rng))
	return func(yield func(store.Item, error) bool) {
		for it, err := range merged {
			if err == nil && t.w.Len() > 0 { // an item may come from the writes, which know no end
				t.mu.Lock()
				err = t.ok(ctx)
				t.mu.Unlock()
				if err != nil {
					it = store.Item{}
				}
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// Put implements store.Tx.
func (t *tx) Put(key, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead != nil {
		return t.dead
	}
	return t.w.Put(key, value)
}

// Delete implements store.Tx.
func (t *tx) Delete(key []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead != nil {
		return t.dead
	}
	return t.w.Delete(key)
}

// view returns a reader of the last commit, which holds eng until it is ended.
func (s *Store) view(ctx context.Context, eng *engine) (*reader, error) {
	tx, b, err := eng.begin(false)
	if err != nil {
		s.release(eng)
		return nil, err
	}
	return &reader{ctx: ctx, bucket: b, ended: func() {
		rollback(tx)
		s.release(eng)
	}}, nil
}

package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// reader reads a bucket of the engine until it is ended. Everything it returns is a copy, since the engine's bytes are a mapping of the file that
// moves, and may be overwritten once the clock has ended the reader.
type reader struct {
	ctx   context.Context // of the View; nil in an Update
	spare *sync.Pool      // of *ahead

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
	return r.get(key)
}

// get reads the engine. r.mu is held.
func (r *reader) get(key []byte) (v []byte, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	if v = r.bucket.Get(key); v == nil {
		return nil, store.ErrNotFound
	}
	return keep(v)
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
			if out[i], err = keep(v); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// keep copies a value of the engine. A length that cannot be is damage, and must not be asked of the memory.
func keep(v []byte) ([]byte, error) {
	if len(v) > store.MaxValue {
		return nil, &DamagedError{fmt.Sprintf("a value of %d bytes", len(v))}
	}
	return append(make([]byte, 0, len(v)), v...), nil
}

// Scan implements store.Reader.
func (r *reader) Scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	return driver.Limit(rng, r.scan(ctx, rng))
}

// scan yields the items of rng without regard to its Limit. It reads ahead: a little at first, more when the caller goes on.
func (r *reader) scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		a, _ := r.spare.Get().(*ahead)
		if a == nil {
			a = new(ahead)
		}
		a.rng, a.c, a.end, a.most = rng, nil, false, 4
		if rng.Limit > 0 && rng.Limit < 64 {
			a.most = rng.Limit
		}
		for !a.end {
			if err := r.fetch(ctx, a); err != nil {
				yield(store.Item{}, err)
				return
			}
			at := 0
			for _, l := range a.lens {
				k, v := at+l[0], at+l[0]+l[1]
				if !yield(store.Item{Key: a.buf[at:k:k], Value: a.buf[k:v:v]}, nil) {
					return
				}
				at = v
			}
			a.most = min(4*a.most, 64)
		}
		a.c = nil
		r.spare.Put(a) // not after an early break: the caller may still hold its last item
	}
}

// ahead is what a scan has read and not yet yielded.
type ahead struct {
	rng  store.Range
	c    *bolt.Cursor
	most int
	buf  []byte   // keys and values, one after another
	lens [][2]int // their lengths
	end  bool     // nothing follows
}

// fetch replaces what was read ahead by the next items, at most a.most and about 64 KiB.
func (r *reader) fetch(ctx context.Context, a *ahead) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ok(ctx); err != nil {
		return err
	}
	defer guard(debug.SetPanicOnFault(true), &err)
	a.buf, a.lens = a.buf[:0], a.lens[:0]
	for len(a.lens) < a.most && len(a.buf) < 64<<10 {
		var k, v []byte
		switch {
		case a.c == nil:
			a.c = r.bucket.Cursor()
			k, v = first(a.c, a.rng)
		case a.rng.Reverse:
			k, v = a.c.Prev()
		default:
			k, v = a.c.Next()
		}
		if k == nil || !a.rng.Reverse && a.rng.End != nil && bytes.Compare(k, a.rng.End) >= 0 || a.rng.Reverse && bytes.Compare(k, a.rng.Start) < 0 {
			a.end = true
			return nil
		}
		if len(k) > store.MaxKey || len(v) > store.MaxValue {
			return &DamagedError{fmt.Sprintf("a key of %d bytes with a value of %d", len(k), len(v))}
		}
		a.buf = append(append(a.buf, k...), v...)
		a.lens = append(a.lens, [2]int{len(k), len(v)})
	}
	return nil
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

// tx is one run of the function of an Update. It reads the last commit through the writes of those before it in the batch, and through its own. The
// engine's tree is read only as it lies in the file: a cursor over what has been changed in memory stops at leaves that became empty, and Last never
// returns from a tree that did.
type tx struct {
	reader
	batch *driver.Writes // of those before it; it changes only when this function has no turn
	w     driver.Writes
}

// Get implements store.Reader.
func (t *tx) Get(ctx context.Context, key []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.ok(ctx); err != nil {
		return nil, err
	}
	v, known := t.known(key)
	switch {
	case !known:
		return t.get(key)
	case v == nil:
		return nil, store.ErrNotFound
	}
	return v, nil
}

// known returns what the batch or this function wrote under key. t.mu is held.
func (t *tx) known(key []byte) (v []byte, known bool) {
	if v, known = t.w.Get(key); !known {
		v, known = t.batch.Get(key)
	}
	return v[:len(v):len(v)], known
}

// GetMany implements store.Reader.
func (t *tx) GetMany(ctx context.Context, keys [][]byte) (out [][]byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.ok(ctx); err != nil {
		return nil, err
	}
	out = make([][]byte, len(keys))
	for i, k := range keys {
		v, known := t.known(k)
		if !known {
			if v, err = t.get(k); errors.Is(err, store.ErrNotFound) {
				v, err = nil, nil
			}
			if err != nil {
				return nil, err
			}
		}
		out[i] = v
	}
	return out, nil
}

// Scan implements store.Reader.
func (t *tx) Scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		t.mu.Lock()
		if err := t.ok(ctx); err != nil {
			t.mu.Unlock()
			yield(store.Item{}, err)
			return
		}
		own, batch := t.w.Clone(), t.batch.Clone()
		t.mu.Unlock()
		all := rng
		all.Limit = 0
		for it, err := range own.Scan(rng, batch.Scan(all, t.scan(ctx, rng))) {
			if err == nil && own.Len()+batch.Len() > 0 { // an item may come from the writes, which know no end
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
	return &reader{ctx: ctx, spare: &s.spare, bucket: b, ended: func() {
		rollback(tx)
		s.release(eng)
	}}, nil
}

package pgstore

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// locked is the state of the database while a batch has the lock. What it was asked for it remembers.
type locked struct {
	session *session
	cache   cache
	writes  driver.Writes // of those of the batch that have run
	broken  error         // the database failed: nothing of the batch counts
}

// tx is the store.Tx of a run under the lock. It reads through its own writes, those of the batch before it, and the database.
type tx struct {
	mu     sync.Mutex // held while the database is asked; ending waits for it
	dead   error
	l      *locked // used by one run at a time
	w      driver.Writes
	reads  *reads
	waited time.Duration // for the database
}

// end makes every later call fail with err.
func (t *tx) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead == nil || err == errDead {
		t.dead = err
	}
}

// waitedFor returns how long the run has waited for the database.
func (t *tx) waitedFor() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waited
}

// ok says why a call must fail. t.mu is held.
func (t *tx) ok(ctx context.Context) error {
	if t.dead != nil {
		return t.dead
	}
	if t.l.broken != nil {
		return t.l.broken
	}
	return ctx.Err()
}

// known returns what is known of key without asking the database; a nil value is a missing key. t.mu is held.
func (t *tx) known(key []byte) (v []byte, ok bool) {
	if v, ok = t.w.Get(key); !ok {
		if v, ok = t.l.writes.Get(key); !ok {
			v, ok = t.l.cache.get(key)
		}
	}
	return v[:len(v):len(v)], ok
}

// fetch asks the database for what the cache lacks. t.mu is held.
func (t *tx) fetch(l *reads) error {
	asked := time.Now()
	err := t.l.session.fetch(l, &t.l.cache)
	t.waited += time.Since(asked)
	if err != nil {
		t.l.broken = err
	}
	return err
}

// Get implements store.Reader.
func (t *tx) Get(ctx context.Context, key []byte) ([]byte, error) {
	vs, err := t.GetMany(ctx, [][]byte{key})
	if err != nil {
		return nil, err
	}
	if vs[0] == nil {
		return nil, store.ErrNotFound
	}
	return vs[0], nil
}

// GetMany implements store.Reader.
func (t *tx) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.ok(ctx); err != nil {
		return nil, err
	}
	out := make([][]byte, len(keys))
	var ask reads
	for i, k := range keys {
		v, ok := t.known(k)
		if !ok {
			ask.key(k)
		}
		out[i] = v
	}
	if ask.empty() {
		return out, nil
	}
	t.reads.merge(&ask)
	if err := t.fetch(&ask); err != nil {
		return nil, err
	}
	for i, k := range keys {
		out[i], _ = t.known(k)
	}
	return out, nil
}

// Scan implements store.Reader.
func (t *tx) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	lo, hi := bounds(r)
	return func(yield func(store.Item, error) bool) {
		t.mu.Lock()
		if err := t.ok(ctx); err != nil {
			t.mu.Unlock()
			yield(store.Item{}, err)
			return
		}
		own, batch := t.w.Clone(), t.l.writes.Clone()
		t.mu.Unlock()
		all := r
		all.Limit = 0
		hint := 0
		if r.Limit > 0 {
			hint = r.Limit + min(own.Len(), atMost)
		}
		for it, err := range own.Scan(r, batch.Scan(all, t.scan(ctx, lo, hi, r.Reverse, hint))) {
			if err == nil {
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

// scan yields the items of the database in the range.
func (t *tx) scan(ctx context.Context, lo, hi []byte, reverse bool, hint int) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		lo, hi, most := lo, hi, newPiece(max(hint, 2*atFirst)).n
		for string(lo) < string(hi) {
			t.mu.Lock()
			from, to, err := t.know(ctx, lo, hi, reverse, most)
			items := t.l.cache.items.Clone()
			t.mu.Unlock()
			if err != nil {
				yield(store.Item{}, err)
				return
			}
			n, size := 0, 1
			for k, v := range items.Scan(from, to, reverse) {
				n, size = n+1, size+len(k)+len(v)
				if !yield(store.Item{Key: k[:len(k):len(k)], Value: v[:len(v):len(v)]}, nil) {
					return
				}
			}
			if reverse {
				hi = from
			} else {
				lo = to
			}
			most = max(atFirst/4, min(4*most, atMost, pieceBytes*max(n, 1)/size))
		}
	}
}

// know returns a part of the range, from its beginning in its direction, of which the cache knows everything. t.mu is held.
func (t *tx) know(ctx context.Context, lo, hi []byte, reverse bool, n int) (from, to []byte, err error) {
	if err := t.ok(ctx); err != nil {
		return nil, nil, err
	}
	for range 2 {
		if reverse {
			if end, ok := t.l.cache.downTo(hi); ok {
				return later(lo, end), hi, nil
			}
		} else if end, ok := t.l.cache.upTo(lo); ok {
			return lo, earlier(hi, end), nil
		}
		ask := reads{ranges: []ranged{{lo, hi, reverse, n}}}
		t.reads.merge(&ask)
		if err := t.fetch(&ask); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errNothing
}

func later(a, b []byte) []byte {
	if string(a) > string(b) {
		return a
	}
	return b
}

func earlier(a, b []byte) []byte {
	if string(a) < string(b) {
		return a
	}
	return b
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

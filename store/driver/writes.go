package driver

import (
	"bytes"
	"iter"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/internal/tree"
)

// Writes are the Puts and Deletes of a transaction that its store does not hold yet. It keeps the limits. The zero Writes is empty; it is for
// one goroutine at a time.
type Writes struct {
	Meter
	m tree.Map // nil value: deleted
}

// Put notes a Put. It copies both slices. The error is that of [Meter.Put].
func (w *Writes) Put(key, value []byte) error {
	if err := w.Meter.Put(key, value); err != nil {
		return err
	}
	buf := make([]byte, len(key)+len(value))
	copy(buf, key)
	copy(buf[len(key):], value)
	w.m.Set(buf[:len(key):len(key)], buf[len(key):])
	return nil
}

// Delete notes a Delete. It copies key. The error is that of [Meter.Delete].
func (w *Writes) Delete(key []byte) error {
	if err := w.Meter.Delete(key); err != nil {
		return err
	}
	w.m.Set(bytes.Clone(key), nil)
	return nil
}

// Get returns what was written under key last: known is false if nothing was; a nil value means deleted.
func (w *Writes) Get(key []byte) (value []byte, known bool) { return w.m.Get(key) }

// Clone returns a copy in constant time; later changes of either do not show in the other.
func (w *Writes) Clone() Writes { return Writes{Meter: w.Meter, m: w.m.Clone()} }

// Merge adds what o has, over what is there: for a driver that commits many transactions at once. The slices are shared; the meter does not count them.
func (w *Writes) Merge(o *Writes) {
	if w.m.Len() == 0 {
		w.m = o.m.Clone()
		return
	}
	for k, v := range o.All() {
		w.m.Set(k, v)
	}
}

// Len returns the number of keys written.
func (w *Writes) Len() int { return w.m.Len() }

// All yields what is to be applied, in the order of keys; a nil value means delete.
func (w *Writes) All() iter.Seq2[[]byte, []byte] { return w.m.Scan(nil, nil, false) }

// Scan merges what base has in the range r with the writes, as they are when the iteration starts. base must yield the items of r in order
// (in the opposite order if r.Reverse), without regard to r.Limit: Scan counts. base is stopped when the caller stops.
func (w *Writes) Scan(r store.Range, base iter.Seq2[store.Item, error]) iter.Seq2[store.Item, error] {
	return Limit(r, func(yield func(store.Item, error) bool) {
		if w.m.Len() == 0 {
			base(yield)
			return
		}
		next, stop := iter.Pull2(w.m.Scan(r.Start, r.End, r.Reverse))
		defer stop()
		k, v, ok := next()
		before := func(key []byte) bool {
			if r.Reverse {
				return bytes.Compare(k, key) > 0
			}
			return bytes.Compare(k, key) < 0
		}
		mine := func() bool {
			return v == nil || yield(store.Item{Key: k, Value: v}, nil)
		}
		for it, err := range base {
			if err != nil {
				yield(store.Item{}, err)
				return
			}
			for ok && before(it.Key) {
				if !mine() {
					return
				}
				k, v, ok = next()
			}
			if ok && bytes.Equal(k, it.Key) {
				if !mine() {
					return
				}
				k, v, ok = next()
				continue
			}
			if !yield(it, nil) {
				return
			}
		}
		for ; ok; k, v, ok = next() {
			if !mine() {
				return
			}
		}
	})
}

// Limit yields at most r.Limit items of seq, all if r.Limit is not positive, and nothing after an error.
func Limit(r store.Range, seq iter.Seq2[store.Item, error]) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		n := 0
		for it, err := range seq {
			if !yield(it, err) || err != nil {
				return
			}
			if n++; n == r.Limit {
				return
			}
		}
	}
}

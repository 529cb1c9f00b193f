package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// optimistic runs functions beside each other, each on a snapshot, and validates what it read when it commits. What it does not validate makes it wrong.
type optimistic struct {
	*memstore.Store
	skip func(o *attempt, key []byte) bool // reads of this key are not validated
	gaps bool                              // new keys in scanned ranges are not noticed
}

// attempt is one run.
type attempt struct {
	store.Reader
	w     driver.Writes
	until time.Time
	dead  bool
	reads map[string]string // "-" for missing
	scans []scanned
}

type scanned struct {
	rng   store.Range
	items []string
}

var errInvalid = errors.New("what it read has changed")

func (s *optimistic) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		a := &attempt{until: time.Now().Add(store.MaxUpdate), reads: map[string]string{}}
		err := s.View(ctx, func(ctx context.Context, r store.Reader) error {
			a.Reader = r
			defer func() { a.dead = true }()
			if err := fn(ctx, a); err != nil {
				return err
			}
			if !time.Now().Before(a.until) {
				return store.ErrTooLong
			}
			return a.w.Err()
		})
		if err != nil {
			return err
		}
		err = s.Store.Update(context.WithoutCancel(ctx), func(ctx context.Context, tx store.Tx) error { return s.commit(ctx, tx, a) })
		if !errors.Is(err, errInvalid) {
			return err
		}
	}
}

func (s *optimistic) commit(ctx context.Context, tx store.Tx, a *attempt) error {
	for k, saw := range a.reads {
		if s.skip != nil && s.skip(a, []byte(k)) {
			continue
		}
		now, err := get(ctx, tx, k)
		if err != nil {
			return err
		}
		if now != saw {
			return errInvalid
		}
	}
	for _, sc := range a.scans {
		now, err := scan(ctx, tx, sc.rng)
		if err != nil {
			return err
		}
		if s.gaps { // only what was seen is looked at
			now = slices.DeleteFunc(now, func(it string) bool { return !slices.Contains(sc.items, it) })
		}
		if !slices.Equal(now, sc.items) {
			return errInvalid
		}
	}
	for k, v := range a.w.All() {
		var err error
		if v == nil {
			err = tx.Delete(k)
		} else {
			err = tx.Put(k, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) ok() error {
	switch {
	case a.dead:
		return store.ErrClosed
	case !time.Now().Before(a.until):
		return store.ErrTooLong
	}
	return nil
}

func (a *attempt) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := a.ok(); err != nil {
		return nil, err
	}
	v, err := a.Reader.Get(ctx, key)
	switch {
	case err == nil:
		a.reads[string(key)] = string(v)
	case errors.Is(err, store.ErrNotFound):
		a.reads[string(key)] = "-"
	default:
		return nil, err
	}
	if own, known := a.w.Get(key); known {
		if own == nil {
			return nil, store.ErrNotFound
		}
		return own, nil
	}
	return v, err
}

func (a *attempt) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	out := make([][]byte, len(keys))
	if err := a.ok(); err != nil {
		return nil, err
	}
	for i, k := range keys {
		v, err := a.Get(ctx, k)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (a *attempt) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	all := r
	all.Limit = 0
	base := func(yield func(store.Item, error) bool) {
		sc := scanned{rng: all}
		for it, err := range a.Reader.Scan(ctx, all) {
			if err == nil {
				err = a.ok()
			}
			if err == nil {
				sc.items = append(sc.items, string(it.Key)+"="+string(it.Value))
			}
			if !yield(it, err) {
				// it has seen the range up to here
				if !all.Reverse {
					sc.rng.End = append(bytes.Clone(it.Key), 0)
				} else {
					sc.rng.Start = bytes.Clone(it.Key)
				}
				break
			}
		}
		if sc.items == nil {
			sc.items = []string{}
		}
		a.scans = append(a.scans, sc)
	}
	return a.w.Scan(r, base)
}

func (a *attempt) Put(key, value []byte) error {
	if err := a.ok(); err != nil {
		return err
	}
	return a.w.Put(key, value)
}

func (a *attempt) Delete(key []byte) error {
	if err := a.ok(); err != nil {
		return err
	}
	return a.w.Delete(key)
}

func rightOptimistic() store.Store { return &optimistic{Store: memstore.New()} }

func lostUpdates() store.Store {
	return &optimistic{Store: memstore.New(), skip: func(a *attempt, key []byte) bool {
		_, written := a.w.Get(key)
		return written
	}}
}

func writeSkews() store.Store {
	return &optimistic{Store: memstore.New(), skip: func(a *attempt, key []byte) bool {
		_, written := a.w.Get(key)
		return !written
	}}
}

func phantoms() store.Store { return &optimistic{Store: memstore.New(), gaps: true} }

// staleSnapshot is what "REPEATABLE READ, then take the lock" makes: Updates run one after another, but each sees the state from before it waited; only
// writes of the same key are noticed.
type staleSnapshot struct {
	*optimistic
	turn chan struct{}
}

func newStaleSnapshot() store.Store {
	o := &optimistic{Store: memstore.New(), gaps: true}
	o.skip = func(a *attempt, key []byte) bool {
		_, written := a.w.Get(key)
		return !written
	}
	return &staleSnapshot{o, make(chan struct{}, 1)}
}

func (s *staleSnapshot) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	return s.optimistic.Update(ctx, func(ctx context.Context, tx store.Tx) error { // here the snapshot has been taken
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-s.turn }()
		a := tx.(*attempt)
		a.until = time.Now().Add(store.MaxUpdate)
		if err := ctx.Err(); err != nil {
			return err
		}
		// The keys that it will have written when it commits are the ones that PostgreSQL compares.
		if err := fn(ctx, tx); err != nil {
			return err
		}
		for k := range a.w.All() {
			if _, read := a.reads[string(k)]; !read {
				if _, err := a.Reader.Get(ctx, k); err != nil && !errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("reading what is written: %w", err)
				}
			}
		}
		return nil
	})
}

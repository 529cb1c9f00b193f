package store

import (
	"context"
	"errors"
	"time"
)

// Exporter is an optional ability: a driver that can read all of its store as of one moment, however long that takes.
type Exporter interface {
	// Export calls fn for every item in the order of keys, all of one consistent state, while Views and Updates go on. key and value are fn's until it returns, and not to
	// be changed. An error of fn ends it and is returned. It is not bounded by MaxView. What a driver cannot reuse meanwhile, it says.
	Export(ctx context.Context, fn func(key, value []byte) error) error
}

// exportHold bounds what Export keeps in memory for a store that is no Exporter, and exportTime how long it tries to read all in one View.
const (
	exportHold = 64 << 20
	exportTime = MaxView * 3 / 5
	exportPage = 1000
)

var errLarge = errors.New("store: too much for one View")

// Export calls fn for every item of the store in the order of keys, and reports whether all were of one moment: always for an Exporter, and for other stores when they can be read
// in one View. Else they are read in pages: each item is one that was there at some time during the call, and what changed meanwhile may show in part.
func Export(ctx context.Context, s Store, fn func(key, value []byte) error) (consistent bool, err error) {
	if e, ok := s.(Exporter); ok {
		return true, e.Export(ctx, fn)
	}
	var items []Item
	size, began := 0, time.Now()
	err = s.View(ctx, func(ctx context.Context, r Reader) error {
		items, size = items[:0], 0
		for it, err := range r.Scan(ctx, Range{}) {
			if err != nil {
				return err
			}
			size += len(it.Key) + len(it.Value) + 64
			if size > exportHold || len(items)%exportPage == 0 && time.Since(began) > exportTime {
				return errLarge
			}
			items = append(items, copyOf(it))
		}
		return nil
	})
	if err == nil {
		return true, each(items, fn)
	}
	if !errors.Is(err, errLarge) && !errors.Is(err, ErrTooLong) {
		return false, err
	}
	var rng Range
	for {
		rng.Limit = exportPage
		size := 0
		err := s.View(ctx, func(ctx context.Context, r Reader) error {
			items, size = items[:0], 0
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				items = append(items, copyOf(it))
				if size += len(it.Key) + len(it.Value); size > MaxTxBytes {
					break
				}
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		if len(items) == 0 {
			return false, nil
		}
		if err := each(items, fn); err != nil {
			return false, err
		}
		rng.Start = append(append([]byte(nil), items[len(items)-1].Key...), 0)
	}
}

func copyOf(it Item) Item {
	return Item{Key: append([]byte(nil), it.Key...), Value: append([]byte{}, it.Value...)}
}

func each(items []Item, fn func(key, value []byte) error) error {
	for _, it := range items {
		if err := fn(it.Key, it.Value); err != nil {
			return err
		}
	}
	return nil
}

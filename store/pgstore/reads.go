package pgstore

import (
	"bytes"
	"slices"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/internal/tree"
)

// reads is what the runs of a function have asked of the database, so that it can be fetched ahead of the next run. It need not be exact: what a run
// asks for that was not fetched ahead is fetched when it asks.
type reads struct {
	keys   map[string]struct{}
	ranges []ranged
	bytes  int // of what was returned
}

// ranged is a range that was scanned.
type ranged struct {
	lo, hi  []byte
	reverse bool
	n       int // so many items of the database were taken
}

func (l *reads) key(key []byte) {
	if l.keys == nil {
		l.keys = map[string]struct{}{}
	}
	l.keys[string(key)] = struct{}{}
}

func (l *reads) empty() bool { return len(l.keys) == 0 && len(l.ranges) == 0 }

const (
	mostAhead = 4096 // rows of one range that are fetched ahead
	slack     = 16   // more rows than were there, since there may be more now
)

// merge adds what o asked, for a fetch for both. Two that scan the same range get as much as both took, since the first may delete what it took.
func (l *reads) merge(o *reads) {
	for k := range o.keys {
		l.key([]byte(k))
	}
	for _, r := range o.ranges {
		i := slices.IndexFunc(l.ranges, func(x ranged) bool {
			return x.reverse == r.reverse && bytes.Equal(x.lo, r.lo) && bytes.Equal(x.hi, r.hi)
		})
		if i < 0 {
			l.ranges = append(l.ranges, r)
			continue
		}
		l.ranges[i].n = min(l.ranges[i].n+r.n, mostAhead)
	}
	l.bytes += o.bytes
}

// bounds returns the range with both ends closed: lastKey for an open end.
func bounds(r store.Range) (lo, hi []byte) {
	lo, hi = bytes.Clone(r.Start), bytes.Clone(r.End)
	if lo == nil {
		lo = []byte{}
	}
	if r.End == nil {
		hi = lastKey
	}
	return lo, hi
}

// cache holds what was read of the database while the lock is held, when it cannot change. It knows of every key whether it knows it.
type cache struct {
	items   tree.Map // what is there
	missing tree.Map // keys known not to be there
	spans   []span   // ranges that items holds whole; disjoint, sorted, not touching
}

type span struct{ lo, hi []byte }

// at returns the index of the first span that ends after key.
func (c *cache) at(key []byte) int {
	i, _ := slices.BinarySearchFunc(c.spans, key, func(s span, key []byte) int {
		if bytes.Compare(s.hi, key) <= 0 {
			return -1
		}
		return 1
	})
	return i
}

// get returns the value of key, nil if it is missing, and whether that is known.
func (c *cache) get(key []byte) (value []byte, known bool) {
	if v, ok := c.items.Get(key); ok {
		return v, true
	}
	if _, ok := c.missing.Get(key); ok {
		return nil, true
	}
	i := c.at(key)
	return nil, i < len(c.spans) && bytes.Compare(c.spans[i].lo, key) <= 0
}

// upTo returns the end of what is known from key upwards; ok is false if nothing is.
func (c *cache) upTo(key []byte) (hi []byte, ok bool) {
	i := c.at(key)
	if i < len(c.spans) && bytes.Compare(c.spans[i].lo, key) <= 0 {
		return c.spans[i].hi, true
	}
	return nil, false
}

// downTo returns the start of what is known below key; ok is false if nothing is.
func (c *cache) downTo(key []byte) (lo []byte, ok bool) {
	i, _ := slices.BinarySearchFunc(c.spans, key, func(s span, key []byte) int {
		if bytes.Compare(s.hi, key) < 0 {
			return -1
		}
		return 1
	})
	if i < len(c.spans) && bytes.Compare(c.spans[i].lo, key) < 0 {
		return c.spans[i].lo, true
	}
	return nil, false
}

// learn adds what a query of the range gave: rows in its order, at most limit, all of the range if they are fewer.
func (c *cache) learn(lo, hi []byte, reverse bool, rows []store.Item, limit int) {
	for _, it := range rows {
		c.items.Set(it.Key, it.Value)
	}
	if len(rows) >= limit && limit > 0 {
		last := rows[len(rows)-1].Key
		if reverse {
			lo = last
		} else {
			hi = append(bytes.Clone(last), 0)
		}
	}
	if bytes.Compare(lo, hi) >= 0 {
		return
	}
	// Every span that touches [lo, hi) becomes one with it.
	from, _ := slices.BinarySearchFunc(c.spans, lo, func(s span, key []byte) int {
		if bytes.Compare(s.hi, key) < 0 {
			return -1
		}
		return 1
	})
	to := from
	for to < len(c.spans) && bytes.Compare(c.spans[to].lo, hi) <= 0 {
		if bytes.Compare(c.spans[to].lo, lo) < 0 {
			lo = c.spans[to].lo
		}
		if bytes.Compare(c.spans[to].hi, hi) > 0 {
			hi = c.spans[to].hi
		}
		to++
	}
	c.spans = slices.Replace(c.spans, from, to, span{lo, hi})
}

// learnKeys adds what a query of keys gave.
func (c *cache) learnKeys(keys [][]byte, rows []store.Item) {
	for _, it := range rows {
		c.items.Set(it.Key, it.Value)
	}
	for _, k := range keys {
		if _, ok := c.items.Get(k); !ok {
			c.missing.Set(k, nil)
		}
	}
}

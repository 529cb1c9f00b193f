package fleet

import (
	"context"
	"slices"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// The tail is the delta log: what reports changed and the owner has not folded yet. A record stands under (ordinal of the node, number of the node's delta, type), so that the records of a
// node come in order. Whether an entry is on a node is what the last record that names both says, and what the bitmap says if there is none: so it does not matter whether a record
// that is still there has been folded already, and a fold may be done in many transactions, or twice.

// tailRecord is one record of the log.
type tailRecord struct {
	ordinal uint32
	typ     string
	lists
}

// scanTail calls fn with each record of the log in order, of all types or of those wanted. The key is valid during the call.
func (s *Service) scanTail(ctx context.Context, r store.Reader, tenant string, rng store.Range, wanted map[string]bool, fn func(k []byte, rec tailRecord) bool) error {
	prefix := logKey(tenant)
	for it, err := range r.Scan(ctx, rng) {
		if err != nil {
			return err
		}
		k := key.Read(it.Key[len(prefix):])
		ordinal, _, typ := k.Uint(), k.Uint(), k.Str()
		if k.Err() != nil || ordinal >= unset {
			return corrupt(it.Key, "no delta")
		}
		rec := tailRecord{ordinal: uint32(ordinal), typ: typ}
		if wanted == nil || wanted[typ] {
			b, err := s.cfg.Codec.Open(it.Key, it.Value)
			if err != nil {
				return err
			}
			var rest []byte
			var ok bool
			if rec.lists, rest, ok = decodeLists(b); !ok || len(rest) > 0 {
				return corrupt(it.Key, "no delta")
			}
		}
		if !fn(it.Key, rec) {
			return nil
		}
	}
	return nil
}

// change is what the tail says of entries and nodes: pairs of (entry number, ordinal), sorted, none in both.
type change struct{ del, add []uint64 }

func pair(id, ordinal uint32) uint64 { return uint64(id)<<32 | uint64(ordinal) }

// collector makes changes of records that come in order.
type collector struct {
	keep    func(typ string, id uint32) bool // nil keeps all
	types   map[string]*change
	ordinal uint32
	pending map[string][]lists // of ordinal
	pairs   int
}

func (c *collector) add(rec tailRecord) {
	if rec.ordinal != c.ordinal {
		c.flush()
		c.ordinal = rec.ordinal
	}
	if c.pending == nil {
		c.pending = map[string][]lists{}
	}
	c.pending[rec.typ] = append(c.pending[rec.typ], rec.lists)
	c.pairs += len(rec.del) + len(rec.lists.add)
}

func (c *collector) flush() {
	for typ, all := range c.pending {
		delete(c.pending, typ)
		ch := c.types[typ]
		if ch == nil {
			ch = &change{}
			c.types[typ] = ch
		}
		put := func(id uint32, there bool) {
			switch {
			case c.keep != nil && !c.keep(typ, id):
			case there:
				ch.add = append(ch.add, pair(id, c.ordinal))
			default:
				ch.del = append(ch.del, pair(id, c.ordinal))
			}
		}
		if len(all) == 1 {
			for _, id := range all[0].del {
				put(id, false)
			}
			for _, id := range all[0].add {
				put(id, true)
			}
			continue
		}
		last := map[uint32]bool{}
		for _, l := range all {
			for _, id := range l.del {
				last[id] = false
			}
			for _, id := range l.add {
				last[id] = true
			}
		}
		for id, there := range last {
			put(id, there)
		}
	}
}

// done returns the changes of each type.
func (c *collector) done() map[string]*change {
	c.flush()
	for _, ch := range c.types {
		slices.Sort(ch.del)
		slices.Sort(ch.add)
	}
	return c.types
}

// of returns the part of sorted pairs that speaks of an entry.
func of(pairs []uint64, id uint32) []uint64 {
	lo, _ := slices.BinarySearch(pairs, pair(id, 0))
	hi, _ := slices.BinarySearch(pairs[lo:], uint64(id+1)<<32)
	return pairs[lo : lo+hi]
}

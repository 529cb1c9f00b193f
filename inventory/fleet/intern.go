package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Every distinct entry of a tenant has a number and is stored once, under three keys: its number by its hash, its canonical form by its number, and its number by its name. Numbers are
// taken from the store in blocks, so that no counter is touched by each report.

// numbers are blocks of ordinals and of entry numbers that this process may give.
type numbers struct{ ordinal, entry block }

type block struct{ next, end uint64 }

// dictionary caches numbers of entries. It is as old as gen: entries are only removed from the store with a new one.
type dictionary struct {
	gen uint64
	ids map[hash]uint32
}

// mostCached is how many numbers of entries are cached, of all tenants, of some 50 bytes each.
const mostCached = 1 << 20

const (
	ordinalBlock = 64
	entryBlock   = 1024
	// internAtOnce and internBytes bound a transaction that stores entries.
	internAtOnce = 1000
	internBytes  = 2 << 20
)

// fresh is an entry of a report.
type fresh struct {
	typ   string
	name  string // its value of the attribute Name, for the index of names
	canon []byte
	h     hash
	id    uint32
	made  bool // the entry was stored for this report
}

// marker returns the entry that stands for a type being reported at all, in a version; of the empty type, that the node has any inventory. Its canonical form is that of no real entry.
func marker(typ, version string) *fresh {
	canon := canonical(map[string]string{"": version})
	return &fresh{typ: typ, canon: canon, h: hashOf(typ, canon)}
}

func isMarker(canon string) bool { return len(canon) > 0 && canon[0] == 0 }

// take returns n numbers, which nobody else is given.
func (s *Service) take(ctx context.Context, tenant string, ordinal bool, n int) ([]uint32, error) {
	size := uint64(max(n, entryBlock))
	if ordinal {
		size = ordinalBlock
	}
	s.mu.Lock()
	if s.given[tenant] == nil {
		s.given[tenant] = &numbers{}
	}
	b := &s.given[tenant].entry
	if ordinal {
		b = &s.given[tenant].ordinal
	}
	var out []uint32
	for b.next < b.end && len(out) < n {
		out = append(out, uint32(b.next))
		b.next++
	}
	s.mu.Unlock()
	if len(out) == n {
		return out, nil
	}
	var got block
	err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		v, err := orZero(s.blocks.Get(ctx, tx, blocksKey(tenant)))
		if err != nil {
			return err
		}
		c := &v.Entry
		if ordinal {
			c = &v.Ordinal
		}
		if *c+size > math.MaxUint32 {
			return fault.New("fleet", fault.InternalServerError, "all numbers of this tenant's inventory have been given")
		}
		got = block{*c, *c + size}
		*c += size
		return s.blocks.Put(tx, blocksKey(tenant), v)
	})
	if err != nil {
		return nil, err
	}
	for len(out) < n {
		out = append(out, uint32(got.next))
		got.next++
	}
	s.mu.Lock()
	if b.next >= b.end {
		*b = got
	}
	s.mu.Unlock()
	return out, nil
}

func sweptKey(tenant string) key.K { return root(tenant).Str("swept") }

// sweep generation: how often entries were removed.
func (s *Service) sweptGen(ctx context.Context, r store.Reader, tenant string) (uint64, error) {
	b, err := s.get(ctx, r, sweptKey(tenant))
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, corrupt(sweptKey(tenant), "no number")
	}
	return binary.BigEndian.Uint64(b), nil
}

// intern gives every entry its number, storing those that are new. The numbers hold as long as gen is that of the store.
func (s *Service) intern(ctx context.Context, tenant string, entries []*fresh) (gen uint64, err error) {
	missing := s.cached(tenant, entries, &gen)
	took := len(missing) < len(entries)
	if len(missing) == 0 && took {
		return gen, nil
	}
	var found []uint32
	var now uint64
	lookup := func(ctx context.Context, r store.Reader, want []*fresh) (err error) {
		found = make([]uint32, len(want))
		if now, err = s.sweptGen(ctx, r, tenant); err != nil {
			return err
		}
		keys := make([][]byte, len(want))
		for i, f := range want {
			keys[i] = hashKey(tenant, f.h)
		}
		vals, err := r.GetMany(ctx, keys)
		if err != nil {
			return err
		}
		for i, v := range vals {
			if v == nil {
				continue
			}
			b, err := s.cfg.Codec.Open(keys[i], v)
			if err != nil {
				return err
			}
			if len(b) != 4 {
				return corrupt(keys[i], "no number of an entry")
			}
			found[i] = binary.BigEndian.Uint32(b) + 1
		}
		return nil
	}
	take := func(want []*fresh) (rest []*fresh) {
		for i, f := range want {
			if found[i] == 0 {
				rest = append(rest, f)
			} else {
				f.id = found[i] - 1
			}
		}
		return rest
	}
	var absent []*fresh
	first := true
	for len(missing) > 0 || first {
		part := missing[:min(len(missing), 2*internAtOnce)]
		missing = missing[len(part):]
		if err := s.view(ctx, func(ctx context.Context, r store.Reader) error { return lookup(ctx, r, part) }); err != nil {
			return 0, err
		}
		switch {
		case gen == now:
		case first && !took:
			gen = now
		default:
			s.forgetDictionary(tenant)
			return 0, errSwept
		}
		first = false
		absent = append(absent, take(part)...)
	}
	absent = unique(absent)
	for len(absent) > 0 {
		n, size := 0, 0
		for n < len(absent) && n < internAtOnce && (n == 0 || size+len(absent[n].canon) <= internBytes) {
			size += 2 * len(absent[n].canon)
			n++
		}
		part := absent[:n]
		absent = absent[n:]
		ids, err := s.take(ctx, tenant, false, n)
		if err != nil {
			return 0, err
		}
		err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := lookup(ctx, tx, part); err != nil {
				return err
			}
			for i, f := range part {
				if found[i] != 0 {
					continue
				}
				found[i] = ids[i] + 1
				b := binary.BigEndian.AppendUint32(nil, ids[i])
				if err := s.put(tx, hashKey(tenant, f.h), b); err != nil {
					return err
				}
				if err := s.put(tx, entriesKey(tenant, f.typ).Uint(uint64(ids[i])), f.canon); err != nil {
					return err
				}
				if f.name != "" {
					if err := s.put(tx, byNameKey(tenant, f.typ, f.name).Uint(uint64(ids[i])), nil); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		if now != gen {
			return 0, errSwept
		}
		take(part)
		for i, f := range part {
			f.made = f.id == ids[i]
		}
	}
	ids := map[hash]uint32{}
	s.mu.Lock()
	total := 0
	for _, d := range s.dict {
		total += len(d.ids)
	}
	if total > mostCached {
		clear(s.dict)
	}
	d := s.dict[tenant]
	if d == nil || d.gen != gen {
		d = &dictionary{gen: gen, ids: map[hash]uint32{}}
		s.dict[tenant] = d
	}
	for _, f := range entries {
		if id, ok := ids[f.h]; ok {
			f.id = id
		} else if f.id != unset {
			ids[f.h] = f.id
		}
	}
	for _, f := range entries {
		if f.id == unset {
			f.id = ids[f.h]
		}
		d.ids[f.h] = f.id
	}
	s.mu.Unlock()
	return gen, nil
}

// disown has entries that were stored for a report which was refused looked at by a later sweep, so that nobody can fill the store with what no node has.
func (s *Service) disown(ctx context.Context, tenant string, reports []*report) {
	var made []*fresh
	for _, r := range reports {
		for _, f := range r.entries {
			if f.made {
				made = append(made, f)
			}
		}
	}
	now := s.cfg.Now()
	for len(made) > 0 {
		part := made[:min(len(made), internAtOnce)]
		made = made[len(part):]
		err := s.cfg.Store.Update(context.WithoutCancel(ctx), func(ctx context.Context, tx store.Tx) error {
			for _, f := range part {
				if err := s.put(tx, deadKey(tenant).Time(now).Str(f.typ).Uint(uint64(f.id)), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.cfg.Log.Warn("entries of a refused report stay in the store", "entries", len(part), "error", err)
			return
		}
	}
}

// unset is the number of an entry that has none yet; it is never given.
const unset = math.MaxUint32

// cached fills in what the cache knows and returns the rest. Every entry without a number is unset afterwards.
func (s *Service) cached(tenant string, entries []*fresh, gen *uint64) (missing []*fresh) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dict[tenant]
	if d == nil {
		d = &dictionary{}
	}
	*gen = d.gen
	for _, f := range entries {
		id, ok := d.ids[f.h]
		if !ok {
			f.id = unset
			missing = append(missing, f)
			continue
		}
		f.id = id
	}
	return missing
}

// errSwept says that entries were removed meanwhile, so that numbers may be wrong: begin again.
var errSwept = errors.New("fleet: entries were removed meanwhile")

func (s *Service) forgetDictionary(tenant string) {
	s.mu.Lock()
	delete(s.dict, tenant)
	s.mu.Unlock()
}

// unique drops repeated entries, which get their number later.
func unique(entries []*fresh) []*fresh {
	seen := map[hash]bool{}
	out := entries[:0:0]
	for _, f := range entries {
		if !seen[f.h] {
			seen[f.h] = true
			out = append(out, f)
		}
	}
	return out
}

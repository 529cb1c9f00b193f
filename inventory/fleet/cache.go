package fleet

import (
	"context"
	"slices"

	"github.com/fleetwright/fleetwright/store"
)

// refresh brings the cached index of the tenant to the generation of the View, reading only what changed if the journal goes back far enough.
func (s *Service) refresh(ctx context.Context, q *snapshot) error {
	s.mu.Lock()
	idx := s.cache.tenants[q.tenant]
	s.mu.Unlock()
	if idx == nil {
		return nil
	}
	if idx.gen > q.gen || idx.swept > q.swept {
		return nil // the View is older than the cache: the store answers alone
	}
	if idx.swept < q.swept || q.gen-idx.gen >= journalKept {
		s.drop(q.tenant, idx)
		return nil
	}
	if idx.gen < q.gen {
		touched := map[string]map[uint32]bool{}
		n := 0
		rng := store.Range{Start: journalKey(q.tenant).Uint(idx.gen + 1), End: journalKey(q.tenant).Uint(q.gen + 1)}
		gens := idx.gen
		for it, err := range q.r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			gens++
			b, err := s.cfg.Codec.Open(it.Key, it.Value)
			if err != nil {
				return err
			}
			for len(b) > 0 {
				typ, rest, ok := readString(b)
				if !ok {
					return corrupt(it.Key, "no journal")
				}
				ids, rest, ok := readIDs(rest)
				if !ok {
					return corrupt(it.Key, "no journal")
				}
				b = rest
				if idx.types[typ] == nil {
					continue
				}
				if touched[typ] == nil {
					touched[typ] = map[uint32]bool{}
				}
				for _, id := range ids {
					touched[typ][id] = true
				}
				n += len(ids)
			}
		}
		if gens != q.gen || n > journalMost {
			s.drop(q.tenant, idx)
			return nil
		}
		next := &tenantIndex{gen: q.gen, swept: q.swept, types: map[string]*typeIndex{}}
		for typ, t := range idx.types {
			if touched[typ] != nil {
				var err error
				if t, err = s.reread(ctx, q, typ, t, touched[typ]); err != nil {
					return err
				}
			}
			next.types[typ] = t
		}
		s.adopt(q.tenant, next)
		idx = next
	}
	s.mu.Lock()
	idx.used = s.cfg.Now()
	s.mu.Unlock()
	q.index = idx
	return nil
}

// reread returns the index of a type with some entries read anew.
func (s *Service) reread(ctx context.Context, q *snapshot, typ string, t *typeIndex, ids map[uint32]bool) (*typeIndex, error) {
	want := make([]uint32, 0, len(ids))
	for id := range ids {
		want = append(want, id)
	}
	slices.Sort(want)
	var unknown []uint32
	fresh := make([]*entry, 0, len(want))
	for _, id := range want {
		if e, ok := t.find(id); ok {
			c := *e
			fresh = append(fresh, &c)
		} else {
			unknown = append(unknown, id)
		}
	}
	cols := t.cols
	if len(unknown) > 0 {
		cols = &columns{at: make(map[string]int, len(t.cols.at))}
		for k, v := range t.cols.at {
			cols.at[k] = v
		}
		more, err := q.entries(ctx, typ, unknown)
		if err != nil {
			return nil, err
		}
		for _, e := range more {
			if !e.split(cols) {
				return nil, corrupt(entriesKey(q.tenant, typ).Uint(uint64(e.id)), "no entry")
			}
		}
		fresh = append(fresh, more...)
		slices.SortFunc(fresh, func(a, b *entry) int { return int(int64(a.id) - int64(b.id)) })
	}
	out := &typeIndex{cols: cols, entries: make([]*entry, 0, len(t.entries)+len(unknown)), bytes: t.bytes}
	old := t.entries
	for _, e := range fresh {
		for len(old) > 0 && old[0].id < e.id {
			out.entries, old = append(out.entries, old[0]), old[1:]
		}
		if len(old) > 0 && old[0].id == e.id {
			out.bytes -= old[0].size()
			old = old[1:]
		}
		b, err := s.bitmap(ctx, q.r, q.tenant, typ, e.id)
		if err != nil {
			return nil, err
		}
		e.nodes, e.known = newNodeSet(b), true
		if !s.fits(out.bytes + e.size()) {
			e.nodes, e.known = nodeSet{}, false
		}
		out.bytes += e.size()
		out.entries = append(out.entries, e)
	}
	out.entries = append(out.entries, old...)
	return out, nil
}

func (s *Service) fits(bytes int64) bool { return bytes <= s.cfg.Cache }

// adopt makes an index that of its tenant unless a newer one is there, and drops what no longer fits, longest unused first.
func (s *Service) adopt(tenant string, idx *tenantIndex) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.cache.tenants[tenant]
	if old != nil && (old.gen > idx.gen || old.swept > idx.swept) {
		return
	}
	idx.used = s.cfg.Now()
	s.cache.tenants[tenant] = idx
	s.cache.bytes = 0
	for _, t := range s.cache.tenants {
		s.cache.bytes += t.size()
	}
	for s.cache.bytes > s.cfg.Cache {
		victim := ""
		for name, t := range s.cache.tenants {
			if name != tenant && (victim == "" || t.used.Before(s.cache.tenants[victim].used)) {
				victim = name
			}
		}
		if victim == "" {
			victim = tenant
		}
		s.cache.bytes -= s.cache.tenants[victim].size()
		delete(s.cache.tenants, victim)
	}
}

func (t *tenantIndex) size() (n int64) {
	for _, x := range t.types {
		n += x.bytes
	}
	return n
}

func (s *Service) drop(tenant string, idx *tenantIndex) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache.tenants[tenant] == idx {
		s.cache.bytes -= idx.size()
		delete(s.cache.tenants, tenant)
	}
}

// Cached returns about how many bytes of index are kept in memory.
func (s *Service) Cached() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cache.bytes
}

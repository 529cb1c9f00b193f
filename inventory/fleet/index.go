package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// entry is one distinct entry as queries see it.
type entry struct {
	id    uint32
	canon string
	cols  *columns // nil: vals is not filled
	vals  []string // by column, with the byte before the value; "" is absent
	nodes nodeSet
	known bool // nodes is filled
}

// columns numbers the attributes of a type.
type columns struct{ at map[string]int }

func (e *entry) get(attr string) (string, bool) {
	if e.cols == nil {
		var out string
		eachAttr(e.canon, func(k, v string) {
			if k == attr {
				out = v
			}
		})
		if out == "" {
			return "", false
		}
		return out[1:], true
	}
	return e.at(e.column(attr))
}

func (e *entry) column(attr string) int {
	if i, ok := e.cols.at[attr]; ok {
		return i
	}
	return -1
}

func (e *entry) at(i int) (string, bool) {
	if i < 0 || i >= len(e.vals) || e.vals[i] == "" {
		return "", false
	}
	return e.vals[i][1:], true
}

// split fills vals. The columns grow by attributes that they lack.
func (e *entry) split(c *columns) bool {
	e.cols = c
	e.vals = make([]string, len(c.at))
	return eachAttr(e.canon, func(k, v string) {
		i, ok := c.at[k]
		if !ok {
			i = len(c.at)
			c.at[k] = i
		}
		for len(e.vals) <= i {
			e.vals = append(e.vals, "")
		}
		e.vals[i] = v
	})
}

func (e *entry) size() int64 { return int64(len(e.canon)+16*cap(e.vals)) + 120 + e.nodes.size() }

// typeIndex is all entries of a type, markers included, by number. It is never changed; a refresh makes another.
type typeIndex struct {
	entries []*entry
	cols    *columns
	bytes   int64
}

func (t *typeIndex) find(id uint32) (*entry, bool) {
	i, ok := slices.BinarySearchFunc(t.entries, id, func(e *entry, id uint32) int { return int(int64(e.id) - int64(id)) })
	if !ok {
		return nil, false
	}
	return t.entries[i], true
}

// tenantIndex is what is cached of a tenant: as of one generation of its bitmaps.
type tenantIndex struct {
	gen   uint64
	swept uint64
	types map[string]*typeIndex
	used  time.Time
}

// cache holds the indexes of tenants. The service's mu guards it.
type cache struct {
	tenants map[string]*tenantIndex
	bytes   int64
}

// snapshot is one consistent state of a tenant's inventory, within one View.
type snapshot struct {
	s      *Service
	r      store.Reader
	tenant string
	index  *tenantIndex // nil if the cache has nothing of this generation
	gen    uint64
	swept  uint64
	load   bool // loading into the cache is allowed in this View

	tail map[string][]tailRecord // by type, in order
}

// errLoad asks for another View in which an index may be loaded.
var errLoad = errors.New("fleet: an index is to be loaded")

// query runs fn on a snapshot; more than once if an index is to be loaded first.
func (s *Service) query(ctx context.Context, tenant string, fn func(ctx context.Context, q *snapshot) error) error {
	run := func(load bool) error {
		return s.view(ctx, func(ctx context.Context, r store.Reader) error {
			q := &snapshot{s: s, r: r, tenant: tenant, load: load, tail: map[string][]tailRecord{}}
			f, err := orZero(s.folds.Get(ctx, r, foldKey(tenant)))
			if err != nil {
				return err
			}
			q.gen = f.Gen
			if q.swept, err = s.sweptGen(ctx, r, tenant); err != nil {
				return err
			}
			if err := s.refresh(ctx, q); err != nil {
				return err
			}
			return fn(ctx, q)
		})
	}
	err := run(false)
	if !errors.Is(err, errLoad) {
		return err
	}
	select {
	case s.loader <- struct{}{}:
		defer func() { <-s.loader }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return run(true)
}

// entries reads entries by number, in order of numbers; those that are gone are left out.
func (q *snapshot) entries(ctx context.Context, typ string, ids []uint32) ([]*entry, error) {
	out := make([]*entry, 0, len(ids))
	for len(ids) > 0 {
		part := ids[:min(len(ids), 1000)]
		ids = ids[len(part):]
		keys := make([][]byte, len(part))
		for i, id := range part {
			keys[i] = entriesKey(q.tenant, typ).Uint(uint64(id))
		}
		vals, err := q.r.GetMany(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, v := range vals {
			if v == nil {
				continue
			}
			b, err := q.s.cfg.Codec.Open(keys[i], v)
			if err != nil {
				return nil, err
			}
			out = append(out, &entry{id: part[i], canon: string(b)})
		}
	}
	return out, nil
}

// all returns every entry of a type: from the cache, or from the store, which fills the cache if it fits.
func (q *snapshot) all(ctx context.Context, typ string) (*typeIndex, error) {
	if q.index != nil && q.index.types[typ] != nil {
		return q.index.types[typ], nil
	}
	if q.s.cfg.Cache > 0 && !q.load {
		return nil, errLoad
	}
	t := &typeIndex{cols: &columns{at: map[string]int{}}}
	prefix := entriesKey(q.tenant, typ)
	for it, err := range q.r.Scan(ctx, prefix.Range()) {
		if err != nil {
			return nil, err
		}
		b, err := q.s.cfg.Codec.Open(it.Key, it.Value)
		if err != nil {
			return nil, err
		}
		id, ok := lastUint(it.Key)
		e := &entry{id: id, canon: string(b)}
		if !ok || !e.split(t.cols) {
			return nil, corrupt(it.Key, "no entry")
		}
		t.bytes += e.size()
		t.entries = append(t.entries, e)
	}
	if q.s.cfg.Cache <= 0 || t.bytes > q.s.cfg.Cache {
		return t, nil
	}
	base := int64(0)
	if q.index != nil {
		base = q.index.size()
	}
	if err := q.fill(ctx, typ, t, base); err != nil {
		return nil, err
	}
	next := &tenantIndex{gen: q.gen, swept: q.swept, types: map[string]*typeIndex{typ: t}}
	if q.index != nil && base+t.bytes <= q.s.cfg.Cache {
		for k, v := range q.index.types {
			next.types[k] = v
		}
	}
	q.s.adopt(q.tenant, next)
	q.index = next
	return t, nil
}

// fill reads the bitmaps of a type's entries into its index, as far as the cache has room.
func (q *snapshot) fill(ctx context.Context, typ string, t *typeIndex, base int64) error {
	i := 0
	var b *roaring.Bitmap
	full := false
	end := func() {
		if e := t.entries[i]; b != nil && !full {
			e.nodes = newNodeSet(b)
			if n := e.nodes.size(); base+t.bytes+n > q.s.cfg.Cache {
				e.nodes, full = nodeSet{}, true
			} else {
				t.bytes += n
			}
		}
		t.entries[i].known = !full
		i, b = i+1, nil
	}
	prefix := len(bitsKey(q.tenant, typ))
	for it, err := range q.r.Scan(ctx, bitsKey(q.tenant, typ).Range()) {
		if err != nil {
			return err
		}
		k := key.Read(it.Key[prefix:])
		id := uint32(k.Uint())
		for i < len(t.entries) && t.entries[i].id < id {
			end()
		}
		if full || i == len(t.entries) {
			return nil
		}
		if t.entries[i].id != id {
			continue // of an entry that is gone
		}
		if b == nil {
			b = roaring.New()
		}
		if err := q.s.addBits(b, it); err != nil {
			return err
		}
	}
	for i < len(t.entries) {
		end()
	}
	return nil
}

// byName returns the entries of a type whose attribute Name is one of the values, and perhaps more.
func (q *snapshot) byName(ctx context.Context, typ string, names []string) ([]*entry, error) {
	var ids []uint32
	for _, name := range names {
		for it, err := range q.r.Scan(ctx, byNameKey(q.tenant, typ, name).Range()) {
			if err != nil {
				return nil, err
			}
			id, ok := lastUint(it.Key)
			if !ok {
				return nil, corrupt(it.Key, "no number of an entry")
			}
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if q.index == nil || q.index.types[typ] == nil {
		return q.entries(ctx, typ, ids)
	}
	t := q.index.types[typ]
	var out []*entry
	var unknown []uint32
	for _, id := range ids {
		if e, ok := t.find(id); ok {
			out = append(out, e)
		} else {
			unknown = append(unknown, id)
		}
	}
	more, err := q.entries(ctx, typ, unknown)
	return append(out, more...), err
}

func lastUint(k []byte) (uint32, bool) {
	if len(k) < 9 || k[len(k)-9] != 0x03 {
		return 0, false
	}
	u := binary.BigEndian.Uint64(k[len(k)-8:])
	return uint32(u), u < unset
}

// records returns the tail of a type, read once for the snapshot.
func (q *snapshot) records(ctx context.Context, types ...string) error {
	wanted := map[string]bool{}
	for _, t := range types {
		if _, ok := q.tail[t]; !ok {
			wanted[t] = true
			q.tail[t] = nil
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	return q.s.scanTail(ctx, q.r, q.tenant, logKey(q.tenant).Range(), wanted, func(_ []byte, rec tailRecord) bool {
		if wanted[rec.typ] {
			q.tail[rec.typ] = append(q.tail[rec.typ], rec)
		}
		return true
	})
}

// changes returns what the tail says of some entries of a type.
func (q *snapshot) changes(typ string, keep func(id uint32) bool) *change {
	c := collector{types: map[string]*change{}, keep: func(_ string, id uint32) bool { return keep(id) }}
	for _, rec := range q.tail[typ] {
		c.add(rec)
	}
	if ch := c.done()[typ]; ch != nil {
		return ch
	}
	return &change{}
}

// folded returns the folded set of nodes of an entry.
func (q *snapshot) folded(ctx context.Context, typ string, e *entry) (nodeSet, error) {
	if e.known {
		return e.nodes, nil
	}
	b, err := q.s.bitmap(ctx, q.r, q.tenant, typ, e.id)
	if err != nil {
		return nodeSet{}, err
	}
	return newNodeSet(b), nil
}

// nodes returns the set of nodes that have the entry now, tail included. It is not to be changed.
func (q *snapshot) nodes(ctx context.Context, typ string, e *entry, tail *change) (nodeSet, error) {
	n, err := q.folded(ctx, typ, e)
	if err != nil {
		return n, err
	}
	del, add := of(tail.del, e.id), of(tail.add, e.id)
	if len(del)+len(add) == 0 {
		return n, nil
	}
	var b *roaring.Bitmap
	if n.bm != nil {
		b = n.bm.Clone()
	} else {
		b = roaring.BitmapOf(n.few...)
	}
	for _, p := range del {
		b.Remove(uint32(p))
	}
	b.AddMany(ordinals(add))
	return newNodeSet(b), nil
}

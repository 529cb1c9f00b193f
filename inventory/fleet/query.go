package fleet

import (
	"context"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/store/key"
)

// Filters mean what inventory.MatchNode says: those of one type speak of one entry, those of different types of the node. Beyond it:
//
//   - TypeName with Exists, as AWS writes it, selects the nodes that reported one of the types named by the values, if only an empty list; a type alone as the key of Exists likewise.
//   - AWS:InstanceInformation.InstanceId is the node's id, also of a node that never reported that type.

// cond is one filter on an attribute.
type cond struct {
	attr   string
	op     inventory.Operator
	values []string
}

// typeQuery is the filters on one type.
type typeQuery struct {
	typ   string
	conds []cond
}

// exists is a filter on TypeName.
type exists struct {
	types []string
	not   bool
}

// selection is what filters ask for.
type selection struct {
	types  []typeQuery
	exists []exists
	ids    []cond
}

func (s *selection) empty() bool { return len(s.types)+len(s.exists)+len(s.ids) == 0 }

// of returns the filters on a type; none if there are none.
func (s *selection) of(typ string) typeQuery {
	for _, t := range s.types {
		if t.typ == typ {
			return t
		}
	}
	return typeQuery{typ: typ}
}

const (
	instanceInformation = inventory.InstanceInformation
	instanceID          = "InstanceId"
	typeName            = "TypeName"
)

// parseFilters checks filters by AWS's rules (IN5). aggregating says that Exists is allowed.
func (s *Service) parseFilters(op string, filters []inventory.Filter, aggregating bool) (out selection, err error) {
	checked := slices.Clone(filters)
	for i, f := range filters {
		if f.Key != typeName {
			continue
		}
		switch {
		case f.Type != inventory.Exists && f.Type != inventory.Equal && f.Type != inventory.NotEqual && f.Type != "":
			return out, fault.New(op, fault.InvalidFilter, "filter %d: TypeName goes with Exists", i+1)
		case len(f.Values) == 0:
			return out, fault.New(op, fault.InvalidFilter, "filter %d: it has no values: give the names of types", i+1)
		}
		for _, v := range f.Values {
			if err := s.cfg.Limits.ValidTypeName(v); err != nil {
				return out, fault.New(op, fault.InvalidFilter, "filter %d: %w", i+1, err)
			}
		}
		checked[i].Key = instanceInformation
	}
	if err := s.cfg.Limits.ValidateFilters(checked, aggregating, nil); err != nil {
		return out, fault.Wrap(op, err)
	}
	for _, f := range filters {
		if f.Key == typeName {
			out.exists = append(out.exists, exists{f.Values, f.Type == inventory.NotEqual})
			continue
		}
		typ, attr := f.Split()
		if attr == "" {
			out.exists = append(out.exists, exists{[]string{typ}, false})
			continue
		}
		c := cond{attr, f.Type, f.Values}
		if typ == instanceInformation && attr == instanceID {
			out.ids = append(out.ids, c)
			continue
		}
		at := slices.IndexFunc(out.types, func(q typeQuery) bool { return q.typ == typ })
		if at < 0 {
			at = len(out.types)
			out.types = append(out.types, typeQuery{typ: typ})
		}
		out.types[at].conds = append(out.types[at].conds, c)
	}
	for _, t := range out.types { // orders are the dearest
		slices.SortStableFunc(t.conds, func(a, b cond) int { return rank(a.op) - rank(b.op) })
	}
	return out, nil
}

func rank(op inventory.Operator) int {
	switch op {
	case inventory.Equal, "":
		return 0
	case inventory.LessThan, inventory.GreaterThan:
		return 2
	}
	return 1
}

// meets says whether an entry meets a filter, as inventory.Filter.Match does.
func (c *cond) meets(order inventory.Order, e *entry) bool {
	v, ok := e.get(c.attr)
	switch c.op {
	case inventory.Exists:
		return v != ""
	case inventory.Equal, "":
		return slices.Contains(c.values, v)
	case inventory.NotEqual:
		return !slices.Contains(c.values, v)
	case inventory.BeginWith:
		return slices.ContainsFunc(c.values, func(w string) bool { return strings.HasPrefix(v, w) })
	}
	if !ok {
		return false
	}
	all, _ := attributes(e.canon)
	for _, w := range c.values {
		n := order(all, c.attr, w)
		if c.op == inventory.LessThan && n < 0 || c.op == inventory.GreaterThan && n > 0 {
			return true
		}
	}
	return false
}

func (t *typeQuery) meets(order inventory.Order, e *entry) bool {
	if isMarker(e.canon) {
		return false
	}
	for i := range t.conds {
		if !t.conds[i].meets(order, e) {
			return false
		}
	}
	return true
}

// names returns the names that an entry must have one of; nil if filters do not say.
func (t *typeQuery) names() []string {
	for _, c := range t.conds {
		if c.attr == nameAttribute && (c.op == inventory.Equal || c.op == "") && !slices.Contains(c.values, "") {
			return c.values
		}
	}
	return nil
}

// nameAttribute is the attribute by which entries are indexed.
const nameAttribute = "Name"

// bitset is a set of numbers of entries.
type bitset []uint64

func (b *bitset) add(id uint32) {
	for len(*b) <= int(id/64) {
		*b = append(*b, make([]uint64, 1+int(id/64)-len(*b))...)
	}
	(*b)[id/64] |= 1 << (id % 64)
}

func (b bitset) has(id uint32) bool { return int(id/64) < len(b) && b[id/64]>>(id%64)&1 == 1 }

// matches returns the entries that meet the filters on a type, and what the tail says of them. markers asks for the markers of the type instead.
func (q *snapshot) matches(ctx context.Context, t typeQuery, markers bool) ([]*entry, *change, error) {
	if err := q.records(ctx, t.typ); err != nil {
		return nil, nil, err
	}
	meets := func(e *entry) bool {
		if markers {
			return isMarker(e.canon)
		}
		return t.meets(q.s.cfg.Order, e)
	}
	var found []*entry
	if names := t.names(); names != nil && !markers {
		all, err := q.byName(ctx, t.typ, names)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range all {
			if meets(e) {
				found = append(found, e)
			}
		}
	} else {
		idx, err := q.all(ctx, t.typ)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range idx.entries {
			if meets(e) {
				found = append(found, e)
			}
		}
		var unknown bitset
		var ids []uint32
		last := uint32(0)
		if n := len(idx.entries); n > 0 {
			last = idx.entries[n-1].id
		}
		for _, rec := range q.tail[t.typ] {
			for _, id := range rec.add {
				if unknown.has(id) {
					continue
				}
				if id <= last {
					if _, ok := idx.find(id); ok {
						continue
					}
				}
				unknown.add(id)
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		more, err := q.entries(ctx, t.typ, ids)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range more {
			if meets(e) {
				found = append(found, e)
			}
		}
	}
	var set bitset
	for _, e := range found {
		set.add(e.id)
	}
	return found, q.changes(t.typ, set.has), nil
}

// have returns the nodes that have one of the entries.
func (q *snapshot) have(ctx context.Context, typ string, entries []*entry, tail *change) (*roaring.Bitmap, error) {
	var g gather
	for _, e := range entries {
		n, err := q.nodes(ctx, typ, e, tail)
		if err != nil {
			return nil, err
		}
		g.add(n)
	}
	return g.union(), nil
}

func (q *snapshot) matching(ctx context.Context, t typeQuery, markers bool) (*roaring.Bitmap, error) {
	entries, tail, err := q.matches(ctx, t, markers)
	if err != nil {
		return nil, err
	}
	return q.have(ctx, t.typ, entries, tail)
}

// everyone returns all nodes that have inventory.
func (q *snapshot) everyone(ctx context.Context) (*roaring.Bitmap, error) {
	return q.matching(ctx, typeQuery{}, true)
}

// selected returns the nodes that meet a selection. The set is the caller's.
func (q *snapshot) selected(ctx context.Context, sel *selection) (*roaring.Bitmap, error) {
	var out *roaring.Bitmap
	and := func(b *roaring.Bitmap, err error) error {
		if err != nil {
			return err
		}
		if out == nil {
			out = b
		} else {
			out.And(b)
		}
		return nil
	}
	for _, c := range sel.ids {
		if err := and(q.byID(ctx, c)); err != nil {
			return nil, err
		}
	}
	for _, t := range sel.types {
		if err := and(q.matching(ctx, t, false)); err != nil {
			return nil, err
		}
	}
	for _, x := range sel.exists {
		b := roaring.New()
		for _, typ := range x.types {
			one, err := q.matching(ctx, typeQuery{typ: typ}, true)
			if err != nil {
				return nil, err
			}
			b.Or(one)
		}
		if x.not {
			all, err := q.everyone(ctx)
			if err != nil {
				return nil, err
			}
			all.AndNot(b)
			b = all
		}
		if err := and(b, nil); err != nil {
			return nil, err
		}
	}
	if out == nil {
		return q.everyone(ctx)
	}
	return out, nil
}

// byID returns the nodes whose id meets a filter.
func (q *snapshot) byID(ctx context.Context, c cond) (*roaring.Bitmap, error) {
	out := roaring.New()
	if c.op == inventory.Equal || c.op == "" {
		keys := make([][]byte, len(c.values))
		for i, v := range c.values {
			keys[i] = nodeKey(q.tenant, clipName(v))
		}
		heads, err := q.s.heads.GetMany(ctx, q.r, keys)
		if err != nil {
			return nil, err
		}
		for _, h := range heads {
			if h != nil {
				out.Add(h.Ordinal)
			}
		}
		return out, nil
	}
	prefix := len(ordinalsKey(q.tenant))
	for it, err := range q.r.Scan(ctx, ordinalsKey(q.tenant).Range()) {
		if err != nil {
			return nil, err
		}
		b, err := q.s.cfg.Codec.Open(it.Key, it.Value)
		if err != nil {
			return nil, err
		}
		k := key.Read(it.Key[prefix:])
		o := uint32(k.Uint())
		id := string(b)
		e := &entry{canon: string(canonical(map[string]string{instanceID: id}))}
		if c.meets(q.s.cfg.Order, e) {
			out.Add(o)
		}
	}
	return out, nil
}

// ids returns the ids of nodes by their ordinals; "" of one that is gone.
func (q *snapshot) ids(ctx context.Context, ords []uint32) ([]string, error) {
	keys := make([][]byte, len(ords))
	for i, o := range ords {
		keys[i] = ordinalsKey(q.tenant).Uint(uint64(o))
	}
	if len(keys) == 0 {
		return nil, nil
	}
	vals, err := q.r.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(ords))
	for i, v := range vals {
		if v == nil {
			continue
		}
		b, err := q.s.cfg.Codec.Open(keys[i], v)
		if err != nil {
			return nil, err
		}
		out[i] = string(b)
	}
	return out, nil
}

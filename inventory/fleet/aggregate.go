package fleet

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/store/paging"
)

// mostRows is how many rows of counts an answer has; more are refused, because nobody can read them.
const mostRows = 100_000

// path is a chain of nested expressions: its rows are the combinations of their values.
type path []struct{ typ, attr string }

// paths returns the chains of an aggregator, from the outermost expression to each innermost one.
func paths(list []inventory.Aggregator, before path) (out []path) {
	for _, a := range list {
		if a.Expression == "" {
			continue
		}
		typ, attr := inventory.SplitKey(a.Expression)
		p := append(slices.Clone(before), struct{ typ, attr string }{typ, attr})
		inner := paths(a.Aggregators, p)
		if len(inner) == 0 {
			inner = []path{p}
		}
		out = append(out, inner...)
	}
	return out
}

func groups(list []inventory.Aggregator) (out []inventory.Group) {
	for _, a := range list {
		out = append(append(out, a.Groups...), groups(a.Aggregators)...)
	}
	return out
}

func (s *Service) aggregate(ctx context.Context, op, action, tenant string, sel *selection, list []inventory.Aggregator, mark, after string) (out GetInventoryResult, err error) {
	if after != "" {
		return out, paging.Bad(op) // counts come in one page
	}
	plain, special, err := s.checkAggregators(op, list)
	if err != nil {
		return out, err
	}
	seen, err := s.visible(ctx, op, action, tenant)
	if err != nil {
		return out, err
	}
	var data map[string]ResultItem
	err = s.query(ctx, tenant, func(ctx context.Context, q *snapshot) error {
		data = map[string]ResultItem{}
		var chosen *roaring.Bitmap // nil: all nodes
		if !sel.empty() {
			var err error
			if chosen, err = q.selected(ctx, sel); err != nil {
				return err
			}
		}
		if seen != nil {
			if chosen == nil {
				chosen = seen
			} else {
				chosen.And(seen)
			}
		}
		rows := 0
		for _, p := range paths(plain, nil) {
			content, err := q.count(ctx, op, sel, chosen, p, mostRows-rows)
			if err != nil {
				return err
			}
			rows += len(content)
			it := data[p[0].typ]
			it.TypeName = p[0].typ
			it.Content = append(it.Content, content...)
			data[p[0].typ] = it
		}
		for i, g := range groups(list) {
			set, err := q.selected(ctx, &special[i])
			if err != nil {
				return err
			}
			all := chosen
			if all == nil {
				if all, err = q.everyone(ctx); err != nil {
					return err
				}
			}
			n := set.AndCardinality(all)
			data[g.Name] = ResultItem{Content: []inventory.Entry{{"notMatchingCount": count(all.GetCardinality() - n)}, {"matchingCount": count(n)}}}
		}
		return nil
	})
	if err != nil {
		return GetInventoryResult{}, storeFault(op, err)
	}
	return GetInventoryResult{Entities: []Entity{{Data: data}}}, nil
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// checkAggregators checks aggregators and the filters of their groups, which TypeName may stand in.
func (s *Service) checkAggregators(op string, list []inventory.Aggregator) (plain []inventory.Aggregator, special []selection, err error) {
	names := map[string]bool{}
	for _, g := range groups(list) {
		sel, err := s.parseFilters(op, g.Filters, true)
		if err != nil {
			return nil, nil, err
		}
		special = append(special, sel)
		if names[g.Name] {
			return nil, nil, fault.New(op, inventory.InvalidGroup, "two groups have the name %q", fault.Clean(g.Name))
		}
		names[g.Name] = true
	}
	if err := s.cfg.Limits.ValidateAggregators(withoutTypeName(list), nil); err != nil {
		return nil, nil, fault.Wrap(op, err)
	}
	return list, special, nil
}

// withoutTypeName returns the aggregators with TypeName, which is no attribute, replaced in the filters of groups.
func withoutTypeName(list []inventory.Aggregator) []inventory.Aggregator {
	out := slices.Clone(list)
	for i := range out {
		out[i].Aggregators = withoutTypeName(out[i].Aggregators)
		out[i].Groups = slices.Clone(out[i].Groups)
		for j := range out[i].Groups {
			out[i].Groups[j].Filters = slices.Clone(out[i].Groups[j].Filters)
			for k, f := range out[i].Groups[j].Filters {
				if f.Key == typeName {
					out[i].Groups[j].Filters[k].Key = inventory.InstanceInformation
				}
			}
		}
	}
	return out
}

// tuple is the values of one type's attributes in a row.
type tuple struct {
	values []string
	first  *entry // the only one so far
	set    gather
}

// count makes the rows of a path.
func (q *snapshot) count(ctx context.Context, op string, sel *selection, chosen *roaring.Bitmap, p path, most int) ([]inventory.Entry, error) {
	var types []string
	attrs := map[string][]string{}
	names := make([]string, len(p)) // of the rows' columns
	used := map[string]bool{}
	for i, x := range p {
		if !slices.Contains(types, x.typ) {
			types = append(types, x.typ)
		}
		if !slices.Contains(attrs[x.typ], x.attr) {
			attrs[x.typ] = append(attrs[x.typ], x.attr)
		}
		if names[i] = x.attr; used[x.attr] || x.attr == "Count" {
			names[i] = x.typ + "." + x.attr
		}
		used[x.attr] = true
	}
	type partial struct {
		values map[string][]string // by type
		set    *roaring.Bitmap     // nil: all nodes
		n      uint64
	}
	rows := []partial{{values: map[string][]string{}, set: chosen}}
	for _, typ := range types {
		entries, tail, err := q.matches(ctx, sel.of(typ), false)
		if err != nil {
			return nil, err
		}
		tuples := map[string]*tuple{}
		var buf []byte
		cols := make([]int, len(attrs[typ]))
		var of *columns
		for _, e := range entries {
			if e.cols != of {
				if of = e.cols; of != nil {
					for i, a := range attrs[typ] {
						cols[i] = e.column(a)
					}
				}
			}
			buf = buf[:0]
			for i, a := range attrs[typ] {
				var v string
				if of != nil {
					v, _ = e.at(cols[i])
				} else {
					v, _ = e.get(a)
				}
				buf = appendString(buf, v)
			}
			t := tuples[string(buf)]
			if t == nil {
				t = &tuple{first: e, values: make([]string, len(cols))}
				for i, a := range attrs[typ] {
					t.values[i], _ = e.get(a)
				}
				tuples[string(buf)] = t
			}
			n, err := q.nodes(ctx, typ, e, tail)
			if err != nil {
				return nil, err
			}
			t.set.add(n)
		}
		var next []partial
		for _, t := range tuples {
			if len(types) == 1 && chosen == nil { // nothing to intersect: a number is enough
				if n := t.set.count(); n > 0 {
					next = append(next, partial{values: map[string][]string{typ: t.values}, n: n})
				}
				continue
			}
			var set *roaring.Bitmap
			if len(t.set.bms) == 1 && len(t.set.few) == 0 {
				set = t.set.bms[0]
			} else {
				set = t.set.union()
			}
			for _, r := range rows {
				both := set
				if r.set != nil {
					both = roaring.And(set, r.set)
				}
				if both.IsEmpty() {
					continue
				}
				if len(next) > most {
					break
				}
				values := map[string][]string{typ: t.values}
				for k, v := range r.values {
					values[k] = v
				}
				next = append(next, partial{values: values, set: both, n: both.GetCardinality()})
			}
		}
		if rows = next; len(rows) > most {
			return nil, fault.New(op, inventory.InvalidAggregator, "the answer would have more than %d rows: give filters, or fewer expressions", mostRows)
		}
	}
	keys := make([][]string, len(rows))
	order := make([]int, len(rows))
	for i, r := range rows {
		order[i] = i
		keys[i] = make([]string, len(p))
		for j, x := range p {
			keys[i][j] = r.values[x.typ][slices.Index(attrs[x.typ], x.attr)]
		}
	}
	slices.SortFunc(order, func(a, b int) int { return slices.CompareFunc(keys[a], keys[b], strings.Compare) })
	out := make([]inventory.Entry, 0, len(rows))
	for _, i := range order {
		e := make(inventory.Entry, len(p)+1)
		for j, n := range names {
			e[n] = keys[i][j]
		}
		e["Count"] = count(rows[i].n)
		out = append(out, e)
	}
	return out, nil
}

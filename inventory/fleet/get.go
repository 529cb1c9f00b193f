package fleet

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

// GetInventory asks the inventory of the whole fleet.
//
// Without aggregators it returns a page of the nodes that meet all filters, in the order in which they first reported, each with what it has of the types of ResultAttributes
// (AWS:InstanceInformation if none are given). It needs ssm:GetInventory on each node; others are left out, and who sees nothing and may not ask for "node/*" is refused. A page is full unless it is the last. A
// token goes on after the last node of its page, whatever was reported since.
//
// With aggregators it returns one entity without an Id. Its Data has for the type of each expression a row for each value, with the number of nodes as Count; nested aggregators, of other
// types too, split the rows. Of a type that filters speak of, only entries that meet them are counted. For each group it has two rows, notMatchingCount and matchingCount, of the nodes that meet
// the filters. Who may ask for "node/*" is told numbers of all nodes; for others only nodes that they may see are counted.
//
// Errors: InvalidFilter, InvalidAggregatorException, InvalidInventoryGroupException, InvalidResultAttributeException, InvalidNextToken, ValidationException.
func (s *Service) GetInventory(ctx context.Context, req GetInventoryRequest) (out GetInventoryResult, err error) {
	const op, action = "fleet.GetInventory", "ssm:GetInventory"
	defer func() { s.audited(ctx, action, "node/*", err) }()
	limit, err := results(op, req.MaxResults, 1, mostPage, mostPage)
	if err != nil {
		return out, err
	}
	sel, err := s.parseFilters(op, req.Filters, len(req.Aggregators) > 0)
	if err != nil {
		return out, err
	}
	tenant := access.Tenant(ctx)
	mark := paging.Mark(op, tenant, []any{req.Filters, req.Aggregators, req.ResultAttributes})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	if len(req.Aggregators) > 0 {
		return s.aggregate(ctx, op, action, tenant, &sel, req.Aggregators, mark, after)
	}
	types := []string{inventory.InstanceInformation}
	if len(req.ResultAttributes) > 0 {
		types = nil
		for _, a := range req.ResultAttributes {
			if err := s.cfg.Limits.ValidTypeName(a.TypeName); err != nil {
				return out, fault.New(op, inventory.InvalidResultAttribute, "%w", err)
			}
			types = append(types, a.TypeName)
		}
	}
	from := uint64(0)
	if after != "" {
		if len(after) != 8 {
			return out, paging.Bad(op)
		}
		from = binary.BigEndian.Uint64([]byte(after)) + 1
	}
	out.Entities = []Entity{}
	type candidate struct {
		ordinal uint32
		Entity
	}
	for more := true; more; {
		var page []candidate
		want := limit - len(out.Entities) + 1
		err := s.query(ctx, tenant, func(ctx context.Context, q *snapshot) error {
			page = nil
			set, err := q.selected(ctx, &sel)
			if err != nil {
				return err
			}
			var ords []uint32
			for it := after64(set, from); it.HasNext() && len(ords) < want; {
				ords = append(ords, it.Next())
			}
			ids, err := q.ids(ctx, ords)
			if err != nil {
				return err
			}
			for i, id := range ids {
				if id == "" {
					return corrupt(ordinalsKey(tenant).Uint(uint64(ords[i])), "a node without its id")
				}
				c := candidate{ords[i], Entity{ID: id, Data: map[string]ResultItem{}}}
				h, err := s.heads.Get(ctx, q.r, nodeKey(tenant, id))
				if err != nil {
					return err
				}
				for _, typ := range types {
					if it, ok := h.Items[typ]; ok {
						if c.Data[typ], err = q.item(ctx, id, typ, it); err != nil {
							return err
						}
					}
				}
				page = append(page, c)
			}
			return nil
		})
		if err != nil {
			return GetInventoryResult{}, storeFault(op, err)
		}
		more = len(page) == want
		names := make([]string, len(page))
		for i := range page {
			names[i] = page[i].ID
		}
		tags, err := s.tagsOf(ctx, op, tenant, names...)
		if err != nil {
			return GetInventoryResult{}, err
		}
		for _, c := range page {
			if access.Check(ctx, s.cfg.Authorizer, action, "node/"+c.ID, tags[c.ID]) != nil {
				from = uint64(c.ordinal) + 1
				continue
			}
			if len(out.Entities) == limit {
				out.NextToken = paging.Token(mark, string(binary.BigEndian.AppendUint64(nil, from-1)))
				return out, nil
			}
			out.Entities = append(out.Entities, c.Entity)
			from = uint64(c.ordinal) + 1
		}
	}
	if len(out.Entities) == 0 && req.NextToken == "" {
		if err := access.Check(ctx, s.cfg.Authorizer, action, "node/*", nil); err != nil {
			return GetInventoryResult{}, fault.Wrap(op, err)
		}
	}
	return out, nil
}

// after64 iterates over a set from an ordinal on.
func after64(set *roaring.Bitmap, from uint64) roaring.IntPeekable {
	it := set.Iterator()
	if from > 0 {
		if from >= unset {
			return roaring.New().Iterator()
		}
		it.AdvanceIfNeeded(uint32(from))
	}
	return it
}

// item returns what a node has of a type.
func (q *snapshot) item(ctx context.Context, node, typ string, it item) (out ResultItem, err error) {
	have, err := q.s.items(ctx, q.r, q.tenant, node, typ)
	if err != nil {
		return out, err
	}
	out = ResultItem{TypeName: typ, SchemaVersion: it.Version, CaptureTime: it.Captured, ContentHash: it.Hash}
	out.Content, err = q.content(ctx, typ, have.ids)
	return out, err
}

// GetNodeInventory returns all that one node has, of the types given or of all, in one consistent state: what an export needs. AWS does not have it. It needs ssm:ListInventoryEntries on the node. A node that
// never reported has no data. Errors: InvalidInstanceId, InvalidTypeNameException.
func (s *Service) GetNodeInventory(ctx context.Context, node string, types ...string) (out Entity, err error) {
	const op, action = "fleet.GetNodeInventory", "ssm:ListInventoryEntries"
	defer func() { s.audited(ctx, action, "node/"+clip(node), err) }()
	tenant := access.Tenant(ctx)
	for _, typ := range types {
		if err := s.cfg.Limits.ValidTypeName(typ); err != nil {
			return out, fault.Wrap(op, err)
		}
	}
	if err := s.mayTouch(ctx, op, action, tenant, node); err != nil {
		return out, err
	}
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		out = Entity{ID: node, Data: map[string]ResultItem{}}
		h, err := orZero(s.heads.Get(ctx, r, nodeKey(tenant, node)))
		if err != nil {
			return err
		}
		q := &snapshot{s: s, r: r, tenant: tenant}
		for typ, it := range h.Items {
			if len(types) > 0 && !slices.Contains(types, typ) {
				continue
			}
			if out.Data[typ], err = q.item(ctx, node, typ, it); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Entity{}, storeFault(op, err)
	}
	return out, nil
}

// ListInventoryEntries returns a page of what a node has of a type, in order of inventory.Entry.Compare. It needs ssm:ListInventoryEntries on the node. Filters' keys are attributes, with or without the
// type before. A node that never reported the type has no entries. Errors: InvalidInstanceId, InvalidTypeNameException, InvalidFilter, InvalidNextToken, ValidationException.
func (s *Service) ListInventoryEntries(ctx context.Context, req ListInventoryEntriesRequest) (out ListInventoryEntriesResult, err error) {
	const op, action = "fleet.ListInventoryEntries", "ssm:ListInventoryEntries"
	defer func() { s.audited(ctx, action, "node/"+clip(req.InstanceID), err) }()
	tenant := access.Tenant(ctx)
	limit, err := results(op, req.MaxResults, 1, mostPage, mostPage)
	if err != nil {
		return out, err
	}
	if err := s.cfg.Limits.ValidTypeName(req.TypeName); err != nil {
		return out, fault.Wrap(op, err)
	}
	filters := slices.Clone(req.Filters)
	for i := range filters {
		if !strings.HasPrefix(filters[i].Key, req.TypeName+".") {
			filters[i].Key = req.TypeName + "." + filters[i].Key
		}
	}
	if err := s.cfg.Limits.ValidateFilters(filters, false, nil); err != nil {
		return out, fault.Wrap(op, err)
	}
	if err := s.mayTouch(ctx, op, action, tenant, req.InstanceID); err != nil {
		return out, err
	}
	mark := paging.Mark(op, tenant, []any{req.InstanceID, req.TypeName, req.Filters})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		out = ListInventoryEntriesResult{TypeName: req.TypeName, InstanceID: req.InstanceID, Entries: []inventory.Entry{}}
		h, err := orZero(s.heads.Get(ctx, r, nodeKey(tenant, req.InstanceID)))
		if err != nil {
			return err
		}
		it, ok := h.Items[req.TypeName]
		if !ok {
			return nil
		}
		q := &snapshot{s: s, r: r, tenant: tenant}
		// a page goes on after an entry, whether or not the node still has it
		var last inventory.Entry
		if after != "" {
			if len(after) != 4 {
				return paging.Bad(op)
			}
			at, err := q.content(ctx, req.TypeName, []uint32{binary.BigEndian.Uint32([]byte(after))})
			if err != nil {
				return err
			}
			if len(at) != 1 {
				return paging.Bad(op)
			}
			last = at[0]
		}
		have, err := s.items(ctx, r, tenant, req.InstanceID, req.TypeName)
		if err != nil {
			return err
		}
		all, err := q.rows(ctx, req.TypeName, have.ids)
		if err != nil {
			return err
		}
		out.SchemaVersion, out.CaptureTime = it.Version, it.Captured
		id := uint32(0)
	entries:
		for _, e := range all {
			if last != nil && e.Compare(last) <= 0 {
				continue
			}
			for _, f := range filters {
				if !f.Match(e.Entry, s.cfg.Order) {
					continue entries
				}
			}
			if len(out.Entries) == limit {
				out.NextToken = paging.Token(mark, string(binary.BigEndian.AppendUint32(nil, id)))
				return nil
			}
			out.Entries, id = append(out.Entries, e.Entry), e.id
		}
		return nil
	})
	if err != nil {
		return ListInventoryEntriesResult{}, storeFault(op, err)
	}
	return out, nil
}

// GetInventorySchema returns a page of the types whose names begin with TypeName, AWS's and those that nodes reported, by name, with their attributes. It needs ssm:GetInventorySchema.
// Aggregator asks for what AWS aggregates by only. Errors: InvalidTypeNameException, InvalidNextToken, ValidationException.
func (s *Service) GetInventorySchema(ctx context.Context, req GetInventorySchemaRequest) (out GetInventorySchemaResult, err error) {
	const op, action = "fleet.GetInventorySchema", "ssm:GetInventorySchema"
	defer func() { s.audited(ctx, action, "*", err) }()
	tenant := access.Tenant(ctx)
	limit, err := results(op, req.MaxResults, 50, 200, 50)
	if err != nil {
		return out, err
	}
	if len(req.TypeName) > 100 {
		return out, fault.New(op, inventory.InvalidTypeName, "the type name has %d characters; it may have 100", len(req.TypeName))
	}
	if err := access.Check(ctx, s.cfg.Authorizer, action, "*", nil); err != nil {
		return out, fault.Wrap(op, err)
	}
	mark := paging.Mark(op, tenant, []any{req.TypeName, req.Aggregator, req.SubType})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	all := inventory.Schemas()
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		all = inventory.Schemas()
		for e, err := range s.types.Scan(ctx, r, typesKey(tenant).Range()) {
			if err != nil {
				return err
			}
			if e.Value.Schema == nil {
				continue
			}
			for i := range e.Value.Schema.Attributes {
				e.Value.Schema.Attributes[i].Aggregatable = true
			}
			all = append(all, *e.Value.Schema)
		}
		return nil
	})
	if err != nil {
		return out, storeFault(op, err)
	}
	slices.SortFunc(all, func(a, b inventory.Schema) int { return strings.Compare(a.TypeName, b.TypeName) })
	out.Schemas = []inventory.Schema{}
	for _, x := range all {
		if !strings.HasPrefix(x.TypeName, req.TypeName) || x.TypeName <= after {
			continue
		}
		if req.Aggregator {
			x.Attributes = slices.DeleteFunc(x.Attributes, func(a inventory.Attribute) bool { return !a.Aggregatable })
			if len(x.Attributes) == 0 {
				continue
			}
		}
		if len(out.Schemas) == limit {
			out.NextToken = paging.Token(mark, out.Schemas[limit-1].TypeName)
			break
		}
		out.Schemas = append(out.Schemas, x)
	}
	return out, nil
}

func results(op string, n, least, most, usual int) (int, error) {
	switch {
	case n == 0:
		return usual, nil
	case n < least || n > most:
		return 0, fault.New(op, fault.Validation, "MaxResults is %d; it must be %d to %d", n, least, most)
	}
	return n, nil
}

// visible returns the nodes that a caller may see; nil if all.
func (s *Service) visible(ctx context.Context, op, action, tenant string) (*roaring.Bitmap, error) {
	if access.Check(ctx, s.cfg.Authorizer, action, "node/*", nil) == nil {
		return nil, nil
	}
	out := roaring.New()
	prefix := ordinalsKey(tenant)
	rng := prefix.Range()
	for {
		rng.Limit = 2000
		var ords []uint32
		var ids []string
		var last []byte
		err := s.view(ctx, func(ctx context.Context, r store.Reader) error {
			ords, ids = nil, nil
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				b, err := s.cfg.Codec.Open(it.Key, it.Value)
				if err != nil {
					return err
				}
				k := key.Read(it.Key[len(prefix):])
				ords, ids = append(ords, uint32(k.Uint())), append(ids, string(b))
				last = slices.Clone(it.Key)
			}
			return nil
		})
		if err != nil {
			return nil, storeFault(op, err)
		}
		tags, err := s.tagsOf(ctx, op, tenant, ids...)
		if err != nil {
			return nil, err
		}
		for i, id := range ids {
			if access.Check(ctx, s.cfg.Authorizer, action, "node/"+id, tags[id]) == nil {
				out.Add(ords[i])
			}
		}
		if len(ids) < rng.Limit {
			break
		}
		rng = prefix.After(last)
	}
	if out.IsEmpty() {
		return nil, fault.Wrap(op, access.Check(ctx, s.cfg.Authorizer, action, "node/*", nil))
	}
	return out, nil
}

package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

// deletion is the record of a deletion.
type deletion struct {
	Status DeletionStatus `json:"status"`
	Token  string         `json:"token,omitempty"`
	Option string         `json:"option,omitempty"`
	Gen    uint64         `json:"gen"` // of the type: what was reported before it is deleted
	Next   uint64         `json:"next"`
}

// The options and states of a deletion.
const (
	DeleteSchema  = "DeleteSchema"
	DisableSchema = "DisableSchema"
	InProgress    = "InProgress"
	Complete      = "Complete"
)

// deletionsTodo lists deletions that are in progress, by id.
func deletionsTodo(tenant string) key.K { return root(tenant).Str("deleting") }

// deletionsByTime orders deletions by when they began.
func deletionsByTime(tenant string) key.K { return root(tenant).Str("deletions") }

// DeleteInventory deletes what nodes reported of a custom type, and with an option its schema (IN6): DeleteSchema forgets it, until a node reports the type again; DisableSchema has reports of
// the newest version seen and of older ones ignored from now on. It needs ssm:DeleteInventory. A dry run only counts. The owner of the index deletes while Run runs, node by node;
// what nodes report from now on stays. A request that is repeated with its ClientToken gives the same deletion. Counts are of nodes' items. Errors: InvalidTypeNameException,
// InvalidOptionException, InvalidDeleteInventoryParametersException.
func (s *Service) DeleteInventory(ctx context.Context, req DeleteInventoryRequest) (out DeleteInventoryResult, err error) {
	const op, action = "fleet.DeleteInventory", "ssm:DeleteInventory"
	recorded := false
	defer func() {
		if err != nil || !recorded {
			s.audited(ctx, action, "*", err)
		}
	}()
	tenant := access.Tenant(ctx)
	if err := access.Check(ctx, s.cfg.Authorizer, action, "*", nil); err != nil {
		return out, fault.Wrap(op, err)
	}
	if err := s.cfg.Limits.ValidTypeName(req.TypeName); err != nil {
		return out, fault.Wrap(op, err)
	}
	switch {
	case !isCustom(req.TypeName):
		return out, fault.New(op, inventory.InvalidTypeName, "%s is not a custom type: only those can be deleted", req.TypeName)
	case req.SchemaDeleteOption != "" && req.SchemaDeleteOption != DeleteSchema && req.SchemaDeleteOption != DisableSchema:
		return out, fault.New(op, inventory.InvalidOption, "%q is no option: give DeleteSchema, DisableSchema or none", fault.Clean(req.SchemaDeleteOption))
	case len(req.ClientToken) > 64:
		return out, fault.New(op, InvalidDeleteParameters, "the client token has %d characters; it may have 64", len(req.ClientToken))
	}
	id, err := s.newID()
	if err != nil {
		return out, fault.Wrap(op, err)
	}
	if req.ClientToken != "" && !req.DryRun {
		old, err := s.byToken(ctx, tenant, req)
		if err != nil {
			return out, storeFault(op, err)
		}
		if old != nil {
			return DeleteInventoryResult{DeletionID: old.DeletionID, TypeName: old.TypeName, DeletionSummary: old.DeletionSummary}, nil
		}
	}
	// the nodes that have the type are known from its markers, one for each version
	var summary DeletionSummary
	newest := ""
	if err := s.query(ctx, tenant, func(ctx context.Context, q *snapshot) error {
		summary, newest = DeletionSummary{SummaryItems: []DeletionSummaryItem{}}, ""
		versions, tail, err := q.matches(ctx, typeQuery{typ: req.TypeName}, true)
		if err != nil {
			return err
		}
		for _, e := range versions {
			v, _ := e.get("")
			set, err := q.have(ctx, req.TypeName, []*entry{e}, tail)
			if err != nil {
				return err
			}
			n := int(set.GetCardinality())
			if n == 0 {
				continue
			}
			summary.SummaryItems = append(summary.SummaryItems, DeletionSummaryItem{Version: v, Count: n, RemainingCount: n})
			summary.TotalCount += n
		}
		slices.SortFunc(summary.SummaryItems, func(a, b DeletionSummaryItem) int { return inventory.CompareSchemaVersions(a.Version, b.Version) })
		if n := len(summary.SummaryItems); n > 0 {
			newest = summary.SummaryItems[n-1].Version
		}
		summary.RemainingCount = summary.TotalCount
		st, err := orZero(s.types.Get(ctx, q.r, typesKey(tenant).Str(req.TypeName)))
		if err != nil {
			return err
		}
		if st.Schema == nil && summary.TotalCount == 0 {
			return fault.New(op, inventory.InvalidTypeName, "no node reported %s: list the types with GetInventorySchema", fault.Clean(req.TypeName))
		}
		if st.Schema != nil && inventory.CompareSchemaVersions(newest, st.Schema.Version) < 0 {
			newest = st.Schema.Version
		}
		return nil
	}); err != nil {
		return out, storeFault(op, err)
	}
	out = DeleteInventoryResult{TypeName: req.TypeName, DeletionSummary: summary}
	if req.DryRun {
		return out, nil
	}
	now := s.cfg.Now().UTC().Round(0)
	digest := s.cfg.Audit.Digest(req)
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		k := typesKey(tenant).Str(req.TypeName)
		st, err := orZero(s.types.Get(ctx, tx, k))
		if err != nil {
			return err
		}
		st.Gen++
		switch req.SchemaDeleteOption {
		case DeleteSchema:
			st.Schema = nil
		case DisableSchema:
			if inventory.CompareSchemaVersions(st.Disabled, newest) < 0 || st.Disabled == "" {
				st.Disabled = newest
			}
		}
		if err := s.types.Put(tx, k, st); err != nil {
			return err
		}
		d := deletion{Gen: st.Gen, Option: req.SchemaDeleteOption, Token: req.ClientToken, Status: DeletionStatus{DeletionID: id, TypeName: req.TypeName, DeletionStartTime: now,
			LastStatus: InProgress, LastStatusMessage: "Deletion is in progress", DeletionSummary: summary, LastStatusUpdateTime: now}}
		if err := s.deletes.Put(tx, deletionsKey(tenant).Str(id), d); err != nil {
			return err
		}
		if err := s.put(tx, deletionsByTime(tenant).Time(now).Str(id), nil); err != nil {
			return err
		}
		if err := s.put(tx, deletionsTodo(tenant).Str(id), nil); err != nil {
			return err
		}
		if err := s.mark(ctx, tx, tenant); err != nil {
			return err
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: action, Resource: "*", Digest: digest, IDs: map[string]string{"deletion": id, "type": req.TypeName}})
	})
	if err != nil {
		return DeleteInventoryResult{}, storeFault(op, err)
	}
	recorded = true
	out.DeletionID = id
	return out, nil
}

// byToken returns the deletion that was begun with the request's token; nil if there is none.
func (s *Service) byToken(ctx context.Context, tenant string, req DeleteInventoryRequest) (out *DeletionStatus, err error) {
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		out = nil
		for e, err := range s.deletes.Scan(ctx, r, deletionsKey(tenant).Range()) {
			if err != nil {
				return err
			}
			if e.Value.Token != req.ClientToken {
				continue
			}
			if e.Value.Status.TypeName != req.TypeName || e.Value.Option != req.SchemaDeleteOption {
				return fault.New("fleet.DeleteInventory", InvalidDeleteParameters, "the client token was used for another deletion")
			}
			out = &e.Value.Status
			return nil
		}
		return nil
	})
	return out, err
}

// InvalidDeleteParameters is AWS's code for a deletion that cannot be begun as it was asked for.
const InvalidDeleteParameters fault.Code = "InvalidDeleteInventoryParametersException"

// DescribeInventoryDeletions lists deletions of the last Config.History, newest first, or one by its id. It needs ssm:DescribeInventoryDeletions. Errors: InvalidDeletionIdException,
// InvalidNextToken, ValidationException.
func (s *Service) DescribeInventoryDeletions(ctx context.Context, req DescribeInventoryDeletionsRequest) (out DescribeInventoryDeletionsResult, err error) {
	const op, action = "fleet.DescribeInventoryDeletions", "ssm:DescribeInventoryDeletions"
	defer func() { s.audited(ctx, action, "*", err) }()
	tenant := access.Tenant(ctx)
	limit, err := results(op, req.MaxResults, 1, mostPage, mostPage)
	if err != nil {
		return out, err
	}
	if err := access.Check(ctx, s.cfg.Authorizer, action, "*", nil); err != nil {
		return out, fault.Wrap(op, err)
	}
	mark := paging.Mark(op, tenant, req.DeletionID)
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	oldest := s.cfg.Now().Add(-s.cfg.History)
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		out = DescribeInventoryDeletionsResult{InventoryDeletions: []DeletionStatus{}}
		if req.DeletionID != "" {
			if len(req.DeletionID) > 64 {
				return fault.New(op, inventory.InvalidDeletion, "there is no such deletion")
			}
			d, err := s.deletes.Get(ctx, r, deletionsKey(tenant).Str(req.DeletionID))
			if errors.Is(err, store.ErrNotFound) || err == nil && d.Status.DeletionStartTime.Before(oldest) {
				return fault.New(op, inventory.InvalidDeletion, "there is no deletion %s", fault.Clean(req.DeletionID))
			}
			out.InventoryDeletions = append(out.InventoryDeletions, d.Status)
			return err
		}
		prefix := deletionsByTime(tenant)
		rng := prefix.Range()
		rng.Start, rng.Reverse = prefix.Time(oldest), true
		if after != "" {
			rng.End = append(slices.Clone([]byte(prefix)), after...)
		}
		var last []byte
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			if len(out.InventoryDeletions) == limit {
				out.NextToken = paging.Token(mark, string(last[len(prefix):]))
				return nil
			}
			k := key.Read(it.Key[len(prefix):])
			k.Time()
			d, err := s.deletes.Get(ctx, r, deletionsKey(tenant).Str(k.Str()))
			if err != nil {
				return err
			}
			last = slices.Clone(it.Key)
			out.InventoryDeletions = append(out.InventoryDeletions, d.Status)
		}
		return nil
	})
	if err != nil {
		return DescribeInventoryDeletionsResult{}, storeFault(op, err)
	}
	return out, nil
}

// deleteAtOnce is how many nodes one transaction of a deletion takes a type from.
const deleteAtOnce = 100

// deleteAll carries the tenant's deletions out.
func (s *Service) deleteAll(ctx context.Context, held lease.Held, tenant string) error {
	for {
		id := ""
		err := s.view(ctx, func(ctx context.Context, r store.Reader) error {
			id = ""
			rng := deletionsTodo(tenant).Range()
			rng.Limit = 1
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				id = key.Read(it.Key[len(deletionsTodo(tenant)):]).Str()
			}
			return nil
		})
		if err != nil || id == "" {
			return err
		}
		for done := false; !done; {
			if done, err = s.deleteSome(ctx, held, tenant, id); err != nil {
				return err
			}
		}
	}
}

// deleteSome takes the type from some nodes. It says whether the deletion is complete.
func (s *Service) deleteSome(ctx context.Context, held lease.Held, tenant, id string) (done bool, err error) {
	var d deletion
	var nodes []string
	var next uint64
	err = s.query(ctx, tenant, func(ctx context.Context, q *snapshot) error {
		nodes = nil
		var err error
		if d, err = s.deletes.Get(ctx, q.r, deletionsKey(tenant).Str(id)); err != nil {
			return err
		}
		var set *roaring.Bitmap
		if set, err = q.matching(ctx, typeQuery{typ: d.Status.TypeName}, true); err != nil {
			return err
		}
		var ords []uint32
		for it := after64(set, d.Next); it.HasNext() && len(ords) < deleteAtOnce; {
			ords = append(ords, it.Next())
		}
		next = unset
		if len(ords) == deleteAtOnce {
			next = uint64(ords[len(ords)-1]) + 1
		}
		nodes, err = q.ids(ctx, ords)
		return err
	})
	if err != nil {
		return false, err
	}
	now := s.cfg.Now().UTC().Round(0)
	typ := d.Status.TypeName
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		done = false
		if err := held.Check(ctx, tx); err != nil {
			return err
		}
		d, err := s.deletes.Get(ctx, tx, deletionsKey(tenant).Str(id))
		if err != nil {
			return err
		}
		d.Next = next
		for _, node := range nodes {
			h, err := s.heads.Get(ctx, tx, nodeKey(tenant, node))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			it, ok := h.Items[typ]
			if !ok || it.Gen >= d.Gen {
				continue // reported since
			}
			ids, err := s.items(ctx, tx, tenant, node, typ)
			if err != nil {
				return err
			}
			h.Seq++
			delete(h.Items, typ)
			gone := lists{del: ids.ids}
			if err := s.log(tx, tenant, &h, typ, gone); err != nil {
				return err
			}
			if err := s.remember(tx, tenant, &h, typ, it.Version, it.Captured, now, gone); err != nil {
				return err
			}
			if err := s.dropItems(tx, tenant, node, typ); err != nil {
				return err
			}
			if err := s.heads.Put(tx, nodeKey(tenant, node), h); err != nil {
				return err
			}
			sum := &d.Status.DeletionSummary
			sum.RemainingCount = max(0, sum.RemainingCount-1)
			for i := range sum.SummaryItems {
				if x := &sum.SummaryItems[i]; x.Version == it.Version && x.RemainingCount > 0 {
					x.RemainingCount--
				}
			}
		}
		d.Status.LastStatusUpdateTime = now
		if done = next == unset; done {
			// what is left was reported again or removed meanwhile
			d.Status.LastStatus, d.Status.LastStatusMessage = Complete, "Deletion is complete"
			d.Status.DeletionSummary.RemainingCount = 0
			for i := range d.Status.DeletionSummary.SummaryItems {
				d.Status.DeletionSummary.SummaryItems[i].RemainingCount = 0
			}
			if err := tx.Delete(deletionsTodo(tenant).Str(id)); err != nil {
				return err
			}
		}
		return s.deletes.Put(tx, deletionsKey(tenant).Str(id), d)
	})
	return done, err
}

// buryAll removes the history of removed nodes.
func (s *Service) buryAll(ctx context.Context, held lease.Held, tenant string) error {
	for {
		more := false
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			more = false
			if err := held.Check(ctx, tx); err != nil {
				return err
			}
			rng := gravesKey(tenant).Range()
			rng.Limit = 1
			var grave []byte
			for it, err := range tx.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				grave = slices.Clone(it.Key)
			}
			if grave == nil {
				return nil
			}
			more = true
			rng = historyKey(tenant, uint32(binary.BigEndian.Uint64(grave[len(grave)-8:]))).Range()
			rng.Limit = 2000
			var keys [][]byte
			for it, err := range tx.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				keys = append(keys, slices.Clone(it.Key))
			}
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			if len(keys) < rng.Limit {
				return tx.Delete(grave)
			}
			return nil
		})
		if err != nil || !more {
			return err
		}
	}
}

// oldDeletions removes records of deletions that are no longer listed.
func (s *Service) oldDeletions(ctx context.Context, held lease.Held, tenant string, before time.Time) error {
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := held.Check(ctx, tx); err != nil {
			return err
		}
		prefix := deletionsByTime(tenant)
		rng := prefix.Range()
		rng.End, rng.Limit = prefix.Time(before), 1000
		var keys [][]byte
		for it, err := range tx.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key[len(prefix):])
			k.Time()
			keys = append(keys, slices.Clone(it.Key), deletionsKey(tenant).Str(k.Str()))
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

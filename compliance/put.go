package compliance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// PutComplianceItems takes a report of a node (C2). It needs ssm:PutComplianceItems on node/ID, with the node's tags as attributes. A report that is older, by its ExecutionTime, than what is kept of
// the same type is left alone, so that repeats that come late change nothing back.
//
// Errors: InvalidResourceId, InvalidResourceType, InvalidItemContentException with the item, ItemSizeLimitExceededException, TotalSizeLimitExceededException,
// ComplianceTypeCountLimitExceededException, ValidationException. Nothing is kept of a report that is refused.
func (s *Service) PutComplianceItems(ctx context.Context, req PutComplianceItemsRequest) (PutComplianceItemsResult, error) {
	const op, action = "compliance.PutComplianceItems", "ssm:PutComplianceItems"
	tenant := access.Tenant(ctx)
	resource := "node/" + clip(req.ResourceID)
	tags, err := s.node(ctx, op, tenant, req.ResourceID)
	if err == nil {
		err = fault.Wrap(op, access.Check(ctx, s.cfg.Authorizer, action, resource, tags))
	}
	if err == nil {
		err = s.check(op, &req)
	}
	if err == nil {
		call := audit.Of(action, resource, nil)
		call.Digest = s.cfg.Audit.Digest(req)
		err = s.put(ctx, op, tenant, tags, &req, &call)
	}
	if err != nil {
		s.audited(ctx, action, resource, err)
	}
	return PutComplianceItemsResult{}, err
}

// Report takes a report that a node makes of itself: whoever calls it has proven that. It asks no authorizer and leaves no record of a call: the history holds
// the report. Errors are those of PutComplianceItems.
func (s *Service) Report(ctx context.Context, tenant, node string, req PutComplianceItemsRequest) error {
	const op = "compliance.Report"
	req.ResourceID, req.ResourceType = node, ResourceType
	tags, err := s.node(ctx, op, tenant, node)
	if err == nil {
		err = s.check(op, &req)
	}
	if err == nil {
		err = s.put(ctx, op, tenant, tags, &req, nil)
	}
	return err
}

func (s *Service) node(ctx context.Context, op, tenant, id string) (map[string]string, error) {
	if err := checkNode(op, id); err != nil {
		return nil, err
	}
	if s.cfg.Nodes == nil {
		return nil, nil
	}
	tags, ok, err := s.cfg.Nodes.Registered(ctx, tenant, id)
	if err == nil && !ok {
		err = fault.New(op, fault.InvalidResourceID, "there is no node %s", id).About(id)
	}
	return tags, fault.Wrap(op, err)
}

// chunkBytes is how much JSON of items goes into one record.
const chunkBytes = 128 << 10

// put stores a report. call is the audit record of the call, if it is one.
func (s *Service) put(ctx context.Context, op, tenant string, tags map[string]string, req *PutComplianceItemsRequest, call *audit.Entry) error {
	now := s.cfg.Now().UTC()
	req.ExecutionSummary.ExecutionTime = req.ExecutionSummary.ExecutionTime.UTC()
	err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		k := headKey(tenant, req.ResourceID, req.ComplianceType)
		h, err := s.heads.Get(ctx, tx, k)
		fresh := errors.Is(err, store.ErrNotFound)
		if err != nil && !fresh {
			return err
		}
		if fresh {
			if err := s.room(ctx, tx, op, tenant, req); err != nil {
				return err
			}
			if h.Seq, h.Last, err = s.tail(ctx, tx, tenant, req.ResourceID, req.ComplianceType); err != nil {
				return err
			}
		} else if req.ExecutionSummary.ExecutionTime.Before(h.Summary.ExecutionSummary.ExecutionTime) {
			return nil
		}
		h.Tags = tags
		e := entry{Seq: h.Seq + 1, At: now, Execution: req.ExecutionSummary, Prev: h.Last, Same: !fresh && req.ItemContentHash != "" && req.ItemContentHash == h.Hash}
		if !e.Same {
			old, err := s.items(ctx, tx, tenant, req.ResourceID, req.ComplianceType, h.Chunks)
			if err != nil {
				return err
			}
			items := merge(old, req)
			if len(items) > s.cfg.Limits.Items {
				return fault.New(op, fault.TotalSizeLimitExceeded, "node %s would have %d items of type %s; at most %d are kept", req.ResourceID, len(items), req.ComplianceType, s.cfg.Limits.Items)
			}
			if err := s.writeItems(tx, tenant, req, &h, items); err != nil {
				return err
			}
			h.Count, h.Hash = len(items), req.ItemContentHash
			h.Summary, h.Worst = summarize(req.ResourceID, req.ComplianceType, items)
			e.difference(old, items, fresh)
		}
		h.Summary.ExecutionSummary = req.ExecutionSummary // C4
		e.Summary = h.Summary
		if err := s.append(ctx, tx, tenant, req.ResourceID, req.ComplianceType, &e, &h); err != nil {
			return err
		}
		if err := s.heads.Put(tx, k, h); err != nil {
			return err
		}
		if call == nil {
			return nil
		}
		return s.cfg.Audit.Record(ctx, tx, *call)
	})
	return storeFault(op, err)
}

// room refuses a custom type more than a node may have (C1).
func (s *Service) room(ctx context.Context, r store.Reader, op, tenant string, req *PutComplianceItemsRequest) error {
	if !strings.HasPrefix(req.ComplianceType, CustomPrefix) {
		return nil
	}
	n := 0
	for _, err := range r.Scan(ctx, nodeKey(tenant, req.ResourceID).Range()) {
		if err != nil {
			return err
		}
		n++
	}
	if n >= s.cfg.Limits.CustomTypes+2 {
		return s.tooManyTypes(op, req.ResourceID)
	}
	n = 0
	for e, err := range s.heads.Scan(ctx, r, nodeKey(tenant, req.ResourceID).Range()) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Value.Summary.ComplianceType, CustomPrefix) {
			n++
		}
	}
	if n >= s.cfg.Limits.CustomTypes {
		return s.tooManyTypes(op, req.ResourceID)
	}
	return nil
}

func (s *Service) tooManyTypes(op, node string) error {
	return fault.New(op, fault.ComplianceTypeCountLimitExceeded, "node %s has %d custom compliance types, as many as it may: report under one of those", node, s.cfg.Limits.CustomTypes).About(node)
}

// merge returns the items after a report, in the order of their ids.
func merge(old []item, req *PutComplianceItemsRequest) []item {
	items := make([]item, 0, len(req.Items))
	for _, it := range req.Items {
		items = append(items, item{it, req.ExecutionSummary})
	}
	if req.UploadType == Partial {
		given := map[string]bool{}
		for i := range req.Items {
			given[req.Items[i].ID] = true
		}
		for _, it := range old {
			if it.Execution.ExecutionID != req.ExecutionSummary.ExecutionID && !given[it.ID] {
				items = append(items, it)
			}
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.ID, b.ID) })
	return items
}

// items returns what is kept of a type on a node.
func (s *Service) items(ctx context.Context, r store.Reader, tenant, node, kind string, chunks int) ([]item, error) {
	keys := make([][]byte, chunks)
	for i := range keys {
		keys[i] = chunkKey(tenant, node, kind, i)
	}
	all, err := s.chunks.GetMany(ctx, r, keys)
	if err != nil {
		return nil, err
	}
	var out []item
	for _, c := range all {
		if c == nil {
			return nil, fault.New("compliance.read", fault.DataCorrupt, "items of type %s of node %s are missing; restore them from a backup, or have the node report anew", kind, node).About(node)
		}
		out = append(out, c.Items...)
	}
	return out, nil
}

// writeItems writes items in chunks and removes chunks that are left over.
func (s *Service) writeItems(tx store.Tx, tenant string, req *PutComplianceItemsRequest, h *head, items []item) error {
	n, size := 0, 0
	var c chunk
	put := func() error {
		err := s.chunks.Put(tx, chunkKey(tenant, req.ResourceID, req.ComplianceType, n), c)
		n, size, c = n+1, 0, chunk{}
		return err
	}
	for i := range items {
		b, err := json.Marshal(&items[i])
		if err != nil {
			return err
		}
		if size > 0 && size+len(b) > chunkBytes {
			if err := put(); err != nil {
				return err
			}
		}
		size += len(b)
		c.Items = append(c.Items, items[i])
	}
	if size > 0 {
		if err := put(); err != nil {
			return err
		}
	}
	for i := n; i < h.Chunks; i++ {
		if err := tx.Delete(chunkKey(tenant, req.ResourceID, req.ComplianceType, i)); err != nil {
			return err
		}
	}
	h.Chunks = n
	return nil
}

func (s *SeveritySummary) add(severity string) {
	*[...]*int{&s.CriticalCount, &s.HighCount, &s.MediumCount, &s.LowCount, &s.InformationalCount, &s.UnspecifiedCount}[rank(severity)]++
}

// summarize counts items, and returns the worst severity of the compliant ones.
func summarize(node, kind string, items []item) (out ResourceSummaryItem, worst string) {
	out = ResourceSummaryItem{ComplianceType: kind, ResourceType: ResourceType, ResourceID: node, Status: Compliant, OverallSeverity: Unspecified}
	worst = Unspecified
	for i := range items {
		it := &items[i]
		if it.Status == Compliant {
			out.CompliantSummary.CompliantCount++
			out.CompliantSummary.SeveritySummary.add(it.Severity)
			if rank(it.Severity) < rank(worst) {
				worst = it.Severity
			}
			continue
		}
		out.Status = NonCompliant
		out.NonCompliantSummary.NonCompliantCount++
		out.NonCompliantSummary.SeveritySummary.add(it.Severity)
		if rank(it.Severity) < rank(out.OverallSeverity) {
			out.OverallSeverity = it.Severity
		}
	}
	return out, worst
}

// ForgetNode takes a node out of all lists in the caller's transaction, such as that which removes the node. Its history stays: what was so on 1 March is not changed by the end of the machine. It asks nobody
// and records nothing.
func (s *Service) ForgetNode(ctx context.Context, tx store.Tx, tenant, node string) error {
	var keys [][]byte
	for e, err := range s.heads.Scan(ctx, tx, nodeKey(tenant, node).Range()) {
		if err != nil {
			return err
		}
		keys = append(keys, e.Key)
		for i := range e.Value.Chunks {
			keys = append(keys, chunkKey(tenant, node, e.Value.Summary.ComplianceType, i))
		}
	}
	for _, k := range keys {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets all that is kept of a node, its history too, as when it is deregistered; it is for the host, and asks no authorizer. It may be called again after an error.
func (s *Service) Remove(ctx context.Context, tenant, node string) error {
	const op = "compliance.Remove"
	for _, k := range []store.Range{root(tenant).Str("items").Str(node).Range(), root(tenant).Str("history").Str(node).Range(), nodeKey(tenant, node).Range()} {
		if _, err := s.clear(ctx, op, k); err != nil {
			return err
		}
	}
	return nil
}

// clear deletes the keys of a range, a thousand in a transaction.
func (s *Service) clear(ctx context.Context, op string, rng store.Range) (total int, err error) {
	rng.Limit = 1000
	for {
		n := 0
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			n = 0
			var keys [][]byte
			for it, err := range tx.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				keys = append(keys, append([]byte(nil), it.Key...))
			}
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			n = len(keys)
			return nil
		})
		total += n
		if err != nil || n < rng.Limit {
			return total, storeFault(op, err)
		}
	}
}

package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

// Change is what one report changed of one type of a node.
type Change struct {
	Time          time.Time // when the control plane took the report
	CaptureTime   string    // as the node said
	TypeName      string
	SchemaVersion string
	Added         []inventory.Entry `json:",omitempty"` // in order of inventory.Entry.Compare
	Removed       []inventory.Entry `json:",omitempty"`
}

// ListChangesRequest is the input of ListInventoryChanges, an operation that AWS does not have.
type ListChangesRequest struct {
	InstanceID string    `json:"InstanceId"`
	TypeName   string    `json:",omitempty"` // empty: all types
	Since      time.Time // zero: as far back as is known
	Until      time.Time // zero: now
	MaxResults int       `json:",omitempty"` // 1 to 50; 0 is 50
	NextToken  string    `json:",omitempty"`
}

// ListChangesResult is the output of ListInventoryChanges.
type ListChangesResult struct {
	Changes   []Change // oldest first
	NextToken string   `json:",omitempty"`
}

// remember keeps what a report changed. Its key is (time, number of the node's report, type).
func (s *Service) remember(tx store.Tx, tenant string, h *head, typ, version, captured string, now time.Time, d lists) error {
	b := appendString(appendString(nil, version), captured)
	b = append(b, d.encode()...)
	return s.put(tx, historyKey(tenant, h.Ordinal).Time(now).Uint(h.Seq).Str(typ), b)
}

// forget removes the oldest history of a node, a little at a time.
func (s *Service) forget(ctx context.Context, tx store.Tx, history key.K, before time.Time) error {
	rng := history.Range()
	rng.End, rng.Limit = history.Time(before), 20
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
	return nil
}

// ListInventoryChanges says what changed on a node since a time, oldest first. It needs ssm:ListInventoryEntries on the node. Changes older than Config.History are not known; entries that
// are long on no node are left out of them. Errors: InvalidInstanceId, InvalidTypeNameException, InvalidNextToken, ValidationException.
func (s *Service) ListInventoryChanges(ctx context.Context, req ListChangesRequest) (out ListChangesResult, err error) {
	const op, action = "fleet.ListInventoryChanges", "ssm:ListInventoryEntries"
	defer func() { s.audited(ctx, action, "node/"+clip(req.InstanceID), err) }()
	tenant := access.Tenant(ctx)
	limit, err := results(op, req.MaxResults, 1, mostPage, mostPage)
	if err != nil {
		return out, err
	}
	if req.TypeName != "" {
		if err := s.cfg.Limits.ValidTypeName(req.TypeName); err != nil {
			return out, fault.Wrap(op, err)
		}
	}
	if err := s.mayTouch(ctx, op, action, tenant, req.InstanceID); err != nil {
		return out, err
	}
	mark := paging.Mark(op, tenant, []any{req.InstanceID, req.TypeName, req.Since, req.Until})
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	since := s.cfg.Now().Add(-s.cfg.History)
	if req.Since.After(since) {
		since = req.Since
	}
	type change struct {
		at  time.Time
		seq uint64
		typ string
		b   []byte
	}
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		out = ListChangesResult{Changes: []Change{}}
		h, err := orZero(s.heads.Get(ctx, r, nodeKey(tenant, req.InstanceID)))
		if err != nil || h.Seq == 0 {
			return err
		}
		prefix := historyKey(tenant, h.Ordinal)
		rng := prefix.Range()
		rng.Start = prefix.Time(since)
		if !req.Until.IsZero() {
			rng.End = prefix.Time(req.Until)
		}
		if after != "" {
			rng.Start = prefix.After(append(slices.Clone([]byte(prefix)), after...)).Start
		}
		q := &snapshot{s: s, r: r, tenant: tenant}
		var page []change
		var last []byte
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key[len(prefix):])
			c := change{at: k.Time(), seq: k.Uint(), typ: k.Str()}
			if k.Err() != nil {
				return corrupt(it.Key, "no change")
			}
			if req.TypeName != "" && c.typ != req.TypeName {
				continue
			}
			if len(page) == limit {
				out.NextToken = paging.Token(mark, string(last[len(prefix):]))
				break
			}
			b, err := s.cfg.Codec.Open(it.Key, it.Value)
			if err != nil {
				return err
			}
			c.b = slices.Clone(b)
			last = slices.Clone(it.Key)
			page = append(page, c)
		}
		for _, c := range page {
			one := Change{Time: c.at, TypeName: c.typ}
			ok := true
			if one.SchemaVersion, c.b, ok = readString(c.b); !ok {
				return corrupt(prefix, "no change")
			}
			if one.CaptureTime, c.b, ok = readString(c.b); !ok {
				return corrupt(prefix, "no change")
			}
			d, _, ok := decodeLists(c.b)
			if !ok {
				return corrupt(prefix, "no change")
			}
			if one.Removed, err = q.content(ctx, c.typ, d.del); err != nil {
				return err
			}
			if one.Added, err = q.content(ctx, c.typ, d.add); err != nil {
				return err
			}
			out.Changes = append(out.Changes, one)
		}
		return nil
	})
	if err != nil {
		return ListChangesResult{}, storeFault(op, err)
	}
	return out, nil
}

// row is an entry with its number.
type row struct {
	inventory.Entry
	id uint32
}

// rows returns entries as they were reported, in order of inventory.Entry.Compare, without markers.
func (q *snapshot) rows(ctx context.Context, typ string, ids []uint32) ([]row, error) {
	entries, err := q.entries(ctx, typ, ids)
	if err != nil {
		return nil, err
	}
	out := make([]row, 0, len(entries))
	for _, e := range entries {
		if isMarker(e.canon) {
			continue
		}
		a, ok := attributes(e.canon)
		if !ok {
			return nil, corrupt(entriesKey(q.tenant, typ).Uint(uint64(e.id)), "no entry")
		}
		out = append(out, row{a, e.id})
	}
	slices.SortFunc(out, func(a, b row) int { return a.Compare(b.Entry) })
	return out, nil
}

func (q *snapshot) content(ctx context.Context, typ string, ids []uint32) ([]inventory.Entry, error) {
	rows, err := q.rows(ctx, typ, ids)
	if err != nil {
		return nil, err
	}
	out := make([]inventory.Entry, len(rows))
	for i, r := range rows {
		out[i] = r.Entry
	}
	return out, nil
}

package compliance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// SnapshotEvery is the number of history records from one that holds all items to the next.
const SnapshotEvery = 32

// entry is one report in the history of a type on a node. It is never changed.
type entry struct {
	Seq       uint64              `json:"seq"`
	At        time.Time           `json:"at"` // when it was taken here
	Execution ExecutionSummary    `json:"execution"`
	Summary   ResourceSummaryItem `json:"summary"`
	Same      bool                `json:"same,omitempty"`    // the items are those of the record before
	Whole     bool                `json:"whole,omitempty"`   // Put are all items
	Put       []item              `json:"put,omitempty"`     // added or changed
	Removed   []string            `json:"removed,omitempty"` // ids
	Parts     int                 `json:"parts,omitempty"`   // records after this one that hold more of Put
	Prev      []byte              `json:"prev,omitempty"`    // hash of the record before
	Hash      []byte              `json:"hash"`              // SHA-256 of the JSON of this record with all of Put and without Hash and Parts
}

// difference fills in what changed from old to new, both in the order of their ids; all of new when the type is fresh on the node.
func (e *entry) difference(old, items []item, fresh bool) {
	for i, j := 0, 0; i < len(old) || j < len(items); {
		switch {
		case j == len(items) || i < len(old) && old[i].ID < items[j].ID:
			e.Removed = append(e.Removed, old[i].ID)
			i++
		case i == len(old) || items[j].ID < old[i].ID:
			e.Put = append(e.Put, items[j])
			j++
		default:
			if !equal(&old[i], &items[j]) {
				e.Put = append(e.Put, items[j])
			}
			i, j = i+1, j+1
		}
	}
	if e.Seq%SnapshotEvery == 1 || fresh {
		e.Whole, e.Put, e.Removed = true, items, nil
	}
	e.Same = !e.Whole && len(e.Put) == 0 && len(e.Removed) == 0
}

// equal leaves out the execution: each report has another, and the record has it.
func equal(a, b *item) bool {
	return a.Title == b.Title && a.Severity == b.Severity && a.Status == b.Status && a.Execution.ExecutionID == b.Execution.ExecutionID && maps.Equal(a.Details, b.Details)
}

func (e entry) sum() ([]byte, error) {
	e.Hash, e.Parts = nil, 0
	b, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256(b)
	return h[:], nil
}

// append adds a record to the history, in as many parts as its items need, and notes it in the head.
func (s *Service) append(ctx context.Context, tx store.Tx, tenant, node, kind string, e *entry, h *head) error {
	if e.Same && e.Seq%SnapshotEvery == 1 { // the items were not read: they are what the head tells of
		items, err := s.items(ctx, tx, tenant, node, kind, h.Chunks)
		if err != nil {
			return err
		}
		e.Same, e.Whole, e.Put = false, true, items
	}
	var err error
	if e.Hash, err = e.sum(); err != nil {
		return err
	}
	parts, err := split(e.Put)
	if err != nil {
		return err
	}
	first := *e
	first.Put, first.Parts = nil, 0
	if len(parts) > 0 {
		first.Put, first.Parts = parts[0], len(parts)-1
	}
	k := historyKey(tenant, node, kind).Uint(e.Seq)
	if err := s.history.Put(tx, k.Uint(0), first); err != nil {
		return err
	}
	for i := 1; i < len(parts); i++ {
		if err := s.history.Put(tx, k.Uint(uint64(i)), entry{Seq: e.Seq, Put: parts[i]}); err != nil {
			return err
		}
	}
	h.Seq, h.Last = e.Seq, e.Hash
	return nil
}

// tail returns the number and hash of the newest record of a history that outlived its node's lists; zero when there is none.
func (s *Service) tail(ctx context.Context, r store.Reader, tenant, node, kind string) (seq uint64, hash []byte, err error) {
	space := historyKey(tenant, node, kind)
	rng := space.Range()
	rng.Reverse, rng.Limit = true, 1
	for e, err := range s.history.Scan(ctx, r, rng) {
		if err != nil {
			return 0, nil, err
		}
		first, err := s.history.Get(ctx, r, space.Uint(e.Value.Seq).Uint(0))
		return first.Seq, first.Hash, err
	}
	return 0, nil, nil
}

func split(items []item) (parts [][]item, err error) {
	start, size := 0, 0
	for i := range items {
		b, err := json.Marshal(&items[i])
		if err != nil {
			return nil, err
		}
		if size > 0 && size+len(b) > chunkBytes {
			parts, start, size = append(parts, items[start:i]), i, 0
		}
		size += len(b)
	}
	if start < len(items) {
		parts = append(parts, items[start:])
	}
	return parts, nil
}

// Was is what was known of a type on a node at a time.
type Was struct {
	Summary   ResourceSummaryItem // of the report in force then
	Reported  time.Time           // when that report was taken here
	Items     []Item              // all, sorted by id
	Seq       uint64              // its number in the history, from 1
	Hash      []byte              // of the history up to it
	Checks    int                 // reports of the history up to it, of what is kept
	Unchanged time.Time           // since when the items are as they are, of what is kept
}

// At answers whether a node was compliant at a time, and why: what the report said that was the newest then, by when it was taken here. It needs ssm:ListComplianceItems on the node. Errors: InvalidResourceId;
// DoesNotExistException when nothing was known then, or the history does not reach back so far; DataCorrupt when the history was tampered with.
func (s *Service) At(ctx context.Context, node, kind string, at time.Time) (out Was, err error) {
	const op, action = "compliance.At", "ssm:ListComplianceItems"
	defer func() { s.audited(ctx, action, "node/"+clip(node), err) }()
	if err := checkType(op, kind); err != nil {
		return out, err
	}
	if err := s.mayRead(ctx, op, action, node); err != nil {
		return out, err
	}
	var items map[string]item
	err = s.walk(ctx, op, access.Tenant(ctx), node, kind, func(e *entry) bool {
		if e.At.After(at) {
			return false
		}
		if items == nil && !e.Whole {
			return true // before the first whole one: cannot be, for Forget cuts there
		}
		if e.Whole {
			changed := items == nil || len(items) != len(e.Put)
			fresh := make(map[string]item, len(e.Put))
			for _, it := range e.Put {
				was, ok := items[it.ID]
				changed = changed || !ok || !equal(&was, &it)
				fresh[it.ID] = it
			}
			if items = fresh; changed {
				out.Unchanged = e.At
			}
		} else {
			for _, it := range e.Put {
				items[it.ID] = it
			}
			for _, id := range e.Removed {
				delete(items, id)
			}
			if !e.Same {
				out.Unchanged = e.At
			}
		}
		out.Summary, out.Reported, out.Seq, out.Hash = e.Summary, e.At, e.Seq, e.Hash
		out.Checks++
		return true
	})
	if err != nil {
		return Was{}, err
	}
	if out.Seq == 0 {
		return Was{}, fault.New(op, fault.DoesNotExist, "nothing is known of type %s on node %s at %s: no report was taken by then, or the history does not reach back so far", clip(kind), node, at.UTC().Format(time.RFC3339))
	}
	for _, it := range items {
		out.Items = append(out.Items, it.item(node, kind))
	}
	slices.SortFunc(out.Items, func(a, b Item) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Report is one line of a history.
type Report struct {
	Seq       uint64              `json:"Seq"`
	Taken     time.Time           `json:"Taken"`
	Execution ExecutionSummary    `json:"ExecutionSummary"`
	Summary   ResourceSummaryItem `json:"Summary"`
	Changed   int                 `json:"Changed"` // items added or changed
	Removed   int                 `json:"Removed"`
}

// History returns the reports of a type on a node from one time to another, the oldest first. Zero times mean all. It needs ssm:ListComplianceItems on the node.
func (s *Service) History(ctx context.Context, node, kind string, from, to time.Time) (out []Report, err error) {
	const op, action = "compliance.History", "ssm:ListComplianceItems"
	defer func() { s.audited(ctx, action, "node/"+clip(node), err) }()
	if err := checkType(op, kind); err != nil {
		return nil, err
	}
	if err := s.mayRead(ctx, op, action, node); err != nil {
		return nil, err
	}
	before := map[string]item{}
	err = s.walk(ctx, op, access.Tenant(ctx), node, kind, func(e *entry) bool {
		r := Report{Seq: e.Seq, Taken: e.At, Execution: e.Execution, Summary: e.Summary, Changed: len(e.Put), Removed: len(e.Removed)}
		if e.Whole {
			r.Changed, r.Removed = 0, len(before)
			fresh := make(map[string]item, len(e.Put))
			for _, it := range e.Put {
				was, ok := before[it.ID]
				if ok {
					r.Removed--
				}
				if !ok || !equal(&was, &it) {
					r.Changed++
				}
				fresh[it.ID] = it
			}
			before = fresh
		} else {
			for _, it := range e.Put {
				before[it.ID] = it
			}
			for _, id := range e.Removed {
				delete(before, id)
			}
		}
		if !e.At.Before(from) && (to.IsZero() || !e.At.After(to)) {
			out = append(out, r)
		}
		return to.IsZero() || !e.At.After(to)
	})
	return out, err
}

// Verify reads the whole history of a type on a node and returns the number of records. A record that was edited, removed, added or moved is a DataCorrupt that names it. It needs
// ssm:ListComplianceItems on the node. A tail that was cut off shows where the newest report is not the one that lists show.
func (s *Service) Verify(ctx context.Context, node, kind string) (n int, err error) {
	const op, action = "compliance.Verify", "ssm:ListComplianceItems"
	defer func() { s.audited(ctx, action, "node/"+clip(node), err) }()
	if err := checkType(op, kind); err != nil {
		return 0, err
	}
	if err := s.mayRead(ctx, op, action, node); err != nil {
		return 0, err
	}
	var last entry
	err = s.walk(ctx, op, access.Tenant(ctx), node, kind, func(e *entry) bool { n++; last = *e; return true })
	if err != nil {
		return n, err
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		h, err := s.heads.Get(ctx, r, headKey(access.Tenant(ctx), node, kind))
		if errors.Is(err, store.ErrNotFound) && n == 0 {
			return nil
		}
		if err == nil && last.Seq <= h.Seq && (last.Seq < h.Seq || !bytes.Equal(last.Hash, h.Last)) {
			more := false // reports that came since the walk
			for _, err := range r.Scan(ctx, historyKey(access.Tenant(ctx), node, kind).After(historyKey(access.Tenant(ctx), node, kind).Uint(last.Seq).Uint(1<<62))) {
				if err != nil {
					return err
				}
				more = true
				break
			}
			if !more {
				return tampered(op, node, kind, h.Seq, "it is missing at the end of the history")
			}
		}
		return err
	})
	return n, storeFault(op, err)
}

func tampered(op, node, kind string, seq uint64, what string) error {
	return fault.New(op, fault.DataCorrupt, "record %d of the history of type %s on node %s: %s", seq, clip(kind), node, what).About(node)
}

// walk reads a history from its beginning, checking each record against the one before it, until fn returns false.
func (s *Service) walk(ctx context.Context, op, tenant, node, kind string, fn func(e *entry) bool) error {
	const page = 500
	space := historyKey(tenant, node, kind)
	rng := space.Range()
	rng.Limit = page
	var cur *entry // whose parts are being read
	var prev *entry
	stop := false
	done := func() error {
		if cur == nil {
			return nil
		}
		sum, err := cur.sum()
		switch {
		case err != nil:
			return err
		case cur.Parts > 0:
			return tampered(op, node, kind, cur.Seq, "a part of it is missing")
		case !bytes.Equal(sum, cur.Hash):
			return tampered(op, node, kind, cur.Seq, "it is not what was written")
		case prev == nil && !cur.Whole, prev != nil && (cur.Seq != prev.Seq+1 || !bytes.Equal(cur.Prev, prev.Hash)):
			return tampered(op, node, kind, cur.Seq, "the record before it is missing or was changed")
		}
		stop = !fn(cur)
		prev, cur = cur, nil
		return nil
	}
	for !stop {
		var batch []entry
		var keys [][]byte
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			batch, keys = nil, nil
			for e, err := range s.history.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				batch, keys = append(batch, e.Value), append(keys, e.Key)
			}
			return nil
		})
		if err != nil {
			return storeFault(op, err)
		}
		for i := range batch {
			if stop {
				return nil
			}
			k := key.Read(keys[i][len(space):])
			seq, part := k.Uint(), k.Uint()
			if k.Err() != nil || seq != batch[i].Seq {
				return tampered(op, node, kind, seq, "it stands where another belongs")
			}
			if part > 0 {
				if cur == nil || cur.Parts == 0 {
					return tampered(op, node, kind, seq, "it has a part too many")
				}
				cur.Put = append(cur.Put, batch[i].Put...)
				cur.Parts--
				continue
			}
			if err := done(); err != nil {
				return err
			}
			cur = &batch[i]
		}
		if len(batch) < page {
			if stop {
				return nil
			}
			return done()
		}
		rng.Start = append(append([]byte(nil), keys[len(keys)-1]...), 0)
	}
	return nil
}

// Forget removes what the history of every type on a node holds from before a time, as far as the last record that holds all items before it, and returns how many records went. It is for the host's
// retention and asks no authorizer. What lists show stays.
func (s *Service) Forget(ctx context.Context, tenant, node string, before time.Time) (n int, err error) {
	const op = "compliance.Forget"
	var kinds []string
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		kinds = nil
		for e, err := range s.heads.Scan(ctx, r, nodeKey(tenant, node).Range()) {
			if err != nil {
				return err
			}
			kinds = append(kinds, e.Value.Summary.ComplianceType)
		}
		return nil
	})
	if err != nil {
		return 0, storeFault(op, err)
	}
	for _, kind := range kinds {
		var cut uint64
		if err := s.walk(ctx, op, tenant, node, kind, func(e *entry) bool {
			if e.At.Before(before) && e.Whole {
				cut = e.Seq
			}
			return e.At.Before(before)
		}); err != nil {
			return n, err
		}
		space := historyKey(tenant, node, kind)
		rng := space.Range()
		rng.End = space.Uint(cut)
		gone, err := s.clear(ctx, op, rng)
		n += gone
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

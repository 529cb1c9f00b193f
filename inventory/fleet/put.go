package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// report is one item of a call, checked.
type report struct {
	inventory.Item
	custom  bool
	full    bool     // the content was given
	again   bool     // entries are repeated
	entries []*fresh // the marker first, then the content, or what a delta adds; none if only the hash was given
	ids     []uint32 // numbers of entries, sorted; without repetition
	gone    []uint32 // of a delta: what it takes away, sorted
	rev     uint64   // of a delta: the revision of the item that it was checked against
}

// PutInventory takes a report of a node: for each type what it has now, or only the hash of what it reported last. It needs ssm:PutInventory on the node. All items of a call are taken or none.
//
// An item with content replaces what the type had; content that is what was there only moves the capture time, so that a report may be sent again. An item without content (nil, not
// empty) is taken if its ContentHash is that of the last report of the type, whatever schema version it names, as the stock agent sends it; else the call ends with
// ItemContentMismatchException and the node is to send the content. Repeated entries of a list are one entry. Items of a custom type whose schema version was disabled by DeleteInventory are ignored.
//
// Errors: InvalidInstanceId, InvalidTypeNameException, InvalidItemContentException, ItemContentMismatchException, ItemSizeLimitExceededException, TotalSizeLimitExceededException,
// SubTypeCountLimitExceededException, CustomSchemaCountLimitExceededException, UnsupportedInventorySchemaVersionException, UnsupportedInventoryItemContextException, ValidationException.
func (s *Service) PutInventory(ctx context.Context, req inventory.Report) (out inventory.Ack, err error) {
	const op, action = "fleet.PutInventory", "ssm:PutInventory"
	resource := "node/" + clip(req.InstanceID)
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource, err)
		}
	}()
	tenant := access.Tenant(ctx)
	if err := s.mayTouch(ctx, op, action, tenant, req.InstanceID); err != nil {
		return out, err
	}
	reports, err := s.check(op, req)
	if err != nil {
		return out, err
	}
	digest := s.cfg.Audit.Digest(req)
	for range 8 {
		err = s.accept(ctx, op, action, resource, tenant, digest, req.InstanceID, reports)
		if !errors.Is(err, errSwept) && !errors.Is(err, errNew) {
			break
		}
	}
	if err != nil {
		s.disown(ctx, tenant, reports)
		if errors.Is(err, errSwept) || errors.Is(err, errNew) {
			err = fault.New(op, fault.ServiceUnavailable, "the index changes all the time; try again")
		}
		return out, storeFault(op, err)
	}
	return inventory.Ack{Message: "ok"}, nil
}

// mayTouch asks for an action on a node, and then whether the node exists: absent and forbidden look alike.
func (s *Service) mayTouch(ctx context.Context, op, action, tenant, node string) error {
	if !validNode(node) {
		return fault.New(op, fault.InvalidInstanceID, "the node id is empty, too long or has other characters than letters, digits, '-', '_' and '.'")
	}
	tags, err := s.tagsOf(ctx, op, tenant, node)
	if err != nil {
		return err
	}
	if err := access.Check(ctx, s.cfg.Authorizer, action, "node/"+node, tags[node]); err != nil {
		return fault.Wrap(op, err)
	}
	if _, ok := tags[node]; !ok && s.cfg.Nodes != nil {
		return fault.New(op, fault.InvalidInstanceID, "node %s is not managed: register it, or check the id", node).About(node)
	}
	return nil
}

// errNew says that the node has no record and no ordinal was taken for it.
var errNew = errors.New("fleet: the node is new")

// accept tries to take a report once.
func (s *Service) accept(ctx context.Context, op, action, resource, tenant, digest, node string, reports []*report) error {
	here := marker("", "")
	all := []*fresh{here}
	for _, r := range reports {
		all = append(all, r.entries...)
	}
	gen, err := s.intern(ctx, tenant, all)
	if err != nil {
		return err
	}
	for _, r := range reports {
		r.ids = r.ids[:0]
		for _, f := range r.entries {
			r.ids = append(r.ids, f.id)
		}
		slices.Sort(r.ids)
		r.ids = slices.Compact(r.ids)
		r.again = len(r.ids) < len(r.entries)
	}
	if err := s.resolve(ctx, op, tenant, node, reports); err != nil {
		return err
	}
	// an ordinal is taken before the transaction, and only for a new node
	ordinal := uint32(unset)
	var known bool
	if err := s.view(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, nodeKey(tenant, node))
		known = err == nil
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}); err != nil {
		return err
	}
	if !known {
		got, err := s.take(ctx, tenant, true, 1)
		if err != nil {
			return err
		}
		ordinal = got[0]
	}
	now := s.cfg.Now()
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if g, err := s.sweptGen(ctx, tx, tenant); err != nil || g != gen {
			s.forgetDictionary(tenant)
			return errors.Join(err, errSwept)
		}
		nk := nodeKey(tenant, node)
		h, err := s.heads.Get(ctx, tx, nk)
		switch {
		case errors.Is(err, store.ErrNotFound) && ordinal == unset:
			return errNew // it was removed meanwhile
		case errors.Is(err, store.ErrNotFound):
			h = head{Ordinal: ordinal}
			if err := s.put(tx, ordinalsKey(tenant).Uint(uint64(ordinal)), []byte(node)); err != nil {
				return err
			}
			h.Seq++
			if err := s.log(tx, tenant, &h, "", lists{add: []uint32{here.id}}); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if h.Items == nil {
			h.Items = map[string]item{}
		}
		changed := false
		h.Seq++
		for _, r := range reports {
			did, err := s.apply(ctx, tx, op, tenant, node, &h, r, now)
			if err != nil {
				return err
			}
			changed = changed || did
		}
		if changed || !known {
			if err := s.mark(ctx, tx, tenant); err != nil {
				return err
			}
			if err := s.forget(ctx, tx, historyKey(tenant, h.Ordinal), now.Add(-s.cfg.History)); err != nil {
				return err
			}
		}
		if err := s.heads.Put(tx, nk, h); err != nil {
			return err
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: action, Resource: resource, Digest: digest, IDs: map[string]string{"node": node}})
	})
}

// log writes a delta of a node.
func (s *Service) log(tx store.Tx, tenant string, h *head, typ string, d lists) error {
	return s.put(tx, logKey(tenant).Uint(uint64(h.Ordinal)).Uint(h.Seq).Str(typ), d.encode())
}

// apply takes one item in the transaction of the report. It says whether the entries changed.
func (s *Service) apply(ctx context.Context, tx store.Tx, op, tenant, node string, h *head, r *report, now time.Time) (changed bool, err error) {
	var st typeState
	if r.custom {
		if st, err = orZero(s.types.Get(ctx, tx, typesKey(tenant).Str(r.TypeName))); err != nil {
			return false, err
		}
		if st.Disabled != "" && inventory.CompareSchemaVersions(r.SchemaVersion, st.Disabled) <= 0 {
			return false, nil
		}
	}
	old, had := h.Items[r.TypeName]
	condemned := had && old.Gen < st.Gen
	if !r.full {
		stands := had && !condemned && old.Hash != ""
		switch {
		case stands && r.ContentHash != "" && old.Hash == r.ContentHash: // also a delta that was taken already
			old.Captured = r.CaptureTime
			h.Items[r.TypeName] = old
			return false, nil
		case !stands || r.Delta == nil || r.Delta.Base != old.Hash:
			return false, mismatch(op, node, r.TypeName)
		case old.Rev != r.rev:
			return false, errNew
		}
	}
	if r.custom {
		if err := s.learn(ctx, tx, op, tenant, r, st); err != nil {
			return false, err
		}
	}
	before, err := s.items(ctx, tx, tenant, node, r.TypeName)
	if err != nil {
		return false, err
	}
	ids, again := r.ids, r.again
	if !r.full { // the marker may be another: the old one is in gone
		ids, again = merge(difference(before.ids, r.gone), r.ids), false
	}
	next := item{Version: r.SchemaVersion, Captured: r.CaptureTime, Hash: r.ContentHash, Gen: st.Gen, Context: r.Context, Again: again, Rev: old.Rev}
	d := lists{del: difference(before.ids, ids), add: difference(ids, before.ids)}
	if len(d.del)+len(d.add) == 0 {
		h.Items[r.TypeName] = next
		return false, nil
	}
	next.Rev = h.Seq
	h.Items[r.TypeName] = next
	if len(ids) > mostEntries+1 {
		return false, fault.New(op, inventory.ItemSizeLimitExceeded, "%s would have %d entries; no store takes more than %d", r.TypeName, len(ids)-1, mostEntries).About(r.TypeName)
	}
	if err := s.putItems(tx, tenant, node, r.TypeName, before, ids); err != nil {
		return false, err
	}
	if err := s.log(tx, tenant, h, r.TypeName, d); err != nil {
		return false, err
	}
	return true, s.remember(tx, tenant, h, r.TypeName, r.SchemaVersion, r.CaptureTime, now, d)
}

func mismatch(op, node, typ string) error {
	return fault.New(op, inventory.ItemContentMismatch, "what node %s has of %s is not what this item starts from: send the content", node, typ).About(typ)
}

// merge returns what is in a or b, both sorted.
func merge(a, b []uint32) []uint32 {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// resolve checks deltas against what the node has, by the rules of inventory.Delta.Apply, and finds the numbers of what they take away. What does not fit is to be sent in full.
func (s *Service) resolve(ctx context.Context, op, tenant, node string, reports []*report) error {
	if !slices.ContainsFunc(reports, func(r *report) bool { return r.Delta != nil }) {
		return nil
	}
	return s.view(ctx, func(ctx context.Context, r store.Reader) error {
		h, err := orZero(s.heads.Get(ctx, r, nodeKey(tenant, node)))
		if err != nil {
			return err
		}
		q := &snapshot{s: s, r: r, tenant: tenant}
		for _, rep := range reports {
			it, ok := h.Items[rep.TypeName]
			if rep.Delta == nil || ok && it.Hash != "" && it.Hash == rep.ContentHash {
				continue
			}
			if !ok || it.Again || rep.again || it.Hash != rep.Delta.Base {
				return mismatch(op, node, rep.TypeName)
			}
			have, err := s.items(ctx, r, tenant, node, rep.TypeName)
			if err != nil {
				return err
			}
			ids := have.ids
			entries, err := q.entries(ctx, rep.TypeName, ids)
			if err != nil {
				return err
			}
			leaves := make(map[string]bool, len(rep.Delta.Removed))
			for _, hash := range rep.Delta.Removed {
				leaves[hash] = true
			}
			after := make([]inventory.Entry, 0, len(entries)+len(rep.Delta.Added))
			rep.gone = nil
			removed := 0
			for _, e := range entries {
				if isMarker(e.canon) {
					rep.gone = append(rep.gone, e.id)
					continue
				}
				a, _ := attributes(e.canon)
				if len(leaves) > removed && leaves[inventory.EntryHash(a)] {
					rep.gone = append(rep.gone, e.id)
					removed++
					continue
				}
				after = append(after, a)
			}
			after = append(after, rep.Delta.Added...)
			if removed != len(rep.Delta.Removed) || inventory.ContentHash(after) != rep.ContentHash {
				return mismatch(op, node, rep.TypeName)
			}
			slices.Sort(rep.gone)
			for _, id := range rep.ids {
				if _, found := slices.BinarySearch(ids, id); found {
					if _, leaves := slices.BinarySearch(rep.gone, id); !leaves {
						return mismatch(op, node, rep.TypeName) // a second copy of an entry
					}
				}
			}
			rep.rev = it.Rev
		}
		return nil
	})
}

// learn keeps the schema of a custom type as reports show it.
func (s *Service) learn(ctx context.Context, tx store.Tx, op, tenant string, r *report, st typeState) error {
	var old inventory.Schema
	if st.Schema != nil {
		old = *st.Schema
	} else {
		n := 0
		for e, err := range s.types.Scan(ctx, tx, typesKey(tenant).Range()) {
			if err != nil {
				return err
			}
			if e.Value.Schema != nil {
				n++
			}
		}
		if inventory.Over(n+1, s.cfg.Limits.Resolved().CustomTypes) {
			return fault.New(op, inventory.CustomSchemaCountLimit, "there are %d custom types, which is the most: delete one with DeleteInventory", n).About(r.TypeName)
		}
	}
	next, err := s.cfg.Limits.Learn(old, r.Item)
	if err != nil {
		return fault.Wrap(op, err)
	}
	if st.Schema != nil && next.Version == old.Version && len(next.Attributes) == len(old.Attributes) {
		return nil
	}
	st.Schema = &next
	return s.types.Put(tx, typesKey(tenant).Str(r.TypeName), st)
}

// check checks the items of a call and makes their entries.
func (s *Service) check(op string, req inventory.Report) ([]*report, error) {
	if err := s.cfg.Limits.ValidateReport(req); err != nil {
		return nil, fault.Wrap(op, err)
	}
	out := make([]*report, len(req.Items))
	for i, it := range req.Items {
		r := &report{Item: it, custom: isCustom(it.TypeName), full: it.Content != nil}
		out[i] = r
		content := it.Content
		if it.Delta != nil {
			content = it.Delta.Added
		} else if !r.full {
			continue
		}
		if len(content) > mostEntries {
			return nil, fault.New(op, inventory.ItemSizeLimitExceeded, "%s has %d entries; no store takes more than %d", it.TypeName, len(content), mostEntries).About(it.TypeName)
		}
		r.entries = append(make([]*fresh, 0, len(content)+1), marker(it.TypeName, it.SchemaVersion))
		for j, e := range content {
			canon := canonical(e)
			if len(canon) > mostEntry {
				return nil, fault.New(op, inventory.ItemSizeLimitExceeded, "%s: entry %d is larger than %d bytes", it.TypeName, j+1, mostEntry).About(it.TypeName)
			}
			r.entries = append(r.entries, &fresh{typ: it.TypeName, name: e[nameAttribute], canon: canon, h: hashOf(it.TypeName, canon)})
		}
	}
	return out, nil
}

// gravesKey is where ordinals of removed nodes wait for the removal of their history.
func gravesKey(tenant string) key.K { return root(tenant).Str("grave") }

// RemoveNode forgets all inventory of a node. It needs ssm:DeregisterManagedInstance on the node. A node without inventory is no error.
func (s *Service) RemoveNode(ctx context.Context, node string) (err error) {
	const op, action = "fleet.RemoveNode", "ssm:DeregisterManagedInstance"
	resource := "node/" + clip(node)
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource, err)
		}
	}()
	if !validNode(node) {
		return fault.New(op, fault.InvalidInstanceID, "the node id is not one")
	}
	tenant := access.Tenant(ctx)
	tags, err := s.tagsOf(ctx, op, tenant, node)
	if err != nil {
		return err
	}
	if err := access.Check(ctx, s.cfg.Authorizer, action, resource, tags[node]); err != nil {
		return fault.Wrap(op, err)
	}
	return storeFault(op, s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.ForgetNode(ctx, tx, tenant, node); err != nil {
			return err
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: action, Resource: resource, IDs: map[string]string{"node": node}})
	}))
}

// ForgetNode forgets all inventory of a node in the caller's transaction, such as that which removes the node. It asks nobody and records nothing. Its history goes later.
func (s *Service) ForgetNode(ctx context.Context, tx store.Tx, tenant, node string) error {
	nk := nodeKey(tenant, node)
	h, err := s.heads.Get(ctx, tx, nk)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	h.Seq++
	for _, typ := range slices.Sorted(maps.Keys(h.Items)) {
		ids, err := s.items(ctx, tx, tenant, node, typ)
		if err != nil {
			return err
		}
		if err := s.log(tx, tenant, &h, typ, lists{del: ids.ids}); err != nil {
			return err
		}
		if err := s.dropItems(tx, tenant, node, typ); err != nil {
			return err
		}
	}
	b, err := s.get(ctx, tx, hashKey(tenant, marker("", "").h))
	if err != nil {
		return err
	}
	if len(b) == 4 {
		if err := s.log(tx, tenant, &h, "", lists{del: []uint32{binary.BigEndian.Uint32(b)}}); err != nil {
			return err
		}
	}
	if err := tx.Delete(ordinalsKey(tenant).Uint(uint64(h.Ordinal))); err != nil {
		return err
	}
	if err := s.put(tx, gravesKey(tenant).Uint(uint64(h.Ordinal)), nil); err != nil {
		return err
	}
	if err := s.mark(ctx, tx, tenant); err != nil {
		return err
	}
	return tx.Delete(nk)
}

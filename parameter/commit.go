package parameter

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// commit is the transaction: all reads, all checks, all writes.
func (s *Service) commit(ctx context.Context, tx store.Tx, op, tenant string, items []*item, canons []string, id string) error {
	olds, err := s.heads(ctx, tx, tenant, canons)
	if err != nil {
		return err
	}
	now := s.now()
	counts := &counter{s: s, tenant: tenant}
	var events []Event
	for i, it := range items {
		old := olds[i]
		if (old == nil) != (it.seen == nil) || old != nil && (!maps.Equal(old.Tags, it.seen.Tags) || old.Type != it.seen.Type || old.KeyID != it.seen.KeyID || old.DataType != it.seen.DataType) {
			return errMoved
		}
		var e []Event
		switch {
		case it.put != nil:
			e, err = s.commitPut(ctx, tx, op, tenant, it, old, counts, now, id)
		case it.remove:
			if err = it.expect(op, old); err == nil {
				e, err = s.commitDelete(ctx, tx, op, tenant, it, old, counts, now, id)
			}
		default:
			err = it.expect(op, old)
		}
		if err != nil {
			return err
		}
		events = append(events, e...)
	}
	if err := counts.write(tx); err != nil {
		return err
	}
	if len(events) == 0 {
		return nil
	}
	return s.tell(ctx, tx, tenant, now, EventChange, events...)
}

func (s *Service) commitPut(ctx context.Context, tx store.Tx, op, tenant string, it *item, old *version, counts *counter, now time.Time, id string) ([]Event, error) {
	var total *tally
	if old == nil || it.put.Tier != "" && it.put.Tier != old.Tier {
		t, err := counts.total(ctx, tx)
		if err != nil {
			return nil, err
		}
		total = &t
	}
	v, value, err := s.next(ctx, op, it, old, total, now, id)
	if err != nil {
		return nil, err
	}
	v.User = access.From(ctx).Name
	if v.Type == SecureString {
		if it.sealer == nil {
			return nil, errMoved
		}
		sealed, err := it.sealer.SealVersion(v.Version, value.Secret())
		if err != nil {
			return nil, err
		}
		v.Value = string(sealed)
	} else {
		v.Value = value.Reveal()
	}
	if err := s.write(ctx, tx, op, tenant, it.canon, old, &v, counts); err != nil {
		return nil, err
	}
	it.result, it.created = PutParameterResult{Version: int64(v.Version), Tier: v.Tier}, v.Created
	operation := OpUpdate
	if old == nil {
		operation = OpCreate
	}
	digest := ""
	if s.cfg.Audit != nil {
		masked := it.put.PutParameterRequest
		masked.Value = Secret(value.Secret())
		digest = s.cfg.Audit.Digest(masked)
	}
	err = s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: putAction, Resource: resource(it.canon), Digest: digest, IDs: map[string]string{"version": number(v.Version)}})
	return []Event{s.change(tenant, it.canon, operation, &v)}, err
}

// write makes v the newest version: the former one goes to the past, the oldest is dropped when there are too many (T20).
func (s *Service) write(ctx context.Context, tx store.Tx, op, tenant, canon string, old, v *version, counts *counter) error {
	if old != nil {
		for int(v.Version-v.Oldest)+1 > s.limits.Versions {
			o, err := s.past(ctx, tx, tenant, canon, v.Oldest)
			if err != nil {
				return err
			}
			if o != nil && len(o.Labels) > 0 {
				return fault.New(op, CodeMaxVersion, "parameter %s has %d versions, and the oldest, %d, has the label %s: move its labels to a newer version", v.Name, s.limits.Versions, v.Oldest, o.Labels[0]).About(v.Name)
			}
			if err := tx.Delete(pastKey(tenant, canon, v.Oldest)); err != nil {
				return err
			}
			v.Oldest++
		}
		if err := s.putPast(tx, tenant, canon, old); err != nil {
			return err
		}
	}
	if err := counts.move(ctx, tx, canon, old, v); err != nil {
		return err
	}
	if err := s.reindex(tx, tenant, canon, old, v); err != nil {
		return err
	}
	if err := s.redue(tx, tenant, canon, old, v); err != nil {
		return err
	}
	return s.putHead(tx, tenant, canon, v)
}

// settle finds out by reading whether a transaction was made whose commit was not answered: its versions carry its id.
func (s *Service) settle(ctx context.Context, op, tenant string, items []*item, id string, unknown error) error {
	var made, lost bool
	err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		made, lost = false, false
		for _, it := range items {
			h, err := s.head(ctx, r, tenant, it.canon)
			if err != nil {
				return err
			}
			switch {
			case it.put != nil && h == nil: // never made, or deleted since
			case it.put != nil && h.Write == id:
				made = true
				return nil
			case it.put != nil && it.seen != nil && h.Write == it.seen.Write:
				lost = true
				return nil
			case it.put != nil && !h.Created.Equal(it.created):
				return nil // made again since: what was before is not known
			case it.put != nil && h.Version < uint64(it.result.Version):
				d, err := s.lastDeletion(ctx, r, tenant, it.canon)
				lost = err == nil && (d == nil || d.deleted.Before(it.created))
				return err
			case it.put != nil:
				p, err := s.byNumber(ctx, r, tenant, it.canon, h, uint64(it.result.Version))
				if err != nil {
					return err
				}
				d, err := s.lastDeletion(ctx, r, tenant, it.canon)
				if err != nil {
					return err
				}
				made = p != nil && p.Write == id
				lost = p != nil && !made && (d == nil || d.deleted.Before(it.created))
				return nil
			case it.remove && h == nil:
				g, err := s.lastDeletion(ctx, r, tenant, it.canon)
				if err != nil {
					return err
				}
				made = g != nil && g.id == id // else another deleted it, after us or instead of us
				return nil
			case it.remove && it.seen != nil && h.Write == it.seen.Write:
				lost = true
				return nil
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return storeFault(op, unknown)
	case made:
		return nil
	case lost:
		return fault.New(op, fault.ServiceUnavailable, "the store lost the change; nothing happened; try again")
	}
	return storeFault(op, unknown)
}

// counter counts parameters in a transaction.
type counter struct {
	s      *Service
	tenant string
	loaded bool
	shard  [shards]tally
	dirty  [shards]bool
}

func (c *counter) load(ctx context.Context, tx store.Tx) error {
	if c.loaded {
		return nil
	}
	keys := make([][]byte, shards)
	for i := range keys {
		keys[i] = countsKey(c.tenant).Uint(uint64(i))
	}
	bs, err := tx.GetMany(ctx, keys)
	if err != nil {
		return err
	}
	for i, b := range bs {
		if c.shard[i], err = c.s.openTally(keys[i], b); err != nil {
			return err
		}
	}
	c.loaded = true
	return nil
}

func (c *counter) total(ctx context.Context, tx store.Tx) (t tally, err error) {
	if err := c.load(ctx, tx); err != nil {
		return t, err
	}
	for _, s := range c.shard {
		t.standard += s.standard
		t.advanced += s.advanced
	}
	return t, nil
}

// move counts a parameter that changes its tier, comes or goes.
func (c *counter) move(ctx context.Context, tx store.Tx, canon string, before, after *version) error {
	if before != nil && after != nil && before.Tier == after.Tier {
		return nil
	}
	if err := c.load(ctx, tx); err != nil {
		return err
	}
	i := shardOf(canon)
	c.dirty[i] = true
	add := func(v *version, n int) {
		p := &c.shard[i].standard
		if v.Tier == Advanced {
			p = &c.shard[i].advanced
		}
		*p = uint64(max(0, int64(*p)+int64(n)))
	}
	if before != nil {
		add(before, -1)
	}
	if after != nil {
		add(after, 1)
	}
	return nil
}

func (c *counter) write(tx store.Tx) error {
	for i, d := range c.dirty {
		if d {
			if err := c.s.mark(tx, countsKey(c.tenant).Uint(uint64(i)), c.shard[i].encode()); err != nil {
				return err
			}
		}
	}
	return nil
}

// commitDelete removes a parameter with its history, labels and policies.
func (s *Service) commitDelete(ctx context.Context, tx store.Tx, op, tenant string, it *item, old *version, counts *counter, now time.Time, id string) ([]Event, error) {
	canon := it.canon
	if old == nil {
		return nil, absent(op, canon)
	}
	if err := s.erase(ctx, tx, tenant, canon, old, counts, now, id); err != nil {
		return nil, err
	}
	err := s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: it.action(), Resource: resource(canon), IDs: map[string]string{"version": number(old.Version)}})
	return []Event{s.change(tenant, canon, OpDelete, old)}, err
}

func (s *Service) erase(ctx context.Context, tx store.Tx, tenant, canon string, old *version, counts *counter, now time.Time, id string) error {
	if err := counts.move(ctx, tx, canon, old, nil); err != nil {
		return err
	}
	if err := s.reindex(tx, tenant, canon, old, nil); err != nil {
		return err
	}
	if err := s.redue(tx, tenant, canon, old, nil); err != nil {
		return err
	}
	for n := old.Oldest; n < old.Version; n++ {
		if err := tx.Delete(pastKey(tenant, canon, n)); err != nil {
			return err
		}
	}
	type entry struct {
		key   []byte
		label string
	}
	var labels []entry
	for it, err := range tx.Scan(ctx, labelsKey(tenant, canon).Range()) {
		if err != nil {
			return err
		}
		p, err := s.cfg.Codec.Open(it.Key, it.Value)
		if err != nil {
			return err
		}
		_, label, _ := decodeLabel(p)
		labels = append(labels, entry{slices.Clone(it.Key), label})
	}
	for _, l := range labels {
		if err := tx.Delete(l.key); err != nil {
			return err
		}
		if err := tx.Delete(byKey(tenant, byLabel, l.label).Str(canon)); err != nil {
			return err
		}
	}
	if old.Shared {
		if err := s.unshareAll(ctx, tx, tenant, canon); err != nil {
			return err
		}
	}
	if err := tx.Delete(headKey(tenant, canon)); err != nil {
		return err
	}
	return s.mark(tx, goneKey(tenant, canon), encodeGone(old.Created, now, id))
}

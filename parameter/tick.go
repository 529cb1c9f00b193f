package parameter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

const (
	tickEvery  = time.Second
	tickBatch  = 100     // policies or pending writes that one round looks at
	keepEvents = 100_000 // of a tenant, that Tick leaves at least
	trimEvery  = 10_000  // events beyond keepEvents before Tick trims
)

// pending is a write that waits for its validator.
type pending struct {
	Canon string `json:"canon"`
	User  string `json:"user,omitempty"`
	Write string `json:"write"`
	Head  []byte `json:"head"`           // the version as it would be
	Base  string `json:"base,omitempty"` // the write that it was made after; "" is none
}

// postpone keeps a write whose value must be checked first, and answers as AWS does: with the version that it will be (S15).
func (s *Service) postpone(ctx context.Context, op, tenant string, it *item, v *version, id string) error {
	v.User = access.From(ctx).Name
	p := pending{Canon: it.canon, User: v.User, Write: id, Head: v.encode()}
	if it.seen != nil {
		p.Base = it.seen.Write
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fault.Wrap(op, err)
	}
	it.result = PutParameterResult{Version: int64(v.Version), Tier: v.Tier}
	masked := it.put.PutParameterRequest
	masked.Value = Secret(masked.Value.Secret())
	digest := s.cfg.Audit.Digest(masked)
	now := s.now()
	for tries := 0; ; tries++ {
		err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := s.mark(tx, pendingsKey(tenant).Time(now).Str(id), b); err != nil {
				return err
			}
			return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: putAction, Resource: resource(it.canon), Digest: digest, IDs: map[string]string{"version": number(v.Version), "pending": "true"}})
		})
		if errors.Is(err, store.ErrCommitUnknown) && tries < 3 {
			continue // under the same id: twice is once
		}
		return storeFault(op, err)
	}
}

// Run does what goes on by itself until ctx ends: policies that are due, writes that wait for a validator, old events. It looks every second. With Config.Leases one control plane at a time does it.
// It returns ctx's error. The goroutine is the caller's.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		if s.cfg.Beat != nil {
			s.cfg.Beat(tickEvery)
		}
		if err := s.Tick(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("the work on parameter policies failed and is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Tick does once, for every tenant, what is due at Config.Now: parameters that expired are deleted, notices are given, writes that wait are checked. A host that has a loop of its own calls it instead of
// Run. Like AWS's scan it comes after the instant, never before (S30). With Config.Leases, who does not hold the lease does nothing.
func (s *Service) Tick(ctx context.Context) error {
	const op = "parameter.Tick"
	var held lease.Held
	if s.cfg.Leases != nil {
		var err error
		if held, err = s.cfg.Leases.Acquire(ctx, access.DefaultTenant, "parameter/tick"); errors.Is(err, lease.ErrHeld) {
			return nil
		} else if err != nil {
			return fault.Wrap(op, err)
		}
	}
	tenants, err := s.tenants(ctx, op)
	if err != nil {
		return err
	}
	var errs []error
	for _, tenant := range tenants {
		errs = append(errs, s.tickPending(ctx, op, tenant, held), s.tickDue(ctx, op, tenant, held), s.tickEvents(ctx, op, tenant, held))
	}
	return fault.Wrap(op, errors.Join(errs...))
}

// tenants finds every tenant of the store by stepping over their keys.
func (s *Service) tenants(ctx context.Context, op string) (out []string, err error) {
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		out = nil
		rng := store.Range{Limit: 1}
		for {
			found := false
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				found = true
				k := key.Read(it.Key)
				tenant := k.Str()
				if !k.More() { // no key of a service
					rng.Start = append(slices.Clone(it.Key), 0)
					continue
				}
				out = append(out, tenant)
				rng.Start = key.New(tenant).Range().End
			}
			if !found {
				return nil
			}
		}
	})
	return out, err
}

// guard refuses the work of one who lost the lease.
func (s *Service) guard(ctx context.Context, tx store.Tx, held lease.Held) error {
	if s.cfg.Leases == nil {
		return nil
	}
	return held.Check(ctx, tx)
}

// tickDue does what policies have to do by now.
func (s *Service) tickDue(ctx context.Context, op, tenant string, held lease.Held) error {
	for {
		now := s.now()
		type entry struct {
			at        time.Time
			canon, id string
		}
		var batch []entry
		if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
			batch = nil
			rng := duesKey(tenant).Range()
			rng.End, rng.Limit = duesKey(tenant).Time(now.Add(1)), tickBatch
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				k := key.Read(it.Key)
				k.Str()
				k.Str()
				k.Str()
				e := entry{k.Time(), k.Str(), k.Str()}
				if err := k.Err(); err != nil {
					return err
				}
				batch = append(batch, e)
			}
			return nil
		}); err != nil {
			return err
		}
		for _, e := range batch {
			if err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				if err := s.guard(ctx, tx, held); err != nil {
					return err
				}
				return s.act(ctx, tx, tenant, e.canon, e.id, e.at, now)
			}); err != nil {
				return storeFault(op, err)
			}
		}
		if len(batch) < tickBatch {
			return nil
		}
	}
}

// act does what one policy has to do, if it still has to.
func (s *Service) act(ctx context.Context, tx store.Tx, tenant, canon, id string, at, now time.Time) error {
	if err := tx.Delete(dueKey(tenant, at, canon, id)); err != nil {
		return err
	}
	h, err := s.head(ctx, tx, tenant, canon)
	if err != nil || h == nil {
		return err
	}
	i := slices.IndexFunc(h.dues(), func(d due) bool { return d.id == id && d.at.Equal(at) })
	if i < 0 {
		return nil // it was changed since
	}
	d := h.dues()[i]
	e := s.change(tenant, canon, "", h)
	e.PolicyType, e.PolicyContent, e.ActionStatus = d.kind, d.text, "Success"
	switch d.kind {
	case Expiration:
		counts := &counter{s: s, tenant: tenant}
		if err := s.erase(ctx, tx, tenant, canon, h, counts, now, ""); err != nil {
			return err
		}
		if err := counts.write(tx); err != nil {
			return err
		}
		e.ActionReason = "The parameter expired and was deleted."
		if err := s.cfg.Audit.Record(ctx, tx, audit.Entry{Tenant: tenant, Principal: "parameter policy", Action: "ssm:DeleteParameter", Resource: resource(canon), IDs: map[string]string{"version": number(h.Version), "policy": Expiration}}); err != nil {
			return err
		}
		if err := s.tell(ctx, tx, tenant, now, EventChange, s.change(tenant, canon, OpDelete, h)); err != nil {
			return err
		}
	case ExpirationNotification:
		e.ActionReason = "The parameter will expire within " + d.span.String() + "."
	case NoChangeNotification:
		e.ActionReason = "The parameter has not been changed for " + d.span.String() + "."
	}
	if d.kind != Expiration {
		h.Done = append(slices.Clone(h.Done), id)
		if err := s.putHead(tx, tenant, canon, h); err != nil {
			return err
		}
	}
	return s.tell(ctx, tx, tenant, now, EventPolicy, e)
}

// tickPending checks writes that wait, outside of any transaction, and makes or discards each.
func (s *Service) tickPending(ctx context.Context, op, tenant string, held lease.Held) error {
	type entry struct {
		key key.K
		p   pending
	}
	var batch []entry
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		batch = nil
		rng := pendingsKey(tenant).Range()
		rng.Limit = tickBatch
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			b, err := s.cfg.Codec.Open(it.Key, it.Value)
			if err != nil {
				return err
			}
			e := entry{key: slices.Clone(key.K(it.Key))}
			if err := json.Unmarshal(b, &e.p); err != nil {
				return err
			}
			batch = append(batch, e)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, e := range batch {
		v, ok := decodeVersion(e.p.Head)
		if !ok {
			return fault.New(op, fault.DataCorrupt, "a write of parameter %s that waits for its validator is damaged", e.p.Canon)
		}
		dt, err := s.dataType(op, v.DataType)
		if err == nil && dt.Check != nil {
			refused, failed := s.validate(ctx, op, v.Name, v.DataType, dt, Text(v.Value))
			err = errors.Join(refused, failed)
			if k := fault.KindOf(err); k == fault.Unavailable || k == fault.Throttled || k == fault.Canceled {
				return err // the validator could not tell: it is asked again
			}
		}
		why := ""
		if err != nil {
			why = "Unable to Describe Resource"
		}
		if err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := s.guard(ctx, tx, held); err != nil {
				return err
			}
			if _, err := tx.Get(ctx, e.key); errors.Is(err, store.ErrNotFound) {
				return nil // another was quicker
			} else if err != nil {
				return err
			}
			if err := tx.Delete(e.key); err != nil {
				return err
			}
			return s.admit(ctx, tx, op, tenant, e.p, v, why)
		}); err != nil {
			return storeFault(op, err)
		}
	}
	return nil
}

// admit makes the version of a write that waited, or tells why not.
func (s *Service) admit(ctx context.Context, tx store.Tx, op, tenant string, p pending, v version, why string) error {
	old, err := s.head(ctx, tx, tenant, p.Canon)
	if err != nil {
		return err
	}
	now := s.now()
	operation, base := OpCreate, ""
	if old != nil {
		operation, base = OpUpdate, old.Write
	}
	if why == "" && base != p.Base {
		why = "The parameter was changed by another write in the meantime"
	}
	if why == "" {
		v.Modified = now
		if old == nil {
			v.Created = now
		} else {
			v.Created, v.Oldest, v.Tags, v.Shared, v.Done = old.Created, old.Oldest, old.Tags, old.Shared, nil
			if !now.After(old.Modified) {
				v.Modified = old.Modified.Add(1)
			}
		}
		counts := &counter{s: s, tenant: tenant}
		err := s.write(ctx, tx, op, tenant, p.Canon, old, &v, counts)
		switch {
		case fault.CodeOf(err) == CodeMaxVersion:
			why = string(CodeMaxVersion)
		case err != nil:
			return err
		default:
			if err := counts.write(tx); err != nil {
				return err
			}
		}
	}
	e := s.change(tenant, p.Canon, operation, &v)
	e.Exception = why
	return s.tell(ctx, tx, tenant, now, EventChange, e)
}

// tickEvents removes events that are older than the newest keepEvents.
func (s *Service) tickEvents(ctx context.Context, op, tenant string, held lease.Held) error {
	var last uint64
	if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) (err error) {
		last, err = s.feed.Last(ctx, r, topicKey(tenant))
		return err
	}); err != nil {
		return err
	}
	if last < keepEvents+trimEvery {
		return nil
	}
	return storeFault(op, s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.guard(ctx, tx, held); err != nil {
			return err
		}
		_, err := s.feed.Trim(ctx, tx, topicKey(tenant), last-keepEvents, 2000)
		return err
	}))
}

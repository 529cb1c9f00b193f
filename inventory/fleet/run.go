package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Run owns the indexes of all tenants that it can get until ctx ends: it folds deltas when enough wait or one waits long, carries deletions out, and forgets what is old. It returns
// ctx's error. One Run at a time; the goroutine is the caller's, and everything that Run started has ended when it returns. While nothing happens it costs one read each Poll.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.runs {
		s.mu.Unlock()
		return fault.New("fleet.Run", fault.InternalServerError, "Run is running already")
	}
	s.runs = true
	s.mu.Unlock()
	defer s.letGo(ctx)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	changed, err := store.Watch(inner, s.cfg.Store, todoKey())
	if err != nil {
		return fault.Wrap("fleet.Run", err)
	}
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()
	for ctx.Err() == nil {
		if err := s.Tend(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("cannot tend the inventory; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
		case _, ok := <-changed:
			if !ok {
				changed = nil
			}
			// what comes at once is looked at together
			select {
			case <-ctx.Done():
			case <-poll.C:
			}
		}
	}
	return ctx.Err()
}

// letGo releases what Run owned.
func (s *Service) letGo(ctx context.Context) {
	s.mu.Lock()
	owned := s.owned
	s.owned, s.runs = map[string]lease.Held{}, false
	s.mu.Unlock()
	for tenant, held := range owned {
		if err := held.Release(context.WithoutCancel(ctx)); err != nil { // it expires by itself
			s.cfg.Log.Warn("cannot let go of an inventory index", "tenant", fault.Clean(tenant), "error", err)
		}
	}
}

// Tend does once what Run does at each Poll: it looks at every tenant that has something to do and does what is due. It is for hosts that have a loop of their own; what it owns then, it owns until the
// session of Config.Leases ends.
func (s *Service) Tend(ctx context.Context) error {
	const op = "fleet.Tend"
	var tenants []string
	prefix := todoKey()
	err := s.view(ctx, func(ctx context.Context, r store.Reader) error {
		tenants = nil
		for it, err := range r.Scan(ctx, prefix.Range()) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key[len(prefix):])
			tenants = append(tenants, k.Str())
			if err := k.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return storeFault(op, err)
	}
	var all []error
	for _, tenant := range tenants {
		if err := s.tend(ctx, tenant); err != nil && !errors.Is(err, lease.ErrHeld) && !errors.Is(err, lease.ErrLost) {
			all = append(all, err)
		}
	}
	return storeFault(op, errors.Join(all...))
}

func (s *Service) tend(ctx context.Context, tenant string) error {
	waiting, work := 0, false
	err := s.view(ctx, func(ctx context.Context, r store.Reader) error {
		waiting, work = 0, false
		rng := logKey(tenant).Range()
		rng.Limit = s.cfg.Batch
		for _, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			waiting++
		}
		for _, k := range []key.K{deletionsTodo(tenant), gravesKey(tenant)} {
			rng := k.Range()
			rng.Limit = 1
			for _, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				work = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	s.mu.Lock()
	since, ok := s.due[tenant]
	if !ok || waiting == 0 {
		since = now
		s.due[tenant] = now
	}
	sweep := now.Sub(s.swept[tenant]) >= sweepEvery
	s.mu.Unlock()
	fold := waiting >= s.cfg.Batch || waiting > 0 && now.Sub(since) >= s.cfg.FoldAfter
	if !fold && !work {
		return nil
	}
	held, err := s.acquire(ctx, tenant)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.owned[tenant] = held
	s.mu.Unlock()
	if work {
		if err := s.deleteAll(ctx, held, tenant); err != nil {
			return err
		}
		if err := s.buryAll(ctx, held, tenant); err != nil {
			return err
		}
	}
	if fold || work { // what was deleted is in the log now
		if _, err := s.fold(ctx, held, tenant); err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.due, tenant)
		s.mu.Unlock()
	}
	if sweep {
		if err := s.oldDeletions(ctx, held, tenant, now.Add(-s.cfg.History)); err != nil {
			return err
		}
		if err := s.sweepAll(ctx, held, tenant, now.Add(-s.cfg.History)); err != nil {
			return err
		}
		s.mu.Lock()
		s.swept[tenant] = now
		s.mu.Unlock()
	}
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := held.Check(ctx, tx); err != nil {
			return err
		}
		return s.unmark(ctx, tx, tenant)
	})
}

const (
	sweepEvery  = time.Hour
	sweepAtOnce = 500
)

// sweepAll removes entries that have been on no node since before a time, so that nobody's history speaks of them.
func (s *Service) sweepAll(ctx context.Context, held lease.Held, tenant string, before time.Time) error {
	for {
		n := 0
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			if err := held.Check(ctx, tx); err != nil {
				return err
			}
			n, err = s.sweep(ctx, tx, tenant, before)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		s.forgetDictionary(tenant)
	}
}

// sweep looks at some entries that lost their last node before a time. It returns how many it looked at.
func (s *Service) sweep(ctx context.Context, tx store.Tx, tenant string, before time.Time) (n int, err error) {
	type dead struct {
		k   []byte
		typ string
		id  uint32
	}
	prefix := deadKey(tenant)
	rng := prefix.Range()
	rng.End, rng.Limit = prefix.Time(before), sweepAtOnce
	var list []dead
	for it, err := range tx.Scan(ctx, rng) {
		if err != nil {
			return 0, err
		}
		k := key.Read(it.Key[len(prefix):])
		k.Time()
		d := dead{k: slices.Clone(it.Key), typ: k.Str(), id: uint32(k.Uint())}
		if err := k.Err(); err != nil {
			return 0, err
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		return 0, nil
	}
	// what is in the log is needed
	used := map[uint32]bool{}
	if err := s.scanTail(ctx, tx, tenant, logKey(tenant).Range(), nil, func(_ []byte, rec tailRecord) bool {
		for _, d := range list {
			if _, ok := slices.BinarySearch(rec.add, d.id); ok {
				used[d.id] = true
			}
			if _, ok := slices.BinarySearch(rec.del, d.id); ok {
				used[d.id] = true
			}
		}
		return true
	}); err != nil {
		return 0, err
	}
	removed := false
	for _, d := range list {
		if err := tx.Delete(d.k); err != nil {
			return 0, err
		}
		if used[d.id] {
			if err := s.put(tx, prefix.Time(s.cfg.Now()).Str(d.typ).Uint(uint64(d.id)), nil); err != nil {
				return 0, err
			}
			continue
		}
		alive := false
		one := bitsKey(tenant, d.typ).Uint(uint64(d.id)).Range()
		one.Limit = 1
		for _, err := range tx.Scan(ctx, one) {
			if err != nil {
				return 0, err
			}
			alive = true
		}
		ek := entriesKey(tenant, d.typ).Uint(uint64(d.id))
		canon, err := s.get(ctx, tx, ek)
		if err != nil {
			return 0, err
		}
		if alive || canon == nil {
			continue
		}
		a, ok := attributes(string(canon))
		if !ok {
			return 0, corrupt(ek, "no entry")
		}
		h := hashOf(d.typ, canon)
		if err := tx.Delete(hashKey(tenant, h)); err != nil {
			return 0, err
		}
		if name := a[nameAttribute]; name != "" {
			if err := tx.Delete(byNameKey(tenant, d.typ, name).Uint(uint64(d.id))); err != nil {
				return 0, err
			}
		}
		if err := tx.Delete(ek); err != nil {
			return 0, err
		}
		removed = true
	}
	if !removed {
		return len(list), nil
	}
	gen, err := s.sweptGen(ctx, tx, tenant)
	if err != nil {
		return 0, err
	}
	return len(list), s.put(tx, sweptKey(tenant), binary.BigEndian.AppendUint64(nil, gen+1))
}

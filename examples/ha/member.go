//go:build unix

package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// fencedStore counts what leases are there for: writes of a control plane that is no longer the owner, and does not know.
type fencedStore struct {
	*pgstore.Store
	refused atomic.Int64
}

// Update implements store.Store.
func (s *fencedStore) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	if errors.Is(err, lease.ErrLost) {
		s.refused.Add(1)
	}
	return err
}

// member is what the control planes know of one another: each writes its own record, under the lease of its name. When it is gone, another takes that lease and says so; if it
// was only frozen, its next write is refused.
type member struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Epoch uint64    `json:"epoch"` // of the lease that it was last written under
	Beats uint64    `json:"beats"`
	Gone  string    `json:"gone,omitempty"` // who found that it is gone
}

func members() key.K { return key.New("").Str("ha").Str("member") }

func memberKey(name string) key.K { return members().Str(name) }

func memberLease(name string) string { return "ha/member/" + name }

// membership is a control plane's place among the others.
type membership struct {
	store   store.Store
	records record.Table[member]
	fleet   *fleetwright.Fleet
	name    string
	ttl     time.Duration
	log     *slog.Logger
	broken  atomic.Int64

	mu    sync.Mutex
	held  lease.Held
	since time.Time
}

func (m *membership) lease() lease.Held {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}

func (m *membership) alive() bool { return m.lease().Alive() }

// take waits until the name is this process's. It keeps the leases alive meanwhile.
func (m *membership) take(ctx context.Context) error {
	m.since = time.Now()
	t := time.NewTicker(m.beat())
	defer t.Stop()
	for {
		err := m.fleet.Leases.Renew(ctx)
		if err == nil {
			err = m.acquire(ctx)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, lease.ErrHeld) && ctx.Err() == nil {
			m.log.Warn("the name cannot be taken yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (m *membership) acquire(ctx context.Context) error {
	held, err := m.fleet.Leases.Acquire(ctx, "", memberLease(m.name))
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.held = held
	m.mu.Unlock()
	return m.write(ctx, held)
}

func (m *membership) beat() time.Duration { return max(m.ttl/5, 100*time.Millisecond) }

// run writes the record again and again, and looks after the others', until ctx ends.
func (m *membership) run(ctx context.Context) {
	t := time.NewTicker(m.beat())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := m.write(ctx, m.lease())
		if errors.Is(err, lease.ErrLost) {
			m.log.Warn("this control plane was taken for dead, and a write of it refused; it goes on as a new one")
			err = m.acquire(ctx)
		}
		if err == nil {
			err = m.bury(ctx)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, lease.ErrHeld) {
			m.log.Warn("the record of this control plane was not written; trying again", "error", err)
		}
	}
}

// write writes the own record. That a newer owner's was there, under a lease that is held, would be the fence's failure.
func (m *membership) write(ctx context.Context, held lease.Held) error {
	stale := false
	err := m.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := held.Check(ctx, tx); err != nil {
			return err
		}
		was, err := m.records.Get(ctx, tx, memberKey(m.name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		stale = was.Epoch > held.Epoch
		return m.records.Put(tx, memberKey(m.name), member{Name: m.name, Since: m.since, Epoch: held.Epoch, Beats: was.Beats + 1})
	})
	if err == nil && stale {
		m.broken.Add(1)
	}
	return err
}

// bury finds out which of the others are gone, and writes it down.
func (m *membership) bury(ctx context.Context) error {
	all, err := m.list(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Name == m.name || other.Gone != "" {
			continue
		}
		held, err := m.fleet.Leases.Acquire(ctx, "", memberLease(other.Name))
		if errors.Is(err, lease.ErrHeld) {
			continue // it lives
		}
		if err != nil {
			return err
		}
		err = m.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := held.Check(ctx, tx); err != nil {
				return err
			}
			rec, err := m.records.Get(ctx, tx, memberKey(other.Name))
			if err != nil {
				return err
			}
			rec.Gone, rec.Epoch = m.name, held.Epoch
			return m.records.Put(tx, memberKey(other.Name), rec)
		})
		if err == nil {
			m.log.Info("another control plane is gone", "name", other.Name)
		}
		if err = errors.Join(err, held.Release(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// list returns everybody, the gone included, by name.
func (m *membership) list(ctx context.Context) (all []member, err error) {
	err = m.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		all = all[:0]
		for e, err := range m.records.Scan(ctx, r, members().Range()) {
			if err != nil {
				return err
			}
			all = append(all, e.Value)
		}
		return nil
	})
	return all, err
}

// leave removes the own record, at a stop in good order and after run: nobody has to find out.
func (m *membership) leave(ctx context.Context) error {
	held := m.lease()
	err := m.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := held.Check(ctx, tx); err != nil {
			return err
		}
		return tx.Delete(memberKey(m.name))
	})
	if errors.Is(err, lease.ErrLost) {
		return nil
	}
	return err
}

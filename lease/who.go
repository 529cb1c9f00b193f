package lease

import (
	"context"
	"errors"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Holder says who holds a lease, for people.
type Holder struct {
	Owner  string        `json:"owner,omitempty"` // Config.Owner of the holder; "" when the lease is free
	Epoch  uint64        `json:"epoch"`           // of the lease, also of a free one
	Mine   bool          `json:"mine"`            // this process holds it
	Dead   bool          `json:"dead"`            // the holder gave no sign of life for its TTL, as far as this process has watched
	Silent time.Duration `json:"silent"`          // since its last sign of life, as far as this process has watched
}

// Who returns who holds a lease. It takes nothing.
func (l *Leases) Who(ctx context.Context, tenant, name string) (h Holder, err error) {
	i := id{tenant, name}
	var rec leaseRecord
	var other *sessionRecord
	err = l.store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		rec, other, err = l.look(ctx, r, i)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return h, fault.Wrap("lease.Who", err)
	}
	h = Holder{Owner: rec.Owner, Epoch: rec.Epoch}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	switch {
	case rec.Session == "":
		h.Owner = ""
	case rec.Session == l.session:
		h.Mine, h.Silent = true, max(0, now.Sub(l.renewed))
		h.Dead = h.Silent > l.cfg.TTL
	case other == nil: // its session is gone
		h.Dead = true
	default:
		h.Dead, _ = l.sight(rec.Session, *other, now)
		h.Silent = now.Sub(l.seen[rec.Session].since)
	}
	return h, nil
}

package automation

import (
	"context"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Prune removes the executions of the caller's tenant that ended longer ago than age, with their histories and events, the oldest first, and returns how many. AWS keeps them
// for 30 days. It is asked for as ssm:StopAutomationExecution of every execution, and may be called beside everything else.
func (s *Service) Prune(ctx context.Context, age time.Duration) (removed int, err error) {
	const op = "automation.Prune"
	defer func() { s.audited(ctx, actionStop, "automation-execution/*", err) }()
	if err := access.Check(ctx, s.cfg.Authorizer, actionStop, "automation-execution/*", nil); err != nil {
		return 0, fault.Wrap(op, err)
	}
	tenant := access.Tenant(ctx)
	limit := s.cfg.Now().Add(-age)
	rng := timesKey(tenant).Range()
	rng.End = timesKey(tenant).Time(limit) // what ended before was created before
	for {
		page, more, err := s.page(ctx, tenant, rng)
		if err != nil {
			return removed, storeFault(op, err)
		}
		for i := range page {
			h := &page[i]
			if !h.Status.Done() || h.Form > s.cfg.form || h.End.After(limit) {
				continue
			}
			if err := s.remove(ctx, tenant, h); err != nil {
				return removed, storeFault(op, err)
			}
			removed++
		}
		if !more {
			return removed, nil
		}
		rng.Start = timesKey(tenant).Time(page[len(page)-1].Created).Str(page[len(page)-1].ID + "\x00")
	}
}

// remove deletes what is kept of an execution, what lists show of it last, so that a crash in between leaves it to be removed again.
func (s *Service) remove(ctx context.Context, tenant string, h *head) error {
	spaces := []key.K{logKey(tenant, h.ID), space(tenant, "state").Str(h.ID)}
	for more := true; more; {
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			more = false
			for _, k := range spaces {
				rng := k.Range()
				rng.Limit = 1000
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
				more = more || len(keys) == rng.Limit
			}
			left, err := s.feed.Delete(ctx, tx, topic(tenant, h.ID), 1000)
			if more = more || left; err != nil || more {
				return err
			}
			if err := tx.Delete(headKey(tenant, h.ID)); err != nil {
				return err
			}
			return tx.Delete(timesKey(tenant).Time(h.Created).Str(h.ID))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

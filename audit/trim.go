package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Trim removes this writer's segments whose entries are all older than before, in every tenant. What was removed is signed first, recorded as an entry of action
// ActionTrim, and reported by Verify. Segments that are not filled yet stay.
func (l *Log) Trim(ctx context.Context, before time.Time) error {
	if l == nil {
		return nil
	}
	if err := l.Checkpoint(ctx); err != nil {
		return err
	}
	chains, err := l.chains(ctx, "")
	if err != nil {
		return fault.Wrap("audit.Trim", err)
	}
	for _, c := range chains {
		if c.writer != l.cfg.Writer {
			continue
		}
		if err := l.trim(ctx, c, before); err != nil {
			return fault.Wrap("audit.Trim", err)
		}
	}
	return nil
}

func (l *Log) trim(ctx context.Context, c chainID, before time.Time) error {
	var from, old uint64
	err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		h, err := l.t.heads.Get(ctx, r, headKey(c))
		if err != nil {
			return err
		}
		from, old = h.From, h.From
		for ; from < h.SignedIn; from++ {
			e, err := l.last(ctx, r, c, from)
			if err != nil {
				return err
			}
			if !e.Time.Before(before) {
				break
			}
		}
		return nil
	})
	if err != nil || from == old {
		return err
	}
	e := l.fill(ctx, Entry{Tenant: c.tenant, Principal: l.cfg.Writer, Action: ActionTrim, IDs: map[string]string{"oldest": fmt.Sprint(from)}})
	if err := l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return l.append(ctx, tx, c.tenant, []Entry{e}) }); err != nil {
		return err
	}
	if err := l.checkpoint(ctx, c, from); err != nil { // from here on the rest is only garbage, whenever it is removed
		return err
	}
	if err := l.purge(ctx, store.Range{Start: entries(c).Range().Start, End: entries(c).Uint(from)}); err != nil {
		return err
	}
	// Keep the checkpoint that ended the last removed segment: the rest begins with its hash.
	var keep uint64
	err = l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		for e, err := range l.t.checkpoints.Scan(ctx, r, checkpoints(c).Range()) {
			if err != nil || e.Value.Segment >= from {
				return err
			}
			keep = e.Value.Seq
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.purge(ctx, store.Range{Start: checkpoints(c).Range().Start, End: checkpoints(c).Uint(keep)})
}

// purge deletes a range, a thousand keys a transaction.
func (l *Log) purge(ctx context.Context, rng store.Range) error {
	rng.Limit = 1000
	for more := true; more; {
		err := l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			var dead [][]byte
			for it, err := range tx.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				dead = append(dead, append([]byte(nil), it.Key...))
			}
			more = len(dead) == rng.Limit
			for _, k := range dead {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

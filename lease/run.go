package lease

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// buryAfter is after how many TTLs of silence a session's record is removed.
const buryAfter = 10

// Run keeps this process's session alive and watches the others' until ctx ends; then it ends the session, so that others may take everything over at
// once. Errors of the store are logged and tried again. It returns ctx's error. Call it once; the goroutine is the caller's.
func (l *Leases) Run(ctx context.Context) error {
	t := time.NewTicker(l.cfg.TTL / 4)
	defer t.Stop()
	for {
		if l.cfg.Beat != nil {
			l.cfg.Beat(l.cfg.TTL / 4)
		}
		if err := l.Renew(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "lease renewal failed", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.TTL)
			defer cancel()
			if err := l.end(end); err != nil {
				l.cfg.Log.LogAttrs(end, slog.LevelWarn, "lease session not ended", slog.String("error", err.Error()))
			}
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Renew does what Run does every quarter of the TTL, once: renew the session, find out which leases were lost, look at the other sessions. It is
// for hosts that have a loop of their own.
func (l *Leases) Renew(ctx context.Context) error {
	l.mu.Lock()
	session, registered := l.session, l.registered
	l.mu.Unlock()
	if registered {
		began, gone := l.cfg.Now(), false
		err := l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			gone = false
			err := l.beat(ctx, tx, session)
			if errors.Is(err, store.ErrNotFound) {
				gone = true
				return nil
			}
			return err
		})
		switch {
		case err != nil:
			return fault.Wrap("lease.Renew", err)
		case gone:
			l.abandon(session)
		default:
			l.mu.Lock()
			if l.session == session {
				l.renewed = began
			}
			l.mu.Unlock()
			if err := l.verify(ctx, session); err != nil {
				return fault.Wrap("lease.Renew", err)
			}
		}
	}
	return fault.Wrap("lease.Renew", l.watch(ctx, session))
}

// verify reads every lease that memory holds and drops those that are somebody else's.
func (l *Leases) verify(ctx context.Context, session string) error {
	l.mu.Lock()
	all := make([]*state, 0, len(l.held))
	for _, st := range l.held {
		all = append(all, st)
	}
	l.mu.Unlock()
	for len(all) > 0 {
		part := all[:min(len(all), 1000)]
		all = all[len(part):]
		keys := make([][]byte, len(part))
		for i, st := range part {
			keys[i] = leaseKey(st.id)
		}
		var recs []*leaseRecord
		err := l.store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			recs, err = l.leases.GetMany(ctx, r, keys)
			return err
		})
		if err != nil {
			return err
		}
		for i, st := range part {
			if rec := recs[i]; rec == nil || rec.Session != session || rec.Epoch != st.epoch {
				Held{st: st}.Forget()
			}
		}
	}
	return nil
}

// watch looks at all other sessions, so that the time of their silence counts from now on, and buries those that are long dead.
func (l *Leases) watch(ctx context.Context, session string) error {
	type other struct {
		id  string
		rec sessionRecord
	}
	var others []other
	err := l.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		others = nil
		for e, err := range l.sessions.Scan(ctx, r, sessionsKey().Range()) {
			if err != nil {
				return err
			}
			s, err := sessionOf(e.Key)
			if err != nil {
				return err
			}
			if s != session {
				others = append(others, other{s, e.Value})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var bury []other
	l.mu.Lock()
	alive := make(map[string]sighting, len(others))
	for _, o := range others {
		l.sight(o.id, o.rec, l.cfg.Now())
		s := l.seen[o.id]
		alive[o.id] = s
		if l.cfg.Exclusive || l.cfg.Now().Sub(s.since) > buryAfter*max(o.rec.TTL, l.cfg.TTL) {
			bury = append(bury, o)
		}
	}
	l.seen = alive
	l.mu.Unlock()
	if len(bury) == 0 {
		return nil
	}
	return l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, o := range bury {
			rec, err := l.sessions.Get(ctx, tx, sessionKey(o.id))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if rec == o.rec { // no sign of life since we looked
				if err := tx.Delete(sessionKey(o.id)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// end removes the session: all its leases are free.
func (l *Leases) end(ctx context.Context) error {
	l.mu.Lock()
	session, registered := l.session, l.registered
	l.mu.Unlock()
	if session == "" {
		return nil
	}
	l.abandon(session)
	if !registered {
		return nil
	}
	return l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Delete(sessionKey(session)) })
}

package lease

import (
	"bytes"
	"context"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// sweepPage is how many keys a transaction of Sweep removes.
const sweepPage = 1000

// EachSession calls fn for each session that has something below a prefix, after which keys go on with a session's id. It reads one key for each.
func EachSession(ctx context.Context, r store.Reader, prefix key.K, fn func(session string) error) error {
	rng := prefix.Range()
	for {
		rng.Limit = 1
		session := ""
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			if session = key.Read(it.Key[len(prefix):]).Str(); session == "" {
				return key.ErrMalformed
			}
		}
		if session == "" {
			return nil
		}
		if err := fn(session); err != nil {
			return err
		}
		rng.Start = prefix.Str(session).Range().End
	}
}

// Sweep removes what lies below a prefix, after which keys go on with a session's id, of sessions whose record is gone: nobody works under that id any more. It returns their ids.
func (l *Leases) Sweep(ctx context.Context, prefix key.K) (gone []string, err error) {
	err = l.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		gone = nil
		return EachSession(ctx, r, prefix, func(session string) error {
			there, err := l.Exists(ctx, r, session)
			if err == nil && !there {
				gone = append(gone, session)
			}
			return err
		})
	})
	for _, session := range gone {
		for more := err == nil; more; {
			more, err = l.remove(ctx, prefix.Str(session))
		}
	}
	return gone, fault.Wrap("lease.Sweep", err)
}

// remove removes a page of what lies below a prefix.
func (l *Leases) remove(ctx context.Context, prefix key.K) (more bool, err error) {
	var dead [][]byte
	rng := prefix.Range()
	rng.Limit = sweepPage
	err = l.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		dead = dead[:0]
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			dead = append(dead, bytes.Clone(it.Key))
		}
		return nil
	})
	if err != nil || len(dead) == 0 {
		return false, err
	}
	err = l.store.Update(ctx, func(_ context.Context, tx store.Tx) error {
		for _, k := range dead {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return err == nil && len(dead) == sweepPage, err
}

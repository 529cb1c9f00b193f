package command

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// pruneWrites is how many records one transaction of Prune removes.
const pruneWrites = 2000

// Prune removes the ended commands of a tenant that [Retention] no longer keeps, the oldest first, with their output, and returns how many. It is the
// host's to call, say once an hour. Commands that have not ended stay, whatever their age.
func (s *Service) Prune(ctx context.Context, tenant string) (removed int, err error) {
	keep := s.cfg.Retention
	now := s.cfg.Now()
	type entry struct {
		id    string
		at    time.Time
		bytes int64
	}
	var all []entry // newest first
	rng := timesKey(tenant).Range()
	for {
		var page []entry
		var last []byte
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			page, last = nil, nil
			rng.Reverse, rng.Limit = true, scanPage
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				k := key.Read(it.Key[len(timesKey(tenant)):])
				at, id := k.Time(), k.Str()
				if k.Err() != nil {
					return k.Err()
				}
				e := entry{id: id, at: at}
				if keep.Bytes > 0 {
					for st, err := range s.streams.Scan(ctx, r, streamsKey(tenant, id).Range()) {
						if err != nil {
							return err
						}
						e.bytes += st.Value.End
					}
				}
				page, last = append(page, e), slices.Clone(it.Key)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		all = append(all, page...)
		if len(page) < scanPage {
			break
		}
		rng.End = last
	}
	var bytes int64
	for i, e := range all {
		bytes += e.bytes
		if (keep.Age <= 0 || now.Sub(e.at) <= keep.Age) && (keep.Count <= 0 || i < keep.Count) && (keep.Bytes <= 0 || bytes <= keep.Bytes) {
			continue
		}
		ok, err := s.remove(ctx, tenant, e.id, e.at)
		if err != nil {
			return removed, err
		}
		if ok {
			removed++
		}
	}
	return removed, nil
}

// remove deletes one ended command: what can be much first, in batches, the command itself and its index entry last, so that an interrupted removal is found again.
func (s *Service) remove(ctx context.Context, tenant, id string, at time.Time) (bool, error) {
	var st State
	var rec record
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		rec, st, err = s.read(ctx, r, "command.Prune", tenant, id)
		return err
	})
	if err != nil {
		return false, err
	}
	if !st.Done() {
		return false, nil
	}
	for _, p := range []key.K{invsKey(tenant, id), headsKey(tenant, id), streamsKey(tenant, id), chunksKey(tenant, id), docsKey(tenant, id)} {
		for more := true; more; {
			err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				rng := p.Range()
				rng.Limit = pruneWrites
				var keys [][]byte
				for it, err := range tx.Scan(ctx, rng) {
					if err != nil {
						return err
					}
					keys = append(keys, slices.Clone(it.Key))
				}
				more = len(keys) == pruneWrites
				for _, k := range keys {
					if err := tx.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return false, err
			}
		}
	}
	for more := true; more; {
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			more, err = s.feed.Delete(ctx, tx, topic(tenant, id), pruneWrites)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if err := s.cfg.Blobs.Delete(ctx, "output/"+tenant+"/"+id); err != nil {
		return false, err
	}
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		keys := [][]byte{commandKey(tenant, id), stateKey(tenant, id), timeKey(tenant, at, id)}
		if t := rec.Request.ClientToken; t != "" {
			if tok, err := s.tokens.Get(ctx, tx, tokenKey(tenant, t)); err == nil && tok.Command == id {
				keys = append(keys, tokenKey(tenant, t))
			} else if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return err == nil, err
}

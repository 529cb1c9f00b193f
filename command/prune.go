package command

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// pruneWrites is how many records one transaction of Prune removes.
const pruneWrites = 2000

// trash names a command that was removed and whose parts are still to be cleared away.
type trash struct {
	At time.Time `json:"at"`
}

func trashKey(tenant string) key.K { return space(tenant, "trash") }

// Prune removes the ended commands of a tenant that [Retention] no longer keeps, with their output, and returns how many. It is the
// host's to call, say once an hour. Commands that have not ended stay, whatever their age. A command is gone at once, for every reader; its parts are cleared away after that, and
// what an interrupted Prune left is cleared away by the next one. Commands whose records are
// corrupt are left as they are, and named in the error.
func (s *Service) Prune(ctx context.Context, tenant string) (removed int, err error) {
	const op = "command.Prune"
	if err := s.clearTrash(ctx, tenant); err != nil {
		return 0, wrap(op, err)
	}
	var corrupt error
	keep, now := s.cfg.Retention, s.cfg.Now()
	if keep == (Retention{}) {
		return 0, nil
	}
	count, bytes := 0, int64(0)
	rng := timesKey(tenant).Range()
	for {
		page, last, err := s.oldest(ctx, tenant, rng)
		if err != nil {
			return removed, wrap(op, err)
		}
		for _, id := range page { // the newest first
			if ctx.Err() != nil {
				return removed, wrap(op, ctx.Err())
			}
			count++
			over := keep.Count > 0 && count > keep.Count
			if keep.Bytes > 0 && !over {
				n, err := s.outputBytes(ctx, tenant, id)
				if err != nil {
					return removed, wrap(op, err)
				}
				bytes += n
				over = bytes > keep.Bytes
			}
			ok, err := s.remove(ctx, tenant, id, func(st *State) bool { return over || keep.Age > 0 && now.Sub(st.EndedAt) > keep.Age })
			if ok {
				removed++
			}
			if fault.CodeOf(err) == fault.DataCorrupt {
				corrupt = errors.Join(corrupt, err)
			} else if err != nil {
				return removed, wrap(op, err)
			}
		}
		if last == nil {
			return removed, wrap(op, corrupt)
		}
		rng.End = last
	}
}

// oldest returns a page of commands, the newest first, and the key where the next page ends; nil at the end.
func (s *Service) oldest(ctx context.Context, tenant string, rng store.Range) (ids []string, last []byte, err error) {
	rng.Reverse, rng.Limit = true, scanPage
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		ids, last = nil, nil
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key[len(timesKey(tenant)):])
			k.Time()
			ids = append(ids, k.Str())
			if err := k.Err(); err != nil {
				return err
			}
			if len(ids) == scanPage {
				last = slices.Clone(it.Key)
			}
		}
		return nil
	})
	return ids, last, err
}

// outputBytes returns how much output a command keeps in blobs.
func (s *Service) outputBytes(ctx context.Context, tenant, id string) (n int64, err error) {
	prefix := streamsKey(tenant, id)
	for rng := prefix.Range(); ; {
		rng.Limit = scanPage
		seen, sum := 0, int64(0)
		var last key.K
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			seen, sum = 0, 0
			for e, err := range s.streams.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				seen, sum, last = seen+1, sum+e.Value.End, e.Key
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		n += sum
		if seen < scanPage {
			return n, nil
		}
		rng = prefix.After(last)
	}
}

// remove takes one ended command out of sight, if it is to go, and clears its parts away.
func (s *Service) remove(ctx context.Context, tenant, id string, goes func(*State) bool) (gone bool, err error) {
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		if is, err := s.isForeign(ctx, r, tenant, id); err != nil || is {
			gone = false
			return err // who understands it removes it
		}
		st, err := s.states.Get(ctx, r, stateKey(tenant, id))
		gone = err == nil && st.Done() && goes(&st)
		return err
	})
	if errors.Is(err, store.ErrNotFound) { // somebody else was quicker
		return false, nil
	}
	if err != nil || !gone {
		return false, err
	}
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		gone = false
		if is, err := s.isForeign(ctx, tx, tenant, id); err != nil || is {
			return err
		}
		rec, st, err := s.read(ctx, tx, "command.Prune", tenant, id)
		if fault.CodeOf(err) == fault.InvalidCommandID {
			return nil
		}
		if err != nil {
			return err
		}
		gone = true
		keys := [][]byte{commandKey(tenant, id), stateKey(tenant, id), timeKey(tenant, st.RequestedAt, id)}
		if t := rec.Request.ClientToken; t != "" {
			tok, err := s.tokens.Get(ctx, tx, tokenKey(tenant, t))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err == nil && tok.Command == id {
				keys = append(keys, tokenKey(tenant, t))
			}
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return s.trash.Put(tx, trashKey(tenant).Str(id), trash{At: s.cfg.Now()})
	})
	if err != nil || !gone {
		return false, err
	}
	return true, s.clear(ctx, tenant, id)
}

// clearTrash clears away what interrupted removals left.
func (s *Service) clearTrash(ctx context.Context, tenant string) error {
	var ids []string
	err := s.eachKey(ctx, trashKey(tenant), func(k *key.Reader) error {
		ids = append(ids, k.Str())
		return k.Err()
	})
	for _, id := range ids {
		if err != nil {
			return err
		}
		err = s.clear(ctx, tenant, id)
	}
	return err
}

// clear clears away the parts of a command that is out of sight, then the note of it.
func (s *Service) clear(ctx context.Context, tenant, id string) error {
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
				return err
			}
		}
	}
	for more := true; more; {
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			more, err = s.feed.Delete(ctx, tx, topic(tenant, id), pruneWrites)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := s.cfg.Blobs.Delete(ctx, outputBlob(tenant, id)); err != nil {
		return err
	}
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Delete(trashKey(tenant).Str(id)) })
}

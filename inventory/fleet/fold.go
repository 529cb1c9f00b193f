package fleet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Bounds of a fold.
const (
	mostPairs    = 4 << 20 // that one fold holds in memory, 8 bytes each
	foldRecords  = 50_000  // of the log
	partsAtOnce  = 4000    // of bitmaps that are read at once
	writesAtOnce = 4000    // of a transaction
	bytesAtOnce  = 4 << 20
	journalKept  = 64 // generations by which a cache may be behind and still only read what changed
	journalMost  = 20_000
)

// Folded says what a fold did.
type Folded struct {
	Deltas  int   // records of the log that were folded
	Changes int   // pairs of node and entry in them
	Bitmaps int   // parts of bitmaps that were written
	Bytes   int64 // of values written
}

func leaseName() string { return "inventory" }

// Fold takes the lease of the tenant's index if it is free, and folds every delta that is in the log now into the bitmaps; it lets the lease go unless Run runs. Run does the same when it is
// due. Errors: ServiceUnavailable with lease.ErrHeld or lease.ErrLost, when another process owns the index.
func (s *Service) Fold(ctx context.Context, tenant string) (Folded, error) {
	const op = "fleet.Fold"
	held, err := s.acquire(ctx, tenant)
	if err != nil {
		return Folded{}, fault.Wrap(op, err)
	}
	out, err := s.fold(ctx, held, tenant)
	s.mu.Lock()
	runs := s.runs
	s.mu.Unlock()
	if !runs {
		err = errors.Join(err, held.Release(context.WithoutCancel(ctx)))
	}
	return out, storeFault(op, err)
}

func (s *Service) acquire(ctx context.Context, tenant string) (lease.Held, error) {
	if s.cfg.Leases == nil {
		return lease.Held{}, fault.New("fleet", fault.InternalServerError, "no leases were configured, so nobody can own the index")
	}
	return s.cfg.Leases.Acquire(ctx, tenant, leaseName())
}

// fold folds what is in the log when it begins.
func (s *Service) fold(ctx context.Context, held lease.Held, tenant string) (out Folded, err error) {
	rng := logKey(tenant).Range()
	for {
		n, next, err := s.foldPart(ctx, held, tenant, rng, &out)
		if err != nil || n == 0 {
			return out, err
		}
		rng = logKey(tenant).After(next)
	}
}

// foldPart folds records of the log from the beginning of rng, at most so many as memory is meant for. Every part of it can be done again.
func (s *Service) foldPart(ctx context.Context, held lease.Held, tenant string, rng store.Range, out *Folded) (n int, last []byte, err error) {
	var keys [][]byte
	c := collector{types: map[string]*change{}}
	err = s.view(ctx, func(ctx context.Context, r store.Reader) error {
		keys, c = nil, collector{types: map[string]*change{}}
		return s.scanTail(ctx, r, tenant, rng, nil, func(k []byte, rec tailRecord) bool {
			keys = append(keys, bytes.Clone(k))
			c.add(rec)
			return c.pairs < mostPairs && len(keys) < foldRecords
		})
	})
	if err != nil || len(keys) == 0 {
		return 0, nil, err
	}
	changes := c.done()
	w := &foldWriter{s: s, held: held, tenant: tenant, out: out}
	for _, typ := range slices.Sorted(maps.Keys(changes)) {
		if err := s.foldType(ctx, w, tenant, typ, changes[typ]); err != nil {
			return 0, nil, err
		}
	}
	if err := w.flush(ctx); err != nil {
		return 0, nil, err
	}
	out.Deltas += len(keys)
	out.Changes += c.pairs
	last = keys[len(keys)-1]
	return len(keys), last, s.forgetDeltas(ctx, held, tenant, keys)
}

// foldType makes the new parts of the bitmaps of a type.
func (s *Service) foldType(ctx context.Context, w *foldWriter, tenant, typ string, ch *change) error {
	const block = ^uint64(0xffff) // a pair without the place within its part
	del, add := ch.del, ch.add
	type todo struct {
		at       uint64
		del, add []uint64
	}
	take := func(pairs *[]uint64, at uint64) []uint64 {
		n := 0
		for n < len(*pairs) && (*pairs)[n]&block == at {
			n++
		}
		head := (*pairs)[:n]
		*pairs = (*pairs)[n:]
		return head
	}
	for len(del)+len(add) > 0 {
		var work []todo
		var keys [][]byte
		for len(del)+len(add) > 0 && len(work) < partsAtOnce {
			var at uint64
			switch {
			case len(del) == 0:
				at = add[0] & block
			case len(add) == 0:
				at = del[0] & block
			default:
				at = min(del[0]&block, add[0]&block)
			}
			work = append(work, todo{at, take(&del, at), take(&add, at)})
			keys = append(keys, bitsKey(tenant, typ).Uint(at>>32).Uint(at&0xffffffff>>16))
		}
		parts := make([]part, len(work))
		err := s.view(ctx, func(ctx context.Context, r store.Reader) error { return s.readParts(ctx, r, keys, parts) })
		if err != nil {
			return err
		}
		for i, t := range work {
			if err := parts[i].change(ctx, w, typ, uint32(t.at>>32), keys[i], ordinals(t.del), ordinals(t.add)); err != nil {
				return err
			}
			parts[i] = part{}
		}
	}
	return nil
}

// part is a stored part of a set of nodes.
type part struct {
	base    *roaring.Bitmap // nil: there is none
	size    int             // bytes of base
	now     *roaring.Bitmap // with the changes
	patched bool
}

// readParts reads parts by the keys of their bases.
func (s *Service) readParts(ctx context.Context, r store.Reader, keys [][]byte, parts []part) error {
	both := make([][]byte, 0, 2*len(keys))
	for _, k := range keys {
		both = append(both, k, changesKey(k))
	}
	vals, err := r.GetMany(ctx, both)
	if err != nil {
		return err
	}
	for i := range keys {
		p := part{now: roaring.New()}
		if v := vals[2*i]; v != nil {
			b, err := s.cfg.Codec.Open(both[2*i], v)
			if err != nil {
				return err
			}
			if p.base, err = decodeBits(both[2*i], b); err != nil {
				return err
			}
			p.size, p.now = len(b), p.base.Clone()
		}
		if v := vals[2*i+1]; v != nil {
			b, err := s.cfg.Codec.Open(both[2*i+1], v)
			if err != nil {
				return err
			}
			if err := patchBits(p.now, both[2*i+1], b); err != nil {
				return err
			}
			p.patched = true
		}
		parts[i] = p
	}
	return nil
}

// change makes the changes and writes what is the least: a small record beside the part, as long as it is small beside it, or the part.
func (p *part) change(ctx context.Context, w *foldWriter, typ string, id uint32, k key.K, del, add []uint32) error {
	before, changed := p.now.GetCardinality(), false
	for _, o := range del {
		changed = p.now.CheckedRemove(o) || changed
	}
	removed := p.now.GetCardinality()
	p.now.AddMany(add)
	if !changed && p.now.GetCardinality() == before && removed == before {
		return nil // folded before
	}
	if p.now.IsEmpty() {
		if p.patched {
			if err := w.add(ctx, typ, id, changesKey(k), nil); err != nil {
				return err
			}
		}
		w.dead = append(w.dead, deadEntry{typ, id})
		return w.add(ctx, typ, id, k, nil)
	}
	if p.base != nil {
		patch := lists{del: roaring.AndNot(p.base, p.now).ToArray(), add: roaring.AndNot(p.now, p.base).ToArray()}
		if n := len(patch.del) + len(patch.add); n > 0 && 16*n <= p.size {
			return w.add(ctx, typ, id, changesKey(k), patch.encode())
		}
		if p.patched {
			if err := w.add(ctx, typ, id, changesKey(k), nil); err != nil {
				return err
			}
		}
	}
	body, err := encodeBits(p.now)
	if err != nil {
		return err
	}
	return w.add(ctx, typ, id, k, body)
}

type deadEntry struct {
	typ string
	id  uint32
}

func ordinals(pairs []uint64) []uint32 {
	out := make([]uint32, len(pairs))
	for i, p := range pairs {
		out[i] = uint32(p)
	}
	return out
}

// foldWriter gathers parts of bitmaps into transactions that prove the lease.
type foldWriter struct {
	s      *Service
	held   lease.Held
	tenant string
	out    *Folded
	keys   [][]byte
	bodies [][]byte // nil deletes
	size   int
	touch  map[string][]uint32
	dead   []deadEntry // may be on no node any more
}

func (w *foldWriter) add(ctx context.Context, typ string, id uint32, k key.K, body []byte) error {
	if w.size+len(k)+len(body) > bytesAtOnce || len(w.keys) >= writesAtOnce {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	if w.touch == nil {
		w.touch = map[string][]uint32{}
	}
	if t := w.touch[typ]; len(t) == 0 || t[len(t)-1] != id {
		w.touch[typ] = append(t, id)
	}
	w.keys, w.bodies = append(w.keys, k), append(w.bodies, body)
	w.size += len(k) + len(body)
	return nil
}

func (w *foldWriter) flush(ctx context.Context) error {
	if len(w.keys) == 0 {
		return nil
	}
	s, tenant := w.s, w.tenant
	now := s.cfg.Now()
	err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := w.held.Check(ctx, tx); err != nil {
			return err
		}
		if _, err := s.bump(ctx, tx, tenant, w.touch); err != nil {
			return err
		}
		for i, k := range w.keys {
			var err error
			if w.bodies[i] == nil {
				err = tx.Delete(k)
			} else {
				err = s.put(tx, k, w.bodies[i])
			}
			if err != nil {
				return err
			}
		}
		for _, d := range w.dead {
			if err := s.put(tx, deadKey(tenant).Time(now).Str(d.typ).Uint(uint64(d.id)), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.out.Bitmaps += len(w.keys)
	w.out.Bytes += int64(w.size)
	w.keys, w.bodies, w.size, w.touch, w.dead = nil, nil, 0, nil, nil
	return nil
}

// bump begins a generation of the bitmaps and writes in the journal which entries it changes.
func (s *Service) bump(ctx context.Context, tx store.Tx, tenant string, touch map[string][]uint32) (uint64, error) {
	f, err := orZero(s.folds.Get(ctx, tx, foldKey(tenant)))
	if err != nil {
		return 0, err
	}
	f.Gen++
	var b []byte
	for _, typ := range slices.Sorted(maps.Keys(touch)) {
		b = appendString(b, typ)
		b = appendIDs(b, touch[typ])
	}
	if err := s.put(tx, journalKey(tenant).Uint(f.Gen), b); err != nil {
		return 0, err
	}
	if f.Gen > journalKept {
		if err := tx.Delete(journalKey(tenant).Uint(f.Gen - journalKept)); err != nil {
			return 0, err
		}
	}
	return f.Gen, s.folds.Put(tx, foldKey(tenant), f)
}

// forgetDeltas removes folded records from the log, those of a node in their order, and the mark of the tenant if nothing is left to do.
func (s *Service) forgetDeltas(ctx context.Context, held lease.Held, tenant string, keys [][]byte) error {
	for len(keys) > 0 {
		part := keys[:min(len(keys), writesAtOnce)]
		keys = keys[len(part):]
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := held.Check(ctx, tx); err != nil {
				return err
			}
			for _, k := range part {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return s.unmark(ctx, tx, tenant)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unmark removes the mark of a tenant for which nothing is left to do.
func (s *Service) unmark(ctx context.Context, tx store.Tx, tenant string) error {
	for _, k := range []key.K{logKey(tenant), deletionsTodo(tenant), gravesKey(tenant)} {
		rng := k.Range()
		rng.Limit = 1
		for _, err := range tx.Scan(ctx, rng) {
			return err
		}
	}
	return tx.Delete(todoKey().Str(tenant))
}

// mark says that the tenant has work. It is read first, so that reports do not all write one record.
func (s *Service) mark(ctx context.Context, tx store.Tx, tenant string) error {
	k := todoKey().Str(tenant)
	_, err := tx.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return s.put(tx, k, nil)
	}
	return err
}

func appendString(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

func readString(b []byte) (s string, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", nil, false
	}
	return string(b[w : w+int(n)]), b[w+int(n):], true
}

// Package storeblob keeps blobs in a store, in records of at most 240 KiB: for control planes on several machines that share a database and no disk.
//
//	blobs := storeblob.New(st, codec, nil)
//	n, err := blobs.Put(ctx, "output/default/c-1/stdout", r)
//
// It is the choice where what is kept is command output and the like: as durable as the store, in its backups, read by every control plane. Gigabytes of packages
// are cheaper in a directory (blob/dirblob) or in an object store.
//
// # Records
//
// Under no tenant: "blob"/"head"/key what a blob is, "blob"/"data"/generation/n its bytes, "blob"/"dead"/time/generation what is to be cleared away then. A Put writes a
// new generation and lets the key name it with the last of its bytes, in one transaction; a Put of less than 4 MiB is one transaction in all.
//
// What was replaced or deleted stays readable for Options.Grace to who had it open; after that Sweep removes it, and so does every Put and Delete, a little at a time. A Put that
// died leaves bytes that are removed a day later.
package storeblob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

const (
	// chunk is how many bytes a record has; all of a blob but the last have so many.
	chunk = 240 << 10
	// batch is how many chunks a transaction writes.
	batch = 16
	// unfinished is how long a Put may take.
	unfinished = 24 * time.Hour
	// page is how many blobs a transaction deletes, and how many records it clears away.
	page = 2000
	// little is how many dead blobs a Put or a Delete clears away in passing.
	little = 16
)

// Options of New; nil is the zero value.
type Options struct {
	// Grace is how long the bytes of a blob that was replaced or deleted stay for those who read it; 0 is an hour. It must be more than the clocks of the control planes differ.
	Grace time.Duration
	Now   func() time.Time // nil is time.Now
	Rand  io.Reader        // for names of generations; nil is crypto/rand
}

// Store is a blob.Store over a store. All methods are safe for concurrent use. They must not be called from within a transaction (store.ErrNested).
type Store struct {
	store store.Store
	codec *record.Codec
	heads record.Table[head]
	dead  record.Table[grave]
	opts  Options
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Keeper = (*Store)(nil)
)

// head is what a key names.
type head struct {
	Generation string `json:"generation"`
	Size       int64  `json:"size"`
}

func (h head) chunks() int { return int((h.Size + chunk - 1) / chunk) }

// grave is a generation that is to be cleared away; Chunks is -1 for one that was never finished.
type grave struct {
	Chunks int `json:"chunks"`
}

// New returns the blobs in s. It does no I/O. codec may be nil.
func New(s store.Store, codec *record.Codec, o *Options) *Store {
	b := &Store{store: s, codec: codec, heads: record.NewTable[head](codec), dead: record.NewTable[grave](codec)}
	if o != nil {
		b.opts = *o
	}
	if b.opts.Grace <= 0 {
		b.opts.Grace = time.Hour
	}
	if b.opts.Now == nil {
		b.opts.Now = time.Now
	}
	if b.opts.Rand == nil {
		b.opts.Rand = rand.Reader
	}
	return b
}

// Keeps implements blob.Keeper: with it a backup has each blob once, as a blob, and can be restored to where blobs are files.
func (s *Store) Keeps(recordKey []byte) (name string, ok bool) {
	switch {
	case bytes.HasPrefix(recordKey, space("data")), bytes.HasPrefix(recordKey, space("dead")):
		return "", true
	case !bytes.HasPrefix(recordKey, space("head")):
		return "", false
	}
	k := key.Read(recordKey)
	for range 3 { // the tenant, "blob", "head"
		k.Str()
	}
	name = k.Str()
	if k.Err() != nil || blob.CheckKey(name) != nil || !bytes.Equal(recordKey, headKey(name)) {
		return "", false // nobody's
	}
	return name, true
}

func space(name string) key.K { return key.New("").Str("blob").Str(name) }

func headKey(k string) key.K { return space("head").Str(k) }

func dataKey(generation string, n int) key.K {
	return space("data").Str(generation).Uint(uint64(n))
}

func deadKey(at time.Time, generation string) key.K { return space("dead").Time(at).Str(generation) }

// below returns the range of the blobs whose key continues k with "/".
func below(k string) store.Range {
	start := headKey(k + "/")
	start = start[:len(start)-2] // without the end of the string, whose other bytes stand as they are
	end := slices.Clone(start)
	end[len(end)-1]++
	return store.Range{Start: start, End: end}
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, k string, r io.Reader) (int64, error) {
	const op = "storeblob.Put"
	if err := check(ctx, op, k); err != nil {
		return 0, err
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(s.opts.Rand, id); err != nil {
		return 0, fault.New(op, fault.InternalServerError, "no random bytes: %w", err)
	}
	p := &putting{s: s, h: head{Generation: fmt.Sprintf("%x", id)}, deadline: s.opts.Now().Add(unfinished)}
	err := p.copy(ctx, r)
	if err == nil {
		err = p.finish(ctx, k)
	}
	if err != nil {
		if p.flushed > 0 && !errors.Is(err, store.ErrCommitUnknown) {
			p.abandon(context.WithoutCancel(ctx))
		}
		return 0, fault.Wrap(op, err)
	}
	s.sweep(ctx, little) //nolint:errcheck // it is tried again by whoever comes next
	return p.h.Size, nil
}

// putting is one Put.
type putting struct {
	s        *Store
	h        head
	deadline time.Time
	flushed  int      // chunks in the store
	waiting  [][]byte // the next ones
}

// copy reads all of r, and writes what is more than the last transaction takes.
func (p *putting) copy(ctx context.Context, r io.Reader) error {
	var buf bytes.Buffer
	for {
		buf.Reset()
		n, err := io.CopyN(&buf, r, chunk)
		p.h.Size += n
		if n > 0 {
			p.waiting = append(p.waiting, bytes.Clone(buf.Bytes()))
		}
		switch {
		case errors.Is(err, io.EOF):
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("reading what to put: %w", err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if len(p.waiting) > batch {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// flush writes the waiting chunks. The first time it leaves word of them, so that they do not stay if the rest never comes.
func (p *putting) flush(ctx context.Context) error {
	err := p.s.store.Update(ctx, func(_ context.Context, tx store.Tx) error {
		if p.flushed == 0 {
			if err := p.s.dead.Put(tx, deadKey(p.deadline, p.h.Generation), grave{-1}); err != nil {
				return err
			}
		}
		return p.write(tx)
	})
	p.flushed += len(p.waiting)
	p.waiting = nil
	return err
}

func (p *putting) write(tx store.Tx) error {
	for i, c := range p.waiting {
		k := dataKey(p.h.Generation, p.flushed+i)
		if err := tx.Put(k, p.s.codec.Seal(k, c)); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the last chunks and lets the key name the blob.
func (p *putting) finish(ctx context.Context, k string) error {
	s, now := p.s, p.s.opts.Now()
	return s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if p.flushed > 0 {
			word := deadKey(p.deadline, p.h.Generation)
			if _, err := s.dead.Get(ctx, tx, word); errors.Is(err, store.ErrNotFound) {
				return fault.New("storeblob.Put", fault.ServiceUnavailable, "it took longer than a day: its beginning was cleared away")
			} else if err != nil {
				return err
			}
			if err := tx.Delete(word); err != nil {
				return err
			}
		}
		old, err := s.heads.Get(ctx, tx, headKey(k))
		switch {
		case err == nil:
			err = s.bury(tx, old, now)
		case errors.Is(err, store.ErrNotFound):
			err = nil
		}
		if err != nil {
			return err
		}
		if err := p.write(tx); err != nil {
			return err
		}
		return s.heads.Put(tx, headKey(k), p.h)
	})
}

// abandon lets what was flushed be cleared away now.
func (p *putting) abandon(ctx context.Context) {
	p.s.store.Update(ctx, func(_ context.Context, tx store.Tx) error { //nolint:errcheck // it goes at the deadline
		if err := tx.Delete(deadKey(p.deadline, p.h.Generation)); err != nil {
			return err
		}
		return p.s.dead.Put(tx, deadKey(p.s.opts.Now(), p.h.Generation), grave{-1})
	})
}

// bury has a blob's bytes cleared away once nobody reads them any more.
func (s *Store) bury(tx store.Tx, h head, now time.Time) error {
	if h.Size == 0 {
		return nil
	}
	return s.dead.Put(tx, deadKey(now.Add(s.opts.Grace), h.Generation), grave{h.chunks()})
}

// Open implements blob.Store. The reader is an io.Seeker too; it reads on for as long as ctx lasts, and of a blob that was replaced or deleted meanwhile for Options.Grace.
func (s *Store) Open(ctx context.Context, k string) (io.ReadCloser, error) {
	const op = "storeblob.Open"
	if err := check(ctx, op, k); err != nil {
		return nil, err
	}
	var h head
	err := s.store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		h, err = s.heads.Get(ctx, r, headKey(k))
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, fault.New(op, fault.DoesNotExist, "%w: %s", blob.ErrNotFound, k)
	case err != nil:
		return nil, fault.Wrap(op, err)
	}
	return &reader{ctx: ctx, s: s, key: k, h: h, have: -1}, nil
}

// Delete implements blob.Store. Up to 2,000 blobs go at once, all or none.
func (s *Store) Delete(ctx context.Context, k string) error {
	const op = "storeblob.Delete"
	if err := check(ctx, op, k); err != nil {
		return err
	}
	for more := true; more; {
		now := s.opts.Now()
		err := s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			own, err := s.heads.Get(ctx, tx, headKey(k))
			gone := []record.Entry[head]{{Key: headKey(k), Value: own}}
			if errors.Is(err, store.ErrNotFound) {
				gone = nil
			} else if err != nil {
				return err
			}
			rng := below(k)
			rng.Limit = page
			for e, err := range s.heads.Scan(ctx, tx, rng) {
				if err != nil {
					return err
				}
				gone = append(gone, e)
			}
			for _, e := range gone {
				if err := errors.Join(tx.Delete(e.Key), s.bury(tx, e.Value, now)); err != nil {
					return err
				}
			}
			more = len(gone) >= page
			return nil
		})
		if err != nil {
			return fault.Wrap(op, err)
		}
	}
	s.sweep(ctx, little) //nolint:errcheck // it is tried again by whoever comes next
	return nil
}

// Sweep clears away all bytes that nobody reads any more, and returns of how many blobs. Hosts call it now and then, say once an hour.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	n, err := s.sweep(ctx, -1)
	return n, fault.Wrap("storeblob.Sweep", err)
}

// sweep clears away up to so many dead blobs, -1 is all.
func (s *Store) sweep(ctx context.Context, most int) (swept int, err error) {
	due := store.Range{Start: space("dead"), End: space("dead").Time(s.opts.Now()), Limit: 1}
	for swept != most {
		done, any := false, false
		err := s.store.View(ctx, func(ctx context.Context, r store.Reader) error {
			for _, err := range r.Scan(ctx, due) {
				any = err == nil
				return err
			}
			return nil
		})
		if err != nil || !any { // the usual case costs one read
			return swept, err
		}
		err = s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			done = false
			for e, err := range s.dead.Scan(ctx, tx, due) {
				if err != nil {
					return err
				}
				done, err = s.clear(ctx, tx, e)
				return err
			}
			return nil
		})
		if err != nil {
			return swept, err
		}
		if done {
			swept++
		}
	}
	return swept, nil
}

// clear removes bytes of one dead blob, as many as a transaction may, and reports whether that was all.
func (s *Store) clear(ctx context.Context, tx store.Tx, e record.Entry[grave]) (bool, error) {
	k := key.Read(e.Key)
	k.Str() // the tenant
	k.Str()
	k.Str()
	k.Time()
	generation := k.Str()
	if err := k.Err(); err != nil {
		return false, err
	}
	if e.Value.Chunks < 0 { // how many there are nobody counted
		rng := space("data").Str(generation).Range()
		rng.Limit = batch
		n := 0
		for it, err := range tx.Scan(ctx, rng) {
			if err != nil {
				return false, err
			}
			n++
			if err := tx.Delete(slices.Clone(it.Key)); err != nil {
				return false, err
			}
		}
		if n == batch {
			return false, nil
		}
		return true, tx.Delete(e.Key)
	}
	left := max(0, e.Value.Chunks-page)
	for n := left; n < e.Value.Chunks; n++ {
		if err := tx.Delete(dataKey(generation, n)); err != nil {
			return false, err
		}
	}
	if left > 0 {
		return false, s.dead.Put(tx, e.Key, grave{left})
	}
	return true, tx.Delete(e.Key)
}

func check(ctx context.Context, op, k string) error {
	if err := blob.CheckKey(k); err != nil {
		return err
	}
	return fault.Wrap(op, ctx.Err())
}

package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
)

var _ store.Exporter = (*Store)(nil)

// Export implements store.Exporter, under the conditions of [Store.Backup].
func (s *Store) Export(ctx context.Context, fn func(key, value []byte) error) error {
	var inner error // fn's own error keeps its kind, whatever the engine makes of it
	err := s.whole(ctx, func(_ *engine, tx *bolt.Tx, stop func() error) error {
		c := tx.Bucket(bucketData).Cursor()
		n := 0
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if n++; n%256 == 0 {
				if inner = stop(); inner != nil {
					return inner
				}
			}
			// Copies: what fn keeps by mistake must not crash the process.
			if inner = fn(bytes.Clone(k), append([]byte{}, v...)); inner != nil {
				return inner
			}
		}
		return nil
	})
	if inner != nil {
		return inner
	}
	return err
}

// Lock takes the right to the store in the file at path, which need not exist, and keeps every other process (and this one) from opening it until release is called. It waits
// for at most wait (0 is DefaultLockWait), then its error names the holder. It is for who replaces the file.
func Lock(ctx context.Context, path string, wait time.Duration) (release func(), err error) {
	if wait <= 0 {
		wait = DefaultLockWait
	}
	l, err := lockFile(ctx, path+".lock", wait)
	if err != nil {
		return nil, err
	}
	return l.release, nil
}

// compactTx is how many bytes one transaction of Compact writes.
const compactTx = 16 << 20

// Compact writes the store of a stopped process anew without its free pages, and returns the sizes of the file before and after. The new file takes the old one's place in one step, once
// it is durable and was read again and found equal; before that the old one is as it was, whatever happens (a crash leaves path+".compact" behind, which the next Compact removes). It
// needs room for a second copy. An Open of the same file by anybody is refused meanwhile, as it is by who has it open.
func Compact(ctx context.Context, path string, opts *Options) (before, after int64, err error) {
	o := opts.withDefaults()
	lock, err := lockFile(ctx, path+".lock", o.LockWait)
	if err != nil {
		return 0, 0, err
	}
	defer lock.release()
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, fmt.Errorf("boltstore: %w", err)
	}
	before = info.Size()
	tmp := path + ".compact"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return before, 0, fmt.Errorf("boltstore: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	if err := compactInto(ctx, path, tmp, &o); err != nil {
		return before, 0, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return before, 0, fmt.Errorf("boltstore: %w", err)
	}
	if info, err = os.Stat(path); err != nil {
		return before, 0, fmt.Errorf("boltstore: %w", err)
	}
	return before, info.Size(), syncDir(filepath.Dir(path))
}

// compactInto makes tmp a durable copy of path's store and checks that it is one.
func compactInto(ctx context.Context, path, tmp string, o *Options) (err error) {
	from, err := openEngine(path, o)
	if err != nil {
		return err
	}
	defer from.close() //nolint:errcheck // it was only read
	if err := from.check(); err != nil {
		return err
	}
	to, err := bolt.Open(tmp, 0o600, &bolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: false})
	if err != nil {
		return fmt.Errorf("boltstore: cannot create %s: %w", tmp, err)
	}
	err = copyAll(to, from.db)
	if err == nil {
		err = to.Sync()
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("boltstore: %s cannot be written: %w", tmp, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	forget(tmp) // what is compared is what the disk has
	again, err := openEngine(tmp, o)
	if err != nil {
		return err
	}
	defer again.close() //nolint:errcheck // it was only read
	if err := again.check(); err != nil {
		return err
	}
	return same(ctx, from, again)
}

func copyAll(to, from *bolt.DB) (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	return bolt.Compact(to, from, compactTx)
}

// check reads the whole file of an engine that nobody writes to.
func (e *engine) check() error {
	tx, _, err := e.begin(false)
	if err != nil {
		return err
	}
	defer rollback(tx)
	return verify(e.file, tx, e.db.Info().PageSize, true, func() error { return nil })
}

// same returns an error unless both hold the same keys with the same values.
func same(ctx context.Context, a, b *engine) (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	ta, ba, err := a.begin(false)
	if err != nil {
		return err
	}
	defer rollback(ta)
	tb, bb, err := b.begin(false)
	if err != nil {
		return err
	}
	defer rollback(tb)
	ca, cb := ba.Cursor(), bb.Cursor()
	ka, va := ca.First()
	kb, vb := cb.First()
	for n := 0; ka != nil || kb != nil; n++ {
		if !bytes.Equal(ka, kb) || !bytes.Equal(va, vb) {
			return &DamagedError{"the copy differs from what it is a copy of; the disk is not to be trusted"}
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		ka, va = ca.Next()
		kb, vb = cb.Next()
	}
	return nil
}

package boltstore

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/fleetwright/fleetwright/fault"
)

// The buckets of the file: all keys of the store, and what boltstore keeps for itself.
var (
	bucketData = []byte("kv")
	bucketOwn  = []byte("boltstore")
)

// mapAhead is how much address space is mapped beyond need: a file that outgrows its mapping has to wait for all Views.
const mapAhead = (4 << 30) * (bits.UintSize / 64) // nothing where addresses have 32 bits

// DamagedError says that the file's own structure is not what was written: a truncated or overwritten file, a failing disk. Its code is DataCorrupt.
type DamagedError struct{ Reason string }

// Error says what to do.
func (e *DamagedError) Error() string {
	return "boltstore: the file is damaged: " + e.Reason + "; restore it from a backup"
}

// FaultCode returns DataCorrupt.
func (e *DamagedError) FaultCode() fault.Code { return fault.DataCorrupt }

// guard is to be deferred around every use of the engine as
//
//	defer guard(debug.SetPanicOnFault(true), &err)
//
// It turns what the engine panics with on damaged pages, and the fault of reading a page that the disk cannot give, into a *DamagedError.
func guard(old bool, err *error) {
	debug.SetPanicOnFault(old)
	if p := recover(); p != nil {
		*err = &DamagedError{fmt.Sprint(p)}
	}
}

// engine is one opening of the file.
type engine struct {
	db   *bolt.DB
	file *os.File // db's own handle
	gone chan struct{}

	users   int  // Views and Backups; Store.mu
	retired bool // closed by the last user; Store.mu
}

// create makes the file, whole or not at all, unless it is there. It tightens the mode of one that others can read.
func create(path string) (err error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("boltstore: %s is no regular file", path)
	case err == nil && info.Size() == 0:
		return &DamagedError{path + " is empty, which no store ever is (remove it if there was nothing in it)"}
	case err == nil:
		if info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(path, 0o600); err != nil {
				return fmt.Errorf("boltstore: %s is open to others and its mode cannot be changed to 0600: %w", path, err)
			}
		}
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("boltstore: %w", err)
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("boltstore: %w", err)
	}
	db, err := bolt.Open(tmp, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("boltstore: cannot create %s: %w", tmp, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket(bucketData); err != nil {
			return err
		}
		own, err := tx.CreateBucket(bucketOwn)
		if err != nil {
			return err
		}
		return own.Put([]byte("format"), []byte("1"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("boltstore: cannot create %s: %w", tmp, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("boltstore: the directory %s cannot be made durable: %w", dir, err)
	}
	return nil
}

// openEngine opens a file that exists and checks that it is one of boltstore's and not cut short.
func openEngine(path string, o *Options) (e *engine, err error) {
	e = &engine{gone: make(chan struct{})}
	defer func() {
		switch {
		case err == nil:
		case e.db != nil:
			_ = e.close()
		case e.file != nil: // the engine gave up half-way: its mapping would keep the lock
			unlock(e.file)
			_ = e.file.Close()
		}
	}()
	defer guard(debug.SetPanicOnFault(true), &err)
	info, err := os.Stat(path)
	if err != nil {
		return e, fmt.Errorf("boltstore: %w", err)
	}
	e.db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Second,
		FreelistType:    bolt.FreelistMapType,
		NoStatistics:    true,
		MaxSize:         int(o.MaxSize),
		InitialMmapSize: mapSize(info.Size(), o.mapAhead),
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			f, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
			e.file = f
			return f, err
		},
	})
	if err != nil {
		return e, fmt.Errorf("boltstore: cannot open %s: %w", path, openError(err))
	}
	err = e.db.View(func(tx *bolt.Tx) error {
		if tx.Size() > info.Size() {
			return &DamagedError{fmt.Sprintf("%s has %d bytes and should have %d", path, info.Size(), tx.Size())}
		}
		if err := verify(e.file, tx, e.db.Info().PageSize, false, func() error { return nil }); err != nil {
			return fmt.Errorf("boltstore: %s: %w", path, err)
		}
		if !spare(e.file, e.db.Info().PageSize) {
			o.Logger.Warn("one of the two first pages is damaged: a commit was cut short by a crash, or the last one is lost", "path", path)
		}
		own, data := tx.Bucket(bucketOwn), tx.Bucket(bucketData)
		if (own == nil) != (data == nil) {
			return &DamagedError{path + " lacks one of its two buckets"}
		}
		if own == nil {
			return fmt.Errorf("boltstore: %s is a bbolt file, but not one of fleetwright's; give another path", path)
		}
		if f := own.Get([]byte("format")); string(f) != "1" {
			return fmt.Errorf("boltstore: %s has the format %q of a newer release; update this program", path, f)
		}
		return nil
	})
	return e, err
}

// mapSize returns how much to map of a file of so many bytes. Elsewhere than on Windows address space costs nothing.
func mapSize(size int64, ahead int) int {
	if ahead == 0 || runtime.GOOS == "windows" {
		return 0
	}
	return int(max(int64(ahead), 2*min(size, 1<<40)))
}

// openError gives the engine's errors about a bad file their kind.
func openError(err error) error {
	var sys syscall.Errno
	switch {
	case errors.As(err, &sys), errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return errors.New("another program has it locked; stop that program")
	}
	return &DamagedError{err.Error()}
}

// close gives the engine's file and memory back.
func (e *engine) close() (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	return e.db.Close()
}

// begin opens a transaction and its bucket of keys.
func (e *engine) begin(write bool) (tx *bolt.Tx, b *bolt.Bucket, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	if tx, err = e.db.Begin(write); err != nil {
		return nil, nil, err
	}
	defer func() {
		if b == nil {
			rollback(tx)
			tx = nil
		}
	}()
	if b = tx.Bucket(bucketData); b == nil {
		err = &DamagedError{"the bucket of keys is gone"}
	}
	return tx, b, err
}

// rollback ends a transaction without its writes.
func rollback(tx *bolt.Tx) {
	var err error
	defer guard(debug.SetPanicOnFault(true), &err)
	_ = tx.Rollback()
}

// commit makes the writes of a transaction durable. After an error the engine must be reopened.
func commit(tx *bolt.Tx) (err error) {
	defer func() {
		if err != nil {
			rollback(tx) // does nothing unless the engine panicked
		}
	}()
	defer guard(debug.SetPanicOnFault(true), &err)
	return tx.Commit()
}

// lastCommit returns the number of the last commit in the file.
func (e *engine) lastCommit() (id int, err error) {
	tx, _, err := e.begin(false)
	if err != nil {
		return 0, err
	}
	defer rollback(tx)
	return tx.ID(), nil
}

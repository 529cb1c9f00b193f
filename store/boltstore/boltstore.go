// Package boltstore is the store in one file: the default of a control plane of one process.
//
//	s, err := boltstore.Open(ctx, "/var/lib/fleetwright/store.db", nil)
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//
// The engine is go.etcd.io/bbolt, a copy-on-write B+tree. Updates are committed in groups: whatever is waiting when a commit ends goes
// into the next, one closure after another, each on its caller's goroutine and with its own writes, so that an error, a panic or a Goexit undoes
// nobody else. There is no window to wait for: a lone Update costs what the engine's own does.
//
// Views see the last commit and run beside Updates. What they return is copied: nothing that a caller keeps by mistake can crash the process.
//
// After a commit that failed (disk full, fsync error) nothing is retried to success: the engine is opened anew, the Updates fail with
// store.ErrReadOnly and the cause, and the store tries by itself, with a commit of its own, until it can write again. Views go on.
//
// One process has the file; the next opener waits three seconds and then learns who.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// Defaults of Options.
const (
	DefaultLockWait   = 3 * time.Second
	DefaultRetryEvery = time.Second
)

// Options are the options of Open. The zero value and nil are the defaults.
type Options struct {
	// LockWait is how long Open waits for a file that another process has; 0 is DefaultLockWait.
	LockWait time.Duration
	// MaxSize is how many bytes the file may grow to, 0 is without a limit. Beyond it the store is as on a full disk.
	MaxSize int64
	// RetryEvery is how often a store that cannot write tries again; 0 is DefaultRetryEvery.
	RetryEvery time.Duration
	// Observe is called after every commit, also a failed one, before its callers learn of it. It must not block and must not call the store.
	Observe func(Commit)
	// Logger is told when the store becomes read-only and when it recovers; nil is silence.
	Logger *slog.Logger

	// For tests of this package: what takes the place of commits, and how much to map ahead.
	failNext func(tx *bolt.Tx) error
	mapAhead int
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.LockWait <= 0 {
		out.LockWait = DefaultLockWait
	}
	if out.RetryEvery <= 0 {
		out.RetryEvery = DefaultRetryEvery
	}
	if out.mapAhead == 0 {
		out.mapAhead = mapAhead
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	return out
}

// Store is a store.Store and a store.Watcher over one file. Make it with [Open], end it with [Store.Close]. It is safe for concurrent use.
type Store struct {
	path     string
	opts     Options
	lock     *fileLock
	watchers driver.Watchers
	counters counters
	spare    sync.Pool // of *ahead, the buffers of scans

	mu      sync.Mutex
	eng     *engine
	failed  error // why Updates are refused; nil if they are not
	queue   []*request
	closed  bool
	engines sync.WaitGroup // engines that are not closed yet
	swapped chan struct{}  // while a failed engine is being replaced: closed afterwards

	// The committer's own.
	retired []*engine // taken out of use by a failure and perhaps still read through
	needed  int64     // bytes that the last failed commit would have needed

	wake chan struct{} // there is something in the queue, or the store was closed
	done chan struct{} // the committer has ended
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
	_ store.Disk    = (*Store)(nil)
)

// Open opens the store in the file at path, and creates it if it is missing; its directory must exist. The file is readable and writable by its
// owner only; beside it lies path+".lock", which names the process that has it. A file of any older release opens. Open returns an error
// that names the holder if another process has the file for Options.LockWait, and one of code DataCorrupt if the file is no store or is damaged.
func Open(ctx context.Context, path string, opts *Options) (*Store, error) {
	if path == "" {
		return nil, errors.New("boltstore: the path is empty; give the path of a file")
	}
	o := opts.withDefaults()
	lock, err := lockFile(ctx, path+".lock", o.LockWait)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		lock.release()
		return nil, err
	}
	s := &Store{path: path, opts: o, lock: lock, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if s.eng, err = openEngine(path, &o); err != nil {
		lock.release()
		return nil, err
	}
	s.engines.Add(1)
	go s.commitLoop()
	return s, nil
}

// Close waits for the running Updates and Views, refuses those that wait and those that come with store.ErrClosed, and gives the file free. A second Close
// waits too and returns nil. It must not be called from within a transaction's function.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.signal()
	<-s.done
	if !first {
		s.engines.Wait()
		return nil
	}
	err := s.retire(s.eng)
	s.engines.Wait()
	s.lock.release()
	return err
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Path returns the path of the file.
func (s *Store) Path() string { return s.path }

// Err returns nil if the store takes writes, and otherwise the error that Updates get: store.ErrReadOnly with its cause, or store.ErrClosed.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	return s.failed
}

var errClosed = fmt.Errorf("%w: the store's owner closed it", store.ErrClosed)

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	if err := s.Err(); errors.Is(err, store.ErrClosed) {
		return nil, err
	}
	return s.watchers.Watch(ctx, prefix), nil
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	inner, err := driver.Enter(ctx)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	eng, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	v, err := s.view(ctx, eng)
	if err != nil {
		return err
	}
	late := time.AfterFunc(store.MaxView, func() { v.end(tooLong(store.MaxView)) })
	defer func() {
		late.Stop()
		v.end(errDead)
	}()
	return fn(inner, v)
}

func tooLong(limit time.Duration) error {
	return fmt.Errorf("%w: the limit is %v; page through long lists, keep waiting out of transactions", store.ErrTooLong, limit)
}

var errDead = fmt.Errorf("%w: the transaction's function has returned", store.ErrClosed)

// acquire returns the engine that reads, held until release.
func (s *Store) acquire(ctx context.Context) (*engine, error) {
	for {
		s.mu.Lock()
		eng, err, swapped := s.eng, s.failed, s.swapped
		if s.closed {
			eng, err, swapped = nil, errClosed, nil
		}
		if eng != nil {
			eng.users++
		}
		s.mu.Unlock()
		if eng != nil {
			return eng, nil
		}
		if swapped == nil {
			return nil, err
		}
		select {
		case <-swapped:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Store) release(e *engine) {
	s.mu.Lock()
	e.users--
	last := e.retired && e.users == 0
	s.mu.Unlock()
	if last {
		_ = e.close()
		s.engines.Done()
	}
}

// retire takes the engine out of use; it is closed by its last user.
func (s *Store) retire(e *engine) error {
	if e == nil {
		return nil
	}
	s.mu.Lock()
	e.retired = true
	last := e.users == 0
	s.mu.Unlock()
	close(e.gone)
	if !last {
		return nil
	}
	err := e.close()
	s.engines.Done()
	return err
}

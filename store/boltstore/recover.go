package boltstore

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
)

// sync commits tx; a test may put a failure in its place.
func (s *Store) sync(tx *bolt.Tx) error {
	if s.opts.failNext != nil {
		return s.opts.failNext(tx)
	}
	return commit(tx)
}

// fail takes the engine, whose commit number id failed with cause, out of use, opens another, and returns what the callers of the batch are told:
// ErrReadOnly if the commit is not in the file, ErrCommitUnknown if it is or if nobody can say. A failed fsync leaves pages in the kernel's cache
// that the disk does not have and that no later fsync reports, so neither the engine nor its handle is used again.
func (s *Store) fail(cause error, id int, bytes int64) error {
	readOnly := fmt.Errorf("%w: a commit failed, reads go on, the store tries again every %v: %w", store.ErrReadOnly, s.opts.RetryEvery, cause)
	s.mu.Lock()
	first := s.failed == nil
	s.failed = readOnly
	old := s.eng
	s.eng = nil
	s.swapped = make(chan struct{}) // Views wait for the new opening
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		close(s.swapped)
		s.swapped = nil
		s.mu.Unlock()
	}()
	s.needed = min(max(s.needed, 2*bytes), store.MaxTxBytes)
	if first {
		s.opts.Logger.Error("the store cannot write", "path", s.path, "cause", cause)
	}
	if old != nil {
		unlock(old.file)
		_ = s.retire(old)
		s.retired = append(s.retired, old)
	}
	last, err := s.reopen()
	if id > 0 && (err != nil || last >= id) {
		return fmt.Errorf("%w: %w", store.ErrCommitUnknown, cause)
	}
	return readOnly
}

// reopen opens the file for reading what the disk has, and returns the number of the last commit in it.
func (s *Store) reopen() (last int, err error) {
	forget(s.path)
	e, err := openEngine(s.path, &s.opts)
	if err != nil {
		s.opts.Logger.Error("the store cannot be opened again", "path", s.path, "cause", err)
		return 0, err
	}
	if last, err = e.lastCommit(); err != nil {
		unlock(e.file)
		_ = e.close()
		return 0, err
	}
	s.mu.Lock()
	s.eng = e
	s.engines.Add(1)
	s.mu.Unlock()
	s.counters.mu.Lock()
	s.counters.s.Reopened++
	s.counters.mu.Unlock()
	return last, nil
}

// recover makes a store that cannot write try: with a commit of as much as failed, so that there is room for it, then of less and less, and only
// when nobody reads through an older opening, whose pages this one does not know to be in use. It is called by the committer alone.
func (s *Store) recover() {
	s.mu.Lock()
	ok := s.failed == nil || s.closed
	eng := s.eng
	for i := len(s.retired) - 1; i >= 0; i-- {
		if s.retired[i].users == 0 {
			s.retired = append(s.retired[:i], s.retired[i+1:]...)
		}
	}
	busy := len(s.retired) > 0
	s.mu.Unlock()
	if ok || busy {
		return
	}
	if eng == nil {
		if _, err := s.reopen(); err != nil {
			return
		}
		eng = s.eng
	}
	filler := make([]byte, s.needed+4<<10)
	for _, put := range []bool{true, false} {
		if err := s.probe(eng, filler, put); err != nil {
			s.needed /= 2 // in the end little is enough: what makes room must be able to delete
			_ = s.fail(err, 0, 0)
			return
		}
	}
	s.needed = 0
	s.mu.Lock()
	s.failed = nil
	s.mu.Unlock()
	s.opts.Logger.Info("the store can write again", "path", s.path)
}

// probe commits filler, or its removal, which leaves its pages free.
func (s *Store) probe(e *engine, filler []byte, put bool) (err error) {
	tx, _, err := e.begin(true)
	if err != nil {
		return err
	}
	key := []byte("probe")
	own := tx.Bucket(bucketOwn)
	if put {
		err = own.Put(key, filler)
	} else {
		err = own.Delete(key)
	}
	if err != nil {
		rollback(tx)
		return err
	}
	return s.sync(tx)
}

package boltstore

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
)

// Backup writes a consistent copy of the whole store to w, as of one commit, while Views and Updates go on: a file that Open opens. It stops with
// ctx's error when ctx ends, and with store.ErrReadOnly if a commit fails meanwhile. What Updates free while it runs is not reused until it ends, so the
// file grows; and an Update that has to map more of a file than was mapped ahead (4 GiB, or twice the size at Open) waits for its end.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	return s.whole(ctx, func(_ *engine, tx *bolt.Tx, stop func() error) error {
		to := &writer{w: w, stop: stop}
		if _, err := tx.WriteTo(to); to.err == nil { // it reads the file, not the mapping
			return err
		}
		return to.err // the engine's has only its text
	})
}

// whole runs fn on a transaction that no clock ends.
func (s *Store) whole(ctx context.Context, fn func(eng *engine, tx *bolt.Tx, stop func() error) error) (err error) {
	eng, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer s.release(eng)
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, _, err := eng.begin(false)
	if err != nil {
		return err
	}
	defer rollback(tx)
	return fn(eng, tx, func() error {
		select {
		case <-eng.gone:
			return fmt.Errorf("%w: a commit failed, or the store is being closed; begin again", store.ErrReadOnly)
		default:
			return ctx.Err()
		}
	})
}

// writer stops a copy and keeps the error that stopped it.
type writer struct {
	w    io.Writer
	stop func() error
	err  error
}

func (w *writer) Write(p []byte) (n int, err error) {
	if w.err = w.stop(); w.err == nil {
		n, w.err = w.w.Write(p)
	}
	return n, w.err
}

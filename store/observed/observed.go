// Package observed tells an observer how long a store's transactions take and which of them fail. It is a store over a store: what it wraps does the work, and the contract of
// package store holds as the inner one keeps it.
//
//	st := observed.New(inner, observer) // inner itself when observer is nil
package observed

import (
	"context"
	"errors"
	"time"

	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
)

// The labels of the events.
const (
	OK      = "ok"
	Aborted = "aborted" // the function returned an error, or ended otherwise: nothing is wrong with the store
	Failed  = "failed"
)

// New returns s, telling o of every View and Update (observe.View, observe.Commit); s itself when o is nil. now is time.Now when it is nil. What s is able to beside the contract (Watch,
// DiskFree, Export) is reached through the functions of package store as before.
func New(s store.Store, o observe.Observer, now func() time.Time) store.Store {
	if o == nil {
		return s
	}
	if now == nil {
		now = time.Now
	}
	ob := &observed{s, o, now}
	if _, ok := s.(store.Exporter); ok {
		return &exporter{ob}
	}
	return ob
}

type observed struct {
	inner store.Store
	o     observe.Observer
	now   func() time.Time
}

var (
	_ store.Watcher  = (*observed)(nil)
	_ store.Disk     = (*observed)(nil)
	_ store.Exporter = (*exporter)(nil)
)

// exporter is observed over a store that exports.
type exporter struct{ *observed }

// Export is that of the inner store. It is no transaction, and nobody is told of it.
func (s *exporter) Export(ctx context.Context, fn func(key, value []byte) error) error {
	return s.inner.(store.Exporter).Export(ctx, fn)
}

// tell tells how a transaction ended, whose function returned inner. done is false when it did not return at all.
func (s *observed) tell(ctx context.Context, k observe.Kind, start time.Time, inner, err error, done bool) {
	e := observe.Event{Kind: k, Label: OK, Start: start, End: s.now()}
	switch {
	case !done, inner != nil && !trouble(inner), err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		e.Label = Aborted
	case err != nil:
		e.Label, e.Err = Failed, err
	}
	s.o.Observe(ctx, e)
}

// trouble tells an error of the store, which its function handed on, from one of the function.
func trouble(err error) bool {
	for _, e := range [...]error{store.ErrConflict, store.ErrCommitUnknown, store.ErrReadOnly, store.ErrTooLong, store.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *observed) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) (err error) {
	start, done := s.now(), false
	var inner error
	defer func() { s.tell(ctx, observe.View, start, inner, err, done) }()
	err = s.inner.View(ctx, func(ctx context.Context, r store.Reader) error {
		inner = fn(ctx, r)
		return inner
	})
	done = true
	return err
}

func (s *observed) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) (err error) {
	start, done := s.now(), false
	var inner error
	defer func() { s.tell(ctx, observe.Commit, start, inner, err, done) }()
	err = s.inner.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		inner = fn(ctx, tx)
		return inner
	})
	done = true
	return err
}

// Watch is that of the inner store, which polls if need be.
func (s *observed) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	return store.Watch(ctx, s.inner, prefix)
}

// DiskFree is that of the inner store.
func (s *observed) DiskFree() int64 { return store.DiskFree(s.inner) }

// Err is that of the inner store.
func (s *observed) Err() error { return store.Err(s.inner) }

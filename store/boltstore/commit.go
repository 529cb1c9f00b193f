package boltstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

const (
	// A batch that has taken this long, or has this many bytes, commits without looking at the queue again.
	joinFor  = 2 * time.Millisecond
	maxBytes = 2 * store.MaxTxBytes
	// A batch whose functions have taken this long leaves the rest of the queue to the next one.
	maxRun = 50 * time.Millisecond
)

// request is one waiting Update. The committer and the caller's goroutine hand it to and fro.
type request struct {
	ctx    context.Context
	state  atomic.Int32 // queued, then taken or given up: whoever swaps it decides
	since  time.Time
	alone  bool          // goes into a batch of its own: it was in one that met damage
	turn   chan *tx      // the caller may run its function now
	back   chan finished // its function ended
	result chan error    // what Update returns; errAgain: run once more
}

const (
	queued = iota
	taken
	givenUp
)

// errAgain goes to those whose batch met damage that may have been another's.
var errAgain = errors.New("again")

// finished is how a function ended.
type finished struct {
	err      error
	unwinded bool // by panic or Goexit: nobody waits for a result
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	inner, err := driver.Enter(ctx)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{ctx: ctx, since: time.Now(), turn: make(chan *tx, 1), back: make(chan finished, 1), result: make(chan error, 1)}
	for {
		if err := s.enqueue(r); err != nil {
			return err
		}
		var t *tx
		select {
		case t = <-r.turn:
		case err := <-r.result:
			return err
		case <-ctx.Done():
			if r.state.CompareAndSwap(queued, givenUp) {
				return ctx.Err()
			}
			select {
			case t = <-r.turn:
			case err := <-r.result:
				return err
			}
		}
		r.run(inner, t, fn)
		if err := <-r.result; err != errAgain {
			return err
		}
		r.state.Store(queued)
	}
}

// run runs the function and hands the turn back, however the function ends.
func (r *request) run(ctx context.Context, t *tx, fn func(ctx context.Context, tx store.Tx) error) {
	out := finished{unwinded: true}
	defer func() {
		t.end(errDead)
		r.back <- out
	}()
	err := fn(ctx, t)
	out = finished{err: err}
}

func (s *Store) enqueue(r *request) error {
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return errClosed
	case s.failed != nil:
		err := s.failed
		s.mu.Unlock()
		return err
	}
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	s.signal()
	return nil
}

// take empties the queue.
func (s *Store) take() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue
	s.queue = nil
	return q
}

// refuse answers those that wait with err.
func (s *Store) refuse(err error) {
	for _, r := range s.take() {
		if r.state.CompareAndSwap(queued, taken) {
			r.result <- err
		}
	}
}

// commitLoop is the committer: it owns the engine's write side until Close.
func (s *Store) commitLoop() {
	defer close(s.done)
	run := &runner{s: s, clock: time.NewTimer(time.Hour)}
	run.clock.Stop()
	for {
		var retry <-chan time.Time
		if s.Err() != nil {
			retry = time.After(s.opts.RetryEvery)
		}
		select {
		case <-s.wake:
		case <-retry:
			s.recover()
		}
		s.mu.Lock()
		closed, failed := s.closed, s.failed
		s.mu.Unlock()
		switch {
		case closed:
			s.refuse(errClosed)
			return
		case failed != nil:
			s.refuse(failed)
		default:
			if q := s.take(); len(q) > 0 {
				run.batch(q)
			}
		}
	}
}

// runner runs one batch after another.
type runner struct {
	s     *Store
	clock *time.Timer // of the function that runs

	tx      *bolt.Tx
	bucket  *bolt.Bucket
	writes  driver.Writes // of the batch so far
	waiting []*request    // wait for the commit, with errs
	errs    []error
	keys    [][]byte // written; also while nobody watches, for somebody may begin to before the commit ends
	c       Commit
}

func (b *runner) batch(q []*request) {
	start := time.Now()
	b.waiting, b.errs, b.keys, b.c = b.waiting[:0], b.errs[:0], b.keys[:0], Commit{}
	b.c.Waited = start.Sub(q[0].since)
	tx, bucket, err := b.s.eng.begin(true)
	if err != nil {
		b.lost(q, b.s.fail(err, 0, 0))
		return
	}
	b.tx, b.bucket, b.writes = tx, bucket, driver.Writes{}
	for joined := time.Duration(0); ; {
		for i, r := range q {
			if b.full() || time.Since(start) > maxRun || r.alone && len(b.waiting) > 0 {
				b.requeue(q[i:])
				break
			}
			b.one(r)
		}
		if joined = time.Since(start); joined > joinFor || b.full() {
			break
		}
		if q = b.s.take(); len(q) == 0 {
			break
		}
	}
	b.c.Ran = time.Since(start)
	b.commit()
}

// full says whether the batch must be committed before anybody else has a turn.
func (b *runner) full() bool {
	return b.c.Bytes >= maxBytes || len(b.waiting) > 0 && b.waiting[len(b.waiting)-1].alone
}

// requeue puts requests that were not run back to the head of the queue.
func (b *runner) requeue(q []*request) {
	b.s.mu.Lock()
	b.s.queue = append(append([]*request(nil), q...), b.s.queue...)
	b.s.mu.Unlock()
	b.s.signal()
}

// one gives r its turn.
func (b *runner) one(r *request) {
	if !r.state.CompareAndSwap(queued, taken) {
		return
	}
	if err := r.ctx.Err(); err != nil {
		r.result <- err
		return
	}
	t := &tx{reader: reader{spare: &b.s.spare, bucket: b.bucket}, batch: &b.writes}
	b.clock.Reset(store.MaxUpdate)
	r.turn <- t
	var out finished
	select {
	case out = <-r.back:
		b.clock.Stop()
	case <-b.clock.C:
		out.err = tooLong(store.MaxUpdate)
		t.end(out.err) // from here on it can do nothing, and the others go on
	}
	if out.unwinded {
		return
	}
	if out.err == nil {
		out.err = t.w.Err()
	}
	if out.err == nil && t.w.Len() > 0 {
		b.writes.Merge(&t.w)
		b.c.Writes += t.w.Writes()
		b.c.Bytes += int64(t.w.Bytes())
	}
	if b.c.Writes == 0 {
		r.result <- out.err // it saw nothing but what is durable
		return
	}
	b.c.Updates++
	b.waiting, b.errs = append(b.waiting, r), append(b.errs, out.err)
}

// apply gives the batch's writes to the engine.
func (b *runner) apply() (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	for k, v := range b.writes.All() {
		if v == nil {
			err = b.bucket.Delete(k)
		} else {
			err = b.bucket.Put(k, v)
		}
		if err != nil {
			return fmt.Errorf("boltstore: %w", err)
		}
		b.keys = append(b.keys, k)
	}
	return nil
}

// damaged answers a batch whose writes the engine could not take: each tries once more alone, so that only who needs a damaged page fails.
func (b *runner) damaged(err error) {
	rollback(b.tx)
	for i, r := range b.waiting {
		if r.alone || len(b.waiting) == 1 {
			if b.errs[i] == nil {
				b.errs[i] = err
			}
			r.result <- b.errs[i]
			continue
		}
		r.alone = true
		r.result <- errAgain
	}
}

// commit makes the batch durable and tells all that wait.
func (b *runner) commit() {
	if b.c.Writes == 0 {
		rollback(b.tx)
		return
	}
	id := b.tx.ID()
	start := time.Now()
	err := b.apply()
	if err != nil {
		b.damaged(err)
		return
	}
	err = b.s.sync(b.tx)
	b.c.Synced = time.Since(start)
	if err != nil {
		err = b.s.fail(err, id, b.c.Bytes)
	}
	b.c.Err = err
	b.s.counters.add(b.c)
	if b.s.opts.Observe != nil {
		b.s.opts.Observe(b.c)
	}
	for i, r := range b.waiting {
		if err != nil {
			b.errs[i] = err
		}
		r.result <- b.errs[i]
	}
	clear(b.waiting)
	b.s.watchers.Notify(b.keys)
	clear(b.keys)
	b.writes = driver.Writes{}
	if err != nil {
		b.s.recover()
	}
}

// lost answers a batch that could not begin.
func (b *runner) lost(q []*request, err error) {
	for _, r := range q {
		if r.state.CompareAndSwap(queued, taken) {
			r.result <- err
		}
	}
	b.s.recover()
}

package pgstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

const (
	// A batch with so many Updates or bytes, or whose functions have taken this long, leaves the rest of the queue to the next.
	mostUpdates = 1024
	mostBytes   = 2 * store.MaxTxBytes
	mostRun     = 100 * time.Millisecond
)

// request is one waiting Update. The committer and the caller's goroutine hand it to and fro.
type request struct {
	ctx    context.Context
	state  atomic.Int32 // queued, then taken or given up: whoever swaps it decides
	since  time.Time
	reads  *reads         // what its function asked for when it ran
	writes *driver.Writes // of a function that read nothing: it need not run again. Else nil
	turn   chan *tx       // the caller may run its function now
	back   chan finished  // its function ended
	result chan error     // what Update returns; *again: run once more
}

const (
	queued = iota
	taken
	givenUp
)

func (s *Store) newRequest(ctx context.Context, l *reads, w *driver.Writes) *request {
	return &request{ctx: ctx, since: time.Now(), reads: l, writes: w, turn: make(chan *tx, 1), back: make(chan finished, 1), result: make(chan error, 1)}
}

// again goes to those whose run does not count, because what it saw did not come to be.
type again struct{ cause error }

func (a *again) Error() string { return "again: " + a.cause.Error() }

// finished is how a function ended.
type finished struct {
	err      error
	unwinded bool // by panic or Goexit
}

// run runs the function under the lock and hands the turn back, however the function ends. It returns what Update returns.
func (r *request) run(ctx context.Context, t *tx, fn func(ctx context.Context, tx store.Tx) error) (err error) {
	out := finished{unwinded: true}
	defer func() {
		t.end(errDead)
		r.back <- out
		err = <-r.result
		var a *again
		if out.unwinded && errors.As(err, &a) {
			_ = recover() // it saw what never came to be; a Goexit goes on
		}
	}()
	err = fn(ctx, t)
	out = finished{err: err}
	return err
}

func (s *Store) enqueue(r *request) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
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

// putBack puts requests that were not run back to the head of the queue.
func (s *Store) putBack(q []*request) {
	if len(q) == 0 {
		return
	}
	s.mu.Lock()
	s.queue = append(append([]*request(nil), q...), s.queue...)
	s.mu.Unlock()
	s.signal()
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// committer owns the connection on which the store commits.
type committer struct {
	s       *Store
	session *session
	clock   *time.Timer // of the function that runs
	seq     int64       // number of the last commit, or fence, of this store
	known   bool        // seq is what the database has
	saw     holder      // who had the lock when it was last waited for in vain
	pause   *backoff    // between failures; nil after a success
}

// commitLoop is the committer until Close.
func (s *Store) commitLoop() {
	defer close(s.done)
	c := &committer{s: s, clock: time.NewTimer(time.Hour)}
	c.clock.Stop()
	defer func() {
		if c.session != nil {
			c.session.close()
		}
	}()
	for range s.wake {
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		q := s.take()
		if closed {
			for _, r := range q {
				if r.state.CompareAndSwap(queued, taken) {
					r.result <- errClosed
				}
			}
			return
		}
		if len(q) > 0 {
			c.batch(q)
		}
	}
}

// batch is what is committed together.
type batch struct {
	locked
	waiting []*request // wait for the commit
	errs    []error    // with what their functions returned
	dirty   bool       // something has been written, so that who runs now sees what may not come to be
	c       Commit
}

// refuse answers all with the error, which ends them if it is final.
func (c *committer) refuse(q []*request, err error, final bool) {
	for _, r := range q {
		if r.state.CompareAndSwap(queued, taken) {
			if final {
				r.result <- err
			} else {
				r.result <- &again{err}
			}
		}
	}
}

// failed notes a failure and waits a little before the next attempt.
func (c *committer) failed(q []*request, err error) {
	connected := c.session != nil
	if c.session != nil && (c.session.conn.IsClosed() || c.session.rollback() != nil || lasting(err) != nil) {
		c.session.close()
		c.session = nil
	}
	if last := lasting(err); last != nil {
		c.refuse(q, last, true)
		return
	}
	c.refuse(q, err, false)
	if code(err) == codeLockTimeout {
		c.breakLock()
		return
	}
	if c.pause == nil {
		c.pause = c.s.newBackoff()
	}
	if connected {
		c.pause.short(c.s.ctx)
	} else {
		c.pause.wait(c.s.ctx)
	}
}

// breakLock ends the session of a transaction that has had the lock since the last time that it was waited for in vain: its process is frozen in a way
// that the server's own limits do not see.
func (c *committer) breakLock() {
	if c.session == nil {
		return
	}
	h, err := c.session.holder()
	if err != nil {
		return
	}
	if h == c.saw && h != (holder{}) {
		err := c.session.terminate(h)
		c.s.opts.Logger.Warn("pgstore: ended a session that had held the store's lock too long", "store", c.s.sql.name, "pid", h.pid, "error", err)
		h = holder{}
	}
	c.saw = h
}

// ready sees to it that there is a session and that the number of the next commit is known.
func (c *committer) ready() (err error) {
	if c.session != nil && c.session.conn.IsClosed() {
		c.session = nil
	}
	if c.session == nil {
		if c.session, err = c.s.connect(); err != nil {
			return err
		}
		c.pause = nil
	}
	if !c.known {
		if _, c.seq, err = c.session.settle(c.s.handle, c.seq, 0); err != nil {
			return err
		}
		c.known = true
	}
	return nil
}

// batch runs and commits what it can of q.
func (c *committer) batch(q []*request) {
	if err := c.ready(); err != nil {
		c.failed(q, err)
		return
	}
	b := &batch{locked: locked{session: c.session}}
	start := time.Now()
	b.c.Waited = start.Sub(q[0].since)
	q, rest := c.fitting(q)
	defer func() { c.s.putBack(rest) }()
	blind := true
	var all reads
	for _, r := range q {
		if r.writes == nil {
			blind = false
			all.merge(r.reads)
		}
	}
	if !blind {
		msg := &pgx.Batch{}
		c.session.queueLock(msg)
		c.session.queueReads(msg, &all, &b.cache)
		if c.s.opts.wrong.lockLast {
			msg.Queue(lockStatement, c.s.sql.lock)
		}
		if err := c.session.send(msg); err != nil {
			c.failed(q, err)
			return
		}
		b.c.Locked = time.Since(start)
	}
	c.saw = holder{}
	start = time.Now()
	for i, r := range q {
		if b.c.Bytes >= mostBytes || time.Since(start) > mostRun && !blind {
			rest = append(append([]*request(nil), q[i:]...), rest...)
			break
		}
		c.one(b, r)
		if b.broken != nil {
			c.void(b, b.broken)
			c.failed(q[i+1:], b.broken)
			return
		}
	}
	b.c.Ran = time.Since(start)
	c.commit(b, blind)
}

// fitting returns what of q goes into one batch, and the rest.
func (c *committer) fitting(q []*request) (now, rest []*request) {
	bytes := 0
	for i, r := range q {
		bytes += r.reads.bytes
		if i > 0 && (i == mostUpdates || bytes > mostBytes) {
			return q[:i], q[i:]
		}
	}
	return q, nil
}

// one gives r its turn.
func (c *committer) one(b *batch, r *request) {
	if !r.state.CompareAndSwap(queued, taken) {
		return
	}
	if err := r.ctx.Err(); err != nil {
		r.result <- err
		return
	}
	if r.writes != nil {
		b.add(r, r.writes)
		return
	}
	t := &tx{l: &b.locked, reads: r.reads}
	c.clock.Reset(store.MaxUpdate)
	started := time.Now()
	r.turn <- t
	var out finished
	for ended := false; !ended; {
		select {
		case out = <-r.back:
			c.clock.Stop()
			ended = true
		case <-c.clock.C:
			if left := store.MaxUpdate - (time.Since(started) - t.waitedFor()); left > 0 { // it waited for the database
				c.clock.Reset(left)
				continue
			}
			out.err = tooLong(store.MaxUpdate)
			t.end(out.err) // from here on it can do nothing, and the others go on
			ended = true
		}
	}
	if b.broken != nil {
		b.waiting, b.errs = append(b.waiting, r), append(b.errs, out.err)
		return
	}
	if out.err == nil && !out.unwinded {
		out.err = t.w.Err()
	}
	if out.err == nil && !out.unwinded && t.w.Len() > 0 {
		b.add(r, &t.w)
		return
	}
	if !b.dirty {
		r.result <- out.err // it saw nothing but what is durable
		return
	}
	b.c.Updates++
	b.waiting, b.errs = append(b.waiting, r), append(b.errs, orUnwound(out))
}

var errUnwound = errors.New("pgstore: the function ended by a panic or Goexit")

func orUnwound(out finished) error {
	if out.unwinded {
		return errUnwound
	}
	if out.err == nil {
		return errNoWrites
	}
	return out.err
}

// errNoWrites stands for a function that returned nil and wrote nothing, after others that did.
var errNoWrites = errors.New("pgstore: nothing written")

// add takes what r wrote.
func (b *batch) add(r *request, w *driver.Writes) {
	b.writes.Merge(w)
	b.dirty = true
	b.c.Updates++
	b.c.Writes += w.Writes()
	b.c.Bytes += int64(w.Bytes())
	b.waiting, b.errs = append(b.waiting, r), append(b.errs, nil)
}

// void tells those that ran that it does not count.
func (c *committer) void(b *batch, err error) {
	for _, r := range b.waiting {
		if last := lasting(err); last != nil {
			r.result <- last
		} else {
			r.result <- &again{err}
		}
	}
}

// done tells those that ran that the batch is durable.
func (b *batch) done() {
	for i, r := range b.waiting {
		if b.errs[i] == errNoWrites {
			b.errs[i] = nil
		}
		r.result <- b.errs[i]
	}
}

// commit makes the batch durable and tells all that wait.
func (c *committer) commit(b *batch, blind bool) {
	if !b.dirty {
		if !blind {
			if err := c.session.rollback(); err != nil {
				c.session.close()
				c.session = nil
			}
		}
		return
	}
	start := time.Now()
	msg := &pgx.Batch{}
	if blind {
		c.session.queueLock(msg)
	}
	keys := c.queueWrites(msg, b)
	msg.Queue(c.s.sql.mark, c.s.handle, c.seq+1, c.seq)
	msg.Queue("select pg_notify($1, $2)", c.s.sql.channel, payload(c.s.handle, keys))
	msg.Queue("commit")
	err := c.session.send(msg)
	b.c.Synced = time.Since(start)
	switch {
	case err == nil:
		c.seq++
	case refused(err):
		if code(err) == codeDivisionByZero {
			c.known = false
		}
		c.observe(b, err)
		c.void(b, err)
		c.failed(nil, err)
		return
	default:
		if err = c.resolve(err); err != nil {
			c.observe(b, err)
			c.unknown(b, err)
			c.failed(nil, err)
			return
		}
	}
	c.pause = nil
	c.observe(b, nil)
	b.done()
	c.s.watchers.keys(keys)
}

// queueWrites writes the batch and returns the keys.
func (c *committer) queueWrites(msg *pgx.Batch, b *batch) (keys [][]byte) {
	var put, values, del [][]byte
	for k, v := range b.writes.All() {
		if v == nil {
			del = append(del, k)
		} else {
			put, values = append(put, k), append(values, v)
		}
		keys = append(keys, k)
	}
	if len(put) > 0 {
		msg.Queue(c.s.sql.put, put, values)
	}
	if len(del) > 0 {
		msg.Queue(c.s.sql.del, del)
	}
	return keys
}

func (c *committer) observe(b *batch, err error) {
	b.c.Err = err
	c.s.counters.add(b.c)
	if c.s.opts.Observe != nil {
		c.s.opts.Observe(b.c)
	}
}

// errNotThere is that of a commit whose answer was lost and that did not happen.
type errNotThere struct{ cause error }

func (e *errNotThere) Error() string { return "the commit did not take place: " + e.cause.Error() }
func (e *errNotThere) Unwrap() error { return e.cause }

// resolve finds out what became of a commit whose answer was lost: nil if it took place, errNotThere if it did not and will not, else an error that
// matches store.ErrCommitUnknown.
func (c *committer) resolve(cause error) error {
	pending := c.seq + 1
	c.known = false
	c.session.close()
	c.session = nil
	pause := newBackoff(c.s.opts.Answer)
	for {
		err := error(nil)
		if c.session == nil {
			c.session, err = c.s.connect()
		}
		if err == nil {
			var there bool
			var next int64
			if there, next, err = c.session.settle(c.s.handle, c.seq, pending); err == nil || next != 0 {
				c.seq, c.known = next, err == nil
				if there {
					return nil
				}
				return &errNotThere{cause}
			}
			if code(err) == codeLockTimeout {
				if c.session.rollback() == nil {
					c.breakLock()
				}
			} else {
				c.session.close()
				c.session = nil
			}
		}
		// The backend that has the commit may be about to end: the loss of its client is noticed late. Its lock keeps us from judging too early.
		if !pause.wait(context.Background()) {
			c.seq = pending // whatever became of it, the next number is another
			return fmt.Errorf("%w: %w; and it could not be found out: %w", store.ErrCommitUnknown, cause, err)
		}
	}
}

// unknown tells those that ran what is known.
func (c *committer) unknown(b *batch, err error) {
	var not *errNotThere
	if errors.As(err, &not) {
		c.void(b, err)
		return
	}
	for i, r := range b.waiting {
		if b.errs[i] != nil {
			r.result <- &again{err} // it wrote nothing, but saw what may not be there
		} else {
			r.result <- err
		}
	}
}

// headSize is how much of a key a notification tells at most.
const headSize = 64

// payload names the keys of a commit to those who watch from elsewhere: the store that wrote them, then their beginnings, shorter the more there are.
// A store that wrote too many different ones names the empty beginning, which is that of all.
func payload(handle []byte, keys [][]byte) string {
	const room = 5900 // bytes; PostgreSQL takes less than 8000 characters
	for most := headSize; ; most /= 2 {
		buf := append([]byte(nil), handle...)
		var last []byte
		for i, k := range keys {
			k = k[:min(len(k), most)]
			if i > 0 && string(k) == string(last) {
				continue
			}
			last = k
			buf = append(binary.AppendUvarint(buf, uint64(len(k))), k...)
			if len(buf) > room {
				break
			}
		}
		if len(buf) <= room {
			return encode(buf)
		}
	}
}

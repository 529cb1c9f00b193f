package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// Defaults of Options.
const (
	DefaultHold     = 3 * time.Second
	DefaultAnswer   = 10 * time.Second
	DefaultPatience = 10 * time.Second
)

// Options are the options of Open. The zero value and nil are the defaults.
type Options struct {
	// Schema is where the tables lie, DefaultSchema if it is empty. It is made if it is missing.
	Schema string
	// Hold is how long a control plane that does not move (frozen, swapped out, cut off) may keep the others from committing, and how long a commit
	// waits for another's before it looks who that is; 0 is DefaultHold. It must be more than store.MaxUpdate.
	Hold time.Duration
	// Answer is how long a statement may take, and how long it is tried to find out about a commit whose answer was lost; 0 is DefaultAnswer.
	Answer time.Duration
	// Patience is how long an Update or the beginning of a View tries again when the database cannot be reached, before it returns an
	// UnavailableError; 0 is DefaultPatience.
	Patience time.Duration
	// NoListen makes watching poll every second instead of holding a connection with LISTEN: for a pooler that gives transactions only.
	NoListen bool
	// Observe is called after every commit, also a failed one, before its callers learn of it. It must not block and must not call the store.
	Observe func(Commit)
	// Logger is told when a frozen session was ended; nil is silence.
	Logger *slog.Logger

	wrong wrong
}

// wrong makes a store that is not right, for tests of this package which show that its suite would notice.
type wrong struct {
	begin    string // instead of beginLocked
	noRerun  bool   // what the first run wrote is committed
	lockLast bool   // the reads are fetched before the lock is there
}

func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Schema == "" {
		out.Schema = DefaultSchema
	}
	for _, d := range []struct {
		v    *time.Duration
		zero time.Duration
	}{{&out.Hold, DefaultHold}, {&out.Answer, DefaultAnswer}, {&out.Patience, DefaultPatience}} {
		if *d.v <= 0 {
			*d.v = d.zero
		}
	}
	if out.Hold <= store.MaxUpdate {
		return out, fault.New("pgstore.Open", fault.Validation, "Options.Hold is %v; it must be more than the %v that a function may take", out.Hold, store.MaxUpdate)
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	return out, nil
}

// Store is a store.Store and a store.Watcher over a database. Make it with [Open], end it with [Store.Close]. It is safe for concurrent use.
type Store struct {
	pool     *pgxpool.Pool
	sql      *statements
	opts     Options
	handle   []byte // names this Store in the table of commits
	watchers watchers
	counters counters
	ctx      context.Context // ends when Close begins
	stop     context.CancelFunc
	users    sync.WaitGroup // calls and connections that are not back yet

	mu        sync.Mutex
	queue     []*request
	closed    bool
	listening bool

	wake chan struct{} // there is something in the queue, or the store was closed
	done chan struct{} // the committer has ended
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

// Open opens the store of that name in the pool's database, and makes or migrates its tables if need be. The name is a lower-case letter and up to 39 more
// letters, digits and underscores; stores of different names have nothing in common. Any number of processes may open the same store.
//
// The pool remains the caller's, who closes it after the store. The store borrows a connection of it for every View and for the first run of an Update's function,
// and takes one for good to commit on, and one to watch if anybody does; these two no longer count among the pool's. The server must be the primary.
func Open(ctx context.Context, pool *pgxpool.Pool, name string, opts *Options) (*Store, error) {
	if pool == nil {
		return nil, fault.New("pgstore.Open", fault.Validation, "the pool is nil; make one with pgxpool.New")
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	q, err := newStatements(o.Schema, name)
	if err != nil {
		return nil, err
	}
	err = q.migrate(ctx, pool)
	for again := newBackoff(o.Patience); lost(err) && again.short(ctx); { // a connection of the pool that has died meanwhile
		err = q.migrate(ctx, pool)
	}
	if err != nil {
		var f *fault.Error
		if ctx.Err() != nil || errors.As(err, &f) {
			return nil, err
		}
		return nil, fmt.Errorf("pgstore: opening store %s: %w", name, err)
	}
	s := &Store{pool: pool, sql: q, opts: o, handle: make([]byte, 16), wake: make(chan struct{}, 1), done: make(chan struct{})}
	_, _ = rand.Read(s.handle) // never fails
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.commitLoop()
	return s, nil
}

// Close refuses what waits and what comes with store.ErrClosed, waits for the Updates and Views that run, and gives all connections back. A second Close waits
// too. It must not be called from within a transaction's function.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.signal()
	<-s.done
	s.users.Wait()
}

// begin counts a call in; false if the store is closed.
func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.users.Add(1)
	}
	return !s.closed
}

// View implements store.Store. Its state is that of its first read.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	inner, err := driver.Enter(ctx)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.begin() {
		return errClosed
	}
	defer s.users.Done()
	p := &snapshot{s: s, ctx: ctx, start: time.Now(), limit: store.MaxView}
	defer p.end(errDead)
	return fn(inner, p)
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
	if !s.begin() {
		return errClosed
	}
	defer s.users.Done()
	pause := s.newBackoff()
	var r *request
	for {
		l := &learner{snapshot: snapshot{s: s, ctx: ctx, start: time.Now(), limit: store.MaxUpdate, learn: true}}
		err := l.run(inner, fn)
		switch {
		case l.broken != nil:
			if lasting(l.broken) != nil || ctx.Err() != nil || !pause.short(ctx) {
				return l.broken
			}
			continue
		case err != nil:
			return err
		case l.w.Err() != nil:
			return l.w.Err()
		case l.late():
			return tooLong(store.MaxUpdate)
		case l.w.Writes() == 0:
			return nil // it saw one state and changes nothing: that is where it stands in the order
		}
		r = s.newRequest(ctx, &l.reads, nil)
		if l.reads.empty() || s.opts.wrong.noRerun {
			r.writes = &l.w
			r.reads.bytes = l.w.Bytes()
		}
		break
	}
	for {
		err := s.submit(inner, r, fn)
		var a *again
		if !errors.As(err, &a) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if pause.over() {
			return unavailable(a.cause)
		}
		r = s.newRequest(ctx, r.reads, r.writes)
	}
}

// submit has the request committed.
func (s *Store) submit(inner context.Context, r *request, fn func(ctx context.Context, tx store.Tx) error) error {
	if err := s.enqueue(r); err != nil {
		return err
	}
	select {
	case t := <-r.turn:
		return r.run(inner, t, fn)
	case err := <-r.result:
		return err
	case <-r.ctx.Done():
		if r.state.CompareAndSwap(queued, givenUp) {
			return r.ctx.Err()
		}
	}
	select {
	case t := <-r.turn:
		return r.run(inner, t, fn)
	case err := <-r.result:
		return err
	}
}

// backoff is the time between attempts, and its end.
type backoff struct {
	until time.Time
	next  time.Duration
	limit time.Duration
}

func newBackoff(limit time.Duration) *backoff {
	return &backoff{limit: limit, next: 5 * time.Millisecond}
}

func (s *Store) newBackoff() *backoff { return newBackoff(s.opts.Patience) }

// over says whether the attempts, the first failure having started the clock, have gone on too long.
func (b *backoff) over() bool {
	if b.until.IsZero() {
		b.until = time.Now().Add(b.limit)
	}
	return !time.Now().Before(b.until)
}

// wait waits before the next attempt, ever longer; false if there should be none.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next
	b.next = min(2*b.next, 500*time.Millisecond)
	return b.pause(ctx, d)
}

// short is wait after the loss of a connection, when the next one may be good.
func (b *backoff) short(ctx context.Context) bool { return b.pause(ctx, 5*time.Millisecond) }

func (b *backoff) pause(ctx context.Context, d time.Duration) bool {
	if b.over() {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

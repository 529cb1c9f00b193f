package command

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// actor owns one command: it feeds the engine, commits what it decides, and sends what it says, in this order. While a commit is under way it
// steps what comes next, so that the next commit is as large as the store is slow.
type actor struct {
	s     *Service
	key   actorKey
	self  []*actor // the actor alone
	shard *ownedShard
	log   *slog.Logger

	inbox   inbox
	wake    chan struct{}
	delayed atomic.Int64 // invocations that a mere heartbeat matters to
	news    atomic.Bool  // the mark that announced the command to its owner is to be removed
	stands  standing

	// The rest belongs to the actor's goroutine.
	rec    record
	engine *Engine
	bodies map[message.Kind][]byte // offer, run: the same for every node
	early  map[string]bool         // targets from Turn on that have a record
	chunk  []string                // of targets
	chunkN int                     // its number; -1 when none is loaded
	acc    attached                // goes with the next flush
	late   []*item                 // reports on what has ended
	busy   chan error              // of the commit under way; nil when there is none
	sent   chan struct{}           // closed when the messages of the last commit are out

	dispatched bool // the first messages were told of
	followed   followed

	dispatchedBefore bool // another owner, or an earlier life, began with it
}

// attached is what events bring along: who waits for them, and what is to be removed from the store with their effect.
type attached struct {
	done    []chan<- error
	cancels [][]byte
	mail    []letter
}

func (a *attached) empty() bool { return len(a.done)+len(a.cancels)+len(a.mail) == 0 }

var errGone = errors.New("command: not owned here any more")

func newActor(s *Service, k actorKey, sh *ownedShard) *actor {
	a := &actor{s: s, key: k, shard: sh, wake: make(chan struct{}, 1), chunkN: -1, log: s.cfg.Log.With("command", k.id, "tenant", k.tenant)}
	a.self = []*actor{a}
	return a
}

// put hands an event over. It never blocks.
func (a *actor) put(it item) error {
	if err := a.inbox.put(it); err != nil {
		return err
	}
	a.nudge()
	return nil
}

// nudge makes the actor look around.
func (a *actor) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// loop runs until the command ended, the lease was lost, or ctx ended. When a commit fails it begins again from the store.
func (a *actor) loop(ctx context.Context) {
	err := errGone
	defer func() { a.inbox.answerWaiting(err, true) }()
	pause := firstPause
	for {
		began := a.s.cfg.Now()
		switch err = a.serve(ctx); {
		case err == nil, ctx.Err() != nil:
			return
		case errors.Is(err, errForeign):
			a.s.leaveAlone(a)
			return
		case errors.Is(err, lease.ErrLost):
			a.log.Info("another control plane owns the command now")
			return
		case errors.Is(err, store.ErrNotFound) && a.s.forgetRemoved(ctx, a):
			a.log.Warn("the command was removed before it ended")
			return
		}
		if a.s.cfg.Now().Sub(began) > lastPause {
			pause = firstPause
		}
		a.stands.troubled.Store(true)
		a.log.Warn("cannot go on with the command, trying again", "error", err, "in", pause)
		a.inbox.answerWaiting(err, false)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// Between two tries of an actor whose store fails.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// serve loads the command and works until it ended (nil) or something failed.
func (a *actor) serve(ctx context.Context) (err error) {
	defer func() { // nothing of this life may reach the store after the next one has read it
		a.settle() //nolint:errcheck // it is thrown away
		if a.sent != nil {
			<-a.sent
			a.sent = nil
		}
		answer(a.acc.done, err)
		a.acc, a.late = attached{}, nil
		if err != nil {
			a.news.Store(true)
			a.s.unhearAll(a)
		}
	}()
	if err := a.load(ctx); err != nil {
		return err
	}
	ctx = access.With(ctx, access.Principal{Tenant: a.key.tenant, Name: a.rec.Principal, Attributes: a.rec.Attributes})
	for {
		now := a.s.cfg.Now()
		if err := a.advance(ctx, now); err != nil {
			return err
		}
		dirty := a.engine.Dirty() || !a.acc.empty() || a.news.Load()
		if dirty && (a.busy == nil || a.engine.Full()) {
			if err := a.start(ctx); err != nil {
				return err
			}
			continue
		}
		if a.engine.State.Done() && !dirty && a.inbox.empty() {
			return a.settle()
		}
		if len(a.late) > 0 && a.busy == nil {
			a.takeLate(ctx)
		}
		if err := a.wait(ctx, now); err != nil {
			return err
		}
	}
}

// advance steps the engine as far as it goes now.
func (a *actor) advance(ctx context.Context, now time.Time) error {
	for n := 0; !a.engine.Full(); n++ {
		if n == takeRounds { // who sends without end does not keep what was decided from being written
			a.nudge()
			break
		}
		batch := a.inbox.take()
		if len(batch) == 0 {
			break
		}
		for _, it := range batch {
			if err := a.step(ctx, now, it); err != nil {
				return err
			}
		}
	}
	a.engine.Tick(now, flushRecords)
	err := a.dispatch(ctx, now)
	a.delayed.Store(int64(a.engine.Delayed))
	if a.s.cfg.Observer != nil {
		a.stands.set(a.engine)
	}
	return err
}

// step applies one event. What comes with it goes into the next flush.
func (a *actor) step(ctx context.Context, now time.Time, it *item) error {
	if it.look != nil {
		it.look(a.engine)
		return nil
	}
	if it.done != nil {
		a.acc.done = append(a.acc.done, it.done)
	}
	if it.cancel != nil {
		a.acc.cancels = append(a.acc.cancels, it.cancel)
	}
	a.acc.mail = append(a.acc.mail, it.mail...)
	switch {
	case it.ev.Report != nil && !a.engine.Has(it.ev.Node):
		if len(a.late) < takeEvents {
			a.late = append(a.late, it)
		}
		return nil
	case it.ev.Cancel && len(it.ev.Nodes) > 0:
		nodes, err := a.live(ctx, it.ev.Nodes)
		if err != nil || len(nodes) == 0 {
			return err
		}
		it.ev.Nodes = nodes
	}
	a.engine.Step(now, it.ev)
	return nil
}

// wait blocks until an event came, a commit ended, the engine's next time, or the end.
func (a *actor) wait(ctx context.Context, now time.Time) error {
	var timer <-chan time.Time
	if at, ok := a.engine.Next(); ok {
		t := time.NewTimer(max(0, at.Sub(now)))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-a.busy:
		a.busy = nil
		return err
	case <-a.wake:
	case <-timer:
	}
	return nil
}

// settle waits for the commit under way and returns its error.
func (a *actor) settle() error {
	if a.busy == nil {
		return nil
	}
	err := <-a.busy
	a.busy = nil
	return err
}

func answer(done []chan<- error, err error) {
	for _, d := range done {
		d <- err
	}
}

// load reads the command and makes its engine from what is stored.
func (a *actor) load(ctx context.Context) error {
	s, tenant, id := a.s, a.key.tenant, a.key.id
	var st State
	var docs []message.Included
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		docs = nil
		if is, err := s.isForeign(ctx, r, tenant, id); err != nil || is {
			return cmp.Or(err, errForeign)
		}
		if a.rec, err = s.commands.Get(ctx, r, commandKey(tenant, id)); err != nil {
			return err
		}
		if st, err = s.states.Get(ctx, r, stateKey(tenant, id)); err != nil {
			return err
		}
		docs, err = s.readDocs(ctx, r, tenant, id)
		return err
	})
	if err != nil {
		return err
	}
	st.Form = max(st.Form, stamp(s.cfg.form)) // who goes on with it writes it in the own form
	a.chunk, a.chunkN, a.early = nil, -1, map[string]bool{}
	next := "" // the first target that had no turn
	if st.Turn < st.N {
		if next, err = a.target(ctx, st.Turn); err != nil {
			return err
		}
	}
	var open []Invocation
	if st.Turn > 0 || st.Counts.Done() > 0 {
		for inv, err := range s.scanInvocations(ctx, tenant, id) {
			if err != nil {
				return err
			}
			if inv.Phase != PhaseDone {
				open = append(open, inv)
			}
			if next != "" && inv.Node >= next {
				a.early[inv.Node] = true
			}
		}
	}
	// What was asked to stop stops before anything else starts.
	if err := a.loadCancels(ctx); err != nil {
		return err
	}
	b, err := s.makeBodies(&a.rec, docs, st.ExpiresAt)
	if err != nil {
		return err
	}
	a.bodies = map[message.Kind][]byte{message.KindOffer: b.offer, message.KindRun: b.run}
	a.engine = Restore(st, s.cfg.Timing, open, s.cfg.Now())
	a.engine.watched = s.cfg.Observer != nil
	a.dispatched, a.dispatchedBefore = st.Turn > 0, st.Turn > 0
	nodes := make([]string, len(open))
	for i := range open {
		nodes[i] = open[i].Node
	}
	s.hear(a, nodes)
	return nil
}

// runBody is what every node of the command gets.
func runBody(r *record, docs []message.Included, expires time.Time, refuseRaw bool) ([]byte, error) {
	run := message.Run{Ref: message.Ref{Command: r.ID, Attempt: 1}, DocumentName: r.Request.DocumentName, DocumentVersion: r.Version, DocumentHash: r.Hash,
		Document: docs[0].Document, Format: r.Format, Parameters: r.Request.Parameters, SSM: r.SSM, ExpiresAt: expires, OutputLimit: r.Request.OutputLimit, RefuseRaw: refuseRaw}
	for i, d := range docs[1:] {
		if run.Documents == nil {
			run.Documents = map[string]message.Included{}
		}
		run.Documents[r.Included[i]] = d
	}
	return message.Marshal(message.KindRun, run)
}

package automation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// owner works on the executions of one shard. One goroutine decides; calls have a goroutine each while they last, waiting executions have none.
type owner struct {
	s    *Service
	n    uint64
	held lease.Held
	stop context.CancelFunc
	wg   sync.WaitGroup

	leaving atomic.Bool  // the shard is to be given back
	yields  atomic.Int64 // to who understands this form
	alone   atomic.Int64 // executions of a newer release
	meant   bool         // an older release gave the shard up for this one

	mu    sync.Mutex
	queue []job
	wake  chan struct{}

	lives   map[name]*live // the loop's alone, as is what follows
	due     map[name]time.Time
	calls   map[string]context.CancelFunc // by step and attempt
	pending []name                        // in the order of their arrival
	atWork  map[name]bool
	mail    bool          // there may be letters
	foreign map[name]bool // left to a newer release
	shaken  map[name]bool // whose last commit failed, or may have: what it led to was not begun
}

type name struct{ tenant, id string }

type job struct {
	name
	ev     Event
	letter []byte // where it lies in the inbox; nil for what came by itself
}

// Run owns executions until ctx ends: it takes what shards are free, goes on with their executions, and takes over those of control planes that died. It
// returns ctx's error; everything that it started has ended then. One Run at a time.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.runs {
		s.mu.Unlock()
		return fault.New("automation.Run", fault.InternalServerError, "Run is running already")
	}
	s.runs = true
	s.mu.Unlock()
	tick := time.NewTicker(s.cfg.Leases.Pace())
	defer tick.Stop()
	for ctx.Err() == nil {
		s.claim(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	s.mu.Lock()
	all := s.owners
	s.owners = map[uint64]*owner{}
	s.mu.Unlock()
	for _, o := range all {
		o.stop()
	}
	end := context.WithoutCancel(ctx)
	if s.joined {
		s.cfg.Leases.Leave(end, groupName) //nolint:errcheck // its session ends soon
		s.joined = false
	}
	for _, o := range all {
		o.wg.Wait()
		o.held.Release(end) //nolint:errcheck // it expires by itself
	}
	s.mu.Lock()
	s.runs, s.busy = false, 0
	s.mu.Unlock()
	return ctx.Err()
}

// groupName is the group of those who share the executions.
const groupName = "automation"

// claim takes shards that are free, up to this control plane's share, and gives some back while it has more.
func (s *Service) claim(ctx context.Context) {
	names := make([]string, 0, Shards)
	numbers := map[string]uint64{}
	s.mu.Lock()
	for n := range uint64(Shards) {
		if s.owners[n] == nil {
			name := "automation/" + strconv.FormatUint(n, 10)
			names = append(names, name)
			numbers[name] = n
		}
	}
	s.mu.Unlock()
	have := Shards - len(names)
	failed := func(err error) {
		if !errors.Is(err, lease.ErrHeld) && ctx.Err() == nil {
			s.cfg.Log.Warn("cannot ask for parts of the executions; trying again", "error", err)
		}
	}
	if !s.joined {
		if err := s.cfg.Leases.JoinAs(ctx, groupName, s.cfg.form); err != nil {
			failed(err)
			return
		}
		s.joined = true
	}
	sv, err := s.cfg.Leases.Survey(ctx, groupName, "", names)
	if err != nil {
		failed(err)
		return
	}
	s.older.Store(sv.Newest > s.cfg.form)
	share := sv.Share(Shards)
	s.shed(max(0, (have-share+1)/2), sv)
	must := len(sv.Own) + len(sv.Meant)
	for i, name := range slices.Concat(sv.Own, sv.Meant, sv.Free) {
		if i >= must && have >= share || ctx.Err() != nil {
			return
		}
		held, err := s.cfg.Leases.Acquire(ctx, "", name)
		if err != nil {
			failed(err)
			continue
		}
		have++
		s.own(ctx, numbers[name], held, slices.Contains(sv.Meant, name))
	}
}

// shed has as many owners give their shards back as there are too many, so that another control plane takes them: each when no call is under way, whose outcome would be lost.
// Those with executions of a newer release go to a control plane of that release if one lives; among mixed releases none is given away that an older one could not go on with.
func (s *Service) shed(count int, sv lease.Survey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.owners), func(a, b *owner) int { return cmp.Or(len(a.atWork)-len(b.atWork), cmp.Compare(a.n, b.n)) })
	for _, o := range all {
		yields := o.alone.Load() > 0 && sv.Newest > s.cfg.form
		leaves := yields || count > 0 && !(sv.Mixed && o.meant)
		if yields {
			o.yields.Store(int64(sv.Newest))
		}
		o.leaving.Store(leaves)
		if leaves {
			count--
			o.nudge()
		}
	}
}

// quiet reports whether nothing is under way that another owner could not go on with.
func (o *owner) quiet() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.calls) == 0 && len(o.queue) == 0
}

// own begins to own a shard.
func (s *Service) own(ctx context.Context, n uint64, held lease.Held, meant bool) {
	o := &owner{s: s, n: n, held: held, meant: meant, foreign: map[name]bool{}, wake: make(chan struct{}, 1), lives: map[name]*live{}, due: map[name]time.Time{}, calls: map[string]context.CancelFunc{}, atWork: map[name]bool{}, shaken: map[name]bool{}}
	var own context.Context
	own, o.stop = context.WithCancel(ctx)
	s.mu.Lock()
	s.owners[n] = o
	s.mu.Unlock()
	o.wg.Go(func() {
		select {
		case <-held.Lost():
			o.stop()
		case <-own.Done():
		}
	})
	o.wg.Go(func() {
		o.loop(own)
		o.stop()
		if o.leaving.Load() && ctx.Err() == nil {
			held.ReleaseFor(ctx, int(o.yields.Load())) //nolint:errcheck // what stands on this session is taken again
		}
		s.mu.Lock()
		if s.owners[n] == o {
			delete(s.owners, n)
		}
		s.busy -= len(o.atWork)
		s.mu.Unlock()
	})
}

// push hands an event to the loop.
func (o *owner) push(n name, ev Event) {
	o.mu.Lock()
	o.queue = append(o.queue, job{n, ev, nil})
	o.mu.Unlock()
	o.nudge()
}

// loop works until the lease is lost or ctx ends.
func (o *owner) loop(ctx context.Context) {
	changed, err := store.Watch(ctx, o.s.cfg.Store, inboxKey(o.n))
	if err != nil {
		return
	}
	// A commit that was on its way when the watch began may give no sign. This one comes after it, so that what is read below has it.
	err = o.s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return o.held.Check(ctx, tx) })
	if err == nil {
		err = o.adoptAll(ctx)
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, lease.ErrLost) {
			o.s.cfg.Log.Warn("cannot read the list of active executions; trying again", "shard", o.n, "error", err)
		}
		return
	}
	o.mail = true
	for ctx.Err() == nil {
		if err := o.round(ctx); err != nil {
			o.mail = true
			if ctx.Err() != nil || errors.Is(err, lease.ErrLost) {
				return // all of it is loaded again by who takes the shard next
			}
			o.s.cfg.Log.Warn("cannot go on with executions; trying again", "shard", o.n, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		if o.leaving.Load() && o.quiet() {
			return
		}
		timer := time.NewTimer(o.nap())
		select {
		case <-ctx.Done():
		case <-o.wake:
		case <-timer.C:
			o.mail = true
		case _, ok := <-changed:
			if o.mail = true; !ok {
				changed = nil
			}
		}
		timer.Stop()
	}
}

// round does everything that there is to do now.
func (o *owner) round(ctx context.Context) error {
	if o.mail {
		if err := o.collect(ctx); err != nil {
			return err
		}
		o.mail = false
	}
	if err := o.apply(ctx, o.take()); err != nil {
		return err
	}
	now := o.s.cfg.Now()
	var late []name
	for n, t := range o.due {
		if !t.After(now) {
			late = append(late, n)
		}
	}
	slices.SortFunc(late, func(a, b name) int { return o.due[a].Compare(o.due[b]) })
	var jobs []job
	for _, n := range late {
		jobs = append(jobs, job{name: n})
	}
	if err := o.apply(ctx, jobs); err != nil {
		return err
	}
	return o.admit(ctx)
}

// take takes what was pushed. Answers that are about to come are let come first, without waiting for any: they share the commit then.
func (o *owner) take() []job {
	for n := -1; ; {
		o.mu.Lock()
		if len(o.queue) == n || n >= mostChanges {
			jobs := o.queue
			o.queue = nil
			o.mu.Unlock()
			return jobs
		}
		n = len(o.queue)
		o.mu.Unlock()
		runtime.Gosched()
	}
}

// nap is how long there is nothing to do.
func (o *owner) nap() time.Duration {
	d := time.Minute // letters and room give a sign; this is for a store that loses one
	now := o.s.cfg.Now()
	for _, t := range o.due {
		d = min(d, max(t.Sub(now), 0))
	}
	return d
}

// adoptAll takes up every execution of the shard that has not ended.
func (o *owner) adoptAll(ctx context.Context) error {
	prefix := activeKey(o.n)
	rng := prefix.Range()
	for {
		rng.Limit = 500
		var page []name
		var last []byte
		err := o.s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			page = page[:0]
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				k := key.Read(it.Key[len(prefix):])
				page = append(page, name{k.Str(), k.Str()})
				last = bytes.Clone(it.Key)
				if err := k.Err(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, n := range page {
			if _, err := o.adopt(ctx, n, true); err != nil {
				if errors.Is(err, errNewer) {
					o.leaveAlone(n)
					continue
				}
				if ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
					return err
				}
				o.s.cfg.Log.Error("an execution cannot be loaded", "execution", n.id, "error", err) // the others go on
			}
		}
		if len(page) < 500 {
			return nil
		}
		rng = prefix.After(last)
	}
}

// adopt takes an execution into memory. What was under way when its last owner ended is done again, or is interrupted.
func (o *owner) adopt(ctx context.Context, n name, crashed bool) (*live, error) {
	if l := o.lives[n]; l != nil {
		return l, nil
	}
	l, err := o.s.load(ctx, n.tenant, n.id)
	if err != nil {
		return nil, err
	}
	if l.x.Status.Done() {
		return l, nil
	}
	open := l.rb.Outstanding(l.x)
	if crashed && o.s.lacks(open) {
		return nil, errNewer
	}
	o.lives[n] = l
	if l.x.Status == Pending {
		o.pending = append(o.pending, n)
	}
	o.account(n, l)
	shaken := o.shaken[n] || l.head.Seq == 0 // one that was forked has begun already
	delete(o.shaken, n)
	if !crashed && !shaken {
		return l, nil
	}
	for _, e := range open {
		if e.Kind == Invoke && o.calls[callName(e)] != nil {
			continue // it is under way here
		}
		if crashed && e.Kind == Invoke && !o.s.cfg.Actions[e.Action].Repeat {
			o.push(n, Event{Result: &Result{StepID: e.StepID, Attempt: e.Attempt, Look: e.Look, Failure: &Failure{Stage: Invocation, Type: InternalFailure,
				Message: "the control plane ended while the step ran: nobody knows whether it was done", Details: map[string][]string{"Reason": {"Interrupted"}}}}})
			continue
		}
		o.effect(ctx, n, l, e)
	}
	return l, nil
}

// account notes when the execution must be looked at, and whether it counts among those at work.
func (o *owner) account(n name, l *live) {
	delete(o.due, n)
	if t, ok := l.x.Next(); ok {
		o.due[n] = t
	}
	work := l.x.Parent == "" && (l.x.Status == InProgress || l.x.Status == Cancelling)
	if work != o.atWork[n] {
		o.s.mu.Lock()
		if work {
			o.atWork[n] = true
			o.s.busy++
		} else {
			delete(o.atWork, n)
			o.s.busy--
			for _, other := range o.s.owners {
				other.nudge()
			}
		}
		o.s.mu.Unlock()
	}
}

// nudge lets the loop have a look.
func (o *owner) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// The most that one transaction holds.
const (
	mostChanges = 100
	mostBytes   = 2 << 20
)

// apply lets events happen, makes them durable and does what they lead to: those of different executions in one transaction, those of one in their order. When a
// commit fails, what came by itself is put back to be tried again; letters are in their inbox still.
func (o *owner) apply(ctx context.Context, jobs []job) error {
	for len(jobs) > 0 {
		var batch []*change
		var rest []job
		seen, bytes := map[name]bool{}, 0
		var bad error
		for i, j := range jobs {
			if seen[j.name] || len(batch) >= mostChanges || bytes > mostBytes {
				rest = append(rest, j)
				seen[j.name] = true
				continue
			}
			if o.foreign[j.name] {
				continue
			}
			l, err := o.adopt(ctx, j.name, false)
			if errors.Is(err, errNewer) {
				o.leaveAlone(j.name)
				continue
			}
			if err == nil && !l.x.Status.Done() {
				if j.letter != nil && l.x.Status == Pending && j.ev == (Event{}) && len(o.pending) == 1 && o.pending[0] == j.name && o.room(j.name, l) {
					j.ev.Begin, o.pending = true, nil // nobody waits before it
				}
				var c *change
				if c, err = o.s.prepare(l, j); err == nil && o.s.lacks(c.effects) {
					o.leaveAlone(j.name)
					continue
				}
				if err == nil {
					seen[j.name] = true
					batch = append(batch, c)
					bytes += len(c.entry) + len(c.state) + 2000
					continue
				}
			}
			if err == nil || fault.CodeOf(err) == ExecutionNotFound || fault.KindOf(err) == fault.Corrupt {
				o.drop(j.name)
				err = o.forget(ctx, j.letter)
			}
			if err != nil {
				bad, rest = err, append(rest, jobs[i:]...)
				break
			}
		}
		if len(batch) > 0 {
			start := o.s.cfg.Now()
			err := o.s.commit(ctx, o.held, batch)
			if o.s.cfg.Observe != nil {
				told := Observation{Shard: int(o.n), Transitions: len(batch), Took: o.s.cfg.Now().Sub(start), Err: err, Held: len(o.lives), Pending: len(o.pending)}
				for _, c := range batch {
					if err == nil {
						told.Changes = append(told.Changes, c.changed...)
					}
				}
				o.s.cfg.Observe(told)
			}
			if err != nil {
				bad = err
				var again []job
				for _, c := range batch {
					delete(o.lives, c.name)
					o.shaken[c.name] = true
					o.due[c.name] = o.s.cfg.Now() // have a look soon
					again = append(again, c.job)
				}
				rest = append(again, rest...)
				batch = nil
			}
		}
		for _, c := range batch {
			o.done(ctx, c)
		}
		if bad != nil {
			rest = slices.DeleteFunc(rest, func(j job) bool { return j.letter != nil })
			o.mu.Lock()
			o.queue = append(rest, o.queue...)
			o.mu.Unlock()
			return bad
		}
		jobs = rest
	}
	return nil
}

// done does what a durable change leads to.
func (o *owner) done(ctx context.Context, c *change) {
	c.l.head = c.head
	o.account(c.name, c.l)
	if r := c.ev.Result; r != nil {
		delete(o.calls, callName(Effect{StepID: r.StepID, Attempt: r.Attempt, Look: r.Look}))
	}
	for _, e := range c.effects {
		o.effect(ctx, c.name, c.l, e)
	}
	if c.l.x.Status.Done() {
		o.drop(c.name)
	}
}

// drop forgets an execution that has ended.
func (o *owner) drop(n name) {
	delete(o.lives, n)
	delete(o.due, n)
	if o.atWork[n] {
		o.s.mu.Lock()
		delete(o.atWork, n)
		o.s.busy--
		o.s.mu.Unlock()
	}
}

// forget takes a letter out of the inbox that has nobody to go to.
func (o *owner) forget(ctx context.Context, letterAt []byte) error {
	if letterAt == nil {
		return nil
	}
	return o.s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := o.held.Check(ctx, tx); err != nil {
			return err
		}
		return tx.Delete(letterAt)
	})
}

// collect takes what others left.
func (o *owner) collect(ctx context.Context) error {
	for {
		rng := inboxKey(o.n).Range()
		type mail struct {
			at []byte
			letter
		}
		var page []mail
		err := o.s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			page = page[:0]
			for rec, err := range o.s.inbox.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				if o.foreign[name{rec.Value.Tenant, rec.Value.ID}] {
					continue // for who takes the shard next
				}
				if page = append(page, mail{rec.Key, rec.Value}); len(page) == 200 {
					break
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		jobs := make([]job, 0, len(page))
		for _, m := range page {
			ev, err := readEvent(m.Event)
			if err != nil {
				ev = Event{}
			}
			n := name{m.Tenant, m.ID}
			if err := o.s.fetched(ctx, m.letter, &ev); errors.Is(err, errNewer) {
				o.leaveAlone(n) // it cannot know what its child gave
			} else if err != nil {
				return err
			}
			jobs = append(jobs, job{n, ev, m.at})
		}
		if err := o.apply(ctx, jobs); err != nil {
			return err
		}
		if len(page) < 200 {
			return nil
		}
	}
}

// room reports whether an execution may begin, and takes the room: others look for it, too.
func (o *owner) room(n name, l *live) bool {
	if l.x.Parent != "" {
		return true
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.s.busy >= o.s.cfg.Concurrency {
		return false
	}
	if !o.atWork[n] {
		o.s.busy++
		o.atWork[n] = true
	}
	return true
}

// admit begins executions while there is room; those that another one waits for always begin.
func (o *owner) admit(ctx context.Context) error {
	var rest []name
	var jobs []job
	for _, n := range o.pending {
		l := o.lives[n]
		if l == nil || l.x.Status != Pending {
			continue
		}
		if !o.room(n, l) {
			rest = append(rest, n)
			continue
		}
		jobs = append(jobs, job{name: n, ev: Event{Begin: true}})
	}
	o.pending = rest
	return o.apply(ctx, jobs)
}

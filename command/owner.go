package command

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// ownedShard is a part of the commands that this process owns by lease.
type ownedShard struct {
	n       uint64
	held    lease.Held
	meant   bool            // an older release gave it up for this one
	ctx     context.Context // ends when the lease is lost
	stop    context.CancelFunc
	wg      sync.WaitGroup // of its actors
	scanned bool           // all its commands have an actor; Run's goroutine only

	foreign map[actorKey]bool // commands of a newer release; guarded by the service's mu
}

// collectEvery is how long a look at what was left waits after one that found something: what comes meanwhile is taken together.
const collectEvery = 5 * time.Millisecond

// Run owns commands until ctx ends: it takes what shards it can get, goes on with their commands, and takes over those of control planes that died. It returns ctx's error.
// One Run at a time. When it returns, everything that it started has ended.
//
// What it costs while nothing happens does not depend on how many commands are active: all active commands of a shard are listed once, when the lease was taken; from then on Run only
// reads what is left for it (new commands, cancellations, messages of nodes that are connected elsewhere).
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.runs {
		s.mu.Unlock()
		return fault.New("command.Run", fault.InternalServerError, "Run is running already")
	}
	s.runs = true
	s.mu.Unlock()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	changed, err := store.Watch(ctx, s.cfg.Store, todo())
	if err == nil {
		if s.cfg.Planes != nil {
			wg.Go(func() { s.drain(ctx) })
		}
		poll := time.NewTicker(s.cfg.Leases.Pace())
		defer poll.Stop()
		s.claim(ctx, &wg)
		away := s.cfg.Now()
		for ctx.Err() == nil {
			if s.cfg.Beat != nil {
				s.cfg.Beat(s.cfg.Leases.Pace())
			}
			s.scan(ctx)
			if s.collect(ctx) {
				select {
				case <-ctx.Done():
				case <-time.After(collectEvery):
				}
			}
			select {
			case <-ctx.Done():
			case <-poll.C:
				s.claim(ctx, &wg)
				if now := s.cfg.Now(); s.cfg.Planes != nil && now.Sub(away).Abs() >= s.cfg.Timing.Max {
					away = now
					s.heardAway()
				}
			case _, ok := <-changed:
				if !ok {
					changed = nil
				}
			}
		}
		err = ctx.Err()
	}
	s.mu.Lock()
	shards := s.owned
	s.owned = map[uint64]*ownedShard{}
	s.mu.Unlock()
	for _, sh := range shards {
		sh.stop()
	}
	cancel()
	end := context.WithoutCancel(ctx)
	if s.joined {
		s.cfg.Leases.Leave(end, groupName) //nolint:errcheck // its session ends soon
		s.joined = false
	}
	for _, sh := range shards {
		sh.wg.Wait()
		sh.held.Release(end) //nolint:errcheck // it expires by itself
	}
	wg.Wait()
	s.mu.Lock()
	s.runs = false
	s.mu.Unlock()
	return err
}

// groupName is the group of those who share the commands.
const groupName = "command"

// claim takes shards that are free, up to this control plane's share, and gives some back while it has more.
func (s *Service) claim(ctx context.Context, wg *sync.WaitGroup) {
	names := make([]string, 0, Shards)
	numbers := map[string]uint64{}
	have := 0
	s.mu.Lock()
	for n := range uint64(Shards) {
		switch sh := s.owned[n]; {
		case sh != nil && sh.ctx.Err() == nil:
			have++
			continue
		case sh != nil: // lost
			delete(s.owned, n)
		}
		if !s.leaving[n] {
			names = append(names, leaseName(n))
			numbers[leaseName(n)] = n
		}
	}
	s.mu.Unlock()
	failed := func(err error) {
		if !errors.Is(err, lease.ErrHeld) && ctx.Err() == nil {
			s.cfg.Log.Warn("cannot ask for parts of the commands; trying again", "error", err)
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
	if sv.Newest > s.cfg.form {
		s.yield(ctx, wg, sv.Newest)
	}
	share := sv.Share(Shards)
	if have > share {
		s.shed(ctx, wg, (have-share+1)/2, sv.Mixed)
	}
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
		s.own(ctx, wg, numbers[name], held, slices.Contains(sv.Meant, name))
	}
}

// own begins to own a shard.
func (s *Service) own(ctx context.Context, wg *sync.WaitGroup, n uint64, held lease.Held, meant bool) {
	sh := &ownedShard{n: n, held: held, meant: meant}
	sh.ctx, sh.stop = context.WithCancel(ctx)
	s.mu.Lock()
	s.owned[n] = sh
	s.mu.Unlock()
	wg.Go(func() {
		select {
		case <-held.Lost():
		case <-sh.ctx.Done():
		}
		sh.stop()
	})
}

// shed gives back as many shards, those with the fewest commands, so that another control plane takes them; among mixed releases none that an older one could not go on with.
func (s *Service) shed(ctx context.Context, wg *sync.WaitGroup, count int, mixed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	load := map[*ownedShard]int{}
	for _, a := range s.actors {
		load[a.shard]++
	}
	var all []*ownedShard
	for _, sh := range s.owned {
		if sh.ctx.Err() == nil && !(mixed && sh.meant) {
			all = append(all, sh)
		}
	}
	slices.SortFunc(all, func(a, b *ownedShard) int { return cmp.Or(load[a]-load[b], cmp.Compare(a.n, b.n)) })
	for _, sh := range all[:min(count, len(all))] {
		s.giveBack(ctx, wg, sh, 0)
	}
}

// yield gives the shards with commands of a newer release to the control planes that understand them.
func (s *Service) yield(ctx context.Context, wg *sync.WaitGroup, form int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.owned {
		if len(sh.foreign) > 0 && sh.ctx.Err() == nil {
			s.giveBack(ctx, wg, sh, form)
		}
	}
}

// giveBack lets a shard go, for who understands the form if that is not 0. The caller holds mu.
func (s *Service) giveBack(ctx context.Context, wg *sync.WaitGroup, sh *ownedShard, form int) {
	delete(s.owned, sh.n)
	s.leaving[sh.n] = true
	wg.Go(func() {
		sh.stop()
		sh.wg.Wait()
		for { // nobody may take what this living control plane's name stands on
			err := sh.held.ReleaseFor(ctx, form)
			if err == nil || ctx.Err() != nil {
				break
			}
			s.cfg.Log.Warn("a part of the commands was not given back; trying again", "shard", sh.n, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(lastPause):
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leaving, sh.n)
	})
}

func leaseName(n uint64) string { return "command/" + strconv.FormatUint(n, 10) }

// mine returns the shards that are owned at present.
func (s *Service) mine() []*ownedShard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*ownedShard
	for n := range uint64(Shards) {
		if sh := s.owned[n]; sh != nil && sh.ctx.Err() == nil {
			out = append(out, sh)
		}
	}
	return out
}

// scan starts an actor for every active command of the shards that were taken since it ran last.
func (s *Service) scan(ctx context.Context) {
	for _, sh := range s.mine() {
		if sh.scanned {
			continue
		}
		all := true
		err := s.eachKey(ctx, activeKey(sh.n), func(k *key.Reader) error {
			tenant, id := k.Str(), k.Str()
			if err := k.Err(); err != nil {
				return err
			}
			all = s.adopt(sh, tenant, id, false) && all
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Log.Warn("cannot read the list of active commands; trying again", "shard", sh.n, "error", err)
			}
			continue
		}
		sh.scanned = all
	}
}

// eachKey calls fn for what follows prefix in every key under it, a View for each page.
func (s *Service) eachKey(ctx context.Context, prefix key.K, fn func(*key.Reader) error) error {
	rng := prefix.Range()
	for {
		rng.Limit = scanPage
		var page [][]byte
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			page = page[:0]
			for it, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				page = append(page, append([]byte(nil), it.Key...))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range page {
			if err := fn(key.Read(k[len(prefix):])); err != nil {
				return err
			}
		}
		if len(page) < scanPage {
			return nil
		}
		rng = prefix.After(page[len(page)-1])
	}
}

// adopt makes sure that the command of an owned shard has an actor. announced says that the store has a mark that is to be removed. It returns false when the actor of an earlier
// ownership has not ended yet, so that one is to be started later.
func (s *Service) adopt(sh *ownedShard, tenant, id string, announced bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := actorKey{tenant, id}
	if sh.ctx.Err() != nil || s.owned[sh.n] != sh {
		return false
	}
	if sh.foreign[k] {
		return true
	}
	a := s.actors[k]
	if a == nil {
		a = newActor(s, k, sh)
		s.actors[k] = a
		sh.wg.Go(func() {
			a.loop(sh.ctx)
			s.mu.Lock()
			delete(s.actors, k)
			s.mu.Unlock()
		})
	}
	if a.shard != sh {
		return false
	}
	if announced && !a.news.Swap(true) {
		a.nudge()
	}
	return true
}

// adoptNew starts the actor of a command that was just sent, if its shard is owned here; else its owner finds it.
func (s *Service) adoptNew(tenant, id string, shard uint64) {
	s.mu.Lock()
	sh := s.owned[shard]
	s.mu.Unlock()
	if sh != nil {
		s.adopt(sh, tenant, id, true)
	}
}

// actor returns the actor of a command that is owned here.
func (s *Service) actor(tenant, id string) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actors[actorKey{tenant, id}]
}

// forgetRemoved takes a command whose record is gone from the list of active ones. It returns false if the record is there.
func (s *Service) forgetRemoved(ctx context.Context, a *actor) bool {
	tenant, id := a.key.tenant, a.key.id
	err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := a.shard.held.Check(ctx, tx); err != nil {
			return err
		}
		switch _, err := tx.Get(ctx, commandKey(tenant, id)); {
		case err == nil:
			return errThere
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		if err := tx.Delete(activeKey(a.shard.n).Str(tenant).Str(id)); err != nil {
			return err
		}
		return s.dropTodo(ctx, tx, a.shard.n, tenant, id)
	})
	return err == nil
}

var errThere = errors.New("command: the command's record is there")

package command

import (
	"context"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// ownedShard is a part of the commands that this process owns by lease.
type ownedShard struct {
	n    uint64
	held lease.Held
	ctx  context.Context // ends when the lease is lost
	stop context.CancelFunc
	wg   sync.WaitGroup // of its actors
}

// claimEvery is how often Run asks for shards that others hold and for commands that others accepted.
const claimEvery = time.Second

// Run owns commands until ctx ends: it takes what shards it can get, goes on with their commands, and takes over those of control planes that died.
// One Run at a time. When it returns, everything that it started has ended.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.run != nil {
		s.mu.Unlock()
		return fault.New("command.Run", fault.InternalServerError, "Run is running already")
	}
	s.run = ctx
	s.mu.Unlock()
	changed, err := store.Watch(ctx, s.cfg.Store, space("", "active"))
	if err == nil {
		poll := time.NewTicker(claimEvery)
		defer poll.Stop()
		for ctx.Err() == nil {
			s.claim(ctx)
			s.adoptAll(ctx)
			select {
			case <-ctx.Done():
			case <-poll.C:
			case <-changed:
			}
		}
		err = ctx.Err()
	}
	s.mu.Lock()
	shards := s.owned
	s.owned = map[uint64]*ownedShard{}
	s.run = nil
	s.mu.Unlock()
	for _, sh := range shards {
		sh.stop()
	}
	for _, sh := range shards {
		sh.wg.Wait()
		sh.held.Release(context.WithoutCancel(ctx)) //nolint:errcheck // it expires by itself
	}
	s.wg.Wait()
	return err
}

// claim takes every shard that is free.
func (s *Service) claim(ctx context.Context) {
	for n := range uint64(Shards) {
		s.mu.Lock()
		sh := s.owned[n]
		if sh != nil && sh.ctx.Err() != nil { // lost
			delete(s.owned, n)
			sh = nil
		}
		s.mu.Unlock()
		if sh != nil {
			continue
		}
		held, err := s.cfg.Leases.Acquire(ctx, "", leaseName(n))
		if err != nil {
			continue // another one owns it; ask again
		}
		sh = &ownedShard{n: n, held: held}
		sh.ctx, sh.stop = context.WithCancel(ctx)
		s.mu.Lock()
		s.owned[n] = sh
		s.mu.Unlock()
		s.wg.Go(func() {
			select {
			case <-held.Lost():
			case <-sh.ctx.Done():
			}
			sh.stop()
		})
	}
}

func leaseName(n uint64) string { return "command/" + string(rune('a'+n)) }

// adoptAll starts an actor for every command of the owned shards that has none.
func (s *Service) adoptAll(ctx context.Context) {
	s.mu.Lock()
	shards := make([]uint64, 0, len(s.owned))
	for n := range s.owned {
		shards = append(shards, n)
	}
	s.mu.Unlock()
	for _, n := range shards {
		var found []actorKey
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			found = found[:0]
			for it, err := range r.Scan(ctx, activeKey(n).Range()) {
				if err != nil {
					return err
				}
				k := key.Read(it.Key[len(activeKey(n)):])
				tenant, id := k.Str(), k.Str()
				if err := k.Err(); err != nil {
					return err
				}
				found = append(found, actorKey{tenant, id})
			}
			return nil
		})
		if err != nil {
			s.cfg.Log.Warn("cannot read the list of active commands", "error", err)
			continue
		}
		for _, k := range found {
			s.adopt(k.tenant, k.id, n)
		}
		if err := s.deliverCancels(ctx, n); err != nil {
			s.cfg.Log.Warn("cannot read the list of cancellations", "error", err)
		}
	}
}

// adopt starts the command's actor if its shard is owned here and it has none.
func (s *Service) adopt(tenant, id string, shard uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := actorKey{tenant, id}
	sh := s.owned[shard]
	if sh == nil || sh.ctx.Err() != nil || s.actors[k] != nil {
		return
	}
	a := newActor(s, k, sh)
	s.actors[k] = a
	sh.wg.Go(func() {
		a.loop(sh.ctx)
		s.mu.Lock()
		delete(s.actors, k)
		s.mu.Unlock()
	})
}

func (s *Service) actor(tenant, id string) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actors[actorKey{tenant, id}]
}

// hear notes that the actor wants to know when the node is heard of.
func (s *Service) hear(a *actor, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := nodeKey{a.key.tenant, node}
	m := s.heard[k]
	if m == nil {
		m = map[*actor]struct{}{}
		s.heard[k] = m
	}
	m[a] = struct{}{}
}

func (s *Service) unhearNode(a *actor, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(nodeKey{a.key.tenant, node}, a)
}

func (s *Service) forget(k nodeKey, a *actor) {
	if m := s.heard[k]; m != nil {
		delete(m, a)
		if len(m) == 0 {
			delete(s.heard, k)
		}
	}
}

// unhear forgets all that the actor's engine has open.
func (s *Service) unhear(a *actor) {
	if a.engine == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for node := range a.engine.open {
		s.forget(nodeKey{a.key.tenant, node}, a)
	}
}

// Heard tells the service that a node gave a sign of life: first when it (re)connected, so that what it may have missed is sent again.
func (s *Service) Heard(tenant, node string, first bool) {
	s.mu.Lock()
	var as []*actor
	for a := range s.heard[nodeKey{tenant, node}] {
		as = append(as, a)
	}
	s.mu.Unlock()
	for _, a := range as {
		a.put(item{ev: Event{Node: node, Present: true, First: first}}) //nolint:errcheck // the next heartbeat says it again
	}
}

// Handle takes a message that a node sent: Ready, Report or Output; the caller has verified that it is from this node. It returns when the message is queued (Ready, Report)
// or durable (Output); acknowledgements go out through the Sender. An error means that it was not taken: the node will send it again.
func (s *Service) Handle(ctx context.Context, tenant, node string, e message.Envelope) error {
	switch e.Kind {
	case message.KindReady:
		r, err := message.Unmarshal[message.Ready](e)
		if err != nil {
			return err
		}
		if a := s.actor(tenant, r.Command); a != nil {
			return a.put(item{ev: Event{Node: node, Ready: &r}, size: 64})
		}
	case message.KindReport:
		r, err := message.Unmarshal[message.Report](e)
		if err != nil {
			return err
		}
		if a := s.actor(tenant, r.Command); a != nil {
			return a.put(item{ev: Event{Node: node, Report: &r}, size: len(e.Body) + 256})
		}
		return s.late(ctx, tenant, node, &r)
	case message.KindOutput:
		o, err := message.Unmarshal[message.Output](e)
		if err != nil {
			return err
		}
		return s.output(ctx, tenant, node, &o)
	default:
		return fault.New("command.Handle", fault.UnsupportedOperation, "messages of kind %q are not for commands", fault.Clean(string(e.Kind)))
	}
	return nil
}

package command

import (
	"context"
	"errors"
	"hash/crc32"
	"slices"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// What is left for the owner of a shard lies under one prefix of no tenant, so that one look finds it all: commands that it has not heard of, cancellations that it has not
// carried out, and messages of nodes that reached another control plane. The owner removes each in the transaction that has its effect.

func todo() key.K { return space("", "todo") }

func todoKey(shard uint64) key.K { return todo().Uint(shard) }

func newsKey(shard uint64, tenant, id string) key.K {
	return todoKey(shard).Str(todoNews).Str(tenant).Str(id)
}

// The kinds of what is left.
const (
	todoCancel = "cancel" // tenant, id, name: the nodes
	todoMail   = "mail"   // tenant, id, node, kind: the body
	todoNews   = "news"   // tenant, id: a mark
)

// todoPage is how many records of a shard one look takes. What the owner has carried out is gone at the next look.
const todoPage = 1000

// left is one record of what is left for the owner.
type left struct {
	kind, tenant, id string
	key              key.K
	nodes            []string
	node             string
	message          message.Kind
	body             []byte
	sum              uint32
}

// collect takes what is left for the owned shards, and reports whether there was anything.
func (s *Service) collect(ctx context.Context) (any bool) {
	for _, sh := range s.mine() {
		found, err := s.look(ctx, sh)
		any = any || len(found) > 0
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("cannot read what is left to do; trying again", "shard", sh.n, "error", err)
		}
		for i := range found {
			l := &found[i]
			if l.kind == todoNews {
				s.adopt(sh, l.tenant, l.id, true)
				continue
			}
			a := s.actor(l.tenant, l.id)
			if a == nil || a.shard != sh {
				if sh.scanned {
					s.discard(ctx, sh, l)
				}
				continue
			}
			it := item{ev: Event{Cancel: true, Nodes: l.nodes}, cancel: l.key}
			if l.kind == todoMail {
				if it, err = l.item(); err != nil {
					s.discard(ctx, sh, l)
					continue
				}
			}
			a.put(it) //nolint:errcheck // found again next time
		}
	}
	return any
}

// loadCancels puts the stored cancellations of a command into its inbox.
func (a *actor) loadCancels(ctx context.Context) error {
	s := a.s
	var found []item
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		found = found[:0]
		for e, err := range s.cancels.Scan(ctx, r, todoKey(a.shard.n).Str(todoCancel).Str(a.key.tenant).Str(a.key.id).Range()) {
			if err != nil {
				return err
			}
			found = append(found, item{ev: Event{Cancel: true, Nodes: e.Value}, cancel: e.Key})
		}
		return nil
	})
	for _, it := range found {
		if err := a.put(it); err != nil {
			return err
		}
	}
	return err
}

// look reads what is left of a shard.
func (s *Service) look(ctx context.Context, sh *ownedShard) (found []left, err error) {
	prefix := todoKey(sh.n)
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		found = found[:0]
		for it, err := range r.Scan(ctx, prefix.Range()) {
			if err != nil {
				return err
			}
			if len(found) == todoPage {
				return nil
			}
			k := key.Read(it.Key[len(prefix):])
			l := left{kind: k.Str(), tenant: k.Str(), id: k.Str(), key: slices.Clone(it.Key)}
			if s.leftAlone(sh, l.tenant, l.id) {
				continue // for who takes the shard next
			}
			switch l.kind {
			case todoCancel:
				k.Str()
				if l.nodes, err = s.cancels.Get(ctx, r, l.key); err != nil {
					return err
				}
			case todoMail:
				l.node, l.message = k.Str(), message.Kind(k.Str())
				l.sum = crc32.Checksum(it.Value, letterSum)
				body, err := s.cfg.Codec.Open(l.key, it.Value)
				if err != nil {
					return err
				}
				l.body = slices.Clone(body)
			}
			if err := k.Err(); err != nil {
				return err
			}
			found = append(found, l)
		}
		return nil
	})
	return found, err
}

// item makes the event of a stored message.
func (l *left) item() (item, error) {
	it, err := event(l.node, message.Envelope{Kind: l.message, Body: l.body})
	it.mail = []letter{{l.key, l.sum}}
	return it, err
}

// event makes the event of a Ready or a Report.
func event(node string, e message.Envelope) (item, error) {
	if e.Kind == message.KindReady {
		r, ok := decodeReady(e.Body)
		if !ok {
			var err error
			if r, err = message.Unmarshal[message.Ready](e); err != nil {
				return item{}, err
			}
		}
		r.Reason = plain(r.Reason, maxReason)
		return item{ev: Event{Node: node, Ready: &r}, size: 64 + len(r.Reason)}, nil
	}
	r, ok := decodeReport(e.Body)
	if !ok {
		var err error
		if r, err = message.Unmarshal[message.Report](e); err != nil {
			return item{}, err
		}
	}
	tidy(&r)
	return item{ev: Event{Node: node, Report: &r}, size: len(e.Body) + 256}, nil
}

// leave stores a message for the command's owner, unless it is of no use there: the node has no invocation that has not ended. There is at most one message of a node and kind.
func (s *Service) leave(ctx context.Context, tenant, node, id string, e message.Envelope) (taken bool, err error) {
	shard := shardOf(tenant, id)
	inv, err := s.invocation(ctx, tenant, id, node)
	if errors.Is(err, store.ErrNotFound) || err == nil && inv.Phase == PhaseDone {
		return false, nil
	}
	if err != nil {
		return false, wrap("command.Handle", err)
	}
	k := todoKey(shard).Str(todoMail).Str(tenant).Str(id).Str(node).Str(string(e.Kind))
	v := s.cfg.Codec.Seal(k, e.Body)
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		inv, err := s.invs.Get(ctx, tx, invsKey(tenant, id).Str(node))
		if errors.Is(err, store.ErrNotFound) || err == nil && inv.Phase == PhaseDone {
			return nil // it ended a moment ago: the next copy finds that out
		}
		if err != nil {
			return err
		}
		return tx.Put(k, v)
	})
	return err == nil, wrap("command.Handle", err)
}

// discard removes what is left for a command that is not active any more, or that cannot be read.
func (s *Service) discard(ctx context.Context, sh *ownedShard, l *left) {
	err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := sh.held.Check(ctx, tx); err != nil {
			return err
		}
		if l.kind != todoMail {
			_, err := tx.Get(ctx, activeKey(sh.n).Str(l.tenant).Str(l.id))
			if !errors.Is(err, store.ErrNotFound) {
				return err // it is active: its actor is about to start
			}
		}
		return tx.Delete(l.key)
	})
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Debug("what is left for a command that ended was not removed; trying again", "command", l.id, "error", err)
	}
}

// dropTodo removes what is left for a command that ended.
func (s *Service) dropTodo(ctx context.Context, tx store.Tx, shard uint64, tenant, id string) error {
	dead := [][]byte{newsKey(shard, tenant, id)}
	for _, kind := range []string{todoCancel, todoMail} {
		rng := todoKey(shard).Str(kind).Str(tenant).Str(id).Range()
		rng.Limit = todoPage // what remains is discarded when it is found
		for it, err := range tx.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			dead = append(dead, slices.Clone(it.Key))
		}
	}
	for _, k := range dead {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// cancelKey is the system's own list, of no tenant, of cancellations that the commands' owner has not carried out, by shard.
func cancelKey(shard uint64) key.K { return space("", "cancel").Uint(shard) }

// Cancel asks a command to stop on the given nodes, or everywhere when there are none (AWS: CancelCommand). Invocations that did not start end as Cancelled and never
// will; those that run are told to stop, which is best effort. When it returns, the request is durable. Cancelling what has ended is no error.
// It needs ssm:CancelCommand on the command. Errors: InvalidCommandId, InvalidInstanceId (not a target).
func (s *Service) Cancel(ctx context.Context, id string, nodes ...string) error {
	const op = "command.Cancel"
	if err := s.check(ctx, "ssm:CancelCommand", "command/"+id); err != nil {
		return err
	}
	tenant := access.Tenant(ctx)
	if len(nodes) > maxInstanceIDs {
		return fault.New(op, fault.Validation, "InstanceIds has %d ids; at most %d are allowed", len(nodes), maxInstanceIDs)
	}
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	var shard uint64
	err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, st, err := s.read(ctx, tx, op, tenant, id)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			ok, err := s.isTarget(ctx, tx, tenant, &rec, n)
			if err != nil {
				return err
			}
			if !ok {
				return fault.New(op, fault.InvalidInstanceID, "command %s was not sent to node %s", id, fault.Clean(n))
			}
		}
		shard = rec.Shard
		if !st.Done() {
			if err := s.cancels.Put(tx, cancelKey(shard).Str(tenant).Str(id).Str(cancelName(nodes)), nodes); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, "ssm:CancelCommand", "command/"+id, id)
	})
	if err != nil {
		return fault.Wrap(op, err)
	}
	// The owner in this process carries it out at once; another one finds it in the store.
	s.adopt(tenant, id, shard)
	if a := s.actor(tenant, id); a != nil {
		done := make(chan error, 1)
		if a.put(item{ev: Event{Cancel: true, Nodes: nodes}, done: done}) == nil {
			select {
			case <-done: // an error here means that it is carried out from the store
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// cancelName tells cancellations of the same command apart: the whole command is one, each set of nodes another.
func cancelName(nodes []string) string {
	if len(nodes) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(nodes, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// deliverCancels gives the actors of a shard the cancellations that wait in the store. They stay there until the command ended; carrying one out again changes nothing.
func (s *Service) deliverCancels(ctx context.Context, shard uint64) error {
	prefix := cancelKey(shard)
	return s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		for e, err := range s.cancels.Scan(ctx, r, prefix.Range()) {
			if err != nil {
				return err
			}
			k := key.Read(e.Key[len(prefix):])
			tenant, id := k.Str(), k.Str()
			if a := s.actor(tenant, id); a != nil {
				a.put(item{ev: Event{Cancel: true, Nodes: e.Value}}) //nolint:errcheck // found again next time
			}
		}
		return nil
	})
}

// dropCancels removes a command's carried out cancellations when it ended.
func (s *Service) dropCancels(ctx context.Context, tx store.Tx, shard uint64, tenant, id string) error {
	for it, err := range tx.Scan(ctx, cancelKey(shard).Str(tenant).Str(id).Range()) {
		if err != nil {
			return err
		}
		if err := tx.Delete(slices.Clone(it.Key)); err != nil {
			return err
		}
	}
	return nil
}

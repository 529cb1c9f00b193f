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

// Cancel asks a command to stop on the given nodes, or everywhere when there are none (AWS: CancelCommand). Invocations that did not start end as Cancelled and never
// will; those that run are told to stop, which is best effort. When it returns, the request is durable, and carried out already if this control plane owns the command. Cancelling what has
// ended is no error, and asking again changes nothing.
//
// It needs ssm:CancelCommand on the command. Errors: InvalidCommandId, InvalidInstanceId (not a target).
func (s *Service) Cancel(ctx context.Context, id string, nodes ...string) error {
	const op = "command.Cancel"
	if err := s.check(ctx, "ssm:CancelCommand", "command/"+id); err != nil {
		return wrap(op, err)
	}
	if !validID(id) {
		return unknownCommand(op, id)
	}
	tenant := access.Tenant(ctx)
	if len(nodes) > maxInstanceIDs {
		return fault.New(op, fault.Validation, "InstanceIds has %d ids; at most %d are allowed", len(nodes), maxInstanceIDs)
	}
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	var left key.K
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
		left = todoKey(rec.Shard).Str(todoCancel).Str(tenant).Str(id).Str(cancelName(nodes))
		if !st.Done() {
			if err := s.cancels.Put(tx, left, nodes); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, "ssm:CancelCommand", "command/"+id, id)
	})
	if err != nil {
		return wrap(op, err)
	}
	// The owner in this process carries it out at once; another one finds it in the store, and so does this one if it fails now.
	if a := s.actor(tenant, id); a != nil {
		done := make(chan error, 1)
		if a.put(item{ev: Event{Cancel: true, Nodes: nodes}, cancel: left, done: done}) == nil {
			select {
			case <-done:
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

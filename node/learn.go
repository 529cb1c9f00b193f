package node

import (
	"context"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// Learn makes a node's facts durable before it returns, unless they are stored already. Whoever answers a node that its facts arrived calls it first: the node does not
// send them again, and what it can do decides which commands it gets. Facts over a limit are an error of code Validation; an unknown node is none.
func (s *Service) Learn(ctx context.Context, tenant, node string, facts message.Facts) error {
	const op = "node.Learn"
	facts, err := checkFacts(op, facts)
	if err != nil {
		return err
	}
	k := nodeKey(tenant, node)
	var n nodeRecord
	read := func(ctx context.Context, r store.Reader) (err error) {
		n, err = s.nodes.Get(ctx, r, k)
		return err
	}
	switch err := s.cfg.Store.View(ctx, read); {
	case isNotFound(err), err == nil && sameFacts(n.Facts, facts):
		return nil
	case err != nil:
		return fault.Wrap(op, err)
	}
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := read(ctx, tx); err != nil {
			return err
		}
		n.Facts = facts
		return s.nodes.Put(tx, k, n)
	})
	if isNotFound(err) {
		return nil // deregistered since
	}
	return fault.Wrap(op, err)
}

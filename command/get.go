package command

import (
	"context"
	"errors"
	"iter"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// scanPage is how many records one View reads.
const scanPage = 2000

// may asks whether the caller may do this to a command. One that it may not see looks like one that does not exist, and so does what can be no command.
func (s *Service) may(ctx context.Context, op, action, id string) error {
	err := s.check(ctx, action, "command/"+id)
	if fault.KindOf(err) == fault.Denied || err == nil && !validID(id) {
		return unknownCommand(op, id)
	}
	return wrap(op, err)
}

func unknownCommand(op, id string) error {
	return fault.New(op, fault.InvalidCommandID, "there is no command %s", fault.Clean(cut(id, 2*maxCommand)))
}

// read returns a command's two records.
func (s *Service) read(ctx context.Context, r store.Reader, op, tenant, id string) (rec record, st State, err error) {
	if rec, err = s.commands.Get(ctx, r, commandKey(tenant, id)); err == nil {
		st, err = s.states.Get(ctx, r, stateKey(tenant, id))
	}
	if errors.Is(err, store.ErrNotFound) {
		err = unknownCommand(op, id)
	}
	return rec, st, err
}

// Get returns a command. It needs ssm:ListCommands. Error: InvalidCommandId.
func (s *Service) Get(ctx context.Context, id string) (c Command, err error) {
	const op = "command.Get"
	if err := s.may(ctx, op, "ssm:ListCommands", id); err != nil {
		return c, err
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		rec, st, err := s.read(ctx, r, op, access.Tenant(ctx), id)
		if err == nil {
			c = view(&rec, &st)
		}
		return err
	})
	return c, wrap(op, err)
}

// Invocation returns a command's invocation on one node with its steps and the beginning of their output (AWS: GetCommandInvocation). A target that had no turn yet is there
// too, as Pending. It needs ssm:GetCommandInvocation. Errors: InvalidCommandId, InvocationDoesNotExist.
func (s *Service) Invocation(ctx context.Context, id, node string) (out Result, err error) {
	const op = "command.Invocation"
	if err := s.may(ctx, op, "ssm:GetCommandInvocation", id); err != nil {
		return out, err
	}
	return s.readInvocation(ctx, op, id, node)
}

// readInvocation is Invocation for those who may.
func (s *Service) readInvocation(ctx context.Context, op, id, node string) (out Result, err error) {
	tenant := access.Tenant(ctx)
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		rec, st, err := s.read(ctx, r, op, tenant, id)
		if err != nil {
			return err
		}
		missing := fault.New(op, fault.InvocationDoesNotExist, "command %s was not sent to node %s", id, fault.Clean(cut(node, maxNode)))
		if node == "" || len(node) > maxNode {
			return missing
		}
		inv, err := s.invs.Get(ctx, r, invsKey(tenant, id).Str(node))
		if errors.Is(err, store.ErrNotFound) {
			ok, err := s.isTarget(ctx, r, tenant, &rec, node)
			if err != nil {
				return err
			}
			if !ok {
				return missing
			}
			out = result(&rec, rest(&st, node))
			return nil
		}
		if err == nil && inv.StepsApart {
			err = s.readHeads(ctx, r, tenant, id, &inv)
		}
		out = result(&rec, inv)
		return err
	})
	if err == nil {
		one := []Result{out}
		err = s.name(ctx, tenant, one)
		out = one[0]
	}
	return out, wrap(op, err)
}

// invocation returns the stored invocation, or store.ErrNotFound.
func (s *Service) invocation(ctx context.Context, tenant, id, node string) (inv Invocation, err error) {
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		inv, err = s.invs.Get(ctx, r, invsKey(tenant, id).Str(node))
		return err
	})
	return inv, err
}

// readHeads puts the output back that lies in records of its own.
func (s *Service) readHeads(ctx context.Context, r store.Reader, tenant, id string, inv *Invocation) error {
	for e, err := range s.heads.Scan(ctx, r, headsKey(tenant, id).Str(inv.Node).Range()) {
		if err != nil {
			return err
		}
		for _, h := range e.Value {
			if h.Step >= 0 && h.Step < len(inv.Steps) {
				inv.Steps[h.Step].Stdout.Head, inv.Steps[h.Step].Stderr.Head = h.Stdout, h.Stderr
			}
		}
	}
	return nil
}

// rest is the invocation of a target that had no turn.
func rest(st *State, node string) Invocation {
	inv := Invocation{Node: node, Attempt: 1, ExitCode: -1, Detail: message.DetailPending}
	if st.Rest != "" {
		inv.Phase, inv.Detail, inv.Reason = PhaseDone, st.Rest, closingReason(st.Rest)
	}
	return inv
}

func result(rec *record, inv Invocation) Result {
	return Result{CommandID: rec.ID, Node: inv.Node, DocumentName: rec.Request.DocumentName, Status: inv.Detail.Status(), Detail: inv.Detail, Reason: inv.Reason,
		ExitCode: inv.ExitCode, OfferedAt: inv.OfferedAt, DeliveredAt: inv.DeliveredAt, Started: inv.Started, Ended: inv.Ended, Steps: inv.Steps, Late: inv.Late}
}

// isTarget reports whether the command was sent to the node. The targets are sorted over all chunks.
func (s *Service) isTarget(ctx context.Context, r store.Reader, tenant string, rec *record, node string) (bool, error) {
	i, ok := rec.chunkOf(node)
	if !ok {
		return false, nil
	}
	ids, err := s.chunks.Get(ctx, r, chunksKey(tenant, rec.ID).Uint(uint64(i)))
	return err == nil && within(ids, node), err
}

// readDocs returns the command's own document first, then those that its steps run.
func (s *Service) readDocs(ctx context.Context, r store.Reader, tenant, id string) (docs []message.Included, err error) {
	for e, err := range s.docs.Scan(ctx, r, docsKey(tenant, id).Range()) {
		if err != nil {
			return nil, err
		}
		docs = append(docs, e.Value)
	}
	if len(docs) == 0 {
		return nil, store.ErrNotFound
	}
	return docs, nil
}

// scanInvocations yields the stored invocations of a command in the order of their nodes, a View for each page.
func (s *Service) scanInvocations(ctx context.Context, tenant, id string) iter.Seq2[Invocation, error] {
	return func(yield func(Invocation, error) bool) {
		rng := invsKey(tenant, id).Range()
		for {
			var page []Invocation
			var last key.K
			err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
				page = page[:0]
				rng.Limit = scanPage
				for e, err := range s.invs.Scan(ctx, r, rng) {
					if err != nil {
						return err
					}
					page, last = append(page, e.Value), e.Key
				}
				return nil
			})
			if err != nil {
				yield(Invocation{}, err)
				return
			}
			for _, inv := range page {
				if !yield(inv, nil) {
					return
				}
			}
			if len(page) < scanPage {
				return
			}
			rng = invsKey(tenant, id).After(last)
		}
	}
}

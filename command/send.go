package command

import (
	"context"
	"errors"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// chunk is how many target ids one record holds.
const chunk = 4096

// Send accepts a command (AWS: SendCommand): when it returns, the command, the content of its document, its resolved targets and its audit record are
// durable, written in one transaction. It needs ssm:SendCommand on the document, and on each node.
//
// Errors: ValidationException, InvalidDocument, InvalidDocumentVersion, InvalidParameters, MaxDocumentSizeExceeded, InvalidInstanceId,
// DuplicateInstanceId, UnsupportedPlatformType, InvalidTarget, IdempotentParameterMismatch, AccessDeniedException, and those of the store.
func (s *Service) Send(ctx context.Context, req SendRequest) (Command, error) {
	const op = "command.Send"
	p, err := s.prepare(ctx, op, req)
	if err != nil {
		s.denied(ctx, "ssm:SendCommand", "document/"+req.DocumentName, err)
		return Command{}, err
	}
	tenant, caller := access.Tenant(ctx), access.From(ctx)
	id := message.NewID(s.cfg.Rand)
	now := s.cfg.Now()
	r := record{ID: id, Request: p.req, Hash: p.doc.Hash(), Version: p.version, Format: p.format, Included: p.paths, SSM: p.ssm, Needs: p.doc.Needs(), Platforms: p.doc.PlatformTypes(),
		Principal: caller.Name, Attributes: caller.Attributes, Chunks: (len(p.ids) + chunk - 1) / chunk, Shard: shardOf(tenant, id)}
	r.Request.Content = nil
	if r.Request.OutputLimit == 0 {
		r.Request.OutputLimit = s.cfg.OutputLimit
	}
	st := NewState(id, len(p.ids), p.rate.concurrency.Concurrency(len(p.ids)), p.rate.errors.ErrorLimit(len(p.ids)), !p.req.NoRamp, now,
		seconds(p.req.TimeoutSeconds), p.execution)
	docs := append([]message.Included{{Name: p.req.DocumentName, Version: p.version, Hash: r.Hash, Document: p.content, Format: p.format}}, p.included...)
	if _, err := runBody(&r, docs, st.ExpiresAt, s.cfg.RefuseRaw); err != nil {
		return Command{}, fault.Wrap(op, err)
	}
	var existing string
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		existing = ""
		if p.req.ClientToken != "" {
			k := tokenKey(tenant, p.req.ClientToken)
			switch t, err := s.tokens.Get(ctx, tx, k); {
			case err == nil && t.Digest != p.digest():
				return fault.New(op, fault.IdempotentParameterMismatch, "the client token was used before with another request")
			case err == nil:
				existing = t.Command
				return nil
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			if err := s.tokens.Put(tx, k, token{Command: id, Digest: p.digest()}); err != nil {
				return err
			}
		}
		return s.writeCommand(ctx, tx, tenant, &r, &st, docs, p.ids)
	})
	if err != nil {
		return Command{}, fault.Wrap(op, err)
	}
	if existing != "" {
		return s.Get(ctx, existing)
	}
	s.adopt(tenant, id, r.Shard)
	return view(&r, &st), nil
}

// writeCommand writes everything that makes a command.
func (s *Service) writeCommand(ctx context.Context, tx store.Tx, tenant string, r *record, st *State, docs []message.Included, ids []string) error {
	if err := s.commands.Put(tx, commandKey(tenant, r.ID), *r); err != nil {
		return err
	}
	if err := s.states.Put(tx, stateKey(tenant, r.ID), *st); err != nil {
		return err
	}
	for i, d := range docs {
		if err := s.docs.Put(tx, docsKey(tenant, r.ID).Uint(uint64(i)), d); err != nil {
			return err
		}
	}
	for i := 0; i*chunk < len(ids); i++ {
		if err := s.chunks.Put(tx, chunksKey(tenant, r.ID).Uint(uint64(i)), ids[i*chunk:min(len(ids), (i+1)*chunk)]); err != nil {
			return err
		}
	}
	if err := s.marks.Put(tx, timeKey(tenant, st.RequestedAt, r.ID), mark{}); err != nil {
		return err
	}
	if !st.Done() {
		if err := s.marks.Put(tx, activeKey(r.Shard).Str(tenant).Str(r.ID), mark{}); err != nil {
			return err
		}
	}
	if err := s.publish(ctx, tx, tenant, st, nil); err != nil {
		return err
	}
	return s.record(ctx, tx, "ssm:SendCommand", "document/"+r.Request.DocumentName, r.ID)
}

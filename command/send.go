package command

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

const (
	// chunk is how many target ids one record holds, if they are as short as usual; chunkBytes is how many bytes at most.
	chunk      = 4096
	chunkBytes = 160 << 10
	// maxRecord is the most bytes of a command's own record, which holds the request.
	maxRecord = 240 << 10
	// maxIDs is the most bytes of all target ids together, so that they fit into one transaction with the rest.
	maxIDs = 7 << 20
)

// Send accepts a command (AWS: SendCommand): when it returns, the command, the content of its document, its resolved targets and its audit record are
// durable, written in one transaction. It needs ssm:SendCommand on the document, and on each node. Refusals are audited.
//
// With a ClientToken a request may be repeated as often as it takes: one command comes of it, which each repetition returns. Without one, a Send whose commit's outcome could not be
// learnt at once (OutcomeUnknown) is settled by reading; only if that fails too is the error returned.
//
// Errors: ValidationException, InvalidDocument, InvalidDocumentVersion, InvalidParameters, MaxDocumentSizeExceeded, InvalidInstanceId,
// DuplicateInstanceId, UnsupportedPlatformType, InvalidTarget, IdempotentParameterMismatch, AccessDeniedException, and those of the store.
func (s *Service) Send(ctx context.Context, req SendRequest) (Command, error) {
	if s.cfg.Observer == nil {
		return s.accept(ctx, req)
	}
	start := s.cfg.Now()
	c, err := s.accept(ctx, req)
	s.tellSend(ctx, start, &c, err)
	return c, err
}

func (s *Service) accept(ctx context.Context, req SendRequest) (Command, error) {
	const op = "command.Send"
	p, err := s.prepare(ctx, op, req)
	if err != nil {
		s.denied(ctx, "ssm:SendCommand", documentResource(req.DocumentName), err)
		return Command{}, err
	}
	tenant, caller := access.Tenant(ctx), access.From(ctx)
	id := message.NewID(s.cfg.Rand)
	r := record{Form: stamp(s.cfg.form), ID: id, Request: p.req, Hash: p.doc.Hash(), Version: p.version, Format: p.format, Included: p.paths, SSM: p.ssm, Needs: p.doc.Needs(), Platforms: p.doc.PlatformTypes(),
		Principal: caller.Name, Attributes: caller.Attributes, Steps: len(p.doc.Steps), Shard: shardOf(tenant, id)}
	r.Request.Content = nil
	if r.Request.OutputLimit == 0 {
		r.Request.OutputLimit = s.cfg.OutputLimit
	}
	if n := r.cut(p.ids); n > maxIDs {
		return Command{}, fault.New(op, fault.Validation, "the ids of the %d targets have %d bytes; a command holds %d: narrow the targets and send several commands", len(p.ids), n, maxIDs)
	}
	st := NewState(id, len(p.ids), p.rate.concurrency.Concurrency(len(p.ids)), p.rate.errors.ErrorLimit(len(p.ids)), !p.req.NoRamp, s.cfg.Now(),
		seconds(p.req.TimeoutSeconds), p.execution)
	docs := append([]message.Included{{Name: p.req.DocumentName, Version: p.version, Hash: r.Hash, Document: p.content, Format: p.format}}, p.included...)
	if err := fits(op, &r, docs, st.ExpiresAt, s.cfg.RefuseRaw); err != nil {
		return Command{}, err
	}
	var existing *Command
	digest := p.digest()
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		existing = nil
		if p.req.ClientToken != "" {
			k := tokenKey(tenant, p.req.ClientToken)
			switch t, err := s.tokens.Get(ctx, tx, k); {
			case err == nil && t.Digest != digest:
				return fault.New(op, fault.IdempotentParameterMismatch, "the client token was used before with another request")
			case err == nil:
				// Who may send the request may learn what came of it, whatever else it may not read.
				rec, st, err := s.read(ctx, tx, op, tenant, t.Command)
				if err != nil {
					return err
				}
				c := view(&rec, &st)
				existing = &c
				return nil
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			if err := s.tokens.Put(tx, k, token{Command: id, Digest: digest}); err != nil {
				return err
			}
		}
		return s.writeCommand(ctx, tx, tenant, &r, &st, docs, p.ids)
	})
	if errors.Is(err, store.ErrCommitUnknown) {
		if there, e := s.settle(ctx, tenant, id); e == nil && there {
			err = nil
		}
	}
	switch {
	case err != nil:
		return Command{}, wrap(op, err)
	case existing != nil:
		return *existing, nil
	}
	s.accepted(ctx, tenant, &r, &st)
	if !st.Done() {
		s.adoptNew(tenant, id, r.Shard)
	}
	return view(&r, &st), nil
}

// settle finds out whether a command whose commit's outcome is unknown was written. The contract of the store says that reading tells for good.
func (s *Service) settle(ctx context.Context, tenant, id string) (there bool, err error) {
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, commandKey(tenant, id))
		there = err == nil
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return there, err
}

// cut lays down in which records the targets lie, and returns how many bytes these have.
func (r *record) cut(ids []string) (bytes int) {
	longest := 1
	for _, id := range ids {
		n := quotedLen(id) + 1
		longest, bytes = max(longest, n), bytes+n
	}
	r.ChunkSize = min(chunk, chunkBytes/longest)
	r.Chunks = (len(ids) + r.ChunkSize - 1) / r.ChunkSize
	r.Last = make([]string, r.Chunks)
	for i := range r.Last {
		r.Last[i] = ids[min(len(ids), (i+1)*r.ChunkSize)-1]
	}
	return bytes
}

// fits checks that the command fits into a message to a node and into a record.
func fits(op string, r *record, docs []message.Included, expires time.Time, refuseRaw bool) error {
	if _, err := runBody(r, docs, expires, refuseRaw); err != nil {
		n := 0
		for _, d := range docs {
			n += len(d.Document)
		}
		return tooLarge(op, n)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return wrap(op, err)
	}
	if len(b) > maxRecord {
		return tooLarge(op, len(b))
	}
	return nil
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
	for i := range r.Chunks {
		if err := s.chunks.Put(tx, chunksKey(tenant, r.ID).Uint(uint64(i)), ids[i*r.ChunkSize:min(len(ids), (i+1)*r.ChunkSize)]); err != nil {
			return err
		}
	}
	if err := s.marks.Put(tx, timeKey(tenant, st.RequestedAt, r.ID), mark{}); err != nil {
		return err
	}
	if !st.Done() {
		for _, k := range [][]byte{activeKey(r.Shard).Str(tenant).Str(r.ID), newsKey(r.Shard, tenant, r.ID)} {
			if err := s.marks.Put(tx, k, mark{}); err != nil {
				return err
			}
		}
	}
	if _, err := s.feed.Append(ctx, tx, topic(tenant, r.ID), (&teller{now: st.RequestedAt}).end(st)...); err != nil {
		return err
	}
	return s.record(ctx, tx, "ssm:SendCommand", documentResource(r.Request.DocumentName), r.ID)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// record writes the audit entry of a change into its transaction.
func (s *Service) record(ctx context.Context, tx store.Tx, action, resource, id string) error {
	return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: action, Resource: resource, IDs: map[string]string{"command": id}})
}

func documentResource(name string) string {
	if name == "" {
		name = "inline"
	}
	return "document/" + name
}

// denied audits a request that was refused for lack of rights.
func (s *Service) denied(ctx context.Context, action, resource string, err error) {
	if fault.KindOf(err) != fault.Denied {
		return
	}
	if err := s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)); err != nil {
		s.cfg.Log.ErrorContext(ctx, "a refusal was not recorded", "action", action, "error", err) // it stands anyway
	}
}

// check asks whether the caller may do this and audits a refusal.
func (s *Service) check(ctx context.Context, action, resource string) error {
	err := access.Check(ctx, s.cfg.Authorizer, action, resource, nil)
	s.denied(ctx, action, resource, err)
	return err
}

// wrap gives an error the operation's name, unless it has it.
func wrap(op string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f == err && f.Op == op {
		return err
	}
	return fault.Wrap(op, err)
}

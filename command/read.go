package command

import (
	"context"
	"encoding/base64"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

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

// scanPage is how many invocations one View reads.
const scanPage = 2000

// scanInvocations yields the stored invocations of a command in the order of their nodes, a View for each page.
func (s *Service) scanInvocations(ctx context.Context, tenant, id string) iter.Seq2[Invocation, error] {
	return func(yield func(Invocation, error) bool) {
		rng := invsKey(tenant, id).Range()
		for {
			var page []Invocation
			var last []byte
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

func (s *Service) invocation(ctx context.Context, tenant, id, node string) (inv Invocation, err error) {
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		inv, err = s.invs.Get(ctx, r, invsKey(tenant, id).Str(node))
		return err
	})
	return inv, err
}

func unknownCommand(op, id string) error {
	return fault.New(op, fault.InvalidCommandID, "there is no command %s", fault.Clean(id))
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
	if err := s.check(ctx, "ssm:ListCommands", "command/"+id); err != nil {
		return c, unknownIfDenied(op, id, err)
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		rec, st, err := s.read(ctx, r, op, access.Tenant(ctx), id)
		if err == nil {
			c = view(&rec, &st)
		}
		return err
	})
	return c, fault.Wrap(op, err)
}

// unknownIfDenied makes a command that the caller may not see look like one that does not exist.
func unknownIfDenied(op, id string, err error) error {
	if fault.KindOf(err) == fault.Denied {
		return unknownCommand(op, id)
	}
	return err
}

// ListRequest selects commands or invocations (AWS: ListCommands, ListCommandInvocations). Empty fields select everything.
type ListRequest struct {
	Command       string // one command; required for Invocations
	Node          string // those sent to this node
	DocumentName  string
	Status        message.Status // TimedOut covers delivery and execution (R19)
	Detail        message.Detail
	InvokedAfter  time.Time
	InvokedBefore time.Time
	Executing     bool // not ended; commands only (ExecutionStage)
	Complete      bool // ended
	Limit         int  // of a page: 1 to 50, 50 by default; invocations to 1,000
	NextToken     string
}

func (q *ListRequest) page(top int) (int, error) {
	switch {
	case q.Limit == 0:
		return min(50, top), nil
	case q.Limit < 0 || q.Limit > top:
		return 0, fault.New("command.List", fault.Validation, "MaxResults is %d; it must be 1 to %d", q.Limit, top)
	}
	return q.Limit, nil
}

// token turns a key into a NextToken and back.
func encodeToken(k []byte) string { return base64.RawURLEncoding.EncodeToString(k) }

func (q *ListRequest) after(prefix key.K) ([]byte, error) {
	if q.NextToken == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(q.NextToken)
	if err != nil || len(b) <= len(prefix) || string(b[:len(prefix)]) != string(prefix) {
		return nil, fault.New("command.List", fault.InvalidNextToken, "NextToken is not one that this list gave")
	}
	return b, nil
}

// listScan is how many index entries one page looks at before it returns, with a NextToken, whatever it found.
const listScan = 2000

// List returns commands, the newest first, and the token of the next page ("" at the end). A page may hold fewer than Limit, even none, and still have a next one.
// It needs ssm:ListCommands, on each command; others are left out.
func (s *Service) List(ctx context.Context, q ListRequest) (out []Command, next string, err error) {
	const op = "command.List"
	limit, err := q.page(50)
	if err != nil {
		return nil, "", err
	}
	tenant := access.Tenant(ctx)
	after, err := q.after(timesKey(tenant))
	if err != nil {
		return nil, "", err
	}
	if q.Command != "" {
		c, err := s.Get(ctx, q.Command)
		if err != nil {
			return nil, "", err
		}
		return []Command{c}, "", nil
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out, next = nil, ""
		rng := timesKey(tenant).Range()
		rng.Reverse, rng.Limit = true, listScan
		if !q.InvokedBefore.IsZero() {
			rng.End = timesKey(tenant).Time(q.InvokedBefore)
		}
		if !q.InvokedAfter.IsZero() {
			rng.Start = timesKey(tenant).Time(q.InvokedAfter)
		}
		if after != nil && (rng.End == nil || string(after) < string(rng.End)) {
			rng.End = after
		}
		seen := 0
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			seen++
			k := key.Read(it.Key[len(timesKey(tenant)):])
			k.Time()
			id := k.Str()
			last := slices.Clone(it.Key)
			rec, st, err := s.read(ctx, r, op, tenant, id)
			if err != nil {
				return err
			}
			ok, err := s.matches(ctx, r, tenant, &q, &rec, &st)
			if err != nil {
				return err
			}
			if ok && access.Check(ctx, s.cfg.Authorizer, "ssm:ListCommands", "command/"+id, nil) == nil {
				out = append(out, view(&rec, &st))
			}
			if len(out) == limit || seen == listScan {
				next = encodeToken(last)
				return nil
			}
		}
		return nil
	})
	return out, next, fault.Wrap(op, err)
}

func (s *Service) matches(ctx context.Context, r store.Reader, tenant string, q *ListRequest, rec *record, st *State) (bool, error) {
	d := st.Detail()
	switch {
	case q.DocumentName != "" && rec.Request.DocumentName != q.DocumentName,
		q.Status != "" && d.Status() != q.Status,
		q.Detail != "" && d != q.Detail,
		q.Executing && st.Done(), q.Complete && !st.Done():
		return false, nil
	case q.Node == "":
		return true, nil
	}
	return s.isTarget(ctx, r, tenant, rec, q.Node)
}

// isTarget reports whether the command was sent to the node. The targets are sorted over all chunks.
func (s *Service) isTarget(ctx context.Context, r store.Reader, tenant string, rec *record, node string) (bool, error) {
	for i := range rec.Chunks {
		ids, err := s.chunks.Get(ctx, r, chunksKey(tenant, rec.ID).Uint(uint64(i)))
		if err != nil {
			return false, err
		}
		if len(ids) > 0 && node <= ids[len(ids)-1] {
			_, ok := slices.BinarySearch(ids, node)
			return ok, nil
		}
	}
	return false, nil
}

// Invocation returns a command's invocation on one node with its steps and the beginning of their output (AWS: GetCommandInvocation). A target that had no turn yet is there
// too, as Pending. It needs ssm:GetCommandInvocation. Errors: InvalidCommandId, InvocationDoesNotExist.
func (s *Service) Invocation(ctx context.Context, id, node string) (out Result, err error) {
	const op = "command.Invocation"
	if err := s.check(ctx, "ssm:GetCommandInvocation", "command/"+id); err != nil {
		return out, unknownIfDenied(op, id, err)
	}
	tenant := access.Tenant(ctx)
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		rec, st, err := s.read(ctx, r, op, tenant, id)
		if err != nil {
			return err
		}
		inv, err := s.invs.Get(ctx, r, invsKey(tenant, id).Str(node))
		if errors.Is(err, store.ErrNotFound) {
			ok, err := s.isTarget(ctx, r, tenant, &rec, node)
			if err != nil {
				return err
			}
			if !ok {
				return fault.New(op, fault.InvocationDoesNotExist, "command %s was not sent to node %s", id, fault.Clean(node))
			}
			out = result(&rec, &st, rest(&st, node))
			return nil
		}
		if err == nil && inv.StepsApart {
			err = s.readHeads(ctx, r, tenant, id, &inv)
		}
		out = result(&rec, &st, inv)
		return err
	})
	return out, fault.Wrap(op, err)
}

// readHeads puts the output back that lies in records of its own.
func (s *Service) readHeads(ctx context.Context, r store.Reader, tenant, id string, inv *Invocation) error {
	for e, err := range s.heads.Scan(ctx, r, headsKey(tenant, id).Str(inv.Node).Range()) {
		if err != nil {
			return err
		}
		k := key.Read(e.Key[len(headsKey(tenant, id).Str(inv.Node)):])
		if i := k.Uint(); k.Err() == nil && i < uint64(len(inv.Steps)) {
			inv.Steps[i].Stdout.Head, inv.Steps[i].Stderr.Head = e.Value.Stdout, e.Value.Stderr
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

func result(rec *record, _ *State, inv Invocation) Result {
	return Result{CommandID: rec.ID, Node: inv.Node, DocumentName: rec.Request.DocumentName, Status: inv.Detail.Status(), Detail: inv.Detail, Reason: inv.Reason,
		ExitCode: inv.ExitCode, OfferedAt: inv.OfferedAt, DeliveredAt: inv.DeliveredAt, Started: inv.Started, Ended: inv.Ended, Steps: inv.Steps, Late: inv.Late}
}

// Invocations returns a page of a command's invocations in the order of their nodes, those that had no turn yet included, with at most the first line of
// large outputs, and the token of the next page. A page may be short, even empty, and have a next one. It needs ssm:ListCommandInvocations. Error: InvalidCommandId.
func (s *Service) Invocations(ctx context.Context, q ListRequest) (out []Result, next string, err error) {
	const op = "command.Invocations"
	limit, err := q.page(1000)
	if err != nil {
		return nil, "", err
	}
	if err := s.check(ctx, "ssm:ListCommandInvocations", "command/"+q.Command); err != nil {
		return nil, "", unknownIfDenied(op, q.Command, err)
	}
	tenant := access.Tenant(ctx)
	prefix := invsKey(tenant, q.Command)
	after, err := q.after(prefix)
	if err != nil {
		return nil, "", err
	}
	if q.Node != "" {
		r, err := s.Invocation(ctx, q.Command, q.Node)
		if err != nil || !q.wants(r.Detail) {
			return nil, "", err
		}
		return []Result{r}, "", nil
	}
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out, next = nil, ""
		rec, st, err := s.read(ctx, r, op, tenant, q.Command)
		if err != nil {
			return err
		}
		ids, more, err := s.targetsAfter(ctx, r, tenant, &rec, prefix, after, max(limit, scanPage))
		if err != nil {
			return err
		}
		keys := make([][]byte, len(ids))
		for i, node := range ids {
			keys[i] = prefix.Str(node)
		}
		invs, err := s.invs.GetMany(ctx, r, keys)
		if err != nil {
			return err
		}
		for i, inv := range invs {
			if inv == nil {
				v := rest(&st, ids[i])
				inv = &v
			}
			if q.wants(inv.Detail) {
				out = append(out, result(&rec, &st, *inv))
			}
			if len(out) == limit && (i+1 < len(ids) || more) {
				next = encodeToken(keys[i])
				return nil
			}
		}
		if more {
			next = encodeToken(keys[len(keys)-1])
		}
		return nil
	})
	return out, next, fault.Wrap(op, err)
}

func (q *ListRequest) wants(d message.Detail) bool {
	return (q.Status == "" || d.Status() == q.Status) && (q.Detail == "" || d == q.Detail) &&
		!(q.Executing && d.Terminal()) && !(q.Complete && !d.Terminal())
}

// targetsAfter returns at most n targets behind the key after, and whether there are more.
func (s *Service) targetsAfter(ctx context.Context, r store.Reader, tenant string, rec *record, prefix key.K, after []byte, n int) (ids []string, more bool, err error) {
	last := ""
	if after != nil {
		k := key.Read(after[len(prefix):])
		if last = k.Str(); k.Err() != nil {
			return nil, false, fault.New("command.List", fault.InvalidNextToken, "NextToken is not one that this list gave")
		}
	}
	for i := range rec.Chunks {
		c, err := s.chunks.Get(ctx, r, chunksKey(tenant, rec.ID).Uint(uint64(i)))
		if err != nil {
			return nil, false, err
		}
		if len(c) == 0 || c[len(c)-1] <= last {
			continue
		}
		at, found := slices.BinarySearch(c, last)
		if found {
			at++
		}
		c = c[at:]
		if len(ids)+len(c) > n {
			return append(ids, c[:n-len(ids)]...), true, nil
		}
		ids = append(ids, c...)
	}
	return ids, false, nil
}

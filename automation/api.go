package automation

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/store"
)

// Request asks for an execution (shape StartAutomationExecutionRequest).
type Request struct {
	DocumentName    string
	DocumentVersion string
	Parameters      map[string][]string
	ClientToken     string // a UUID, its case does not matter (A18)
	Mode            Mode   // "" is Auto
	Spread          *Spread
	Tags            map[string]string // at most five
	Timeout         time.Duration     // of the whole execution; 0 is none
}

// The actions that are asked for, as the table of access has them.
const (
	actionStart   = "ssm:StartAutomationExecution"
	actionStop    = "ssm:StopAutomationExecution"
	actionSignal  = "ssm:SendAutomationSignal"
	actionGet     = "ssm:GetAutomationExecution"
	actionList    = "ssm:DescribeAutomationExecutions"
	actionPreview = "ssm:StartExecutionPreview"
)

// audited records a call that changed nothing.
func (s *Service) audited(ctx context.Context, action, resource string, err error) {
	if s.cfg.Audit == nil {
		return
	}
	if err := s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)); err != nil {
		s.cfg.Log.Warn("a call could not be recorded", "action", action, "error", err)
	}
}

// Start starts a runbook and returns the id of the execution, which is Pending until an owner has room for it. The same client token with the same request returns
// the same execution, with another one IdempotentParameterMismatch (A18).
func (s *Service) Start(ctx context.Context, req Request) (id string, err error) {
	const op = "automation.Start"
	resource := "automation-definition/" + clip(fault.Clean(req.DocumentName))
	defer func() {
		if err != nil {
			s.audited(ctx, actionStart, resource, err)
		}
	}()
	if err := access.Check(ctx, s.cfg.Authorizer, actionStart, resource, nil); err != nil {
		return "", fault.Wrap(op, err)
	}
	tok, err := clientToken(op, req.ClientToken)
	if err != nil {
		return "", err
	}
	if len(req.Tags) > mostTags {
		return "", fault.New(op, fault.TooManyTags, "there are %d tags, at most %d are allowed at a start", len(req.Tags), mostTags)
	}
	if id, err = s.newID(); err != nil {
		return "", err
	}
	return s.create(ctx, Start{ID: id, ClientToken: tok, Mode: req.Mode, StartedBy: access.From(ctx).Name, Attributes: access.From(ctx).Attributes, System: s.cfg.System, Tags: req.Tags, Limits: s.cfg.Limits,
		Timeout: req.Timeout, Targets: req.Spread, Parameters: req.Parameters, Document: req.DocumentName, DocumentVersion: req.DocumentVersion})
}

// clientToken checks a token and gives it one spelling.
func clientToken(op, tok string) (string, error) {
	if tok == "" {
		return "", nil
	}
	t := strings.ToLower(tok)
	ok := len(t) == 36
	for i := 0; ok && i < len(t); i++ {
		c := t[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			ok = c == '-'
		} else {
			ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		}
	}
	if !ok {
		return "", fault.New(op, fault.Validation, "the client token must be a UUID")
	}
	return t, nil
}

// create makes an execution durable, once for its id and for its token.
func (s *Service) create(ctx context.Context, st Start) (string, error) {
	const op = "automation.Start"
	digest, err := encode([]any{st.Document, st.DocumentVersion, st.Parameters, st.Mode, st.Targets, st.Tags, st.Timeout, st.StartedBy})
	if err != nil {
		return "", err
	}
	wanted := chain("", string(digest))
	rb, text, hash, err := s.fetch(ctx, op, &st)
	if err != nil {
		return "", err
	}
	x, err := rb.New(st, s.cfg.Now())
	if err != nil {
		return "", err
	}
	if hash != "" && x.DocumentHash == "" {
		x.DocumentHash = hash
	}
	return s.keep(ctx, x, text, st.ClientToken, wanted, 0)
}

// keep writes a new execution down, once for its id and for its token, and tells its owner. known are the steps that a fork has of another execution.
func (s *Service) keep(ctx context.Context, x *Execution, text []byte, tok, wanted string, known int) (string, error) {
	const op = "automation.Start"
	tenant := access.Tenant(ctx)
	state, err := x.Encode()
	if err != nil {
		return "", err
	}
	shard := shardOf(tenant, x.ID)
	id := x.ID
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		id = x.ID
		if tok != "" {
			switch t, err := s.tokens.Get(ctx, tx, tokenKey(tenant, tok)); {
			case err == nil && t.Digest == wanted:
				id = t.Execution
				return nil
			case err == nil:
				return fault.New(op, fault.IdempotentParameterMismatch, "the client token was used for another request: use a new one")
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			if err := s.tokens.Put(tx, tokenKey(tenant, tok), token{x.ID, wanted}); err != nil {
				return err
			}
		}
		switch _, err := s.heads.Get(ctx, tx, headKey(tenant, x.ID)); {
		case err == nil:
			return nil // a child that was started before
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		h := head{Form: stamp(s.cfg.form), ID: x.ID, Document: x.Document, Version: x.DocumentVersion, Hash: x.DocumentHash, Mode: x.Mode, StartedBy: x.StartedBy, Parent: x.Parent, Created: x.Created, Fan: x.Fan != nil}
		h.describe(x)
		h.shown(x)
		var err error
		if h.Source, err = s.put(tx, tenant, x.ID, "document", text); err != nil {
			return err
		}
		if h.First, err = s.put(tx, tenant, x.ID, "first", state); err != nil {
			return err
		}
		if err := s.heads.Put(tx, headKey(tenant, x.ID), h); err != nil {
			return err
		}
		if err := tx.Put(timesKey(tenant).Time(x.Created).Str(x.ID), []byte{1}); err != nil {
			return err
		}
		if !x.Status.Done() { // a fork may have ended with the step that it began
			if err := tx.Put(activeKey(shard).Str(tenant).Str(x.ID), []byte{1}); err != nil {
				return err
			}
			if err := s.send(tx, tenant, x.ID, "begin", Event{}); err != nil {
				return err
			}
		}
		before := make([]Status, known)
		for i := range before {
			before[i] = x.Steps[i].Status
		}
		if _, err := s.feed.Append(ctx, tx, topic(tenant, x.ID), happened(&live{x: x}, before, "", x.Created)...); err != nil {
			return err
		}
		if s.cfg.Audit == nil {
			return nil
		}
		e := audit.Of(actionStart, "automation-definition/"+x.Document, nil)
		e.IDs = map[string]string{"execution": x.ID}
		return s.cfg.Audit.Record(ctx, tx, e)
	})
	return id, storeFault(op, err)
}

// Fork starts a new execution that has the history of another one up to its n-th step, counted from 1 in the order in which steps were begun, and begins that step
// again with inputs replaced. It needs what Start needs, and to read the other one.
func (s *Service) Fork(ctx context.Context, id string, n int, inputs map[string][]string) (string, error) {
	const op = "automation.Fork"
	first, history, err := s.History(ctx, id)
	if err != nil {
		return "", err
	}
	resource := "automation-definition/" + first.Document
	if err := access.Check(ctx, s.cfg.Authorizer, actionStart, resource, nil); err != nil {
		s.audited(ctx, actionStart, resource, err)
		return "", fault.Wrap(op, err)
	}
	l, err := s.load(ctx, access.Tenant(ctx), id)
	if err != nil {
		return "", err
	}
	fresh, err := s.newID()
	if err != nil {
		return "", err
	}
	f, _, err := l.rb.Fork(first, history, n, fresh, inputs, s.cfg.Now())
	if err != nil {
		return "", err
	}
	f.StartedBy, f.Attributes, f.Parent, f.ParentStep = access.From(ctx).Name, access.From(ctx).Attributes, "", ""
	var text []byte
	if err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		text, err = s.get(ctx, r, l.tenant, id, "document", l.head.Source)
		return err
	}); err != nil {
		return "", storeFault(op, err)
	}
	return s.keep(ctx, f, text, "", "", n-1)
}

// startChild starts an execution for another one, under its id, in the identity of the first starter (A24).
func (s *Service) startChild(ctx context.Context, parent string, sys System, e Effect) error {
	const op = "automation.StartChild"
	c := e.Child
	if c.Account != "" && (c.Account != sys.AccountID || c.Region != sys.Region) {
		return fault.New(op, fault.UnsupportedOperation, "this control plane cannot start executions in account %s, Region %s", fault.Clean(c.Account), fault.Clean(c.Region))
	}
	if err := access.Check(ctx, s.cfg.Authorizer, actionStart, "automation-definition/"+c.Document, nil); err != nil {
		return fault.Wrap(op, err)
	}
	_, err := s.create(ctx, Start{ID: c.ID, Document: c.Document, DocumentVersion: c.DocumentVersion, Parameters: c.Parameters, Tags: c.Tags, Role: c.Role, StartedBy: access.From(ctx).Name, Attributes: access.From(ctx).Attributes, System: sys,
		Parent: parent, ParentStep: e.StepID, Depth: c.Depth, Limits: s.cfg.Limits, Targets: c.Spread})
	return err
}

// resolve finds out what targets are.
func (s *Service) resolve(ctx context.Context, tenant string, e Effect) *Resolved {
	r := &Resolved{StepID: e.StepID}
	sp := e.Spread
	switch {
	case len(sp.Locations) > 0:
		r.Failure = &Failure{Stage: InputValidation, Type: ActionFailure, Message: "this control plane knows no organizational units"}
	case s.cfg.Targets == nil:
		r.Failure = &Failure{Stage: InputValidation, Type: ActionFailure, Message: "this control plane cannot find out what targets are: it was given none"}
	default:
		values, err := s.cfg.Targets.Values(ctx, tenant, known(sp.Targets))
		if r.Values = values; err != nil {
			r.Failure = &Failure{Stage: InputValidation, Type: failureType(err), Message: fault.MessageOf(err)}
		}
	}
	return r
}

// tell checks that an event could be taken now, and leaves it for the owner.
func (s *Service) tell(ctx context.Context, op, action, id, what string, ev Event) (err error) {
	resource := "automation-execution/" + clip(fault.Clean(id))
	defer func() {
		if err != nil {
			s.audited(ctx, action, resource, err)
		}
	}()
	if err := access.Check(ctx, s.cfg.Authorizer, action, resource, nil); err != nil {
		return fault.Wrap(op, err)
	}
	tenant := access.Tenant(ctx)
	l, err := s.load(ctx, tenant, id)
	if err != nil {
		return err
	}
	if _, err := l.rb.Step(l.x, ev, s.cfg.Now()); err != nil {
		return err
	}
	n, err := s.newID()
	if err != nil {
		return err
	}
	return storeFault(op, s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.send(tx, tenant, id, what+"-"+n, ev); err != nil {
			return err
		}
		if s.cfg.Audit == nil {
			return nil
		}
		return s.cfg.Audit.Record(ctx, tx, audit.Of(action, resource, nil))
	}))
}

// Signal sends a signal (A16). What could not be taken as things stand is refused; the owner decides when it gets there.
// By and As are those of the caller, whatever sig says.
func (s *Service) Signal(ctx context.Context, id string, sig Signal) error {
	p := access.From(ctx)
	sig.By, sig.As = p.Name, nil
	if s.cfg.Names != nil {
		sig.As = s.cfg.Names(p)
	}
	return s.tell(ctx, "automation.Signal", actionSignal, id, "signal", Event{Signal: &sig})
}

// Stop asks for the end of an execution (A17).
func (s *Service) Stop(ctx context.Context, id string, typ StopType) error {
	return s.tell(ctx, "automation.Stop", actionStop, id, "stop", Event{Stop: &Stop{Type: typ, By: access.From(ctx).Name}})
}

// look loads an execution for somebody who may read it.
func (s *Service) look(ctx context.Context, op, id string) (l *live, err error) {
	return s.lookAs(ctx, op, actionGet, id)
}

// lookAs is look for who has the right to another action.
func (s *Service) lookAs(ctx context.Context, op, action, id string) (l *live, err error) {
	resource := "automation-execution/" + clip(fault.Clean(id))
	defer func() { s.audited(ctx, action, resource, err) }()
	if err := access.Check(ctx, s.cfg.Authorizer, action, resource, nil); err != nil {
		return nil, fault.Wrap(op, err)
	}
	return s.load(ctx, access.Tenant(ctx), id)
}

// Get returns an execution as it stands, and its runbook. Both are the caller's to read; the execution is a copy.
func (s *Service) Get(ctx context.Context, id string) (*Execution, *Runbook, error) {
	l, err := s.look(ctx, "automation.Get", id)
	if err != nil {
		return nil, nil, err
	}
	return l.x, l.rb, nil
}

// History returns what happened to an execution, from the first event, after its chain of hashes was checked and all of it was decided again: it is DataCorrupt
// when an entry was changed, is missing or leads elsewhere. first is the execution as it was when it was new.
func (s *Service) History(ctx context.Context, id string) (first *Execution, history []Entry, err error) {
	const op = "automation.History"
	l, err := s.look(ctx, op, id)
	if err != nil {
		return nil, nil, err
	}
	tenant := access.Tenant(ctx)
	var state []byte
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		h, err := s.heads.Get(ctx, r, headKey(tenant, id))
		if err != nil {
			return err
		}
		var last string
		if history, last, err = s.entries(ctx, r, tenant, id, 0, ""); err != nil {
			return err
		}
		if last != h.Chain || uint64(len(history)) != h.Seq {
			return fault.New(op, fault.DataCorrupt, "the history of execution %s is not complete", id)
		}
		state, err = s.get(ctx, r, tenant, id, "first", h.First)
		return err
	})
	if err != nil {
		return nil, nil, storeFault(op, err)
	}
	if first, err = Decode(state); err != nil {
		return nil, nil, err
	}
	return first, history, l.rb.Replay(first.Clone(), history)
}

// Events yields what happens to an execution after a cursor, and goes on as more does, until the caller stops or ctx ends.
func (s *Service) Events(ctx context.Context, id string, after uint64) func(yield func(feed.Event, error) bool) {
	return func(yield func(feed.Event, error) bool) {
		if _, err := s.look(ctx, "automation.Events", id); err != nil {
			yield(feed.Event{}, err)
			return
		}
		s.feed.Subscribe(ctx, s.cfg.Store, topic(access.Tenant(ctx), id), after)(yield)
	}
}

// Wait returns the execution when it has ended.
func (s *Service) Wait(ctx context.Context, id string) (*Execution, error) {
	for e, err := range s.Events(ctx, id, 0) {
		if err != nil {
			return nil, err
		}
		if st, ok := strings.CutPrefix(e.Kind, "Execution"); ok && Status(st).Done() {
			x, _, err := s.Get(ctx, id)
			return x, err
		}
	}
	return nil, ctx.Err()
}

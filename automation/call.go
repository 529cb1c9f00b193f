package automation

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// effect does what the engine asks for. Nothing here blocks.
func (o *owner) effect(ctx context.Context, n name, l *live, e Effect) {
	s := o.s
	switch e.Kind {
	case Invoke:
		o.invoke(ctx, n, l, e)
	case Abandon:
		if stop := o.calls[callName(e)]; stop != nil {
			stop()
		}
	case Ask:
		if s.cfg.Ask != nil {
			x := l.x.Clone()
			o.wg.Go(func() { s.cfg.Ask(ctx, n.tenant, x, e) })
		}
	case Resolve:
		o.wg.Go(func() { o.push(n, Event{Resolved: s.resolve(ctx, n.tenant, e)}) })
	case StartChild:
		by := access.Principal{Tenant: n.tenant, Name: l.x.StartedBy, Attributes: l.x.Attributes}
		parent, sys := l.x.ID, l.x.System
		o.wg.Go(func() {
			err := patiently(ctx, func() error { return s.startChild(access.With(ctx, by), parent, sys, e) })
			if err != nil && ctx.Err() == nil {
				o.push(n, Event{Child: &ChildEnd{StepID: e.StepID, ID: e.Child.ID, Status: Failed, Failure: &Failure{Stage: InputValidation, Type: ActionFailure, Message: fault.MessageOf(err)}}})
			}
		})
	case StopChild:
		id := e.Child.ID
		o.wg.Go(func() {
			err := patiently(ctx, func() error {
				return storeFault("automation.StopChild", s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
					return s.send(tx, n.tenant, id, "stop", Event{Stop: &Stop{Type: Cancel, By: "its parent"}})
				}))
			})
			if err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("a child could not be told to stop", "execution", id, "error", err)
			}
		})
	}
}

// patiently does what can be done twice again until the store lets it.
func patiently(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		switch fault.KindOf(err) {
		case fault.Unavailable, fault.Unknown, fault.Throttled:
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func callName(e Effect) string {
	return e.StepID + "/" + strconv.Itoa(e.Attempt) + "/" + strconv.Itoa(e.Look)
}

// invoke calls an action.
func (o *owner) invoke(ctx context.Context, n name, l *live, e Effect) {
	r := &Result{StepID: e.StepID, Attempt: e.Attempt, Look: e.Look}
	act, ok := o.s.cfg.Actions[e.Action]
	if !ok || act.Run == nil {
		r.Failure = &Failure{Stage: InputValidation, Type: InternalFailure, Message: "this control plane cannot run " + e.Action + ": it was not given to it"}
		o.push(n, Event{Result: r})
		return
	}
	c := Call{Tenant: n.tenant, Execution: n.id, StepID: e.StepID, Step: e.Step, Action: e.Action, Attempt: e.Attempt, Inputs: cloneMap(e.Inputs), Token: e.Token, Role: e.Role, StartedBy: l.x.StartedBy}
	limit := time.Duration(longest) * time.Second
	if !e.Deadline.IsZero() {
		limit = e.Deadline.Sub(o.s.cfg.Now())
	}
	own, stop := context.WithTimeout(access.With(ctx, access.Principal{Tenant: n.tenant, Name: l.x.StartedBy, Attributes: l.x.Attributes}), limit)
	o.calls[callName(e)] = stop
	mayMiss := l.x.Limits.MissingOutputs
	o.wg.Go(func() {
		defer stop()
		out, err := act.Run(own, c)
		if ctx.Err() != nil {
			return // the execution is somebody else's now
		}
		var typed *CallError
		switch {
		case errors.As(err, &typed):
			r.Failure = &typed.Failure
		case err != nil:
			r.Failure = &Failure{Stage: Invocation, Type: failureType(err), Message: fault.Clean(clipTo(err.Error(), 2000))}
		default:
			v, err := plain(out)
			if r.Output = v; err == nil {
				err = l.rb.condense(e.Step, e.Inputs, r, mayMiss)
			}
			if err != nil {
				r.Output, r.Outputs, r.Failure = nil, nil, &Failure{Stage: PostVerification, Type: VerificationFailure, Message: fault.MessageOf(err)}
			}
		}
		o.push(n, Event{Result: r})
	})
}

func clipTo(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// failureType classes an error by its code.
func failureType(err error) FailureType {
	switch fault.KindOf(err) {
	case fault.Denied, fault.Unauthenticated:
		return PermissionFailure
	case fault.Throttled:
		return ThrottlingFailure
	}
	return ActionFailure
}

package automation

import (
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// signal takes a signal (A16).
func (r *run) signal(s *Signal) error {
	const op = "automation.Signal"
	x := r.x
	if s.Step != "" {
		if _, ok := r.rb.byName[s.Step]; !ok {
			return fault.New(op, StepNotFound, "the runbook has no step %q", fault.Clean(clip(s.Step)))
		}
	}
	var rec *Step
	if x.Current >= 0 {
		rec = &x.Steps[x.Current]
	}
	at := func(action string) bool {
		return rec != nil && rec.Action == action && rec.Status == Waiting && (s.Step == "" || s.Step == rec.Name)
	}
	no := func(why string) error { return fault.New(op, InvalidSignal, "signal %s: %s", s.Type, why) }
	if x.Status.Done() {
		return no("the execution has ended")
	}
	switch s.Type {
	case Approve, Reject, Revoke:
		if !at("aws:approve") {
			return no("no approval is awaited")
		}
		c, _ := councilOf(rec.Inputs)
		if s.By == "" || c.seat(s.names()) < 0 {
			return fault.New(op, fault.AccessDenied, "step %s names other approvers", rec.Name)
		}
		said := slices.ContainsFunc(rec.Decisions, func(d Decision) bool { return d.By == s.By })
		if said != (s.Type == Revoke) && s.Type != Reject {
			return no(map[bool]string{true: "this approver has decided", false: "this approver has not decided"}[said])
		}
		r.decide(x.Current, s)
	case Resume:
		if !at("aws:pause") {
			return no("no step is paused")
		}
		r.finish(x.Current, Success, nil)
	case StartStep:
		if x.Mode != Interactive || x.NextStep == "" {
			return no("no step waits to be started")
		}
		name := s.Step
		if name == "" {
			name = x.NextStep
		}
		if name != x.NextStep && !slices.Contains(r.alternatives(), name) {
			return no("step " + clip(name) + " cannot come now; " + x.NextStep + " can")
		}
		if n := len(x.Steps); n > 0 {
			x.Steps[n-1].Next = name
		}
		r.sig = s
		r.next = r.rb.byName[name]
	case StopStep:
		switch i := slices.IndexFunc(x.Steps, func(st Step) bool { return st.ID == s.StepID }); {
		case i < 0:
			return fault.New(op, StepNotFound, "the execution has no step with this id")
		case i != x.Current:
			return no("the step is not at work")
		}
		f := &Failure{Stage: Invocation, Type: ActionFailure, Message: "the step was stopped by a signal"}
		r.drop(x.Current)
		r.failed(x.Current, Cancelled, f, false)
	default:
		return fault.New(op, InvalidSignal, "unknown signal %q", fault.Clean(clip(string(s.Type))))
	}
	return nil
}

// alternatives are the steps that an interactive execution may start besides the one it would.
func (r *run) alternatives() []string {
	if len(r.x.Steps) == 0 {
		return nil
	}
	last := &r.x.Steps[len(r.x.Steps)-1]
	out := r.rb.validNext(r.step(last))
	if r.x.Loop == nil { // what stands in a loop comes only by the loop
		return slices.DeleteFunc(out, func(n string) bool { return r.rb.steps[r.rb.byName[n]].loop >= 0 })
	}
	return out
}

// stop ends the execution as is asked for (A17).
func (r *run) stop(s *Stop) error {
	const op = "automation.Stop"
	x := r.x
	switch {
	case s.Type != Cancel && s.Type != Complete && s.Type != "":
		return fault.New(op, fault.Validation, "stop type %q: it is Cancel or Complete", fault.Clean(clip(string(s.Type))))
	case x.Status.Done():
		return fault.New(op, InvalidStatusUpdate, "the execution has ended")
	case x.Stop != nil && (x.Stop.Type == Cancel || s.Type == Complete):
		return nil // asked for already, or more than that
	}
	x.Stop = &Halt{Type: s.Type, By: s.By}
	if s.Type == Complete {
		r.complete()
		return nil
	}
	x.Stop.Type = Cancel
	x.Stop.Deadline = r.now.Add(x.Limits.withDefaults().Cancel)
	if x.Status == Pending {
		r.end()
		return nil
	}
	x.Status = Cancelling
	x.NextStep, x.Deadline = "", time.Time{}
	if x.Fan != nil {
		r.stopChildren(x.Fan, "")
		r.fanEnded()
		return nil
	}
	if x.Current < 0 {
		r.leave(Cancelled, nil)
		r.end()
		return nil
	}
	rec := &x.Steps[x.Current]
	x.Stop.OnCancel, _ = strings.CutPrefix(r.step(rec).a.OnCancel, "step:")
	if r.step(rec).a.OnCancel == "Abort" {
		x.Stop.OnCancel = ""
	}
	if rec.Fan != nil && rec.Fan.running() > 0 {
		rec.Status, rec.Deadline = Cancelling, time.Time{}
		r.stopChildren(rec.Fan, rec.ID)
		return nil // its children end first
	}
	r.drop(x.Current)
	r.cancelled()
	return nil
}

// cancelled ends the step at work and begins its onCancel workflow, which has two minutes in all (A2).
func (r *run) cancelled() {
	x := r.x
	i := x.Current
	x.Steps[i].close(Cancelled, nil, r.now)
	x.Current = -1
	r.leave(Cancelled, nil)
	name := x.Stop.OnCancel
	if to, ok := r.rb.byName[name]; ok {
		x.Steps[i].Next = name
		x.Stop.Flow = true
		r.next = to
		return
	}
	r.end()
}

// complete lets what is at work finish; where nothing is, the execution ends.
func (r *run) complete() {
	x := r.x
	switch {
	case x.Fan != nil && x.Status != Pending:
		x.Fan.Stopped = true
		r.fanEnded()
	case x.Status == Pending: // it never began, which is no success
		x.Stop.Type = Cancel
		r.end()
	case x.Current < 0:
		r.leave(Success, nil)
		r.end()
	}
}

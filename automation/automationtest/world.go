package automationtest

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/automation"
)

// Epoch is when every world begins.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Call is a call of the world by a step.
type Call struct {
	Step    string
	Action  string
	Attempt int
	Look    int // of aws:waitForAwsResourceProperty, from 1
	Inputs  map[string]any
	At      time.Duration // since the world began
}

// Answer is what the world says: an output, or an error; after a while. [automation.Failure]s as errors keep their stage and type.
type Answer struct {
	Output any
	Err    error
	After  time.Duration
	Never  bool // no answer at all
}

// FailureError is a failure as an error.
type FailureError struct{ automation.Failure }

// Error returns the message.
func (f FailureError) Error() string { return f.Message }

// World is a runbook, fake services around it, and a clock that only moves when nothing else can. It is for one goroutine.
type World struct {
	rb      *automation.Runbook
	x       *automation.Execution
	now     time.Time
	steps   map[string]func(Call) Answer
	calls   map[string]func(Call) Answer
	docs    map[string]*automation.Runbook
	plan    []planned
	count   int
	history []automation.Entry
	made    []Call
	first   *automation.Execution
	depth   int

	// Patient leaves approvals and pauses to what At says. Otherwise the first approver approves and pauses are resumed, at once.
	Patient bool
}

type planned struct {
	at time.Time
	n  int
	ev automation.Event
	f  func(x *automation.Execution) automation.Event
}

// New returns a world for a runbook.
func New(rb *automation.Runbook) *World {
	return &World{rb: rb, now: Epoch, steps: map[string]func(Call) Answer{}, calls: map[string]func(Call) Answer{}, docs: map[string]*automation.Runbook{}}
}

// On says what a step answers.
func (w *World) On(step string, f func(Call) Answer) *World { w.steps[step] = f; return w }

// Call says what an operation answers, as "ec2:DescribeInstances"; the case does not matter. An action other than those that call an API is named by itself.
func (w *World) Call(operation string, f func(Call) Answer) *World {
	w.calls[strings.ToLower(operation)] = f
	return w
}

// Returns answers an output at once.
func Returns(output any) func(Call) Answer {
	return func(Call) Answer { return Answer{Output: output} }
}

// Breaks answers an error at once.
func Breaks(message string) func(Call) Answer {
	return func(Call) Answer { return Answer{Err: errors.New(message)} }
}

// Document makes a runbook known under a name, so that aws:executeAutomation runs it, in a world of its own with the same answers. Documents that are not known
// succeed.
func (w *World) Document(name string, rb *automation.Runbook) *World { w.docs[name] = rb; return w }

// At lets somebody do something at a time after the beginning.
func (w *World) At(d time.Duration, ev automation.Event) *World {
	w.add(d, ev, nil)
	return w
}

func (w *World) add(d time.Duration, ev automation.Event, f func(*automation.Execution) automation.Event) {
	w.count++
	w.plan = append(w.plan, planned{w.now.Add(d), w.count, ev, f})
}

// Run starts the runbook and goes on until it has ended. An error says that a start was refused, or that the execution waits for what nobody does: it is
// returned as it stands then.
func (w *World) Run(req automation.Start) (*automation.Execution, error) {
	if req.ID == "" {
		req.ID = "00000000-0000-4000-8000-000000000001"
	}
	x, err := w.rb.New(req, w.now)
	if err != nil {
		return nil, err
	}
	w.x, w.first = x, x.Clone()
	w.apply(automation.Event{Begin: true})
	for n := 0; !x.Status.Done(); n++ {
		if n > 200_000 {
			return x, fmt.Errorf("the execution does not end: it is at step %d", len(x.Steps))
		}
		sort.SliceStable(w.plan, func(i, j int) bool {
			a, b := w.plan[i], w.plan[j]
			return a.at.Before(b.at) || a.at.Equal(b.at) && a.n < b.n
		})
		next, timed := x.Next()
		switch {
		case len(w.plan) > 0 && (!timed || !next.Before(w.plan[0].at)):
			p := w.plan[0]
			w.plan = w.plan[1:]
			if p.at.After(w.now) {
				w.now = p.at
			}
			ev := p.ev
			if p.f != nil {
				ev = p.f(x)
			}
			w.apply(ev)
		case timed:
			if next.After(w.now) {
				w.now = next
			}
			w.apply(automation.Event{})
		default:
			return x, fmt.Errorf("the execution is %s and nobody does anything", x.Status)
		}
	}
	return x, nil
}

// Elapsed is how much time has passed in the world.
func (w *World) Elapsed() time.Duration { return w.now.Sub(Epoch) }

// Calls are the calls that were made, in order.
func (w *World) Calls() []Call { return w.made }

// History is what happened, and Replay replays it on a new execution: it must come to the same.
func (w *World) History() []automation.Entry { return w.history }

// Replay replays the history; the runbook must decide as it did.
func (w *World) Replay() (*automation.Execution, error) {
	x := w.first.Clone()
	return x, w.rb.Replay(x, w.history)
}

func (w *World) apply(ev automation.Event) {
	entry, out, _ := w.rb.Record(w.x, ev, w.now)
	w.history = append(w.history, entry)
	for _, e := range out {
		w.effect(e)
	}
	if w.Patient || w.x.Current < 0 || w.x.Status != automation.Waiting {
		return
	}
	switch s := &w.x.Steps[w.x.Current]; s.Action {
	case "aws:pause":
		w.add(0, automation.Event{Signal: &automation.Signal{Type: automation.Resume}}, nil)
	case "aws:approve":
		if len(out) > 0 {
			for _, who := range approvers(s.Inputs) {
				w.add(0, automation.Event{Signal: &automation.Signal{Type: automation.Approve, By: who}}, nil)
			}
		}
	}
}

func approvers(in map[string]any) (out []string) {
	if e, ok := in["EnhancedApprovals"].(map[string]any); ok {
		list, _ := e["Approvers"].([]any)
		for _, it := range list {
			if m, ok := it.(map[string]any); ok {
				out = append(out, automation.Strings(m["approver"])...)
			}
		}
		return out
	}
	return automation.Strings(in["Approvers"])
}

// effect does what the engine asks for.
func (w *World) effect(e automation.Effect) {
	switch e.Kind {
	case automation.Invoke:
		c := Call{Step: e.Step, Action: e.Action, Attempt: e.Attempt, Look: e.Look, Inputs: e.Inputs, At: w.Elapsed()}
		w.made = append(w.made, c)
		a := w.answer(c)
		if a.Never {
			return
		}
		r := &automation.Result{StepID: e.StepID, Attempt: e.Attempt, Look: e.Look, Output: a.Output}
		if a.Err != nil {
			f := automation.Failure{Stage: automation.Invocation, Type: automation.ActionFailure, Message: a.Err.Error()}
			var typed FailureError
			if errors.As(a.Err, &typed) {
				f = typed.Failure
			}
			r.Failure = &f
		}
		w.add(a.After, automation.Event{Result: r}, nil)
	case automation.StartChild:
		end := &automation.ChildEnd{StepID: e.StepID, ID: e.Child.ID, Status: automation.Success}
		after := time.Duration(0)
		if rb := w.docs[e.Child.Document]; rb != nil && w.depth < 10 {
			child := New(rb)
			child.steps, child.calls, child.docs, child.depth, child.now = w.steps, w.calls, w.docs, w.depth+1, w.now
			x, err := child.Run(automation.Start{ID: e.Child.ID, Document: e.Child.Document, Parameters: e.Child.Parameters, Parent: w.x.ID, Depth: e.Child.Depth, Targets: e.Child.Spread, System: w.x.System, Role: e.Child.Role})
			w.made = append(w.made, child.made...)
			after = child.now.Sub(w.now)
			if err != nil {
				end.Status, end.Failure = automation.Failed, &automation.Failure{Stage: automation.InputValidation, Type: automation.ActionFailure, Message: err.Error()}
			} else {
				end.Status, end.Failure, end.Outputs = x.Status, x.Failure, rb.OutputList(x)
			}
		}
		w.add(after, automation.Event{Child: end}, nil)
	case automation.StopChild:
		w.add(0, automation.Event{Child: &automation.ChildEnd{StepID: e.StepID, ID: e.Child.ID, Status: automation.Cancelled}}, nil)
	case automation.Resolve:
		r := &automation.Resolved{StepID: e.StepID, Values: []string{"i-0123456789abcdef0"}}
		for _, l := range e.Spread.Locations {
			r.Accounts = append(r.Accounts, l.Accounts)
		}
		w.add(0, automation.Event{Resolved: r}, nil)
	}
}

// answer finds what is said about a call.
func (w *World) answer(c Call) Answer {
	if f := w.steps[c.Step]; f != nil {
		return f(c)
	}
	if f := w.calls[strings.ToLower(fmt.Sprint(c.Inputs["Service"], ":", c.Inputs["Api"]))]; f != nil {
		return f(c)
	}
	if f := w.calls[strings.ToLower(c.Action)]; f != nil {
		return f(c)
	}
	return Answer{Output: w.rb.Expected(c.Step, c.Inputs)}
}

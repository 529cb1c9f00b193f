package automation

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// Entry is an event that was applied, when, and a digest of what was decided: a list of them is the history of an execution.
type Entry struct {
	At       time.Time `json:"at"`
	Event    Event     `json:"event"`
	Decision string    `json:"decision,omitempty"` // "" is not compared
}

// Record steps an execution and returns the entry for its history beside the effects. An event that is refused is recorded as the time that passed.
func (rb *Runbook) Record(x *Execution, ev Event, now time.Time) (Entry, []Effect, error) {
	out, err := rb.Step(x, ev, now)
	if err != nil {
		ev = Event{}
	}
	return Entry{At: now, Event: ev, Decision: decision(x, out)}, out, err
}

// decisionForm is in front of every decision: one of another form is not compared, so that a later release can read the histories of this one.
const decisionForm = "1:"

// decision is a digest of what a step of the engine came to: the effects, how the execution stands, its newest step, the variables. It is made of words and values
// alone, not of how this release lays out its structures.
func decision(x *Execution, out []Effect) string {
	words := make([]any, 0, 8+4*len(out))
	for i := range out {
		e := &out[i]
		words = append(words, string(e.Kind), e.Step, e.Attempt, e.Look, e.Token)
		if e.Child != nil {
			words = append(words, e.Child.ID, len(e.Child.Parameters))
		}
	}
	words = append(words, string(x.Status), x.Current, len(x.Steps), x.NextStep, some(x.Variables), some(x.Outputs))
	if n := len(x.Steps); n > 0 {
		s := &x.Steps[n-1]
		words = append(words, s.Name, string(s.Status), s.Attempt, s.Start.UnixNano(), some(s.Inputs), some(s.Outputs))
	}
	b, err := encode(words)
	if err != nil {
		return ""
	}
	h := sha256.Sum256(b)
	return decisionForm + hex.EncodeToString(h[:8])
}

// some is a map, or nothing where it is empty: what was stored does not tell the two apart.
func some(m map[string]any) any {
	if len(m) == 0 {
		return nil
	}
	return m
}

// Replay applies a history to an execution as it was when it was new, and returns it as it was at the end. It changes x. The first decision that differs from the
// recorded one ends it with DataCorrupt: the history was changed, it belongs to another runbook, or another release decides otherwise.
func (rb *Runbook) Replay(x *Execution, history []Entry) error {
	for i := range history {
		e := &history[i]
		out, err := rb.Step(x, e.Event, e.At)
		if err != nil {
			return fault.New("automation.Replay", fault.DataCorrupt, "entry %d of the history is refused: %s", i+1, fault.MessageOf(err))
		}
		if strings.HasPrefix(e.Decision, decisionForm) && e.Decision != decision(x, out) {
			return fault.New("automation.Replay", fault.DataCorrupt, "entry %d of the history was decided otherwise", i+1)
		}
	}
	return nil
}

// Fork makes a new execution that has the history of another up to its n-th step, counted from 1 in the order in which steps were begun, and begins that step
// again at now, with inputs replaced. A name that is no input of the step but a parameter of the runbook replaces the parameter from there on; one that is neither is
// refused. x is the other execution as it was when it was new; it is changed. The steps before keep their outputs and are not run again. The effects are those of the
// step that begins.
func (rb *Runbook) Fork(x *Execution, history []Entry, n int, id string, inputs map[string][]string, now time.Time) (*Execution, []Effect, error) {
	const op = "automation.Fork"
	if id == "" {
		return nil, nil, fault.New(op, fault.Validation, "the new execution has no id")
	}
	if x.Fan != nil || n < 1 {
		return nil, nil, fault.New(op, StepNotFound, "the execution has no step %d", n)
	}
	at := ""
	for i := 0; i < len(history) && at == ""; i++ {
		r := &run{rb: rb, x: x, now: history[i].At, next: -1, cut: n}
		r.due()
		if x.NextStep == "" || len(x.Steps) < n-1 {
			if err := r.apply(history[i].Event); err != nil {
				return nil, nil, fault.New(op, fault.DataCorrupt, "entry %d of the history is refused: %s", i+1, fault.MessageOf(err))
			}
			r.flow()
		}
		if len(x.Steps) == n-1 && x.NextStep != "" {
			at = x.NextStep
			if i+1 < len(history) && history[i+1].Event.Signal != nil && history[i+1].Event.Signal.Type == StartStep && history[i+1].Event.Signal.Step != "" {
				at = history[i+1].Event.Signal.Step
			}
		}
	}
	if at == "" {
		return nil, nil, fault.New(op, StepNotFound, "the execution never began a step %d", n)
	}
	f := x.Clone()
	f.ID, f.ClientToken, f.Created, f.Start, f.Status, f.NextStep, f.Sequence, f.Late = id, "", now, now, InProgress, "", 0, 0
	if !f.Deadline.IsZero() {
		f.Deadline = now.Add(f.Deadline.Sub(x.Start))
	}
	own, err := rb.edit(f, &rb.steps[rb.byName[at]], inputs)
	if err != nil {
		return nil, nil, err
	}
	r := &run{rb: rb, x: f, now: now, next: rb.byName[at], sig: &Signal{Type: StartStep, Overrides: own}}
	r.flow()
	return f, r.out, nil
}

// edit replaces parameters of an execution and returns what is left: inputs of the step.
func (rb *Runbook) edit(x *Execution, s *step, given map[string][]string) (own map[string][]string, err error) {
	const op = "automation.Fork"
	spec := s.Spec()
	own = map[string][]string{}
	params := make(map[string][]string, len(x.Parameters))
	for name, v := range x.Parameters {
		params[name] = Strings(v)
	}
	edited := false
	for name, values := range given {
		isInput := slices.ContainsFunc(s.in, func(in field) bool { return strings.EqualFold(in.name, name) })
		_, isParameter := rb.doc.Parameter(name)
		switch {
		case isInput, !isParameter && spec != nil && (spec.Open || spec.Input(name) != nil):
			own[name] = values
		case isParameter:
			params[name], edited = values, true
		default:
			return nil, fault.New(op, fault.Validation, "%q is neither an input of step %s nor a parameter of the runbook", fault.Clean(clip(name)), s.Name)
		}
	}
	if !edited {
		return own, nil
	}
	b, err := rb.doc.Bind(params, &document.BindOptions{MaxSize: -1})
	if err != nil {
		return nil, fault.New(op, InvalidExecutionParams, "%s", fault.MessageOf(err))
	}
	for k, v := range b.Values() {
		p, err := plain(v)
		if err != nil {
			return nil, fault.New(op, InvalidExecutionParams, "parameter %s: %s", k, err)
		}
		if _, ok := given[k]; ok {
			x.Parameters[k] = p
		}
	}
	return own, nil
}

package automation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/document"
)

// Outcome is how a step can end.
type Outcome string

// The outcomes. That of a branch is where it leads instead.
const (
	Succeeds Outcome = "succeeds"
	Fails    Outcome = "fails"
	TimesOut Outcome = "times out"
	Stopped  Outcome = "is cancelled"
)

// Hop is a step of a path with its outcome.
type Hop struct {
	Step    string
	Outcome Outcome // of a branch "=> step"
}

// WarningKind says what is wrong with a path.
type WarningKind string

// The kinds.
const (
	NotCleanedUp  WarningKind = "NotCleanedUp"  // the path does not end well, and what a step made is left, though the runbook has a step that removes it
	HalfDone      WarningKind = "HalfDone"      // the path does not end well between a step and the one that takes it back: stopped and not started again
	NeverFinishes WarningKind = "NeverFinishes" // a step can wait for ever
	Unset         WarningKind = "Unset"         // on this path a step takes an output of a step that has not given it: it gets the placeholder as text
	NeverReached  WarningKind = "NeverReached"  // no path leads to the step
)

// Warning is something wrong with a runbook, with the shortest path that was found to it.
type Warning struct {
	Kind    WarningKind
	Step    string // the step that it is about
	Other   string // the step that would have taken it back
	Message string
	Path    []Hop
}

// ExploreOptions bound an exploration. Nil and the zero value are useful.
type ExploreOptions struct {
	States int  // that are looked at: 5,000
	Cancel bool // try a Stop at every step, too
}

// Exploration is what came out of trying every outcome of every step.
type Exploration struct {
	States    int            // looked at
	Paths     int            // different ways to an end
	Ends      map[Status]int // of them
	Truncated bool           // the bound was reached: there is more
	Warnings  []Warning
}

// exploredIterations is how many rounds of a loop are tried.
const exploredIterations = 2

// place is a state of an exploration.
type place struct {
	x    *Execution
	path []Hop
}

// Explore runs a runbook with every outcome of every step, to a bound, values being made up by their types. The engine is the one that runs executions: only what
// the world would say is imagined. Paths that come to the same state are followed once.
func (rb *Runbook) Explore(o *ExploreOptions) (*Exploration, error) {
	if o == nil {
		o = &ExploreOptions{}
	}
	bound := o.States
	if bound <= 0 {
		bound = 5000
	}
	e := &Exploration{Ends: map[Status]int{}}
	x := rb.sample()
	r := &run{rb: rb, x: x, next: -1, explore: true}
	r.begin()
	r.flow()
	queue := []place{{x: x}}
	seen := map[string]bool{}
	reached := map[string]bool{}
	found := map[string]bool{}
	warn := func(w Warning) {
		if k := string(w.Kind) + w.Step + "\x00" + w.Other; !found[k] {
			found[k] = true
			e.Warnings = append(e.Warnings, w)
		}
	}
	for i := 0; i < len(queue); i++ {
		p := queue[i]
		queue[i] = place{}
		if e.States++; e.States > bound {
			e.Truncated = true
			break
		}
		for j := range p.x.Steps {
			reached[p.x.Steps[j].Name] = true
		}
		if p.x.Status.Done() {
			e.Paths++
			e.Ends[p.x.Status]++
			rb.leftovers(&p, warn)
			continue
		}
		s := &rb.steps[rb.byName[p.x.Steps[p.x.Current].Name]]
		at := &run{rb: rb, x: p.x}
		s.refs(func(ref string) {
			if !at.given(ref) {
				from, _ := splitPath(ref)
				warn(Warning{Kind: Unset, Step: s.Name, Other: from, Path: p.path, Message: fmt.Sprintf("on a path step %s has not given {{ %s }}, which step %s takes", from, clip(ref), s.Name)})
			}
		})
		if spec := s.Spec(); spec != nil && spec.Waits && at.timeout(s) == 0 {
			warn(Warning{Kind: NeverFinishes, Step: s.Name, Path: p.path, Message: fmt.Sprintf("step %s waits without an end: give it timeoutSeconds", s.Name)})
		}
		for _, out := range rb.outcomesOf(s, o.Cancel) {
			c := p.x.Clone()
			r := &run{rb: rb, x: c, next: -1, explore: true}
			hop := Hop{s.Name, out.name}
			r.suppose(out)
			r.flow()
			k := rb.signature(c)
			if seen[k] {
				continue
			}
			seen[k] = true
			queue = append(queue, place{c, append(slices.Clip(p.path), hop)})
		}
	}
	if !e.Truncated {
		for i := range rb.steps {
			if s := &rb.steps[i]; !reached[s.Name] {
				warn(Warning{Kind: NeverReached, Step: s.Name, Message: fmt.Sprintf("no path leads to step %s", s.Name)})
			}
		}
	}
	slices.SortStableFunc(e.Warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(rb.byName[a.Step], rb.byName[b.Step]), strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Other, b.Other))
	})
	return e, nil
}

// guess is one way on from a step.
type guess struct {
	name Outcome
	to   string // a branch's choice
	st   Status
}

// outcomesOf are the ways in which a step can end.
func (rb *Runbook) outcomesOf(s *step, cancel bool) (out []guess) {
	r := run{rb: rb, x: &Execution{}}
	switch s.Action {
	case "aws:branch":
		seen := map[string]bool{}
		for _, c := range s.choices {
			if !seen[c.next] {
				seen[c.next] = true
				out = append(out, guess{name: Outcome("=> " + c.next), to: c.next, st: Success})
			}
		}
		if s.a.Otherwise == "" || !seen[s.a.Otherwise] {
			out = append(out, guess{name: Outcome(strings.TrimSpace("=> " + s.a.Otherwise)), to: s.a.Otherwise, st: Success})
		}
		return out
	case "aws:updateVariable", "aws:sleep":
		out = []guess{{name: Succeeds, st: Success}}
	case "aws:pause":
		out = []guess{{name: Succeeds, st: Success}}
		if r.timeout(s) > 0 {
			out = append(out, guess{name: TimesOut, st: TimedOut})
		}
	default:
		out = []guess{{name: Succeeds, st: Success}, {name: Fails, st: Failed}}
		if r.timeout(s) > 0 {
			out = append(out, guess{name: TimesOut, st: TimedOut})
		}
	}
	if cancel {
		out = append(out, guess{name: Stopped})
	}
	return out
}

// suppose lets the step at work end in a way.
func (r *run) suppose(g guess) {
	i := r.x.Current
	rec := &r.x.Steps[i]
	switch g.st {
	case "":
		_ = r.stop(&Stop{Type: Cancel})
		return
	case Success:
		rec.Outputs = r.rb.sampleOutputs(r.step(rec))
		r.finishTo(i, Success, nil, g.to)
	default:
		r.finish(i, g.st, &Failure{Stage: Invocation, Type: ActionFailure, Message: "imagined"})
	}
}

// imagine begins a step whose outcome is given later; a loop runs its steps.
func (r *run) imagine(i int) {
	s := r.step(&r.x.Steps[i])
	if s.Action != "aws:loop" {
		return
	}
	l := &Loop{Step: i, Most: exploredIterations}
	if s.until == nil {
		l.Items = []any{"first", "second"}
	}
	r.x.Loop, r.x.Current = l, -1
	r.iteration()
}

// signature tells states apart: where it is, how it stands, and how each step went last.
func (rb *Runbook) signature(x *Execution) string {
	b := make([]byte, 0, len(rb.steps)+16)
	b = append(b, x.Status...)
	b = append(b, x.Worst...)
	if x.Loop != nil {
		b = append(b, byte('0'+x.Loop.Iteration))
	}
	if x.Current >= 0 {
		b = append(b, x.Steps[x.Current].Name...)
	}
	b = append(b, 0)
	for i := range rb.steps {
		c := byte('.')
		if s := x.latest(rb.steps[i].Name); s != nil {
			c = s.Status[0]
		}
		b = append(b, c)
	}
	return string(b)
}

// sample is an execution with made-up parameters.
func (rb *Runbook) sample() *Execution {
	x := &Execution{ID: "exploration", Status: Pending, Current: -1, Mode: Auto, Parameters: map[string]any{}, Variables: map[string]any{}, System: System{"123456789012", "region", "aws"}}
	for i := range rb.doc.Parameters {
		x.Parameters[rb.doc.Parameters[i].Name] = sampleOf(rb.doc.Parameters[i].Type)
	}
	for i := range rb.doc.Variables {
		x.Variables[rb.doc.Variables[i].Name] = sampleOf(rb.doc.Variables[i].Type)
	}
	return x
}

func sampleOf(t document.ParameterType) any {
	switch {
	case t == document.TypeInteger:
		return int64(1)
	case t == document.TypeBoolean:
		return true
	case t == document.TypeStringList || strings.HasPrefix(string(t), "List<"):
		return []any{"imagined"}
	case t == document.TypeStringMap:
		return map[string]any{}
	case t == document.TypeMapList:
		return []any{map[string]any{}}
	}
	return "imagined"
}

func (rb *Runbook) sampleOutputs(s *step) map[string]any {
	out := map[string]any{}
	if spec := s.Spec(); spec != nil {
		for _, o := range spec.Outputs {
			out[o.Name] = sampleOf(o.Type)
		}
	}
	if s.payload {
		out["OutputPayload"] = map[string]any{}
	}
	for _, o := range s.outputs {
		out[o.name] = sampleOf(o.typ)
	}
	return out
}

// leftovers looks for what a path that does not end well leaves behind.
func (rb *Runbook) leftovers(p *place, warn func(Warning)) {
	if p.x.Status == Success {
		return
	}
	for i := range p.x.Steps {
		rec := &p.x.Steps[i]
		s := &rb.steps[rb.byName[rec.Name]]
		did, ok := deedOf(&s.Step)
		begun := rec.Failure == nil || rec.Failure.Stage != InputValidation
		if !ok || !begun || rec.Status == Failed && !did.makes() {
			continue
		}
		var back *step
		for j := range rb.steps {
			if d, ok := deedOf(&rb.steps[j].Step); ok && d.undoes(did) {
				back = &rb.steps[j]
				if slices.ContainsFunc(p.x.Steps[i:], func(later Step) bool { return later.Name == back.Name }) {
					back = nil
					break
				}
			}
		}
		if back == nil {
			continue
		}
		w := Warning{Kind: HalfDone, Step: rec.Name, Other: back.Name, Path: p.path, Message: fmt.Sprintf("the execution can end as %s after %s and without %s", p.x.Status, rec.Name, back.Name)}
		if did.makes() {
			w.Kind = NotCleanedUp
		}
		warn(w)
	}
}

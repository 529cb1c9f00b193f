package automation

import (
	"strings"
	"time"
)

// StepPreview is what a step would do.
type StepPreview struct {
	Name   string
	Action string
	Impact Impact
	Inputs map[string]any // resolved as far as they can be before anything ran; what is not known yet stands as its placeholder
	Next   []string       // the steps that may come right after it
	Likely bool           // it runs when all goes well, as far as branches can be decided now
}

// Preview is a dry run (A22, shape AutomationExecutionPreview): what an execution would do, without any effect.
type Preview struct {
	Steps   []StepPreview // in the order of the runbook, those of a loop behind it
	Impacts map[Impact]int
	Targets int // children that would be started; -1 when that must be found out first; 0 without targets
}

// Preview tells what a Start would do. It refuses what New would refuse.
func (rb *Runbook) Preview(req Start, now time.Time) (*Preview, error) {
	if req.ID == "" {
		req.ID = "preview"
	}
	x, err := rb.New(req, now)
	if err != nil {
		return nil, err
	}
	p := &Preview{Impacts: map[Impact]int{}}
	if x.Fan != nil {
		if p.Targets = -1; x.Fan.Spread != nil {
			f := x.Fan.clone()
			if ask, bad := f.begin(x.Limits.withDefaults().Targets); !ask && bad == nil {
				p.Targets = 0
				for i := range f.Groups {
					p.Targets += len(f.Groups[i].Items)
				}
			}
		}
		for i := range rb.doc.Parameters { // those of the children are not bound yet
			d := &rb.doc.Parameters[i]
			if v := x.Fan.Parameters[d.Name]; len(v) == 1 {
				x.Parameters[d.Name] = v[0]
			}
		}
	}
	likely := rb.likely(x, now)
	r := &run{rb: rb, x: x, now: now, next: -1}
	soft := func(ref string) (any, bool, error) {
		v, ok, err := r.get(ref)
		return v, ok && err == nil, nil
	}
	for i := range rb.steps {
		s := &rb.steps[i]
		sp := StepPreview{Name: s.Name, Action: s.Action, Impact: impactOf(&s.Step), Inputs: make(map[string]any, len(s.in)), Next: rb.validNext(s), Likely: likely[s.Name]}
		for j := range s.in {
			sp.Inputs[s.in[j].name], _ = s.in[j].node.resolve(soft)
		}
		p.Impacts[sp.Impact]++
		p.Steps = append(p.Steps, sp)
	}
	return p, nil
}

// likely are the steps that run when every step succeeds; a branch that cannot be decided leads everywhere.
func (rb *Runbook) likely(x *Execution, now time.Time) map[string]bool {
	out := map[string]bool{}
	r := &run{rb: rb, x: x.Clone(), now: now, next: -1}
	var visit func(i int)
	visit = func(i int) {
		s := &rb.steps[i]
		if out[s.Name] {
			return
		}
		out[s.Name] = true
		if len(s.body) > 0 {
			visit(s.body[0])
		}
		next := rb.validNext(s)
		if s.Action == "aws:branch" {
			if to, ok := r.decided(s); ok {
				next = nil
				if to != "" {
					next = []string{to}
				}
			}
		}
		for _, name := range next {
			visit(rb.byName[name])
		}
	}
	visit(rb.top[0])
	return out
}

// decided says where a branch leads, when that is known already.
func (r *run) decided(s *step) (to string, ok bool) {
	for i := range s.choices {
		known := true
		s.choices[i].test.refs(func(ref string) {
			base, _ := splitPath(ref)
			_, param := r.x.Parameters[base]
			known = known && (param || strings.HasPrefix(ref, "global:"))
		})
		if !known {
			return "", false
		}
		switch yes, err := r.holds(&s.choices[i].test); {
		case err != nil:
			return "", false
		case yes:
			return s.choices[i].next, true
		}
	}
	switch {
	case s.a.Otherwise != "":
		return s.a.Otherwise, true
	case s.a.End:
		return "", true
	case s.a.NextStep != "":
		return s.a.NextStep, true
	case s.next >= 0:
		return r.rb.steps[s.next].Name, true
	}
	return "", true
}

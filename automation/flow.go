package automation

import (
	"strings"
	"time"
)

// finish ends a step and says what comes after it (A2, A3, A5).
func (r *run) finish(i int, st Status, f *Failure) { r.finishTo(i, st, f, "") }

// finishTo is finish of a branch that chose.
func (r *run) finishTo(i int, st Status, f *Failure, chosen string) {
	x := r.x
	rec := &x.Steps[i]
	s := r.step(rec)
	rec.close(st, f, r.now)
	x.Current = -1
	ok := st == Success
	if !ok && s.a.Critical {
		x.worse(st, rec, f)
	}
	if x.Stop != nil && !x.Stop.Flow {
		r.leave(st, f)
		r.end()
		return
	}
	jump, isJump := strings.CutPrefix(s.a.OnFailure, "step:")
	switch {
	case !ok && isJump: // also of a step that is an end: the way to clean up goes before
		r.jump(i, jump, st, f)
	case chosen != "":
		r.jump(i, chosen, st, f)
	case s.a.End && (ok || !s.a.Critical || s.loop < 0 || s.a.OnFailure == "Continue"):
		r.ended(i)
	case !ok && s.a.OnFailure != "Continue":
		r.leave(st, f) // what was an abort inside a loop is one of the loop (A13)
		r.end()
	case s.a.NextStep != "":
		r.jump(i, s.a.NextStep, st, f)
	case s.next >= 0:
		r.jump(i, r.rb.steps[s.next].Name, st, f)
	default:
		r.ended(i)
	}
}

// worse notes that a critical step did not succeed: the first one decides the status of the execution (A3, A4).
func (x *Execution) worse(st Status, rec *Step, f *Failure) {
	if x.Worst != "" || x.Stop != nil && x.Stop.Flow {
		return
	}
	x.Worst = st
	if f != nil {
		c := f.clone()
		if c.Details == nil {
			c.Details = map[string][]string{}
		}
		c.Details["StepName"] = []string{rec.Name}
		x.Failure = c
	}
}

// jump goes to a step. One outside the loop ends the loop: well, when the step that leads there did.
func (r *run) jump(from int, name string, st Status, f *Failure) {
	to, ok := r.rb.byName[name]
	if !ok {
		r.end()
		return
	}
	r.x.Steps[from].Next = name
	if r.x.Loop != nil && r.rb.steps[to].loop < 0 {
		r.leave(st, f)
	}
	r.next = to
}

// leave closes the loop at work.
func (r *run) leave(st Status, f *Failure) {
	if r.x.Loop == nil {
		return
	}
	r.x.Steps[r.x.Loop.Step].close(st, f.clone(), r.now)
	r.x.Loop = nil
}

// ended is the end of a list of steps: of an iteration, or of everything.
func (r *run) ended(i int) {
	if r.x.Loop != nil {
		r.iterate()
		return
	}
	r.end()
}

// end ends the execution.
func (r *run) end() {
	x := r.x
	st := Success
	switch {
	case x.Stop != nil && x.Stop.Type == Cancel && x.Worst != TimedOut:
		st = Cancelled
	case x.Worst != "":
		st = x.Worst
	}
	x.Status, x.End, x.NextStep, x.Current, x.Loop = st, r.now, "", -1, nil
	x.Deadline = time.Time{}
	if x.Stop != nil {
		x.Stop.Deadline = time.Time{}
	}
	r.next = -1
	r.outputs()
}

// halt ends whatever is at work.
func (r *run) halt(st Status, f *Failure) {
	x := r.x
	if x.Fan != nil {
		r.stopChildren(x.Fan, "")
	}
	if x.Current >= 0 {
		r.drop(x.Current)
		x.Steps[x.Current].close(st, f, r.now)
		x.Current = -1
	}
	r.leave(st, f)
}

// outputs collects what the document lists as its outputs (A11).
func (r *run) outputs() {
	for _, o := range r.rb.doc.Outputs {
		name := strings.TrimSpace(o.Text())
		if v, ok, err := r.get(name); err == nil && ok {
			if r.x.Outputs == nil {
				r.x.Outputs = map[string]any{}
			}
			r.x.Outputs[name] = clone(v)
		}
	}
}

// OutputList returns the document's outputs one after the other, as the Output of a parent's step has them (A11).
func (rb *Runbook) OutputList(x *Execution) []string {
	var out []string
	for _, o := range rb.doc.Outputs {
		if v, ok := x.Outputs[strings.TrimSpace(o.Text())]; ok {
			out = append(out, Strings(v)...)
		}
	}
	return out
}

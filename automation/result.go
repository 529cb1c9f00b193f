package automation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/document"
)

// result takes what a call answered.
func (r *run) result(ev *Result) {
	x := r.x
	i := x.Current
	if i < 0 || x.Steps[i].ID != ev.StepID || x.Steps[i].Attempt != ev.Attempt || !x.Steps[i].calling() || x.Steps[i].Looks != ev.Look {
		x.Late++
		return
	}
	rec := &x.Steps[i]
	rec.Looking = false
	if f := ev.Failure; f != nil {
		f = f.clone()
		if f.Stage == "" {
			f.Stage = Invocation
		}
		if f.Type == "" {
			f.Type = ActionFailure
		}
		r.failed(i, Failed, f, true)
		return
	}
	if ev.Outputs != nil {
		rec.Outputs = settle(ev.Outputs)
		r.finish(i, Success, nil)
		return
	}
	out, err := plain(ev.Output)
	if err != nil {
		r.failed(i, Failed, &Failure{Stage: PostVerification, Type: VerificationFailure, Message: "the answer is " + err.Error()}, true)
		return
	}
	if rec.Action == "aws:assertAwsResourceProperty" || rec.Action == "aws:waitForAwsResourceProperty" {
		r.looked(i, out)
		return
	}
	r.answered(i, out)
}

// answered gives a step its outputs: those that its action has, those that it declares (A9).
func (r *run) answered(i int, out any) {
	rec := &r.x.Steps[i]
	s := r.step(rec)
	if n := r.mostPayload(rec.Action); n > 0 {
		if b, err := json.Marshal(payload(out)); err == nil && len(b) > n {
			r.failed(i, Failed, &Failure{Stage: PostVerification, Type: VerificationFailure, Message: fmt.Sprintf("the Payload has %d bytes, at most %d are allowed", len(b), n)}, true)
			return
		}
	}
	got, err := s.outputsOf(out, r.x.Limits.MissingOutputs)
	if err != nil {
		r.failed(i, Failed, &Failure{Stage: PostVerification, Type: VerificationFailure, Message: err.Error()}, true)
		return
	}
	rec.Outputs = got
	r.finish(i, Success, nil)
}

func payload(out any) any {
	if m, ok := out.(map[string]any); ok {
		return m["Payload"]
	}
	return nil
}

// mostPayload is how many bytes of Payload an action may answer; 0 is no limit.
func (r *run) mostPayload(action string) int {
	n := r.x.Limits.withDefaults().Payload
	switch action {
	case "aws:executeScript":
		return n
	case "aws:invokeLambdaFunction":
		return 2 * n
	}
	return 0
}

// outputsOf reads the outputs out of an answer. With mayMiss those that are not there have no value.
func (s *step) outputsOf(out any, mayMiss bool) (map[string]any, error) {
	got := map[string]any{}
	if m, ok := out.(map[string]any); ok && s.Spec() != nil {
		for _, o := range s.Spec().Outputs {
			v, ok := m[o.Name]
			if !ok || v == nil || o.Name == "OutputPayload" {
				continue
			}
			if o.Type != document.TypeString {
				if t, err := typed(v, o.Type); err == nil {
					v = t
				}
			}
			got[o.Name] = clone(v)
		}
	}
	if s.payload {
		got["OutputPayload"] = clone(out)
	}
	for _, o := range s.outputs {
		if o.err != nil {
			return nil, fmt.Errorf("output %s: its selector %w", clip(o.name), o.err)
		}
		v, err := o.sel.Select(out)
		if mayMiss && errors.Is(err, errMissing) {
			continue
		}
		if err == nil {
			v, err = typed(v, o.typ)
		}
		if err != nil {
			return nil, fmt.Errorf("output %s with selector %s: %w", clip(o.name), clip(o.sel.text), err)
		}
		got[o.name] = clone(v)
	}
	if len(got) == 0 {
		return nil, nil
	}
	return got, nil
}

// look begins aws:assertAwsResourceProperty or aws:waitForAwsResourceProperty.
func (r *run) look(i int) {
	rec := &r.x.Steps[i]
	s := r.step(rec)
	sel, err := s.prop, s.propErr
	if p := text(rec.Inputs["PropertySelector"]); sel == nil || p != sel.text {
		sel, err = NewSelector(p)
	}
	switch {
	case err != nil:
		r.failed(i, Failed, invalid("PropertySelector %s", err), false)
		return
	case sel == nil:
		r.failed(i, Failed, invalid("there is no PropertySelector"), false)
		return
	}
	r.askProperty(i)
}

// askProperty calls the API once.
func (r *run) askProperty(i int) {
	rec := &r.x.Steps[i]
	rec.Looking = true
	rec.Looks++
	r.invoke(i)
}

// looked compares what the API answered with what is desired.
func (r *run) looked(i int, out any) {
	rec := &r.x.Steps[i]
	s := r.step(rec)
	sel := s.prop
	if p := text(rec.Inputs["PropertySelector"]); sel == nil || p != sel.text {
		sel, _ = NewSelector(p)
	}
	v, err := sel.Select(out)
	if err == nil && desired(v, rec.Inputs["DesiredValues"]) {
		got, err := s.outputsOf(out, r.x.Limits.MissingOutputs)
		if err != nil {
			r.failed(i, Failed, &Failure{Stage: PostVerification, Type: VerificationFailure, Message: err.Error()}, true)
			return
		}
		rec.Outputs = got
		r.finish(i, Success, nil)
		return
	}
	if rec.Action == "aws:assertAwsResourceProperty" {
		why := "the property has none of the DesiredValues"
		if err != nil {
			why = "the property is not there"
		}
		r.failed(i, Failed, &Failure{Stage: Invocation, Type: VerificationFailure, Message: why}, true)
		return
	}
	pause := r.x.Limits.withDefaults().Poll
	rec.Until = r.now.Add(min(pause<<min(rec.Looks-1, 16), 12*pause))
}

// desired reports whether a property has one of the values; where a selector found several, all must have, and there must be one. A Boolean is written in
// any case.
func desired(v, values any) bool {
	list, ok := values.([]any)
	if !ok {
		list = []any{values}
	}
	one := func(v any) bool {
		return slices.ContainsFunc(list, func(d any) bool {
			if _, is := v.(bool); is {
				return strings.EqualFold(text(v), text(d))
			}
			return text(v) == text(d)
		})
	}
	if found, many := v.([]any); many {
		return len(found) > 0 && !slices.ContainsFunc(found, func(v any) bool { return !one(v) })
	}
	return one(v)
}

// mostAnswer is how large an answer may be that is kept in a history whole, in pieces where it must be.
const mostAnswer = 512 << 10

// condense keeps of an answer that is too large for a history only what the step takes from it.
func (rb *Runbook) condense(name string, inputs map[string]any, r *Result, mayMiss bool) error {
	b, err := encode(r.Output)
	if err != nil || len(b) <= mostAnswer {
		return err
	}
	s := &rb.steps[rb.byName[name]]
	tooLarge := fmt.Errorf("the answer has %d bytes, at most %d can be kept", len(b), mostAnswer)
	switch whole := r.Output; s.Action {
	case "aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty":
		sel, err := NewSelector(text(orNil(inputs["PropertySelector"])))
		if err != nil || sel.many || len(s.outputs) > 0 {
			return tooLarge
		}
		r.Output = map[string]any{}
		if v, err := sel.Select(whole); err == nil {
			r.Output = sel.Plant(map[string]any{}, v)
		}
	case "aws:executeScript", "aws:invokeLambdaFunction":
		return tooLarge
	default:
		got, err := s.outputsOf(r.Output, mayMiss)
		if err != nil {
			return err
		}
		if got == nil {
			got = map[string]any{}
		}
		r.Output, r.Outputs = nil, got
		if b, err = encode(got); err == nil && len(b) > mostAnswer {
			return tooLarge
		}
	}
	return err
}

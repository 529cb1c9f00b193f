package automation

import (
	"bytes"
	"encoding/json"

	"github.com/fleetwright/fleetwright/fault"
)

// encodingVersion is in front of every encoded execution. A newer reader reads every older version.
const encodingVersion = 1

// Encode returns the durable form of an execution: JSON behind a version, keys in order, equal executions giving equal bytes.
func (x *Execution) Encode() ([]byte, error) {
	return encode(struct {
		V int        `json:"v"`
		X *Execution `json:"x"`
	}{encodingVersion, x})
}

// encode writes JSON without escaping what is only special in HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fault.New("automation.Encode", fault.InternalServerError, "a value that JSON cannot hold")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode reads what Encode wrote; anything else is DataCorrupt.
func Decode(b []byte) (*Execution, error) {
	const op = "automation.Decode"
	var in struct {
		V int        `json:"v"`
		X *Execution `json:"x"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&in); err != nil || in.X == nil {
		return nil, fault.New(op, fault.DataCorrupt, "this is no stored execution")
	}
	if in.V > encodingVersion {
		return nil, fault.New(op, fault.UnsupportedOperation, "the execution was stored in form %d, this release reads form %d: %w", in.V, encodingVersion, errNewer)
	}
	if in.V != encodingVersion {
		return nil, fault.New(op, fault.DataCorrupt, "the execution was stored in form %d, this release reads form %d", in.V, encodingVersion)
	}
	x := in.X
	ok := x.Current >= -1 && x.Current < len(x.Steps) && (x.Loop == nil || x.Loop.Step >= 0 && x.Loop.Step < len(x.Steps)) &&
		(x.Loop == nil || x.Loop.Items == nil || x.Loop.Iteration >= 1 && x.Loop.Iteration <= len(x.Loop.Items))
	ok = ok && x.Fan.whole()
	for i := range x.Steps {
		ok = ok && x.Steps[i].Fan.whole()
	}
	if !ok {
		return nil, fault.New(op, fault.DataCorrupt, "the stored execution contradicts itself")
	}
	x.Parameters, x.Variables, x.Outputs = settle(x.Parameters), settle(x.Variables), settle(x.Outputs)
	if x.Parameters == nil {
		x.Parameters = map[string]any{}
	}
	if x.Variables == nil {
		x.Variables = map[string]any{}
	}
	for i := range x.Steps {
		x.Steps[i].Inputs, x.Steps[i].Outputs = settle(x.Steps[i].Inputs), settle(x.Steps[i].Outputs)
	}
	if x.Loop != nil && x.Loop.Items != nil {
		l, _ := plain(x.Loop.Items)
		x.Loop.Items, _ = l.([]any)
	}
	return x, nil
}

// whole reports whether a stored fan is one that the engine can have written.
func (f *Fan) whole() bool {
	if f == nil {
		return true
	}
	for g := range f.Groups {
		gr := &f.Groups[g]
		if gr.Next < 0 || gr.Next > len(gr.Items) {
			return false
		}
		for i := range gr.Items {
			it := &gr.Items[i]
			if it.Account != "" && (f.Spread == nil || it.Location < 0 || it.Location >= len(f.Spread.Locations)) {
				return false
			}
		}
	}
	return true
}

// settle gives decoded values the types that the engine has.
func settle(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	p, err := plain(m)
	if err != nil {
		return m
	}
	out, _ := p.(map[string]any)
	return out
}

// Outstanding returns what is under way in the world by the state alone: what a new owner of an execution must do again, or find out about. Calls have the
// token that they had.
func (rb *Runbook) Outstanding(x *Execution) (out []Effect) {
	if x.Status.Done() || x.Status == Pending {
		return nil
	}
	fan := func(f *Fan, stepID, step string) {
		if f.Resolving && !f.Stopped {
			out = append(out, Effect{Kind: Resolve, StepID: stepID, Step: step, Role: x.Role, Spread: f.Spread})
		}
		for g := range f.Groups {
			for i := range f.Groups[g].Items {
				it := &f.Groups[g].Items[i]
				if it.Status != InProgress {
					continue
				}
				out = append(out, x.startOf(f, it, stepID, step))
				if f.Stopped {
					out = append(out, Effect{Kind: StopChild, StepID: stepID, Child: &Child{ID: it.ID, Account: it.Account, Region: it.Region}})
				}
			}
		}
	}
	if x.Fan != nil {
		fan(x.Fan, "", "")
		return out
	}
	if x.Current < 0 {
		return nil
	}
	s := &x.Steps[x.Current]
	switch {
	case s.Fan != nil:
		fan(s.Fan, s.ID, s.Name)
	case s.calling():
		out = append(out, x.call(x.Current))
	case s.Action == "aws:approve" && s.Status == Waiting:
		out = append(out, Effect{Kind: Ask, StepID: s.ID, Step: s.Name, Action: s.Action, Attempt: s.Attempt, Inputs: s.Inputs, Deadline: s.Deadline, Token: s.Token})
	}
	return out
}

package automation

import (
	"encoding/json"

	"github.com/fleetwright/fleetwright/fault"
)

// children begins aws:executeAutomation: one child, or one a target.
func (r *run) children(i int) {
	x := r.x
	rec := &x.Steps[i]
	f, bad := fanOf(rec.Inputs)
	if bad == nil && x.Depth+1 > x.Limits.withDefaults().Depth {
		bad = invalid("executions can be %d levels deep", x.Limits.withDefaults().Depth)
	}
	ask := false
	if bad == nil {
		ask, bad = f.begin(x.Limits.withDefaults().Targets)
	}
	if bad != nil {
		r.failed(i, Failed, bad, false)
		return
	}
	rec.Fan = f
	if ask {
		r.out = append(r.out, Effect{Kind: Resolve, StepID: rec.ID, Step: rec.Name, Attempt: rec.Attempt, Token: rec.Token, Role: x.Role, Spread: f.Spread})
		return
	}
	r.startChildren(f, rec.ID, rec.Name)
	r.childrenEnded(nil)
}

// fanOf reads the inputs of aws:executeAutomation.
func fanOf(in map[string]any) (*Fan, *Failure) {
	f := &Fan{Document: text(orNil(in["DocumentName"])), DocumentVersion: text(orNil(in["DocumentVersion"]))}
	if f.Document == "" {
		return nil, invalid("DocumentName is empty")
	}
	params, bad := parameters(in["RuntimeParameters"])
	if bad != nil {
		return nil, bad
	}
	f.Parameters = params
	if v := in["Tags"]; v != nil {
		list, ok := v.([]any)
		if !ok || len(list) > mostTags {
			return nil, invalid("Tags must be a list of at most %d", mostTags)
		}
		f.Tags = map[string]string{}
		for _, it := range list {
			m, _ := it.(map[string]any)
			if m["Key"] == nil {
				return nil, invalid("a tag needs a Key")
			}
			f.Tags[text(m["Key"])] = text(orNil(m["Value"]))
		}
	}
	s := &Spread{}
	given := false
	for _, k := range []string{"Targets", "TargetMaps", "TargetLocations"} {
		if l, ok := in[k].([]any); in[k] != nil && (!ok || len(l) > 0) {
			given = true
		}
	}
	if !given {
		return f, nil
	}
	part := map[string]any{}
	for _, k := range []string{"TargetParameterName", "Targets", "TargetLocations", "MaxConcurrency", "MaxErrors"} {
		if v := in[k]; v != nil {
			if k == "MaxConcurrency" || k == "MaxErrors" {
				v = text(v)
			}
			part[k] = v
		}
	}
	b, err := json.Marshal(stringly(part))
	if err != nil || json.Unmarshal(b, s) != nil {
		return nil, invalid("Targets or TargetLocations do not have the form that they must have")
	}
	if v := in["TargetMaps"]; v != nil {
		list, ok := v.([]any)
		for _, it := range list {
			m, bad := parameters(it)
			if bad != nil {
				return nil, bad
			}
			s.TargetMaps = append(s.TargetMaps, m)
		}
		if !ok {
			return nil, invalid("TargetMaps must be a list")
		}
	}
	if bad := s.check(); bad != nil {
		return nil, bad
	}
	f.Spread = s
	return f, nil
}

// stringly makes texts of the numbers in a value: an account written without quotes is a number to YAML.
func stringly(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = stringly(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = stringly(x)
		}
		return out
	case int64, json.Number:
		return text(v)
	}
	return v
}

// parameters reads a map as the API takes parameters: every value a list of strings.
func parameters(v any) (map[string][]string, *Failure) {
	switch m := v.(type) {
	case nil:
		return nil, nil
	case string:
		d, err := decode([]byte(m))
		if _, is := d.(map[string]any); err == nil && is {
			return parameters(d)
		}
	case map[string]any:
		out := make(map[string][]string, len(m))
		for k, v := range m {
			if v == nil {
				continue
			}
			out[k] = Strings(v)
		}
		return out, nil
	}
	return nil, invalid("RuntimeParameters and TargetMaps are maps from parameter names to values, not a %s", fault.Clean(kindOf(v)))
}

// childrenEnded ends the step when all its children are final.
func (r *run) childrenEnded(why *Failure) {
	x := r.x
	i := x.Current
	rec := &x.Steps[i]
	f := rec.Fan
	if !f.done() {
		return
	}
	if rec.Status == Cancelling {
		r.cancelled()
		return
	}
	var ids, outs, statuses []any
	worst := Success
	for g := range f.Groups {
		for j := range f.Groups[g].Items {
			it := &f.Groups[g].Items[j]
			if it.ID == "" {
				continue
			}
			ids, statuses = append(ids, it.ID), append(statuses, string(it.Status))
			for _, o := range it.Outputs {
				outs = append(outs, o)
			}
			if it.Status != Success && it.Status != CompletedWithSuccess {
				worst = it.Status
			}
		}
	}
	rec.Outputs = map[string]any{"Output": append([]any{}, outs...)}
	if f.Spread == nil {
		rec.Outputs["ExecutionId"], rec.Outputs["Status"] = ids[0], statuses[0]
	} else {
		rec.Outputs["ExecutionId"], rec.Outputs["Status"] = append([]any{}, ids...), string(Success)
		if f.exceeded() {
			rec.Outputs["Status"] = string(Failed)
		}
	}
	if f.exceeded() {
		bad := &Failure{Stage: Invocation, Type: ActionFailure, Message: "a child execution ended with status " + string(worst)}
		if f.Spread != nil {
			bad.Message = "more child executions failed than MaxErrors allows"
		}
		if why != nil && why.Message != "" {
			bad.Details = map[string][]string{"Child": {why.Message}}
		}
		got := rec.Outputs
		r.failed(i, Failed, bad, true)
		if rec := &x.Steps[i]; rec.Status == Failed {
			rec.Outputs = got
		}
		return
	}
	s := r.step(rec)
	for _, o := range s.outputs { // a child need not have given what a selector looks for
		if o.sel == nil {
			continue
		}
		if v, err := o.sel.Select(rec.Outputs); err == nil {
			if v, err = typed(v, o.typ); err == nil {
				rec.Outputs[o.name] = clone(v)
			}
		}
	}
	r.finish(i, Success, nil)
}

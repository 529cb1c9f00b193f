package automation

import "github.com/fleetwright/fleetwright/document"

// Expected makes up an answer with which a step succeeds: it has a value wherever the outputs that the step declares look for one, the outputs that its action
// has, and for aws:assertAwsResourceProperty and aws:waitForAwsResourceProperty one of the DesiredValues. It is what a test answers for a service that it does not
// care about.
func (rb *Runbook) Expected(name string, inputs map[string]any) any {
	i, ok := rb.byName[name]
	if !ok {
		return map[string]any{}
	}
	s := &rb.steps[i]
	var root any = map[string]any{}
	if sel, err := NewSelector(text(orNil(inputs["PropertySelector"]))); err == nil {
		want := inputs["DesiredValues"]
		if l, ok := want.([]any); ok && len(l) > 0 {
			want = l[0]
		}
		root = sel.Plant(root, text(orNil(want)))
	}
	for j := range s.outputs {
		if o := &s.outputs[j]; o.sel != nil {
			v := likelyOf(o.typ)
			if l, ok := v.([]any); ok && o.sel.many {
				v = l[0]
			}
			root = o.sel.Plant(root, v)
		}
	}
	if m, ok := root.(map[string]any); ok && s.Spec() != nil {
		for _, o := range s.Spec().Outputs {
			if _, there := m[o.Name]; !there && o.Name != "OutputPayload" {
				m[o.Name] = likelyOf(o.Type)
			}
		}
	}
	return root
}

// likelyOf is a value that most uses of a type can do with.
func likelyOf(t document.ParameterType) any {
	switch t {
	case document.TypeInteger:
		return int64(1)
	case document.TypeBoolean:
		return true
	case document.TypeStringList:
		return []any{"1"}
	case document.TypeStringMap:
		return map[string]any{"key": "1"}
	case document.TypeMapList:
		return []any{map[string]any{"key": "1"}}
	}
	return "1"
}

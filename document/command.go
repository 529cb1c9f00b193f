package document

import (
	"slices"
	"strings"
	"time"
)

// scripted reports whether the kind runs steps on nodes.
func (d *Document) scripted() bool { return d.Kind == Command || d.Kind == Policy }

// command reads a Command or Policy document of schema 1.2, 2.0 or 2.2.
func (c *collector) command(d *Document) {
	old := d.SchemaVersion == "1.2"
	body, want, wrong := d.Root.Get("mainSteps"), "mainSteps", "runtimeConfig"
	if old {
		body, want, wrong = d.Root.Get("runtimeConfig"), wrong, want
	}
	for i := range d.Root.fields {
		f := &d.Root.fields[i]
		switch f.Key {
		case "schemaVersion", want, "$schema":
		case "description":
			d.Description = c.text(f)
		case "parameters":
			c.parameters(d, f.Value)
		case wrong:
			if f.Value.Kind() != Null || old { // AWS's agent gets both, one of them null; CreateDocument does not
				c.key(f, Error, "wrong-body", "schema %s has %s, not %s", d.SchemaVersion, want, wrong)
			}
		default:
			c.unknownKey(d.Root, f, "top-key", "a "+string(d.Kind)+" document", commandKeys)
		}
	}
	switch {
	case old && body.Kind() == Map && len(body.fields) > 0:
		for i := range body.fields {
			c.plugin(d, &body.fields[i])
		}
	case !old && body.Kind() == List && len(body.items) > 0:
		d.Steps = make([]Step, 0, len(body.items))
		for _, it := range body.items {
			c.step(d, it)
		}
	case body.Kind() == Null, len(body.items)+len(body.fields) == 0 && (body.Kind() == List || body.Kind() == Map):
		at := body
		if at == nil {
			at = d.Root
		}
		c.at(at, Error, "no-steps", "the document has no steps: put at least one under %s", want)
	case old:
		c.at(body, Error, "type", "runtimeConfig must be a map from plugin names to their properties, not a %s", body.Kind())
	default:
		c.at(body, Error, "type", "mainSteps must be a list of steps, not a %s", body.Kind())
	}
	c.names(d)
}

// step reads a step of schema 2.x.
func (c *collector) step(d *Document, v *Value) {
	if v.Kind() != Map {
		c.at(v, Error, "type", "a step must be a map with action, name and inputs, not a %s", v.Kind())
		return
	}
	s := Step{Index: len(d.Steps), Source: v}
	for i := range v.fields {
		f := &v.fields[i]
		switch f.Key {
		case "action":
			s.Action = c.text(f)
		case "name":
			s.Name = c.text(f)
		case "description":
			s.Description = c.text(f)
		case "inputs":
			s.Inputs = f.Value
		case "precondition":
			if f.Value.Kind() != Null {
				s.Precondition = f.Value
			}
		case "settings":
			s.Settings = f.Value
		case "onFailure", "onSuccess", "maxAttempts", "timeoutSeconds", "isEnd", "isCritical", "nextStep", "finallyStep", "onCancel", "outputs":
		default:
			c.unknownKey(v, f, "step-key", "a step", stepKeys)
		}
	}
	if v.Get("name") == nil || s.Name == "" {
		c.at(v, Error, "step-name", "the step has no name: add one of letters, digits, _ and -")
	} else if !stepName(s.Name) {
		c.at(v.Get("name"), Error, "step-name", "step name %q: use letters, digits, _ and -", clip(s.Name))
	}
	if v.Get("action") == nil || s.Action == "" {
		c.at(v, Error, "step-action", "step %q has no action: add one, such as aws:runShellScript", clip(s.Name))
	} else {
		c.action(d, &s, v.Get("action"))
	}
	c.inputs(d, &s)
	d.Steps = append(d.Steps, s)
}

// plugin reads an entry of runtimeConfig: each of its properties becomes a step.
func (c *collector) plugin(d *Document, f *Field) {
	probe := Step{Action: f.Key}
	c.action(d, &probe, nil)
	if probe.spec == nil {
		msg, near := unknownAction(d, f.Key)
		if at := c.key(f, Error, "unknown-action", "%s", msg); near != "" {
			c.rename(at, d.Root.Get("runtimeConfig"), f, near)
		}
	}
	if f.Value.Kind() != Map {
		c.at(f.Value, Error, "type", "plugin %s must be a map with properties, not a %s", clip(f.Key), f.Value.Kind())
		return
	}
	props := f.Value.Get("properties")
	if props.Kind() == Null {
		c.key(f, Error, "no-properties", "plugin %s has no properties", clip(f.Key))
		return
	}
	list := []*Value{props}
	if props.Kind() == List {
		list = props.items
	}
	for _, v := range list {
		s := Step{Index: len(d.Steps), Name: f.Key, Action: f.Key, Source: v, Settings: f.Value.Get("settings"), spec: probe.spec}
		switch {
		case v.Kind() == Map:
			s.Inputs = v
			if id := v.Get("id"); len(list) > 1 && id.Kind() == String && id.text != "" {
				s.Name = id.text
			}
		case v.Kind() == String && len(list) == 1: // aws:cloudWatch takes a text
			s.Inputs = &Value{kind: Map, line: v.line, column: v.column, fields: []Field{{Key: "properties", Line: int(v.line), Column: int(v.column), Value: v}}}
		default:
			c.at(v, Error, "type", "the properties of plugin %s must be maps, not a %s", clip(f.Key), v.Kind())
			continue
		}
		if len(list) > 1 && s.Name == f.Key {
			s.Name = f.Key + "-" + itoa(len(d.Steps)+1)
		}
		c.inputs(d, &s)
		d.Steps = append(d.Steps, s)
	}
}

// action looks the action of a step up.
func (c *collector) action(d *Document, s *Step, at *Value) {
	if s.spec = d.actions.Get(s.Action); s.spec != nil && s.spec.in(d.SchemaVersion) {
		return
	}
	if at != nil {
		msg, near := unknownAction(d, s.Action)
		if f := c.at(at, Error, "unknown-action", "%s", msg); near != "" {
			c.replace(f, at, near)
		}
	}
	s.spec = nil
}

// unknownAction says why an action cannot be used, and names the one that was probably meant.
func unknownAction(d *Document, name string) (msg, near string) {
	if a := d.actions.Get(name); a != nil {
		return "action " + a.Name + " cannot be used in schema " + d.SchemaVersion + ", only in " + strings.Join(a.Schemas, ", "), ""
	}
	var names []string
	for _, n := range d.actions.Names() {
		if d.actions.Get(n).in(d.SchemaVersion) {
			names = append(names, n)
		}
	}
	msg = "unknown action \"" + clip(name) + "\""
	if near = closest(name, names); near == "" {
		near = closest("aws:"+name, names)
	}
	if near != "" {
		return msg + ": did you mean " + near + "?", near
	}
	return msg + ": schema " + d.SchemaVersion + " has " + some(names), ""
}

// shared are the inputs that every plugin takes (P6).
var shareds = []string{"onFailure", "onSuccess", "finallyStep", "maxAttempts", "timeoutSeconds"}

// inputs checks the inputs of a step against the action table, and notes them by the spelling of the table.
func (c *collector) inputs(d *Document, s *Step) {
	switch s.Inputs.Kind() {
	case Map:
	case Null:
		if s.spec != nil && s.spec.Shell != "" && s.Source != nil {
			c.at(s.Source, Error, "no-inputs", "step %q has no inputs: %s needs runCommand", clip(s.Name), s.Action)
		}
		s.Inputs = nil
		return
	default:
		c.at(s.Inputs, Error, "type", "the inputs of step %q must be a map, not a %s", clip(s.Name), s.Inputs.Kind())
		s.Inputs = nil
		return
	}
	s.inputs = make([]input, 0, len(s.Inputs.fields))
	for i := range s.Inputs.fields {
		f := &s.Inputs.fields[i]
		name := f.Key
		if in := s.spec.Input(name); in != nil {
			if name = in.Name; name != "timeoutSeconds" {
				c.inputType(s, in, f)
			}
		} else if j := slices.IndexFunc(shareds, func(k string) bool { return strings.EqualFold(k, name) }); j >= 0 {
			name = shareds[j]
		}
		s.inputs = append(s.inputs, input{name, f.Value})
		if name == "timeoutSeconds" && (s.spec == nil || s.spec.Shell != "") {
			c.timeout(f.Value)
		}
	}
	c.required(s)
}

// required checks that no input is missing that the action cannot do without.
func (c *collector) required(s *Step) {
	if s.spec == nil {
		return
	}
	for i := range s.spec.Inputs {
		in := &s.spec.Inputs[i]
		if v := s.given(in.Name); !in.Required || v != nil && v.Kind() != Null {
			continue
		}
		at := s.Inputs
		if at == nil {
			at = s.Source
		}
		if s.Automation != nil {
			c.at(at, Error, "input-missing", "step %q needs input %s of %s", clip(s.Name), in.Name, s.Action)
			continue
		}
		hint := "" // AWS accepts a Command document like this; the step fails on the node
		if s.Inputs.Get("commands") != nil && in.Name == "runCommand" {
			hint = "; since schema 2.0 commands is called runCommand"
		}
		f := c.at(at, Warning, "input-missing", "step %q always fails: %s needs input %s%s", clip(s.Name), s.Action, in.Name, hint)
		if hint != "" {
			c.rename(f, s.Inputs, s.Inputs.field("commands"), "runCommand")
		}
	}
}

// inputType checks the type of one input; where a placeholder stands alone the type is known only when it is bound.
func (c *collector) inputType(s *Step, in *InputSpec, f *Field) {
	v := f.Value
	if v.Kind() == String && v.tmpl.whole() != "" || v.Kind() == Null {
		return
	}
	ok := true
	switch in.Type {
	case StringInput:
		ok = v.Kind() != List && v.Kind() != Map
	case ListInput:
		ok = v.Kind() == List || v.Kind() == String
	case MapInput:
		ok = v.Kind() == Map || v.Kind() == String
	case MapListInput:
		ok = v.Kind() == List || v.Kind() == String
	case IntegerInput:
		_, num := v.integer()
		ok = num || v.Kind() == String
	case BooleanInput:
		_, ok = v.truthy()
		ok = ok || v.tmpl != nil
	}
	if !ok {
		c.at(v, Error, "input-type", "input %s of step %q is a %s: %s takes a %s", clip(f.Key), clip(s.Name), v.Kind(), s.Action, in.Type)
	}
}

// timeout checks a literal timeoutSeconds: AWS would silently take 3600 instead (T15).
func (c *collector) timeout(v *Value) {
	if v.Kind() == Null || v.tmpl != nil || v.Kind() == String && v.text == "" {
		return
	}
	if n, ok := v.integer(); !ok || n < shortestTimeout || n > longestTimeout {
		c.at(v, Error, "timeout", "timeoutSeconds %q: a whole number from %d to %d is needed", clip(v.Text()), shortestTimeout, longestTimeout)
	}
}

// names checks that step names are unique: results are found by them (R27).
func (c *collector) names(d *Document) {
	seen := make(map[string]int, len(d.Steps))
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.Name == "" {
			continue
		}
		if first, ok := seen[s.Name]; ok {
			line, _ := d.Steps[first].Source.Place()
			at := s.Source.Get("name")
			if at == nil {
				at = s.Source
			}
			c.at(at, Error, "step-twice", "step name %q is used twice, first at line %d: rename one", clip(s.Name), line)
			continue
		}
		seen[s.Name] = i
	}
}

func stepName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	return len(s) <= 128
}

// given returns an input by the spelling of the table.
func (s *Step) given(name string) *Value {
	for i := range s.inputs {
		if s.inputs[i].name == name {
			return s.inputs[i].v
		}
	}
	return nil
}

// possible reports whether a step can run on a platform, before binding.
func (d *Document) possible(s *Step, platform string) bool {
	if s.spec == nil || !s.spec.On(platform) {
		return false
	}
	if eq := s.Precondition.Get("StringEquals"); len(eq.Items()) == 2 {
		a, b := eq.items[0].Text(), eq.items[1].Text()
		if a == "platformType" {
			a, b = b, a
		}
		if b == "platformType" && !strings.EqualFold(a, platform) {
			return false
		}
	}
	return true
}

// timeout of a resolved step, in seconds.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

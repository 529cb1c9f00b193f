package document

import (
	"slices"
	"strings"
)

// globals are the system variables of runbooks (A7).
var globals = []string{"global:ACCOUNT_ID", "global:DATE", "global:DATE_TIME", "global:AWS_PARTITION", "global:REGION", "automation:EXECUTION_ID"}

// references checks every placeholder of a runbook: what it names must exist.
func (c *collector) references(d *Document) {
	steps := map[string]*Step{}
	d.everyStep(func(s *Step) { steps[s.Name] = s })
	r := refs{c: c, d: d, steps: steps}
	if role := d.Root.Get("assumeRole"); role != nil {
		r.value(role, nil, false)
		if hasSSM(role.Text()) {
			c.at(role, Error, "reference-ssm", "assumeRole cannot refer to Parameter Store: use a parameter")
		}
	}
	d.everyStep(func(s *Step) {
		for i := range s.Inputs.Fields() {
			f := &s.Inputs.fields[i]
			if s.Action == "aws:loop" && strings.EqualFold(f.Key, "Steps") {
				continue
			}
			r.value(f.Value, s, s.Action == "aws:executeScript" && strings.EqualFold(f.Key, "Script") || strings.EqualFold(f.Key, "TemplateBody"))
		}
	})
	for _, o := range d.Outputs {
		r.output(o, strings.TrimSpace(o.text), nil)
	}
}

type refs struct {
	c     *collector
	d     *Document
	steps map[string]*Step
}

// value checks the placeholders in v; inside a script an unknown name may be text of another language.
func (r *refs) value(v *Value, in *Step, script bool) {
	if v.Kind() == String {
		v.tmpl.each(func(name string) { r.name(v, name, in, script) })
	}
	for _, it := range v.Items() {
		r.value(it, in, script)
	}
	for i := range v.Fields() {
		r.value(v.fields[i].Value, in, script)
	}
}

func (r *refs) name(v *Value, name string, in *Step, script bool) {
	sev := Error
	if script {
		sev = Warning
	}
	if prefix, rest, ok := strings.Cut(name, ":"); ok {
		switch prefix {
		case "global", "automation":
			if !slices.Contains(globals, name) {
				r.c.at(v, sev, "reference-unknown", "{{ %s }} is not a system variable: %s", clip(name), strings.Join(globals, ", "))
			}
		case "variable":
			base, _, _ := strings.Cut(rest, ".")
			if !slices.ContainsFunc(r.d.Variables, func(va Variable) bool { return va.Name == base }) {
				r.c.at(v, sev, "reference-unknown", "variable %s is not declared: add it under variables", clip(base))
			}
		}
		return
	}
	if _, ok := r.d.Parameter(name); ok {
		return
	}
	head, _, dotted := strings.Cut(name, ".")
	if dotted {
		if _, ok := r.d.Parameter(head); ok {
			return // a key of a map
		}
		if stepName(head) && !strings.ContainsAny(head, "-:/$['") {
			r.output(v, name, in)
		}
		return
	}
	if nameOK(name) {
		f := r.c.at(v, sev, "reference-unknown", "{{ %s }} is neither a parameter nor a step's output: declare it, or check the name", clip(name))
		if best := closest(name, r.d.parameterNames()); best != "" {
			f.Message += "; did you mean " + clip(best) + "?"
			r.c.point(f, v, name, best)
		}
	}
}

// output checks step.Output.
func (r *refs) output(v *Value, name string, in *Step) {
	head, rest, _ := strings.Cut(name, ".")
	s := r.steps[head]
	if s == nil {
		if r.c.full() {
			return
		}
		index := make(map[string]int, len(r.steps))
		for n := range r.steps {
			index[n] = 0
		}
		best, hint := r.c.nearStep(head, index)
		f := r.c.at(v, Error, "reference-step", "step %s does not exist, so it has no output %s%s", clip(head), clip(rest), hint)
		if best != "" {
			r.c.point(f, v, name, best+"."+rest)
		}
		return
	}
	if in != nil && in.Name == s.Name && s.Action != "aws:loop" {
		r.c.at(v, Warning, "reference-self", "step %s uses its own output before it has run", clip(s.Name))
	}
	if !s.gives(rest) {
		have := s.outputNames()
		f := r.c.at(v, Warning, "reference-output", "step %s has no output %s: declare it under outputs%s", clip(s.Name), clip(rest), among(have))
		if best := closest(rest, have); best != "" {
			r.c.point(f, v, name, head+"."+best)
		}
	}
}

// outputNames are the outputs that a step declares or its action has.
func (s *Step) outputNames() (out []string) {
	for _, o := range s.Automation.Outputs {
		out = append(out, o.Name)
	}
	if s.spec != nil {
		for _, o := range s.spec.Outputs {
			out = append(out, o.Name)
		}
	}
	return out
}

// among lists what there is, for a message.
func among(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; it has " + clip(some(names))
}

func (d *Document) parameterNames() []string {
	out := make([]string, len(d.Parameters))
	for i := range out {
		out[i] = d.Parameters[i].Name
	}
	return out
}

// point makes a finding's fix: another name in the placeholders of a text.
func (c *collector) point(f *Finding, v *Value, from, to string) {
	if v.tmpl == nil { // an output of the document
		c.replace(f, v, strings.Replace(v.text, from, to, 1))
		return
	}
	var b strings.Builder
	for _, seg := range v.tmpl.segs {
		if seg.name == from {
			seg.text = strings.Replace(seg.text, from, to, 1)
		}
		b.WriteString(seg.text)
	}
	c.replace(f, v, b.String())
}

// gives reports whether a step has an output, by its declaration or its action.
func (s *Step) gives(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base, _, _ = strings.Cut(base, "[")
	if s.spec == nil || s.spec.Internal {
		return true
	}
	for _, o := range s.Automation.Outputs {
		if o.Name == name || o.Name == base {
			return true
		}
	}
	for _, o := range s.spec.Outputs {
		if o.Name == base {
			return true
		}
	}
	return false
}

package document

import (
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Check returns what could be better: warnings and advice, those of Parse included, in the order of their places. A document that was parsed has
// no findings of severity Error.
func (d *Document) Check() Findings { return d.CheckWith(nil) }

// CheckOptions says how far to check. Nil and the zero value are useful.
type CheckOptions struct {
	Children Children // other documents, for steps that run them; nil: they are not looked at
}

// CheckWith is [Document.Check] across documents: with Children it also tells what a document that a step runs would refuse. Where
// documents cannot run each other at all (child-kind, child-cycle, child-depth) such a finding has severity Error.
func (d *Document) CheckWith(o *CheckOptions) Findings {
	c := &collector{file: d.File, root: d.Root, text0: d.Source, format: d.Format}
	c.list = append(c.list, d.notes...)
	c.declarations(d)
	if d.scripted() {
		c.scripts(d)
		c.flow(d)
	}
	c.safety(d)
	c.types(d)
	c.limits(d)
	if d.Kind == Automation {
		c.order(d)
		c.unused(d)
	}
	if o != nil && o.Children != nil {
		c.children(d, o.Children)
	}
	return c.sorted()
}

// scripts checks how parameters reach scripts.
func (c *collector) scripts(d *Document) {
	type seen struct {
		p  *Parameter
		at *Value
	}
	told := map[seen]bool{}
	uses, edits := d.uses(), map[*Parameter][]Edit{}
	for _, u := range uses {
		k := seen{u.p, u.at}
		switch {
		case told[k]:
			continue
		case u.p.EnvVar && u.shell != "":
			c.envUse(d, &u)
		case !u.safe():
			f := c.rawUse(d, &u)
			if _, made := edits[u.p]; !made && f.Fix != "" {
				edits[u.p] = c.envEdits(d, u.p, uses)
			}
			if f.Edits = edits[u.p]; f.Edits == nil {
				f.Fix = ""
			}
		default:
			continue
		}
		told[k] = true
	}
}

func (c *collector) rawUse(d *Document, u *use) *Finding {
	switch {
	case u.shell == "":
		return c.at(u.at, Warning, "raw-parameter", "parameter %s is pasted into a script that another document runs, so its value can be any command: give it an allowedPattern that stops metacharacters, or allowedValues", u.p.Name)
	case d.SchemaVersion != "2.2":
		return c.at(u.at, Warning, "raw-parameter", "parameter %s is pasted into a script, so its value can be any command: move the document to schema 2.2 and declare interpolationType ENV_VAR, or give it an allowedPattern that stops metacharacters", u.p.Name)
	}
	f := c.at(u.at, Warning, "raw-parameter", "parameter %s is pasted into a script, so its value can be any command: declare it with interpolationType ENV_VAR, and the placeholder becomes a reference to %s", u.p.Name, EnvName(u.p.Name))
	f.Fix = `"interpolationType": "ENV_VAR"`
	return f
}

// envUse looks at places where even a reference to a variable is not quite data, or never becomes the value.
func (c *collector) envUse(d *Document, u *use) {
	switch {
	case u.place == arithmetic:
		c.at(u.at, Warning, "env-arithmetic", "bash evaluates what %s holds inside $(( )): check that it is a number first", EnvName(u.p.Name))
	case u.again && u.place != single:
		c.at(u.at, Warning, "env-interpreted", "a second interpreter reads the value of parameter %s as code: pass $%s to it as an argument or let it read the variable itself", u.p.Name, EnvName(u.p.Name))
	case u.place == single && !u.again: // an inner shell expands it
		f := c.at(u.at, Warning, "env-literal", "inside single quotes the reference to %s stays text: use double quotes", EnvName(u.p.Name))
		f.Fix = `"{{ ` + u.p.Name + ` }}"`
		if c.text0 != nil && u.shell == "sh" {
			if e, ok := c.unquote(d, u); ok {
				f.Edits = []Edit{e}
			}
		}
	case u.place == otherProgram:
		c.at(u.at, Warning, "env-literal", "the script is not a shell's: read the environment variable %s in its own language instead of the placeholder", EnvName(u.p.Name))
	}
}

// flow checks preconditions and step control (P1 to P6).
func (c *collector) flow(d *Document) {
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.Precondition != nil {
			c.precondition(d, s)
		}
		if last := i == len(d.Steps)-1; !last {
			if f, _ := s.shared("finallyStep").truthy(); f {
				c.at(s.shared("finallyStep"), Warning, "finally-not-last", "finallyStep counts only on the last step: move step %s to the end", s.Name)
			}
		}
		for _, key := range []string{"onFailure", "onSuccess"} {
			v := s.shared(key)
			if t := v.Text(); t != "" && v.tmpl == nil && t != "exit" && !(t == "successAndExit" && key == "onFailure") {
				c.at(v, Warning, "flow-value", "%s %q means nothing in a %s document: exit%s", key, clip(t), d.Kind, map[bool]string{true: " or successAndExit"}[key == "onFailure"])
			}
		}
	}
}

func (c *collector) precondition(d *Document, s *Step) {
	v := s.Precondition
	if d.SchemaVersion != "2.2" {
		c.at(v, Warning, "precondition-schema", "schema %s has no preconditions: step %s always fails; use schema 2.2", d.SchemaVersion, s.Name)
		return
	}
	if v.Kind() != Map {
		c.at(v, Warning, "precondition", "a precondition is a map with StringEquals and two operands: step %s always fails", s.Name)
		return
	}
	for i := range v.fields {
		f := &v.fields[i]
		if f.Key != "StringEquals" {
			c.key(f, Warning, "precondition", "precondition operator %q is unknown, only StringEquals is: step %s always fails", clip(f.Key), s.Name)
			continue
		}
		if msg := operands(d, f.Value); msg != "" {
			c.at(f.Value, Warning, "precondition", "%s: step %s always fails", msg, s.Name)
		}
	}
}

// operands says what is wrong with the operands of StringEquals before anything is bound (P2, P3).
func operands(d *Document, v *Value) string {
	if v.Kind() != List || len(v.items) != 2 {
		return "StringEquals takes exactly two operands"
	}
	a, b := v.items[0], v.items[1]
	has := func(v *Value) (yes bool) {
		if v.Kind() == String {
			v.tmpl.each(func(n string) { _, ok := d.Parameter(n); yes = yes || ok })
		}
		return yes
	}
	platform := a.Text() == "platformType" || b.Text() == "platformType"
	switch {
	case a.Text() == b.Text():
		return "the operands of StringEquals are identical"
	case hasSSM(a.Text()) || hasSSM(b.Text()):
		return "operands cannot refer to Parameter Store"
	case platform && (has(a) || has(b)):
		return "the operand beside platformType cannot contain parameters"
	case !platform && !has(a) && !has(b):
		return "at least one operand of StringEquals must contain a parameter"
	}
	return ""
}

// declarations checks what the declarations of parameters promise.
func (c *collector) declarations(d *Document) {
	used := d.used()
	for i := range d.Parameters {
		p := &d.Parameters[i]
		if p.AllowedPattern != "" && p.matcher().err != nil {
			c.at(p.Source.Get("allowedPattern"), Warning, "pattern", "this allowedPattern cannot be read as a regular expression, so that no supplied value can be accepted: %s", clip(p.matcher().err.Error()))
		}
		c.defaultFits(p)
		if p.EnvVar && p.Type.base() != TypeString {
			c.at(p.Source.Get("interpolationType"), Warning, "env-type", "interpolationType ENV_VAR is for String parameters: parameter %s is a %s, its variable holds JSON", p.Name, p.Type)
		}
		if p.EnvVar && d.SchemaVersion != "2.2" {
			c.at(p.Source.Get("interpolationType"), Warning, "env-schema", "interpolationType needs schema 2.2: AWS pastes parameter %s in schema %s", p.Name, d.SchemaVersion)
		}
		if !used[p.Name] && !p.EnvVar {
			c.at(p.Source, Advice, "parameter-unused", "parameter %s is never used: remove it, or use it", p.Name)
		}
	}
	if !d.scripted() {
		return
	}
	told := map[string]bool{}
	d.eachString(func(v *Value) {
		v.tmpl.each(func(n string) {
			if _, ok := d.Parameter(n); !ok && nameOK(n) && !told[n] {
				told[n] = true
				f := c.at(v, Warning, "undefined", "{{ %s }} is not a parameter of the document and stays as it is: declare it, or check the name", clip(n))
				if best := closest(n, d.parameterNames()); best != "" {
					f.Message += "; did you mean " + clip(best) + "?"
					c.point(f, v, n, best)
				}
			}
		})
	})
}

// defaultFits is advice only: AWS does not check defaults, and owns many that miss their own pattern.
func (c *collector) defaultFits(p *Parameter) {
	v := p.Default
	if v.Kind() != String || strings.Contains(v.text, "{{") || p.Type.base() != TypeString {
		return
	}
	if len(p.AllowedValues) > 0 {
		for _, a := range p.AllowedValues {
			if a.is(v.text) {
				return
			}
		}
		c.at(v, Advice, "default-value", "the default of parameter %s is not one of its allowedValues", p.Name)
		return
	}
	if p.AllowedPattern == "" {
		return
	}
	if ok, err := c.matches(p.matcher(), v.text); err == nil && !ok {
		c.at(v, Advice, "default-pattern", "the default of parameter %s does not match its allowedPattern: nobody could supply it", p.Name)
	}
}

// used are the names of all placeholders.
func (d *Document) used() map[string]bool {
	out := map[string]bool{}
	d.eachString(func(v *Value) { v.tmpl.each(func(n string) { out[n] = true }) })
	return out
}

// eachString calls f for every string with placeholders that is interpolated.
func (d *Document) eachString(f func(v *Value)) {
	var walk func(v *Value)
	walk = func(v *Value) {
		if v.Kind() == String && v.tmpl != nil {
			f(v)
		}
		for _, it := range v.Items() {
			walk(it)
		}
		for i := range v.Fields() {
			walk(v.fields[i].Value)
		}
	}
	if !d.scripted() {
		for i := range d.Root.Fields() {
			switch f := &d.Root.fields[i]; f.Key {
			case "description", "parameters":
			default:
				walk(f.Value)
			}
		}
		return
	}
	for i := range d.Steps {
		walk(d.Steps[i].Inputs)
		walk(d.Steps[i].Settings)
		walk(d.Steps[i].Precondition)
	}
}

// refuseRaw is the host option RefuseRaw: a supplied value must not be pasted where it could be more than data.
func (c *collector) refuseRaw(b *Bound) {
	told := map[*Parameter]bool{}
	for _, u := range b.doc.uses() {
		if !b.supplied[u.p.Name] || told[u.p] || u.p.EnvVar && u.shell != "" || u.safe() {
			continue
		}
		told[u.p] = true
		f := c.at(u.at, Error, "raw-refused", "parameter %s would be pasted into a script, which this host refuses: declare it with interpolationType ENV_VAR, or give it allowedValues or an allowedPattern that stops metacharacters", u.p.Name)
		f.Fault = fault.InvalidParameters
	}
}

package document

import (
	"slices"
	"strings"
)

// Children knows the documents that steps run. It must answer the same for one [Document.CheckWith], which asks for a document as often as steps
// name it.
type Children interface {
	// Child returns a document by its name or ARN and its version as a step writes them ("" is the default version), nil when it does not know it.
	Child(name, version string) *Document
}

// deepest is how many documents can run each other, the first one included.
const deepest = 6

// call is a step that runs another document.
type call struct {
	name, version *Value
	params        *Value
	kind          Kind // what the other document must be
}

// calls returns the document that a step runs.
func (s *Step) calls() (call, bool) {
	switch s.Action {
	case "aws:executeAutomation":
		return call{s.given("DocumentName"), s.given("DocumentVersion"), s.given("RuntimeParameters"), Automation}, true
	case "aws:runCommand":
		return call{s.given("DocumentName"), s.given("DocumentVersion"), s.given("Parameters"), Command}, true
	case "aws:runDocument":
		if strings.EqualFold(s.given("documentType").Text(), "SSMDocument") {
			return call{s.given("documentPath"), s.given("documentVersion"), s.given("documentParameters"), Command}, true
		}
	}
	return call{}, false
}

// find looks the other document up; ok is false where its name is not known before the step runs.
func (k *call) find(in Children) (d *Document, ok bool) {
	if k.name.Kind() != String || k.name.tmpl != nil || k.version.Kind() == String && k.version.tmpl != nil {
		return nil, false
	}
	return in.Child(k.name.text, k.version.Text()), true
}

// children checks every step that runs another document against that document.
func (c *collector) children(d *Document, in Children) {
	types, fine := d.outputTypes(), map[string]int{}
	d.everyStep(func(s *Step) {
		k, ok := s.calls()
		if !ok {
			return
		}
		child, ok := k.find(in)
		switch {
		case !ok:
			return
		case child == nil:
			if !strings.HasPrefix(strings.ToUpper(k.name.text), "AW") && !strings.HasPrefix(strings.ToUpper(k.name.text), "AMAZON") {
				c.at(k.name, Warning, "child-unknown", "document %s is not known here: check the name, or check it together with this one", clip(k.name.text))
			}
			return
		case child.Kind != k.kind && !(k.kind == Command && child.scripted()):
			c.at(k.name, Error, "child-kind", "%s runs documents of type %s, %s is of type %s", s.Action, k.kind, clip(k.name.text), child.Kind)
			return
		}
		c.chain(k.name, child, in, []string{k.name.text}, fine)
		c.arguments(d, s, &k, child, types)
	})
}

// chain follows the documents that a child runs: it must come to an end. fine has the depth at which a document was found to do so.
func (c *collector) chain(at *Value, d *Document, in Children, trail []string, fine map[string]int) (bad bool) {
	last := trail[len(trail)-1]
	if depth, known := fine[last]; known && depth >= len(trail) {
		return false
	}
	defer func() {
		if !bad {
			fine[last] = len(trail)
		}
	}()
	if len(trail) >= deepest {
		c.at(at, Error, "child-depth", "documents run each other more than %d deep: %s", deepest-1, clipped(trail))
		return true
	}
	d.everyStep(func(s *Step) {
		k, ok := s.calls()
		if !ok || bad {
			return
		}
		child, ok := k.find(in)
		if !ok || child == nil {
			return
		}
		next := append(slices.Clone(trail), k.name.text)
		if slices.Contains(trail, k.name.text) {
			c.at(at, Error, "child-cycle", "documents run each other in a circle: %s", clipped(next))
			bad = true
			return
		}
		bad = c.chain(at, child, in, next, fine)
	})
	return bad
}

func clipped(names []string) string {
	out := make([]string, len(names))
	for i := range names {
		out[i] = clip(names[i])
	}
	return strings.Join(out, " → ")
}

// arguments checks what a step gives the document that it runs.
func (c *collector) arguments(d *Document, s *Step, k *call, child *Document, types map[string]ParameterType) {
	name := clip(k.name.text)
	if k.params != nil && k.params.Kind() != Map {
		return // a placeholder, or JSON in a text
	}
	for i := range k.params.Fields() {
		f := &k.params.fields[i]
		p, ok := child.Parameter(f.Key)
		if !ok {
			at := c.key(f, Warning, "child-parameter", "document %s has no parameter %s; it has %s", name, clip(f.Key), clip(child.declared()))
			if best := closest(f.Key, child.parameterNames()); best != "" {
				at.Message += "; did you mean " + clip(best) + "?"
				c.rename(at, k.params, f, best)
			}
			continue
		}
		c.argument(d, f, p, name, types)
	}
	swept := s.given("TargetParameterName")
	if swept.Kind() == String && swept.tmpl == nil {
		if _, ok := child.Parameter(swept.text); !ok {
			c.at(swept, Warning, "child-parameter", "document %s has no parameter %s; it has %s", name, clip(swept.text), clip(child.declared()))
		}
	}
	if s.given("TargetMaps") != nil {
		return
	}
	for i := range child.Parameters {
		p := &child.Parameters[i]
		if !p.Required() || k.params.Get(p.Name) != nil || swept.Text() == p.Name || p.Default.Kind() != Null {
			continue
		}
		at := k.params
		if at == nil {
			at = k.name
		}
		c.at(at, Warning, "child-parameter", "document %s needs parameter %s, which step %s does not give", name, p.Name, clip(s.Name))
	}
}

// argument checks one value: a text without placeholders by all that the declaration says, a placeholder that stands alone by its type.
func (c *collector) argument(d *Document, f *Field, p *Parameter, child string, types map[string]ParameterType) {
	v := f.Value
	if whole := v.tmpl; v.Kind() == String && whole != nil {
		from, known := types[whole.whole()]
		if q, ok := d.Parameter(whole.whole()); ok {
			from, known = q.Type, true
		}
		if known && !passes(from.base(), p.Type.base()) {
			c.at(v, Warning, "child-type", "{{ %s }} is a %s, parameter %s of document %s is a %s", clip(whole.whole()), from, p.Name, child, p.Type)
		}
		return
	}
	if v.Kind() == Null || dynamic(v) {
		return
	}
	list := transport(map[string]any{p.Name: v.Go()})[p.Name]
	trial := &collector{}
	if _, ok := trial.coerce(p, list); !ok || trial.failed() {
		why := ""
		if len(trial.list) > 0 {
			why = ": " + trial.list[0].Message
		}
		c.at(v, Warning, "child-value", "document %s does not take this for parameter %s%s", child, p.Name, why)
	}
}

// passes reports whether a value of one type can be handed on as another.
func passes(from, to ParameterType) bool {
	if from == to || from == TypeString || to == TypeString && from != TypeStringMap && from != TypeMapList {
		return true
	}
	return to == TypeStringList && from != TypeStringMap && from != TypeMapList
}

// dynamic reports whether a value has placeholders.
func dynamic(v *Value) bool {
	if v.Kind() == String && v.tmpl != nil {
		return true
	}
	return slices.ContainsFunc(v.Items(), dynamic) || slices.ContainsFunc(v.Fields(), func(f Field) bool { return dynamic(f.Value) })
}

// outputTypes are the types of the outputs of all steps, by step.Output.
func (d *Document) outputTypes() map[string]ParameterType {
	out := map[string]ParameterType{}
	d.everyStep(func(s *Step) {
		if s.spec != nil {
			for _, o := range s.spec.Outputs {
				out[s.Name+"."+o.Name] = o.Type
			}
		}
		if s.Automation != nil {
			for _, o := range s.Automation.Outputs {
				out[s.Name+"."+o.Name] = o.Type
			}
		}
	})
	for i := range d.Variables {
		out["variable:"+d.Variables[i].Name] = d.Variables[i].Type
	}
	return out
}

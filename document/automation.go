package document

import (
	"strings"
)

// AutomationStep is what a step of a runbook has besides (A1 to A3).
type AutomationStep struct {
	NextStep       string   // after success; "" is the next of the list
	OnFailure      string   // Abort, Continue or step:<name>
	OnCancel       string   // Abort or step:<name>
	End            bool     // isEnd
	Critical       bool     // isCritical: default true, false with onFailure Continue
	MaxAttempts    int64    // default 1
	TimeoutSeconds int64    // 0: the action's
	Outputs        []Output // declared
	Choices        []Choice // aws:branch, in order
	Otherwise      string   // aws:branch: Default
	Steps          []Step   // aws:loop
	Loop           string   // the loop that the step stands in; "" at the top
}

// Output is a declared output of a step.
type Output struct {
	Name     string
	Selector string // JSONPath
	Type     ParameterType
	Source   *Value
}

// Choice is one way out of an aws:branch.
type Choice struct {
	NextStep  string
	Condition Condition
	Source    *Value
}

// Condition is a test of aws:branch or of a loop (A12).
type Condition struct {
	Op       string // And, Or, Not, or an operator such as StringEquals
	Variable *Value // what is tested
	Operand  *Value // what it is compared with
	Parts    []Condition
}

// Variable is a variable of a runbook.
type Variable struct {
	Name        string
	Type        ParameterType
	Description string
	Default     *Value
	Source      *Value
}

// File is an attachment of a runbook, or an archive of a package.
type File struct {
	Name      string
	Checksums map[string]string // by algorithm, such as sha256
	Size      int64             // packages; 0 when unknown
	Source    *Value
}

// Operators are the comparisons of aws:branch (A12).
var operators = []string{"StringEquals", "EqualsIgnoreCase", "StartsWith", "EndsWith", "Contains", "NumericEquals", "NumericGreater", "NumericLesser",
	"NumericGreaterOrEquals", "NumericLesserOrEquals", "BooleanEquals"}

// runbook reads an Automation document (schema 0.3).
func (c *collector) runbook(d *Document) {
	var steps *Value
	for i := range d.Root.fields {
		f := &d.Root.fields[i]
		switch f.Key {
		case "schemaVersion", "$schema":
		case "description":
			d.Description = c.text(f)
		case "assumeRole":
			d.AssumeRole = c.text(f)
		case "parameters":
			c.parameters(d, f.Value)
		case "variables":
			c.variables(d, f.Value)
		case "outputs":
			c.documentOutputs(d, f)
		case "files":
			d.Files = c.files(f.Value)
		case "mainSteps":
			steps = f.Value
		default:
			c.unknownKey(d.Root, f, "top-key", "an Automation document", runbookKeys)
		}
	}
	if c.stepList(steps, d.Root) {
		d.Steps = c.runbookSteps(d, steps, "")
		c.uniqueSteps(d)
		c.graph(d)
	}
	c.references(d)
}

// stepList checks that mainSteps is a list with steps.
func (c *collector) stepList(steps, root *Value) bool {
	switch {
	case steps == nil:
		c.at(root, Error, "no-steps", "the document has no steps: add mainSteps with at least one")
	case steps.Kind() == List && len(steps.items) > 0:
		return true
	case steps.Kind() == List || steps.Kind() == Null:
		c.at(steps, Error, "no-steps", "mainSteps has no step: add at least one")
	default:
		c.at(steps, Error, "type", "mainSteps must be a list of steps, not a %s", steps.Kind())
	}
	return false
}

func (c *collector) variables(d *Document, v *Value) {
	if v.Kind() == Null {
		return
	}
	if v.Kind() != Map {
		c.at(v, Error, "type", "variables must be a map from names to declarations, not a %s", v.Kind())
		return
	}
	for i := range v.fields {
		f := &v.fields[i]
		va := Variable{Name: f.Key, Source: f.Value}
		if !nameOK(f.Key) {
			c.key(f, Error, "variable-name", "variable name %q: use letters, digits and _", clip(f.Key))
		}
		if f.Value.Kind() != Map {
			c.at(f.Value, Error, "type", "the declaration of variable %s must be a map, not a %s", clip(f.Key), f.Value.Kind())
			continue
		}
		for j := range f.Value.fields {
			e := &f.Value.fields[j]
			switch e.Key {
			case "type":
				if va.Type = ParameterType(c.text(e)); !va.Type.known("") {
					c.unknownType(e.Value, "parameter-type", "variable")
				}
			case "description":
				va.Description = c.text(e)
			case "default":
				va.Default = e.Value
			case "allowedValues", "allowedPattern", "minChars", "maxChars", "minItems", "maxItems":
			default:
				c.key(e, Error, "variable-key", "unknown key %q in the declaration of variable %s", clip(e.Key), clip(f.Key))
			}
		}
		if f.Value.Get("type") == nil {
			c.key(f, Error, "parameter-type", "variable %s has no type: add one", clip(f.Key))
		}
		d.Variables = append(d.Variables, va)
	}
}

func (c *collector) documentOutputs(d *Document, f *Field) {
	switch f.Value.Kind() {
	case Null:
		return
	case List:
	default:
		c.at(f.Value, Error, "type", "outputs must be a list of step.Output, not a %s", f.Value.Kind())
		return
	}
	for _, it := range f.Value.items {
		if it.Kind() != String || !strings.Contains(it.text, ".") {
			c.at(it, Error, "output", "an output of the document is written as step.Output")
			continue
		}
		d.Outputs = append(d.Outputs, it)
	}
}

func (c *collector) files(v *Value) (out []File) {
	if v.Kind() == Null {
		return nil
	}
	if v.Kind() != Map {
		c.at(v, Error, "type", "files must be a map from names to checksums, not a %s", v.Kind())
		return nil
	}
	for i := range v.fields {
		f := &v.fields[i]
		file := File{Name: f.Key, Source: f.Value, Checksums: map[string]string{}}
		sums := f.Value.Get("checksums")
		for j := range sums.Fields() {
			file.Checksums[sums.fields[j].Key] = sums.fields[j].Value.Text()
		}
		file.Size, _ = f.Value.Get("size").integer()
		if len(file.Checksums) == 0 {
			c.key(f, Warning, "file-checksum", "file %s has no checksum: add checksums with its sha256", clip(f.Key))
		}
		out = append(out, file)
	}
	return out
}

// runbookSteps reads a list of steps: mainSteps, or those of a loop.
func (c *collector) runbookSteps(d *Document, list *Value, loop string) []Step {
	out := make([]Step, 0, len(list.items))
	for i, it := range list.items {
		if it.Kind() != Map {
			c.at(it, Error, "type", "a step must be a map with name, action and inputs, not a %s", it.Kind())
			continue
		}
		out = append(out, c.runbookStep(d, it, i, loop))
	}
	return out
}

func (c *collector) runbookStep(d *Document, v *Value, index int, loop string) Step {
	a := &AutomationStep{OnFailure: "Abort", Critical: true, MaxAttempts: 1, Loop: loop}
	s := Step{Index: index, Source: v, Automation: a}
	for i := range v.fields {
		f := &v.fields[i]
		switch f.Key {
		case "name":
			s.Name = c.text(f)
		case "action":
			s.Action = c.text(f)
		case "description":
			s.Description = c.text(f)
		case "inputs":
			s.Inputs = f.Value
		case "nextStep":
			a.NextStep = c.text(f)
		case "onFailure":
			if a.OnFailure = c.jump(f); a.OnFailure == "" {
				a.OnFailure = "Abort"
			}
		case "onCancel":
			a.OnCancel = c.jump(f)
		case "isEnd":
			a.End = c.boolean(f, false)
		case "isCritical":
			a.Critical = c.boolean(f, true)
		case "maxAttempts":
			a.MaxAttempts = c.whole(f, 1)
		case "timeoutSeconds":
			a.TimeoutSeconds = c.whole(f, 1)
		case "outputs":
			a.Outputs = c.stepOutputs(f)
		default:
			c.unknownKey(v, f, "step-key", "a step of a runbook", runbookStep)
		}
	}
	if v.Get("isCritical") == nil && a.OnFailure == "Continue" {
		a.Critical = false
	}
	if s.Name == "" {
		c.at(v, Error, "step-name", "the step has no name: add one of letters, digits and _")
	} else if !stepName(s.Name) {
		c.at(v.Get("name"), Error, "step-name", "step name %q: use letters, digits and _", clip(s.Name))
	}
	if s.Action == "" {
		c.at(v, Error, "step-action", "step %q has no action: add one, such as aws:executeAwsApi", clip(s.Name))
	} else {
		c.action(d, &s, v.Get("action"))
	}
	c.runbookInputs(d, &s)
	return s
}

// jump reads Abort, Continue or step:<name>.
func (c *collector) jump(f *Field) string {
	text := c.text(f)
	name, ok := strings.CutPrefix(text, "step:")
	switch {
	case ok && name != "":
		return "step:" + strings.TrimSpace(name)
	case text == "" || strings.EqualFold(text, "Abort"):
		return map[bool]string{true: "Abort"}[text != ""]
	case strings.EqualFold(text, "Continue") && f.Key == "onFailure":
		return "Continue"
	}
	want := "Abort, Continue or step:<name>"
	if f.Key == "onCancel" {
		want = "Abort or step:<name>"
	}
	c.at(f.Value, Error, "flow-value", "%s %q: it is %s", f.Key, clip(text), want)
	return ""
}

func (c *collector) boolean(f *Field, otherwise bool) bool {
	if f.Value.Kind() == Null {
		return otherwise
	}
	b, ok := f.Value.truthy()
	if !ok {
		c.at(f.Value, Error, "type", "%s must be true or false", f.Key)
	}
	return b
}

func (c *collector) whole(f *Field, least int64) int64 {
	if f.Value.Kind() == Null || f.Value.tmpl != nil {
		return 0
	}
	n, ok := f.Value.integer()
	if !ok || n < least {
		c.at(f.Value, Error, "number", "%s must be a whole number of at least %d", f.Key, least)
		return 0
	}
	return n
}

func (c *collector) stepOutputs(f *Field) (out []Output) {
	switch f.Value.Kind() {
	case Null:
		return nil
	case List:
	default:
		c.at(f.Value, Error, "type", "outputs of a step must be a list of maps with Name, Selector and Type, not a %s", f.Value.Kind())
		return nil
	}
	seen := make(map[string]*Value, len(f.Value.items))
	for _, it := range f.Value.items {
		if it.Kind() != Map {
			c.at(it, Error, "type", "an output of a step must be a map with Name, Selector and Type, not a %s", it.Kind())
			continue
		}
		o := Output{Source: it, Type: TypeString}
		for j := range it.fields {
			e := &it.fields[j]
			switch e.Key {
			case "Name":
				o.Name = c.text(e)
			case "Selector":
				o.Selector = c.text(e)
			case "Type":
				if o.Type = ParameterType(c.text(e)); !o.Type.known("") {
					c.unknownType(e.Value, "output-type", "output")
				}
			default:
				c.unknownKey(it, e, "output-key", "an output, which has Name, Selector and Type", outputKeys)
			}
		}
		if o.Name == "" {
			c.at(it, Error, "output-name", "the output has no Name")
		}
		if o.Selector == "" {
			c.at(it, Error, "output-selector", "output %s has no Selector", clip(o.Name))
		}
		if first, ok := seen[o.Name]; ok {
			line, _ := first.Place()
			c.at(it, Error, "output-twice", "output %s is declared twice, first at line %d", clip(o.Name), line)
		} else {
			seen[o.Name] = it
		}
		out = append(out, o)
	}
	return out
}

// runbookInputs checks the inputs of a step against the action table.
func (c *collector) runbookInputs(d *Document, s *Step) {
	switch s.Inputs.Kind() {
	case Map:
	case Null:
		s.Inputs = nil
	default:
		c.at(s.Inputs, Error, "type", "the inputs of step %q must be a map, not a %s", clip(s.Name), s.Inputs.Kind())
		s.Inputs = nil
		return
	}
	for i := range s.Inputs.Fields() {
		f := &s.Inputs.fields[i]
		name := f.Key
		if in := s.spec.Input(name); in != nil {
			name = in.Name
			c.inputType(s, in, f)
			c.inputChoice(s, in, f)
		} else if s.spec != nil && !s.spec.Open {
			c.unknownInput(s, f)
		}
		s.inputs = append(s.inputs, input{name, f.Value})
	}
	c.required(s)
	switch s.Action {
	case "aws:branch":
		c.branch(s)
	case "aws:loop":
		c.loop(d, s)
	case "aws:approve":
		if s.given("Approvers") == nil && s.given("EnhancedApprovals") == nil {
			c.at(s.Source, Error, "input-missing", "step %q needs input Approvers of aws:approve", clip(s.Name))
		}
	case "aws:sleep":
		if s.given("Duration") == nil && s.given("Timestamp") == nil {
			c.at(s.Source, Error, "input-missing", "step %q needs input Duration or Timestamp of aws:sleep", clip(s.Name))
		}
	}
}

// everyStep calls f for every step of a runbook, those of loops after their loop.
func (d *Document) everyStep(f func(s *Step)) {
	for i := range d.Steps {
		f(&d.Steps[i])
		if a := d.Steps[i].Automation; a != nil {
			for j := range a.Steps {
				f(&a.Steps[j])
			}
		}
	}
}

// uniqueSteps checks that no two steps have one name, loops included.
func (c *collector) uniqueSteps(d *Document) {
	seen := map[string]*Step{}
	d.everyStep(func(s *Step) {
		if s.Name == "" {
			return
		}
		if first := seen[s.Name]; first != nil {
			line, _ := first.Source.Place()
			c.at(s.Source.Get("name"), Error, "step-twice", "step name %q is used twice, first at line %d: rename one", clip(s.Name), line)
			return
		}
		seen[s.Name] = s
	})
}

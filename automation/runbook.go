package automation

import (
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// Runbook is an Automation document made ready to be stepped: placeholders found, selectors and conditions compiled, jumps looked up. It is immutable and
// safe for concurrent use, and shared by all executions of the document.
type Runbook struct {
	doc    *document.Document
	steps  []step // the top ones in order, those of a loop behind their loop
	byName map[string]int
	top    []int
	role   node
}

// step is a step made ready.
type step struct {
	document.Step
	a       *document.AutomationStep
	at      int
	in      []field
	outputs []output
	choices []choice
	until   *test // aws:loop: LoopCondition
	body    []int // aws:loop: its steps
	loop    int   // the loop it stands in, -1 at the top
	next    int   // the next of its list, -1 at its end
	payload bool  // somebody refers to its OutputPayload
	prop    *Selector
	propErr error

	timeout, attempts node // where a parameter says how much
}

type field struct {
	name string // as the action table writes it
	node node
}

type output struct {
	name string
	typ  document.ParameterType
	sel  *Selector
	err  error
}

type choice struct {
	next string
	test test
}

// test is a condition of aws:branch or of a loop.
type test struct {
	op      string
	subject node
	operand node
	parts   []test
}

// NewRunbook makes a document ready. It refuses, with InvalidDocumentContent or InvalidDocumentType, what is no Automation document or has errors; a
// selector that cannot be read fails the step that has it, not the runbook, as on AWS.
func NewRunbook(d *document.Document) (*Runbook, error) {
	const op = "automation.NewRunbook"
	if d == nil {
		return nil, fault.New(op, fault.InvalidDocument, "there is no document")
	}
	if d.Kind != document.Automation {
		return nil, fault.New(op, fault.InvalidDocumentType, "a %s document cannot run as an automation: give one of schema 0.3", d.Kind)
	}
	if len(d.Steps) == 0 {
		return nil, fault.New(op, fault.InvalidDocumentContent, "the runbook has no steps: add mainSteps")
	}
	rb := &Runbook{doc: d, byName: map[string]int{}}
	if role := d.Root.Get("assumeRole"); role != nil {
		rb.role = compile(role)
	}
	for i := range d.Steps {
		at := rb.add(&d.Steps[i], -1)
		rb.top = append(rb.top, at)
		if i > 0 {
			rb.steps[rb.top[i-1]].next = at
		}
	}
	if len(rb.byName) != len(rb.steps) {
		return nil, fault.New(op, fault.InvalidDocumentContent, "two steps of the runbook have one name: rename one")
	}
	for i := range rb.steps {
		for _, name := range rb.successors(&rb.steps[i]) {
			to, ok := rb.byName[name]
			if !ok || rb.steps[to].loop >= 0 && rb.steps[to].loop != rb.steps[i].loop {
				return nil, fault.New(op, fault.InvalidDocumentContent, "step %s leads to a step %s, which does not exist or stands in another loop", clip(rb.steps[i].Name), fault.Clean(clip(name)))
			}
		}
	}
	for i := range rb.steps {
		bad := ""
		rb.steps[i].refs(func(ref string) {
			if strings.HasPrefix(ref, "ssm:") {
				bad = ref
			}
		})
		if bad != "" {
			return nil, fault.New(op, fault.InvalidDocumentContent, "step %s refers to {{ %s }}: let a parameter do that, and refer to the parameter", clip(rb.steps[i].Name), fault.Clean(clip(bad)))
		}
	}
	rb.uses()
	return rb, nil
}

// ParseRunbook reads a text and makes it ready.
func ParseRunbook(src []byte, o *document.Options) (*Runbook, error) {
	d, err := document.Parse(src, o)
	if err != nil {
		return nil, fault.Wrap("automation.ParseRunbook", err)
	}
	return NewRunbook(d)
}

// Document returns the document.
func (rb *Runbook) Document() *document.Document { return rb.doc }

func (rb *Runbook) add(s *document.Step, loop int) int {
	at := len(rb.steps)
	st := step{Step: *s, a: s.Automation, at: at, loop: loop, next: -1}
	for _, f := range s.Inputs.Fields() {
		name := f.Key
		if in := s.Spec().Input(name); in != nil {
			name = in.Name
		}
		if s.Action == "aws:loop" && (name == "Steps" || name == "LoopCondition") || s.Action == "aws:branch" && name == "Choices" {
			if name == "LoopCondition" {
				t := newTest(f.Value)
				st.until = &t
			}
			continue
		}
		st.in = append(st.in, field{name, compile(f.Value)})
	}
	for _, o := range s.Automation.Outputs {
		sel, err := NewSelector(o.Selector)
		st.outputs = append(st.outputs, output{o.Name, o.Type, sel, err})
	}
	for _, c := range s.Automation.Choices {
		st.choices = append(st.choices, choice{c.NextStep, newTest(c.Source)})
	}
	st.timeout, st.attempts = compile(s.Source.Get("timeoutSeconds")), compile(s.Source.Get("maxAttempts"))
	if p := s.Input("PropertySelector"); p != nil {
		st.prop, st.propErr = NewSelector(p.Text())
	}
	rb.byName[s.Name] = at
	rb.steps = append(rb.steps, st)
	last := -1
	for i := range s.Automation.Steps {
		child := rb.add(&s.Automation.Steps[i], at)
		rb.steps[at].body = append(rb.steps[at].body, child)
		if last >= 0 {
			rb.steps[last].next = child
		}
		last = child
	}
	return at
}

// newTest reads a condition of a document that was checked.
func newTest(v *document.Value) test {
	t := test{subject: compile(v.Get("Variable"))}
	for _, f := range v.Fields() {
		switch f.Key {
		case "NextStep", "Variable":
			continue
		case "And", "Or":
			for _, it := range f.Value.Items() {
				t.parts = append(t.parts, newTest(it))
			}
		case "Not":
			t.parts = append(t.parts, newTest(f.Value))
		default:
			t.operand = compile(f.Value)
		}
		t.op = f.Key
	}
	return t
}

// refs calls f for every placeholder of a condition.
func (t *test) refs(f func(ref string)) {
	t.subject.refs(f)
	t.operand.refs(f)
	for i := range t.parts {
		t.parts[i].refs(f)
	}
}

// uses marks the steps whose whole answer somebody refers to: only theirs is kept.
func (rb *Runbook) uses() {
	mark := func(ref string) {
		head, rest, _ := strings.Cut(ref, ".")
		if name, _, _ := strings.Cut(rest, "."); name == "OutputPayload" {
			if i, ok := rb.byName[head]; ok {
				rb.steps[i].payload = true
			}
		}
	}
	for i := range rb.steps {
		rb.steps[i].refs(mark)
	}
	for _, o := range rb.doc.Outputs {
		mark(strings.TrimSpace(o.Text()))
	}
}

// refs calls f for every placeholder of a step.
func (s *step) refs(f func(ref string)) {
	for j := range s.in {
		s.in[j].node.refs(f)
	}
	for j := range s.choices {
		s.choices[j].test.refs(f)
	}
	if s.until != nil {
		s.until.refs(f)
	}
}

// successors are the steps that a step names, repeats included.
func (rb *Runbook) successors(s *step) (out []string) {
	if s.a.NextStep != "" {
		out = append(out, s.a.NextStep)
	}
	for _, c := range s.choices {
		out = append(out, c.next)
	}
	if s.a.Otherwise != "" {
		out = append(out, s.a.Otherwise)
	}
	for _, jump := range []string{s.a.OnFailure, s.a.OnCancel} {
		if name, ok := strings.CutPrefix(jump, "step:"); ok {
			out = append(out, name)
		}
	}
	return out
}

// validNext are the steps that may come right after s when it succeeds (shape StepExecution.ValidNextSteps).
func (rb *Runbook) validNext(s *step) (out []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, c := range s.choices {
		add(c.next)
	}
	switch {
	case s.Action == "aws:branch" && s.a.Otherwise != "":
		add(s.a.Otherwise)
	case s.a.End:
	case s.a.NextStep != "":
		add(s.a.NextStep)
	case s.next >= 0:
		add(rb.steps[s.next].Name)
	}
	return out
}

// input returns an input by name, nil when the step has none of it.
func (s *step) input(name string) *node {
	for i := range s.in {
		if strings.EqualFold(s.in[i].name, name) {
			return &s.in[i].node
		}
	}
	return nil
}

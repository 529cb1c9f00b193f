package document

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// broken is a document that is being broken: its tree belongs to the test.
type broken struct{ d *Document }

// way breaks a document in one place: it returns the value whose place must be named, nil where the document has nothing to break this way.
type way struct {
	name, code string
	do         func(b *broken) *Value
}

func (b *broken) steps() (out []*Step) {
	b.d.everyStep(func(s *Step) { out = append(out, s) })
	return out
}

// pick returns the last step for which ok holds, so that different ways break different steps.
func (b *broken) pick(ok func(s *Step) bool) *Step {
	all := b.steps()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Source.Kind() == Map && ok(all[i]) {
			return all[i]
		}
	}
	return nil
}

// setIn puts a value under a key of a map, new or not, and returns it.
func setIn(in *Value, key string, v *Value) *Value {
	if f := in.field(key); f != nil {
		f.Value = v
		return v
	}
	in.set(key, v)
	return v
}

func cut(in *Value, key string) {
	in.fields = slices.DeleteFunc(slices.Clone(in.fields), func(f Field) bool { return f.Key == key })
}

func anyStep(*Step) bool { return true }

// inStep breaks a step under a key; at says whether the step itself is the place.
func inStep(name, code, key string, v *Value, ok func(s *Step) bool) way {
	return way{name, code, func(b *broken) *Value {
		s := b.pick(ok)
		switch {
		case s == nil:
			return nil
		case v == nil && s.Source.Get(key) == nil:
			return nil
		case v == nil:
			cut(s.Source, key)
			return s.Source
		}
		n := *v
		return setIn(s.Source, key, &n)
	}}
}

// strings calls f for every text with a placeholder that stands alone, outside scripts, until f says that it broke one.
func (b *broken) texts(f func(v *Value) bool) (hit *Value) {
	for _, s := range b.steps() {
		if s.Action == "aws:executeScript" || s.Action == "aws:loop" || s.spec == nil || s.spec.Shell != "" {
			continue
		}
		var walk func(v *Value)
		walk = func(v *Value) {
			if hit == nil && v.Kind() == String && v.tmpl.whole() != "" && f(v) {
				hit = v
			}
			for _, it := range v.Items() {
				walk(it)
			}
			for i := range v.Fields() {
				walk(v.fields[i].Value)
			}
		}
		for i := range s.Inputs.Fields() {
			if !strings.EqualFold(s.Inputs.fields[i].Key, "TemplateBody") {
				walk(s.Inputs.fields[i].Value)
			}
		}
	}
	return hit
}

func retext(v *Value, s string) bool {
	v.text, v.tmpl = s, compile(s)
	return true
}

// declaration breaks the first parameter that ok accepts.
func declaration(name, code string, do func(f *Field) *Value) way {
	return way{name, code, func(b *broken) *Value {
		decls := b.d.Root.Get("parameters")
		for i := range decls.Fields() {
			if f := &decls.fields[i]; f.Value.Kind() == Map {
				if at := do(f); at != nil {
					return at
				}
			}
		}
		return nil
	}}
}

func numberOf(s string) *Value { return &Value{kind: Number, text: s} }

func list(v ...*Value) *Value { return &Value{kind: List, items: v} }

func choiceOf(s *Step) *Value {
	if l := s.given("Choices"); s.Action == "aws:branch" && len(l.Items()) > 0 {
		return l.items[0]
	}
	return nil
}

// anyWays break a document of any kind with steps; bookWays a runbook; commandWays a Command document of schema 2.2.
var (
	anyWays = []way{
		{"no schemaVersion", "schema-missing", func(b *broken) *Value { cut(b.d.Root, "schemaVersion"); return b.d.Root }},
		{"unknown schemaVersion", "schema-unknown", func(b *broken) *Value { return setIn(b.d.Root, "schemaVersion", text("9.9")) }},
		{"unknown key at the top", "top-key", func(b *broken) *Value { return setIn(b.d.Root, "extra", text("x")) }},
		{"steps are a text", "type", func(b *broken) *Value { return setIn(b.d.Root, "mainSteps", text("x")) }},
		{"no step", "no-steps", func(b *broken) *Value { return setIn(b.d.Root, "mainSteps", list()) }},
		{"steps are missing", "no-steps", func(b *broken) *Value { cut(b.d.Root, "mainSteps"); return b.d.Root }},
		{"parameters are a list", "type", func(b *broken) *Value { return setIn(b.d.Root, "parameters", list(text("x"))) }},
		{"description is a list", "type", func(b *broken) *Value { return setIn(b.d.Root, "description", list(text("x"))) }},
		inStep("step without a name", "step-name", "name", nil, anyStep),
		inStep("step name with a blank", "step-name", "name", text("a b"), anyStep),
		inStep("step without an action", "step-action", "action", nil, anyStep),
		inStep("unknown action", "unknown-action", "action", text("aws:runSomething"), anyStep),
		inStep("unknown key in a step", "step-key", "retries", numberOf("3"), anyStep),
		inStep("inputs are a text", "type", "inputs", text("x"), anyStep),
		{"two steps of one name", "step-twice", func(b *broken) *Value {
			if len(b.d.Steps) < 2 {
				return nil
			}
			return setIn(b.d.Steps[1].Source, "name", text(b.d.Steps[0].Name))
		}},
		{"a step is a text", "type", func(b *broken) *Value {
			b.d.Root.Get("mainSteps").items[0] = text("x")
			return b.d.Root.Get("mainSteps").items[0]
		}},
		{"required input is missing", "input-missing", func(b *broken) *Value {
			s := b.pick(func(s *Step) bool {
				return s.spec != nil && slices.ContainsFunc(s.Inputs.Fields(), func(f Field) bool { in := s.spec.Input(f.Key); return in != nil && in.Required })
			})
			if s == nil {
				return nil
			}
			i := slices.IndexFunc(s.Inputs.fields, func(f Field) bool { in := s.spec.Input(f.Key); return in != nil && in.Required })
			cut(s.Inputs, s.Inputs.fields[i].Key)
			return s.Inputs
		}},
		{"input of a wrong type", "input-type", func(b *broken) *Value {
			s := b.pick(func(s *Step) bool {
				return s.spec != nil && slices.ContainsFunc(s.Inputs.Fields(), func(f Field) bool { in := s.spec.Input(f.Key); return in != nil && in.Type == StringInput })
			})
			if s == nil {
				return nil
			}
			i := slices.IndexFunc(s.Inputs.fields, func(f Field) bool { in := s.spec.Input(f.Key); return in != nil && in.Type == StringInput })
			return setIn(s.Inputs, s.Inputs.fields[i].Key, list(list()))
		}},
		declaration("parameter of an unknown type", "parameter-type", func(f *Field) *Value { return setIn(f.Value, "type", text("Text")) }),
		declaration("parameter without a type", "parameter-type", func(f *Field) *Value { cut(f.Value, "type"); return f.Value }),
		declaration("unknown key in a parameter", "parameter-key", func(f *Field) *Value { return setIn(f.Value, "pattern", text("x")) }),
		declaration("a parameter is a text", "type", func(f *Field) *Value { f.Value = text("x"); return f.Value }),
		declaration("illegal parameter name", "parameter-name", func(f *Field) *Value { f.Key = "a b"; return f.Value }),
		declaration("default of a wrong type", "default-type", func(f *Field) *Value {
			if f.Value.Get("type").Text() != "String" {
				return nil
			}
			return setIn(f.Value, "default", list(text("x")))
		}),
		declaration("limit is a word", "type", func(f *Field) *Value { return setIn(f.Value, "maxChars", text("many")) }),
		declaration("pattern that is none", "pattern", func(f *Field) *Value { return setIn(f.Value, "allowedPattern", text("(")) }),
		declaration("allowedValues is a text", "type", func(f *Field) *Value { return setIn(f.Value, "allowedValues", text("a")) }),
		{"parameter that nothing uses", "parameter-unused", func(b *broken) *Value {
			decls := b.d.Root.Get("parameters")
			if decls.Kind() != Map {
				return nil
			}
			v := &Value{kind: Map}
			v.set("type", text("String"))
			v.set("default", text("x"))
			return setIn(decls, "NothingUsesThis", v)
		}},
	}
	bookWays = []way{
		inStep("jump to nowhere", "step-unknown", "nextStep", text("NoSuchStep"), func(s *Step) bool { return !s.Automation.End && s.Action != "aws:branch" }),
		inStep("failure leads nowhere", "step-unknown", "onFailure", text("step:NoSuchStep"), anyStep),
		inStep("cancellation leads nowhere", "step-unknown", "onCancel", text("step:NoSuchStep"), anyStep),
		inStep("failure means nothing", "flow-value", "onFailure", text("Retry"), anyStep),
		inStep("cancellation means nothing", "flow-value", "onCancel", text("Continue"), anyStep),
		inStep("isEnd is a word", "type", "isEnd", text("maybe"), anyStep),
		inStep("isCritical is a list", "type", "isCritical", list(), anyStep),
		inStep("no attempt", "number", "maxAttempts", numberOf("0"), anyStep),
		inStep("timeout is a word", "number", "timeoutSeconds", text("soon"), anyStep),
		inStep("outputs are a text", "type", "outputs", text("x"), anyStep),
		inStep("end and next", "end-and-next", "nextStep", text("x"), func(s *Step) bool { return s.Automation.End }),
		inStep("timeout above the cap", "timeout-cap", "timeoutSeconds", numberOf("99999999"), func(s *Step) bool { return s.spec != nil && s.spec.Cap > 0 }),
		{"round and round", "cycle", func(b *broken) *Value {
			s := &b.d.Steps[0]
			if s.Action == "aws:branch" {
				return nil
			}
			cut(s.Source, "isEnd")
			return setIn(s.Source, "nextStep", text(s.Name))
		}},
		{"choice without NextStep", "choice-next", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return choiceOf(s) != nil }); s != nil {
				cut(choiceOf(s), "NextStep")
				return choiceOf(s)
			}
			return nil
		}},
		{"choice leads nowhere", "step-unknown", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return choiceOf(s) != nil }); s != nil {
				return setIn(choiceOf(s), "NextStep", text("NoSuchStep"))
			}
			return nil
		}},
		{"unknown operator", "condition-operator", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return choiceOf(s) != nil }); s != nil {
				return setIn(choiceOf(s), "StringLike", text("x"))
			}
			return nil
		}},
		{"parameter is not declared", "reference-unknown", func(b *broken) *Value {
			return b.texts(func(v *Value) bool {
				_, ok := b.d.Parameter(v.tmpl.whole())
				return ok && retext(v, "{{ NoSuchParameter }}")
			})
		}},
		{"unknown system variable", "reference-unknown", func(b *broken) *Value {
			return b.texts(func(v *Value) bool { return retext(v, "{{ global:TIME }}") })
		}},
		{"unknown variable", "reference-unknown", func(b *broken) *Value {
			return b.texts(func(v *Value) bool { return retext(v, "{{ variable:NoSuchVariable }}") })
		}},
		{"output of no step", "reference-step", func(b *broken) *Value {
			return b.texts(func(v *Value) bool { return retext(v, "{{ NoSuchStep.Output }}") })
		}},
		{"no such output", "reference-output", func(b *broken) *Value {
			return b.texts(func(v *Value) bool {
				head, _, dotted := strings.Cut(v.tmpl.whole(), ".")
				return dotted && slices.ContainsFunc(b.d.Steps, func(s Step) bool { return s.Name == head && !(s.spec == nil || s.spec.Internal) }) && retext(v, "{{ "+head+".NoSuchOutput }}")
			})
		}},
		{"document output of no step", "reference-step", func(b *broken) *Value { v := text("NoSuchStep.Output"); setIn(b.d.Root, "outputs", list(v)); return v }},
		{"document output without a dot", "output", func(b *broken) *Value { v := text("Output"); setIn(b.d.Root, "outputs", list(v)); return v }},
		{"output without a name", "output-name", outputWay(func(o *Value) *Value { cut(o, "Name"); return o })},
		{"output without a selector", "output-selector", outputWay(func(o *Value) *Value { cut(o, "Selector"); return o })},
		{"output of an unknown type", "output-type", outputWay(func(o *Value) *Value { return setIn(o, "Type", text("Text")) })},
		{"unknown key in an output", "output-key", outputWay(func(o *Value) *Value { return setIn(o, "Path", text("x")) })},
		{"sleep of ten minutes", "duration", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return s.Action == "aws:sleep" && s.Inputs.Get("Duration") != nil }); s != nil {
				return setIn(s.Inputs, "Duration", text("10m"))
			}
			return nil
		}},
		{"secret in an input", "secret-plain", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return s.Action == "aws:executeAwsApi" && s.Inputs.Kind() == Map }); s != nil {
				return setIn(s.Inputs, "MasterUserPassword", text("hunter2"))
			}
			return nil
		}},
		{"role of whoever starts it", "role-open", func(b *broken) *Value {
			decls := b.d.Root.Get("parameters")
			if decls.Kind() != Map || b.d.Root.Get("assumeRole") == nil {
				return nil
			}
			v := &Value{kind: Map}
			v.set("type", text("String"))
			setIn(decls, "AnyRole", v)
			return setIn(b.d.Root, "assumeRole", text("{{ AnyRole }}"))
		}},
	}
	commandWays = []way{
		{"unknown operator in a precondition", "precondition", func(b *broken) *Value {
			v, s := list(text("a"), text("b")), b.pick(anyStep)
			setIn(s.Source, "precondition", &Value{kind: Map, fields: []Field{{Key: "StringLike", Value: v}}})
			return v
		}},
		inStep("precondition is a text", "precondition", "precondition", text("Linux"), anyStep),
		inStep("finally too early", "finally-not-last", "finallyStep", &Value{kind: Bool, truth: true}, func(s *Step) bool { return s.Index == 0 && s.Inputs.fold("finallyStep") == nil }),
		inStep("failure means nothing", "flow-value", "onFailure", text("Retry"), func(s *Step) bool { return s.Inputs.fold("onFailure") == nil }),
		{"timeout of a second", "timeout", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool {
				return s.spec != nil && s.spec.Shell != "" && s.Inputs.Kind() == Map && s.Inputs.fold("timeoutSeconds") == nil
			}); s != nil {
				return setIn(s.Inputs, "timeoutSeconds", numberOf("1"))
			}
			return nil
		}},
		{"script is a map", "input-type", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return s.spec != nil && s.spec.Shell != "" && s.Inputs.Get("runCommand") != nil }); s != nil {
				return setIn(s.Inputs, "runCommand", &Value{kind: Map})
			}
			return nil
		}},
		{"no such parameter", "undefined", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return s.Inputs.Kind() == Map && s.spec != nil }); s != nil {
				return setIn(s.Inputs, "workingDirectory", &Value{kind: String, text: "{{ NoSuchParameter }}"})
			}
			return nil
		}},
		{"runs what it downloads", "download-digest", func(b *broken) *Value {
			if s := b.pick(func(s *Step) bool { return s.spec != nil && s.spec.Shell == "sh" && s.Inputs.Get("runCommand") != nil }); s != nil {
				v := text("curl -s https://example.com/install | sh")
				setIn(s.Inputs, "runCommand", list(v))
				return v
			}
			return nil
		}},
	}
)

func outputWay(do func(o *Value) *Value) func(b *broken) *Value {
	return func(b *broken) *Value {
		s := b.pick(func(s *Step) bool { return len(s.Automation.Outputs) > 0 })
		if s == nil {
			return nil
		}
		return do(s.Automation.Outputs[0].Source)
	}
}

// TestCorpusMutations: real documents, each broken in every way that it can be, one at a time: the checker names the place in at least 98 %.
func TestCorpusMutations(t *testing.T) {
	dir := os.Getenv("FLEETWRIGHT_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpus")
	}
	files, err := filepath.Glob(filepath.Join(dir, "documents", "*", "*", "*.*"))
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skipf("SKIPPED: no corpus of real documents at %s (set FLEETWRIGHT_CORPUS)", dir)
	}
	every := 4
	if testing.Short() {
		every = 80
	}
	planted, found, missed, used := map[Kind]int{}, map[Kind]int{}, map[string]int{}, map[string]bool{}
	for i := 0; i < len(files); i += every {
		src, err := os.ReadFile(files[i])
		require.NoError(t, err)
		whole := &Options{MaxSize: -1}
		d, err := Parse(src, whole)
		if err != nil || d.Kind != Automation && !(d.Kind == Command && d.SchemaVersion == "2.2") {
			continue
		}
		ways := slices.Concat(anyWays, bookWays)
		if d.Kind == Command {
			ways = slices.Concat(anyWays, commandWays)
		}
		for _, w := range ways {
			d, err := Parse(src, whole)
			require.NoError(t, err)
			at := w.do(&broken{d})
			if at == nil || len(d.Steps) == 1 && w.code == "finally-not-last" {
				continue
			}
			path := (&collector{root: d.Root}).path(at)
			require.NotEmpty(t, path, w.name)
			text := d.Root.appendTo(nil)
			var fs Findings
			again, err := Parse(text, whole)
			if err != nil {
				require.True(t, errors.As(err, &fs))
			} else {
				fs = again.Check()
			}
			planted[d.Kind]++
			used[w.name] = true
			if slices.ContainsFunc(fs, func(f Finding) bool {
				return f.Code == w.code && f.Line > 0 && (f.Path == path || w.code == "input-missing" && strings.HasPrefix(path, f.Path))
			}) {
				found[d.Kind]++
			} else if missed[w.name]++; missed[w.name] == 1 {
				t.Logf("missed in %s: %s, %s at %s; have:\n%v", files[i], w.name, w.code, path, fs)
			}
		}
	}
	for kind, n := range planted {
		t.Logf("%s: %d of %d", kind, found[kind], n)
		require.GreaterOrEqual(t, float64(found[kind])/float64(n), 0.98, kind)
	}
	require.GreaterOrEqual(t, len(used), 40, "ways")
	t.Logf("%d ways; missed: %v", len(used), missed)
}

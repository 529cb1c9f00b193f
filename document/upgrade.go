package document

import (
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Upgrade returns the text of a Command document of schema 1.2 or 2.0 as one of schema 2.2, in the format of the source. Each of the properties of
// a plugin becomes a step with the inputs as they are; a step is named by its id where it has one, else by its action. What runs on a node is the
// same, but that 2.2 skips a step whose action the platform does not have, where the older schemas fail it (P5). A document of another kind or
// schema, or one with findings of severity Error, is refused with InvalidDocumentSchemaVersion.
func (d *Document) Upgrade() ([]byte, error) {
	if !d.scripted() || d.SchemaVersion != "1.2" && d.SchemaVersion != "2.0" || d.notes.Errors() != nil {
		return nil, fault.New("document.Upgrade", fault.InvalidDocumentSchemaVersion, "only a Command document of schema 1.2 or 2.0 can be upgraded to 2.2, and only when it has no errors; this one has schema %q", clip(d.SchemaVersion))
	}
	root := &Value{kind: Map}
	for i := range d.Root.fields {
		switch f := d.Root.fields[i]; f.Key {
		case "schemaVersion":
			root.set("schemaVersion", text("2.2"))
		case "runtimeConfig":
			if d.SchemaVersion == "1.2" {
				root.set("mainSteps", d.modernSteps())
			}
		case "$schema":
		default:
			if f.Value.Kind() != Null {
				root.set(f.Key, f.Value)
			}
		}
	}
	if d.Format == YAML {
		w := yamlWriter{}
		w.value(root, 0, true)
		return w.out, nil
	}
	return append(root.indented(nil, 0), '\n'), nil
}

func (d *Document) modernSteps() *Value {
	out := &Value{kind: List}
	taken := map[string]bool{}
	for i := range d.Steps {
		s := &d.Steps[i]
		name := s.Input("id").Text()
		if name == "" {
			name = strings.TrimPrefix(s.Action, "aws:")
		}
		name = modernName(name)
		for n, base := 2, name; taken[name]; n++ {
			name = base + "_" + itoa(n)
		}
		taken[name] = true
		inputs := &Value{kind: Map}
		for _, f := range s.Inputs.Fields() {
			if !strings.EqualFold(f.Key, "id") {
				inputs.set(f.Key, f.Value)
			}
		}
		step := &Value{kind: Map}
		step.set("action", text(s.Action))
		step.set("name", text(name))
		step.set("inputs", inputs)
		if s.Settings != nil {
			step.set("settings", s.Settings)
		}
		out.items = append(out.items, step)
	}
	return out
}

// modernName makes a name of letters, digits and _.
func modernName(s string) string {
	s = strings.TrimPrefix(s, "0.aws:") // what AWS's own documents call their only step
	name := strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
	return name[:min(len(name), 120)]
}

// set adds an entry to a map that is being made.
func (v *Value) set(key string, to *Value) { v.fields = append(v.fields, Field{Key: key, Value: to}) }

func text(s string) *Value { return &Value{kind: String, text: s} }

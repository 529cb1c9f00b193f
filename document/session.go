package document

import "strings"

// SessionModel is what a Session document has besides (SE1): properties for what runs, inputs for preferences.
type SessionModel struct {
	Type       string // Standard_Stream, InteractiveCommands, NonInteractiveCommands, Port
	Properties *Value
	Inputs     *Value
}

var sessionTypes = []string{"Standard_Stream", "InteractiveCommands", "NonInteractiveCommands", "Port"}

// session reads a Session document (schema 1.0).
func (c *collector) session(d *Document) {
	m := &SessionModel{}
	d.Session = m
	for i := range d.Root.fields {
		f := &d.Root.fields[i]
		switch f.Key {
		case "schemaVersion", "$schema":
		case "description":
			d.Description = c.text(f)
		case "parameters":
			c.parameters(d, f.Value)
		case "sessionType":
			m.Type = c.text(f)
			if !contains(sessionTypes, m.Type) {
				at := c.at(f.Value, Error, "session-type", "unknown sessionType %q: %s", clip(m.Type), strings.Join(sessionTypes, ", "))
				if best := closest(m.Type, sessionTypes); best != "" {
					c.replace(at, f.Value, best)
				}
			}
		case "properties":
			m.Properties = c.mapping(f)
		case "inputs":
			m.Inputs = c.mapping(f)
		default:
			c.unknownKey(d.Root, f, "top-key", "a Session document", sessionKeys)
		}
	}
	if d.Root.Get("sessionType") == nil {
		c.at(d.Root, Error, "session-type", "the document has no sessionType: add one of %s", strings.Join(sessionTypes, ", "))
	}
}

// mapping reads a map; nil when it is none.
func (c *collector) mapping(f *Field) *Value {
	switch f.Value.Kind() {
	case Map:
		return f.Value
	case Null:
	default:
		c.at(f.Value, Error, "type", "%s must be a map, not a %s", clip(f.Key), f.Value.Kind())
	}
	return nil
}

// Session returns the properties and inputs of a Session document, interpolated (I13).
func (b *Bound) Session() (properties, inputs map[string]any) {
	if b.doc.Session == nil {
		return nil, nil
	}
	properties, _ = b.fill(b.doc.Session.Properties).(map[string]any)
	inputs, _ = b.fill(b.doc.Session.Inputs).(map[string]any)
	return properties, inputs
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

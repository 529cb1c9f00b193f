package document

import (
	"slices"
	"strings"
)

// inputChoice checks an input that is one of a few words.
func (c *collector) inputChoice(s *Step, in *InputSpec, f *Field) {
	if in.Values == nil || f.Value.Kind() != String || f.Value.tmpl != nil {
		return
	}
	if !slices.ContainsFunc(in.Values, func(v string) bool { return strings.EqualFold(v, f.Value.text) }) {
		at := c.at(f.Value, Error, "input-value", "input %s of %s cannot be %q: %s", in.Name, s.Action, clip(f.Value.text), strings.Join(in.Values, ", "))
		if best := closest(f.Value.text, in.Values); best != "" {
			c.replace(at, f.Value, best)
		}
	}
}

// unknownInput warns of an input that the action does not have.
func (c *collector) unknownInput(s *Step, f *Field) {
	names := make([]string, len(s.spec.Inputs))
	for i := range names {
		names[i] = s.spec.Inputs[i].Name
	}
	best := closest(f.Key, names)
	if best == "" || s.Inputs.fold(best) != nil {
		c.key(f, Warning, "input-unknown", "%s has no input %s: it is ignored", s.Action, clip(f.Key))
		return
	}
	c.rename(c.key(f, Warning, "input-unknown", "%s has no input %s: it is ignored; did you mean %s?", s.Action, clip(f.Key), best), s.Inputs, f, best)
}

// unknownType reports a type that nothing can have.
func (c *collector) unknownType(v *Value, code, of string) {
	f := c.at(v, Error, code, "unknown %s type %q: String, StringList, Integer, Boolean, StringMap or MapList", of, clip(v.Text()))
	if best := closest(v.Text(), typeNames); best != "" {
		c.replace(f, v, best)
	}
}

// distance is the number of edits between two short words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, last+1, row[j]+1)
		}
	}
	return row[len(b)]
}

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
		c.at(f.Value, Error, "input-value", "input %s of %s cannot be %q: %s", in.Name, s.Action, clip(f.Value.text), strings.Join(in.Values, ", "))
	}
}

// near suggests an input of a similar name.
func near(key string, spec *ActionSpec) string {
	for i := range spec.Inputs {
		if distance(strings.ToLower(key), strings.ToLower(spec.Inputs[i].Name)) <= 2 {
			return "; did you mean " + spec.Inputs[i].Name + "?"
		}
	}
	return ""
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

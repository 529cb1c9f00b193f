package automation

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/document"
)

// updateVariable gives a variable a new value of its type, without conversion (A10).
func (r *run) updateVariable(i int) {
	rec := &r.x.Steps[i]
	name, _ := rec.Inputs["Name"].(string)
	name, ok := strings.CutPrefix(name, "variable:")
	var decl *document.Variable
	for j := range r.rb.doc.Variables {
		if r.rb.doc.Variables[j].Name == name {
			decl = &r.rb.doc.Variables[j]
		}
	}
	if !ok || decl == nil {
		r.failed(i, Failed, invalid("Name must be variable: and the name of a declared variable"), false)
		return
	}
	v := rec.Inputs["Value"]
	if n := r.step(rec).input("Value"); n != nil && decl.Type == document.TypeString {
		v = r.asText(n.whole(), v)
	}
	if err := assignable(v, decl.Type); err != nil {
		r.failed(i, Failed, invalid("Value does not fit variable %s: %s", clip(name), err), false)
		return
	}
	r.x.Variables[name] = clone(v)
	r.finish(i, Success, nil)
}

// asText makes a text of the two outputs that AWS's own runbooks keep in variables of type String, though they have another type: a whole answer is its JSON, the
// Output of a child its only item. Nothing else is converted.
func (r *run) asText(ref string, v any) any {
	base, out, _ := strings.Cut(ref, ".")
	i, ok := r.rb.byName[base]
	if !ok {
		return v
	}
	list, isList := v.([]any)
	switch {
	case out == "OutputPayload":
		return text(v)
	case out != "Output" || !isList || r.rb.steps[i].Action != "aws:executeAutomation":
		return v
	case len(list) == 0:
		return ""
	case len(list) == 1:
		return text(list[0])
	}
	return text(v)
}

// assignable checks a value for a variable of a type (A10).
func assignable(v any, t document.ParameterType) error {
	ok := false
	switch t {
	case document.TypeInteger:
		_, ok = v.(int64)
	case document.TypeBoolean:
		_, ok = v.(bool)
	case document.TypeStringList:
		var l []any
		if l, ok = v.([]any); ok {
			if len(l) > 50 {
				return fmt.Errorf("it has %d items, at most 50 are allowed", len(l))
			}
			for _, it := range l {
				if _, is := it.(string); !is {
					return fmt.Errorf("an item is a %s, not a String", kindOf(it))
				}
			}
		}
	case document.TypeStringMap:
		_, ok = v.(map[string]any)
	case document.TypeMapList:
		var l []any
		if l, ok = v.([]any); ok {
			if len(l) > 200 {
				return fmt.Errorf("it has %d maps, at most 200 are allowed", len(l))
			}
			for _, it := range l {
				if _, is := it.(map[string]any); !is {
					return fmt.Errorf("an item is a %s, not a map", kindOf(it))
				}
			}
		}
	default:
		var s string
		if s, ok = v.(string); ok && utf8.RuneCountInString(s) > 512 {
			return fmt.Errorf("it has more than 512 characters")
		}
	}
	if !ok {
		return fmt.Errorf("it is %s, not %s", withArticle(kindOf(v)), withArticle(string(t)))
	}
	return nil
}

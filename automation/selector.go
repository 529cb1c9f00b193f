package automation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ohler55/ojg/jp"
)

// Selector is a JSONPath as outputs and PropertySelector have it (A9): $, .key, ..key, [n] and ['key']; filters, wildcards and slices besides. It is
// compiled once and immutable. Where a path can select several values the result is a list, empty when there is none; else it is the value itself, and that
// it is missing is an error. Maps are walked in the order of their keys, so that equal values give equal lists.
type Selector struct {
	text string
	path jp.Expr
	many bool
}

// NewSelector compiles a selector. AWS takes some forms that are no JSONPath elsewhere: without the $ in front, a quoted key behind a dot, a dot before a
// bracket.
func NewSelector(s string) (*Selector, error) {
	expr, err := jp.ParseString(usual(s))
	if err != nil {
		return nil, fmt.Errorf("%q is no JSONPath", clip(s))
	}
	x := &Selector{text: s, path: expr}
	for i, f := range expr {
		switch f := f.(type) {
		case jp.Root, jp.At:
			if i > 0 {
				return nil, fmt.Errorf("%q is no JSONPath", clip(s))
			}
		case jp.Child, jp.Nth:
		case jp.Descent, jp.Wildcard, jp.Slice, *jp.Filter, jp.Union:
			x.many = true
			if _, descent := f.(jp.Descent); descent && i == len(expr)-1 {
				return nil, fmt.Errorf("%q: a key must follow the two dots", clip(s))
			}
		default:
			return nil, fmt.Errorf("%q has a part that a selector cannot have", clip(s))
		}
	}
	if len(expr) == 0 {
		return nil, errors.New("the selector is empty")
	}
	return x, nil
}

// usual rewrites AWS's forms: .'k' is ['k'], .[ is [, and a key with other characters than letters, digits and _ is quoted.
func usual(s string) string {
	s = strings.TrimSpace(s)
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case s[i] == '.' && i+1 < len(s) && s[i+1] == '[':
			i++
		case s[i] == '.' && i+1 < len(s) && (s[i+1] == '\'' || s[i+1] == '"'):
			end := strings.IndexByte(s[i+2:], s[i+1])
			if end < 0 {
				return s
			}
			b.WriteString("[" + s[i+1:i+2+end] + s[i+1:i+2] + "]")
			i += end + 3
		case s[i] == '[':
			end := bracket(s, i)
			b.WriteString(s[i:end])
			i = end
		case s[i] == '.' || s[i] == '$' || s[i] == '*' || s[i] == '@':
			b.WriteByte(s[i])
			i++
		default:
			j := i
			for j < len(s) && s[j] != '.' && s[j] != '[' {
				j++
			}
			key := s[i:j]
			if plainKey(key) {
				b.WriteString(key)
			} else if t := strings.TrimSuffix(b.String(), "."); !strings.HasSuffix(t, ".") && !strings.ContainsAny(key, "'()") {
				b.Reset()
				b.WriteString(t + "['" + key + "']")
			} else {
				b.WriteString(key)
			}
			i = j
		}
	}
	return b.String()
}

func plainKey(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// bracket returns the end of the bracket that opens at i, quotes and inner brackets considered.
func bracket(s string, i int) int {
	depth, quote := 0, byte(0)
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return i
}

// String returns the selector as it was written.
func (x *Selector) String() string { return x.text }

// Many reports whether the result is a list of all that was found.
func (x *Selector) Many() bool { return x.many }

// errMissing says that nothing is at the place.
var errMissing = errors.New("nothing is there")

// Select returns what the selector finds in v. The result shares its parts with v.
func (x *Selector) Select(v any) (any, error) {
	found := []any{v}
	path := x.path
	for i := 0; i < len(path); i++ {
		var next []any
		switch f := path[i].(type) {
		case jp.Root, jp.At:
			continue
		case jp.Child:
			for _, n := range found {
				if m, ok := n.(map[string]any); ok {
					if c, ok := m[string(f)]; ok {
						next = append(next, c)
					}
				}
			}
		case jp.Nth:
			for _, n := range found {
				if l, ok := n.([]any); ok {
					at := int(f)
					if at < 0 {
						at += len(l)
					}
					if at >= 0 && at < len(l) {
						next = append(next, l[at])
					}
				}
			}
		case jp.Wildcard:
			for _, n := range found {
				next = children(next, n)
			}
		case jp.Descent:
			for _, n := range found {
				next = descend(next, n)
			}
		default: // slices, filters and unions are of lists, whose order is their own
			for _, n := range found {
				next = append(next, jp.Expr{f}.Get(n)...)
			}
		}
		found = next
	}
	switch {
	case x.many:
		if found == nil {
			found = []any{}
		}
		return found, nil
	case len(found) == 0:
		return nil, errMissing
	}
	return found[0], nil
}

// Plant returns root with v put where the selector finds it, lists and maps made on the way: it answers the question what an API would have to say. Parts of root
// are changed. Where a selector finds several values v is planted once.
func (x *Selector) Plant(root, v any) any { return plant(root, x.path, v) }

func plant(n any, path jp.Expr, v any) any {
	for len(path) > 0 {
		switch path[0].(type) {
		case jp.Root, jp.At, jp.Descent:
			path = path[1:]
			continue
		}
		break
	}
	if len(path) == 0 {
		if m, ok := n.(map[string]any); ok { // others are below: both shall be found
			if w, ok := v.(map[string]any); ok {
				for k := range w {
					if _, there := m[k]; !there {
						m[k] = w[k]
					}
				}
				return m
			}
			if _, is := v.(string); is {
				return m
			}
		}
		return v
	}
	at := 0
	switch f := path[0].(type) {
	case jp.Child:
		m, ok := n.(map[string]any)
		if !ok {
			m = map[string]any{}
		}
		m[string(f)] = plant(m[string(f)], path[1:], v)
		return m
	case jp.Nth:
		at = max(int(f), 0)
	}
	l, ok := n.([]any)
	if !ok {
		l = []any{}
	}
	for len(l) <= at && at < 1000 {
		l = append(l, nil)
	}
	if at < len(l) {
		l[at] = plant(l[at], path[1:], v)
	}
	return l
}

// children appends the values right below n.
func children(out []any, n any) []any {
	switch n := n.(type) {
	case []any:
		return append(out, n...)
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(n)) {
			out = append(out, n[k])
		}
	}
	return out
}

// descend appends n and everything below it, each before what is below it.
func descend(out []any, n any) []any {
	out = append(out, n)
	switch n := n.(type) {
	case []any:
		for _, c := range n {
			out = descend(out, c)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(n)) {
			out = descend(out, n[k])
		}
	}
	return out
}

// clip shortens a text of a document for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}

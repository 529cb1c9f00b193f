package automation

import (
	"strings"

	"github.com/fleetwright/fleetwright/document"
)

// node is a value of a document, its placeholders found once.
type node struct {
	lit   any      // without placeholders
	segs  []seg    // a string with some
	list  []node   // a list with some
	keys  []string // a map with some
	vals  []node
	shape byte // 0 lit, s segs, l list, m map
}

// seg is text, or a placeholder.
type seg struct {
	text string // as it stands, braces included
	ref  string // the name inside the braces; "" for text
}

// compile reads a value. References gives what document takes for placeholders, so that both agree on what is text.
func compile(v *document.Value) node {
	switch v.Kind() {
	case document.String:
		if refs := v.References(); len(refs) > 0 {
			return node{shape: 's', segs: split(v.Text(), refs)}
		}
	case document.List:
		n := node{shape: 'l'}
		open := false
		for _, it := range v.Items() {
			c := compile(it)
			open = open || c.shape != 0
			n.list = append(n.list, c)
		}
		if open {
			return n
		}
	case document.Map:
		n := node{shape: 'm'}
		open := false
		for _, f := range v.Fields() {
			c := compile(f.Value)
			open = open || c.shape != 0
			n.keys, n.vals = append(n.keys, f.Key), append(n.vals, c)
		}
		if open {
			return n
		}
	}
	lit, _ := plain(v.Go())
	return node{lit: lit}
}

// split cuts a text at the placeholders that are known to be in it, in order.
func split(s string, refs []string) (out []seg) {
	for _, ref := range refs {
		start, end := find(s, ref)
		if start < 0 {
			break
		}
		if start > 0 {
			out = append(out, seg{text: s[:start]})
		}
		out = append(out, seg{text: s[start:end], ref: ref})
		s = s[end:]
	}
	if s != "" {
		out = append(out, seg{text: s})
	}
	return out
}

// find returns where {{ ref }} stands first.
func find(s, ref string) (start, end int) {
	for from := 0; ; {
		i := strings.Index(s[from:], ref)
		if i < 0 {
			return -1, -1
		}
		i += from
		head := strings.TrimRight(s[:i], " \t\r\n\f\v")
		tail := strings.TrimLeft(s[i+len(ref):], " \t\r\n\f\v")
		if strings.HasSuffix(head, "{{") && strings.HasPrefix(tail, "}}") {
			return len(head) - 2, len(s) - len(tail) + 2
		}
		from = i + 1
	}
}

// refs calls f for every placeholder.
func (n *node) refs(f func(ref string)) {
	for i := range n.segs {
		if n.segs[i].ref != "" {
			f(n.segs[i].ref)
		}
	}
	for i := range n.list {
		n.list[i].refs(f)
	}
	for i := range n.vals {
		n.vals[i].refs(f)
	}
}

// whole returns the name when the node is exactly one placeholder.
func (n *node) whole() string {
	if n.shape == 's' && len(n.segs) == 1 {
		return n.segs[0].ref
	}
	return ""
}

// lookup gives the value of a placeholder. An error ends the resolving; ok false leaves the placeholder as text.
type lookup func(ref string) (v any, ok bool, err error)

// resolve puts values in (A7): a string that is one placeholder takes the value with its type; inside longer text a value is its text, lists and maps as
// JSON. An item of a list that is one placeholder of a list is replaced by the items. Values are never looked through again (A8).
func (n *node) resolve(get lookup) (any, error) {
	switch n.shape {
	case 's':
		if ref := n.whole(); ref != "" {
			v, ok, err := get(ref)
			if err != nil || ok {
				return clone(v), err
			}
			return n.segs[0].text, nil
		}
		var b strings.Builder
		for i := range n.segs {
			if n.segs[i].ref == "" {
				b.WriteString(n.segs[i].text)
				continue
			}
			v, ok, err := get(n.segs[i].ref)
			switch {
			case err != nil:
				return nil, err
			case ok:
				b.WriteString(text(v))
			default:
				b.WriteString(n.segs[i].text)
			}
		}
		return b.String(), nil
	case 'l':
		out := make([]any, 0, len(n.list))
		for i := range n.list {
			v, err := n.list[i].resolve(get)
			if err != nil {
				return nil, err
			}
			if l, ok := v.([]any); ok && n.list[i].whole() != "" {
				out = append(out, l...)
				continue
			}
			out = append(out, v)
		}
		return out, nil
	case 'm':
		out := make(map[string]any, len(n.keys))
		for i, k := range n.keys {
			v, err := n.vals[i].resolve(get)
			if err != nil {
				return nil, err
			}
			out[k] = v
		}
		return out, nil
	}
	return clone(n.lit), nil
}

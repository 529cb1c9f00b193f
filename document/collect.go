package document

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// collector gathers findings while a document is read or checked.
type collector struct {
	file    string
	local   bool
	text0   []byte // the text, for fixes; nil when there are none to make
	format  Format
	source  *sourceMap
	root    *Value
	tagged  []*Value // values with a YAML tag
	slow    int      // matches that ran into the time limit
	list    Findings
	parents map[*Value]link // made with the first finding that needs a path
}

// link is the way from a value to its parent.
type link struct {
	up    *Value
	key   string
	index int // -1 under a key
}

func (c *collector) add(f Finding) {
	if !c.full() {
		f.File = c.file
		c.list = append(c.list, f)
	}
}

// full reports whether nothing more is noted.
func (c *collector) full() bool { return len(c.list) >= mostFindings }

// at adds a finding at a value.
func (c *collector) at(v *Value, sev Severity, code, format string, args ...any) *Finding {
	if c.full() {
		return &Finding{}
	}
	line, column := v.Place()
	f := Finding{Code: code, Severity: sev, Line: line, Column: column, Path: c.path(v), Message: fmt.Sprintf(format, args...)}
	c.add(f)
	return &c.list[len(c.list)-1]
}

// key adds a finding at the key of a map's entry.
func (c *collector) key(f *Field, sev Severity, code, format string, args ...any) *Finding {
	out := c.at(f.Value, sev, code, format, args...)
	out.Line, out.Column = f.Line, f.Column
	return out
}

func (c *collector) failed() bool {
	return slices.ContainsFunc(c.list, func(f Finding) bool { return f.Severity == Error })
}

// sorted returns the findings in the order of their places.
func (c *collector) sorted() Findings {
	slices.SortStableFunc(c.list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Severity, b.Severity))
	})
	return c.list
}

// path returns the JSON path of a value.
func (c *collector) path(v *Value) string {
	if v == nil || c.root == nil {
		return ""
	}
	if c.parents == nil {
		c.parents = map[*Value]link{}
		c.climb(c.root)
	}
	var parts []string
	for v != c.root {
		l, ok := c.parents[v]
		if !ok {
			return ""
		}
		if l.index >= 0 {
			parts = append(parts, "["+strconv.Itoa(l.index)+"]")
		} else if plainKey(l.key) {
			parts = append(parts, "."+l.key)
		} else {
			parts = append(parts, "["+strconv.Quote(clip(l.key))+"]")
		}
		v = l.up
	}
	slices.Reverse(parts)
	return "$" + strings.Join(parts, "")
}

func (c *collector) climb(v *Value) {
	for i, it := range v.Items() {
		if _, seen := c.parents[it]; !seen {
			c.parents[it] = link{up: v, index: i}
			c.climb(it)
		}
	}
	for i := range v.Fields() {
		f := &v.fields[i]
		if _, seen := c.parents[f.Value]; !seen {
			c.parents[f.Value] = link{up: v, key: f.Key, index: -1}
			c.climb(f.Value)
		}
	}
}

func plainKey(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_') {
			return false
		}
	}
	return s != ""
}

func itoa(n int) string { return strconv.Itoa(n) }

// some lists names for a message: at most ten.
func some(names []string) string {
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + " …"
	}
	return strings.Join(names, ", ")
}

package document

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Edit replaces the bytes from Start up to End of a text by Text; where Start is End it inserts.
type Edit struct {
	Start, End int
	Text       string
}

// Apply makes the edits of findings in the text they were found in, and returns the new text and how many findings it fixed. The edits of one
// finding are made together or not at all: a finding that would change what another one before it changes is left for the next time, except where
// both make the same edit, which is made once. Everything else of the text stays byte for byte, comments too.
func Apply(src []byte, fs Findings) (out []byte, fixed int) {
	var taken []Edit
	for i := range fs {
		if len(fs[i].Edits) == 0 || slices.ContainsFunc(fs[i].Edits, func(e Edit) bool {
			return e.Start < 0 || e.End < e.Start || e.End > len(src) ||
				slices.ContainsFunc(taken, func(o Edit) bool { return e != o && e.Start <= o.End && o.Start <= e.End })
		}) {
			continue
		}
		fixed++
		for _, e := range fs[i].Edits {
			if !slices.Contains(taken, e) {
				taken = append(taken, e)
			}
		}
	}
	slices.SortFunc(taken, func(a, b Edit) int { return a.Start - b.Start })
	at := 0
	for _, e := range taken {
		out = append(append(out, src[at:e.Start]...), e.Text...)
		at = e.End
	}
	return append(out, src[at:]...), fixed
}

// Fix reads a text, applies the fixes of the findings that want accepts (nil: all), and goes on with the result until nothing is left to fix. A fix
// after which the text had more errors than before is not made. It returns the new text and what was fixed, with the places at that time; a text
// without anything to fix comes back as it was.
func Fix(src []byte, o *Options, want func(Finding) bool) ([]byte, Findings) {
	look := func(src []byte) (fs Findings, errors int) {
		d, err := Parse(src, o)
		if err != nil {
			fs, _ = err.(Findings)
		} else {
			fs = d.Check()
		}
		errors = len(fs.Errors())
		if d == nil {
			errors += mostFindings // what cannot be read hides the rest
		}
		return fs, errors
	}
	var done Findings
	refused := map[string]bool{}
	for range 50 {
		fs, before := look(src)
		var todo Findings
		for _, f := range fs {
			if len(f.Edits) > 0 && !refused[f.String()] && (want == nil || want(f)) {
				todo = append(todo, f)
			}
		}
		if len(todo) == 0 {
			break
		}
		better := func(fs Findings) bool {
			next, n := Apply(src, fs)
			if n == 0 || bytes.Equal(next, src) {
				return false
			}
			if _, after := look(next); after > before {
				return false
			}
			src = next
			return true
		}
		all := todo[:0:0]
		for _, f := range todo { // those that go together
			if _, n := Apply(src, append(all, f)); n > len(all) {
				all = append(all, f)
			}
		}
		if better(all) {
			done = append(done, all...)
			continue
		}
		for _, f := range all { // one of them does harm
			if better(Findings{f}) {
				done = append(done, f)
				break
			}
			refused[f.String()] = true
		}
	}
	return src, done
}

// sourceMap finds values in the text.
type sourceMap struct {
	src    []byte
	format Format
	skip   int   // the byte order mark
	lines  []int // offsets where lines begin
	nodes  []int // offsets of keys and values, sorted
}

// where returns the map of the text that is read; nil when places in it cannot be trusted.
func (c *collector) where() *sourceMap {
	if c.source == nil {
		m := &sourceMap{src: c.text0, format: c.format}
		if bytes.HasPrefix(m.src, bom) {
			m.skip = len(bom)
		}
		m.lines = []int{m.skip}
		if c.format == YAML && otherBreaks(m.src) {
			m.lines = nil // places count lines that are not seen here
		}
		for i, b := range m.src {
			if b == '\n' && m.lines != nil {
				m.lines = append(m.lines, i+1)
			}
		}
		c.source = m
	}
	return c.source
}

// otherBreaks reports whether a text has line breaks of YAML besides line feeds.
func otherBreaks(src []byte) bool {
	for i, b := range src {
		if b == '\r' && (i+1 == len(src) || src[i+1] != '\n') {
			return true
		}
	}
	return bytes.Contains(src, []byte("\u0085")) || bytes.Contains(src, []byte("\u2028")) || bytes.Contains(src, []byte("\u2029"))
}

// offset returns the byte that a place means, -1 when it is not in the text.
func (m *sourceMap) offset(line, column int) int {
	if line < 1 || line > len(m.lines) || column < 1 {
		return -1
	}
	at := m.lines[line-1]
	for ; column > 1; column-- {
		if at >= len(m.src) || m.src[at] == '\n' {
			return -1
		}
		_, n := utf8.DecodeRune(m.src[at:])
		at += n
	}
	if at >= len(m.src) {
		return -1
	}
	return at
}

// span returns where a scalar with this text stands: its quotes are part of it. Plain text must stand as it is, on one line.
func (m *sourceMap) span(line, column int, text string) (start, end int, ok bool) {
	start = m.offset(line, column)
	if start < 0 {
		return 0, 0, false
	}
	switch q := m.src[start]; {
	case q == '"' || q == '\'' && m.format == YAML:
		for i := start + 1; i < len(m.src); i++ {
			switch {
			case m.src[i] == '\\' && q == '"':
				i++
			case m.src[i] == q && q == '\'' && i+1 < len(m.src) && m.src[i+1] == q:
				i++
			case m.src[i] == q:
				return start, i + 1, true
			}
		}
		return 0, 0, false
	}
	end = start + len(text)
	if text == "" || !bytes.HasPrefix(m.src[start:], []byte(text)) || end < len(m.src) && strings.IndexByte(" \t\r\n,:]}", m.src[end]) < 0 {
		return 0, 0, false
	}
	return start, end, true
}

// spell writes a text in place of the scalar that begins at start, in its manner.
func (m *sourceMap) spell(text string, start int) string {
	switch {
	case m.format == JSON:
		return string(appendString(nil, text))
	case m.src[start] == '\'' && printable(text, false):
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case m.src[start] != '"' && plainYAML(text) && !strings.ContainsAny(text, "[]{},"):
		return text
	}
	return quotedYAML(text)
}

// rest returns the offset up to which the value that begins at start can reach: the next key or value.
func (m *sourceMap) rest(root *Value, start int) int {
	if m.nodes == nil {
		var walk func(v *Value)
		walk = func(v *Value) {
			m.nodes = append(m.nodes, m.offset(v.Place()))
			for _, it := range v.Items() {
				walk(it)
			}
			for i := range v.Fields() {
				m.nodes = append(m.nodes, m.offset(v.fields[i].Line, v.fields[i].Column))
				walk(v.fields[i].Value)
			}
		}
		walk(root)
		slices.Sort(m.nodes)
	}
	i, _ := slices.BinarySearch(m.nodes, start+1)
	if i < len(m.nodes) {
		return m.nodes[i]
	}
	return len(m.src)
}

// replace makes a finding's fix: another text in place of a scalar.
func (c *collector) replace(f *Finding, v *Value, text string) {
	if c.text0 == nil || v == nil || v.tag != "" {
		return
	}
	m := c.where()
	if start, end, ok := m.span(int(v.line), int(v.column), v.Text()); ok {
		f.Fix, f.Edits = text, []Edit{{start, end, m.spell(text, start)}}
	}
}

// rename makes a finding's fix: another key, which the map must not have.
func (c *collector) rename(f *Finding, in *Value, field *Field, key string) {
	if c.text0 == nil || in.Get(key) != nil {
		return
	}
	m := c.where()
	if start, end, ok := m.span(field.Line, field.Column, field.Key); ok {
		f.Fix, f.Edits = key, []Edit{{start, end, m.spell(key, start)}}
	}
}

// remove makes a finding's fix: a map without an entry whose value is a scalar of one line. Where a comment stands behind it there is none.
func (c *collector) remove(f *Finding, in *Value, key string) {
	i := slices.IndexFunc(in.Fields(), func(f Field) bool { return f.Key == key })
	if c.text0 == nil || i < 0 || len(in.fields) < 2 {
		return
	}
	m, field := c.where(), &in.fields[i]
	start := m.offset(field.Line, field.Column)
	_, end, ok := m.span(int(field.Value.line), int(field.Value.column), field.Value.Text())
	open := m.offset(in.Place())
	if start < 0 || open < 0 || !ok {
		return
	}
	line := m.lines[field.Line-1]
	tail := end
	for tail < len(m.src) && (m.src[tail] == ' ' || m.src[tail] == '\t' || m.src[tail] == '\r') {
		tail++
	}
	own := strings.Trim(string(m.src[line:start]), " \t") == ""
	switch flow := m.src[open] == '{'; {
	case !flow && own && (tail == len(m.src) || m.src[tail] == '\n'):
		f.Edits = []Edit{{line, min(tail+1, len(m.src)), ""}}
	case i+1 < len(in.fields) && (flow || m.src[tail] == '\n'):
		if next := m.offset(in.fields[i+1].Line, in.fields[i+1].Column); next > start && !bytes.Contains(m.src[tail:next], []byte("#")) {
			f.Edits = []Edit{{start, next, ""}}
		}
	case flow:
		if comma := bytes.LastIndexByte(m.src[:start], ','); comma > open && strings.Trim(string(m.src[comma+1:start]), " \t\r\n") == "" {
			f.Edits = []Edit{{comma, end, ""}}
		}
	}
}

// insert makes the edit that puts an entry into a map before one that it has.
func (c *collector) insert(in *Value, before *Field, key, value string) (Edit, bool) {
	m := c.where()
	at, open := m.offset(before.Line, before.Column), m.offset(in.Place())
	if at < 0 || open < 0 {
		return Edit{}, false
	}
	begin := m.lines[before.Line-1]
	margin := string(m.src[begin:at])
	newline := "\n"
	if begin > m.skip+1 && m.src[begin-1] == '\n' && m.src[begin-2] == '\r' {
		newline = "\r\n"
	}
	entry := key + ": " + value
	if m.format == JSON {
		entry = string(appendString(nil, key)) + ": " + string(appendString(nil, value))
	}
	own := strings.Trim(margin, " \t") == ""
	switch {
	case m.src[open] == '{' && own:
		return Edit{at, at, entry + "," + newline + margin}, true
	case m.src[open] == '{':
		return Edit{at, at, entry + ", "}, true
	case own && !strings.Contains(margin, "\t"):
		return Edit{at, at, entry + newline + margin}, true
	}
	return Edit{}, false
}

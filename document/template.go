package document

import "strings"

// template is a string with placeholders, compiled once when the document is parsed.
type template struct {
	text string
	segs []segment
}

// segment is a piece of text, or a placeholder.
type segment struct {
	text string // as it stands in the document, braces included
	name string // of the placeholder: "x", "ssm:/a/b:3", "step.Output", "global:REGION"; "" for text
}

// compile finds the placeholders of s; nil when there are none. A placeholder is {{ name }} with any white space inside the braces (I1);
// other texts in double braces (CSS, f-strings, Jinja) are text. {{{ x }}} is the placeholder x in a pair of braces.
func compile(s string) *template {
	i := strings.Index(s, "{{")
	if i < 0 {
		return nil
	}
	t := template{text: s}
	done := 0
	for i >= 0 && i < len(s) {
		name, end := placeholder(s, i)
		if end < 0 {
			i++
		} else {
			if done < i {
				t.segs = append(t.segs, segment{text: s[done:i]})
			}
			t.segs = append(t.segs, segment{text: s[i:end], name: name})
			i, done = end, end
		}
		next := strings.Index(s[i:], "{{")
		if next < 0 {
			break
		}
		i += next
	}
	if t.segs == nil {
		return nil
	}
	if done < len(s) {
		t.segs = append(t.segs, segment{text: s[done:]})
	}
	return &t
}

// placeholder reads one placeholder at s[i:], which begins with {{; end is -1 when it is none.
func placeholder(s string, i int) (name string, end int) {
	j := skip(s, i+2)
	begin := j
	for j < len(s) && nameByte(s[j]) {
		j++
	}
	if j == begin || s[begin] == ':' || s[begin] == '.' || s[begin] == '/' {
		return "", -1
	}
	name = s[begin:j]
	if j = skip(s, j); strings.HasPrefix(s[j:], "}}") {
		return name, j + 2
	}
	return "", -1
}

func skip(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r' || s[i] == '\f' || s[i] == '\v') {
		i++
	}
	return i
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == ':' || c == '/' || c == '$' || c == '[' || c == ']' || c == '\''
}

// whole returns the name when the template is exactly one placeholder (I2).
func (t *template) whole() string {
	if t != nil && len(t.segs) == 1 {
		return t.segs[0].name
	}
	return ""
}

// each calls f for the name of every placeholder, in order.
func (t *template) each(f func(name string)) {
	if t == nil {
		return
	}
	for i := range t.segs {
		if t.segs[i].name != "" {
			f(t.segs[i].name)
		}
	}
}

// References returns the names of the placeholders of a string in order, repeats included: "x", "ssm:/a/b", "step.Output", "global:REGION".
func (v *Value) References() []string {
	var out []string
	if v != nil {
		v.tmpl.each(func(n string) { out = append(out, n) })
	}
	return out
}

package document

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// YAML renders the document as YAML in block style: keys in the order of the text, scripts as literal blocks, tags of the template kinds kept. The
// same document gives the same bytes; parsing them gives an equal document. What any reader of YAML could mistake is quoted. Comments are those of
// the source and not rendered: to change a document and keep them, edit its text ([Apply]). It is nil for a document of free text.
func (d *Document) YAML() []byte {
	if d.Root == nil {
		return nil
	}
	w := yamlWriter{}
	w.value(d.Root, 0, true)
	return w.out
}

// yamlWriter writes values; an indentation is two blanks.
type yamlWriter struct{ out []byte }

func (w *yamlWriter) put(s string) { w.out = append(w.out, s...) }

func (w *yamlWriter) indent(depth int) {
	for range depth {
		w.put("  ")
	}
}

// value writes v with a line feed after it. fresh says that the line is empty and the value may begin on it; else a key, a dash or a tag stands
// before it.
func (w *yamlWriter) value(v *Value, depth int, fresh bool) {
	if tag := v.Tag(); tag != "" {
		if !plainTag(tag) {
			w.value(&Value{kind: Map, fields: []Field{{Key: v.function(), Value: v.untagged()}}}, depth, fresh)
			return
		}
		if !fresh {
			w.put(" ")
		}
		w.put(tag)
		u := *v
		u.tag, fresh = "", false
		v = &u
		if v.kind == Null || v.kind == String && v.text == "" {
			w.put(` ""` + "\n")
			return
		}
	}
	switch {
	case len(v.Fields()) > 0:
		w.begin(fresh)
		w.fields(v, depth, true)
	case len(v.Items()) > 0:
		w.begin(fresh)
		for _, it := range v.items {
			w.indent(depth)
			w.element(it, depth)
		}
	default:
		if !fresh {
			w.put(" ")
		}
		w.scalar(v, depth)
		w.put("\n")
	}
}

// begin goes to a new line unless the line is empty.
func (w *yamlWriter) begin(fresh bool) {
	if !fresh {
		w.put("\n")
	}
}

// fields writes the entries of a map; margin says that the first one needs its indentation too.
func (w *yamlWriter) fields(v *Value, depth int, margin bool) {
	for i := range v.fields {
		f := &v.fields[i]
		if i > 0 || margin {
			w.indent(depth)
		}
		if len(f.Key) > 900 { // longer keys are not found without the mark
			w.put("? " + quotedYAML(f.Key) + "\n")
			w.indent(depth)
		} else {
			w.put(keyYAML(f.Key))
		}
		w.put(":")
		w.value(f.Value, depth+1, false)
	}
}

// element writes the element of a list after its indentation.
func (w *yamlWriter) element(v *Value, depth int) {
	w.put("-")
	switch {
	case v.Tag() == "" && len(v.Fields()) > 0:
		w.put(" ")
		w.fields(v, depth+1, false)
	case v.Tag() == "" && len(v.Items()) > 0:
		w.put(" ")
		for i, it := range v.items {
			if i > 0 {
				w.indent(depth + 1)
			}
			w.element(it, depth+1)
		}
	default:
		w.value(v, depth+1, false)
	}
}

func (w *yamlWriter) scalar(v *Value, depth int) {
	switch v.Kind() {
	case String:
		switch {
		case plainYAML(v.text):
			w.put(v.text)
		case literalYAML(v.text):
			w.literal(v.text, max(depth, 1))
		default:
			w.put(quotedYAML(v.text))
		}
	case List:
		w.put("[]")
	case Map:
		w.put("{}")
	case Null:
		w.put("null")
	default:
		w.put(v.Text())
	}
}

// literal writes a text of several lines as a block.
func (w *yamlWriter) literal(s string, depth int) {
	body := strings.TrimRight(s, "\n")
	switch len(s) - len(body) {
	case 0:
		w.put("|-")
	case 1:
		w.put("|")
	default:
		w.put("|+")
		body = strings.TrimSuffix(s, "\n")
	}
	for l := range strings.SplitSeq(body, "\n") {
		w.put("\n")
		if l != "" {
			w.indent(depth)
			w.put(l)
		}
	}
}

// literalYAML reports whether a text can be a literal block: several lines, the first one not indented, nothing that YAML reads as a break.
func literalYAML(s string) bool {
	if !strings.Contains(s, "\n") || s[0] == '\n' || s[0] == ' ' || s[0] == '\t' || strings.Trim(s, "\n") == "" {
		return false
	}
	for l := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(l, "\t") || l != "" && strings.Trim(l, " ") == "" {
			return false
		}
	}
	return printable(s, true)
}

// printable reports whether YAML has every character as it is.
func printable(s string, breaks bool) bool {
	for i, r := range s {
		switch {
		case r == '\n' && breaks, r == '\t':
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff:
			return false
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
	}
	return true
}

// plainYAML reports whether a text needs no quotes: every reader takes it for the same text.
func plainYAML(s string) bool {
	if s == "" || len(s) > 4096 || !letter(s[0]) && s[0] != '/' && s[0] != '$' || s[len(s)-1] == ' ' || s[len(s)-1] == ':' || reserved(s) || !printable(s, false) {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':' && s[i+1] == ' ', c == '#' && s[i-1] == ' ', c == '\t':
			return false
		}
	}
	return true
}

// reserved reports whether some reader of YAML takes a word for something else than text.
func reserved(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf":
		return true
	}
	return false
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func keyYAML(s string) string {
	if s == "" || !letter(s[0]) && s[0] != '_' || reserved(s) {
		return quotedYAML(s)
	}
	for i := range len(s) {
		if c := s[i]; !letter(c) && !(c >= '0' && c <= '9') && strings.IndexByte("_.-/", c) < 0 && !(c == ':' && i+1 < len(s) && letter(s[i+1])) {
			return quotedYAML(s)
		}
	}
	return s
}

// quotedYAML quotes as JSON does, and escapes what JSON has as it is but YAML does not.
func quotedYAML(s string) string {
	q := string(appendString(nil, s))
	if printable(q, false) && !strings.Contains(q, "\x7f") {
		return q
	}
	var b strings.Builder
	for _, r := range q {
		if printable(string(r), false) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func plainTag(s string) bool {
	for i := 1; i < len(s); i++ {
		if c := s[i]; !letter(c) && !(c >= '0' && c <= '9') && c != ':' && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(s) > 1
}

// indented writes JSON with two blanks a level, for people.
func (v *Value) indented(out []byte, depth int) []byte {
	margin := func(n int) {
		out = append(out, '\n')
		for range n {
			out = append(out, "  "...)
		}
	}
	switch {
	case v.Tag() == "" && len(v.Items()) > 0:
		out = append(out, '[')
		for i, it := range v.items {
			if i > 0 {
				out = append(out, ',')
			}
			margin(depth + 1)
			out = it.indented(out, depth+1)
		}
		margin(depth)
		return append(out, ']')
	case v.Tag() == "" && len(v.Fields()) > 0:
		out = append(out, '{')
		for i := range v.fields {
			if i > 0 {
				out = append(out, ',')
			}
			margin(depth + 1)
			out = append(appendString(out, v.fields[i].Key), ": "...)
			out = v.fields[i].Value.indented(out, depth+1)
		}
		margin(depth)
		return append(out, '}')
	}
	return v.appendTo(out)
}

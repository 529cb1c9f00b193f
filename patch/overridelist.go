package patch

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// Bounds of an InstallOverrideList; AWS states none.
const (
	maxListBytes   = 1 << 20
	maxListEntries = 10_000
)

// ParseOverrideList reads an InstallOverrideList: the YAML of AWS's guide, or the same as JSON,
//
//	patches:
//	  - id: 'kernel.x86_64'
//	  - id: 'bind*.x86_64'
//	    title: '32:9.8.2-0.62.rc1.57.amzn1'
//
// Fields other than id and title are passed over (O3). Of YAML it takes what such lists are made of: block lists, plain and quoted text on one
// line, comments. Anything else (anchors, tags, flow collections, text of several lines) is refused with the number of its line, never guessed.
// A list without entries is valid: nothing is installed then.
func ParseOverrideList(text []byte) (OverrideList, error) {
	const op = "patch.ParseOverrideList"
	switch {
	case len(text) > maxListBytes:
		return nil, fault.New(op, fault.InvalidParameters, "the list has %d bytes, more than %d", len(text), maxListBytes)
	case !utf8.Valid(text):
		return nil, fault.New(op, fault.InvalidParameters, "the list is not UTF-8")
	}
	s := strings.TrimPrefix(string(text), "\ufeff")
	var out OverrideList
	var err error
	if strings.HasPrefix(strings.TrimSpace(s), "{") {
		out, err = listFromJSON([]byte(strings.TrimSpace(s)))
	} else {
		out, err = listFromYAML(s)
	}
	if err != nil {
		return nil, err
	}
	if len(out) > maxListEntries {
		return nil, fault.New(op, fault.InvalidParameters, "the list has %d entries, more than %d", len(out), maxListEntries)
	}
	return out, nil
}

func listFromJSON(raw []byte) (OverrideList, error) {
	if err := wellFormed(raw); err != nil {
		return nil, fault.Wrap("patch.ParseOverrideList", err)
	}
	var fs Findings
	out := OverrideList{}
	found := false
	object(&fs, raw, "$", func(name string, v json.RawMessage, at string) bool {
		if name != "patches" {
			return true
		}
		found = true
		for i, e := range list(&fs, v, at) {
			at := at + "[" + strconv.Itoa(i) + "]"
			var o OverrideEntry
			object(&fs, e, at, func(name string, v json.RawMessage, at string) bool {
				switch name {
				case "id":
					o.ID = text(&fs, v, at)
				case "title":
					o.Title = text(&fs, v, at)
				}
				return true
			})
			if o.ID == "" {
				fs.add(at, "an entry needs an id")
			}
			out = append(out, o)
		}
		return true
	})
	if !found && len(fs) == 0 {
		fs.add("$", "the list must begin with patches")
	}
	return out, fs.err()
}

// listReader goes through the lines of a list.
type listReader struct {
	out    OverrideList
	line   int
	found  bool            // patches: was seen
	inside bool            // it is the current top-level key
	dash   int             // column of the entries' dashes, -1 before the first
	fields int             // column of the current entry's fields, -1 before its first
	skip   int             // lines deeper than this belong to a field that is passed over; -1 for none
	seen   map[string]bool // fields of the current entry
}

func (r *listReader) bad(format string, args ...any) error {
	return fault.New("patch.ParseOverrideList", fault.InvalidParameters, "line "+strconv.Itoa(r.line)+": "+format, args...)
}

func listFromYAML(s string) (OverrideList, error) {
	r := &listReader{out: OverrideList{}, dash: -1, fields: -1, skip: -1}
	for n, line := range strings.Split(s, "\n") {
		r.line = n + 1
		if err := r.take(strings.TrimRight(line, " \t\r")); err != nil {
			return nil, err
		}
	}
	if !r.found {
		return nil, fault.New("patch.ParseOverrideList", fault.InvalidParameters, "the list must begin with \"patches:\"")
	}
	return r.out, r.endEntry()
}

func (r *listReader) take(line string) error {
	body := strings.TrimLeft(line, " ")
	indent := len(line) - len(body)
	switch {
	case body == "" || body[0] == '#':
		return nil
	case body[0] == '\t':
		return r.bad("a tab cannot indent YAML: use spaces")
	case indent == 0 && body == "---" && !r.found, indent == 0 && body == "...":
		return nil
	case r.skip >= 0 && indent > r.skip:
		return nil
	}
	r.skip = -1
	if indent == 0 && body[0] != '-' {
		return r.top(body)
	}
	if !r.inside {
		return r.bad("the list must begin with \"patches:\"")
	}
	if body == "-" || strings.HasPrefix(body, "- ") {
		if r.dash >= 0 && indent != r.dash {
			return r.bad("this dash stands in another column than those before")
		}
		if err := r.endEntry(); err != nil {
			return err
		}
		r.dash, r.fields, r.seen = indent, -1, map[string]bool{}
		r.out = append(r.out, OverrideEntry{})
		rest := strings.TrimLeft(body[1:], " ")
		if rest == "" || rest[0] == '#' {
			return nil
		}
		return r.field(rest, indent+len(body)-len(rest))
	}
	if r.dash < 0 || indent <= r.dash {
		return r.bad("an entry must begin with \"- id:\"")
	}
	return r.field(body, indent)
}

func (r *listReader) top(body string) error {
	if err := r.endEntry(); err != nil {
		return err
	}
	key, rest, err := r.key(body)
	if err != nil {
		return err
	}
	r.inside = key == "patches"
	if !r.inside {
		r.skip = 0
		return nil
	}
	if r.found {
		return r.bad("\"patches\" is there twice")
	}
	r.found = true
	switch rest = comment(rest); rest {
	case "", "[]", "null", "~":
		return nil
	}
	return r.bad("the entries of \"patches\" stand on lines of their own, each with a dash; or write the list as JSON")
}

// endEntry refuses an entry without an id.
func (r *listReader) endEntry() error {
	if r.seen != nil && !r.seen["id"] {
		return r.bad("the entry before this line has no id")
	}
	r.seen = nil
	return nil
}

func (r *listReader) field(body string, column int) error {
	if r.fields < 0 {
		r.fields = column
	}
	if column != r.fields {
		return r.bad("this field stands in another column than those before")
	}
	key, rest, err := r.key(body)
	if err != nil {
		return err
	}
	if r.seen[key] {
		return r.bad("the field is there twice in one entry")
	}
	r.seen[key] = true
	if key != "id" && key != "title" {
		r.skip = column
		return nil
	}
	v, err := r.scalar(rest)
	if err != nil {
		return err
	}
	e := &r.out[len(r.out)-1]
	if key == "title" {
		e.Title = v
		return nil
	}
	if v == "" {
		return r.bad("an id cannot be empty")
	}
	e.ID = v
	return nil
}

func (r *listReader) key(body string) (key, rest string, err error) {
	if body[0] == '\'' || body[0] == '"' {
		q := body[0]
		end := strings.IndexByte(body[1:], q)
		if end < 0 || !strings.HasPrefix(body[end+2:], ":") {
			return "", "", r.bad("this is no field: write name: value")
		}
		return body[1 : end+1], body[end+3:], nil
	}
	if strings.HasSuffix(body, ":") && !strings.ContainsAny(body[:len(body)-1], " :#") {
		return body[:len(body)-1], "", nil
	}
	key, rest, ok := strings.Cut(body, ": ")
	if !ok || strings.ContainsAny(key, " {}[]&!|>%@`#,") {
		return "", "", r.bad("this is no field: write name: value")
	}
	return key, rest, nil
}

// comment cuts " # …" off plain text.
func comment(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "#") {
		return ""
	}
	if i := strings.Index(s, " #"); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	return s
}

func (r *listReader) scalar(rest string) (string, error) {
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return "", nil
	}
	switch rest[0] {
	case '\'':
		var b strings.Builder
		for i := 1; i < len(rest); i++ {
			if rest[i] != '\'' {
				b.WriteByte(rest[i])
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '\'' {
				b.WriteByte('\'')
				i++
				continue
			}
			if comment(rest[i+1:]) != "" {
				return "", r.bad("text follows the closing quote")
			}
			return b.String(), nil
		}
		return "", r.bad("the quote does not end on this line")
	case '"':
		for i := 1; i < len(rest); i++ {
			if rest[i] == '\\' {
				i++
				continue
			}
			if rest[i] != '"' {
				continue
			}
			if comment(rest[i+1:]) != "" {
				return "", r.bad("text follows the closing quote")
			}
			var v string
			if json.Unmarshal([]byte(rest[:i+1]), &v) != nil {
				return "", r.bad("the escapes of this text are not those of JSON: use single quotes")
			}
			return v, nil
		}
		return "", r.bad("the quote does not end on this line")
	case '[', ']', '{', '}', '&', '*', '!', '|', '>', '%', '@', '`', ',':
		return "", r.bad("this is not plain text: put it in quotes")
	}
	v := comment(rest)
	switch v {
	case "~", "null", "Null", "NULL":
		return "", nil
	case "-", "?":
		return "", r.bad("this is not plain text: put it in quotes")
	}
	if strings.HasPrefix(v, "- ") || strings.HasPrefix(v, "? ") || strings.HasPrefix(v, ": ") || strings.Contains(v, "\t") {
		return "", r.bad("this is not plain text: put it in quotes")
	}
	if strings.Contains(v, ": ") || strings.HasSuffix(v, ":") {
		return "", r.bad("text with a colon and a space needs quotes")
	}
	return v, nil
}

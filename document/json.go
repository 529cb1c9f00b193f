package document

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// trouble is what the readers report.
type trouble struct {
	code         string
	line, column int
	msg          string
	edit         *Edit // in the text without its byte order mark
}

// scanner reads a JSON text (RFC 8259, what encoding/json accepts) into Values, keeping places. It refuses duplicate keys.
type scanner struct {
	src   string
	pos   int
	line  int
	start int // offset of the current line
	extra int // continuation bytes seen on the current line, so that columns count characters
	depth int
	nodes int
	limit *limits

	arena []Value
	strs  []byte // scratch for strings with escapes
	items []*Value
	flds  []Field
	bad   []trouble // findings that do not stop the reading
}

// limits bound what a reader builds.
type limits struct{ depth, nodes int }

// scanJSON reads src. The values share its memory: src must not change afterwards.
func scanJSON(src []byte, lim *limits) (*Value, []trouble) {
	s := &scanner{line: 1, limit: lim}
	if len(src) > 0 {
		s.src = unsafe.String(&src[0], len(src))
	}
	v, err := s.document()
	if err != nil {
		s.bad = append(s.bad, *err)
		return nil, s.bad
	}
	return v, s.bad
}

func (s *scanner) document() (*Value, *trouble) {
	s.space()
	v, err := s.value()
	if err != nil {
		return nil, err
	}
	s.space()
	if s.pos < len(s.src) {
		return nil, s.fail("text after the end of the document: %s", s.here())
	}
	return v, nil
}

func (s *scanner) column() int { return s.pos - s.start - s.extra + 1 }

func (s *scanner) fail(format string, args ...any) *trouble {
	return &trouble{code: "syntax", line: s.line, column: s.column(), msg: "not valid JSON: " + fmt.Sprintf(format, args...)}
}

func (s *scanner) here() string {
	if s.pos >= len(s.src) {
		return "the end of the text"
	}
	r, _ := utf8.DecodeRuneInString(s.src[s.pos:])
	return fmt.Sprintf("%q", r)
}

func (s *scanner) space() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\r':
			s.pos++
		case '\n':
			s.pos++
			s.line++
			s.start, s.extra = s.pos, 0
		default:
			return
		}
	}
}

func (s *scanner) node(kind ValueKind) *Value {
	if len(s.arena) == cap(s.arena) {
		s.arena = make([]Value, 0, min(256, max(16, 2*cap(s.arena))))
	}
	s.arena = append(s.arena, Value{kind: kind, line: int32(s.line), column: int32(s.column())})
	return &s.arena[len(s.arena)-1]
}

func (s *scanner) value() (*Value, *trouble) {
	if s.nodes++; s.nodes > s.limit.nodes {
		return nil, &trouble{code: "too-many-values", line: s.line, column: s.column(), msg: fmt.Sprintf("more than %d values in one document: split it", s.limit.nodes)}
	}
	if s.pos >= len(s.src) {
		return nil, s.fail("the text ends where a value should be")
	}
	switch c := s.src[s.pos]; {
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '"':
		v := s.node(String)
		text, err := s.string()
		if err != nil {
			return nil, err
		}
		v.text, v.tmpl = text, compile(text)
		return v, nil
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case strings.HasPrefix(s.src[s.pos:], "true"):
		v := s.node(Bool)
		v.truth = true
		s.pos += 4
		return v, nil
	case strings.HasPrefix(s.src[s.pos:], "false"):
		v := s.node(Bool)
		s.pos += 5
		return v, nil
	case strings.HasPrefix(s.src[s.pos:], "null"):
		v := s.node(Null)
		s.pos += 4
		return v, nil
	}
	return nil, s.fail("%s where a value should be", s.here())
}

func (s *scanner) deeper() *trouble {
	if s.depth++; s.depth > s.limit.depth {
		return &trouble{code: "too-deep", line: s.line, column: s.column(), msg: fmt.Sprintf("values nested deeper than %d", s.limit.depth)}
	}
	return nil
}

func (s *scanner) array() (*Value, *trouble) {
	v := s.node(List)
	if err := s.deeper(); err != nil {
		return nil, err
	}
	base := len(s.items)
	s.pos++
	s.space()
	for first := true; ; first = false {
		if s.pos < len(s.src) && s.src[s.pos] == ']' && first {
			s.pos++
			break
		}
		it, err := s.value()
		if err != nil {
			return nil, err
		}
		s.items = append(s.items, it)
		s.space()
		if s.pos < len(s.src) && s.src[s.pos] == ']' {
			s.pos++
			break
		}
		if s.pos >= len(s.src) || s.src[s.pos] != ',' {
			return nil, s.fail("%s where a comma or ] should be", s.here())
		}
		s.pos++
		s.space()
		if s.pos < len(s.src) && s.src[s.pos] == ']' {
			return nil, s.comma("]")
		}
	}
	v.items = append([]*Value(nil), s.items[base:]...)
	s.items = s.items[:base]
	s.depth--
	return v, nil
}

func (s *scanner) object() (*Value, *trouble) {
	v := s.node(Map)
	if err := s.deeper(); err != nil {
		return nil, err
	}
	base := len(s.flds)
	s.pos++
	s.space()
	for first := true; ; first = false {
		if s.pos < len(s.src) && s.src[s.pos] == '}' && first {
			s.pos++
			break
		}
		if s.pos >= len(s.src) || s.src[s.pos] != '"' {
			return nil, s.fail("%s where a key in double quotes should be", s.here())
		}
		f := Field{Line: s.line, Column: s.column()}
		key, err := s.string()
		if err != nil {
			return nil, err
		}
		f.Key = key
		s.space()
		if s.pos >= len(s.src) || s.src[s.pos] != ':' {
			return nil, s.fail("%s where a colon should be", s.here())
		}
		s.pos++
		s.space()
		if f.Value, err = s.value(); err != nil {
			return nil, err
		}
		s.flds = append(s.flds, f)
		s.space()
		if s.pos < len(s.src) && s.src[s.pos] == '}' {
			s.pos++
			break
		}
		if s.pos >= len(s.src) || s.src[s.pos] != ',' {
			return nil, s.fail("%s where a comma or } should be", s.here())
		}
		s.pos++
		s.space()
		if s.pos < len(s.src) && s.src[s.pos] == '}' {
			return nil, s.comma("}")
		}
	}
	v.fields = append([]Field(nil), s.flds[base:]...)
	s.flds = s.flds[:base]
	s.bad = append(s.bad, duplicates(v.fields)...)
	s.depth--
	return v, nil
}

// duplicates finds keys that stand twice in one map. Two parsers would read such a document differently.
func duplicates(fields []Field) []trouble {
	var bad []trouble
	report := func(i, j int) {
		bad = append(bad, trouble{code: "duplicate-key", line: fields[j].Line, column: fields[j].Column,
			msg: fmt.Sprintf("key %q stands twice in one map, here and at line %d, column %d: remove one", clip(fields[j].Key), fields[i].Line, fields[i].Column)})
	}
	if len(fields) <= 12 {
		for j := 1; j < len(fields); j++ {
			for i := range j {
				if fields[i].Key == fields[j].Key {
					report(i, j)
					break
				}
			}
		}
		return bad
	}
	seen := make(map[string]int, len(fields))
	for j := range fields {
		if i, ok := seen[fields[j].Key]; ok {
			if report(i, j); len(bad) == mostFindings {
				break
			}
			continue
		}
		seen[fields[j].Key] = j
	}
	return bad
}

func (s *scanner) number() (*Value, *trouble) {
	v := s.node(Number)
	begin := s.pos
	digits := func() int {
		n := 0
		for s.pos < len(s.src) && s.src[s.pos] >= '0' && s.src[s.pos] <= '9' {
			s.pos++
			n++
		}
		return n
	}
	if s.src[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.src) && s.src[s.pos] == '0' {
		s.pos++
	} else if digits() == 0 {
		return nil, s.fail("%s in a number", s.here())
	}
	if s.pos < len(s.src) && s.src[s.pos] == '.' {
		s.pos++
		if digits() == 0 {
			return nil, s.fail("%s in a number", s.here())
		}
	}
	if s.pos < len(s.src) && (s.src[s.pos] == 'e' || s.src[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.src) && (s.src[s.pos] == '+' || s.src[s.pos] == '-') {
			s.pos++
		}
		if digits() == 0 {
			return nil, s.fail("%s in a number", s.here())
		}
	}
	v.text = s.src[begin:s.pos]
	return v, nil
}

// string reads a string. Without escapes and broken UTF-8 it shares the memory of the source.
func (s *scanner) string() (string, *trouble) {
	s.pos++ // the quote
	begin := s.pos
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"':
			text := s.src[begin:s.pos]
			s.pos++
			return text, nil
		case c == '\\':
			return s.escaped(begin)
		case c < 0x20:
			return "", s.control(c)
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRuneInString(s.src[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return s.escaped(begin)
			}
			s.pos += n
			s.extra += n - 1
		}
	}
	return "", s.fail("the text ends inside a string")
}

func (s *scanner) control(c byte) *trouble {
	t := s.fail(`control character 0x%02x inside a string: write \u%04x`, c, c)
	if c == '\n' {
		t = s.fail(`a line feed inside a string: write \n`)
	}
	q := appendString(nil, string(rune(c)))
	t.edit = &Edit{s.pos, s.pos + 1, string(q[1 : len(q)-1])}
	return t
}

// comma is the trouble of a comma after the last element.
func (s *scanner) comma(before string) *trouble {
	t := s.fail("a comma before %s: remove it", before)
	if at := strings.LastIndexByte(s.src[:s.pos], ','); at >= 0 {
		t.edit = &Edit{at, at + 1, ""}
	}
	return t
}

func (s *scanner) escaped(begin int) (string, *trouble) {
	buf := append(s.strs[:0], s.src[begin:s.pos]...)
	defer func() { s.strs = buf[:0] }()
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"':
			s.pos++
			return string(buf), nil
		case c < 0x20:
			return "", s.control(c)
		case c == '\\':
			var err *trouble
			if buf, err = s.escape(buf); err != nil {
				return "", err
			}
		case c < utf8.RuneSelf:
			run := s.pos
			for s.pos < len(s.src) && s.src[s.pos] >= 0x20 && s.src[s.pos] < utf8.RuneSelf && s.src[s.pos] != '"' && s.src[s.pos] != '\\' {
				s.pos++
			}
			buf = append(buf, s.src[run:s.pos]...)
		default:
			r, n := utf8.DecodeRuneInString(s.src[s.pos:])
			buf = utf8.AppendRune(buf, r)
			s.pos += n
			s.extra += n - 1
		}
	}
	return "", s.fail("the text ends inside a string")
}

func (s *scanner) escape(buf []byte) ([]byte, *trouble) {
	if s.pos+1 >= len(s.src) {
		s.pos = len(s.src)
		return buf, s.fail("the text ends inside a string")
	}
	c := s.src[s.pos+1]
	if c == 'u' {
		r, ok := s.hex(s.pos + 2)
		if !ok {
			return buf, s.fail(`\u without four hexadecimal digits`)
		}
		s.pos += 6
		if utf16.IsSurrogate(r) {
			if low, ok := s.low(); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					s.pos += 6
					return utf8.AppendRune(buf, pair), nil
				}
			}
			r = utf8.RuneError
		}
		return utf8.AppendRune(buf, r), nil
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return buf, s.fail(`unknown escape \%c in a string`, c)
	}
	s.pos += 2
	return append(buf, "\"\\/\b\f\n\r\t"[i]), nil
}

func (s *scanner) low() (rune, bool) {
	if s.pos+1 < len(s.src) && s.src[s.pos] == '\\' && s.src[s.pos+1] == 'u' {
		return s.hex(s.pos + 2)
	}
	return 0, false
}

func (s *scanner) hex(at int) (rune, bool) {
	if at+4 > len(s.src) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s.src[at : at+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// clip shortens text of a stranger for a message.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

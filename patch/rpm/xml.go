package rpm

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// xmlReader reads the XML that repositories are made of, token by token, as slices of its own buffer. It takes what such files use:
// elements, attributes, text, CDATA, comments, processing instructions, the five named entities and character references,
// in UTF-8. A document type, and with it every entity that could grow, is refused. Names lose their namespace prefix.
type xmlReader struct {
	r    io.Reader
	op   string
	file string
	lim  Limits

	buf        []byte
	start, end int // unread bytes
	eof        bool
	total      int64
	line       int // of buf[start]
	err        error

	kind  kind
	name  []byte // of the element; valid until the next token
	attrs []byte // of an open token, raw
	text  []byte // of a text token, raw
	cdata bool   // the text is as it stands
	at    int    // line of the token

	pending bool   // an element that closes itself was opened, its close token comes next
	open    []byte // names of the open elements, one after the other
	marks   []int  // where they begin
	rooted  bool   // the root element was opened
}

type kind uint8

const (
	atEnd kind = iota
	atOpen
	atClose
	atText
)

func newXML(op, file string, r io.Reader, lim *Limits) *xmlReader {
	l := lim.orDefault()
	return &xmlReader{r: r, op: op, file: file, lim: l, line: 1, buf: make([]byte, 128<<10)}
}

func (x *xmlReader) depth() int { return len(x.marks) }

func (x *xmlReader) fail(format string, args ...any) bool {
	if x.err == nil {
		x.err = bad(x.op, x.file, x.line, format, args...)
	}
	return false
}

// next goes to the next token; false at the end of the document (kind atEnd) and after an error.
func (x *xmlReader) next() bool {
	if x.pending {
		x.pending, x.kind = false, atClose
		x.pop()
		return true
	}
	for x.err == nil {
		x.at = x.line
		if x.start == x.end && !x.fill() {
			if x.err != nil {
				return false
			}
			if x.depth() > 0 || !x.rooted {
				return x.fail("the document ends before its root element does")
			}
			x.kind = atEnd
			return false
		}
		if x.buf[x.start] != '<' {
			n := x.find("<", 0)
			if n < 0 {
				if x.err != nil {
					return false
				}
				n = x.end - x.start
			}
			x.text, x.cdata = x.take(n), false
			if x.depth() == 0 {
				if t := bytes.TrimPrefix(x.text, []byte("\xef\xbb\xbf")); len(bytes.Trim(t, " \t\r\n")) > 0 {
					return x.fail("there is text outside of the root element")
				}
				continue
			}
			x.kind = atText
			return true
		}
		done, ok := x.markup()
		if !ok {
			return false
		}
		if done {
			return true
		}
	}
	return false
}

// markup reads what begins with '<'; done is false for what is passed over.
func (x *xmlReader) markup() (done, ok bool) {
	if !x.need(2) {
		return false, x.fail("the document ends within a tag")
	}
	switch x.buf[x.start+1] {
	case '?':
		return false, x.passTo("?>", 2, "a processing instruction")
	case '!':
		x.need(9)
		rest := x.buf[x.start:x.end]
		switch {
		case bytes.HasPrefix(rest, []byte("<!--")):
			return false, x.passTo("-->", 4, "a comment")
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			n := x.find("]]>", 9)
			if n < 0 {
				return false, x.fail("a CDATA section does not end")
			}
			if x.depth() == 0 {
				return false, x.fail("there is text outside of the root element")
			}
			t := x.take(n + 3)
			x.text, x.cdata, x.kind = t[9:n], true, atText
			return true, true
		}
		return false, x.fail("a document type or another declaration is refused")
	case '/':
		n := x.find(">", 2)
		if n < 0 {
			return false, x.fail("a tag does not end")
		}
		t := x.take(n + 1)
		full := bytes.TrimRight(t[2:n], " \t\r\n")
		if x.depth() == 0 || !bytes.Equal(full, x.open[x.marks[len(x.marks)-1]:]) {
			x.line = x.at
			return false, x.fail("a closing tag does not match the open element")
		}
		x.name, x.kind = local(full), atClose
		x.open, x.marks = x.open[:x.marks[len(x.marks)-1]], x.marks[:len(x.marks)-1]
		return true, true
	}
	n := x.tagEnd()
	if n < 0 {
		return false, x.fail("a tag does not end")
	}
	t := x.take(n + 1)[1:n]
	self := len(t) > 0 && t[len(t)-1] == '/'
	if self {
		t = t[:len(t)-1]
	}
	i := 0
	for i < len(t) && !blank(t[i]) {
		i++
	}
	full := t[:i]
	if !validXMLName(full) {
		x.line = x.at
		return false, x.fail("a tag has no valid name")
	}
	if x.depth() == 0 && x.rooted {
		return false, x.fail("the document has more than one root element")
	}
	if x.depth() >= x.lim.Depth {
		x.err = tooBig(x.op, x.file, x.at, "elements lie deeper inside each other than %d", x.lim.Depth)
		return false, false
	}
	x.rooted = true
	x.marks, x.open = append(x.marks, len(x.open)), append(x.open, full...)
	x.name, x.attrs, x.kind, x.pending = local(full), t[i:], atOpen, self
	if !x.checkAttrs() {
		return false, false
	}
	return true, true
}

func (x *xmlReader) pop() {
	at := x.marks[len(x.marks)-1]
	x.name = local(x.open[at:])
	x.open, x.marks = x.open[:at], x.marks[:len(x.marks)-1]
}

func local(name []byte) []byte {
	if i := bytes.LastIndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func validXMLName(b []byte) bool {
	for i, c := range b {
		ok := lower(c) >= 'a' && lower(c) <= 'z' || c == '_' || c >= 0x80 || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' || c == ':')
		if !ok {
			return false
		}
	}
	return len(b) > 0 && b[len(b)-1] != ':' && bytes.Count(b, []byte{':'}) <= 1 && utf8.Valid(b)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// nextAttr cuts one attribute off; ok is false at the end, and with a nil error then.
func nextAttr(b []byte) (name, value, rest []byte, ok bool, err error) {
	i := 0
	for i < len(b) && blank(b[i]) {
		i++
	}
	if b = b[i:]; len(b) == 0 {
		return nil, nil, nil, false, nil
	}
	if i == 0 {
		return nil, nil, nil, false, errAttr
	}
	eq := bytes.IndexByte(b, '=')
	if eq < 0 {
		return nil, nil, nil, false, errAttr
	}
	name = bytes.TrimRight(b[:eq], " \t\r\n")
	rest = bytes.TrimLeft(b[eq+1:], " \t\r\n")
	if !validXMLName(name) || len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
		return nil, nil, nil, false, errAttr
	}
	n := bytes.IndexByte(rest[1:], rest[0])
	if n < 0 {
		return nil, nil, nil, false, errAttr
	}
	value = rest[1 : 1+n]
	if bytes.IndexByte(value, '<') >= 0 {
		return nil, nil, nil, false, errAttr
	}
	return name, value, rest[n+2:], true, nil
}

var errAttr = errors.New("an attribute is not name=\"value\"")

// checkAttrs looks at the attributes of an element: well-formed, none twice.
func (x *xmlReader) checkAttrs() bool {
	var seen [24][]byte
	n := 0
	for rest := x.attrs; ; {
		name, _, more, ok, err := nextAttr(rest)
		if err != nil {
			x.line = x.at
			return x.fail("%v", err)
		}
		if !ok {
			return true
		}
		for _, s := range seen[:n] {
			if bytes.Equal(s, name) {
				x.line = x.at
				return x.fail("an element has the attribute %q twice", name)
			}
		}
		if n == len(seen) {
			x.line = x.at
			return x.fail("an element has more than %d attributes", len(seen))
		}
		seen[n], rest = name, more
		n++
	}
}

// attr returns an attribute of the current open token, "" when it is not there.
func (x *xmlReader) attr(want string) string {
	for rest := x.attrs; ; {
		name, value, more, ok, err := nextAttr(rest)
		if err != nil || !ok {
			return ""
		}
		if string(local(name)) == want {
			return x.plain(value)
		}
		rest = more
	}
}

// plain returns raw text with its references replaced; a wrong one is an error of the reader.
func (x *xmlReader) plain(raw []byte) string {
	if bytes.IndexByte(raw, '\r') >= 0 { // XML reads every line end as one newline
		raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	if bytes.IndexByte(raw, '&') < 0 {
		return x.valid(string(raw))
	}
	var b strings.Builder
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '&')
		if i < 0 {
			b.Write(raw)
			break
		}
		b.Write(raw[:i])
		raw = raw[i+1:]
		n := bytes.IndexByte(raw[:min(len(raw), 12)], ';')
		if n < 0 {
			x.fail("'&' begins no reference")
			return ""
		}
		ref := string(raw[:n])
		raw = raw[n+1:]
		switch ref {
		case "lt":
			b.WriteByte('<')
		case "gt":
			b.WriteByte('>')
		case "amp":
			b.WriteByte('&')
		case "quot":
			b.WriteByte('"')
		case "apos":
			b.WriteByte('\'')
		default:
			digits, base := strings.CutPrefix(ref, "#")
			radix := 10
			if h, ok := strings.CutPrefix(digits, "x"); ok {
				digits, radix = h, 16
			}
			c, err := strconv.ParseUint(digits, radix, 32)
			if !base || err != nil || c > utf8.MaxRune || !xmlChar(rune(c)) {
				x.fail("a reference is neither a character nor one of lt, gt, amp, quot, apos")
				return ""
			}
			b.WriteRune(rune(c))
		}
	}
	return x.valid(b.String())
}

func (x *xmlReader) valid(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x80 || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			for _, r := range s {
				if !xmlChar(r) {
					x.fail("text holds a character that XML does not allow")
					return ""
				}
			}
			if !utf8.ValidString(s) {
				x.fail("text is not UTF-8")
				return ""
			}
			break
		}
	}
	return s
}

func xmlChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
}

// content returns the text of the element that was just opened, elements inside it left out, and passes its close token.
func (x *xmlReader) content() string {
	depth := x.depth()
	var first string
	var more []byte
	n := 0
	for x.next() {
		switch x.kind {
		case atClose:
			if x.depth() < depth {
				if more != nil {
					return string(more)
				}
				return first
			}
		case atText:
			if x.depth() != depth {
				continue
			}
			var s string
			if x.cdata {
				s = x.valid(string(x.text))
			} else {
				s = x.plain(x.text)
			}
			if n++; n == 1 {
				first = s
				continue
			}
			if more == nil {
				more = []byte(first)
			}
			if len(more)+len(s) > x.lim.Token {
				x.err = tooBig(x.op, x.file, x.line, "the text of an element is longer than %d bytes", x.lim.Token)
				return ""
			}
			more = append(more, s...)
		}
	}
	return ""
}

// skip passes the rest of the element that was just opened.
func (x *xmlReader) skip() {
	for depth := x.depth(); x.next(); {
		if x.kind == atClose && x.depth() < depth {
			return
		}
	}
}

// children calls take at each element directly inside the one that was just opened; take may read it with content or children, else
// the rest of it is passed.
func (x *xmlReader) children(take func(name string)) {
	depth := x.depth()
	for x.next() {
		switch x.kind {
		case atClose:
			if x.depth() < depth {
				return
			}
		case atOpen:
			inside := x.depth()
			take(string(x.name))
			if x.err == nil && (x.depth() >= inside) {
				x.skip()
			}
		}
	}
}

// need makes n unread bytes available if the file has them.
func (x *xmlReader) need(n int) bool {
	for x.end-x.start < n {
		if !x.fill() {
			return false
		}
	}
	return true
}

// find returns the offset of sep in the unread bytes, looking from offset from on; -1 when the file ends, or the token is too long.
func (x *xmlReader) find(sep string, from int) int {
	for {
		if from < x.end-x.start {
			if i := bytes.Index(x.buf[x.start+from:x.end], []byte(sep)); i >= 0 && from+i <= x.lim.Token {
				return from + i
			}
			from = max(from, x.end-x.start-len(sep)+1)
		}
		if x.end-x.start > x.lim.Token {
			x.err = tooBig(x.op, x.file, x.line, "a tag or text is longer than %d bytes", x.lim.Token)
			return -1
		}
		if !x.fill() {
			return -1
		}
	}
}

// closing returns the length of what is unread up to and with the closing tag of that name, looking from offset from, which is above 0; -1
// when there is none. Slashes are rarer than the letters of any name. inner sees the names of the closing tags before it.
func (x *xmlReader) closing(name string, from int, inner func(tag []byte)) int {
	for {
		for from < x.end-x.start {
			b := x.buf[x.start:x.end]
			i := bytes.IndexByte(b[from:], '/')
			if i < 0 {
				from = len(b)
				break
			}
			from += i
			if b[from-1] != '<' {
				from++
				continue
			}
			n := bytes.IndexByte(b[from:], '>')
			if n < 0 {
				break // it may end in what is not read yet
			}
			tag := b[from+1 : from+n]
			for n := len(tag); n > 0 && blank(tag[n-1]); n-- {
				tag = tag[:n-1]
			}
			switch {
			case bytes.IndexByte(tag, '<') >= 0: // no closing tag
				from++
				continue
			case string(tag) == name && from <= x.lim.Token:
				return from + n + 1
			case inner != nil:
				inner(tag)
			}
			from += n
		}
		if x.end-x.start > x.lim.Token {
			x.err = tooBig(x.op, x.file, x.line, "a tag or text is longer than %d bytes", x.lim.Token)
			return -1
		}
		if !x.fill() {
			return -1
		}
	}
}

// tagEnd returns the offset of the '>' that ends the tag, attribute values left out.
func (x *xmlReader) tagEnd() int {
	quote := byte(0)
	for n := 1; ; n++ {
		if n > x.lim.Token {
			x.err = tooBig(x.op, x.file, x.line, "a tag is longer than %d bytes", x.lim.Token)
			return -1
		}
		if n == x.end-x.start && !x.fill() {
			return -1
		}
		switch c := x.buf[x.start+n]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return n
		}
	}
}

func (x *xmlReader) passTo(sep string, from int, what string) bool {
	n := x.find(sep, from)
	if n < 0 {
		return x.fail("%s does not end", what)
	}
	if sep == "?>" && !x.declaration(x.buf[x.start:x.start+n]) {
		return false
	}
	x.take(n + len(sep))
	return true
}

// declaration refuses an encoding other than UTF-8 in the XML declaration.
func (x *xmlReader) declaration(b []byte) bool {
	b, ok := bytes.CutPrefix(b, []byte("<?xml"))
	if !ok || len(b) == 0 || !blank(b[0]) {
		return true
	}
	for rest := b; ; {
		name, value, more, ok, err := nextAttr(rest)
		if err != nil {
			return x.fail("%v", err)
		}
		if !ok {
			return true
		}
		if string(name) == "encoding" && !strings.EqualFold(string(value), "utf-8") && !strings.EqualFold(string(value), "us-ascii") {
			return x.fail("the encoding must be UTF-8")
		}
		rest = more
	}
}

// take consumes n bytes.
func (x *xmlReader) take(n int) []byte {
	b := x.buf[x.start : x.start+n]
	x.start += n
	x.line += bytes.Count(b, []byte{'\n'})
	return b
}

// fill reads more, making room first; false at the end of the file and after an error. Slices of the buffer that were handed out are no
// longer valid then.
func (x *xmlReader) fill() bool {
	if x.eof || x.err != nil {
		return false
	}
	if x.start > 0 && (x.start == x.end || x.end == len(x.buf)) {
		x.end = copy(x.buf, x.buf[x.start:x.end])
		x.start = 0
	}
	if x.end == len(x.buf) {
		x.buf = append(x.buf, make([]byte, len(x.buf))...)
	}
	for range 100 {
		n, err := x.r.Read(x.buf[x.end:])
		x.end += n
		if x.total += int64(n); x.total > x.lim.Total {
			x.err = tooBig(x.op, x.file, x.line, "the file is longer than %d bytes once decompressed", x.lim.Total)
			return false
		}
		if errors.Is(err, io.EOF) {
			x.eof = true
			return n > 0
		}
		if err != nil {
			x.err = wrap(x.op, x.file, x.line, err)
			return false
		}
		if n > 0 {
			return true
		}
	}
	x.err = wrap(x.op, x.file, x.line, io.ErrNoProgress)
	return false
}

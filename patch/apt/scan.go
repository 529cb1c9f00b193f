package apt

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Scanner reads the stanzas of a deb822 file (Packages, Release, status, preferences, .sources) one by one. What it returns are
// slices of its own buffer, valid until the next call of Scan: copy what is kept. A Scanner is used by one goroutine.
//
// A stanza ends with an empty line or the end of the file, a missing last newline and CRLF line ends included; a line that begins
// with a blank continues the field above. Field names compare without case, and a field that appears twice in a stanza is an error.
type Scanner struct {
	r        io.Reader
	file     string
	lim      Limits
	comments bool

	buf        []byte
	start, end int // unread bytes of buf
	eof        bool
	total      int64
	line       int // line of buf[counted], from 1
	counted    int // how far the lines of buf are counted, at most start
	err        error

	stanza     []byte // the current stanza, without the empty line
	stanzaAt   int    // where it begins in buf
	stanzaLine int    // its line, 0 until somebody asks
	fields     []field
	parsed     bool
}

type field struct {
	name, value []byte // value without the blanks around it; continuation lines keep their newlines and first blank
	line        int
}

// NewScanner returns a Scanner over r, which holds plain (decompressed) text; file names it in errors.
func NewScanner(file string, r io.Reader, lim *Limits) *Scanner {
	l := lim.orDefault()
	return &Scanner{r: r, file: file, lim: l, line: 1, buf: make([]byte, min(256<<10, l.Stanza+2))}
}

// AllowComments makes the Scanner take lines that begin with '#' for comments, as in preferences and .sources, and returns it.
func (s *Scanner) AllowComments() *Scanner {
	s.comments = true
	return s
}

// Scan goes to the next stanza and reports whether there is one; false at the end of the file and after an error.
func (s *Scanner) Scan() bool {
	s.stanza, s.fields, s.parsed = nil, s.fields[:0], false
	if s.err != nil {
		return false
	}
	s.skipEmpty()
	from := 0 // bytes of the unread part that were searched already
	for s.err == nil {
		unread := s.buf[s.start:s.end]
		if n, rest, ok := stanzaEnd(unread, from); ok {
			return s.take(n, rest)
		}
		from = max(0, len(unread)-3)
		if s.eof {
			if len(unread) == 0 {
				return false
			}
			return s.take(len(unread), len(unread))
		}
		if len(unread) > s.lim.Stanza {
			s.err = tooBig("apt.Scan", s.file, s.here(), "a stanza is longer than %d bytes", s.lim.Stanza)
			return false
		}
		s.fill()
	}
	return false
}

// here returns the line of the first unread byte. Lines are counted in large steps, when somebody asks or the buffer moves.
func (s *Scanner) here() int {
	s.line += bytes.Count(s.buf[s.counted:s.start], newline)
	s.counted = s.start
	return s.line
}

// stanzaEnd finds the end of the stanza at the start of b, looking from offset from on: its length without and with the empty line.
func stanzaEnd(b []byte, from int) (n, rest int, ok bool) {
	for i := from; ; {
		k := bytes.IndexByte(b[i:], '\n')
		if k < 0 || i+k+1 >= len(b) {
			return 0, 0, false
		}
		i += k + 1
		switch {
		case b[i] == '\n':
			return i, i + 1, true // the stanza keeps its last newline
		case b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n':
			return i, i + 2, true
		}
	}
}

func (s *Scanner) take(n, rest int) bool {
	s.stanza, s.stanzaAt, s.stanzaLine = s.buf[s.start:s.start+n], s.start, 0
	s.start += rest
	if n > s.lim.Stanza {
		s.err = tooBig("apt.Scan", s.file, s.Line(), "a stanza is longer than %d bytes", s.lim.Stanza)
		return false
	}
	if n > s.lim.Line {
		line := s.Line()
		for rest := s.stanza; len(rest) > 0; line++ {
			l := bytes.IndexByte(rest, '\n') + 1
			if l == 0 {
				l = len(rest)
			}
			if l > s.lim.Line {
				s.err = tooBig("apt.Scan", s.file, line, "a line is longer than %d bytes", s.lim.Line)
				return false
			}
			rest = rest[l:]
		}
	}
	if s.comments && len(s.Name()) == 0 {
		if _, err := s.parse(); err == nil && len(s.fields) == 0 {
			return s.Scan() // nothing but comments
		}
	}
	return true
}

var newline = []byte{'\n'}

// skipEmpty passes the empty lines before a stanza.
func (s *Scanner) skipEmpty() {
	for s.err == nil {
		for s.start < s.end && (s.buf[s.start] == '\n' || s.buf[s.start] == '\r' && s.start+1 < s.end && s.buf[s.start+1] == '\n') {
			s.start++
		}
		if s.eof || s.end-s.start > 1 || s.start < s.end && s.buf[s.start] != '\r' {
			return
		}
		s.fill()
	}
}

// fill reads more, making room first.
func (s *Scanner) fill() {
	if s.start > 0 && (s.start == s.end || s.end == len(s.buf)) {
		s.here()
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start, s.counted = 0, 0
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if s.total += int64(n); s.total > s.lim.Total {
			s.err = tooBig("apt.Scan", s.file, s.here(), "the file is longer than %d bytes once decompressed", s.lim.Total)
			return
		}
		if errors.Is(err, io.EOF) {
			s.eof = true
			return
		}
		if err != nil {
			s.err = wrap("apt.Scan", s.file, s.here(), err)
			return
		}
		if n > 0 {
			return
		}
	}
	s.err = wrap("apt.Scan", s.file, s.here(), io.ErrNoProgress)
}

// Err returns the error that ended the scan, nil at the end of the file.
func (s *Scanner) Err() error { return s.err }

// Line returns the line on which the current stanza begins, from 1.
func (s *Scanner) Line() int {
	if s.stanzaLine == 0 {
		s.line += bytes.Count(s.buf[s.counted:s.stanzaAt], newline)
		s.counted, s.stanzaLine = s.stanzaAt, s.line
	}
	return s.stanzaLine
}

// Bytes returns the text of the current stanza.
func (s *Scanner) Bytes() []byte { return s.stanza }

// Name returns the value of a field "Package" that stands first in the stanza, where every index has it, without parsing the
// rest; nil where another field stands first.
func (s *Scanner) Name() []byte {
	const key = "Package:"
	if len(s.stanza) < len(key) || string(s.stanza[:len(key)]) != key {
		return nil
	}
	b := s.stanza[len(key):]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return bytes.TrimSpace(b)
}

// Field returns the value of a field of the current stanza, nil when it is not there or empty, and the error of a stanza that is no deb822.
// The error also ends the scan.
func (s *Scanner) Field(name string) ([]byte, error) {
	fs, err := s.parse()
	if err != nil {
		return nil, err
	}
	for i := range fs {
		if len(fs[i].name) == len(name) && foldEqual(fs[i].name, name) {
			return fs[i].value, nil
		}
	}
	return nil, nil
}

// Fields yields the fields of the current stanza in their order, with the line of each; an error as in Field.
func (s *Scanner) Fields() (iter.Seq2[[]byte, []byte], error) {
	fs, err := s.parse()
	if err != nil {
		return nil, err
	}
	return func(yield func(name, value []byte) bool) {
		for i := range fs {
			if !yield(fs[i].name, fs[i].value) {
				return
			}
		}
	}, nil
}

// lineOf returns the line of a field, that of the stanza when it has none of the name.
func (s *Scanner) lineOf(name string) int {
	for i := range s.fields {
		if foldEqual(s.fields[i].name, name) {
			return s.fields[i].line
		}
	}
	return s.Line()
}

// valueLine returns the line on which the value of a field begins.
func (s *Scanner) valueLine(name string) int {
	for i := range s.fields {
		if f := &s.fields[i]; foldEqual(f.name, name) && len(f.value) > 0 {
			// both are slices of the stanza: what lies between their starts is name, colon and blanks
			return f.line + bytes.Count(f.name[:cap(f.name)-cap(f.value)], newline)
		}
	}
	return s.Line()
}

// parse splits the stanza into fields, once.
func (s *Scanner) parse() ([]field, error) {
	if s.parsed || s.err != nil {
		return s.fields, s.err
	}
	s.parsed = true
	var lines []int
	if s.comments {
		lines = s.uncomment()
	}
	first := s.Line()
	at := 0 // start of the value of the last field, as an offset into the stanza
	for off, n := 0, 0; off < len(s.stanza); n++ {
		line := first + n
		if lines != nil {
			line = lines[n]
		}
		end, next := len(s.stanza), len(s.stanza)
		if i := bytes.IndexByte(s.stanza[off:], '\n'); i >= 0 {
			end, next = off+i, off+i+1
		}
		l := s.stanza[off:end]
		switch {
		case len(l) > 0 && (l[0] == ' ' || l[0] == '\t'):
			if len(s.fields) == 0 {
				s.err = bad("apt.Scan", s.file, line, "a line that continues a field stands before any field")
				return nil, s.err
			}
			s.fields[len(s.fields)-1].value = bytes.TrimSpace(s.stanza[at:end])
		default:
			c := bytes.IndexByte(l, ':')
			if c <= 0 || !validName(l[:c]) {
				s.err = bad("apt.Scan", s.file, line, "this line is no \"Field: value\"")
				return nil, s.err
			}
			for i := range s.fields {
				if len(s.fields[i].name) == c && foldEqualBytes(s.fields[i].name, l[:c]) {
					s.err = bad("apt.Scan", s.file, line, "field %q appears twice in one stanza (first on line %d)", l[:c], s.fields[i].line)
					return nil, s.err
				}
			}
			at = off + c + 1
			s.fields = append(s.fields, field{name: l[:c], value: bytes.TrimSpace(s.stanza[at:end]), line: line})
		}
		off = next
	}
	return s.fields, nil
}

// uncomment takes the comment lines out of the stanza and returns the line of each line that stays.
func (s *Scanner) uncomment() []int {
	var lines []int
	kept, line := s.stanza[:0], s.Line()
	s.here() // before lines go away
	for rest := s.stanza; len(rest) > 0; line++ {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		if rest[0] != '#' {
			kept, lines = append(kept, rest[:n]...), append(lines, line)
		}
		rest = rest[n:]
	}
	s.stanza = kept
	return lines
}

// validName reports whether b is a field name: printable ASCII without blanks and colons, not beginning with '-' or '#'.
func validName(b []byte) bool {
	if b[0] == '-' || b[0] == '#' {
		return false
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}

func foldEqual(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func foldEqualBytes(a, b []byte) bool {
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

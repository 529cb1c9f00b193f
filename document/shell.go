package document

import (
	"bytes"
	"strings"
)

// EnvName returns the environment variable that carries an ENV_VAR parameter (I12).
func EnvName(parameter string) string { return "SSM_" + parameter }

// reference is what a placeholder of an ENV_VAR parameter becomes: the text of a reference to the variable, never its value. AWS puts the bare
// reference; where a shell would split and glob it, it is quoted here, so that the value stays one word with its exact bytes.
type reference interface {
	feed(text string)
	refer(name, next string) string // next is the text that follows
	place() place                   // how the next character is quoted
}

// newReference returns the writer for the language of a script.
func newReference(shell, head string) reference {
	if shell == "powershell" {
		return new(powershell)
	}
	if line, _, _ := strings.Cut(head, "\n"); strings.HasPrefix(line, "#!") && !strings.Contains(line, "sh") {
		return foreign{}
	}
	return &sh{fresh: true}
}

// powershell: a variable is one value wherever it stands; only a name that would run on needs braces. It follows the quotes for the checker.
type powershell struct {
	mode byte   // ' " # or 0; with a here-string in capitals: A for @', Q for @"
	last byte   // the character before
	esc  bool   // after a backtick
	line []byte // of a here-string
}

func (p *powershell) feed(text string) {
	for i := 0; i < len(text); i++ {
		run := 0
		switch {
		case p.esc:
		case p.mode == '\'':
			run = until(text[i:], '\'')
		case p.mode == '#':
			run = until(text[i:], '\n')
		case p.mode == 0 || p.mode == '"':
			for i+run < len(text) && text[i+run] != '`' && text[i+run] != '\'' && text[i+run] != '"' && text[i+run] != '#' {
				run++
			}
		}
		if run > 0 {
			p.last = text[i+run-1]
		}
		if i += run; i < len(text) {
			p.byte(text[i])
		}
	}
}

func (p *powershell) byte(c byte) {
	last := p.last
	p.last = c
	if p.esc {
		p.esc = false
		return
	}
	switch p.mode {
	case 'A', 'Q':
		end := "'@"
		if p.mode == 'Q' {
			end = `"@`
		}
		if p.line = append(p.line, c); c == '\n' {
			p.line = p.line[:0]
		} else if string(p.line) == end {
			p.mode = 0
		}
	case '\'':
		if c == '\'' {
			p.mode = 0
		}
	case '"':
		if p.esc = c == '`'; c == '"' {
			p.mode = 0
		}
	case '#':
		if c == '\n' {
			p.mode = 0
		}
	default:
		switch {
		case c == '`':
			p.esc = true
		case c == '\'' && last == '@':
			p.mode, p.line = 'A', p.line[:0]
		case c == '"' && last == '@':
			p.mode, p.line = 'Q', p.line[:0]
		case c == '\'' || c == '"':
			p.mode = c
		case c == '#' && (last == 0 || last == ' ' || last == '\t' || last == '\n' || last == ';'):
			p.mode = c
		}
	}
}

func (p *powershell) place() place {
	switch p.mode {
	case '\'', 'A':
		return single
	case '"', 'Q':
		return double
	case '#':
		return comment
	}
	return bare
}

func (p *powershell) refer(name, next string) string {
	p.last, p.esc = 'x', false
	if next != "" && (next[0] == ':' || next[0] == '_' || next[0] >= '0' && next[0] <= '9' || next[0] >= 'a' && next[0] <= 'z' || next[0] >= 'A' && next[0] <= 'Z' || next[0] >= 0x80) {
		return "${env:" + EnvName(name) + "}"
	}
	return "$env:" + EnvName(name)
}

// foreign: a script of another language, by its first line.
type foreign struct{}

func (foreign) feed(string) {}

func (foreign) place() place { return otherProgram }

func (foreign) refer(name, _ string) string { return "${" + EnvName(name) + "}" }

// sh follows the quoting of a shell script closely enough to know whether a place is quoted. Where it errs, the reference is split into words
// or stays literal; no reading of it makes a shell run the value, because a shell does not parse what an expansion gives.
type sh struct {
	stack  []mode
	esc    bool // after a backslash
	dollar bool // after a $
	fresh  bool // at the start of a word
	paren  bool // right after $(
	angle  int  // how many < stand before
	word   []byte
	inWord bool // reading the delimiter of a here-document
	quoted bool // it is quoted
	quote  byte // inside this quote
	tabs   bool // <<-
	docs   []heredoc
	line   []byte // of a here-document's body
}

type heredoc struct {
	delim  string
	quoted bool
	tabs   bool
}

type mode struct {
	kind  byte // ' " $ (ANSI-C) # ( ` { (in words) } (inside double quotes) + (arithmetic) h (here-document)
	depth int
	doc   heredoc
}

func (s *sh) top() byte {
	if len(s.stack) == 0 {
		return 0
	}
	return s.stack[len(s.stack)-1].kind
}

func (s *sh) push(k byte) { s.stack = append(s.stack, mode{kind: k}) }

func (s *sh) pop() { s.stack = s.stack[:len(s.stack)-1] }

// under reports whether a mode of kind k is open.
func (s *sh) under(k byte) bool {
	for i := range s.stack {
		if s.stack[i].kind == k {
			return true
		}
	}
	return false
}

// refer returns the reference for the current place.
func (s *sh) refer(name, _ string) string {
	plain := "${" + EnvName(name) + "}"
	bare := !s.esc && !s.dollar && s.bare()
	s.esc, s.dollar, s.fresh, s.paren, s.angle = false, false, false, false, 0
	if s.top() == 'h' {
		s.line = append(s.line, plain...)
	}
	if bare {
		return `"` + plain + `"`
	}
	return plain
}

// bare reports whether the place is a word, where a reference would be split.
func (s *sh) bare() bool {
	switch s.top() {
	case 0, '(', '{':
		return true
	case '`':
		return !s.under('"')
	}
	return false
}

func (s *sh) place() place {
	switch s.top() {
	case '"', '}':
		return double
	case '\'', '$':
		return single
	case '#':
		return comment
	case '+':
		return arithmetic
	case 'h':
		if s.stack[len(s.stack)-1].doc.quoted {
			return heredocShut
		}
		return heredocOpen
	}
	return bare
}

func (s *sh) feed(text string) {
	for i := 0; i < len(text); i++ {
		run := 0
		switch k := s.top(); {
		case k == '\'':
			run = until(text[i:], '\'')
		case k == '#':
			run = until(text[i:], '\n')
		case k != 'h' && k != '+' && k != '$' && !s.esc && !s.inWord && s.angle == 0:
			for i+run < len(text) && plain[text[i+run]] {
				run++
			}
			if run > 0 {
				if s.dollar = false; k != '"' && k != '}' {
					last := text[i+run-1]
					s.paren, s.fresh = false, last == ' ' || last == '\t'
				}
			}
		}
		if i += run; i < len(text) {
			s.byte(text[i])
		}
	}
}

// until returns how many bytes of s come before c.
func until(s string, c byte) int {
	if n := strings.IndexByte(s, c); n >= 0 {
		return n
	}
	return len(s)
}

// plain are the bytes that open, close and escape nothing, in words and inside double quotes.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x80 || c >= ' ' && strings.IndexByte("\\'\"`$(){}#<;&|>", byte(c)) < 0 || c == '\t'
	}
	return t
}()

func (s *sh) byte(c byte) {
	k := s.top()
	switch k {
	case 'h':
		s.body(c)
		return
	case '#':
		if c != '\n' {
			return
		}
		s.pop()
		s.command(c)
		return
	case '\'':
		if c == '\'' {
			s.pop()
		}
		return
	case '+':
		s.arithmetic(c)
		return
	}
	if s.esc {
		s.esc, s.fresh = false, false
		return
	}
	if c == '\\' {
		s.esc, s.dollar, s.paren, s.angle = true, false, false, 0
		if s.inWord {
			s.quoted = true
			s.esc = false
		}
		return
	}
	switch k {
	case '$':
		if c == '\'' {
			s.pop()
		}
	case '"', '}':
		s.double(c)
	default:
		s.command(c)
	}
}

// double is inside double quotes, or inside ${ } there.
func (s *sh) double(c byte) {
	dollar := s.dollar
	s.dollar = c == '$'
	switch {
	case c == '"' && s.top() == '"':
		s.pop()
	case c == '"':
		s.push('"')
	case c == '}' && s.top() == '}':
		s.pop()
	case c == '`':
		s.push('`')
		s.fresh = true
	case c == '(' && dollar:
		s.push('(')
		s.paren, s.fresh = true, true
	case c == '{' && dollar:
		s.push('}')
	}
}

// command is where words are read.
func (s *sh) command(c byte) {
	dollar, paren, angle, fresh := s.dollar, s.paren, s.angle, s.fresh
	s.dollar, s.paren, s.angle, s.fresh = c == '$', false, 0, false
	if s.inWord && s.delimiter(c) {
		return
	}
	switch c {
	case '\'':
		if dollar {
			s.push('$')
		} else {
			s.push('\'')
		}
	case '"':
		s.push('"')
	case '`':
		if s.top() == '`' {
			s.pop()
		} else {
			s.push('`')
			s.fresh = true
		}
	case '(':
		if paren { // $((
			s.stack[len(s.stack)-1] = mode{kind: '+', depth: 2}
			return
		}
		s.push('(')
		s.paren, s.fresh = dollar, true
	case ')':
		if s.top() == '(' {
			s.pop()
		}
		s.fresh = s.top() != '"' && s.top() != '}'
	case '{':
		if dollar {
			s.push('{')
		} else {
			s.fresh = true
		}
	case '}':
		if s.top() == '{' {
			s.pop()
		}
	case '#':
		if fresh {
			s.push('#')
		}
	case '<':
		s.angle = angle + 1
	case '-':
		if angle == 2 {
			s.tabs, s.inWord = true, true
		}
		return
	case '\n':
		s.fresh = true
		s.open()
	case ' ', '\t', ';', '&', '|', '>':
		s.fresh = true
	}
	if angle == 2 && c != '<' {
		s.inWord, s.tabs = true, false
		s.delimiter(c)
	}
}

// delimiter reads the word after <<; it reports whether c belonged to it.
func (s *sh) delimiter(c byte) bool {
	switch {
	case s.quote == c && c != 0:
		s.quote = 0
		return true
	case s.quote != 0:
		s.word = append(s.word, c)
		return true
	}
	switch c {
	case ' ', '\t':
		if len(s.word) == 0 && !s.quoted {
			return true
		}
	case '\n', ';', '&', '|', '(', ')', '<', '>':
	case '\'', '"':
		s.quoted, s.quote = true, c
		if n := len(s.stack); n > 0 && s.stack[n-1].kind == c { // pushed by the first character of the word
			s.pop()
		}
		return true
	default:
		s.word = append(s.word, c)
		return true
	}
	if len(s.word) > 0 || s.quoted {
		s.docs = append(s.docs, heredoc{string(s.word), s.quoted, s.tabs})
	}
	s.word, s.inWord, s.quoted, s.quote, s.tabs = nil, false, false, 0, false
	return false
}

// open begins the body of the next here-document at the end of a line.
func (s *sh) open() {
	if len(s.docs) > 0 {
		s.stack = append(s.stack, mode{kind: 'h', doc: s.docs[0]})
		s.docs, s.line = s.docs[1:], s.line[:0]
	}
}

// body is inside a here-document.
func (s *sh) body(c byte) {
	if c != '\n' {
		s.line = append(s.line, c)
		return
	}
	doc := s.stack[len(s.stack)-1].doc
	line := s.line
	if doc.tabs {
		line = bytes.TrimLeft(line, "\t")
	}
	if s.line = s.line[:0]; string(line) == doc.delim {
		s.pop()
		s.fresh = true
		s.open()
	}
}

// arithmetic is inside $(( )).
func (s *sh) arithmetic(c byte) {
	m := &s.stack[len(s.stack)-1]
	switch c {
	case '(':
		m.depth++
	case ')':
		if m.depth--; m.depth == 0 {
			s.pop()
		}
	}
}

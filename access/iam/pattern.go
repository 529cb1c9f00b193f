package iam

import (
	"strings"
	"unicode/utf8"
)

// A pattern is a text of a policy with wildcards and variables.
type pattern struct {
	source  string
	parts   []part
	bounded bool // of a resource: some wildcard stays within its segment
}

type partKind byte

const (
	letters  partKind = iota // text stands for itself
	one                      // ? any character
	many                     // * any characters
	variable                 // ${text}, or fallback where it has no value
)

type part struct {
	kind     partKind
	text     string
	fallback *string
}

// split reads a text of a policy. Wildcards stand for themselves when wild is false; so does ${…} when variables is false. problem is empty when all is well.
func split(s string, wild, variables bool) (p pattern, problem string) {
	p.source = s
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p.parts = append(p.parts, part{kind: letters, text: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); {
		switch {
		case wild && s[i] == '*':
			flush()
			p.parts = append(p.parts, part{kind: many})
			i++
		case wild && s[i] == '?':
			flush()
			p.parts = append(p.parts, part{kind: one})
			i++
		case variables && strings.HasPrefix(s[i:], "${"):
			n := closing(s[i:])
			if n < 0 {
				return p, "a policy variable is not closed: write ${name}, or ${$}{ for the letters"
			}
			inner := s[i+2 : i+n]
			i += n + 1
			if inner == "*" || inner == "?" || inner == "$" {
				lit.WriteString(inner)
				continue
			}
			v, bad := readVariable(inner)
			if bad != "" {
				return p, bad
			}
			flush()
			p.parts = append(p.parts, v)
		default:
			lit.WriteByte(s[i])
			i++
		}
	}
	flush()
	return p, ""
}

// closing returns the index of the brace that ends a variable; one within a quoted default does not.
func closing(s string) int {
	quoted := false
	for i := 2; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case s[i] == '}' && !quoted:
			return i
		}
	}
	return strings.IndexByte(s, '}') // a quote that is not closed is the reader's to report
}

func readVariable(inner string) (part, string) {
	name, rest, def := strings.Cut(inner, ",")
	v := part{kind: variable, text: strings.TrimSpace(name)}
	if v.text == "" || strings.ContainsAny(v.text, "'\"${*?") || strings.ContainsAny(strings.ReplaceAll(v.text, " ", ""), "\t\r\n") {
		return v, "a policy variable has no usable name: write ${aws:username}, or ${*}, ${?} and ${$} for the letters"
	}
	if def {
		rest = strings.TrimSpace(rest)
		if len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' || strings.Contains(rest[1:len(rest)-1], "'") {
			return v, "a policy variable's default is not in single quotes: write ${" + short(v.text) + ", 'default'}"
		}
		text := rest[1 : len(rest)-1]
		v.fallback = &text
	}
	return v, ""
}

func (p *pattern) hasVariables() bool {
	for _, x := range p.parts {
		if x.kind == variable {
			return true
		}
	}
	return false
}

// resolve puts the values of variables in, as letters. ok is false when one has none and no default.
func (p *pattern) resolve(c *lookup) (parts []part, ok bool) {
	if !p.hasVariables() {
		return p.parts, true
	}
	parts = make([]part, 0, len(p.parts))
	for _, x := range p.parts {
		if x.kind == variable {
			v, found := c.single(x.text)
			switch {
			case found:
				x = part{kind: letters, text: v}
			case x.fallback != nil:
				x = part{kind: letters, text: *x.fallback}
			default:
				return nil, false
			}
		}
		parts = append(parts, x)
	}
	return parts, true
}

// text is the letters of resolved parts without wildcards.
func text(parts []part) string {
	if len(parts) == 1 {
		return parts[0].text
	}
	var b strings.Builder
	for _, x := range parts {
		b.WriteString(x.text)
	}
	return b.String()
}

// cell is one step of a glob: a character, or a wildcard, which may or may not stand for a colon.
type cell struct {
	kind  partKind
	r     rune
	colon bool
}

// glob compares a whole text with resolved parts. In time it is the product of their lengths at worst: a star that failed is tried further on, and only the last one needs to be.
func glob(parts []part, s string) bool {
	i, at := 0, 0       // of parts and s
	star, from := -1, 0 // the part after the last star, and where its text is tried next
	for i < len(parts) || at < len(s) {
		if i < len(parts) {
			switch p := &parts[i]; {
			case p.kind == many:
				star, from = i+1, at
				i++
				continue
			case p.kind == one && at < len(s):
				_, n := utf8.DecodeRuneInString(s[at:])
				i, at = i+1, at+n
				continue
			case p.kind == letters && strings.HasPrefix(s[at:], p.text):
				i, at = i+1, at+len(p.text)
				continue
			}
		}
		if star < 0 || from >= len(s) {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[from:])
		from += n
		if star < len(parts) && parts[star].kind == letters {
			next := strings.Index(s[from:], parts[star].text)
			if next < 0 {
				return false
			}
			from += next
		}
		i, at = star, from
	}
	return true
}

// bounded reports whether a resource's pattern has wildcards that stay within their segment.
func bounded(parts []part) bool {
	for _, c := range arnCells(parts) {
		if c.kind != letters && c.kind != variable && !c.colon {
			return true
		}
	}
	return false
}

func cells(parts []part) []cell {
	var out []cell
	for _, x := range parts {
		if x.kind == letters {
			for _, r := range x.text {
				out = append(out, cell{kind: letters, r: r})
			}
		} else if x.kind == one || len(out) == 0 || out[len(out)-1].kind != many {
			out = append(out, cell{kind: x.kind, colon: true})
		}
	}
	return out
}

// arnCells limits wildcards to their segment as resources have it: of the first five segments, a star that is not their last character, and each question mark.
func arnCells(parts []part) []cell {
	out := cells(parts)
	segment := 0
	for i := range out {
		switch c := &out[i]; {
		case c.kind == letters && c.r == ':':
			segment++
		case segment >= 5 || c.kind == letters:
		case c.kind == one:
			c.colon = false
		case i+1 < len(out) && (out[i+1].kind != letters || out[i+1].r != ':'):
			c.colon = false
		}
	}
	return out
}

// run walks all states that the pattern can be in at once.
func run(p []cell, s string) bool {
	for len(p) > 0 && p[0].kind == letters { // what most patterns begin with
		r, n := utf8.DecodeRuneInString(s)
		if n == 0 || r != p[0].r {
			return false
		}
		p, s = p[1:], s[n:]
	}
	if len(p) == 0 {
		return s == ""
	}
	if len(p) == 1 && p[0].kind == many && p[0].colon {
		return true
	}
	at, next := make([]bool, len(p)+1), make([]bool, len(p)+1)
	at[0] = true
	skip := func(a []bool) {
		for i, c := range p {
			if a[i] && c.kind == many {
				a[i+1] = true
			}
		}
	}
	skip(at)
	for _, r := range s {
		clear(next)
		alive := false
		for i, c := range p {
			if !at[i] {
				continue
			}
			switch {
			case c.kind == letters:
				if c.r == r {
					next[i+1], alive = true, true
				}
			case r == ':' && !c.colon:
			case c.kind == one:
				next[i+1], alive = true, true
			default:
				next[i], alive = true, true
			}
		}
		if !alive {
			return false
		}
		skip(next)
		at, next = next, at
	}
	return at[len(p)]
}

// arnLike compares two ARNs part by part, as ArnEquals and ArnLike do. A pattern of fewer than six parts that ends in a star covers the rest.
func arnLike(parts []part, s string) bool {
	if !isARN(s) {
		return false
	}
	p := cells(parts)
	for n := 0; n < 5; n++ {
		i := 0
		for i < len(p) && (p[i].kind != letters || p[i].r != ':') {
			i++
		}
		if i == len(p) {
			return len(p) > 0 && p[len(p)-1].kind == many && run(p, s)
		}
		head, rest, _ := strings.Cut(s, ":")
		if !run(p[:i], head) {
			return false
		}
		p, s = p[i+1:], rest
	}
	return run(p, s)
}

// isARN reports whether s has the six parts of an ARN.
func isARN(s string) bool { return strings.HasPrefix(s, "arn:") && strings.Count(s, ":") >= 5 }

// fold makes a text comparable whatever its case.
func fold(s string) string { return strings.ToLower(s) }

package document

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTimeout bounds one match of a pattern that needs backtracking.
const matchTimeout = 100 * time.Millisecond

// pattern is an allowedPattern. AWS evaluates Java's dialect: what Go's parser does not know is matched by a library that has lookaround, with a
// time limit (T14). The rest is matched without compiling anything, which would cost more than all else that happens to a document; only long
// values and expensive patterns are given to Go's engine.
type pattern struct {
	text string
	tree *syntax.Regexp // nil when Go's parser refuses it
	wide *syntax.Regexp // the same or, for a pattern that Go does not know, one that matches at least as much; nil when there is none
	slow *regexp2.Regexp
	err  error

	once sync.Once
	fast *regexp.Regexp
}

func newPattern(s string) *pattern {
	p := &pattern{text: s}
	if p.tree, p.err = syntax.Parse(s, syntax.Perl); p.err == nil {
		p.wide = p.tree
		return p
	}
	p.tree = nil
	if wide, err := syntax.Parse(widen(s), syntax.Perl); err == nil {
		p.wide = wide
	}
	slow, err := regexp2.Compile(`\A(?:`+dotnet(s)+`)\z`, regexp2.None)
	if err != nil {
		return p
	}
	p.slow, p.err = slow, nil
	p.slow.MatchTimeout = matchTimeout
	return p
}

// match reports whether the whole of s matches; an error means that it could not be decided.
func (p *pattern) match(s string) (bool, error) {
	switch {
	case p.err != nil:
		return false, p.err
	case p.slow != nil:
		return p.slow.MatchString(s)
	}
	if yes, ok := walk(p.tree, s); ok {
		return yes, nil
	}
	p.once.Do(func() { p.fast, p.err = regexp.Compile(`\A(?:` + p.text + `)\z`) })
	if p.fast == nil {
		return false, p.err
	}
	return p.fast.MatchString(s), nil
}

// dotnet rewrites what Java writes otherwise than .NET: possessive quantifiers become atomic groups as far as they follow a class, a group or
// one character.
func dotnet(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var out strings.Builder
	start := -1 // where the last atom began in out
	var groups []int
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			start = out.Len()
			out.WriteString(s[i : i+2])
			i += 2
		case c == '[':
			end := classEnd(s, i)
			start = out.Len()
			out.WriteString(s[i:end])
			i = end
		case c == '(':
			groups = append(groups, out.Len())
			out.WriteByte(c)
			start = -1
			i++
		case c == ')':
			if n := len(groups); n > 0 {
				start, groups = groups[n-1], groups[:n-1]
			}
			out.WriteByte(c)
			i++
		case c == '*' || c == '+' || c == '?' || c == '{':
			end := i + 1
			if c == '{' {
				j := strings.IndexByte(s[i:], '}')
				if j < 0 {
					out.WriteString(s[i:])
					return out.String()
				}
				end = i + j + 1
			}
			if end < len(s) && s[end] == '+' && start >= 0 {
				head := out.String()
				out.Reset()
				out.WriteString(head[:start] + "(?>" + head[start:] + s[i:end] + ")")
				i = end + 1
				continue
			}
			out.WriteString(s[i:end])
			i = end
		default:
			start = out.Len()
			out.WriteByte(c)
			i++
		}
	}
	return out.String()
}

// classEnd returns the offset after the character class that begins at i.
func classEnd(s string, i int) int {
	j := i + 1
	if j < len(s) && s[j] == '^' {
		j++
	}
	if j < len(s) && s[j] == ']' {
		j++
	}
	for j < len(s) {
		switch s[j] {
		case '\\':
			j++
		case ']':
			return j + 1
		}
		j++
	}
	return len(s)
}

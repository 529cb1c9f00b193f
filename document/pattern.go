package document

import (
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTimeout bounds one match of a pattern that needs backtracking.
const matchTimeout = 100 * time.Millisecond

// pattern is a compiled allowedPattern. AWS evaluates Java's dialect: what Go's linear-time engine does not know is matched with lookaround
// and a time limit (T14).
type pattern struct {
	fast *regexp.Regexp
	slow *regexp2.Regexp
	err  error
}

func newPattern(s string) *pattern {
	p := new(pattern)
	if p.fast, p.err = regexp.Compile(`\A(?:` + s + `)\z`); p.err == nil {
		return p
	}
	var err error
	if p.slow, err = regexp2.Compile(`\A(?:`+dotnet(s)+`)\z`, regexp2.None); err != nil {
		p.err = err
		return p
	}
	p.err = nil
	p.slow.MatchTimeout = matchTimeout
	return p
}

// match reports whether the whole of s matches; an error means that it could not be decided.
func (p *pattern) match(s string) (bool, error) {
	switch {
	case p.err != nil:
		return false, p.err
	case p.fast != nil:
		return p.fast.MatchString(s), nil
	}
	return p.slow.MatchString(s)
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

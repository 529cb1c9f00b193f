package document

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

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

	mu   sync.Mutex
	seen map[string]bool // what excludes found
}

func newPattern(s string) *pattern {
	s = unicodeEscapes(s)
	p := &pattern{text: s}
	meet := strings.Contains(s, "&&[") // Java's intersection of classes, which Go would read as something else
	if p.tree, p.err = syntax.Parse(s, syntax.Perl); p.err == nil && !meet {
		p.wide = p.tree
		return p
	}
	p.tree = nil
	if wide, err := syntax.Parse(widen(s), syntax.Perl); err == nil && !meet {
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

// matches is match for a reader or binder: when patterns ran into the time limit three times, no more of that kind are tried.
func (c *collector) matches(p *pattern, s string) (bool, error) {
	if p.slow != nil && c.slow >= 3 {
		return false, errSlow
	}
	yes, err := p.match(s)
	if err != nil && p.err == nil {
		c.slow++
	}
	return yes, err
}

var errSlow = errors.New("too many patterns take too long")

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

// unicodeEscapes rewrites \uXXXX, which Go does not know, as \x{XXXX}; two surrogates are one character.
func unicodeEscapes(s string) string {
	if !strings.Contains(s, `\u`) {
		return s
	}
	unit := func(i int) (rune, bool) {
		if i+6 > len(s) || s[i] != '\\' || s[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(s[i+2:i+6], 16, 32)
		return rune(n), err == nil
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, ok := unit(i)
		switch {
		case ok && utf16.IsSurrogate(r):
			if low, two := unit(i + 6); two && utf16.DecodeRune(r, low) != utf8.RuneError {
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			fallthrough
		case ok:
			out.WriteString(`\x{` + strconv.FormatInt(int64(r), 16) + `}`)
			i += 6
		case s[i] == '\\' && i+1 < len(s):
			out.WriteString(s[i : i+2])
			i += 2
		default:
			out.WriteByte(s[i])
			i++
		}
	}
	return out.String()
}

// dotnet rewrites what Java writes otherwise than .NET: possessive quantifiers become atomic groups as far as they follow a class, a group or
// one character, [a&&[^b]] becomes [a-[b]], and superfluous escapes go.
func dotnet(s string) string {
	var out strings.Builder
	start := -1 // where the last atom began in out
	var groups []int
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			start = out.Len()
			if strings.HasPrefix(s[i:], `\x{`) {
				end := i + strings.IndexByte(s[i:]+"}", '}') + 1
				out.WriteString(literalRune(s[i:min(end, len(s))]))
				i = min(end, len(s))
				continue
			}
			out.WriteString(strings.TrimPrefix(s[i:i+2], underscore(s[i:i+2])))
			i += 2
		case c == '[':
			end := classEnd(s, i)
			start = out.Len()
			out.WriteString(class(s[i:end]))
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

// underscore returns the backslash of an escape that .NET refuses.
func underscore(esc string) string {
	if esc[1] == '_' || esc[1] >= utf8.RuneSelf {
		return `\`
	}
	return ""
}

// literalRune gives \x{…} as the character itself.
func literalRune(esc string) string {
	n, err := strconv.ParseUint(strings.Trim(esc[2:], "{}"), 16, 32)
	if err != nil {
		return esc
	}
	if r := rune(n); r >= utf8.RuneSelf {
		return string(r)
	}
	return `\x` + hexDigits[n>>4&15:n>>4&15+1] + hexDigits[n&15:n&15+1]
}

// class rewrites a character class.
func class(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], `\x{`):
			end := min(i+strings.IndexByte(s[i:]+"}", '}')+1, len(s))
			out.WriteString(literalRune(s[i:end]))
			i = end
		case s[i] == '\\' && i+1 < len(s):
			out.WriteString(strings.TrimPrefix(s[i:i+2], underscore(s[i:i+2])))
			i += 2
		case strings.HasPrefix(s[i:], "&&[^"):
			out.WriteString("-[")
			i += 4
		default:
			out.WriteByte(s[i])
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
	inner := 0 // in an intersection
	for j < len(s) {
		switch {
		case s[j] == '\\':
			j++
		case strings.HasPrefix(s[j:], "&&["):
			inner++
			j += 2
		case s[j] == ']' && inner > 0:
			inner--
		case s[j] == ']':
			return j + 1
		}
		j++
	}
	return len(s)
}

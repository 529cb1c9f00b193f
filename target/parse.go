package target

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/fleetwright/fleetwright/fault"
)

// SyntaxError says where a text is no list of targets. Its code is InvalidTarget.
type SyntaxError struct {
	Arg    int    // which argument of Parse, from 1
	Column int    // which character of it, from 1
	Reason string // what is wrong and what to write
}

// Error names the place.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("targets: argument %d, column %d: %s", e.Arg, e.Column, e.Reason)
}

// FaultCode returns InvalidTarget.
func (e *SyntaxError) FaultCode() fault.Code { return fault.InvalidTarget }

// MaxText is the longest argument of Parse, in bytes: five targets of fifty values fit.
const MaxText = 256 << 10

// Parse reads targets in AWS CLI's notation, one or more in each argument:
//
//	Key=tag:Role,Values=web,db
//	Key=tag:Env,Values=prod Key=tag-key,Values=Owner
//	Key=tag:Name,Values="front, back",'it''s'       (quotes where a value holds commas; the quote is written twice or after a backslash)
//	[{"Key":"tag:Role","Values":["web"]}]           (JSON: an object or a list of them)
//
// Between Values, blanks belong to the value unless Key= or Values= follows. Parse returns a *SyntaxError with the place; it does not check limits, see Validate.
func Parse(args ...string) ([]Target, error) {
	var out []Target
	for i, a := range args {
		if len(a) > MaxText {
			return nil, &SyntaxError{i + 1, 1, fmt.Sprintf("%d bytes, at most %d are read", len(a), MaxText)}
		}
		p := &parser{arg: i + 1, s: a}
		var ts []Target
		var err error
		switch t := strings.TrimLeftFunc(a, unicode.IsSpace); {
		case strings.HasPrefix(t, "[") || strings.HasPrefix(t, "{"):
			ts, err = p.json()
		default:
			ts, err = p.shorthand()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, ts...)
	}
	return out, nil
}

type parser struct {
	arg, pos int
	s        string
}

func (p *parser) fail(at int, format string, args ...any) error {
	at = max(0, min(at, len(p.s)))
	return &SyntaxError{p.arg, len([]rune(p.s[:at])) + 1, fmt.Sprintf(format, args...)}
}

func (p *parser) blanks() {
	p.pos = len(p.s) - len(strings.TrimLeftFunc(p.s[p.pos:], unicode.IsSpace))
}

// member returns the length of "Key=" or "Values=" at i, else 0.
func (p *parser) member(i int) int {
	for _, m := range [...]string{"Key=", "Values="} {
		if strings.HasPrefix(p.s[i:], m) {
			return len(m)
		}
	}
	return 0
}

func (p *parser) shorthand() ([]Target, error) {
	var out []Target
	for {
		p.blanks()
		if p.pos == len(p.s) {
			if len(out) == 0 {
				return nil, p.fail(p.pos, "empty: write Key=tag:NAME,Values=VALUE")
			}
			return out, nil
		}
		t, err := p.target()
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
}

// target reads one Key=…,Values=… in either order.
func (p *parser) target() (t Target, err error) {
	start := p.pos
	var key, values bool
	for {
		at, n := p.pos, p.member(p.pos)
		switch {
		case n == 0:
			return t, p.fail(at, "%s is no member of a target: write Key=… or Values=…", p.word(at))
		case n == len("Key=") && !key:
			key, p.pos = true, at+n
			if t.Key, err = p.value(); err == nil && t.Key == "" {
				err = p.fail(p.pos, "Key is empty: write Key=tag:NAME")
			}
		case n == len("Values=") && !values:
			values, p.pos = true, at+n
			t.Values, err = p.list()
		default:
			return t, p.fail(at, "%s is given twice in one target: separate targets by a blank", strings.TrimSuffix(p.s[at:at+n], "="))
		}
		if err != nil {
			return t, err
		}
		if p.pos < len(p.s) && p.s[p.pos] == ',' {
			p.pos++
			p.blanks()
			continue
		}
		break
	}
	switch {
	case !key:
		return t, p.fail(start, "Key is missing: write Key=tag:NAME,Values=VALUE")
	case !values:
		return t, p.fail(p.pos, "Values is missing: write %s,Values=VALUE", fault.Clean(strings.TrimSpace(p.s[start:p.pos])))
	}
	return t, nil
}

// list reads a,b,c or [a,b,c], up to the end of the target.
func (p *parser) list() (out []string, err error) {
	open := p.pos
	bracket := p.pos < len(p.s) && p.s[p.pos] == '['
	if bracket {
		p.pos++
	}
	for {
		p.blanks()
		at := p.pos
		v, err := p.item(bracket)
		if err != nil {
			return nil, err
		}
		if v == "" && p.pos == at {
			return nil, p.fail(at, "a value is empty: write Values=VALUE, or \"\" for the empty one")
		}
		out = append(out, v)
		more := p.pos < len(p.s) && p.s[p.pos] == ','
		switch {
		case more && !bracket && p.member(p.pos+1+p.lead(p.pos+1)) > 0:
			return out, nil
		case more:
			p.pos++
		case !bracket:
			return out, nil
		case p.pos < len(p.s) && p.s[p.pos] == ']':
			p.pos++
			return out, p.ended()
		default:
			return nil, p.fail(open, "[ is not closed by ]")
		}
	}
}

// lead returns the number of bytes of blanks at i.
func (p *parser) lead(i int) int {
	return len(p.s[i:]) - len(strings.TrimLeftFunc(p.s[i:], unicode.IsSpace))
}

func (p *parser) value() (string, error) { return p.item(false) }

// item reads one value: quoted, or up to a comma, a blank before a member, or the end.
func (p *parser) item(bracket bool) (string, error) {
	if p.pos < len(p.s) && (p.s[p.pos] == '"' || p.s[p.pos] == '\'') {
		return p.quoted(bracket)
	}
	start := p.pos
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		if c == ',' || bracket && c == ']' {
			break
		}
		if n := p.lead(p.pos); n > 0 {
			if p.pos+n == len(p.s) || p.member(p.pos+n) > 0 {
				break
			}
			p.pos += n
			continue
		}
		p.pos++
	}
	return strings.TrimRightFunc(p.s[start:p.pos], unicode.IsSpace), nil
}

func (p *parser) quoted(bracket bool) (string, error) {
	open, q := p.pos, p.s[p.pos]
	var b strings.Builder
	for p.pos++; p.pos < len(p.s); p.pos++ {
		c := p.s[p.pos]
		switch {
		case c == '\\' && p.pos+1 < len(p.s) && (p.s[p.pos+1] == q || p.s[p.pos+1] == '\\'):
			p.pos++
			b.WriteByte(p.s[p.pos])
		case c == q && p.pos+1 < len(p.s) && p.s[p.pos+1] == q:
			p.pos++
			b.WriteByte(q)
		case c == q:
			p.pos++
			if bracket {
				p.blanks()
				return b.String(), nil
			}
			return b.String(), p.ended()
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(open, "the quote %c is not closed", q)
}

// ended checks that a comma, blanks or the end follow.
func (p *parser) ended() error {
	if p.pos == len(p.s) || p.s[p.pos] == ',' || p.lead(p.pos) > 0 {
		return nil
	}
	return p.fail(p.pos, "%s follows the end of a value: write a comma or a blank between", p.word(p.pos))
}

// word returns what stands at i, for a message.
func (p *parser) word(i int) string {
	rest := p.s[i:]
	if n := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == '=' }); n > 0 {
		rest = rest[:n]
	}
	if r := []rune(rest); len(r) > 24 {
		rest = string(r[:24]) + "…"
	}
	return `"` + fault.Clean(rest) + `"`
}

// String returns the target in AWS CLI's notation. Parse reads it back to the same target, if its key is valid.
func (t Target) String() string {
	var b strings.Builder
	b.WriteString("Key=" + quote(t.Key) + ",Values=")
	for i, v := range t.Values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(v))
	}
	return b.String()
}

// Format returns several targets in AWS CLI's notation, separated by blanks.
func Format(ts []Target) string {
	s := make([]string, len(ts))
	for i, t := range ts {
		s[i] = t.String()
	}
	return strings.Join(s, " ")
}

func quote(s string) string {
	plain := s != "" && !strings.HasPrefix(s, "[") && !strings.Contains(s, "Key=") && !strings.Contains(s, "Values=") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == ',' || r == '"' || r == '\'' || r == '\\' || unicode.IsSpace(r) })
	if plain {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

package document

import (
	"regexp/syntax"
	"strings"
)

// use is a place where a parameter reaches a script.
type use struct {
	p     *Parameter
	step  *Step
	at    *Value // the string with the placeholder
	off   int    // where it begins in the string
	text  string // the placeholder as it is written
	place place
	shell string // "sh", "powershell", or "" where the script is handed to another document
	alone bool   // the parameter is the script: a StringList as commands, or the only element
	again bool   // a second interpreter reads the place: eval, sh -c, arithmetic …
}

// place is how a script quotes the place of a placeholder.
type place uint8

const (
	bare place = iota
	double
	single
	heredocOpen  // <<EOF: expansions happen
	heredocShut  // <<'EOF': none do
	comment      // up to the end of the line
	arithmetic   // $(( )), where bash evaluates what it reads
	otherProgram // a script of another language
)

// uses finds the places where a parameter reaches a script, but for scripts where every parameter is data wherever it stands.
func (d *Document) uses() []use {
	var out []use
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.spec == nil {
			continue
		}
		if s.spec.Shell != "" {
			out = d.scriptUses(out, s, s.given("runCommand"), s.spec.Shell)
			continue
		}
		if s.Action != "aws:runDocument" {
			continue
		}
		shell := ""
		switch s.given("documentPath").Text() {
		case "AWS-RunShellScript":
			shell = "sh"
		case "AWS-RunPowerShellScript":
			shell = "powershell"
		default:
			continue
		}
		before := len(out)
		out = d.scriptUses(out, s, s.given("documentParameters").fold("commands"), shell)
		for j := before; j < len(out); j++ {
			out[j].shell = ""
		}
	}
	return out
}

// scriptUses finds the placeholders of parameters in a script.
func (d *Document) scriptUses(out []use, s *Step, v *Value, shell string) []use {
	items := v.Items()
	if v.Kind() == String {
		items = []*Value{v}
	}
	open := false // something depends on how the script quotes it
	for _, it := range items {
		if it.Kind() == String {
			it.tmpl.each(func(name string) {
				if p, ok := d.Parameter(name); ok && !open {
					open = p.EnvVar || !p.anywhere()
				}
			})
		}
	}
	if !open {
		return out
	}
	ref := newReference(shell, items[0].Text())
	for i, it := range items {
		if i > 0 {
			ref.feed("\n")
		}
		if it.Kind() != String || it.tmpl == nil {
			ref.feed(it.Text())
			continue
		}
		type spot struct {
			p     *Parameter
			place place
		}
		before, n, crowd := 0, 0, map[spot]bool(nil)
		for _, seg := range it.tmpl.segs {
			p, ok := d.Parameter(seg.name)
			if !ok || seg.name == "" {
				ref.feed(seg.text)
				before += len(seg.text)
				continue
			}
			u := use{p: p, step: s, at: it, off: before, text: seg.text, shell: shell, place: ref.place(),
				alone: it.tmpl.whole() != "" && (p.Type == TypeStringList || len(items) == 1)}
			if n++; n < 100 {
				u.again = u.place == arithmetic || interpreted(it.text[max(0, before-300):before])
				out = append(out, u)
			} else if k := (spot{p, u.place}); !crowd[k] { // in a string of so many placeholders the worst is assumed
				if crowd == nil {
					crowd = map[spot]bool{}
				}
				crowd[k], u.again = true, true
				out = append(out, u)
			}
			ref.feed("x")
			before += len(seg.text)
		}
	}
	return out
}

// interpreted reports whether the line that ends with head hands its rest to a second interpreter.
func interpreted(head string) bool {
	head = head[strings.LastIndexByte(head, '\n')+1:]
	for _, w := range []string{"eval ", "sh -c", "sh -lc", "su -c", "ssh ", "python -c", "python3 -c", "perl -e", "xargs sh", "Invoke-Expression", "iex ", "powershell -Command", "pwsh -Command", "cmd /c"} {
		if i := strings.LastIndex(head, w); i >= 0 && !strings.ContainsAny(head[i+len(w):], ";|&\n") {
			return true
		}
	}
	return false
}

// The characters that are not data outside quotes.
const (
	controls = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
	psQuotes = "“”„‘’‚‛" // PowerShell takes them for quotes
	psWords  = controls + " !\"#$&'()*;<>?[]`{|}~^,@\u00a0–—―" + psQuotes
	shWords  = controls + " !\"#$&'()*;<>?[\\]`{|}~^"
)

// dangerous are the characters that are not data at a place.
func (u *use) dangerous() string {
	if u.shell != "sh" {
		switch u.place {
		case double:
			return "\"$`\x00" + psQuotes
		case single:
			return "'\x00" + psQuotes
		}
		return psWords
	}
	switch u.place {
	case double:
		return "\"$`\\\x00"
	case single:
		return "'\x00"
	case heredocOpen:
		return "$`\\\n\x00"
	case heredocShut, comment:
		return "\n\x00"
	}
	return shWords
}

// safe reports whether the declaration of the parameter keeps values from being more than data at the place.
func (u *use) safe() bool {
	switch u.p.Type.base() {
	case TypeInteger, TypeBoolean:
		return true
	}
	if u.alone || len(u.p.AllowedValues) > 0 {
		return true
	}
	chars := u.dangerous()
	if u.again {
		chars = shWords + psWords
	}
	if u.p.Type.base() != TypeString { // as JSON: with quotes and braces
		return false
	}
	return u.p.AllowedPattern != "" && u.p.matcher().excludes(chars)
}

// anywhere reports whether the declaration keeps values from being more than data wherever a script puts them.
func (p *Parameter) anywhere() bool {
	switch p.Type.base() {
	case TypeInteger, TypeBoolean:
		return true
	}
	return len(p.AllowedValues) > 0 || p.Type.base() == TypeString && p.AllowedPattern != "" && p.matcher().excludes(shWords+psWords)
}

// excludes reports whether no value that matches the pattern as a whole can have one of chars. It errs towards false.
func (p *pattern) excludes(chars string) bool {
	if p.wide == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	yes, ok := p.seen[chars]
	if !ok {
		if p.seen == nil {
			p.seen = map[string]bool{}
		}
		yes = never(p.wide, []rune(chars))
		p.seen[chars] = yes
	}
	return yes
}

func never(re *syntax.Regexp, chars []rune) bool {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			for _, c := range chars {
				if r == c {
					return false
				}
			}
		}
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for _, c := range chars {
				if re.Rune[i] <= c && c <= re.Rune[i+1] {
					return false
				}
			}
		}
	case syntax.OpAnyChar:
		return false
	case syntax.OpAnyCharNotNL:
		for _, c := range chars {
			if c != '\n' {
				return false
			}
		}
	}
	for _, sub := range re.Sub {
		if !never(sub, chars) {
			return false
		}
	}
	return true
}

// widen removes what only narrows a pattern and Go's parser does not know: lookaround and possessiveness. What the rest cannot match, the whole
// cannot either.
func widen(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			out.WriteString(s[i : i+2])
			i += 2
		case s[i] == '[':
			end := classEnd(s, i)
			out.WriteString(s[i:end])
			i = end
		case strings.HasPrefix(s[i:], "(?=") || strings.HasPrefix(s[i:], "(?!") || strings.HasPrefix(s[i:], "(?<=") || strings.HasPrefix(s[i:], "(?<!"):
			i = groupEnd(s, i)
		case strings.HasPrefix(s[i:], "(?>"):
			out.WriteString("(?:")
			i += 3
		case s[i] == '+' && i > 0 && (s[i-1] == '*' || s[i-1] == '+' || s[i-1] == '?' || s[i-1] == '}'):
			i++
		default:
			out.WriteByte(s[i])
			i++
		}
	}
	return out.String()
}

// groupEnd returns the offset after the group that begins at i.
func groupEnd(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(s, i) - 1
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(s)
}

package document

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// envEdits are the edits that turn a parameter from text pasted into shell scripts into an environment variable (R-09, I12): the declaration, and
// the places in single quotes, where a shell would not look the variable up. It is nil where that is not mechanical: where the value is meant as
// code, as a list of words, or is read by another program.
func (c *collector) envEdits(d *Document, p *Parameter, uses []use) []Edit {
	if c.text0 == nil || d.SchemaVersion != "2.2" || p.Type != TypeString || p.Source.Kind() != Map || len(p.Source.fields) == 0 {
		return nil
	}
	var out []Edit
	for i := range uses {
		u := &uses[i]
		if u.p != p || u.shell == "" {
			continue
		}
		switch {
		case u.alone, u.again, u.asCode():
			return nil
		case u.place == single && u.shell == "sh":
			e, ok := c.unquote(d, u)
			if !ok {
				return nil
			}
			out = append(out, e)
		case u.place == bare, u.place == double, u.place == heredocOpen, u.place == comment:
		default:
			return nil
		}
	}
	if e, ok := c.declareEnv(p); ok {
		return append(out, e)
	}
	return nil
}

// words are lines after which a value stands for code, or for several words.
var words = regexp.MustCompile(`(?:^|[;|&({]|\b(?:then|do|else|elif|if|while|until|time|exec|sudo|nohup|command))\s*$|\bfor\s+\w+\s+in\s+[^;]*$|=~\s*$|[$%&.]\{?$|\bset\s+[^;]*$`)

// asCode reports whether a script seems to mean the value as code or as a list of words.
func (u *use) asCode() bool {
	head := u.at.text[:u.off]
	head = head[strings.LastIndexByte(head, '\n')+1:]
	if strings.HasSuffix(head, "$") || strings.HasSuffix(head, "{") {
		return true
	}
	return u.place == bare && words.MatchString(head)
}

// unquote makes the edit that takes a placeholder out of single quotes: '{{ x }}' becomes "{{ x }}", and 'a {{ x }} b' becomes
// 'a '"{{ x }}"' b'.
func (c *collector) unquote(d *Document, u *use) (Edit, bool) {
	m := c.where()
	start := m.offset(u.at.Place())
	if start < 0 {
		return Edit{}, false
	}
	head, tail := u.at.text[:u.off], u.at.text[u.off+len(u.text):]
	if i := strings.LastIndexByte(head, '\''); i < 0 || i > 0 && head[i-1] == '$' {
		return Edit{}, false // opened elsewhere, or $'…', where escapes mean something
	}
	end := m.rest(d.Root, start)
	single, double := `'`, `"`
	switch m.src[start] {
	case '"':
		double = `\"`
	case '\'':
		single = `''`
	case '!', '&', '*':
		return Edit{}, false
	}
	if _, e, ok := m.span(int(u.at.line), int(u.at.column), u.at.text); ok {
		end = e
	}
	raw := string(m.src[start:end])
	if strings.Count(raw, u.text) != strings.Count(u.at.text, u.text) {
		return Edit{}, false // written with escapes, or folded
	}
	at := start
	for range strings.Count(u.at.text[:u.off], u.text) {
		at += strings.Index(string(m.src[at:end]), u.text) + len(u.text)
	}
	at += strings.Index(string(m.src[at:end]), u.text)
	mark, end := double+u.text+double, at+len(u.text)
	if strings.HasSuffix(head, "'") && strings.HasPrefix(tail, "'") && bytes.HasSuffix(m.src[:at], []byte(single)) && bytes.HasPrefix(m.src[end:], []byte(single)) {
		return Edit{at - len(single), end + len(single), mark}, true
	}
	return Edit{at, end, single + mark + single}, true
}

// declareEnv makes the edit that declares a parameter as ENV_VAR, after its type.
func (c *collector) declareEnv(p *Parameter) (Edit, bool) {
	m := c.where()
	if v := p.Source.Get("interpolationType"); v != nil {
		start, end, ok := m.span(int(v.line), int(v.column), v.Text())
		if !ok {
			return Edit{}, false
		}
		return Edit{start, end, m.spell("ENV_VAR", start)}, true
	}
	i := slices.IndexFunc(p.Source.fields, func(f Field) bool { return f.Key == "type" })
	if i < 0 || i+1 < len(p.Source.fields) {
		i++
	}
	return c.insert(p.Source, &p.Source.fields[i], "interpolationType", "ENV_VAR")
}

// closest returns the name that a word was probably meant to be, "" when none or several are equally near. Case costs nothing.
func closest(word string, names []string) string {
	best, least, tie := "", 3, false
	for _, n := range names {
		if n == word || len(n) < 3 || !mistyped(strings.ToLower(word), strings.ToLower(n)) {
			continue
		}
		dist := distance(strings.ToLower(word), strings.ToLower(n))
		if tie = tie && dist >= least || dist == least && n != best; dist < least {
			best, least, tie = n, dist, false
		}
	}
	if tie {
		return ""
	}
	return best
}

// mistyped reports whether one slip of the hand makes a word of a name: a letter wrong, missing or too many, two letters in a long word, or two
// letters changed round. Another digit is another name.
func mistyped(word, name string) bool {
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, s)
	}
	if digits(word) != digits(name) {
		return false
	}
	switch distance(word, name) {
	case 0, 1:
		return true
	case 2:
		if len(word) != len(name) {
			return len(name) >= 6
		}
		for i := range len(name) - 1 {
			if word[i] != name[i] {
				return word[i] == name[i+1] && word[i+1] == name[i]
			}
		}
	}
	return false
}

// unknownKey reports a key that a map cannot have, with the one that was probably meant.
func (c *collector) unknownKey(in *Value, f *Field, code, where string, known []string) {
	if c.full() {
		return
	}
	best := closest(f.Key, known)
	if best == "" {
		c.key(f, Error, code, "unknown key %q in %s: remove it", clip(f.Key), where)
		return
	}
	c.rename(c.key(f, Error, code, "unknown key %q in %s: did you mean %s?", clip(f.Key), where, best), in, f, best)
}

// The keys of the parts of documents.
var (
	commandKeys   = []string{"schemaVersion", "description", "parameters", "mainSteps"}
	runbookKeys   = []string{"schemaVersion", "description", "assumeRole", "parameters", "variables", "outputs", "files", "mainSteps"}
	stepKeys      = []string{"action", "name", "description", "inputs", "precondition", "settings", "onFailure", "onSuccess", "maxAttempts", "timeoutSeconds", "isEnd", "finallyStep"}
	runbookStep   = []string{"name", "action", "description", "inputs", "nextStep", "onFailure", "onCancel", "isEnd", "isCritical", "maxAttempts", "timeoutSeconds", "outputs"}
	parameterKeys = []string{"type", "description", "default", "allowedValues", "allowedPattern", "displayType", "minItems", "maxItems", "minChars", "maxChars", "minValue", "maxValue", "interpolationType"}
	sessionKeys   = []string{"schemaVersion", "description", "parameters", "sessionType", "properties", "inputs"}
	packageKeys   = []string{"schemaVersion", "description", "version", "publisher", "name", "files", "packages", "url"}
	outputKeys    = []string{"Name", "Selector", "Type"}
	typeNames     = []string{"String", "StringList", "Integer", "Boolean", "StringMap", "MapList"}
)

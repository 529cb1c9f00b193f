package api

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/automation"
)

// value returns an input by its name.
func (c *call) value(name string) any { return c.in[name] }

// text returns an input as text, "" when it is missing.
func (c *call) text(name string) string { return textOf(c.value(name)) }

func textOf(v any) string {
	if v == nil {
		return ""
	}
	if l, ok := v.([]any); ok && len(l) == 1 { // a list parameter with one item where one value is wanted
		return textOf(l[0])
	}
	return strings.Join(automation.Strings(v), "")
}

// list returns an input as a list of texts; one value is a list of one.
func (c *call) list(name string) []any {
	v := c.value(name)
	if v == nil || v == "" {
		return nil
	}
	out := []any{}
	for _, s := range automation.Strings(v) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// set returns an input as a list of texts, each of them once.
func (c *call) set(name string) (out []any) {
	for _, v := range c.list(name) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// flag returns a Boolean input, also from its text. given is false when it is missing.
func (c *call) flag(name string) (v, given bool, err error) {
	s := strings.TrimSpace(c.text(name))
	switch {
	case s == "":
		return false, false, nil
	case strings.EqualFold(s, "true"):
		return true, true, nil
	case strings.EqualFold(s, "false"):
		return false, true, nil
	}
	return false, true, invalid(name + " must be true or false")
}

// number returns an Integer input, also from its text; def when it is missing.
func (c *call) number(name string, def int64) (int64, error) {
	s := strings.TrimSpace(c.text(name))
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, invalid(name + " must be a whole number")
	}
	return n, nil
}

// parsed is a structure that may have come as its JSON text.
func parsed(v any) any {
	s, ok := v.(string)
	if t := strings.TrimSpace(s); !ok || t == "" || t[0] != '{' && t[0] != '[' {
		return v
	}
	var out any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if d.Decode(&out) != nil || d.More() {
		return v
	}
	return out
}

// jsonText is a structure as JSON text; text stays as it is.
func jsonText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// dig walks into an answer by names and indexes; nil when something is not there.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// items is a list in an answer.
func items(v any) []any {
	l, _ := v.([]any)
	return l
}

// str is a text in an answer.
func str(v any, path ...any) string { return textOf(dig(v, path...)) }

// take puts inputs that must be there into in, given by pairs of the input's name and the operation's.
func (c *call) take(in map[string]any, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		s := strings.TrimSpace(c.text(pairs[i]))
		if s == "" {
			return invalid(pairs[i] + " must be given")
		}
		in[pairs[i+1]] = s
	}
	return nil
}

// pass puts texts that are there into in, given as take's.
func (c *call) pass(in map[string]any, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if s := c.text(pairs[i]); s != "" {
			in[pairs[i+1]] = s
		}
	}
}

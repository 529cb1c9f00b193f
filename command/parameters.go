package command

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// ParseParameters reads parameters as the AWS CLI takes them: JSON ({"commands":["uptime"]}, values may be single texts), or the shorthand
// commands=uptime,workingDirectory=/tmp, where a value may be a list in brackets or go on with commas (commands=date,uptime), and double quotes keep commas, brackets and
// equals signs (commands="echo a, b"). In a bare value, a backslash before a comma or a bracket keeps that. Errors (InvalidParameters) name the column.
func ParseParameters(text string) (map[string][]string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	if text[0] == '{' {
		return parametersFromJSON(text)
	}
	p := &parameterParser{text: text}
	out := map[string][]string{}
	for {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if _, ok := out[name]; ok {
			return nil, p.fail(p.at, "parameter %s is given twice", fault.Clean(name))
		}
		if out[name], err = p.values(); err != nil {
			return nil, err
		}
		if p.at == len(p.text) {
			return out, nil
		}
		p.at++ // the comma
	}
}

func parametersFromJSON(text string) (map[string][]string, error) {
	var raw map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err := d.Decode(&raw)
	if err == nil && d.More() {
		err = fmt.Errorf("something follows the closing brace")
	}
	if err != nil {
		return nil, fault.New("command.ParseParameters", fault.InvalidParameters, "the parameters are no JSON object: %v", err)
	}
	out := make(map[string][]string, len(raw))
	for name, v := range raw {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		out[name] = []string{}
		for _, e := range list {
			switch e := e.(type) {
			case string:
				out[name] = append(out[name], e)
			case json.Number, bool:
				out[name] = append(out[name], fmt.Sprint(e))
			default:
				b, err := json.Marshal(e)
				if err != nil || e == nil {
					return nil, fault.New("command.ParseParameters", fault.InvalidParameters, "parameter %s: give a text or a list of texts", fault.Clean(name))
				}
				out[name] = append(out[name], string(b))
			}
		}
	}
	return out, nil
}

type parameterParser struct {
	text string
	at   int
}

func (p *parameterParser) fail(at int, format string, args ...any) error {
	return fault.New("command.ParseParameters", fault.InvalidParameters, "parameters, column %d: %s", at+1, fmt.Sprintf(format, args...))
}

// name reads "name=".
func (p *parameterParser) name() (string, error) {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	end := strings.IndexAny(p.text[p.at:], "=,")
	if end < 0 || p.text[p.at+end] != '=' {
		return "", p.fail(p.at, "expected name=value, as in commands=uptime")
	}
	name := strings.TrimSpace(p.text[p.at : p.at+end])
	if name == "" {
		return "", p.fail(p.at, "the name before = is empty")
	}
	p.at += end + 1
	return name, nil
}

// values reads a list, a quoted text, or bare texts up to the next name= or the end.
func (p *parameterParser) values() ([]string, error) {
	if p.at < len(p.text) && p.text[p.at] == '[' {
		return p.list()
	}
	var out []string
	for {
		v, err := p.value(false)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if p.at == len(p.text) || p.nameFollows() {
			return out, nil
		}
		p.at++
	}
}

// nameFollows reports whether a comma is followed by name=, so that it ends the values.
func (p *parameterParser) nameFollows() bool {
	rest := strings.TrimLeft(p.text[p.at+1:], " ")
	n := 0
	for n < len(rest) && (rest[n] == '_' || rest[n] == '-' || rest[n] == '.' || rest[n] >= '0' && rest[n] <= '9' || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'z') {
		n++
	}
	return n > 0 && n < len(rest) && rest[n] == '='
}

func (p *parameterParser) list() ([]string, error) {
	open := p.at
	p.at++
	out := []string{}
	for {
		for p.at < len(p.text) && p.text[p.at] == ' ' {
			p.at++
		}
		if p.at == len(p.text) {
			return nil, p.fail(open, "the list is not closed with ]")
		}
		if p.text[p.at] == ']' {
			p.at++
			break
		}
		v, err := p.value(true)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		switch {
		case p.at == len(p.text):
			return nil, p.fail(open, "the list is not closed with ]")
		case p.text[p.at] == ',':
			p.at++
		}
	}
	if p.at < len(p.text) && p.text[p.at] != ',' {
		return nil, p.fail(p.at, "expected a comma after ]")
	}
	return out, nil
}

// value reads one quoted or bare text. It stops at the comma, the bracket or the end.
func (p *parameterParser) value(inList bool) (string, error) {
	if p.at < len(p.text) && p.text[p.at] == '"' {
		return p.quoted(inList)
	}
	var b strings.Builder
	for ; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		if c == '\\' && p.at+1 < len(p.text) && strings.IndexByte(",[]", p.text[p.at+1]) >= 0 {
			p.at++
			b.WriteByte(p.text[p.at])
			continue
		}
		if c == ',' || inList && c == ']' {
			break
		}
		b.WriteByte(c)
	}
	v := b.String()
	if inList {
		v = strings.TrimSpace(v)
	}
	return v, nil
}

func (p *parameterParser) quoted(inList bool) (string, error) {
	open := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '\\' && p.at+1 < len(p.text) && (p.text[p.at+1] == '"' || p.text[p.at+1] == '\\'):
			p.at++
			b.WriteByte(p.text[p.at])
		case c == '"':
			p.at++
			for inList && p.at < len(p.text) && p.text[p.at] == ' ' {
				p.at++
			}
			if p.at < len(p.text) && p.text[p.at] != ',' && !(inList && p.text[p.at] == ']') {
				return "", p.fail(p.at, "expected a comma after the closing quote")
			}
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(open, "the quote is not closed")
}

package target

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// json reads the JSON notation token by token, because encoding/json alone takes repeated, misspelt and differently cased names without a word.
func (p *parser) json() ([]Target, error) {
	d := json.NewDecoder(strings.NewReader(p.s))
	var out []Target
	t, err := p.token(d)
	switch {
	case err != nil:
		return nil, err
	case t == json.Delim('{'):
		one, err := p.object(d)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	default: // '['
		for d.More() {
			if err := p.expect(d, json.Delim('{'), "an object with Key and Values"); err != nil {
				return nil, err
			}
			one, err := p.object(d)
			if err != nil {
				return nil, err
			}
			out = append(out, one)
		}
		if err := p.expect(d, json.Delim(']'), "]"); err != nil {
			return nil, err
		}
	}
	if rest := p.s[d.InputOffset():]; strings.TrimSpace(rest) != "" {
		return nil, p.fail(int(d.InputOffset()), "something follows the end of the JSON text")
	}
	if len(out) == 0 {
		return nil, p.fail(0, `the list is empty: write [{"Key":"tag:NAME","Values":["VALUE"]}]`)
	}
	return out, nil
}

func (p *parser) token(d *json.Decoder) (json.Token, error) {
	t, err := d.Token()
	var se *json.SyntaxError
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, p.fail(len(p.s), "the JSON text ends too early")
	case errors.As(err, &se):
		return nil, p.fail(int(se.Offset)-1, "bad JSON: %s", fault.Clean(se.Error()))
	}
	return nil, p.fail(int(d.InputOffset()), "bad JSON: %s", fault.Clean(err.Error()))
}

func (p *parser) expect(d *json.Decoder, want json.Token, words string) error {
	at := d.InputOffset()
	t, err := p.token(d)
	if err == nil && t != want {
		err = p.fail(int(at), "expected %s", words)
	}
	return err
}

// object reads the rest of an object after its brace.
func (p *parser) object(d *json.Decoder) (t Target, err error) {
	start := int(d.InputOffset())
	var key, values bool
	for d.More() {
		at := int(d.InputOffset())
		name, err := p.token(d)
		if err != nil {
			return t, err
		}
		switch {
		case name == "Key" && !key:
			key = true
			if t.Key, err = p.str(d, "Key"); err == nil && t.Key == "" {
				err = p.fail(int(d.InputOffset()), "Key is empty")
			}
		case name == "Values" && !values:
			values = true
			if err = p.expect(d, json.Delim('['), "a list of strings as Values"); err != nil {
				return t, err
			}
			for d.More() {
				v, err := p.str(d, "a value")
				if err != nil {
					return t, err
				}
				t.Values = append(t.Values, v)
			}
			err = p.expect(d, json.Delim(']'), "]")
		case name == "Key" || name == "Values":
			err = p.fail(at, "%s is given twice in one target", name)
		default:
			err = p.fail(at, `%q is no member of a target: write "Key" and "Values"`, fault.Clean(name.(string)))
		}
		if err != nil {
			return t, err
		}
	}
	if err := p.expect(d, json.Delim('}'), "}"); err != nil {
		return t, err
	}
	if !key || !values {
		return t, p.fail(start-1, `a target has both "Key" and "Values"`)
	}
	return t, nil
}

func (p *parser) str(d *json.Decoder, what string) (string, error) {
	at := d.InputOffset()
	t, err := p.token(d)
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", p.fail(int(at), "expected %s as a string", what)
	}
	return s, nil
}

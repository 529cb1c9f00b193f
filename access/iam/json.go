package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// value is a JSON value with its place.
type value struct {
	path    string
	offset  int
	str     *string
	literal string // of a number or boolean
	isBool  bool
	object  []member // nil unless an object
	list    []value  // nil unless an array
	kind    byte     // '"', '0', 'b', 'n', '{', '['
}

type member struct {
	name   string
	offset int
	value  value
}

func (v *value) what() string {
	switch v.kind {
	case '"':
		return "a text"
	case '0':
		return "a number"
	case 'b':
		return "a boolean"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "null"
}

// maxDepth is deeper than any policy.
const maxDepth = 16

var errDepth = errors.New("it is nested too deeply")

// readJSON reads one JSON value and nothing behind it.
func readJSON(data []byte) (value, error) {
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(data, new(json.RawMessage)); {
	case !utf8.Valid(data):
		return value{}, &Finding{Path: "$", Line: 1, Column: 1, Text: "the policy is not UTF-8"}
	case errors.As(err, &syntax):
		f := &Finding{Path: "$", Text: "this is not JSON: " + fault.Clean(syntax.Error())}
		f.Line, f.Column = position(data, max(0, int(syntax.Offset)-1))
		return value{}, f
	case err != nil:
		return value{}, &Finding{Path: "$", Line: 1, Column: 1, Text: "this is not JSON"}
	}
	r := &reader{data: data, d: json.NewDecoder(bytes.NewReader(data))}
	r.d.UseNumber()
	v, err := r.next("$", 0)
	if err != nil {
		f := &Finding{Path: "$", Text: errDepth.Error()}
		f.Line, f.Column = position(data, int(r.d.InputOffset()))
		return value{}, f
	}
	return v, nil
}

type reader struct {
	data []byte
	d    *json.Decoder
}

// start is where the next token begins.
func (r *reader) start() int {
	i := int(r.d.InputOffset())
	for i < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[i]) >= 0 {
		i++
	}
	return i
}

func (r *reader) next(path string, depth int) (value, error) {
	v := value{path: path, offset: r.start()}
	if depth > maxDepth {
		return v, errDepth
	}
	t, err := r.d.Token()
	if err != nil {
		return v, err
	}
	switch t := t.(type) {
	case string:
		v.kind, v.str = '"', &t
	case json.Number:
		v.kind, v.literal = '0', t.String()
	case bool:
		v.kind, v.isBool, v.literal = 'b', true, strconv.FormatBool(t)
	case nil:
		v.kind = 'n'
	case json.Delim:
		v.kind = byte(t)
		for i := 0; r.d.More(); i++ {
			if t == '[' {
				e, err := r.next(path+"["+strconv.Itoa(i)+"]", depth+1)
				if err != nil {
					return v, err
				}
				v.list = append(v.list, e)
				continue
			}
			m := member{offset: r.start()}
			name, err := r.d.Token()
			if err != nil {
				return v, err
			}
			m.name, _ = name.(string)
			if m.value, err = r.next(path+"."+step(m.name), depth+1); err != nil {
				return v, err
			}
			v.object = append(v.object, m)
		}
		if _, err := r.d.Token(); err != nil {
			return v, err
		}
	}
	return v, nil
}

// step is a name in a path: bare where it can be.
func step(name string) string {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return strconv.Quote(short(name))
		}
	}
	return short(name)
}

// short cuts and cleans text of a policy for a message.
func short(s string) string {
	if len(s) > 100 {
		n := 100
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return fault.Clean(s)
}

// position returns the line and the column, in characters, of an offset; both begin at 1.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

// Finding is one thing that is wrong with a policy.
type Finding struct {
	Path         string // as $.Statement[0].Condition.StringLike."aws:username"
	Line, Column int    // from 1, columns in characters
	Text         string
}

// Error returns "line 3, column 9, $.Statement[0].Effect: …".
func (f *Finding) Error() string {
	return fmt.Sprintf("line %d, column %d, %s: %s", f.Line, f.Column, f.Path, f.Text)
}

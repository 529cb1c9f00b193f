package document

import (
	"strconv"
	"strings"
)

// ValueKind is the type of a value in a document.
type ValueKind uint8

// The kinds of values. YAML has no others here: timestamps and binaries stay text.
const (
	Null ValueKind = iota
	Bool
	Number
	String
	List
	Map
)

// String returns the name of the kind, as messages use it.
func (k ValueKind) String() string {
	return [...]string{"null", "boolean", "number", "string", "list", "map"}[k]
}

// Value is one value of a document with its place in the text. A Value is immutable; the zero of everything is a nil *Value, on which all
// methods work.
type Value struct {
	kind   ValueKind
	truth  bool
	line   int32
	column int32
	text   string // String: the text; Number: its literal; with a YAML tag: the rest
	tag    string // YAML tag of the template kinds, such as "!Sub"
	items  []*Value
	fields []Field
	tmpl   *template // of a String with placeholders
}

// Field is one entry of a map, in the order of the text.
type Field struct {
	Key          string
	Line, Column int // of the key
	Value        *Value
}

// Kind returns the value's kind; Null for nil.
func (v *Value) Kind() ValueKind {
	if v == nil {
		return Null
	}
	return v.kind
}

// Place returns line and column, from 1, columns in characters; 0, 0 for nil.
func (v *Value) Place() (line, column int) {
	if v == nil {
		return 0, 0
	}
	return int(v.line), int(v.column)
}

// Text returns the text of a string, the literal of a number, "true" or "false"; "" for anything else.
func (v *Value) Text() string {
	if v == nil {
		return ""
	}
	if v.kind == Bool {
		return strconv.FormatBool(v.truth)
	}
	return v.text
}

// Tag returns the YAML tag of the value ("!Sub"), "" for most.
func (v *Value) Tag() string {
	if v == nil {
		return ""
	}
	return v.tag
}

// Items returns the elements of a list; nil for anything else. The slice belongs to the value.
func (v *Value) Items() []*Value {
	if v == nil {
		return nil
	}
	return v.items
}

// Fields returns the entries of a map in the order of the text; nil for anything else. The slice belongs to the value.
func (v *Value) Fields() []Field {
	if v == nil {
		return nil
	}
	return v.fields
}

// Get returns the value under key, nil if there is none.
func (v *Value) Get(key string) *Value {
	if v != nil {
		for i := range v.fields {
			if v.fields[i].Key == key {
				return v.fields[i].Value
			}
		}
	}
	return nil
}

// field returns the entry under key, nil if there is none.
func (v *Value) field(key string) *Field {
	for i := range v.Fields() {
		if v.fields[i].Key == key {
			return &v.fields[i]
		}
	}
	return nil
}

// fold is Get without regard to case, an exact match first, as the agent's JSON decoding does.
func (v *Value) fold(key string) *Value {
	if got := v.Get(key); got != nil || v == nil {
		return got
	}
	for i := range v.fields {
		if strings.EqualFold(v.fields[i].Key, key) {
			return v.fields[i].Value
		}
	}
	return nil
}

// truthy reads a boolean, leniently: AWS writes "true" as well as true.
func (v *Value) truthy() (b, ok bool) {
	switch v.Kind() {
	case Bool:
		return v.truth, true
	case String:
		switch {
		case strings.EqualFold(v.text, "true"):
			return true, true
		case strings.EqualFold(v.text, "false"):
			return false, true
		}
	}
	return false, false
}

// integer reads a whole number, leniently: AWS writes "600" as well as 600.
func (v *Value) integer() (n int64, ok bool) {
	if k := v.Kind(); k != Number && k != String {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v.text), 10, 64)
	return n, err == nil
}

// Go returns the value as Go values: nil, bool, int64 (float64, or the literal as a string where neither is exact enough), string, []any,
// map[string]any. A value with a tag of the template kinds becomes CloudFormation's long form: !Sub x is {"Fn::Sub": x}. The result is the
// caller's.
func (v *Value) Go() any {
	if v.Tag() != "" {
		return map[string]any{v.function(): v.untagged().Go()}
	}
	switch v.Kind() {
	case Bool:
		return v.truth
	case Number:
		return number(v.text)
	case String:
		return v.text
	case List:
		out := make([]any, len(v.items))
		for i, it := range v.items {
			out[i] = it.Go()
		}
		return out
	case Map:
		out := make(map[string]any, len(v.fields))
		for i := range v.fields {
			out[v.fields[i].Key] = v.fields[i].Value.Go()
		}
		return out
	}
	return nil
}

func number(s string) any {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && strings.ContainsAny(s, ".eE") {
		return f
	}
	return s
}

// function is the long form of the value's tag.
func (v *Value) function() string {
	switch name := strings.TrimLeft(v.tag, "!"); name {
	case "Ref", "Condition":
		return name
	default:
		return "Fn::" + name
	}
}

// untagged is the value without its tag; !GetAtt a.b takes a list in its long form.
func (v *Value) untagged() *Value {
	u := *v
	u.tag = ""
	if a, b, ok := strings.Cut(v.text, "."); ok && v.kind == String && v.tag == "!GetAtt" {
		u = Value{kind: List, line: v.line, column: v.column, items: []*Value{{kind: String, text: a}, {kind: String, text: b}}}
	}
	return &u
}

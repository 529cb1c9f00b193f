package document

import (
	"strings"
	"sync"
)

// ParameterType is the type of a parameter (D13).
type ParameterType string

// The types. Automation knows resource types besides, such as AWS::IAM::Role::Arn and List<AWS::EC2::Instance::Id>.
const (
	TypeString     ParameterType = "String"
	TypeStringList ParameterType = "StringList"
	TypeInteger    ParameterType = "Integer"
	TypeBoolean    ParameterType = "Boolean"
	TypeStringMap  ParameterType = "StringMap"
	TypeMapList    ParameterType = "MapList"
)

// base returns the type that values of t have: resource types are strings, or lists of them.
func (t ParameterType) base() ParameterType {
	switch {
	case strings.HasPrefix(string(t), "List<"):
		return TypeStringList
	case strings.HasPrefix(string(t), "AWS::"):
		return TypeString
	}
	return t
}

func (t ParameterType) known(k Kind) bool {
	switch t {
	case TypeString, TypeStringList, TypeInteger, TypeBoolean, TypeStringMap, TypeMapList:
		return true
	}
	s := string(t)
	if inner, ok := strings.CutPrefix(s, "List<"); ok && strings.HasSuffix(inner, ">") {
		s = strings.TrimSuffix(inner, ">")
	}
	return k == Automation && strings.HasPrefix(s, "AWS::") && len(s) > 5
}

// Parameter is a declared parameter (D14).
type Parameter struct {
	Name           string
	Type           ParameterType
	Description    string
	Default        *Value // nil: the parameter is required (D15)
	AllowedValues  []*Value
	AllowedPattern string // in Java's dialect; a value must match as a whole
	DisplayType    string
	MinItems       *int64
	MaxItems       *int64
	MinChars       *int64
	MaxChars       *int64
	EnvVar         bool   // interpolationType ENV_VAR (I12)
	Source         *Value // the whole declaration

	once    *sync.Once
	pattern *pattern
}

// Required reports whether a value must be given (D15).
func (p *Parameter) Required() bool { return p.Default == nil }

// matcher compiles the pattern when it is first needed.
func (p *Parameter) matcher() *pattern {
	p.once.Do(func() { p.pattern = newPattern(p.AllowedPattern) })
	return p.pattern
}

// parameters reads the declarations.
func (c *collector) parameters(d *Document, decls *Value) {
	switch decls.Kind() {
	case Null:
		return
	case Map:
	default:
		c.at(decls, Error, "type", "parameters must be a map from names to declarations, not a %s", decls.Kind())
		return
	}
	d.Parameters = make([]Parameter, 0, len(decls.fields))
	for i := range decls.fields {
		d.Parameters = append(d.Parameters, c.parameter(d, &decls.fields[i]))
	}
	if len(d.Parameters) > 12 {
		d.byName = make(map[string]int, len(d.Parameters))
		for i := range d.Parameters {
			d.byName[d.Parameters[i].Name] = i
		}
	}
}

func (c *collector) parameter(d *Document, f *Field) Parameter {
	p := Parameter{Name: f.Key, Source: f.Value, once: new(sync.Once)}
	switch {
	case !nameOK(f.Key):
		c.key(f, Error, "parameter-name", "parameter name %q: use letters and digits only", clip(f.Key))
	case d.scripted() && strings.Contains(f.Key, "_"):
		c.key(f, Warning, "parameter-name", "parameter %s: AWS's agent interpolates only names of letters and digits, and uses the default instead of what is supplied: rename it", f.Key)
	}
	if f.Value.Kind() != Map {
		c.at(f.Value, Error, "type", "the declaration of parameter %s must be a map, not a %s", clip(f.Key), f.Value.Kind())
		return p
	}
	for i := range f.Value.fields {
		e := &f.Value.fields[i]
		switch e.Key {
		case "type":
			p.Type = ParameterType(c.text(e))
			if !p.Type.known(d.Kind) {
				c.unknownType(e.Value, "parameter-type", "parameter")
			}
		case "description":
			p.Description = c.text(e)
		case "default":
			p.Default = e.Value
		case "allowedValues":
			if e.Value.Kind() == List {
				p.AllowedValues = e.Value.items
			} else if e.Value.Kind() != Null {
				c.at(e.Value, Error, "type", "allowedValues must be a list, not a %s", e.Value.Kind())
			}
		case "allowedPattern":
			p.AllowedPattern = c.text(e)
		case "displayType":
			p.DisplayType = c.text(e)
		case "minItems":
			p.MinItems = c.count(e)
		case "maxItems":
			p.MaxItems = c.count(e)
		case "minChars":
			p.MinChars = c.count(e)
		case "maxChars":
			p.MaxChars = c.count(e)
		case "interpolationType":
			switch t := c.text(e); t {
			case "ENV_VAR":
				p.EnvVar = true
			case "RAW", "":
			default:
				f := c.at(e.Value, Error, "interpolation-type", "unknown interpolationType %q: ENV_VAR or RAW", clip(t))
				if best := closest(t, []string{"ENV_VAR", "RAW"}); best != "" {
					c.replace(f, e.Value, best)
				}
			}
		case "minValue", "maxValue":
			c.count(e)
		default:
			c.unknownKey(f.Value, e, "parameter-key", "the declaration of parameter "+clip(f.Key), parameterKeys)
		}
	}
	if f.Value.Get("type") == nil {
		c.key(f, Error, "parameter-type", "parameter %s has no type: add type: String, or another", clip(f.Key))
	}
	if p.Type.known(d.Kind) {
		c.defaultType(&p)
	}
	return p
}

// defaultType checks that the default can be a value of the type.
func (c *collector) defaultType(p *Parameter) {
	k := p.Default.Kind()
	if p.Default != nil && k == Null || k == String && strings.Contains(p.Default.text, "{{") {
		return // AWS accepts both (D18)
	}
	ok := true
	switch p.Type.base() {
	case TypeString:
		ok = k != List && k != Map
	case TypeStringList, TypeMapList:
		ok = k == List || k == String
	case TypeInteger:
		_, ok = p.Default.integer()
	case TypeBoolean:
		_, ok = p.Default.truthy()
	case TypeStringMap:
		ok = k == Map || k == String
	}
	if p.Default != nil && !ok {
		c.at(p.Default, Error, "default-type", "the default of parameter %s is a %s, its type is %s: change one of them", p.Name, k, p.Type)
	}
}

// nameOK is lenient as AWS is: the agent itself interpolates names of letters and digits only (T12).
func nameOK(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// text reads a string; numbers and booleans count as their text.
func (c *collector) text(f *Field) string {
	switch f.Value.Kind() {
	case List, Map:
		c.at(f.Value, Error, "type", "%s must be a string, not a %s", clip(f.Key), f.Value.Kind())
		return ""
	}
	return f.Value.Text()
}

// count reads a number that is at least 0; nil when it is none.
func (c *collector) count(f *Field) *int64 {
	if f.Value.Kind() == Null {
		return nil
	}
	n, ok := f.Value.integer()
	if !ok {
		c.at(f.Value, Error, "type", "%s must be a whole number", clip(f.Key))
		return nil
	}
	return &n
}

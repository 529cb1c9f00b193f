package document

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// BindOptions says how to bind. Nil and the zero value are useful.
type BindOptions struct {
	RefuseRaw bool // refuse a supplied value that would be pasted into a shell script, unless its pattern or allowed values stop metacharacters
	MaxSize   int  // bytes of document and values together; 0 = 64 KiB as on AWS (D4), -1 = no limit
}

// Bound is a document with values for its parameters. Its methods are safe for concurrent use, except [Bound.ResolveSSM].
type Bound struct {
	doc      *Document
	values   map[string]any
	texts    map[string]string // the values as text inside longer strings (I3)
	supplied map[string]bool
	timeouts []time.Duration // by step
	ssm      map[string]string
}

// Bind gives the parameters values as SendCommand does (D13 to D19): params has for each name a list of strings, of which String, Integer,
// Boolean and StringMap take exactly one (a StringMap as a JSON object), StringList all, MapList each as a JSON object or one as a JSON list.
// Every value is checked against the declaration (T13); defaults are the author's and are not. A value with an {{ssm:}} reference is checked by
// ResolveSSM. The error is of type [Findings] with everything that is wrong, its code InvalidParameters or MaxDocumentSizeExceeded. It
// names parameters, never their values, which may be secrets.
func (d *Document) Bind(params map[string][]string, o *BindOptions) (*Bound, error) {
	if o == nil {
		o = &BindOptions{}
	}
	c := &collector{file: d.File, root: d.Root}
	size := len(d.Source)
	for name, list := range params {
		size += len(name)
		for _, s := range list {
			size += len(s)
		}
	}
	limit := o.MaxSize
	if limit == 0 {
		if limit = defaultSize; len(d.Source) > defaultSize {
			limit += len(d.Source) // what was allowed to be larger may have parameters
		}
	}
	if limit > 0 && size > limit {
		return nil, Findings{{Code: "too-large", File: d.File, Fault: fault.MaxDocumentSizeExceeded,
			Message: fmt.Sprintf("document and parameter values together have %d bytes, more than the limit of %d", size, limit)}}
	}
	b := &Bound{doc: d, values: make(map[string]any, len(d.Parameters)), texts: make(map[string]string, len(d.Parameters)), supplied: make(map[string]bool, len(params))}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if _, ok := d.Parameter(name); !ok {
			c.param(nil, "parameter-unknown", "parameter %q is not declared by the document; it has %s", clip(name), d.declared())
		}
	}
	for i := range d.Parameters {
		p := &d.Parameters[i]
		list, given := params[p.Name]
		switch {
		case given:
			if v, ok := c.coerce(p, list); ok {
				b.set(p, v)
				b.supplied[p.Name] = true
			}
		case p.Default != nil:
			b.set(p, p.fallback())
		default:
			c.param(p, "parameter-required", "parameter %s is required: supply it", p.Name)
		}
		if s, ok := b.texts[p.Name]; ok && p.EnvVar && strings.IndexByte(s, 0) >= 0 {
			c.param(p, "parameter-nul", "the value of parameter %s has a NUL character, which no environment variable can hold", p.Name)
		}
	}
	if o.RefuseRaw {
		c.refuseRaw(b)
	}
	if !c.failed() && d.scripted() {
		b.timeouts = make([]time.Duration, len(d.Steps))
		for i := range d.Steps {
			b.timeouts[i] = c.timeoutOf(b, &d.Steps[i])
		}
	}
	if c.failed() {
		return nil, c.sorted()
	}
	return b, nil
}

// param adds a finding about a parameter, at its declaration.
func (c *collector) param(p *Parameter, code, format string, args ...any) {
	var at *Value
	if p != nil {
		at = p.Source
	}
	f := c.at(at, Error, code, format, args...)
	f.Fault = fault.InvalidParameters
}

func (d *Document) declared() string {
	if len(d.Parameters) == 0 {
		return "no parameters"
	}
	names := make([]string, len(d.Parameters))
	for i := range d.Parameters {
		names[i] = d.Parameters[i].Name
	}
	return some(names)
}

func (b *Bound) set(p *Parameter, v any) {
	b.values[p.Name] = v
	b.texts[p.Name] = asText(v)
}

// asText is I3: strings as they are, everything else as compact JSON.
func asText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return string(appendJSON(nil, v))
}

// fallback is the default in the parameter's type.
func (p *Parameter) fallback() any {
	d := p.Default
	switch p.Type.base() {
	case TypeString:
		if d.kind == List || d.kind == Map {
			break
		}
		return d.Text()
	case TypeStringList:
		switch d.kind {
		case Null:
			return []any{}
		case String:
			return []any{d.text}
		case List:
			out := make([]any, len(d.items))
			for i, it := range d.items {
				if out[i] = it.Go(); it.kind == Number || it.kind == Bool {
					out[i] = it.Text()
				}
			}
			return out
		}
	case TypeInteger:
		if n, ok := d.integer(); ok {
			return n
		}
	case TypeBoolean:
		if t, ok := d.truthy(); ok {
			return t
		}
	case TypeStringMap, TypeMapList:
		if d.kind == String {
			if v, ok := decode(d.text); ok {
				return v
			}
		}
	}
	return d.Go()
}

// decode reads a value that is JSON in a string.
func decode(s string) (any, bool) {
	v, bad := scanJSON([]byte(s), &limits{depth: defaultDepth, nodes: defaultNodes})
	return v.Go(), v != nil && len(bad) == 0
}

// coerce turns what was supplied into the parameter's type, and checks it.
func (c *collector) coerce(p *Parameter, list []string) (any, bool) {
	for _, s := range list {
		if !utf8.ValidString(s) {
			c.param(p, "parameter-utf8", "the value of parameter %s is not valid UTF-8", p.Name)
			return nil, false
		}
	}
	before := len(c.list)
	base := p.Type.base()
	if base != TypeStringList && base != TypeMapList && len(list) != 1 {
		c.param(p, "parameter-count", "parameter %s takes one value, not %d: its type is %s", p.Name, len(list), p.Type)
		return nil, false
	}
	var v any
	switch base {
	case TypeStringList:
		out := make([]any, len(list))
		for i, s := range list {
			out[i] = s
		}
		v = out
	case TypeInteger:
		n, err := strconv.ParseInt(list[0], 10, 64)
		if err != nil {
			c.param(p, "parameter-type", "parameter %s is an Integer: its value is no whole number", p.Name)
			return nil, false
		}
		v = n
	case TypeBoolean:
		switch {
		case strings.EqualFold(list[0], "true"):
			v = true
		case strings.EqualFold(list[0], "false"):
			v = false
		default:
			c.param(p, "parameter-type", "parameter %s is a Boolean: its value is neither true nor false", p.Name)
			return nil, false
		}
	case TypeStringMap:
		m, ok := decode(list[0])
		if _, is := m.(map[string]any); !ok || !is {
			c.param(p, "parameter-type", `parameter %s is a StringMap: write it as a JSON object, {"key":"value"}`, p.Name)
			return nil, false
		}
		v = m
	case TypeMapList:
		out := []any{}
		for _, s := range list {
			m, ok := decode(s)
			if !ok {
				m = nil
			}
			switch m := m.(type) {
			case map[string]any:
				out = append(out, m)
			case []any:
				out = append(out, m...)
			default:
				out = append(out, nil)
			}
		}
		for _, m := range out {
			if _, ok := m.(map[string]any); !ok {
				c.param(p, "parameter-type", `parameter %s is a MapList: write each map as a JSON object`, p.Name)
				return nil, false
			}
		}
		v = out
	default:
		v = list[0]
	}
	if !slices.ContainsFunc(list, hasSSM) {
		c.allowed(p, v)
	}
	return v, len(c.list) == before
}

// allowed checks a value against the declaration (T13).
func (c *collector) allowed(p *Parameter, v any) {
	texts := []string{}
	switch v := v.(type) {
	case []any:
		c.between(p, int64(len(v)), p.MinItems, p.MaxItems, "items")
		for _, it := range v {
			texts = append(texts, asText(it))
		}
	case map[string]any:
		c.between(p, int64(len(v)), p.MinItems, p.MaxItems, "items")
		texts = append(texts, asText(v))
	default:
		texts = append(texts, asText(v))
	}
	for _, s := range texts {
		c.between(p, int64(utf8.RuneCountInString(s)), p.MinChars, p.MaxChars, "characters")
		if len(p.AllowedValues) > 0 && !slices.ContainsFunc(p.AllowedValues, func(a *Value) bool { return a.is(s) }) {
			names := make([]string, len(p.AllowedValues))
			for i, a := range p.AllowedValues {
				names[i] = clip(a.Text())
			}
			c.param(p, "parameter-value", "the value of parameter %s is not one of %s", p.Name, some(names))
		}
		if p.AllowedPattern == "" {
			continue
		}
		switch ok, err := c.matches(p.matcher(), s); {
		case err != nil:
			c.param(p, "parameter-pattern", "whether parameter %s matches its allowedPattern cannot be decided: simplify the pattern %s", p.Name, clip(p.AllowedPattern))
			return
		case !ok:
			c.param(p, "parameter-pattern", "the value of parameter %s does not match as a whole %s", p.Name, clip(p.AllowedPattern))
		}
	}
}

// is compares an allowed value with the text of a supplied one.
func (v *Value) is(s string) bool {
	switch v.Kind() {
	case List, Map:
		return asText(v.Go()) == s
	case Null:
		return s == ""
	}
	return v.Text() == s
}

func (c *collector) between(p *Parameter, n int64, least, most *int64, what string) {
	if least != nil && n < *least {
		c.param(p, "parameter-length", "parameter %s has %d %s, at least %d are needed", p.Name, n, what, *least)
	}
	if most != nil && n > *most {
		c.param(p, "parameter-length", "parameter %s has %d %s, at most %d are allowed", p.Name, n, what, *most)
	}
}

// timeoutOf returns how long a step may run (T15: what AWS silently replaces by 3600 is refused).
func (c *collector) timeoutOf(b *Bound, s *Step) time.Duration {
	v := s.given("timeoutSeconds")
	if s.spec != nil && s.spec.Shell == "" {
		v = nil
	}
	if v == nil || v.Kind() == Null {
		if n, ok := s.Source.Get("timeoutSeconds").integer(); ok && n >= shortestTimeout && n <= longestTimeout {
			return seconds(n)
		}
		return defaultTimeout
	}
	text := asText(b.fill(v))
	if text == "" || hasSSM(text) && b.ssm == nil {
		return defaultTimeout
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < shortestTimeout || n > longestTimeout {
		f := c.at(v, Error, "timeout", "timeoutSeconds of step %s is not a whole number from %d to %d", clip(s.Name), shortestTimeout, longestTimeout)
		f.Fault = fault.InvalidParameters
		return defaultTimeout
	}
	return seconds(n)
}

// Document returns the document that was bound.
func (b *Bound) Document() *Document { return b.doc }

// Values returns the values of all parameters by name, in their types: string, int64, bool, []any, map[string]any. The map is the caller's, the
// values are not.
func (b *Bound) Values() map[string]any { return maps.Clone(b.values) }

// ExecutionTimeout is AWS's executionTimeout of the document: on each platform the sum of the timeouts of the steps that can run there, the
// longest of them, at most 48 hours. It is 0 for documents that run no steps on nodes.
func (b *Bound) ExecutionTimeout() time.Duration {
	if !b.doc.scripted() {
		return 0
	}
	var longest time.Duration
	for _, p := range platforms {
		var sum time.Duration
		for i := range b.doc.Steps {
			if v, _ := b.verdict(&b.doc.Steps[i], p); v == Run {
				sum += b.timeouts[i]
			}
		}
		longest = max(longest, sum)
	}
	if longest == 0 {
		longest = defaultTimeout
	}
	return min(longest, seconds(longestTimeout))
}

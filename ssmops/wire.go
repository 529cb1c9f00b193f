package ssmops

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Requests and answers of services have AWS's members already. On the wire two things are written otherwise: times are numbers (Time), and values that hide themselves from every
// formatter (parameter.Value) are told, for their reader is who asked for them. wireOf writes, fromWire reads; both follow the types, so that no operation does it by hand.

// revealed is a value that hides, such as parameter.Value.
type revealed interface{ Reveal() string }

var (
	timeType     = reflect.TypeFor[time.Time]()
	revealedType = reflect.TypeFor[revealed]()
	marshaler    = reflect.TypeFor[json.Marshaler]()
)

// JSON returns a request or an answer, of this package or of a service, as JSON as on the wire: for programs that show answers to who asked for them. Values that hide are told.
func JSON(v any) ([]byte, error) { return wireOf(v) }

// wireOf returns the JSON of v as on the wire.
func wireOf(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := writeWire(&b, reflect.ValueOf(v)); err != nil {
		return nil, fault.New("ssmops.encode", fault.InternalServerError, "the answer cannot be written: %w", err)
	}
	return b.Bytes(), nil
}

func writeWire(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		return writeWire(b, v.Elem())
	case t == timeType:
		return leaf(b, Time{v.Interface().(time.Time)})
	case t.Implements(revealedType) && t.Kind() == reflect.Struct:
		return leaf(b, v.Interface().(revealed).Reveal())
	case t.Implements(marshaler):
		return leaf(b, v.Interface())
	}
	switch t.Kind() {
	case reflect.Struct:
		b.WriteByte('{')
		first := true
		err := eachMember(v, func(name string, f reflect.Value) error {
			if !first {
				b.WriteByte(',')
			}
			first = false
			if err := leaf(b, name); err != nil {
				return err
			}
			b.WriteByte(':')
			return writeWire(b, f)
		})
		b.WriteByte('}')
		return err
	case reflect.Slice:
		if v.IsNil() || t.Elem().Kind() == reflect.Uint8 {
			return leaf(b, v.Interface())
		}
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeWire(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case reflect.Map:
		if v.IsNil() || t.Key().Kind() != reflect.String {
			return leaf(b, v.Interface())
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
		b.WriteByte('{')
		for i, k := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := leaf(b, k.String()); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeWire(b, v.MapIndex(k)); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	}
	return leaf(b, v.Interface())
}

// leaf writes what encoding/json makes of v, without escaping for HTML.
func leaf(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the newline
	return nil
}

// eachMember calls fn for each member that encoding/json would write, in order; those of embedded structs as the struct's own.
func eachMember(v reflect.Value, fn func(name string, f reflect.Value) error) error {
	t := v.Type()
	for i := range t.NumField() {
		f, tag := t.Field(i), t.Field(i).Tag.Get("json")
		name, opts, _ := strings.Cut(tag, ",")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		fv := v.Field(i)
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && f.Type != timeType {
			if err := eachMember(fv, fn); err != nil {
				return err
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		if strings.Contains(opts, "omitempty") && void(fv) || strings.Contains(opts, "omitzero") && fv.IsZero() {
			continue
		}
		if err := fn(name, fv); err != nil {
			return err
		}
	}
	return nil
}

func void(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// fromWire reads a request as decode does, with times as Time reads them.
func fromWire(op string, in []byte, v any) error {
	t := reflect.TypeOf(v).Elem()
	if !hasTime(t, nil) || len(bytes.TrimSpace(in)) == 0 {
		return decode(op, in, v)
	}
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	var tree any
	if d.Decode(&tree) != nil {
		return decode(op, in, v) // it says what is wrong
	}
	tree, err := times(op, t, tree)
	if err != nil {
		return err
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return fault.New(op, serialization, "the request cannot be read")
	}
	return decode(op, b, v)
}

// hasTime reports whether a value of the type may hold a time.
func hasTime(t reflect.Type, seen []reflect.Type) bool {
	switch {
	case t == timeType:
		return true
	case slices.Contains(seen, t):
		return false
	}
	seen = append(seen, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
		return hasTime(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); (f.IsExported() || f.Anonymous) && hasTime(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

// times returns the tree with RFC 3339 text where a value of the type has a time.
func times(op string, t reflect.Type, tree any) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var err error
	switch x := tree.(type) {
	case json.Number, string:
		if t != timeType {
			return tree, nil
		}
		b, _ := json.Marshal(x) //nolint:errcheck // numbers and texts always have JSON
		var at Time
		if err := at.UnmarshalJSON(b); err != nil {
			return nil, fault.New(op, serialization, "%s", fault.MessageOf(err))
		}
		return at.Time.Format(time.RFC3339Nano), nil
	case []any:
		if t.Kind() == reflect.Slice {
			for i := range x {
				if x[i], err = times(op, t.Elem(), x[i]); err != nil {
					return nil, err
				}
			}
		}
	case map[string]any:
		for name := range x {
			var of reflect.Type
			switch t.Kind() {
			case reflect.Map:
				of = t.Elem()
			case reflect.Struct:
				of = member(t, name)
			}
			if of != nil {
				if x[name], err = times(op, of, x[name]); err != nil {
					return nil, err
				}
			}
		}
	}
	return tree, nil
}

// member returns the type of a struct's member of a name, compared as encoding/json does; nil when there is none.
func member(t reflect.Type, name string) reflect.Type {
	for i := range t.NumField() {
		f := t.Field(i)
		own, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && own == "" && f.Type.Kind() == reflect.Struct && f.Type != timeType:
			if of := member(f.Type, name); of != nil {
				return of
			}
		case strings.EqualFold(own, name), own == "" && strings.EqualFold(f.Name, name):
			return f.Type
		}
	}
	return nil
}

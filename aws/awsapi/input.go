package awsapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/document"

	"github.com/fleetwright/fleetwright/fault"
)

// types are the types that an interface may hold, which reflection cannot find.
type types []reflect.Value

func readTypes(list []any) (out types, err error) {
	for _, v := range list {
		t := reflect.TypeOf(v)
		switch {
		case t != nil && t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && strings.Contains(t.Elem().Name(), "Member"):
		case t != nil && t.Kind() == reflect.Func && t.NumIn() == 1 && t.In(0) == reflect.TypeFor[any]() && t.NumOut() == 1:
		default:
			return nil, fault.New("awsapi.New", fault.Validation, "Options.Types has a %T, which is neither a pointer to a member of a union nor a function that makes documents", v)
		}
		out = append(out, reflect.ValueOf(v))
	}
	return out, nil
}

// at is an error at a place of the inputs.
func at(path, format string, args ...any) error {
	if path == "" {
		path = "they"
	}
	return fmt.Errorf("%s %s", path, fmt.Sprintf(format, args...))
}

func join(path, name string) string {
	name = fault.Clean(clip(name))
	if path == "" {
		return name
	}
	return path + "." + name
}

// fill gives dst the value v. The error names the place in the inputs.
func (m types) fill(dst reflect.Value, v any, path string) error {
	if v == nil {
		return nil
	}
	t := dst.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		p := reflect.New(t.Elem())
		if err := m.fill(p.Elem(), v, path); err != nil {
			return err
		}
		dst.Set(p)
		return nil
	case t == reflect.TypeFor[time.Time]():
		when, err := readTime(v)
		if err != nil {
			return at(path, "must be a time such as 2020-01-01T01:00:00Z")
		}
		dst.Set(reflect.ValueOf(when))
		return nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		dst.SetBytes([]byte(textOf(v)))
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		dst.SetString(textOf(v))
	case reflect.Bool:
		switch s := strings.TrimSpace(textOf(v)); {
		case strings.EqualFold(s, "true"):
			dst.SetBool(true)
		case strings.EqualFold(s, "false"):
			dst.SetBool(false)
		default:
			return at(path, "must be true or false")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := whole(v)
		if err != nil || dst.OverflowInt(n) {
			return at(path, "must be a whole number of %d bits", t.Bits())
		}
		dst.SetInt(n)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(strings.TrimSpace(textOf(v)), t.Bits())
		if err != nil {
			return at(path, "must be a number")
		}
		dst.SetFloat(f)
	case reflect.Slice:
		list, ok := structured(v).([]any)
		if !ok {
			return at(path, "must be a list")
		}
		out := reflect.MakeSlice(t, len(list), len(list))
		for i := range list {
			place := path + "[" + strconv.Itoa(i) + "]"
			if k := t.Elem().Kind(); list[i] == nil && k != reflect.Pointer && k != reflect.Slice && k != reflect.Map {
				return at(place, "must not be null")
			}
			if err := m.fill(out.Index(i), list[i], place); err != nil {
				return err
			}
		}
		dst.Set(out)
	case reflect.Map:
		in, ok := structured(v).(map[string]any)
		if !ok {
			return at(path, "must be a map")
		}
		out := reflect.MakeMapWithSize(t, len(in))
		for _, k := range slices.Sorted(maps.Keys(in)) {
			e := reflect.New(t.Elem()).Elem()
			if err := m.fill(e, in[k], join(path, k)); err != nil {
				return err
			}
			out.SetMapIndex(reflect.ValueOf(k).Convert(t.Key()), e)
		}
		dst.Set(out)
	case reflect.Struct:
		in, ok := structured(v).(map[string]any)
		if !ok {
			return at(path, "must be a map of its members")
		}
		return m.members(dst, in, path)
	case reflect.Interface:
		return m.choose(dst, v, path)
	default:
		return at(path, "is of a type that cannot be given")
	}
	return nil
}

// members gives a structure its members, found without regard to case.
func (m types) members(dst reflect.Value, in map[string]any, path string) error {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		f, ok := dst.Type().FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, name) })
		if !ok || !f.IsExported() || f.Anonymous {
			return at(join(path, name), "is no member that there is here: the members are %s", memberNames(dst.Type()))
		}
		if other, twice := seen[f.Name]; twice {
			return at(join(path, name), "is given twice, as %s too", fault.Clean(other))
		}
		seen[f.Name] = name
		if err := m.fill(dst.FieldByIndex(f.Index), in[name], join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func memberNames(t reflect.Type) string {
	var names []string
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && !f.Anonymous {
			names = append(names, f.Name)
		}
	}
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > 40:
		return strings.Join(names[:40], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

// choose gives an interface its value: a stream of bytes, a document, or a member of a union.
func (m types) choose(dst reflect.Value, v any, path string) error {
	t := dst.Type()
	switch {
	case t == reflect.TypeFor[io.Reader]():
		dst.Set(reflect.ValueOf(strings.NewReader(textOf(v))))
		return nil
	case t == reflect.TypeFor[document.Value]():
		dst.Set(reflect.ValueOf(documentOf(v)))
		return nil
	}
	var names []string
	in, isMap := structured(v).(map[string]any)
	for _, made := range m {
		if made.Kind() == reflect.Func {
			if made.Type().Out(0).Implements(t) {
				arg := reflect.New(reflect.TypeFor[any]()).Elem()
				arg.Set(reflect.ValueOf(plainNumbers(v)))
				dst.Set(made.Call([]reflect.Value{arg})[0])
				return nil
			}
			continue
		}
		if !made.Type().Implements(t) {
			continue
		}
		_, name, _ := strings.Cut(made.Type().Elem().Name(), "Member")
		names = append(names, name)
		if !isMap || len(in) != 1 {
			continue
		}
		for k, x := range in {
			value := reflect.New(made.Type().Elem())
			f := value.Elem().FieldByName("Value")
			if !strings.EqualFold(k, name) || !f.IsValid() {
				continue
			}
			if err := m.fill(f, x, join(path, k)); err != nil {
				return err
			}
			dst.Set(value)
			return nil
		}
	}
	if len(names) == 0 {
		return at(path, "is a union or a document, whose types this control plane was not given (awsapi.Options.Types)")
	}
	return at(path, "must have exactly one of the members %s", strings.Join(names, ", "))
}

// documentOf is a value as a document of the SDK.
func documentOf(v any) document.Value {
	switch v := v.(type) {
	case nil:
		return document.Null{}
	case bool:
		return document.Boolean(v)
	case string:
		return document.String(v)
	case []any:
		out := make(document.List, len(v))
		for i := range v {
			out[i] = documentOf(v[i])
		}
		return out
	case map[string]any:
		out := make(document.Map, len(v))
		for k, x := range v {
			out[k] = documentOf(x)
		}
		return out
	}
	return document.Number(textOf(v))
}

// plainNumbers is a value whose numbers the SDK's older documents can hold.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return document.Number(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainNumbers(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = plainNumbers(x)
		}
		return out
	}
	return v
}

// textOf is a value as text: structures as JSON.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return string(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// structured is a list or a map, also from its JSON text.
func structured(v any) any {
	s, ok := v.(string)
	if t := strings.TrimSpace(s); !ok || t == "" || t[0] != '{' && t[0] != '[' {
		return v
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var out any
	if d.Decode(&out) != nil {
		return v
	}
	if _, err := d.Token(); err != io.EOF {
		return v
	}
	return out
}

// whole reads a whole number; 3.0 is one.
func whole(v any) (int64, error) {
	s := strings.TrimSpace(textOf(v))
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return 0, errors.New("no whole number")
	}
	return int64(f), nil
}

// readTime reads a time: RFC 3339, without a zone (then it is UTC), a date, or seconds since 1970.
func readTime(v any) (time.Time, error) {
	s := strings.TrimSpace(textOf(v))
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 253402300799 { // the end of the year 9999
		return time.Time{}, errors.New("no time")
	}
	sec, frac := math.Modf(f)
	return time.Unix(int64(sec), int64(math.Round(frac*1e3))*1e6).UTC(), nil
}

package awsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/document"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// capture reads outputs. Newer clients describe what they answer, with the names of AWS's model; yet they say nothing of numbers and Booleans that are zero. So
// the values are those of the structures, and what was described gives their names. Older clients describe nothing: the names of their Go fields are those of the
// model but for the case of the first letter, which the answer itself shows where it is JSON; answers in XML are of services whose names begin with a capital.
type capture struct {
	body  any
	small bool              // most names of the answer begin with a small letter
	names map[string]string // by their small letters
	exact bool              // body is what the client described
}

// describe lets an output describe itself.
func (c *capture) describe(v smithy.Serializable) {
	w := &writer{names: map[string]string{}}
	v.Serialize(w)
	c.body, c.names, c.exact = w.root, w.names, true
}

// mostBody is how much of an answer is looked at.
const mostBody = 8 << 20

// add lets the client show the answer.
func (c *capture) add(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("fleetwright.awsapi", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, meta, err := next.HandleDeserialize(ctx, in)
		r, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok || r.Body == nil || !strings.Contains(r.Header.Get("Content-Type"), "json") {
			return out, meta, err
		}
		head, err := io.ReadAll(io.LimitReader(r.Body, mostBody))
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), r.Body), r.Body}
		if err == nil && json.Unmarshal(head, &c.body) == nil {
			m, _ := c.body.(map[string]any)
			n := 0
			for k := range m {
				if r, _ := utf8.DecodeRuneInString(k); unicode.IsLower(r) {
					n++
				}
			}
			c.small = 2*n > len(m)
		}
		return out, meta, nil
	}), middleware.After)
}

// read reads an output.
func (c *capture) read(v reflect.Value) map[string]any {
	return c.structure(v, c.body)
}

func (c *capture) structure(v reflect.Value, raw any) map[string]any {
	seen, _ := raw.(map[string]any)
	out := map[string]any{}
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Anonymous || f.Name == "ResultMetadata" {
			continue
		}
		name := f.Name
		r, n := utf8.DecodeRuneInString(name)
		lower := string(unicode.ToLower(r)) + name[n:]
		below, there := seen[name]
		if !there {
			if below, there = seen[lower]; there {
				name = lower
			} else if known, ok := c.names[strings.ToLower(name)]; ok {
				name = known
				below = seen[known]
			} else if c.small {
				name = lower
			}
		}
		if x := c.value(v.Field(i), below); x != nil {
			out[name] = x
		}
	}
	return out
}

// value is nil for what is missing.
func (c *capture) value(v reflect.Value, raw any) any {
	switch x := v.Interface().(type) {
	case time.Time:
		return timeText(x)
	case []byte:
		return blob(x)
	case document.Value:
		if c.exact {
			return raw
		}
		return valueOf(x)
	case document.Unmarshaler:
		if v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return nil
			}
		}
		return opaque(x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return c.value(v.Elem(), raw)
	case reflect.String:
		if v.String() == "" && v.Type() != reflect.TypeFor[string]() {
			return nil // an enumeration that is not there
		}
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Float32, reflect.Float64:
		return number(v.Float(), v.Type().Bits())
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		list, _ := raw.([]any)
		out := make([]any, v.Len())
		for i := range out {
			var below any
			if i < len(list) {
				below = list[i]
			}
			out[i] = c.value(v.Index(i), below)
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		seen, _ := raw.(map[string]any)
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			k := it.Key().String()
			out[k] = c.value(it.Value(), seen[k])
		}
		return out
	case reflect.Struct:
		return c.structure(v, raw)
	case reflect.Interface:
		if c.exact {
			return raw
		}
		return c.union(v, raw)
	}
	return nil
}

// union is a map of the one member that it has.
func (c *capture) union(v reflect.Value, raw any) any {
	if v.IsNil() || v.Elem().Kind() != reflect.Pointer || v.Elem().Elem().Kind() != reflect.Struct {
		return nil
	}
	s := v.Elem().Elem()
	_, name, ok := strings.Cut(s.Type().Name(), "Member")
	f := s.FieldByName("Value")
	if !ok || name == "" || !f.IsValid() {
		return nil
	}
	seen, _ := raw.(map[string]any)
	for k, below := range seen {
		if strings.EqualFold(k, name) {
			return map[string]any{k: c.value(f, below)}
		}
	}
	if r, n := utf8.DecodeRuneInString(name); c.small {
		name = string(unicode.ToLower(r)) + name[n:]
	}
	return map[string]any{name: c.value(f, nil)}
}

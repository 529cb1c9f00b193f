package automation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/document"
)

// Values in the engine are nil, bool, string, int64, json.Number (numbers that are no int64, by their literal), []any and map[string]any. plain brings what
// hosts and decoders give into these, sharing nothing with v.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string, int64:
		return v, nil
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, errors.New("a number that JSON cannot hold")
		}
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), nil
		}
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64)), nil
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n, nil
		}
		return v, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			x, err := plain(v[i])
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			x, err := plain(x)
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	case json.RawMessage:
		return decode(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("a value that JSON cannot hold")
	}
	return decode(b)
}

// decode reads one JSON value, its numbers exactly.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return plain(v)
}

// text is a value inside a longer string: strings as they are, everything else as compact JSON.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case json.Number:
		return string(v)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Strings returns a value as the API shows outputs and parameters: a list of strings. A list gives each of its items, anything else is one item; what is no
// string is shown as JSON.
func Strings(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return []string{text(v)}
	}
	out := make([]string, len(list))
	for i := range list {
		out[i] = text(list[i])
	}
	return out
}

// typed gives a value the type that an output declares (A9). Numbers and booleans may come as their text and become text, as AWS's services answer
// either way; nothing else is converted (A8): a list does not become a string's only item, nor a string a list.
func typed(v any, t document.ParameterType) (any, error) {
	bad := fmt.Errorf("it is %s, not %s", withArticle(kindOf(v)), withArticle(string(t)))
	if v == nil {
		return nil, errors.New("it is null")
	}
	switch t {
	case document.TypeInteger:
		switch v := v.(type) {
		case int64:
			return v, nil
		case json.Number:
			if r, ok := new(big.Rat).SetString(string(v)); ok && len(v) < 40 && r.IsInt() && r.Num().IsInt64() {
				return r.Num().Int64(), nil
			}
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n, nil
			}
		}
	case document.TypeBoolean:
		switch v := v.(type) {
		case bool:
			return v, nil
		case string:
			if b, ok := truth(v); ok {
				return b, nil
			}
		}
	case document.TypeStringList:
		if list, ok := v.([]any); ok {
			out := make([]any, len(list))
			for i := range list {
				out[i] = text(list[i])
			}
			return out, nil
		}
	case document.TypeStringMap:
		if _, ok := v.(map[string]any); ok {
			return v, nil
		}
	case document.TypeMapList:
		if list, ok := v.([]any); ok && !slices.ContainsFunc(list, func(it any) bool { _, is := it.(map[string]any); return !is }) {
			return v, nil
		}
	default: // String and the resource types
		return text(v), nil
	}
	return nil, bad
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "Boolean"
	case string:
		return "String"
	case int64, json.Number:
		return "number"
	case []any:
		return "list"
	}
	return "map"
}

// truth reads true and false in any case.
func truth(s string) (b, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// clone copies a value deeply.
func clone(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clone(v[i])
		}
		return out
	case map[string]any:
		return cloneMap(v)
	}
	return v
}

func cloneMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = clone(v)
	}
	return out
}

// withArticle puts a or an before the name of a kind.
func withArticle(s string) string {
	if s != "" && strings.ContainsRune("AEIOaeio", rune(s[0])) {
		return "an " + s
	}
	return "a " + s
}

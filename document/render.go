package document

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// JSON renders the document as compact JSON: keys in the order of the text, no white space, one spelling for every string. The same document
// gives the same bytes, whatever encoding/json does; parsing them gives an equal document.
func (d *Document) JSON() []byte { return d.Root.appendTo(nil) }

// appendTo writes a value of a document; template tags become CloudFormation's long form.
func (v *Value) appendTo(out []byte) []byte {
	if v.Tag() != "" {
		out = append(appendString(append(out, '{'), v.function()), ':')
		return append(v.untagged().appendTo(out), '}')
	}
	switch v.Kind() {
	case Bool:
		return strconv.AppendBool(out, v.truth)
	case Number:
		return append(out, v.text...)
	case String:
		return appendString(out, v.text)
	case List:
		out = append(out, '[')
		for i, it := range v.items {
			if i > 0 {
				out = append(out, ',')
			}
			out = it.appendTo(out)
		}
		return append(out, ']')
	case Map:
		out = append(out, '{')
		for i := range v.fields {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, v.fields[i].Key), ':')
			out = v.fields[i].Value.appendTo(out)
		}
		return append(out, '}')
	}
	return append(out, "null"...)
}

// appendJSON writes Go values as compact JSON with sorted keys.
func appendJSON(out []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(out, v)
	case bool:
		return strconv.AppendBool(out, v)
	case int64:
		return strconv.AppendInt(out, v, 10)
	case int:
		return strconv.AppendInt(out, int64(v), 10)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return append(out, "null"...)
		}
		return strconv.AppendFloat(out, v, 'g', -1, 64)
	case []any:
		out = append(out, '[')
		for i := range v {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, v[i])
		}
		return append(out, ']')
	case map[string]any:
		out = append(out, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, k), ':')
			out = appendJSON(out, v[k])
		}
		return append(out, '}')
	}
	return append(out, "null"...)
}

const hexDigits = "0123456789abcdef"

func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				out = append(append(out, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		out = append(out, s[start:i]...)
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(out, s[start:]...), '"')
}

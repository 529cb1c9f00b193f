package awsapi

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/document"
)

// writer is a serializer whose format are values as JSON has them.
type writer struct {
	root  any
	open  []frame
	named bool // the place of the next value was said already

	names map[string]string // of the members of all structures, by their small letters
}

// frame is a map or a list that is being written.
type frame struct {
	m    map[string]any
	l    []any
	list bool
	key  string // of the value that comes next
}

var _ smithy.ShapeSerializer = (*writer)(nil)

// place puts a value where it belongs: under the name of its member, under the key that was said, or behind the others of a list.
func (w *writer) place(s *smithy.Schema) {
	if len(w.open) == 0 {
		return
	}
	if f := &w.open[len(w.open)-1]; !f.list && !w.named && s != nil {
		f.key = s.MemberName()
	}
	w.named = false
}

func (w *writer) put(s *smithy.Schema, v any) {
	w.place(s)
	w.add(v)
}

func (w *writer) add(v any) {
	switch n := len(w.open); {
	case n == 0:
		w.root = v
	case w.open[n-1].list:
		w.open[n-1].l = append(w.open[n-1].l, v)
	case v != nil: // a member without a value is missing
		w.open[n-1].m[w.open[n-1].key] = v
	}
}

func (w *writer) begin(s *smithy.Schema, f frame) {
	w.place(s)
	w.open = append(w.open, f)
}

func (w *writer) end() {
	n := len(w.open) - 1
	if n < 0 {
		return
	}
	f := w.open[n]
	w.open = w.open[:n]
	w.named = false
	if f.list {
		w.add(f.l)
		return
	}
	w.add(f.m)
}

func (w *writer) Bytes() []byte { return nil }

func (w *writer) WriteInt8(s *smithy.Schema, v int8)       { w.put(s, int64(v)) }
func (w *writer) WriteInt16(s *smithy.Schema, v int16)     { w.put(s, int64(v)) }
func (w *writer) WriteInt32(s *smithy.Schema, v int32)     { w.put(s, int64(v)) }
func (w *writer) WriteInt64(s *smithy.Schema, v int64)     { w.put(s, v) }
func (w *writer) WriteFloat32(s *smithy.Schema, v float32) { w.put(s, number(float64(v), 32)) }
func (w *writer) WriteFloat64(s *smithy.Schema, v float64) { w.put(s, number(v, 64)) }
func (w *writer) WriteBool(s *smithy.Schema, v bool)       { w.put(s, v) }
func (w *writer) WriteString(s *smithy.Schema, v string)   { w.put(s, v) }
func (w *writer) WriteBlob(s *smithy.Schema, v []byte)     { w.put(s, blob(v)) }
func (w *writer) WriteTime(s *smithy.Schema, v time.Time)  { w.put(s, timeText(v)) }
func (w *writer) WriteNil(s *smithy.Schema)                { w.put(s, nil) }

func (w *writer) WriteBigInt(s *smithy.Schema, v *big.Int) {
	if v != nil {
		w.put(s, json.Number(v.String()))
	}
}

func (w *writer) WriteBigFloat(s *smithy.Schema, v *big.Float) {
	if v != nil && !v.IsInf() {
		w.put(s, json.Number(v.Text('g', -1)))
	}
}

func (w *writer) WriteStruct(s *smithy.Schema) {
	if s != nil {
		for name := range s.Members() {
			w.names[strings.ToLower(name)] = name
		}
	}
	w.begin(s, frame{m: map[string]any{}})
}
func (w *writer) CloseStruct()               { w.end() }
func (w *writer) WriteList(s *smithy.Schema) { w.begin(s, frame{list: true, l: []any{}}) }
func (w *writer) CloseList()                 { w.end() }
func (w *writer) WriteMap(s *smithy.Schema)  { w.begin(s, frame{m: map[string]any{}}) }
func (w *writer) CloseMap()                  { w.end() }

func (w *writer) WriteKey(_ *smithy.Schema, key string) {
	if n := len(w.open); n > 0 {
		w.open[n-1].key, w.named = key, true
	}
}

// WriteUnion begins a union, which is a map of the one member that it has.
func (w *writer) WriteUnion(s, variant *smithy.Schema) {
	w.begin(s, frame{m: map[string]any{}, key: variant.MemberName()})
	w.named = true
}

func (w *writer) CloseUnion() { w.end() }

func (w *writer) WriteDocument(s *smithy.Schema, v document.Value) { w.put(s, valueOf(v)) }

// valueOf is what a document holds.
func valueOf(v document.Value) any {
	switch v := v.(type) {
	case document.Boolean:
		return bool(v)
	case document.Number:
		return json.Number(v)
	case document.String:
		return string(v)
	case document.Blob:
		return blob(v)
	case document.Timestamp:
		return timeText(time.Time(v))
	case document.List:
		out := make([]any, len(v))
		for i := range v {
			out[i] = valueOf(v[i])
		}
		return out
	case document.Map:
		return mapOf(v)
	case document.Structure:
		return mapOf(v.Members)
	case document.Opaque:
		return opaque(v.Value)
	case *document.Opaque:
		return opaque(v.Value)
	}
	return nil
}

func mapOf(m map[string]document.Value) any {
	out := make(map[string]any, len(m))
	for k, x := range m {
		out[k] = valueOf(x)
	}
	return out
}

// opaque is a document that the SDK keeps as it came.
func opaque(v any) any {
	b, err := json.Marshal(v)
	if m, ok := v.(document.Marshaler); ok {
		b, err = m.MarshalSmithyDocument()
	}
	var out any
	if err != nil || json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}

// timeText is a time as outputs have it.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// blob is text where it can be.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	if utf8.Valid(b) {
		return string(b)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// number is a float as JSON can hold it.
func number(f float64, bits int) any {
	switch { // as AWS's JSON has them
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, bits))
}

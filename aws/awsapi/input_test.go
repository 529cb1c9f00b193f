package awsapi

import (
	"encoding/json"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/aws/smithy-go/document"
	"github.com/stretchr/testify/require"
)

// older is a document as older clients have them: made by a function of theirs.
type older interface {
	document.Marshaler
	isOlder()
}

type lazy struct{ v any }

func (lazy) isOlder()                                 {}
func (l lazy) MarshalSmithyDocument() ([]byte, error) { return json.Marshal(l.v) }

func newLazy(v any) older { return lazy{v} }

// Kinds of members that the clients of the other tests do not have.
func TestFill(t *testing.T) {
	type shape struct {
		Newer  document.Value
		Older  older
		Body   io.Reader
		Sparse []*string
		Times  map[string]time.Time
		Small  int8
		Float  float32
		Blobs  [][]byte
	}
	var in map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{"newer":{"a":[1]},"OLDER":{"b":true},"body":"text","sparse":["x",null],"times":{"k":"2020-01-02 03:04:05+01:00","l":"1.5","m":"2020-01-02T03:04:05"},"small":"-128","float":"2.5","blobs":["a",{"b":1}]}`), &in))
	made, err := readTypes([]any{newLazy})
	require.NoError(t, err)
	var s shape
	require.NoError(t, made.fill(reflect.ValueOf(&s).Elem(), in, ""))
	require.Equal(t, document.Map{"a": document.List{document.Number("1")}}, s.Newer)
	require.Equal(t, lazy{map[string]any{"b": true}}, s.Older)
	b, err := io.ReadAll(s.Body)
	require.NoError(t, err)
	require.Equal(t, "text", string(b))
	require.Len(t, s.Sparse, 2)
	require.Nil(t, s.Sparse[1])
	require.Equal(t, map[string]time.Time{"k": time.Date(2020, 1, 2, 2, 4, 5, 0, time.UTC), "l": time.Unix(1, 5e8).UTC(), "m": time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)}, s.Times)
	require.Equal(t, int8(-128), s.Small)
	require.Equal(t, float32(2.5), s.Float)
	require.Equal(t, [][]byte{[]byte("a"), []byte(`{"b":1}`)}, s.Blobs)

	for in, says := range map[string]string{
		`{"Small":128}`:           "Small must be a whole number of 8 bits",
		`{"Float":"x"}`:           "Float must be a number",
		`{"Times":{"k":true}}`:    "Times.k must be a time",
		`{"Sparse":{"a":"b"}}`:    "Sparse must be a list",
		`{"a\u001b[2J":"\u001b"}`: `a\x1b[2J is no member`,
	} {
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(in), &v))
		var s shape
		require.ErrorContains(t, made.fill(reflect.ValueOf(&s).Elem(), v, ""), says)
	}
	require.ErrorContains(t, types(nil).fill(reflect.ValueOf(&s).Elem(), map[string]any{"Older": 1}, ""), "Older is a union or a document")
}

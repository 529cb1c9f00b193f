package awsapi

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/document"
	"github.com/stretchr/testify/require"
)

// said is a structure that writes whatever a test wants.
type said func(s smithy.ShapeSerializer)

func (f said) Serialize(s smithy.ShapeSerializer) { f(s) }

// The writer puts every kind of value where it belongs.
func TestWriter(t *testing.T) {
	text := smithy.NewSchema(smithy.ShapeID{Name: "Text"}, smithy.ShapeTypeString, 0)
	root := smithy.NewSchema(smithy.ShapeID{Name: "Root"}, smithy.ShapeTypeStructure, 4)
	a, b, c, d := root.AddMember("aText", text), root.AddMember("list", text), root.AddMember("map", text), root.AddMember("Other", text)
	list := smithy.NewSchema(smithy.ShapeID{Name: "List"}, smithy.ShapeTypeList, 1)
	member := list.AddMember("member", text)
	var cap capture
	cap.describe(said(func(s smithy.ShapeSerializer) {
		s.WriteStruct(root)
		s.WriteTime(a, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("x", 3600)))
		s.WriteList(b)
		s.WriteInt8(member, 1)
		s.WriteInt16(member, 2)
		s.WriteInt32(member, 3)
		s.WriteInt64(member, 4)
		s.WriteFloat32(member, 0.5)
		s.WriteFloat64(member, math.Inf(1))
		s.WriteBigInt(member, big.NewInt(7))
		s.WriteBigFloat(member, big.NewFloat(1.5))
		s.WriteNil(member)
		s.WriteUnion(member, a)
		s.WriteStruct(a)
		s.WriteBool(d, true)
		s.CloseStruct()
		s.CloseUnion()
		s.WriteList(member)
		s.CloseList()
		s.CloseList()
		s.WriteMap(c)
		s.WriteKey(nil, "k")
		s.WriteStruct(c)
		s.WriteBlob(a, []byte{0xff})
		s.WriteNil(b)
		s.CloseStruct()
		s.WriteKey(nil, "n")
		s.WriteNil(nil)
		s.CloseMap()
		s.WriteDocument(d, document.Map{"l": document.List{document.Boolean(true), document.Number("1.50"), document.Null{}, document.String("s"), document.Blob("b"), document.Timestamp(time.Unix(0, 0))},
			"o": document.Opaque{Value: map[string]any{"x": 1}}, "s": document.Structure{Members: map[string]document.Value{"y": document.String("z")}}})
		s.CloseStruct()
		require.Nil(t, s.Bytes())
	}))
	got, err := json.Marshal(cap.body)
	require.NoError(t, err)
	require.JSONEq(t, `{"aText":"2026-01-02T02:04:05.000006Z","list":[1,2,3,4,0.5,"Infinity",7,1.5,null,{"aText":{"Other":true}},[]],"map":{"k":{"aText":"/w=="}},
		"Other":{"l":[true,1.50,null,"s","b","1970-01-01T00:00:00Z"],"o":{"x":1},"s":{"y":"z"}}}`, string(got))
	require.Equal(t, map[string]string{"atext": "aText", "list": "list", "map": "map", "other": "Other"}, cap.names)

	cap.describe(said(func(s smithy.ShapeSerializer) { s.CloseStruct(); s.WriteKey(nil, "stray"); s.WriteString(nil, "x") }))
	require.Equal(t, "x", cap.body, "what closes more than it opened does no harm")
}

// Documents of both generations are made of any JSON.
func TestDocuments(t *testing.T) {
	var v any
	require.NoError(t, json.Unmarshal([]byte(`{"a":[1,"b",true,null],"c":{}}`), &v))
	require.Equal(t, document.Map{"a": document.List{document.Number("1"), document.String("b"), document.Boolean(true), document.Null{}}, "c": document.Map{}}, documentOf(v))
	require.Equal(t, map[string]any{"n": document.Number("1e3"), "l": []any{"x"}}, plainNumbers(map[string]any{"n": json.Number("1e3"), "l": []any{"x"}}))
}

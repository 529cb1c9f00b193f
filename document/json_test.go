package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var wide = &limits{depth: 64, nodes: 100_000}

// decodeStd is encoding/json's reading of a text, with numbers as ours.
func decodeStd(src []byte) (any, bool) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, false
	}
	return numbers(v), true
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

func TestJSONPlaces(t *testing.T) {
	v, bad := scanJSON([]byte("{\n  \"é\": [1, \"ü\", true],\n\t\"b\": {\"c\": null}}"), wide)
	require.Empty(t, bad)
	at := func(v *Value) string { l, c := v.Place(); return fmt.Sprint(l, ":", c) }
	require.Equal(t, "1:1", at(v))
	require.Equal(t, "2:8", at(v.Get("é")))
	require.Equal(t, "2:12", at(v.Get("é").Items()[1]))
	require.Equal(t, "2:17", at(v.Get("é").Items()[2]), "columns count characters, not bytes")
	require.Equal(t, "3:13", at(v.Get("b").Get("c")))
	require.Equal(t, 2, v.Fields()[1].Column)
}

func TestJSONRefused(t *testing.T) {
	for _, c := range []struct{ src, place, say string }{
		{``, "1:1", "ends where a value"},
		{`{"a":1,}`, "1:8", "comma before }"},
		{`[1,]`, "1:4", "comma before ]"},
		{`{"a" 1}`, "1:6", "colon"},
		{`{a:1}`, "1:2", "double quotes"},
		{`{"a":1} x`, "1:9", "after the end"},
		{"{\"a\":\"x\ny\"}", "1:8", "line feed"},
		{"\"a\tb\"", "1:3", "control character"},
		{`"\x"`, "1:2", "escape"},
		{`"\u12g4"`, "1:2", "hexadecimal"},
		{`"abc`, "1:5", "inside a string"},
		{`"abc\`, "1:6", "inside a string"},
		{`01`, "1:2", "after the end"},
		{`1.`, "1:3", "number"},
		{`-`, "1:2", "number"},
		{`1e`, "1:3", "number"},
		{`tru`, "1:1", "value should be"},
		{`[1 2]`, "1:4", "comma or ]"},
		{`{"a":1 "b":2}`, "1:8", "comma or }"},
		{`{"a":1,"b":2,"a":3}`, "1:14", "line 1, column 2"},
		{strings.Repeat("[", 65), "1:65", "deeper than 64"},
	} {
		_, bad := scanJSON([]byte(c.src), wide)
		require.NotEmpty(t, bad, c.src)
		last := bad[len(bad)-1]
		require.Equal(t, c.place, fmt.Sprintf("%d:%d", last.line, last.column), c.src)
		require.Contains(t, last.msg, c.say, c.src)
	}
	_, bad := scanJSON([]byte(`[1,2,3,4]`), &limits{depth: 9, nodes: 4})
	require.Equal(t, "too-many-values", bad[0].code)
}

func TestJSONKeysDifferInCase(t *testing.T) {
	v, bad := scanJSON([]byte(`{"Name":1,"name":2}`), wide)
	require.Empty(t, bad, "only exact duplicates are refused")
	require.Equal(t, "2", v.Get("name").Text())
	require.Equal(t, "1", v.fold("NAME").Text())
}

func TestJSONManyKeysTwice(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, `,"k%d":0`, i%39)
	}
	_, bad := scanJSON([]byte("{"+b.String()[1:]+"}"), wide)
	require.Len(t, bad, 1)
	require.Equal(t, "duplicate-key", bad[0].code)
}

// FuzzJSON holds the scanner to encoding/json: the same texts are valid, with the same values; and rendering round-trips.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,-0,"x\u00e9\ud83d\ude00\ud800\/"],"b":{"c":null,"d":true}}`, `[]`, `{}`, `"\ud83d\u0041"`, "\"\xff\"", ` 12 `,
		`{"a":1,"a":2}`, `[1,]`, "\"a\\n\xc3\"", `1E+2`, `{"k":"{{ x }}"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		v, bad := scanJSON(src, wide)
		for _, b := range bad {
			switch b.code {
			case "duplicate-key", "too-deep", "too-many-values":
				return
			}
		}
		want, ok := decodeStd(src)
		if ok != (v != nil) {
			t.Fatalf("encoding/json: valid %v; scanner: %v", ok, bad)
		}
		if !ok {
			if bad[0].line < 1 || bad[0].column < 1 {
				t.Fatalf("no place: %+v", bad[0])
			}
			return
		}
		if diff := cmp.Diff(want, v.Go()); diff != "" {
			t.Fatal(diff)
		}
		out := v.appendTo(nil)
		if !json.Valid(out) {
			t.Fatalf("rendering is not JSON: %q", out)
		}
		again, bad := scanJSON(out, wide)
		if bad != nil {
			t.Fatalf("rendering does not parse: %v", bad)
		}
		if diff := cmp.Diff(v.Go(), again.Go()); diff != "" {
			t.Fatal(diff)
		}
		if string(again.appendTo(nil)) != string(out) {
			t.Fatal("rendering is not stable")
		}
	})
}

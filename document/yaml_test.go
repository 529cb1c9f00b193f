package document

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	yaml "go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

func TestYAMLScalars(t *testing.T) {
	v, _, bad := scanYAML([]byte(`
a: 2012-10-17
b: yes
c: 0755
d: "1"
e: 1
f: true
g:
h: ~
i: 1.50
j: 0x1f
k: !Sub "${x}"
l: 1_000
m: .5
n: |
  two
  lines
o: 9007199254740993
p: -0
q: 1e3
r: off
s: 123456789012345678901234567890
t: 12:30:45
`), wide)
	require.Empty(t, bad)
	require.Equal(t, map[string]any{"a": "2012-10-17", "b": "yes", "c": "0755", "d": "1", "e": int64(1), "f": true, "g": nil, "h": nil, "i": 1.5, "j": "0x1f",
		"k": map[string]any{"Fn::Sub": "${x}"}, "l": "1_000", "m": ".5", "n": "two\nlines\n", "o": int64(9007199254740993), "p": int64(0), "q": 1000.0, "r": "off",
		"s": "123456789012345678901234567890", "t": "12:30:45"}, v.Go())
	require.Equal(t, "!Sub", v.Get("k").Tag())
	line, column := v.Get("d").Place()
	require.Equal(t, []int{5, 4}, []int{line, column})
}

func TestYAMLRefused(t *testing.T) {
	for _, c := range []struct{ src, place, code, say string }{
		{"a: 1\nb: [1\nc: 2\n", "3:2", "syntax", "not valid YAML"},
		{"a: 1\nb: 2\na: 3\n", "3:1", "duplicate-key", "line 1, column 1"},
		{"a: &x [*x]\n", "1:8", "alias", "own anchor"},
		{"a: *x\n", "1:4", "syntax", "not valid YAML"},
		{"a: 1\n---\nb: 2\n", "3:1", "many-documents", "second"},
		{"? [a]\n: 1\n", "1:3", "key-type", "plain text"},
		{"a: &x {b: 1}\nc:\n  <<: *x\n", "3:3", "merge-key", "write the keys out"},
		{strings.Repeat("[", 100), "", "too-deep", "64"},
		{strings.Repeat("- ", 100) + "x", "", "too-deep", "64"},
	} {
		_, _, bad := scanYAML([]byte(c.src), wide)
		require.NotEmpty(t, bad, c.src)
		require.Equal(t, c.code, bad[0].code, "%s: %v", c.src, bad)
		require.Contains(t, bad[0].msg, c.say, c.src)
		if c.place != "" {
			require.Equal(t, c.place, fmt.Sprintf("%d:%d", bad[0].line, bad[0].column), c.src)
		}
	}
}

func TestYAMLAliasesCount(t *testing.T) {
	v, _, bad := scanYAML([]byte("a: &x [1, 2]\nb: *x\nc: &k key\n"), wide)
	require.Empty(t, bad)
	require.Equal(t, []any{int64(1), int64(2)}, v.Get("b").Go())

	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	_, _, bad = scanYAML([]byte(bomb.String()), &limits{depth: 64, nodes: 10_000})
	require.Equal(t, "too-many-values", bad[0].code)
	require.Greater(t, bad[0].line, 1)
}

// TestYAMLMemory: no text of 64 KiB makes the reader hold more than 128 times its size and 1 MiB.
func TestYAMLMemory(t *testing.T) {
	const size = 64 << 10
	fill := func(unit string) []byte { return []byte(strings.Repeat(unit, size/len(unit))) }
	below := func(open, unit, shut string) []byte { // the longest text of such units that is not refused early
		n := sort.Search(size/len(unit), func(n int) bool { return crowded([]byte(open+strings.Repeat(unit, n)+shut)) >= 0 })
		return []byte(open + strings.Repeat(unit, max(n-1, 0)) + shut)
	}
	for name, src := range map[string][]byte{
		"flow": below("[", "a,", "]"), "dashes": below("", "-\n", ""), "items": below("", "- a\n", ""), "keys": below("", "k:\n", ""), "pairs": below("[", "?,", "]"),
		"anchors": below("[", "&a x,", "]"), "maps": below("[", "{},", "]"), "open": below("", "[a,", ""), "comments": below("", "#\n", "a"),
		"json": append(append([]byte("["), fill("0,")...), "0]"...), "json maps": append(append([]byte("["), fill("{},")...), "0]"...),
		"json keys": append(append([]byte("{"), fill(`"":0,`)...), `"":0}`...),
		"deep":      fill("["), "json in yaml": below("[", `{"a":1},`, "]"), "documents": fill("---\n"), "spaces": fill(" "), "words": fill("a "), "lines": below("", "a\n", ""),
		"quotes": below("[", `"",`, "]"), "tags": below("[", "!a b,", "]"), "aliases": below("[&a b,", "*a,", "]"), "question": below("", "? a\n", ""), "folds": below("a: >\n", " b\n", ""),
	} {
		least := uint64(1 << 40)
		for range 3 { // what is allocated while the collector marks counts as live: the least of some tries is nearest
			least = min(least, livePeak(func() any {
				d := &Document{Source: src, Format: YAML}
				if strings.HasPrefix(name, "json") && name != "json in yaml" {
					d.Format = JSON
				}
				c := &collector{}
				c.read(d)
				return []any{c, d}
			}))
		}
		t.Logf("%s: %d KiB of text, %d KiB live", name, len(src)>>10, least>>10)
		require.Less(t, least, uint64(128*len(src)+1<<20), name)
	}
}

// livePeak runs f and returns the most memory that was live meanwhile, about.
func livePeak(f func() any) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtime.GC()
	metrics.Read(sample)
	base := sample[0].Value.Uint64()
	done := make(chan any)
	go func() { done <- f() }()
	peak := base
	for {
		metrics.Read(sample)
		peak = max(peak, sample[0].Value.Uint64())
		select {
		case v := <-done:
			runtime.GC()
			metrics.Read(sample)
			runtime.KeepAlive(v)
			return max(peak, sample[0].Value.Uint64()) - base
		default:
			runtime.Gosched()
		}
	}
}

// plainValue draws what a document can hold.
func plainValue(depth int) *rapid.Generator[any] {
	leaf := []*rapid.Generator[any]{
		rapid.Custom(func(t *rapid.T) any { return rapid.String().Draw(t, "s") }),
		rapid.Custom(func(t *rapid.T) any {
			return rapid.SampledFrom([]string{"yes", "0755", "1", "", "~", "null", "true", "{{ x }}", "a: b", "- x", "#c", "2012-10-17", "|", " lead", "a\n b\n", "*x", "&y", "!t", "\t", "é", "1e3", "0x1", ".5", "<<"}).Draw(t, "odd")
		}),
		rapid.Custom(func(t *rapid.T) any { return rapid.Int64().Draw(t, "n") }),
		rapid.Custom(func(t *rapid.T) any { return rapid.Bool().Draw(t, "b") }),
		rapid.Just[any](nil),
	}
	if depth == 0 {
		return rapid.OneOf(leaf...)
	}
	return rapid.OneOf(append(leaf,
		rapid.Custom(func(t *rapid.T) any { return rapid.SliceOfN(plainValue(depth-1), 0, 4).Draw(t, "list") }),
		rapid.Custom(func(t *rapid.T) any {
			return rapid.MapOfN(rapid.String(), plainValue(depth-1), 0, 4).Draw(t, "map")
		}))...)
}

// TestYAMLAndJSONAgree: a value written as JSON and as YAML reads as the same.
func TestYAMLAndJSONAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := map[string]any{"k": plainValue(3).Draw(t, "v")}
		js, bad := scanJSON(appendJSON(nil, v), wide)
		if bad != nil {
			t.Fatal(bad)
		}
		text, err := yaml.Dump(v)
		if err != nil {
			t.Skip(err)
		}
		ys, _, bad := scanYAML(text, wide)
		if bad != nil {
			if strings.Contains(bad[0].msg, "control characters") || bad[0].code == "merge-key" {
				t.Skip(bad)
			}
			t.Fatalf("%v\n%s", bad, text)
		}
		if diff := cmp.Diff(js.Go(), ys.Go()); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

// FuzzYAML: what is read renders as JSON and reads as the same; places exist; nothing passes the limits.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{"a: 1\nb:\n- x\n- {c: d}\n", "---\na: |\n  x\n", "a: &x [1]\nb: *x\n", "%YAML 1.1\n---\nx", "{\"a\": [1, 2]}", "a: !Sub x\n", "? a\n: b\n", "a: >-\n  b\n\n  c\n", "\"\\x41\\u00e9\""} {
		f.Add([]byte(s))
	}
	lim := &limits{depth: 16, nodes: 500}
	f.Fuzz(func(t *testing.T, src []byte) {
		v, _, bad := scanYAML(src, lim)
		for _, b := range bad {
			if b.line < 1 || b.column < 1 || b.msg == "" {
				t.Fatalf("no place: %+v", b)
			}
		}
		if bad != nil || v == nil {
			return
		}
		n := 0
		var count func(v *Value, depth int)
		count = func(v *Value, depth int) {
			if n++; depth > lim.depth+1 {
				t.Fatal("too deep")
			}
			if l, c := v.Place(); l < 1 || c < 1 {
				t.Fatalf("no place: %q", v.Text())
			}
			for _, it := range v.Items() {
				count(it, depth+1)
			}
			for _, f := range v.Fields() {
				count(f.Value, depth+1)
			}
		}
		if count(v, 1); n > lim.nodes {
			t.Fatal("too many nodes", n)
		}
		again, bad := scanJSON(v.appendTo(nil), wide)
		if bad != nil {
			t.Fatalf("rendering does not parse: %v", bad)
		}
		if diff := cmp.Diff(v.Go(), again.Go()); diff != "" {
			t.Fatal(diff)
		}
	})
}

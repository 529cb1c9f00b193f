package key_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// element is one element of a tuple: a string, a uint64 or an instant in nanoseconds.
type element struct {
	kind int
	s    string
	u    uint64
	t    int64
}

func (e element) compare(f element) int {
	return cmp.Or(cmp.Compare(e.kind, f.kind), strings.Compare(e.s, f.s), cmp.Compare(e.u, f.u), cmp.Compare(e.t, f.t))
}

func encode(tuple []element) key.K {
	var k key.K
	for _, e := range tuple {
		switch e.kind {
		case 0:
			k = k.Str(e.s)
		case 1:
			k = k.Uint(e.u)
		case 2:
			k = k.Time(time.Unix(0, e.t))
		}
	}
	return k
}

// decode reads a tuple of the same kinds.
func decode(k []byte, kinds []element) (out []element, err error) {
	r := key.Read(k)
	for _, e := range kinds {
		d := element{kind: e.kind}
		switch e.kind {
		case 0:
			d.s = r.Str()
		case 1:
			d.u = r.Uint()
		case 2:
			d.t = r.Time().UnixNano()
		}
		out = append(out, d)
	}
	return out, r.Err()
}

var elements = rapid.Custom(func(t *rapid.T) element {
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		return element{s: rapid.OneOf(
			rapid.String(),
			rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 0xff, 'a'}), 0, 5), func(b []byte) string { return string(b) }),
		).Draw(t, "string")}
	case 1:
		return element{kind: 1, u: rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300), rapid.Just(uint64(math.MaxUint64))).Draw(t, "uint")}
	}
	return element{kind: 2, t: rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3)).Draw(t, "time")}
})

var tuples = rapid.SliceOfN(elements, 0, 4)

func TestATupleComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tuple := tuples.Draw(t, "tuple")
		got, err := decode(encode(tuple), tuple)
		require.NoError(t, err)
		require.Equal(t, len(tuple), len(got))
		for i := range tuple {
			require.Equal(t, tuple[i], got[i])
		}
	})
}

func TestByteOrderIsElementOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := tuples.Draw(t, "a"), tuples.Draw(t, "b")
		if rapid.Bool().Draw(t, "share a beginning") && len(a) > 0 {
			b = append(slices.Clone(a[:rapid.IntRange(0, len(a)).Draw(t, "shared")]), b...)
		}
		want := slices.CompareFunc(a, b, element.compare)
		require.Equal(t, want, bytes.Compare(encode(a), encode(b)), "%v and %v", a, b)
	})
}

func TestNoKeyIsAPrefixOfASibling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parent := tuples.Draw(t, "parent")
		a, b := elements.Draw(t, "a"), elements.Draw(t, "b")
		if a == b {
			return
		}
		ka, kb := encode(append(slices.Clone(parent), a)), encode(append(slices.Clone(parent), b))
		require.False(t, bytes.HasPrefix(ka, kb) || bytes.HasPrefix(kb, ka), "%v and %v", a, b)
	})
}

func within(k []byte, r store.Range) bool {
	return bytes.Compare(k, r.Start) >= 0 && (r.End == nil || bytes.Compare(k, r.End) < 0)
}

func TestRangeHoldsExactlyTheExtensions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parent := tuples.Draw(t, "parent")
		other := tuples.Draw(t, "other")
		if rapid.Bool().Draw(t, "extend") {
			other = append(slices.Clone(parent), other...)
		}
		extends := len(other) > len(parent) && slices.Equal(other[:len(parent)], parent)
		require.Equal(t, extends, within(encode(other), encode(parent).Range()), "%v in the range of %v", other, parent)
	})
}

func TestAfterIsTheNextPage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parent := tuples.Draw(t, "parent")
		var keys [][]byte
		for range rapid.IntRange(1, 10).Draw(t, "children") {
			keys = append(keys, encode(append(slices.Clone(parent), elements.Draw(t, "child"))))
		}
		slices.SortFunc(keys, bytes.Compare)
		last := rapid.SampledFrom(keys).Draw(t, "last")
		r := encode(parent).After(last)
		for _, k := range keys {
			require.Equal(t, bytes.Compare(k, last) > 0, within(k, r))
		}
	})
}

func TestMethodsDoNotShareBytes(t *testing.T) {
	base := key.New("t").Str("command")
	a, b := base.Str("a"), base.Str("b")
	require.NotEqual(t, a, b)
	require.Equal(t, key.New("t").Str("command").Str("a"), a)
	r1 := base.Range()
	r1.Start[0] = 'x'
	require.Equal(t, key.New("t").Str("command"), base)
	r := base.After(a)
	r.Start[0] = 'x'
	require.Equal(t, base.Str("a"), a)
}

func TestReadingWhatIsNotThereFails(t *testing.T) {
	whole := key.New("t").Str("s\x00").Uint(7).Time(time.Unix(1, 0))
	for n := range len(whole) {
		r := key.Read(whole[:n])
		r.Str()
		r.Str()
		r.Uint()
		r.Time()
		require.ErrorIs(t, r.Err(), key.ErrMalformed, "%d of %d bytes", n, len(whole))
	}
	t.Run("left over", func(t *testing.T) {
		r := key.Read(whole)
		r.Str()
		require.True(t, r.More())
		require.ErrorIs(t, r.Err(), key.ErrMalformed)
	})
	t.Run("another kind", func(t *testing.T) {
		r := key.Read(whole)
		require.Zero(t, r.Uint())
		require.Zero(t, r.Time())
		require.Empty(t, r.Str(), "the first error sticks")
		require.False(t, r.More())
		require.ErrorIs(t, r.Err(), key.ErrMalformed)
	})
	t.Run("bad escape", func(t *testing.T) {
		r := key.Read([]byte{2, 0, 7})
		r.Str()
		require.ErrorIs(t, r.Err(), key.ErrMalformed)
	})
}

// The encoding is on disks: these bytes never change.
func TestPublishedVectors(t *testing.T) {
	for want, k := range map[string]key.K{
		"0264656661756c740001":                         key.New("default"),
		"020001":                                       key.New(""),
		"026100ff620001":                               key.New("a\x00b"),
		"02740001" + "030000000000000102":              key.New("t").Uint(258),
		"02740001" + "048000000000000000":              key.New("t").Time(time.Unix(0, 0)),
		"02740001" + "047fffffffffffffff":              key.New("t").Time(time.Unix(0, -1)),
		"02740001" + "049752f4da2f866100":              key.New("t").Time(time.Date(2023, 4, 5, 6, 7, 8, 900_000_000, time.UTC)),
		"02740001" + "02630001" + "03ffffffffffffffff": key.New("t").Str("c").Uint(math.MaxUint64),
	} {
		require.Equal(t, want, fmt.Sprintf("%x", []byte(k)))
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(key.New("t").Str("a\x00").Uint(1).Time(time.Unix(5, 5))))
	f.Add([]byte{2, 0, 0xff, 0, 1})
	f.Add([]byte{3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := key.Read(b)
		var again key.K
		for r.More() {
			rest := b[len(again):]
			switch rest[0] {
			case 2:
				again = again.Str(r.Str())
			case 3:
				again = again.Uint(r.Uint())
			default:
				again = again.Time(r.Time())
			}
		}
		if r.Err() == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x reads as a tuple that is written %x", b, again)
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add("a", uint64(1), int64(5), "a\x00", uint64(1), int64(-5))
	f.Add("", uint64(0), int64(0), "\x00", uint64(math.MaxUint64), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, s1 string, u1 uint64, t1 int64, s2 string, u2 uint64, t2 int64) {
		a, b := []element{{s: s1}, {kind: 1, u: u1}, {kind: 2, t: t1}}, []element{{s: s2}, {kind: 1, u: u2}, {kind: 2, t: t2}}
		ka, kb := encode(a), encode(b)
		if want, got := slices.CompareFunc(a, b, element.compare), bytes.Compare(ka, kb); want != got {
			t.Fatalf("%v and %v compare %d, their keys %d", a, b, want, got)
		}
		if got, err := decode(ka, a); err != nil || !slices.Equal(got, a) {
			t.Fatalf("%v came back as %v, %v", a, got, err)
		}
		if within(kb, encode(a[:1]).Range()) != (s1 == s2) {
			t.Fatalf("the range of %q is wrong about %v", s1, b)
		}
	})
}

var sink []byte

func BenchmarkKey(b *testing.B) {
	for b.Loop() {
		sink = key.New("default").Str("command").Str("invocation").Str("1f6b2f0e-0c53-4c2b-9b0f-2d7f5f6f9f10").Str("mi-0123456789abcdef0")
	}
	own := float64(b.Elapsed()) / float64(b.N)
	const n = 200_000
	start := time.Now()
	for range n { // the least that one could do: five growing copies of the bytes
		for size := 16; size <= 96; size += 20 {
			sink = append(make([]byte, 0, size), "default/command/invocation/1f6b2f0e-0c53-4c2b-9b0f-2d7f5f6f9f10/mi-0123456789abcdef0/and the rest"[:size]...)
		}
	}
	b.ReportMetric(own/(float64(time.Since(start))/n), "ratio-copy")
}

package tree

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// check verifies what every tree must be: sorted, no empty node, none too big, separators between their neighbours.
func check(t require.TestingT, m *Map) {
	n := 0
	var last []byte
	var walk func(nd *node, depth int) int
	walk = func(nd *node, depth int) int {
		require.NotEmpty(t, nd.keys)
		require.LessOrEqual(t, len(nd.keys), fan)
		if nd.kids == nil {
			require.Len(t, nd.vals, len(nd.keys))
			for _, k := range nd.keys {
				require.True(t, n == 0 || bytes.Compare(last, k) < 0, "order")
				last = k
				n++
			}
			return depth
		}
		require.Len(t, nd.kids, len(nd.keys))
		d := -1
		for i, kid := range nd.kids {
			if i > 0 {
				require.True(t, bytes.Compare(last, nd.keys[i]) < 0 && bytes.Compare(nd.keys[i], least(kid)) <= 0, "separator")
			}
			kd := walk(kid, depth+1)
			require.True(t, d == -1 || d == kd, "all leaves lie equally deep")
			d = kd
		}
		return d
	}
	if m.root != nil {
		walk(m.root, 0)
	}
	require.Equal(t, n, m.Len())
}

type model map[string]string

func (md model) scan(start, end []byte, reverse bool) (out []string) {
	for k, v := range md {
		if (start == nil || k >= string(start)) && (end == nil || k < string(end)) {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	if reverse {
		slices.Reverse(out)
	}
	return out
}

func collect(m *Map, start, end []byte, reverse bool) (out []string) {
	for k, v := range m.Scan(start, end, reverse) {
		out = append(out, string(k)+"="+string(v))
	}
	return out
}

func TestMapAgreesWithASortedModelAndClonesStayAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Map
		md := model{}
		space := rapid.SampledFrom([]int{5, 300, 5000}).Draw(t, "space")
		key := func() []byte { return fmt.Appendf(nil, "%06d", rapid.IntRange(0, space).Draw(t, "key")) }
		type frozen struct {
			m  Map
			is []string
		}
		var olds []frozen
		for i := range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				k := key()
				_, had := md[string(k)]
				require.Equal(t, had, m.Delete(k))
				delete(md, string(k))
			case 1: // a run of neighbours goes
				from := rapid.IntRange(0, space).Draw(t, "from")
				for j := from; j < from+space/3; j++ {
					k := fmt.Appendf(nil, "%06d", j)
					_, had := md[string(k)]
					require.Equal(t, had, m.Delete(k))
					delete(md, string(k))
				}
			case 2: // a run of neighbours comes
				from := rapid.IntRange(0, space).Draw(t, "from")
				for j := from; j < from+200; j++ {
					k := fmt.Sprintf("%06d", j)
					m.Set([]byte(k), fmt.Append(nil, i))
					md[k] = fmt.Sprint(i)
				}
			case 3:
				if len(olds) < 4 {
					olds = append(olds, frozen{m.Clone(), md.scan(nil, nil, false)})
				}
			case 4:
				a, b := key(), key()
				rev := rapid.Bool().Draw(t, "reverse")
				require.Equal(t, md.scan(a, b, rev), collect(&m, a, b, rev))
				require.Equal(t, md.scan(a, nil, rev), collect(&m, a, nil, rev))
				require.Equal(t, md.scan(nil, b, rev), collect(&m, nil, b, rev))
			default:
				k := key()
				m.Set(k, fmt.Append(nil, i))
				md[string(k)] = fmt.Sprint(i)
				v, ok := m.Get(k)
				require.True(t, ok)
				require.Equal(t, fmt.Sprint(i), string(v))
			}
		}
		check(t, &m)
		require.Equal(t, md.scan(nil, nil, false), collect(&m, nil, nil, false))
		for _, o := range olds {
			check(t, &o.m)
			require.Equal(t, o.is, collect(&o.m, nil, nil, false))
		}
	})
}

func TestAScanSeesTheStateOfItsStart(t *testing.T) {
	var m Map
	for i := range 1000 {
		m.Set(fmt.Appendf(nil, "%04d", i), []byte("old"))
	}
	n := 0
	for k, v := range m.Scan(nil, nil, false) {
		require.Equal(t, "old", string(v))
		m.Delete(k)
		m.Set(append(slices.Clone(k), 'x'), []byte("new"))
		n++
	}
	require.Equal(t, 1000, n)
	require.Equal(t, 1000, m.Len())
	check(t, &m)
}

func BenchmarkSet(b *testing.B) {
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "node/%08d", (i*7919)%len(keys))
	}
	var m Map
	for i := 0; b.Loop(); i++ {
		m.Set(keys[i%len(keys)], keys[0])
	}
}

func BenchmarkGet(b *testing.B) {
	keys := make([][]byte, 100_000)
	var m Map
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "node/%08d", (i*7919)%len(keys))
		m.Set(keys[i], keys[i])
	}
	for i := 0; b.Loop(); i++ {
		m.Get(keys[i%len(keys)])
	}
}

package pgstore

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/store"
)

// TestCacheKnowsWhatItWasTold feeds a cache answers of a database and compares what it says it knows.
func TestCacheKnowsWhatItWasTold(t *testing.T) {
	universe := []string{}
	for _, a := range "abc" {
		universe = append(universe, string(a))
		for _, b := range "\x00bc" { // the zero byte is what makes the next key after another
			universe = append(universe, string(a)+string(b))
		}
	}
	key := rapid.SampledFrom(universe)
	rapid.Check(t, func(t *rapid.T) {
		db := rapid.MapOf(key, rapid.Just("v")).Draw(t, "database")
		all := slices.Sorted(maps.Keys(db))
		var c cache
		known := map[string]bool{}
		check := func() {
			for _, k := range universe {
				v, ok := c.get([]byte(k))
				require.Equal(t, known[k], ok, "whether %q is known", k)
				if ok {
					require.Equal(t, db[k], string(v), k)
				}
				if hi, ok := c.upTo([]byte(k)); ok {
					for _, u := range universe {
						require.True(t, u < k || u >= string(hi) || known[u], "%q lies in what is known upwards of %q", u, k)
					}
				}
				if lo, ok := c.downTo([]byte(k)); ok {
					for _, u := range universe {
						require.True(t, u >= k || u < string(lo) || known[u], "%q lies in what is known below %q", u, k)
					}
				}
			}
			for i, s := range c.spans {
				require.Negative(t, bytes.Compare(s.lo, s.hi))
				if i > 0 {
					require.Negative(t, bytes.Compare(c.spans[i-1].hi, s.lo))
				}
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "answers") {
			check()
			if rapid.Bool().Draw(t, "keys") {
				k := key.Draw(t, "key")
				var rows []store.Item
				if v, ok := db[k]; ok {
					rows = append(rows, store.Item{Key: []byte(k), Value: []byte(v)})
				}
				c.learnKeys([][]byte{[]byte(k)}, rows)
				known[k] = true
				continue
			}
			lo, hi := key.Draw(t, "lo"), key.Draw(t, "hi")
			reverse, limit := rapid.Bool().Draw(t, "reverse"), rapid.IntRange(1, 4).Draw(t, "limit")
			var rows []store.Item
			in := slices.DeleteFunc(slices.Clone(all), func(k string) bool { return k < lo || k >= hi })
			if reverse {
				slices.Reverse(in)
			}
			full := len(in) >= limit
			for _, k := range in[:min(len(in), limit)] {
				rows = append(rows, store.Item{Key: []byte(k), Value: []byte(db[k])})
			}
			c.learn([]byte(lo), []byte(hi), reverse, rows, limit)
			for _, k := range universe {
				last := ""
				if full {
					last = string(rows[len(rows)-1].Key)
				}
				if k >= lo && k < hi && (!full || !reverse && k <= last || reverse && k >= last) {
					known[k] = true
				}
			}
		}
		check()
	})
}

package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

func resolveAll(t require.TestingT, s *Service, tenant string, ts []target.Target, limit int) (all []string) {
	after := ""
	for {
		ids, next, err := s.Resolve(context.Background(), tenant, ts, after, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(ids), limit)
		all = append(all, ids...)
		if next == "" {
			return all
		}
		require.Len(t, ids, limit, "a page that is not the last is full")
		after = next
	}
}

// Resolution by index gives what looking at every node would, in order, each once, whatever the page size.
func TestResolveIsMatchOverAllNodes(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		s, err := New(Config{Store: memstore.New(), Authorizer: byTag{}, Controller: controller})
		require.NoError(t, err)
		root := as("t", "root")
		n := rapid.IntRange(0, 60).Draw(t, "n")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) // dense fleets, which rapid's own maps are not
		var nodes []target.Node
		require.NoError(t, s.cfg.Store.Update(root, func(_ context.Context, tx store.Tx) error {
			for i := range n {
				nid := fmt.Sprintf("mi-%02d", i)
				if rng.IntN(3) == 0 {
					nid = fmt.Sprintf("i-%02d", i)
				}
				tags := map[string]string{}
				for _, k := range []string{"a", "b", "c"} {
					if rng.IntN(3) > 0 {
						tags[k] = string("abc"[rng.IntN(3)])
					}
				}
				nodes = append(nodes, target.Node{ID: nid, Tags: tags})
				if err := s.create(tx, "t", nodeRecord{ID: nid, Tags: tags}); err != nil {
					return err
				}
			}
			return nil
		}))
		groups := map[string]target.Group{}
		for _, name := range []string{"g", "h"} {
			q := Query{ResourceTypeFilters: rapid.SampledFrom([][]string{nil, {target.TypeAny}, {target.TypeManaged}, {target.TypeEC2}}).Draw(t, "types")}
			for _, k := range rapid.SliceOfNDistinct(word, 0, 2, rapid.ID[string]).Draw(t, "keys") {
				q.TagFilters = append(q.TagFilters, target.TagFilter{Key: k, Values: rapid.SliceOfN(word, 0, 2).Draw(t, "values")})
			}
			require.NoError(t, s.CreateGroup(root, Group{Name: name, Query: q}))
			groups[name] = target.Group{Name: name, Types: q.ResourceTypeFilters, Tags: q.TagFilters}
		}
		gen := rapid.Custom(func(t *rapid.T) target.Target {
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				return target.Target{Key: target.TagKey, Values: rapid.SliceOfN(word, 1, 3).Draw(t, "v")}
			case 1:
				ids := []string{"mi-00", "i-00", "mi-01", "i-01", "mi-17", "nobody"}
				return target.Target{Key: target.InstanceIDs, Values: rapid.SliceOfN(rapid.SampledFrom(ids), 1, 6).Draw(t, "v")}
			case 2:
				return target.Target{Key: target.InstanceIDs, Values: []string{target.All}}
			case 3:
				return target.Target{Key: target.ResourceTypeFilters, Values: rapid.SampledFrom([][]string{{target.TypeEC2}, {target.TypeManaged, "AWS::EC2::VPC"}}).Draw(t, "v")}
			}
			return target.Target{Key: "tag:" + word.Draw(t, "k"), Values: rapid.SliceOfN(word, 1, 3).Draw(t, "v")}
		})
		ts := rapid.SliceOfN(gen, 1, 4).Draw(t, "targets")
		if rapid.Bool().Draw(t, "group") {
			ts = append(ts, target.Target{Key: target.ResourceGroup, Values: []string{rapid.SampledFrom([]string{"g", "h"}).Draw(t, "name")}})
		}
		var want []string
		for _, n := range nodes {
			if target.Match(n, ts, groups) {
				want = append(want, n.ID)
			}
		}
		slices.Sort(want)
		got := resolveAll(t, s, "t", ts, rapid.IntRange(1, 50).Draw(t, "limit"))
		if !slices.Equal(want, got) {
			t.Fatalf("%s: want %v, got %v", target.Format(ts), want, got)
		}
		require.Empty(t, resolveAll(t, s, "u", slices.DeleteFunc(slices.Clone(ts), func(t target.Target) bool { return t.Key == target.ResourceGroup }), 5) /* another tenant */)
	})
}

// A node that fits several values of a target is there once, across pages too.
func TestR8_SeveralValuesOneNode(t *testing.T) {
	w := newWorld(t, nil)
	w.fill(t, "t", 90, func(i int) map[string]string {
		return map[string]string{"a": "x", string("bc"[i%2]): "x"}
	})
	for _, limit := range []int{1, 7, 89, 90, 1000} {
		got := resolveAll(t, w.Service, "t", []target.Target{{Key: target.TagKey, Values: []string{"c", "a", "b", "a"}}}, limit)
		require.Len(t, got, 90)
		require.True(t, slices.IsSorted(got))
		require.Len(t, slices.Compact(got), 90)
	}
}

func TestResolveRefuses(t *testing.T) {
	w := newWorld(t, nil)
	for _, ts := range [][]target.Target{nil, {{Key: "nonsense", Values: []string{"x"}}}, {{Key: target.ResourceGroup, Values: []string{"absent"}}}} {
		_, _, err := w.Resolve(alice, "t", ts, "", 0)
		require.Equal(t, fault.InvalidTarget, fault.CodeOf(err))
	}
}

// large is a fleet of 100,000 (10,000 in short runs): every node has Fleet=all, 100 of them Rare=yes, half each of Half=a and Half=b.
func large(t testing.TB) (*counting, *Service) {
	t.Helper()
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	c := &counting{Store: memstore.New()}
	s, err := New(Config{Store: c, Authorizer: byTag{}, Controller: controller})
	require.NoError(t, err)
	(&world{Service: s, store: c}).fill(t, "t", n, func(i int) map[string]string {
		tags := map[string]string{"Fleet": "all", "Half": string("ab"[i&1])}
		if i%(n/100) == 0 {
			tags["Rare"] = "yes"
		}
		return tags
	})
	return c, s
}

// Of 100,000 nodes, a tag of 100 is resolved by reading some hundreds of small entries, alone or together with tags that all have.
func TestResolveReadsTheSmallestTagOnly(t *testing.T) {
	c, s := large(t)
	tag := func(k string, v ...string) target.Target { return target.Target{Key: "tag:" + k, Values: v} }
	all := target.Target{Key: target.InstanceIDs, Values: []string{"*"}}
	for _, x := range []struct {
		name string
		ts   []target.Target
		want int
		most int64
	}{
		{"alone", []target.Target{tag("Rare", "yes")}, 100, 101},
		{"with a tag that all have", []target.Target{tag("Fleet", "all"), tag("Rare", "yes")}, 100, 1500},
		{"with the whole fleet", []target.Target{all, tag("Rare", "yes")}, 100, 1500},
		{"with two", []target.Target{tag("Half", "a", "b"), tag("Fleet", "all"), tag("Rare", "yes")}, 100, 2500},
		{"with half", []target.Target{tag("Half", "b"), tag("Rare", "yes")}, 0, 1500},
		{"by its key", []target.Target{{Key: target.TagKey, Values: []string{"Rare"}}}, 100, 101},
		{"with ids", []target.Target{tag("Fleet", "all"), {Key: target.InstanceIDs, Values: []string{id(0), id(1), "mi-x"}}}, 2, 200},
		{"a tag nobody has", []target.Target{tag("Fleet", "all"), tag("Fleet", "none")}, 0, 200},
	} {
		before := c.reads.Load()
		got := resolveAll(t, s, "t", x.ts, 1000)
		read := c.reads.Load() - before
		t.Logf("%s: %d nodes, %d reads", x.name, len(got), read)
		require.Len(t, got, x.want, x.name)
		require.LessOrEqual(t, read, x.most, x.name)
	}
	before := c.reads.Load()
	n := len(resolveAll(t, s, "t", []target.Target{tag("Fleet", "all")}, 4096))
	require.GreaterOrEqual(t, n, 10_000)
	require.LessOrEqual(t, c.reads.Load()-before, int64(n+n/4096+1), "everything is read once, page by page")
}

// The limit is a raw scan of the matching index entries, nothing done with them.
func BenchmarkResolve(b *testing.B) {
	_, s := large(b)
	raw := s.cfg.Store.(*counting).Store
	s.cfg.Store = raw
	for _, x := range []struct{ name, key, value string }{{"100 of 100000", "Rare", "yes"}, {"all of 100000", "Fleet", "all"}} {
		b.Run(x.name, func(b *testing.B) {
			var scan, resolve time.Duration
			ts := []target.Target{{Key: "tag:" + x.key, Values: []string{x.value}}}
			for b.Loop() {
				start := time.Now()
				n := 0
				require.NoError(b, raw.View(b.Context(), func(ctx context.Context, r store.Reader) error {
					for _, err := range r.Scan(ctx, tagIndex("t", x.key, x.value).Range()) {
						if err != nil {
							return err
						}
						n++
					}
					return nil
				}))
				scan += time.Since(start)
				start = time.Now()
				require.Len(b, resolveAll(b, s, "t", ts, 4096), n)
				resolve += time.Since(start)
			}
			b.ReportMetric(float64(resolve)/float64(scan), "ratio")
		})
	}
}

// The limit is GetMany of the same records, nothing done with them.
func BenchmarkNodes(b *testing.B) {
	w := newWorld(b, nil)
	var ids []string
	var keys [][]byte
	for i := range 1000 {
		nid := w.put(b, alice, map[string]string{"Role": "web", "Env": "prod", "Name": fmt.Sprint("host", i)})
		ids, keys = append(ids, nid), append(keys, nodeKey("t", nid))
	}
	var get, nodes time.Duration
	for b.Loop() {
		start := time.Now()
		require.NoError(b, w.store.View(b.Context(), func(ctx context.Context, r store.Reader) error {
			_, err := r.GetMany(ctx, keys)
			return err
		}))
		get += time.Since(start)
		start = time.Now()
		got, err := w.Nodes(b.Context(), "t", ids)
		require.NoError(b, err)
		require.Len(b, got, 1000)
		nodes += time.Since(start)
	}
	b.ReportMetric(float64(nodes)/float64(get), "ratio")
	b.ReportMetric(float64(nodes.Nanoseconds())/float64(b.N)/1000, "ns/node")
}

package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// counting counts the bytes of keys and values that are written.
type counting struct {
	store.Store
	bytes atomic.Int64
}

func (c *counting) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	n := int64(0)
	err := c.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		t := &countingTx{Tx: tx}
		err := fn(ctx, t)
		n = t.n
		return err
	})
	if err == nil {
		c.bytes.Add(n)
	}
	return err
}

type countingTx struct {
	store.Tx
	n int64
}

func (t *countingTx) Put(k, v []byte) error {
	t.n += int64(len(k) + len(v))
	return t.Tx.Put(k, v)
}

// catalogue is what packages there are: few that everybody has, many that few have, in some versions each, as zipf has it.
type catalogue struct {
	names    int
	entries  [][]inventory.Entry // by package and version
	share    []float64           // of nodes that have the package
	versions [][]float64         // cumulated shares of versions
}

func newCatalogue(packages int) *catalogue {
	c := &catalogue{names: 6 * packages}
	// shares that add up to the number of packages of a node
	lo, hi := 0.0, 1e6
	share := func(k float64, rank int) float64 { return min(1, k/math.Pow(float64(rank+1), 1.1)) }
	for range 60 {
		mid, sum := (lo+hi)/2, 0.0
		for r := range c.names {
			sum += share(mid, r)
		}
		if sum < float64(packages) {
			lo = mid
		} else {
			hi = mid
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range c.names {
		c.share = append(c.share, share(hi, i))
		name := "package-" + strconv.Itoa(i)
		if i == 3 {
			name = "openssl"
		}
		n := 1 + r.IntN(6)
		if i == 3 {
			n = 8
		}
		var es []inventory.Entry
		var cum []float64
		sum := 0.0
		for v := range n {
			version := fmt.Sprintf("3.0.%d-1~deb12u%d", 10+v, v+1)
			es = append(es, inventory.Entry{"Name": name, "Version": version, "ApplicationType": "libs", "Architecture": "x86_64", "URL": "https://www.example.org/" + name,
				"Publisher": "Maintainers of many packages <maintainers@example.org>", "Summary": "what " + name + " does for those who have it", "PackageId": name + "_" + version + "_amd64.deb"})
			sum += 1 / float64(v+1)
			cum = append(cum, sum)
		}
		for v := range cum {
			cum[v] /= sum
		}
		c.entries, c.versions = append(c.entries, es), append(c.versions, cum)
	}
	return c
}

func (c *catalogue) version(pkg int, r *rand.Rand) inventory.Entry {
	x := r.Float64()
	for v, cum := range c.versions[pkg] {
		if x <= cum {
			return c.entries[pkg][v]
		}
	}
	return c.entries[pkg][0]
}

// report returns what node n has; about one in ten has something that nobody else has.
func (c *catalogue) report(n int) inventory.Report {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	var content []inventory.Entry
	for p, share := range c.share {
		if share >= 1 || r.Float64() < share {
			content = append(content, c.version(p, r))
		}
	}
	if r.IntN(10) == 0 {
		content = append(content, inventory.Entry{"Name": "own-" + strconv.Itoa(n), "Version": "1", "PackageId": "own_1_all.deb"})
	}
	id := nodeName(n)
	info := inventory.Entry{"ComputerName": "host-" + strconv.Itoa(n), "InstanceId": id, "IpAddress": fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), "PlatformName": []string{"Debian GNU/Linux", "Ubuntu", "Red Hat Enterprise Linux"}[n%3],
		"PlatformType": "Linux", "PlatformVersion": strconv.Itoa(10 + n%3), "AgentType": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "ResourceType": "ManagedInstance"}
	return inventory.Report{InstanceID: id, Items: []inventory.Item{
		{TypeName: inventory.Application, SchemaVersion: "1.1", CaptureTime: captured, Content: content, ContentHash: "hash-" + strconv.Itoa(n)},
		{TypeName: inventory.InstanceInformation, SchemaVersion: "1.0", CaptureTime: captured, Content: []inventory.Entry{info}, ContentHash: "hash-" + strconv.Itoa(n)}}}
}

func nodeName(n int) string { return fmt.Sprintf("mi-%017x", n) }

func size(rep inventory.Report) int64 {
	n := int64(100)
	for _, it := range rep.Items {
		n += 150
		for _, e := range it.Content {
			n += 2
			for k, v := range e {
				n += int64(len(k) + len(v) + 6)
			}
		}
		if it.Delta != nil {
			b, _ := json.Marshal(it)
			n += int64(len(b))
		}
	}
	return n
}

// deb is an order good enough for this catalogue.
func deb(a, b string) int {
	n := func(s string) int {
		x, _ := strconv.Atoi(string([]byte(s)[4:min(6, len(s))]))
		return x
	}
	return n(a) - n(b)
}

// loaded is a fleet in a file.
type loaded struct {
	st                *counting
	bolt              *boltstore.Store
	inv               *fleet.Service
	cat               *catalogue
	reported, written int64
	took              time.Duration
	nodes             int
}

func (l *loaded) service(cache int64) *fleet.Service {
	return fleet.New(fleet.Config{Store: l.st, Leases: lease.New(l.st, nil, lease.Config{Exclusive: true}), Authorizer: access.AllowAll{}, Order: inventory.VersionOrder(deb, nil), Cache: cache})
}

// load reports a whole fleet through PutInventory, eight nodes at a time, and folds each batch.
func load(tb testing.TB, nodes, packages, batch int) *loaded {
	l := &loaded{cat: newCatalogue(packages), nodes: nodes}
	path := filepath.Join(tb.TempDir(), "store.db")
	if dir := os.Getenv("FLEETWRIGHT_BENCH_DIR"); dir != "" {
		path = filepath.Join(dir, fmt.Sprintf("fleet-%d-%d.db", nodes, packages))
		os.Remove(path) //nolint:errcheck // it need not be there
	}
	var err error
	l.bolt, err = boltstore.Open(context.Background(), path, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { l.bolt.Close() }) //nolint:errcheck // of a test
	l.st = &counting{Store: l.bolt}
	l.inv = l.service(0)
	began := time.Now()
	var reported atomic.Int64
	for from := 0; from < nodes; from += batch {
		var wg sync.WaitGroup
		var next atomic.Int64
		for range 8 {
			wg.Go(func() {
				for {
					n := from + int(next.Add(1)) - 1
					if n >= min(nodes, from+batch) {
						return
					}
					rep := l.cat.report(n)
					reported.Add(size(rep))
					if _, err := l.inv.PutInventory(tester, rep); err != nil {
						tb.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		_, err := l.inv.Fold(tester, "default")
		require.NoError(tb, err)
	}
	l.took, l.reported, l.written = time.Since(began), reported.Load(), l.st.bytes.Load()
	return l
}

var benchFilters = []inventory.Filter{{Key: "AWS:Application.Name", Values: []string{"openssl"}}, {Key: "AWS:Application.Version", Values: []string{"3.0.15"}, Type: inventory.LessThan}}

// questions are the five that the figures speak of.
var questions = []struct {
	name string
	req  fleet.GetInventoryRequest
}{
	{"openssl-below", fleet.GetInventoryRequest{Filters: benchFilters}},
	{"openssl-below-by-version", fleet.GetInventoryRequest{Filters: benchFilters, Aggregators: []inventory.Aggregator{{Expression: "AWS:Application.Version"}}}},
	{"platforms", fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{Expression: "AWS:InstanceInformation.PlatformName"}}}},
	{"openssl-below-on-debian", fleet.GetInventoryRequest{Filters: append(slices.Clone(benchFilters),
		inventory.Filter{Key: "AWS:InstanceInformation.PlatformName", Values: []string{"Debian"}, Type: inventory.BeginWith})}},
	{"all-applications", fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{Expression: "AWS:Application.Name"}}}},
}

func quantiles(times []time.Duration) (p50, p99 float64) {
	slices.Sort(times)
	at := func(q float64) float64 { return float64(times[int(q*float64(len(times)-1))].Nanoseconds()) / 1e6 }
	return at(0.5), at(0.99)
}

// BenchmarkFleet loads a fleet and asks it: by default 300 nodes with 200 packages; 100,000 with 1,000 with FLEETWRIGHT_LONG=1. The ratio is of bytes written to four times the bytes reported.
func BenchmarkFleet(b *testing.B) {
	nodes, packages, batch, runs := 300, 200, 100, 20
	if os.Getenv("FLEETWRIGHT_LONG") != "" {
		nodes, packages, batch, runs = 100_000, 1000, 4000, 100
	}
	if s := os.Getenv("FLEETWRIGHT_INVENTORY"); s != "" {
		nodes, _ = strconv.Atoi(s)
	}
	for range b.N {
		l := load(b, nodes, packages, batch)
		b.ReportMetric(l.took.Seconds(), "load-s")
		b.ReportMetric(float64(l.reported)/float64(nodes), "reported-B/node")
		b.ReportMetric(float64(l.written)/float64(nodes), "written-B/node")
		b.ReportMetric(float64(l.bolt.Stats().FileSize)/float64(nodes), "file-B/node")
		b.ReportMetric(float64(l.written)/float64(l.reported)/4, "ratio")
		for _, q := range questions {
			began := time.Now()
			_, err := l.service(0).GetInventory(tester, q.req)
			require.NoError(b, err)
			b.ReportMetric(float64(time.Since(began).Nanoseconds())/1e6, q.name+"-cold-ms")
			var times []time.Duration
			for range runs + 1 {
				began := time.Now()
				_, err := l.inv.GetInventory(tester, q.req)
				require.NoError(b, err)
				times = append(times, time.Since(began))
			}
			p50, p99 := quantiles(times[1:])
			b.ReportMetric(p50, q.name+"-p50-ms")
			b.ReportMetric(p99, q.name+"-p99-ms")
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(l.inv.Cached())/(1<<20), "cache-MiB")
		deltas(b, l)
	}
}

// deltas reports one changed package of many nodes, as a delta, and folds them.
func deltas(b *testing.B, l *loaded) {
	n := min(l.nodes/3, 1000)
	reported := int64(0)
	var times []time.Duration
	r := rand.New(rand.NewPCG(9, 9))
	for i := range n {
		rep := l.cat.report(i)
		rep.Items = rep.Items[:1]
		it := &rep.Items[0]
		// nodes of this benchmark do not hash; the first delta starts from a content that is sent with its hash
		it.ContentHash = inventory.ContentHash(it.Content)
		_, err := l.inv.PutInventory(tester, rep)
		require.NoError(b, err)
		k := inventory.Know(it.Content)
		next := slices.Clone(it.Content)
		for p := r.IntN(len(next)); ; p = r.IntN(len(next)) {
			e := next[p].Clone()
			e["Version"] = "3.0.19-1~deb12u9"
			if next[p]["Version"] != e["Version"] {
				next[p] = e
				break
			}
		}
		d := inventory.Item{TypeName: it.TypeName, SchemaVersion: "1.1", CaptureTime: captured, ContentHash: inventory.ContentHash(next), Delta: k.Diff(next)}
		rep.Items = []inventory.Item{d}
		reported += size(rep)
		w := l.st.bytes.Load()
		began := time.Now()
		_, err = l.inv.PutInventory(tester, rep)
		times = append(times, time.Since(began))
		require.NoError(b, err)
		if i == 0 {
			b.ReportMetric(float64(l.st.bytes.Load()-w), "delta-written-B")
		}
	}
	p50, p99 := quantiles(times)
	b.ReportMetric(p50, "delta-p50-ms")
	b.ReportMetric(p99, "delta-p99-ms")
	w := l.st.bytes.Load()
	_, err := l.inv.Fold(tester, "default")
	require.NoError(b, err)
	b.ReportMetric(float64(l.st.bytes.Load()-w)/float64(n), "delta-fold-B")
	b.ReportMetric(float64(reported)/float64(n), "delta-reported-B")
}

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

// model is the naive inventory: what every node has of every type.
type model map[string]map[string][]inventory.Entry

func (m model) content(node string) func(string) []inventory.Entry {
	return func(typ string) []inventory.Entry { return m[node][typ] }
}

// set makes a list a set, in order.
func set(list []inventory.Entry) []inventory.Entry {
	list = slices.Clone(list)
	slices.SortFunc(list, inventory.Entry.Compare)
	return slices.CompactFunc(list, func(a, b inventory.Entry) bool { return a.Compare(b) == 0 })
}

func (m model) nodes(filters []inventory.Filter) []string {
	var plain []inventory.Filter
	out := []string{}
nodes:
	for node := range m {
		plain = plain[:0]
		for _, f := range filters {
			if f.Key == "TypeName" {
				if !slices.ContainsFunc(f.Values, func(t string) bool { return m[node][t] != nil }) {
					continue nodes
				}
				continue
			}
			plain = append(plain, f)
		}
		if inventory.MatchNode(plain, m.content(node), order) {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out
}

// order compares runs of digits as numbers, so that it differs from the order of strings.
func order(e inventory.Entry, attribute, value string) int {
	a, b := strings.Split(e[attribute], "."), strings.Split(value, ".")
	for i := 0; i < min(len(a), len(b)); i++ {
		x, _ := strconv.Atoi(a[i])
		y, _ := strconv.Atoi(b[i])
		if x != y {
			return x - y
		}
	}
	return len(a) - len(b)
}

// world is a service under test, and how to lose its process.
type world struct {
	t     require.TestingT
	st    store.Store
	cfg   fleet.Config
	inv   *fleet.Service
	lease *lease.Leases
}

var tester = access.With(context.Background(), access.Principal{Name: "tester"})

func newWorld(t require.TestingT, st store.Store, change func(*fleet.Config)) *world {
	w := &world{t: t, st: st}
	w.restart(change)
	return w
}

func (w *world) restart(change func(*fleet.Config)) {
	w.lease = lease.New(w.st, nil, lease.Config{Exclusive: true})
	w.cfg = fleet.Config{Store: w.st, Leases: w.lease, Authorizer: access.AllowAll{}, Order: order}
	if change != nil {
		change(&w.cfg)
	}
	w.inv = fleet.New(w.cfg)
}

const captured = "2026-11-20T10:00:00Z"

func item(typ string, entries ...inventory.Entry) inventory.Item {
	if entries == nil {
		entries = []inventory.Entry{}
	}
	return inventory.Item{TypeName: typ, SchemaVersion: "1.0", CaptureTime: captured, Content: entries, ContentHash: inventory.ContentHash(entries)}
}

func (w *world) put(node string, items ...inventory.Item) {
	_, err := w.inv.PutInventory(tester, inventory.Report{InstanceID: node, Items: items})
	require.NoError(w.t, err)
}

func app(name, version string) inventory.Entry {
	return inventory.Entry{"Name": name, "Version": version}
}

// ask returns the ids of all nodes that meet filters, page by page.
func (w *world) ask(filters ...inventory.Filter) []string {
	ids := []string{}
	req := fleet.GetInventoryRequest{Filters: filters, MaxResults: 3}
	for {
		got, err := w.inv.GetInventory(tester, req)
		require.NoError(w.t, err)
		for _, e := range got.Entities {
			ids = append(ids, e.ID)
		}
		if req.NextToken = got.NextToken; req.NextToken == "" {
			slices.Sort(ids)
			return ids
		}
	}
}

var types = []string{inventory.Application, inventory.Service, "Custom:Rack"}

func entryGen(typ string) *rapid.Generator[inventory.Entry] {
	return rapid.Custom(func(t *rapid.T) inventory.Entry {
		e := inventory.Entry{}
		if rapid.IntRange(0, 9).Draw(t, "named") > 0 {
			e["Name"] = rapid.SampledFrom([]string{"openssl", "bash", "vim", ""}).Draw(t, "name")
		}
		if rapid.Bool().Draw(t, "second") {
			k := "Version"
			if typ == inventory.Service {
				k = "Status"
			}
			e[k] = rapid.SampledFrom([]string{"3.0.9", "3.0.15", "3.0.2", "10", "9"}).Draw(t, "version")
		}
		return e
	})
}

func filterGen() *rapid.Generator[inventory.Filter] {
	return rapid.Custom(func(t *rapid.T) inventory.Filter {
		typ := rapid.SampledFrom(types).Draw(t, "type")
		attr := rapid.SampledFrom([]string{"Name", "Version"}).Draw(t, "attribute")
		if typ == inventory.Service && attr == "Version" {
			attr = "Status"
		}
		return inventory.Filter{Key: typ + "." + attr,
			Type:   rapid.SampledFrom([]inventory.Operator{inventory.Equal, inventory.NotEqual, inventory.BeginWith, inventory.LessThan, inventory.GreaterThan, ""}).Draw(t, "operator"),
			Values: rapid.SliceOfN(rapid.SampledFrom([]string{"openssl", "bash", "b", "", "3.0.9", "3.0.15", "10", "3"}), 1, 3).Draw(t, "values")}
	})
}

// check compares everything that can be asked with the model.
func (w *world) check(t *rapid.T, m model) {
	for range 3 {
		fs := rapid.SliceOfN(filterGen(), 0, 4).Draw(t, "filters")
		require.Equal(t, m.nodes(fs), w.ask(fs...), "%v", fs)
	}
	for node := range m {
		for _, typ := range types {
			require.Empty(t, cmp.Diff(set(m[node][typ]), w.entries(node, typ), cmpopts.EquateEmpty()), node+" "+typ)
		}
	}
	w.checkCounts(t, m, rapid.SliceOfN(filterGen(), 0, 2).Draw(t, "filters"))
}

func (w *world) entries(node, typ string) (out []inventory.Entry) {
	req := fleet.ListInventoryEntriesRequest{InstanceID: node, TypeName: typ, MaxResults: 2}
	for {
		got, err := w.inv.ListInventoryEntries(tester, req)
		require.NoError(w.t, err)
		out = append(out, got.Entries...)
		if req.NextToken = got.NextToken; req.NextToken == "" {
			return out
		}
	}
}

// checkCounts compares aggregates: versions within names, services within those, and groups.
func (w *world) checkCounts(t *rapid.T, m model, filters []inventory.Filter) {
	group := []inventory.Filter{{Key: "TypeName", Type: inventory.Exists, Values: []string{types[0], types[2]}}, {Key: types[1] + ".Status", Type: inventory.Exists}}
	got, err := w.inv.GetInventory(tester, fleet.GetInventoryRequest{Filters: filters, Aggregators: []inventory.Aggregator{
		{Expression: types[0] + ".Name", Aggregators: []inventory.Aggregator{{Expression: types[0] + ".Version", Aggregators: []inventory.Aggregator{{Expression: types[1] + ".Name"}}}}},
		{Groups: []inventory.Group{{Name: "g", Filters: group}}}}})
	require.NoError(t, err)
	chosen := m.nodes(filters)
	want := map[[3]string]int{}
	matching := 0
	of := func(node, typ string) (out []inventory.Entry) {
	entries:
		for _, e := range set(m[node][typ]) {
			for _, f := range filters {
				if ft, _ := f.Split(); ft == typ && !f.Match(e, order) {
					continue entries
				}
			}
			out = append(out, e)
		}
		return out
	}
	for _, node := range chosen {
		rows := map[[3]string]bool{}
		for _, a := range of(node, types[0]) {
			for _, s := range of(node, types[1]) {
				rows[[3]string{a["Name"], a["Version"], s["Name"]}] = true
			}
		}
		for r := range rows {
			want[r]++
		}
		some := m[node][types[0]] != nil || m[node][types[2]] != nil
		if some && slices.ContainsFunc(m[node][types[1]], func(e inventory.Entry) bool { return e["Status"] != "" }) {
			matching++
		}
	}
	have := map[[3]string]int{}
	for _, r := range got.Entities[0].Data[types[0]].Content {
		n, err := strconv.Atoi(r["Count"])
		require.NoError(t, err)
		have[[3]string{r["Name"], r["Version"], r[types[1]+".Name"]}] = n
	}
	require.Equal(t, want, have)
	require.Equal(t, []inventory.Entry{{"notMatchingCount": strconv.Itoa(len(chosen) - matching)}, {"matchingCount": strconv.Itoa(matching)}}, got.Entities[0].Data["g"].Content)
}

// Whatever is reported, folded, removed, forgotten by a dead process or lost by the store, by two control planes with caches of their own: every answer is that of the naive model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		caches := []int64{0, 0, -1, 3000}
		base := memstore.New()
		var st store.Store = base
		if rapid.Bool().Draw(t, "harsh") {
			st = storetest.Harsh(base)
		}
		change := func(c *fleet.Config) { c.Cache = rapid.SampledFrom(caches).Draw(t, "cache") }
		w := newWorld(t, st, change)
		planes := []*fleet.Service{w.inv, nil}
		w.restart(change)
		planes[1] = w.inv
		m := model{}
		known := map[string]map[string]inventory.Known{}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			node := "mi-" + rapid.StringMatching(`[a-h]`).Draw(t, "node")
			plane := rapid.IntRange(0, 1).Draw(t, "plane")
			w.inv = planes[plane]
			switch rapid.IntRange(0, 12).Draw(t, "step") {
			default: // a report
				typ := rapid.SampledFrom(types).Draw(t, "type")
				content := rapid.SliceOfN(entryGen(typ), 0, 6).Draw(t, "content")
				it := item(typ, content...)
				if k, ok := known[node][typ]; ok && rapid.Bool().Draw(t, "delta") {
					it.Content, it.Delta = nil, k.Diff(content)
				}
				_, err := w.inv.PutInventory(tester, inventory.Report{InstanceID: node, Items: []inventory.Item{it}})
				if it.Delta != nil && inventory.NeedsContent(err) { // of lists with repeated entries
					_, err = w.inv.PutInventory(tester, inventory.Report{InstanceID: node, Items: []inventory.Item{item(typ, content...)}})
				}
				require.NoError(t, err)
				if m[node] == nil {
					m[node], known[node] = map[string][]inventory.Entry{}, map[string]inventory.Known{}
				}
				if content == nil {
					content = []inventory.Entry{}
				}
				m[node][typ], known[node][typ] = content, inventory.Know(content)
			case 0, 1:
				_, err := w.inv.Fold(tester, "default")
				require.NoError(t, err)
			case 2:
				require.NoError(t, w.inv.RemoveNode(tester, node))
				delete(m, node)
				delete(known, node)
			case 3: // the process dies
				w.restart(change)
				planes[plane] = w.inv
			case 4:
				w.check(t, m)
			case 5: // a fold that ends anywhere
				w.cfg.Store = &failing{Store: st, after: rapid.IntRange(0, 6).Draw(t, "writes")}
				_, err := fleet.New(w.cfg).Fold(tester, "default")
				if err != nil {
					require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
				}
			}
		}
		for i := range 4 {
			w.inv = planes[i%2]
			w.check(t, m)
			if i == 1 {
				_, err := w.inv.Fold(tester, "default")
				require.NoError(t, err)
			}
		}
	})
}

// failing refuses all Updates after some.
type failing struct {
	store.Store
	mu    sync.Mutex
	after int
}

func (f *failing) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	f.mu.Lock()
	f.after--
	dead := f.after < 0
	f.mu.Unlock()
	if dead {
		return fmt.Errorf("of the test: %w", store.ErrReadOnly)
	}
	return f.Store.Update(ctx, fn)
}

// Many report at once while the owner folds and others ask; afterwards, and after the file was opened again, all is as the last report of each said.
func TestConcurrentReportsAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	st, err := boltstore.Open(context.Background(), path, nil)
	require.NoError(t, err)
	w := newWorld(t, st, nil)
	const reporters, rounds = 8, 12
	want := model{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := w.inv.Fold(tester, "default"); err != nil && !errors.Is(err, lease.ErrLost) {
				t.Error(err)
				return
			}
		}
	})
	var all sync.WaitGroup
	for r := range reporters {
		all.Go(func() {
			node := fmt.Sprintf("mi-%d", r)
			for i := range rounds {
				content := []inventory.Entry{app("openssl", fmt.Sprintf("3.0.%d", (r+i)%5)), app("bash", "5"), app("only-"+node, strconv.Itoa(i))}
				_, err := w.inv.PutInventory(tester, inventory.Report{InstanceID: node, Items: []inventory.Item{item(inventory.Application, content...)}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				want[node] = map[string][]inventory.Entry{inventory.Application: content}
				mu.Unlock()
				// a reporter sees its own report at once, whatever has been folded
				got, err := w.inv.GetInventory(tester, fleet.GetInventoryRequest{Filters: []inventory.Filter{{Key: "AWS:Application.Name", Values: []string{"only-" + node}},
					{Key: "AWS:Application.Version", Values: []string{strconv.Itoa(i)}}}})
				if err != nil || len(got.Entities) != 1 || got.Entities[0].ID != node {
					t.Errorf("%s does not see its report %d: %v %v", node, i, got, err)
				}
				// and so by way of the cache, which the folds of all make old
				counts, err := w.inv.GetInventory(tester, fleet.GetInventoryRequest{Filters: []inventory.Filter{{Key: "AWS:Application.Name", Values: []string{"only-" + node}, Type: inventory.BeginWith}},
					Aggregators: []inventory.Aggregator{{Expression: "AWS:Application.Version"}}})
				if err != nil || len(counts.Entities[0].Data[inventory.Application].Content) != 1 || counts.Entities[0].Data[inventory.Application].Content[0]["Version"] != strconv.Itoa(i) {
					t.Errorf("%s does not count its report %d: %v %v", node, i, counts, err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	wg.Wait()
	ask := func() {
		for v := range 5 {
			fs := []inventory.Filter{{Key: "AWS:Application.Name", Values: []string{"openssl"}}, {Key: "AWS:Application.Version", Values: []string{fmt.Sprintf("3.0.%d", v)}, Type: inventory.LessThan}}
			require.Equal(t, want.nodes(fs), w.ask(fs...))
		}
	}
	ask()
	require.NoError(t, st.Close())
	st, err = boltstore.Open(context.Background(), path, nil)
	require.NoError(t, err)
	defer st.Close() //nolint:errcheck // of a test
	w.st = st
	w.restart(nil)
	ask()
	_, err = w.inv.Fold(tester, "default")
	require.NoError(t, err)
	ask()
}

// An owner that lost its lease changes nothing any more, wherever in a fold it lost it.
func TestStaleOwner(t *testing.T) {
	for at := range 2 { // before it writes bitmaps, before it removes deltas
		st := memstore.New()
		w := newWorld(t, st, nil)
		for i := range 20 {
			w.put(fmt.Sprintf("mi-%02d", i), item(inventory.Application, app("bash", strconv.Itoa(i%3))))
		}
		// the second owner takes over and folds before the at-th Update of the first, which then goes on
		stolen := false
		var before map[string]string
		slow := &hooked{Store: st}
		slow.hook = func(n int) {
			if n != at+1 || stolen { // the first Update takes the lease
				return
			}
			stolen = true
			other := newWorld(t, st, nil)
			other.put("mi-00", item(inventory.Application, app("bash", "9")))
			_, err := other.inv.Fold(tester, "default")
			require.NoError(t, err)
			other.put("mi-01", item(inventory.Application, app("vim", "9")))
			before = dump(t, st)
		}
		cfg := w.cfg
		cfg.Store = slow
		cfg.Leases = lease.New(slow, nil, lease.Config{})
		_, err := fleet.New(cfg).Fold(tester, "default")
		require.True(t, stolen)
		require.ErrorIs(t, err, lease.ErrLost)
		require.Equal(t, before, dump(t, st))
		require.Equal(t, []string{"mi-00"}, w.ask(inventory.Filter{Key: "AWS:Application.Version", Values: []string{"8"}, Type: inventory.GreaterThan},
			inventory.Filter{Key: "AWS:Application.Name", Values: []string{"bash"}}))
	}
}

type hooked struct {
	store.Store
	n    int
	hook func(n int)
}

func (h *hooked) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	h.hook(h.n)
	h.n++
	return h.Store.Update(ctx, fn)
}

func dump(t *testing.T, st store.Store) map[string]string {
	out := map[string]string{}
	require.NoError(t, st.View(context.Background(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			require.NoError(t, err)
			out[string(it.Key)] = string(it.Value)
		}
		return nil
	}))
	return out
}

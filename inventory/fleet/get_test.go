package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func is(k string, op inventory.Operator, values ...string) inventory.Filter {
	return inventory.Filter{Key: k, Type: op, Values: values}
}

// The question of the house: openssl below a version, by the order of versions and not of strings, and of the same entry.
func TestVersionOrder(t *testing.T) {
	w := newWorld(t, memstore.New(), func(c *fleet.Config) { c.Order = inventory.VersionOrder(nil, nil) })
	w.restart(func(c *fleet.Config) { c.Order = order })
	w.put("mi-1", item(inventory.Application, app("openssl", "3.0.9")))
	w.put("mi-2", item(inventory.Application, app("openssl", "3.0.15")))
	w.put("mi-3", item(inventory.Application, app("openssl", "3.0.16"), app("bash", "3.0.2")))
	for range 2 {
		require.Equal(t, []string{"mi-1"}, w.ask(is("AWS:Application.Name", "", "openssl"), is("AWS:Application.Version", inventory.LessThan, "3.0.15")))
		require.Equal(t, []string{"mi-3"}, w.ask(is("AWS:Application.Name", inventory.BeginWith, "open"), is("AWS:Application.Version", inventory.GreaterThan, "3.0.15")))
		_, err := w.inv.Fold(tester, "default")
		require.NoError(t, err)
	}
}

func TestBadQueries(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	six := slices.Repeat([]inventory.Filter{is("AWS:Application.Name", "", "x")}, 6)
	group := func(fs ...inventory.Filter) []inventory.Aggregator {
		return []inventory.Aggregator{{Groups: []inventory.Group{{Name: "g", Filters: fs}}}}
	}
	for name, c := range map[string]struct {
		req  fleet.GetInventoryRequest
		code fault.Code
	}{
		"IN5 six filters":            {fleet.GetInventoryRequest{Filters: six}, fault.InvalidFilter},
		"IN5 41 values":              {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("AWS:Application.Name", "", slices.Repeat([]string{"x"}, 41)...)}}, fault.InvalidFilter},
		"no values":                  {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("AWS:Application.Name", "")}}, fault.InvalidFilter},
		"no operator":                {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("AWS:Application.Name", "Like", "x")}}, fault.InvalidFilter},
		"unknown type":               {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("AWS:Apps.Name", "", "x")}}, fault.InvalidFilter},
		"unknown attribute":          {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("AWS:Application.Nmae", "", "x")}}, fault.InvalidFilter},
		"IN5 Exists by itself":       {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("TypeName", inventory.Exists, "AWS:File")}}, fault.InvalidFilter},
		"TypeName less":              {fleet.GetInventoryRequest{Filters: []inventory.Filter{is("TypeName", inventory.LessThan, "AWS:File")}}, fault.InvalidFilter},
		"TypeName of nothing":        {fleet.GetInventoryRequest{Aggregators: group(is("TypeName", inventory.Exists))}, fault.InvalidFilter},
		"TypeName of no type":        {fleet.GetInventoryRequest{Aggregators: group(is("TypeName", inventory.Exists, "x"))}, fault.InvalidFilter},
		"group without filters":      {fleet.GetInventoryRequest{Aggregators: group()}, inventory.InvalidGroup},
		"empty aggregator":           {fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{}}}, inventory.InvalidAggregator},
		"aggregator of no attribute": {fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{Expression: "AWS:Application"}}}, inventory.InvalidAggregator},
		"result of no type":          {fleet.GetInventoryRequest{ResultAttributes: []fleet.ResultAttribute{{TypeName: "x"}}}, inventory.InvalidResultAttribute},
		"MaxResults":                 {fleet.GetInventoryRequest{MaxResults: 51}, fault.Validation},
		"token":                      {fleet.GetInventoryRequest{NextToken: "eyJ4"}, fault.InvalidNextToken},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := w.inv.GetInventory(tester, c.req)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			require.Empty(t, got)
		})
	}
}

// A token goes on after its page whatever is reported, removed and folded meanwhile: no node that stays is missing or comes twice; and it is good for its own request only.
func TestPagesSurviveWrites(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	for i := range 30 {
		w.put(fmt.Sprintf("mi-%02d", i), item(inventory.Application, app("bash", "5"), app("only", fmt.Sprint(i))))
	}
	var ids []string
	req := fleet.GetInventoryRequest{MaxResults: 4, Filters: []inventory.Filter{is("AWS:Application.Name", "", "bash")}}
	for page := 0; ; page++ {
		got, err := w.inv.GetInventory(tester, req)
		require.NoError(t, err)
		for _, e := range got.Entities {
			ids = append(ids, e.ID)
		}
		if req.NextToken = got.NextToken; req.NextToken == "" {
			break
		}
		other := req
		other.Filters = nil
		_, err = w.inv.GetInventory(tester, other)
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err))
		w.put(fmt.Sprintf("aa-%02d", page), item(inventory.Application, app("bash", "5")))
		w.put(fmt.Sprintf("mi-%02d", page), item(inventory.Application, app("bash", "6")))
		require.NoError(t, w.inv.RemoveNode(tester, fmt.Sprintf("mi-%02d", 29-page)))
		_, err = w.inv.Fold(tester, "default")
		require.NoError(t, err)
	}
	seen := map[string]int{}
	for _, id := range ids {
		seen[id]++
		require.Equal(t, 1, seen[id], id)
	}
	for i := range 20 {
		require.Equal(t, 1, seen[fmt.Sprintf("mi-%02d", i)], i)
	}

	// entries of a node: the one that the token stands after may be gone
	w.put("mi-00", item(inventory.Application, app("a", "1"), app("b", "1"), app("c", "1"), app("d", "1")))
	lreq := fleet.ListInventoryEntriesRequest{InstanceID: "mi-00", TypeName: inventory.Application, MaxResults: 2}
	got, err := w.inv.ListInventoryEntries(tester, lreq)
	require.NoError(t, err)
	w.put("mi-00", item(inventory.Application, app("a", "1"), app("aa", "1"), app("c", "1"), app("d", "1")))
	lreq.NextToken = got.NextToken
	got, err = w.inv.ListInventoryEntries(tester, lreq)
	require.NoError(t, err)
	require.Equal(t, []inventory.Entry{app("c", "1"), app("d", "1")}, got.Entries)
}

// What a caller may not see is left out of pages and of counts; who sees nothing is refused.
func TestOnlyWhatMayBeSeen(t *testing.T) {
	nodes := tagged{}
	for i := range 40 {
		nodes[fmt.Sprintf("mi-%02d", i)] = map[string]string{"team": []string{"web", "db"}[i%2]}
	}
	w := newWorld(t, memstore.New(), func(c *fleet.Config) { c.Nodes = nodes })
	for i := range 40 {
		w.put(fmt.Sprintf("mi-%02d", i), item(inventory.Application, app("bash", "5")), item(inventory.InstanceInformation, inventory.Entry{"PlatformType": "Linux"}))
	}
	w.restart(func(c *fleet.Config) { c.Nodes, c.Authorizer = nodes, onlyTeam("db") })
	ids := w.ask(is("AWS:Application.Name", "", "bash"))
	require.Len(t, ids, 20)
	for _, id := range ids {
		require.Equal(t, "db", nodes[id]["team"])
	}
	count := func() (fleet.GetInventoryResult, error) {
		return w.inv.GetInventory(tester, fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{Expression: "AWS:InstanceInformation.PlatformType"},
			{Groups: []inventory.Group{{Name: "files", Filters: []inventory.Filter{is("TypeName", inventory.Exists, "AWS:File")}}}}}})
	}
	got, err := count()
	require.NoError(t, err)
	require.Equal(t, []fleet.Entity{{Data: map[string]fleet.ResultItem{
		inventory.InstanceInformation: {TypeName: inventory.InstanceInformation, Content: []inventory.Entry{{"PlatformType": "Linux", "Count": "20"}}},
		"files":                       {Content: []inventory.Entry{{"notMatchingCount": "20"}, {"matchingCount": "0"}}}}}}, got.Entities)
	w.restart(func(c *fleet.Config) { c.Nodes, c.Authorizer = nodes, onlyTeam("none") })
	_, err = count()
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.inv.GetInventory(tester, fleet.GetInventoryRequest{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.inv.ListInventoryEntries(tester, fleet.ListInventoryEntriesRequest{InstanceID: "mi-01", TypeName: inventory.Application})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
}

// The guide's example: which nodes are set up to collect which types, an empty list being one.
func TestGroupsOfTheGuide(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	w.put("i-1", item(inventory.Application, app("a", "1")))
	w.put("i-2", item(inventory.File))
	w.put("i-3", item(inventory.Application), item(inventory.File, inventory.Entry{"Name": "x"}))
	w.put("i-4", item(inventory.Network))
	both := []inventory.Filter{is("TypeName", inventory.Exists, "AWS:Application"), is("TypeName", inventory.Exists, "AWS:File")}
	either := []inventory.Filter{is("TypeName", inventory.Exists, "AWS:Application", "AWS:File")}
	alone := []inventory.Filter{{Key: "AWS:Network", Type: inventory.Exists}}
	for range 2 {
		got, err := w.inv.GetInventory(tester, fleet.GetInventoryRequest{Aggregators: []inventory.Aggregator{{Groups: []inventory.Group{{Name: "both", Filters: both}, {Name: "either", Filters: either},
			{Name: "network", Filters: alone}}}}})
		require.NoError(t, err)
		rows := func(not, yes string) fleet.ResultItem {
			return fleet.ResultItem{Content: []inventory.Entry{{"notMatchingCount": not}, {"matchingCount": yes}}}
		}
		require.Equal(t, map[string]fleet.ResultItem{"both": rows("3", "1"), "either": rows("1", "3"), "network": rows("3", "1")}, got.Entities[0].Data)
		_, err = w.inv.Fold(tester, "default")
		require.NoError(t, err)
	}
}

// A node's id selects it, whether or not it reported its information.
func TestByInstanceID(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	w.put("mi-a1", item(inventory.Application, app("a", "1")))
	w.put("mi-b2", item(inventory.InstanceInformation, inventory.Entry{"InstanceId": "mi-b2"}))
	require.Equal(t, []string{"mi-a1"}, w.ask(is("AWS:InstanceInformation.InstanceId", "", "mi-a1", "mi-zz")))
	require.Equal(t, []string{"mi-b2"}, w.ask(is("AWS:InstanceInformation.InstanceId", inventory.NotEqual, "mi-a1")))
	require.Equal(t, []string{"mi-b2"}, w.ask(is("AWS:InstanceInformation.InstanceId", inventory.BeginWith, "mi-b")))
	require.Empty(t, w.ask(is("AWS:InstanceInformation.InstanceId", "", "mi-a1"), is("AWS:InstanceInformation.InstanceId", "", "mi-b2")))
}

// clock is a clock that stands until it is moved.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// "What changed on this node since Monday": oldest first, by pages, with what came and what went; until it is too old.
func TestHistory(t *testing.T) {
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	c := &clock{monday.Add(-48 * time.Hour)}
	w := newWorld(t, memstore.New(), func(cfg *fleet.Config) { cfg.Now, cfg.History = c.Now, 7*24*time.Hour })
	w.put("mi-1", item(inventory.Application, app("bash", "5"), app("vim", "9")))
	for day := range 3 {
		c.now = monday.Add(time.Duration(day) * 24 * time.Hour)
		w.put("mi-1", item(inventory.Application, app("bash", fmt.Sprint(6+day)), app("vim", "9")), item(inventory.Service))
		w.put("mi-1", item(inventory.Application, app("bash", fmt.Sprint(6+day)), app("vim", "9")))
		_, err := w.inv.Fold(tester, "default")
		require.NoError(t, err)
	}
	list := func(req fleet.ListChangesRequest) (out []fleet.Change) {
		req.InstanceID, req.MaxResults = "mi-1", 1
		for {
			got, err := w.inv.ListInventoryChanges(tester, req)
			require.NoError(t, err)
			out = append(out, got.Changes...)
			if req.NextToken = got.NextToken; req.NextToken == "" {
				return out
			}
		}
	}
	change := func(day int) fleet.Change {
		return fleet.Change{Time: monday.Add(time.Duration(day) * 24 * time.Hour), CaptureTime: captured, TypeName: inventory.Application, SchemaVersion: "1.0",
			Added: []inventory.Entry{app("bash", fmt.Sprint(6+day))}, Removed: []inventory.Entry{app("bash", fmt.Sprint(5+day))}}
	}
	require.Equal(t, []fleet.Change{change(0), change(1), change(2)}, list(fleet.ListChangesRequest{TypeName: inventory.Application, Since: monday}))
	require.Equal(t, []fleet.Change{change(1)}, list(fleet.ListChangesRequest{TypeName: inventory.Application, Since: monday.Add(time.Hour), Until: monday.Add(25 * time.Hour)}))
	all := list(fleet.ListChangesRequest{})
	require.Len(t, all, 5)
	require.Equal(t, []inventory.Entry{app("bash", "5"), app("vim", "9")}, all[0].Added)
	require.Equal(t, inventory.Service, all[2].TypeName, "that a type is reported at all is a change")

	c.now = monday.Add(8*24*time.Hour + time.Minute)
	require.Len(t, list(fleet.ListChangesRequest{}), 1, "the rest is older than what is kept")
	_, err := w.inv.ListInventoryChanges(tester, fleet.ListChangesRequest{InstanceID: "mi-1", TypeName: "x"})
	require.Equal(t, inventory.InvalidTypeName, fault.CodeOf(err))
	got, err := w.inv.ListInventoryChanges(tester, fleet.ListChangesRequest{InstanceID: "mi-9"})
	require.NoError(t, err)
	require.Empty(t, got.Changes)
}

// An entry that has long been on no node goes, with everything that speaks of it; one that is reported again meanwhile stays. A cache of any process follows.
func TestSweep(t *testing.T) {
	c := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	st := memstore.New()
	change := func(cfg *fleet.Config) { cfg.Now, cfg.Batch = c.Now, 1 }
	w := newWorld(t, st, change)
	other := newWorld(t, st, change)
	w.put("mi-1", item(inventory.Application, app("gone", "1"), app("back", "1"), app("stays", "1")))
	other.put("mi-2", item(inventory.Application, app("stays", "1")))
	require.NoError(t, w.inv.Tend(tester))
	w.put("mi-1", item(inventory.Application, app("stays", "1")))
	require.NoError(t, w.inv.Tend(tester))
	before := len(dump(t, st))
	require.Equal(t, []string{"mi-1", "mi-2"}, other.ask(is("AWS:Application.Version", inventory.BeginWith, "1")))
	require.Error(t, w.try("mi-1", item(inventory.Application, app("gone-refused", "1")), item(inventory.Service).HashOnly()), "a refused report leaves nothing behind for ever")
	c.now = c.now.Add(31 * 24 * time.Hour)
	w.put("mi-2", item(inventory.Application, app("stays", "1"), app("back", "1")))
	require.NoError(t, w.inv.Tend(tester))
	for k := range dump(t, st) {
		require.NotContains(t, k, "gone")
	}
	require.Less(t, len(dump(t, st)), before)
	for _, w := range []*world{w, other} {
		w.put("mi-3", item(inventory.Application, app("gone", "1"), app("back", "1")))
		require.Equal(t, []string{"mi-3"}, w.ask(is("AWS:Application.Name", "", "gone")))
		require.Equal(t, []string{"mi-2", "mi-3"}, w.ask(is("AWS:Application.Name", inventory.BeginWith, "b")))
		require.Equal(t, []string{"mi-3"}, w.ask(is("AWS:Application.Name", inventory.BeginWith, "g")))
		require.NoError(t, w.inv.RemoveNode(tester, "mi-3"))
	}
}

// Nothing is left of a node that was removed, once its history was buried; reported again it is a new one.
func TestRemoveNode(t *testing.T) {
	st := memstore.New()
	w := newWorld(t, st, func(c *fleet.Config) { c.Batch = 1 })
	w.put("mi-1", item(inventory.Application, app("bash", "5")))
	w.put("mi-2", item(inventory.Application, app("bash", "5")), item(inventory.Service, inventory.Entry{"Name": "ssh"}))
	require.NoError(t, w.inv.Tend(tester))
	require.NoError(t, w.inv.RemoveNode(tester, "mi-2"))
	require.NoError(t, w.inv.RemoveNode(tester, "mi-9"))
	require.Equal(t, []string{"mi-1"}, w.ask())
	require.NoError(t, w.inv.Tend(tester))
	for k := range dump(t, st) {
		require.NotContains(t, k, "mi-2")
	}
	require.Equal(t, []string{"mi-1"}, w.ask())
	w.put("mi-2", item(inventory.Application, app("vim", "5")))
	require.Equal(t, []string{"mi-1"}, w.ask(is("AWS:Application.Name", "", "bash")))
	require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(w.inv.RemoveNode(tester, "")))
	w.restart(func(c *fleet.Config) { c.Authorizer = access.DenyAll{} })
	require.Equal(t, fault.AccessDenied, fault.CodeOf(w.inv.RemoveNode(tester, "mi-1")))
}

// Run folds what waits long, deletes and ends with its context; while nothing waits it writes nothing.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &hooked{Store: memstore.New()}
		updates := 0
		st.hook = func(int) { updates++ }
		leases := lease.New(st, nil, lease.Config{})
		inv := fleet.New(fleet.Config{Store: st, Leases: leases, Authorizer: access.AllowAll{}})
		ctx, cancel := context.WithCancel(tester)
		ended := make(chan error)
		go func() { ended <- inv.Run(ctx) }()
		_, err := inv.PutInventory(tester, inventory.Report{InstanceID: "mi-1", Items: []inventory.Item{item(inventory.Application, app("bash", "5")), item("Custom:Rack", inventory.Entry{"Row": "1"})}})
		require.NoError(t, err)
		waiting := func() (n int) {
			for k := range dump(t, st.Store.(*memstore.Store)) {
				if strings.Contains(k, "inventory") && strings.Contains(k, "\x02log\x00") {
					n++
				}
			}
			return n
		}
		time.Sleep(30 * time.Second)
		require.Equal(t, 3, waiting())
		time.Sleep(time.Minute)
		require.Zero(t, waiting())
		before := updates
		time.Sleep(time.Hour)
		require.Equal(t, before, updates)
		done, err := inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: "Custom:Rack"})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		got, err := inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{DeletionID: done.DeletionID})
		require.NoError(t, err)
		require.Equal(t, fleet.Complete, got.InventoryDeletions[0].LastStatus)
		require.Error(t, inv.Run(ctx), "one at a time")
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

// A cache never holds more than it was given, and answers are the same with a small one.
func TestCacheIsBounded(t *testing.T) {
	st := memstore.New()
	for _, limit := range []int64{-1, 1, 10_000, 40_000, 1 << 20} {
		w := newWorld(t, st, func(c *fleet.Config) { c.Cache = limit })
		for i := range 40 {
			w.put(fmt.Sprintf("mi-%02d", i), item(inventory.Application, app("bash", fmt.Sprint(i%7)), app("own", fmt.Sprint(limit, i))), item(inventory.Service, inventory.Entry{"Name": fmt.Sprint("s", i)}))
			if i%10 == 0 {
				_, err := w.inv.Fold(tester, "default")
				require.NoError(t, err)
			}
			require.Len(t, w.ask(is("AWS:Application.Version", inventory.BeginWith, "0"), is("AWS:Service.Name", inventory.BeginWith, "s")), len(w.ask(is("AWS:Application.Version", "", "0"))))
			require.LessOrEqual(t, w.inv.Cached(), max(0, limit))
		}
	}
}

// At most four bytes are written for each byte reported: of a fleet that reports for the first time, again, and with changes as agents send them.
func TestWrittenPerReported(t *testing.T) {
	st := &counting{Store: memstore.New()}
	w := newWorld(t, st, func(c *fleet.Config) { c.Audit = audit.New(audit.Config{Store: st}) })
	cat := newCatalogue(100)
	for round := range 4 {
		reported, before := int64(0), st.bytes.Load()
		for n := range 60 {
			rep := cat.report(n)
			switch round {
			case 3: // one package changed, another on each node, told as a delta
				base := rep.Items[0].Content
				base[n%50] = inventory.Entry{"Name": "changed-" + fmt.Sprint(n%9), "Version": "2"}
				next := slices.Clone(base)
				next[(n+7)%50] = inventory.Entry{"Name": next[(n+7)%50]["Name"], "Version": "9", "PackageId": "new_9_amd64.deb"}
				rep.Items = rep.Items[:1]
				rep.Items[0].Content, rep.Items[0].Delta, rep.Items[0].ContentHash = nil, inventory.Know(base).Diff(next), inventory.ContentHash(next)
			case 1, 2:
				rep.Items[0].Content[n%50] = inventory.Entry{"Name": "changed-" + fmt.Sprint(n%9), "Version": fmt.Sprint(round)}
				rep.Items[0].ContentHash += fmt.Sprint(round)
				if round == 2 {
					rep.Items[0].ContentHash = inventory.ContentHash(rep.Items[0].Content)
				}
				rep.Items[1] = rep.Items[1].HashOnly()
			}
			reported += size(rep)
			_, err := w.inv.PutInventory(tester, rep)
			require.NoError(t, err)
		}
		_, err := w.inv.Fold(tester, "default")
		require.NoError(t, err)
		written := st.bytes.Load() - before
		t.Logf("round %d: %d bytes reported, %d written: %.3f", round, reported, written, float64(written)/float64(reported))
		require.LessOrEqual(t, written, 4*reported, round)
	}
}

// All that a node has comes in one piece.
func TestGetNodeInventory(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	apps, services := item(inventory.Application, app("vim", "9"), app("bash", "5")), item(inventory.Service)
	w.put("mi-1", apps, services)
	get := func(types ...string) fleet.Entity {
		got, err := w.inv.GetNodeInventory(tester, "mi-1", types...)
		require.NoError(t, err)
		return got
	}
	result := func(it inventory.Item, content ...inventory.Entry) fleet.ResultItem {
		return fleet.ResultItem{TypeName: it.TypeName, SchemaVersion: "1.0", CaptureTime: captured, ContentHash: it.ContentHash, Content: append([]inventory.Entry{}, content...)}
	}
	require.Equal(t, fleet.Entity{ID: "mi-1", Data: map[string]fleet.ResultItem{inventory.Application: result(apps, app("bash", "5"), app("vim", "9")), inventory.Service: result(services)}}, get())
	require.Len(t, get(inventory.Service, inventory.File).Data, 1)
	_, err := w.inv.GetNodeInventory(tester, "mi-1", "x")
	require.Equal(t, inventory.InvalidTypeName, fault.CodeOf(err))
	_, err = w.inv.GetNodeInventory(tester, "")
	require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(err))
	w.restart(func(c *fleet.Config) { c.Authorizer = access.DenyAll{} })
	_, err = w.inv.GetNodeInventory(tester, "mi-1")
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
}

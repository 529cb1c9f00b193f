package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func (w *world) try(node string, items ...inventory.Item) error {
	_, err := w.inv.PutInventory(tester, inventory.Report{InstanceID: node, Items: items})
	return err
}

// What is wrong with one item refuses the whole report, and nothing of it is there afterwards.
func TestBadReports(t *testing.T) {
	good := item(inventory.Application, app("bash", "5"))
	change := func(fn func(*inventory.Item)) inventory.Item {
		it := item(inventory.Service, inventory.Entry{"Name": "ssh"})
		fn(&it)
		return it
	}
	many := make([]inventory.Entry, 10_001)
	for i := range many {
		many[i] = inventory.Entry{"Name": fmt.Sprint(i)}
	}
	wide := inventory.Entry{}
	for i := range 51 {
		wide[fmt.Sprintf("A%d", i)] = "x"
	}
	for name, c := range map[string]struct {
		node string
		item inventory.Item
		code fault.Code
	}{
		"no node":                  {"", good, fault.InvalidInstanceID},
		"node with a slash":        {"a/b", good, fault.InvalidInstanceID},
		"IN2 type":                 {"mi-1", change(func(i *inventory.Item) { i.TypeName = "Mine:X" }), inventory.InvalidTypeName},
		"IN2 custom in small":      {"mi-1", change(func(i *inventory.Item) { i.TypeName = "Custom:x" }), inventory.InvalidTypeName},
		"derived type":             {"mi-1", change(func(i *inventory.Item) { i.TypeName = inventory.Tag }), inventory.InvalidTypeName},
		"IN3 schema version":       {"mi-1", change(func(i *inventory.Item) { i.SchemaVersion = "one" }), inventory.UnsupportedSchemaVersion},
		"newer schema version":     {"mi-1", change(func(i *inventory.Item) { i.SchemaVersion = "1.7" }), inventory.UnsupportedSchemaVersion},
		"IN3 capture time":         {"mi-1", change(func(i *inventory.Item) { i.CaptureTime = "today" }), inventory.InvalidItemContent},
		"neither content nor hash": {"mi-1", change(func(i *inventory.Item) { i.Content, i.ContentHash = nil, "" }), inventory.InvalidItemContent},
		"unknown attribute":        {"mi-1", change(func(i *inventory.Item) { i.Content[0] = inventory.Entry{"Nme": "x"} }), inventory.InvalidItemContent},
		"IN2 long value":           {"mi-1", change(func(i *inventory.Item) { i.Content[0]["Name"] = strings.Repeat("x", 4097) }), inventory.InvalidItemContent},
		"IN2 entries":              {"mi-1", change(func(i *inventory.Item) { i.Content = many }), inventory.ItemSizeLimitExceeded},
		"IN2 attributes":           {"mi-1", change(func(i *inventory.Item) { i.TypeName, i.Content = "Custom:Wide", []inventory.Entry{wide} }), inventory.InvalidItemContent},
		"context":                  {"mi-1", change(func(i *inventory.Item) { i.Context = map[string]string{"a": "b"} }), inventory.UnsupportedItemContext},
		"hash of nothing":          {"mi-1", change(func(i *inventory.Item) { i.Content = nil }), inventory.ItemContentMismatch},
		"delta of nothing":         {"mi-1", change(func(i *inventory.Item) { i.Content, i.Delta = nil, &inventory.Delta{Base: "x"} }), inventory.ItemContentMismatch},
		"type twice":               {"mi-1", good, inventory.InvalidItemContent},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, memstore.New(), nil)
			require.Equal(t, c.code, fault.CodeOf(w.try(c.node, good, c.item)))
			require.Empty(t, w.ask())
			require.Empty(t, w.entries("mi-1", inventory.Application))
		})
	}
	w := newWorld(t, memstore.New(), nil)
	require.Equal(t, fault.Validation, fault.CodeOf(w.try("mi-1")))
}

// IN3: the hash alone stands for what was reported last, under any schema version; another hash asks for the content, and moves nothing.
func TestHashOnly(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	full := item(inventory.Application, app("bash", "5"))
	full.SchemaVersion = "1.1"
	w.put("mi-1", full)
	again := full.HashOnly()
	again.SchemaVersion, again.CaptureTime = "1.0", "2026-11-21T10:00:00Z"
	w.put("mi-1", again)
	got, err := w.inv.ListInventoryEntries(tester, fleet.ListInventoryEntriesRequest{InstanceID: "mi-1", TypeName: inventory.Application})
	require.NoError(t, err)
	require.Equal(t, fleet.ListInventoryEntriesResult{TypeName: inventory.Application, InstanceID: "mi-1", SchemaVersion: "1.1", CaptureTime: "2026-11-21T10:00:00Z",
		Entries: []inventory.Entry{app("bash", "5")}}, got)
	again.ContentHash = "another"
	service := item(inventory.Service, inventory.Entry{"Name": "ssh"})
	require.Equal(t, inventory.ItemContentMismatch, fault.CodeOf(w.try("mi-1", service, again)))
	require.Equal(t, inventory.ItemContentMismatch, fault.CodeOf(w.try("mi-2", full.HashOnly())))
	require.Empty(t, w.entries("mi-1", inventory.Service), "nothing half done")
	// content under the old hash is content all the same
	full.Content = []inventory.Entry{app("bash", "6")}
	w.put("mi-1", full)
	require.Equal(t, []inventory.Entry{app("bash", "6")}, w.entries("mi-1", inventory.Application))
}

// A delta is taken exactly if it leads from what is stored to what it names.
func TestDeltas(t *testing.T) {
	base := []inventory.Entry{app("a", "1"), app("b", "1"), app("c", "1")}
	next := []inventory.Entry{app("a", "1"), app("b", "2"), app("d", "1")}
	delta := func() inventory.Item {
		return inventory.Item{TypeName: inventory.Application, SchemaVersion: "1.0", CaptureTime: captured, ContentHash: inventory.ContentHash(next), Delta: inventory.Know(base).Diff(next)}
	}
	for name, c := range map[string]struct {
		base   []inventory.Entry
		change func(*inventory.Item)
		ok     bool
	}{
		"fits":                    {base, func(*inventory.Item) {}, true},
		"another base":            {base[:2], func(*inventory.Item) {}, false},
		"another result":          {base, func(i *inventory.Item) { i.ContentHash = "x" }, false},
		"takes what is not there": {base, func(i *inventory.Item) { i.Delta.Removed[0] = inventory.EntryHash(app("z", "1")) }, false},
		"takes it twice":          {base, func(i *inventory.Item) { i.Delta.Removed = append(i.Delta.Removed, i.Delta.Removed[0]) }, false},
		"adds what is there":      {base, func(i *inventory.Item) { i.Delta.Added = append(i.Delta.Added, base[0]) }, false},
		"adds it twice":           {base, func(i *inventory.Item) { i.Delta.Added = append(i.Delta.Added, i.Delta.Added[0]) }, false},
		"base with a second copy": {append([]inventory.Entry{base[0]}, base...), func(i *inventory.Item) {
			i.Delta.Base = inventory.ContentHash(append([]inventory.Entry{base[0]}, base...))
		}, false},
		"newer schema, same minor": {base, func(i *inventory.Item) { i.SchemaVersion = "1.1" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, memstore.New(), nil)
			w.put("mi-1", item(inventory.Application, c.base...))
			d := delta()
			c.change(&d)
			err := w.try("mi-1", d)
			if !c.ok {
				require.Equal(t, inventory.ItemContentMismatch, fault.CodeOf(err))
				require.Equal(t, set(c.base), w.entries("mi-1", inventory.Application))
				return
			}
			require.NoError(t, err)
			require.Equal(t, set(next), w.entries("mi-1", inventory.Application))
			require.NoError(t, w.try("mi-1", d), "a report may be sent again")
			require.Equal(t, set(next), w.entries("mi-1", inventory.Application))
		})
	}
}

// IN2: custom types are learnt from reports, up to twenty, each attribute in one spelling.
func TestCustomTypes(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	for i := range 20 {
		w.put("mi-1", item(fmt.Sprintf("Custom:T%d", i), inventory.Entry{"Rack": "1"}))
	}
	require.Equal(t, inventory.CustomSchemaCountLimit, fault.CodeOf(w.try("mi-2", item("Custom:Last", inventory.Entry{"Rack": "1"}))))
	require.Equal(t, inventory.InvalidItemContent, fault.CodeOf(w.try("mi-2", item("Custom:T3", inventory.Entry{"rack": "1"}))))
	w.put("mi-2", item("Custom:T3", inventory.Entry{"Row": "1"}))
	got, err := w.inv.GetInventorySchema(tester, fleet.GetInventorySchemaRequest{TypeName: "Custom:T3"})
	require.NoError(t, err)
	require.Len(t, got.Schemas, 1)
	require.Equal(t, []string{"Rack", "Row"}, []string{got.Schemas[0].Attributes[0].Name, got.Schemas[0].Attributes[1].Name})
	got, err = w.inv.GetInventorySchema(tester, fleet.GetInventorySchemaRequest{Aggregator: true, MaxResults: 200})
	require.NoError(t, err)
	require.Greater(t, len(got.Schemas), 25)
	_, err = w.inv.GetInventorySchema(tester, fleet.GetInventorySchemaRequest{MaxResults: 49})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

// A node that is not managed, and one that the caller may not report for, look alike but for the right.
func TestWhoMayReport(t *testing.T) {
	nodes := tagged{"mi-1": {"team": "web"}}
	w := newWorld(t, memstore.New(), func(c *fleet.Config) {
		c.Nodes = nodes
		c.Authorizer = onlyTeam("web")
	})
	require.NoError(t, w.try("mi-1", item(inventory.Application)))
	require.Equal(t, fault.AccessDenied, fault.CodeOf(w.try("mi-2", item(inventory.Application))))
	nodes["mi-3"] = map[string]string{"team": "db"}
	require.Equal(t, fault.AccessDenied, fault.CodeOf(w.try("mi-3", item(inventory.Application))))
	w.restart(func(c *fleet.Config) { c.Nodes = nodes })
	require.Equal(t, fault.InvalidInstanceID, fault.CodeOf(w.try("mi-2", item(inventory.Application))))
	w.restart(func(c *fleet.Config) { c.Authorizer = nil })
	require.Equal(t, fault.AccessDenied, fault.CodeOf(w.try("mi-1", item(inventory.Application))))
}

// tagged are managed nodes with their tags.
type tagged map[string]map[string]string

func (t tagged) Tags(_ context.Context, _ string, ids []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, id := range ids {
		if tags, ok := t[id]; ok {
			out[id] = tags
		}
	}
	return out, nil
}

// onlyTeam allows what is done to nodes of a team.
type onlyTeam string

func (o onlyTeam) Authorize(_ context.Context, _ access.Principal, _, _ string, attributes map[string]string) error {
	if attributes["team"] != string(o) {
		return errors.New("of another team")
	}
	return nil
}

// Every call is recorded, a change in the transaction that makes it.
func TestAudit(t *testing.T) {
	st := memstore.New()
	log := audit.New(audit.Config{Store: st, Authorize: access.AllowAll{}})
	w := newWorld(t, st, func(c *fleet.Config) { c.Audit = log })
	w.put("mi-1", item(inventory.Application, app("bash", "5")))
	require.Error(t, w.try("mi-1", inventory.Item{}))
	w.ask()
	require.NoError(t, w.inv.RemoveNode(tester, "mi-1"))
	_, err := w.inv.ListInventoryEntries(tester, fleet.ListInventoryEntriesRequest{InstanceID: "mi-1", TypeName: "x"})
	require.Error(t, err)
	require.NoError(t, log.Flush(tester))
	var got []string
	entries, _, err := log.List(tester, audit.Filter{}, nil)
	require.NoError(t, err)
	for _, e := range entries {
		got = append(got, e.Action+" "+e.Resource+" "+string(e.Outcome))
	}
	require.ElementsMatch(t, []string{"ssm:PutInventory node/mi-1 Success", "ssm:PutInventory node/mi-1 Failed", "ssm:GetInventory node/* Success",
		"ssm:DeregisterManagedInstance node/mi-1 Success", "ssm:ListInventoryEntries node/mi-1 Failed"}, got)
}

// A report whose commit was not answered may be sent again.
func TestUnknownCommit(t *testing.T) {
	st := memstore.New()
	w := newWorld(t, st, nil)
	w.cfg.Store = unsure{st}
	w.inv = fleet.New(w.cfg)
	require.Equal(t, fault.OutcomeUnknown, fault.CodeOf(w.try("mi-1", item(inventory.Application, app("bash", "5")))))
	for range 2 {
		w.cfg.Store = st
		w.inv = fleet.New(w.cfg)
		w.put("mi-1", item(inventory.Application, app("bash", "5")))
		require.Equal(t, []string{"mi-1"}, w.ask())
	}
}

type unsure struct{ store.Store }

func (u unsure) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	return errors.Join(u.Store.Update(ctx, fn), store.ErrCommitUnknown)
}

// Tenants do not see each other.
func TestTenants(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	w.put("mi-1", item(inventory.Application, app("bash", "5")))
	other := access.With(context.Background(), access.Principal{Tenant: "other", Name: "ann"})
	for range 2 {
		got, err := w.inv.GetInventory(other, fleet.GetInventoryRequest{})
		require.NoError(t, err)
		require.Empty(t, got.Entities)
		_, err = w.inv.PutInventory(other, inventory.Report{InstanceID: "mi-1", Items: []inventory.Item{item(inventory.Application).HashOnly()}})
		require.Equal(t, inventory.ItemContentMismatch, fault.CodeOf(err))
		_, err = w.inv.Fold(tester, "default")
		require.NoError(t, err)
	}
}

// A record that was changed behind the service's back is named, and never served nor written over.
func TestDamage(t *testing.T) {
	for _, space := range []string{"node", "items", "log", "bits", "entry", "hash", "ordinal", "fold"} {
		t.Run(space, func(t *testing.T) {
			st := memstore.New()
			w := newWorld(t, st, nil)
			w.put("mi-1", item(inventory.Application, app("bash", "5"), app("vim", "9")))
			_, err := w.inv.Fold(tester, "default")
			require.NoError(t, err)
			w.put("mi-1", item(inventory.Application, app("bash", "6")))
			prefix := key.New("default").Str("inventory").Str(space)
			n := 0
			require.NoError(t, st.Update(tester, func(ctx context.Context, tx store.Tx) error {
				var items []store.Item
				rng := prefix.Range()
				rng.Start = prefix
				for it, err := range tx.Scan(ctx, rng) {
					require.NoError(t, err)
					items = append(items, store.Item{Key: append([]byte(nil), it.Key...), Value: append([]byte(nil), it.Value...)})
				}
				for _, it := range items {
					n++
					it.Value[len(it.Value)/2] ^= 0x10
					require.NoError(t, tx.Put(it.Key, it.Value))
				}
				return nil
			}))
			require.NotZero(t, n)
			w.restart(nil)
			var all []error
			_, err = w.inv.GetInventory(tester, fleet.GetInventoryRequest{Filters: []inventory.Filter{{Key: "AWS:Application.Version", Values: []string{"6"}}},
				ResultAttributes: []fleet.ResultAttribute{{TypeName: inventory.Application}}})
			all = append(all, err)
			_, err = w.inv.Fold(tester, "default")
			all = append(all, err, w.try("mi-1", item(inventory.Application, app("bash", "7"))))
			damaged := false
			for _, err := range all {
				damaged = damaged || fault.CodeOf(err) == fault.DataCorrupt
			}
			require.True(t, damaged, "%v", all)
		})
	}
}

package fleetwright_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/action"
	softwareinventory "github.com/fleetwright/fleetwright/action/inventory"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/inventory/gather"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
)

// gathering is aws:softwareInventory as a host sets it up, and remembers what was reported.
type gathering struct {
	options softwareinventory.Options
	mu      sync.Mutex
	reports []inventory.Report
}

func (g *gathering) Name() string { return softwareinventory.Name }

func (g *gathering) Run(ctx context.Context, c *action.Call) action.Result {
	o := g.options
	o.Reporter = reporter(func(ctx context.Context, r inventory.Report) (inventory.Ack, error) {
		g.mu.Lock()
		g.reports = append(g.reports, r)
		g.mu.Unlock()
		return softwareinventory.PlaneReporter(c.Plane).PutInventory(ctx, r)
	})
	return softwareinventory.New(o).Run(ctx, c)
}

// sent returns the items of all reports since it was called last.
func (g *gathering) sent() (items []inventory.Item) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.reports {
		items = append(items, r.Items...)
	}
	g.reports = nil
	return items
}

type reporter func(ctx context.Context, r inventory.Report) (inventory.Ack, error)

func (f reporter) PutInventory(ctx context.Context, r inventory.Report) (inventory.Ack, error) {
	return f(ctx, r)
}

const fillers = 50

// status writes a database of dpkg with these packages, and others that are everywhere.
func status(t *testing.T, root string, packages ...[2]string) {
	t.Helper()
	var b strings.Builder
	for i := range fillers {
		packages = append(packages, [2]string{fmt.Sprintf("lib%02d", i), "1"})
	}
	for _, p := range packages {
		b.WriteString("Package: " + p[0] + "\nStatus: install ok installed\nPriority: optional\nSection: utils\nMaintainer: Nobody <nobody@example.com>\nArchitecture: amd64\nVersion: " + p[1] + "\nDescription: " + p[0] + " for a test\n\n")
	}
	file := filepath.Join(root, "var", "lib", "dpkg", "status")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
}

const gatherAll = `{"schemaVersion":"2.2","parameters":{"machine":{"type":"String","default":"Enabled"}},"mainSteps":[{"action":"aws:softwareInventory","name":"gather","inputs":{
	"applications":"Enabled","customInventory":"Enabled","networkConfig":"{{machine}}","instanceDetailedInformation":"{{machine}}"}}]}`

// TestInventoryFromThisMachineToTheFleetsAnswers: what a document has agents gather, here and from trees of other machines, is what GetInventory, ListInventoryEntries and ListInventoryChanges
// answer; a second run of a machine that did not change sends hashes, one that changed the difference.
func TestInventoryFromThisMachineToTheFleetsAnswers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the trees of other machines are gathered on Linux")
	}
	f, err := fleetwright.Open(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	ctx := t.Context()
	_, err = f.Documents.CreateDocument(ctx, library.CreateDocumentRequest{Name: "Gather", Content: gatherAll, DocumentFormat: "JSON", DocumentType: "Command"})
	require.NoError(t, err)

	custom, trees := t.TempDir(), [2]string{t.TempDir(), t.TempDir()}
	rack := func(s string) {
		require.NoError(t, os.WriteFile(filepath.Join(custom, "rack.json"), []byte(`{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Rack":"`+s+`"}}`), 0o600))
	}
	rack("B7")
	status(t, trees[0], [2]string{"openssl", "3.0.9-1"}, [2]string{"bash", "5.2"})
	status(t, trees[1], [2]string{"openssl", "3.0.15~rc1-1"}, [2]string{"bash", "5.2"}, [2]string{"zlib", "1:1.2"})
	start := func(name string, g gather.Config) (string, *gathering) {
		a := &gathering{options: softwareinventory.Options{Instance: true, Gather: g, Journal: gather.FileJournal(filepath.Join(t.TempDir(), "journal"))}}
		set, err := fleetwright.Actions(a)
		require.NoError(t, err)
		agent, err := f.StartAgent(ctx, name, &fleetwright.LocalOptions{Actions: set})
		require.NoError(t, err)
		return agent.ID, a
	}
	here, hereSent := start("here", gather.Config{CustomDir: custom})
	old, oldSent := start("old", gather.Config{Root: trees[0], CustomDir: t.TempDir()})
	recent, _ := start("recent", gather.Config{Root: trees[1], CustomDir: t.TempDir()})
	run := func(machine string, nodes ...string) { // what is of a running machine a tree does not have
		t.Helper()
		c, results, err := f.Commands.Execute(ctx, command.SendRequest{DocumentName: "Gather", InstanceIDs: nodes, Parameters: map[string][]string{"machine": {machine}}})
		require.NoError(t, err)
		for _, r := range results {
			require.Equal(t, message.Success, r.Status, "%s: %s", r.Node, command.Line(r.Steps))
		}
		require.Equal(t, message.Success, c.Status)
	}
	begin := time.Now()
	run("Enabled", here)
	run("Disabled", old, recent)

	t.Run("a first report is whole", func(t *testing.T) {
		types := map[string]bool{}
		for _, it := range hereSent.sent() {
			require.NotNil(t, it.Content, it.TypeName)
			types[it.TypeName] = true
		}
		for _, typ := range []string{inventory.InstanceInformation, inventory.InstanceDetailedInformation, inventory.Network, "Custom:Rack"} {
			require.True(t, types[typ], typ)
		}
	})
	names := map[string]string{here: "here", old: "old", recent: "recent"}
	find := func(filters ...inventory.Filter) (found []string) {
		t.Helper()
		out, err := f.Inventory.GetInventory(ctx, fleet.GetInventoryRequest{Filters: filters})
		require.NoError(t, err)
		for _, e := range out.Entities {
			require.Equal(t, e.ID, e.Data[inventory.InstanceInformation].Content[0]["InstanceId"])
			found = append(found, names[e.ID])
		}
		return found
	}
	trees2 := func(filters ...inventory.Filter) []string { // this machine may have an openssl of its own
		all := append([]inventory.Filter{{Key: inventory.Application + ".Publisher", Values: []string{"Nobody <nobody@example.com>"}}}, filters...)
		return find(all...)
	}
	name := inventory.Filter{Key: inventory.Application + ".Name", Values: []string{"openssl"}}
	version := func(op inventory.Operator, v string) inventory.Filter {
		return inventory.Filter{Key: inventory.Application + ".Version", Type: op, Values: []string{v}}
	}
	t.Run("the fleet is asked by the order of versions", func(t *testing.T) {
		require.ElementsMatch(t, []string{"here", "old", "recent"}, find())
		require.Equal(t, []string{"here"}, find(inventory.Filter{Key: "Custom:Rack.Rack", Values: []string{"B7"}}))
		require.ElementsMatch(t, []string{"old", "recent"}, trees2(name, version(inventory.LessThan, "3.0.15")), "a tilde goes before the release, and 9 before 15")
		require.Equal(t, []string{"old"}, trees2(name, version(inventory.LessThan, "3.0.15~rc1-1")))
		require.Equal(t, []string{"recent"}, trees2(name, version(inventory.GreaterThan, "3.0.10")))
		require.Equal(t, []string{"recent"}, trees2(inventory.Filter{Key: inventory.Application + ".Name", Values: []string{"zlib"}}, version(inventory.GreaterThan, "9.0")), "an epoch goes before all")
		require.Empty(t, trees2(name, version(inventory.Equal, "5.2")), "conditions hold for the same entry")
		out, err := f.Inventory.GetInventory(ctx, fleet.GetInventoryRequest{Filters: []inventory.Filter{{Key: inventory.Application + ".Publisher", Values: []string{"Nobody <nobody@example.com>"}}},
			Aggregators: []inventory.Aggregator{{Expression: inventory.Application + ".Name"}}})
		require.NoError(t, err)
		counts := map[string]string{}
		for _, row := range out.Entities[0].Data[inventory.Application].Content {
			for k, v := range row {
				if k != "Count" {
					counts[v] = row["Count"]
				}
			}
		}
		require.Len(t, counts, fillers+3)
		require.Equal(t, []string{"2", "2", "1", "2"}, []string{counts["openssl"], counts["bash"], counts["zlib"], counts["lib07"]})
	})
	entries := func(node, typ string, filters ...inventory.Filter) []inventory.Entry {
		t.Helper()
		var all []inventory.Entry
		for token := ""; ; {
			out, err := f.Inventory.ListInventoryEntries(ctx, fleet.ListInventoryEntriesRequest{InstanceID: node, TypeName: typ, Filters: filters, NextToken: token})
			require.NoError(t, err)
			all = append(all, out.Entries...)
			if token = out.NextToken; token == "" {
				return all
			}
		}
	}
	t.Run("a node's entries are what it has", func(t *testing.T) {
		got := entries(old, inventory.Application)
		require.Len(t, got, fillers+2)
		require.Equal(t, "bash", got[0]["Name"])
		require.Equal(t, "3.0.9-1", got[fillers+1]["Version"])
		host, err := os.Hostname()
		require.NoError(t, err)
		require.Equal(t, strings.ToLower(host), strings.ToLower(entries(here, inventory.InstanceInformation)[0]["ComputerName"]))
		require.NotEmpty(t, entries(here, inventory.InstanceDetailedInformation)[0]["CPUCores"])
		query, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status} ${binary:Package}\n").Output()
		if err != nil {
			t.Log("SKIPPED: dpkg-query is not here to compare with")
			return
		}
		have := 0
		for line := range strings.Lines(string(query)) {
			if strings.HasPrefix(line, "installed ") {
				have++
			}
		}
		debs := 0
		for _, e := range entries(here, inventory.Application) {
			if inventory.PackageFormat(e) == "deb" {
				debs++
			}
		}
		require.Equal(t, have, debs, "packages of this machine, as dpkg-query counts them")
	})
	t.Run("a second run of what did not change sends hashes only", func(t *testing.T) {
		run("Enabled", here)
		items := hereSent.sent()
		require.NotEmpty(t, items)
		for _, it := range items {
			if it.TypeName == inventory.InstanceInformation || it.TypeName == inventory.InstanceDetailedInformation || it.TypeName == inventory.Network {
				continue // a machine that is at work may change: an address, the speed of a processor
			}
			require.Nil(t, it.Content, it.TypeName)
			require.Nil(t, it.Delta, it.TypeName)
			require.NotEmpty(t, it.ContentHash, it.TypeName)
		}
		oldSent.sent()
		run("Disabled", old)
		for _, it := range oldSent.sent() {
			if it.TypeName == inventory.Application {
				require.Nil(t, it.Content)
				require.Nil(t, it.Delta)
			}
		}
	})
	t.Run("a change travels as a difference, and is history", func(t *testing.T) {
		status(t, trees[0], [2]string{"openssl", "3.0.16-1"}, [2]string{"bash", "5.2"})
		rack("C1")
		run("Disabled", old, here)
		for _, it := range oldSent.sent() {
			if it.TypeName == inventory.Application {
				require.Nil(t, it.Content)
				require.Equal(t, 2, it.Delta.Size(), "one went, one came")
			}
		}
		require.Equal(t, []string{"recent"}, trees2(name, version(inventory.LessThan, "3.0.15")), "the answer is of now")
		require.Equal(t, []string{"here"}, find(inventory.Filter{Key: "Custom:Rack.Rack", Values: []string{"C1"}}))
		require.Empty(t, find(inventory.Filter{Key: "Custom:Rack.Rack", Values: []string{"B7"}}))
		out, err := f.Inventory.ListInventoryChanges(ctx, fleet.ListChangesRequest{InstanceID: old, TypeName: inventory.Application, Since: begin})
		require.NoError(t, err)
		require.Len(t, out.Changes, 2)
		require.Len(t, out.Changes[0].Added, fillers+2)
		last := out.Changes[1]
		require.Equal(t, "3.0.9-1", last.Removed[0]["Version"])
		require.Equal(t, "3.0.16-1", last.Added[0]["Version"])
		require.Len(t, last.Removed, 1)
		require.Len(t, last.Added, 1)
	})
	t.Run("a node that is removed leaves nothing behind", func(t *testing.T) {
		require.NoError(t, f.Nodes.Deregister(ctx, recent))
		require.Empty(t, trees2(name, version(inventory.LessThan, "3.0.15")))
		_, err := f.Inventory.ListInventoryEntries(ctx, fleet.ListInventoryEntriesRequest{InstanceID: recent, TypeName: inventory.Application})
		require.Equal(t, inventory.InvalidInstanceID, fault.CodeOf(err))
	})
}

package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/store/memstore"
)

const rack = "Custom:Rack"

func racks(version string, row int) inventory.Item {
	it := item(rack, inventory.Entry{"Row": fmt.Sprint(row)})
	it.SchemaVersion = version
	return it
}

// IN6: a dry run counts and deletes nothing; a deletion has an id, a summary by version and a state; what is reported after it began stays.
func TestDeleteInventory(t *testing.T) {
	c := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	w := newWorld(t, memstore.New(), func(cfg *fleet.Config) { cfg.Now = c.Now })
	for i := range 250 {
		w.put(fmt.Sprintf("mi-%03d", i), racks([]string{"1.0", "1.1"}[i%2], i%7), item(inventory.Service))
	}
	summary := fleet.DeletionSummary{TotalCount: 250, RemainingCount: 250, SummaryItems: []fleet.DeletionSummaryItem{{Version: "1.0", Count: 125, RemainingCount: 125}, {Version: "1.1", Count: 125, RemainingCount: 125}}}
	got, err := w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, fleet.DeleteInventoryResult{TypeName: rack, DeletionSummary: summary}, got)
	list, err := w.inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.InventoryDeletions)

	got, err = w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack, ClientToken: "once"})
	require.NoError(t, err)
	require.NotEmpty(t, got.DeletionID)
	require.Equal(t, summary, got.DeletionSummary)
	again, err := w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack, ClientToken: "once"})
	require.NoError(t, err)
	require.Equal(t, got, again)
	_, err = w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack, ClientToken: "once", SchemaDeleteOption: fleet.DeleteSchema})
	require.Equal(t, fleet.InvalidDeleteParameters, fault.CodeOf(err))
	list, err = w.inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{DeletionID: got.DeletionID})
	require.NoError(t, err)
	require.Equal(t, fleet.InProgress, list.InventoryDeletions[0].LastStatus)

	// the hash of what is being deleted stands for nothing; content that comes now stays
	require.Equal(t, inventory.ItemContentMismatch, fault.CodeOf(w.try("mi-000", racks("1.0", 0).HashOnly())))
	w.put("mi-000", racks("1.0", 0))
	w.put("mi-249", racks("1.1", 9))
	require.NoError(t, w.inv.Tend(tester))
	for range 2 {
		require.Equal(t, []string{"mi-000", "mi-249"}, w.ask(is(rack+".Row", inventory.NotEqual, "x")))
		require.Empty(t, w.entries("mi-003", rack))
		_, err = w.inv.Fold(tester, "default")
		require.NoError(t, err)
	}
	list, err = w.inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{})
	require.NoError(t, err)
	require.Equal(t, []fleet.DeletionStatus{{DeletionID: got.DeletionID, TypeName: rack, DeletionStartTime: c.now, LastStatus: fleet.Complete, LastStatusMessage: "Deletion is complete", LastStatusUpdateTime: c.now,
		DeletionSummary: fleet.DeletionSummary{TotalCount: 250, SummaryItems: []fleet.DeletionSummaryItem{{Version: "1.0", Count: 125}, {Version: "1.1", Count: 125}}}}}, list.InventoryDeletions)

	for range 3 {
		c.now = c.now.Add(time.Hour)
		_, err = w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack})
		require.NoError(t, err)
	}
	var starts []time.Time
	req := fleet.DescribeInventoryDeletionsRequest{MaxResults: 1}
	for {
		list, err = w.inv.DescribeInventoryDeletions(tester, req)
		require.NoError(t, err)
		for _, d := range list.InventoryDeletions {
			starts = append(starts, d.DeletionStartTime)
		}
		if req.NextToken = list.NextToken; req.NextToken == "" {
			break
		}
	}
	require.Equal(t, []time.Time{c.now, c.now.Add(-time.Hour), c.now.Add(-2 * time.Hour), c.now.Add(-3 * time.Hour)}, starts)
	c.now = c.now.Add(31 * 24 * time.Hour)
	list, err = w.inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.InventoryDeletions)
}

// IN6: DeleteSchema forgets the type until it is reported again; DisableSchema ignores reports up to the newest version seen.
func TestDeleteSchema(t *testing.T) {
	schemas := func(w *world) int {
		got, err := w.inv.GetInventorySchema(tester, fleet.GetInventorySchemaRequest{TypeName: rack})
		require.NoError(t, err)
		return len(got.Schemas)
	}
	w := newWorld(t, memstore.New(), nil)
	w.put("mi-1", racks("1.0", 1))
	require.Equal(t, 1, schemas(w))
	_, err := w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack, SchemaDeleteOption: fleet.DeleteSchema})
	require.NoError(t, err)
	require.Zero(t, schemas(w))
	require.NoError(t, w.inv.Tend(tester))
	w.put("mi-1", racks("1.0", 1))
	require.Equal(t, 1, schemas(w))

	w.put("mi-2", racks("1.9", 1))
	_, err = w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack, SchemaDeleteOption: fleet.DisableSchema})
	require.NoError(t, err)
	require.NoError(t, w.inv.Tend(tester))
	w.put("mi-1", racks("1.9", 2))
	require.Empty(t, w.entries("mi-1", rack))
	w.put("mi-1", racks("1.10", 2))
	require.Len(t, w.entries("mi-1", rack), 1)
}

func TestBadDeletions(t *testing.T) {
	w := newWorld(t, memstore.New(), nil)
	w.put("mi-1", racks("1.0", 1))
	for name, c := range map[string]struct {
		req  fleet.DeleteInventoryRequest
		code fault.Code
	}{
		"AWS's type":   {fleet.DeleteInventoryRequest{TypeName: inventory.Application}, inventory.InvalidTypeName},
		"no type":      {fleet.DeleteInventoryRequest{}, inventory.InvalidTypeName},
		"unseen type":  {fleet.DeleteInventoryRequest{TypeName: "Custom:Other"}, inventory.InvalidTypeName},
		"option":       {fleet.DeleteInventoryRequest{TypeName: rack, SchemaDeleteOption: "All"}, inventory.InvalidOption},
		"client token": {fleet.DeleteInventoryRequest{TypeName: rack, ClientToken: strings.Repeat("x", 65)}, fleet.InvalidDeleteParameters},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.inv.DeleteInventory(tester, c.req)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
		})
	}
	_, err := w.inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{DeletionID: "none"})
	require.Equal(t, inventory.InvalidDeletion, fault.CodeOf(err))
	require.Len(t, w.entries("mi-1", rack), 1)
	w.restart(func(c *fleet.Config) { c.Authorizer = access.DenyAll{} })
	_, err = w.inv.DeleteInventory(tester, fleet.DeleteInventoryRequest{TypeName: rack})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.inv.DescribeInventoryDeletions(tester, fleet.DescribeInventoryDeletionsRequest{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = w.inv.GetInventorySchema(tester, fleet.GetInventorySchemaRequest{})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
}

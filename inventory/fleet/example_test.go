package fleet_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// Which nodes have openssl below 3.0.15, by the order of Debian's versions?
func Example() {
	ctx := access.With(context.Background(), access.Principal{Name: "ann"})
	st := memstore.New()
	compare := func(a, b string) int { return order(inventory.Entry{"v": a}, "v", b) } // patch has the real one
	inv := fleet.New(fleet.Config{Store: st, Leases: lease.New(st, nil, lease.Config{}), Authorizer: access.AllowAll{}, Order: inventory.VersionOrder(compare, nil)})
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	for node, version := range map[string]string{"mi-web-1": "3.0.9", "mi-web-2": "3.0.15", "mi-db-1": "3.0.14"} {
		apps := inventory.NewItem(inventory.Application, at, []inventory.Entry{{"Name": "openssl", "Version": version, "PackageId": "openssl_" + version + "_amd64.deb"}})
		if _, err := inv.PutInventory(ctx, inventory.Report{InstanceID: node, Items: []inventory.Item{apps}}); err != nil {
			fmt.Println(err)
		}
	}
	below := []inventory.Filter{{Key: "AWS:Application.Name", Values: []string{"openssl"}}, {Key: "AWS:Application.Version", Values: []string{"3.0.15"}, Type: inventory.LessThan}}
	counts, err := inv.GetInventory(ctx, fleet.GetInventoryRequest{Filters: below, Aggregators: []inventory.Aggregator{{Expression: "AWS:Application.Version"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, row := range counts.Entities[0].Data[inventory.Application].Content {
		fmt.Println(row["Version"], row["Count"])
	}
	// Output:
	// 3.0.14 1
	// 3.0.9 1
}

// What changed on a node since Monday?
func ExampleService_ListInventoryChanges() {
	ctx := access.With(context.Background(), access.Principal{Name: "ann"})
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	inv := fleet.New(fleet.Config{Store: memstore.New(), Authorizer: access.AllowAll{}, Now: func() time.Time { return now }})
	for _, version := range []string{"5.1", "5.2"} {
		apps := inventory.NewItem(inventory.Application, now, []inventory.Entry{{"Name": "bash", "Version": version}, {"Name": "vim", "Version": "9"}})
		if _, err := inv.PutInventory(ctx, inventory.Report{InstanceID: "mi-1", Items: []inventory.Item{apps}}); err != nil {
			fmt.Println(err)
		}
		now = now.AddDate(0, 0, 4)
	}
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	got, err := inv.ListInventoryChanges(ctx, fleet.ListChangesRequest{InstanceID: "mi-1", Since: monday})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range got.Changes {
		fmt.Println(c.Time.Format(time.DateOnly), c.TypeName, c.Removed, c.Added)
	}
	// Output:
	// 2026-11-24 AWS:Application [map[Name:bash Version:5.1]] [map[Name:bash Version:5.2]]
}

package inventory_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
)

func Example() {
	set, err := action.NewSet(inventory.New(inventory.Options{
		Journal: gather.FileJournal("/var/lib/agent/inventory.json"),
		Gather:  gather.Config{CustomDir: "/var/lib/agent/inventory/custom"},
	}))
	fmt.Println(set.Names(), err)

	plan, err := inventory.Plan(map[string]any{"applications": "Enabled", "files": `[{"Path":"/etc","Pattern":["*.conf"],"Recursive":true}]`})
	fmt.Println(plan.Applications, plan.Network, plan.Files[0].Path, err)
	// Output:
	// [aws:softwareInventory] <nil>
	// true false /etc <nil>
}

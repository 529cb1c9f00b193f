package patchbaseline_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/patchbaseline"
)

// An agent that patches a tree below /srv/image by the tree's own tools, instead of the machine that it runs on.
func ExampleNew() {
	set, err := action.NewSet(patchbaseline.New(&patchbaseline.Options{Root: "/srv/image", Chroot: true}))
	fmt.Println(set.Names(), err)
	// Output: [fleetwright:patchBaseline] <nil>
}

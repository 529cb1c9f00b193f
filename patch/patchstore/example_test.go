package patchstore_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func Example() {
	ctx := context.Background()
	nodes := registry{"mi-0123456789abcdef0": {"Patch Group": "web"}} // the node service, in a control plane
	s, err := patchstore.New(patchstore.Config{Store: memstore.New(), Authorizer: access.AllowAll{}, Nodes: nodes})
	if err != nil {
		fmt.Println(err)
		return
	}
	made, err := s.CreatePatchBaseline(ctx, patchstore.CreatePatchBaselineRequest{Baseline: patch.Baseline{Name: "web", OperatingSystem: patch.Debian, ApprovedPatches: []string{"openssl"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := s.RegisterPatchBaselineForPatchGroup(ctx, patchstore.GroupRequest{BaselineID: made.BaselineID, PatchGroup: "web"}); err != nil {
		fmt.Println(err)
		return
	}
	snapshot, err := s.Snapshot(ctx, "default", "mi-0123456789abcdef0", patch.Request{OperatingSystem: patch.Debian})
	fmt.Println(snapshot.Baseline.Name, snapshot.Group, err)
	// Output: web web <nil>
}

package gather_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
)

func Example() {
	root, err := os.MkdirTemp("", "inventory")
	if err != nil {
		return
	}
	defer os.RemoveAll(root) //nolint:errcheck // an example
	status := filepath.Join(root, "var/lib/dpkg/status")
	if os.MkdirAll(filepath.Dir(status), 0o755) != nil || os.WriteFile(status, []byte("Package: openssl\nStatus: install ok installed\nVersion: 3.0.15-1\nArchitecture: amd64\n"), 0o644) != nil {
		return
	}

	g := gather.New(gather.Config{Root: root, Run: nothing, Platform: "Linux", Now: now})
	found := g.Gather(context.Background(), gather.Plan{Applications: true})
	for _, it := range found.Items {
		for _, e := range it.Content {
			fmt.Println(it.TypeName, e["Name"], e["Version"], e["PackageId"])
		}
	}

	control := newPlane(true) // a Reporter; hosts use the agent's connection
	s := gather.Sender{Node: "mi-0123456789abcdef0", Reporter: control, Journal: gather.FileJournal(filepath.Join(root, "journal"))}
	for range 2 {
		sent, err := s.Send(context.Background(), found.Items)
		fmt.Println(sent.Full, "in full,", sent.Hashed, "unchanged", err)
	}
	fmt.Println(control.hash[inventory.Application] == found.Items[0].ContentHash)
	// Output:
	// AWS:Application openssl 3.0.15-1 openssl_3.0.15-1_amd64.deb
	// 1 in full, 0 unchanged <nil>
	// 0 in full, 1 unchanged <nil>
	// true
}

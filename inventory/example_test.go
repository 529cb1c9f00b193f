package inventory_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

func Example() {
	before := []inventory.Entry{
		{"Name": "bash", "Version": "5.2.15-2+b7"},
		{"Name": "openssl", "Version": "3.0.14-1~deb12u1"},
	}
	known := inventory.Know(before) // what a node remembers

	after := []inventory.Entry{before[0], {"Name": "openssl", "Version": "3.0.15-1~deb12u1"}}
	it := inventory.NewItem(inventory.Application, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), after).HashOnly()
	it.Delta = known.Diff(after)
	fmt.Println(len(it.Delta.Added), "added,", len(it.Delta.Removed), "removed")

	// On the control plane.
	content, err := it.Delta.Apply(before, known.ContentHash, it.ContentHash)
	fmt.Println(len(content), err)
	_, err = it.Delta.Apply(nil, "", it.ContentHash)
	fmt.Println(fault.CodeOf(err), inventory.NeedsContent(err))
	// Output:
	// 1 added, 1 removed
	// 2 <nil>
	// ItemContentMismatchException true
}

func ExampleMatchNode() {
	node := map[string][]inventory.Entry{inventory.Application: {
		{"Name": "openssl", "Version": "3.0.9-1", "PackageId": "openssl_3.0.9-1_amd64.deb"},
		{"Name": "zlib", "Version": "1.2", "PackageId": "zlib_1.2_amd64.deb"},
	}}
	byNumber := func(a, b string) int { return len(a) - len(b) } // a real one is package patch's
	filters := []inventory.Filter{
		{Key: "AWS:Application.Name", Values: []string{"openssl"}},
		{Key: "AWS:Application.Version", Values: []string{"3.0.15-1"}, Type: inventory.LessThan},
	}
	fmt.Println(inventory.MatchNode(filters, func(t string) []inventory.Entry { return node[t] }, inventory.VersionOrder(byNumber, nil)))
	fmt.Println(inventory.MatchNode(filters, func(t string) []inventory.Entry { return node[t] }, nil), "by bytes")
	// Output:
	// true
	// false by bytes
}

func ExampleLimits_ValidateItem() {
	it, err := inventory.ParseCustom([]byte(`{"TypeName":"Custom:RackInfo","SchemaVersion":"1.0","Content":{"Rack":"B7","U":"12"}}`), nil)
	fmt.Println(it.TypeName, it.ContentHash, err)
	_, err = inventory.ParseCustom([]byte(`{"TypeName":"custom:RackInfo","SchemaVersion":"1.0","Content":{}}`), nil)
	fmt.Println(fault.CodeOf(err))
	err = (&inventory.Limits{ValueBytes: 8}).ValidateItem(inventory.NewItem(inventory.Tag, time.Time{}, nil))
	fmt.Println(strings.Contains(err.Error(), "cannot report"))
	// Output:
	// Custom:RackInfo EsdakuYLOQsCVUbJ6ElhSg== <nil>
	// InvalidTypeNameException
	// true
}

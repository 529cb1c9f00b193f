package transport_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

// What is above a transport sends until it is told that it arrived, looks at nothing but the contract's errors, and asks for presence only to save itself the trouble.
func Example() {
	n := memtransport.New(nil)
	node := transport.Address{Tenant: "default", Name: "mi-1"}
	var plane transport.Transport = n.Controller()

	err := plane.Send(context.Background(), node, []byte("hello"))
	fmt.Println(errors.Is(err, transport.ErrNotConnected), transport.IsTemporary(err), transport.Connected(plane, node))

	n.Node(node)
	fmt.Println(plane.Send(context.Background(), node, []byte("hello")), transport.Connected(plane, node))
	// Output:
	// true true false
	// <nil> true
}

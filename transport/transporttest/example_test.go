package transporttest_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
	"github.com/fleetwright/fleetwright/transport/transporttest"
)

// A driver's test calls transporttest.Run. One case can be checked by itself, too.
func Example() {
	for _, c := range transporttest.Cases() {
		if c.Rule != "T-WHOLE" {
			continue
		}
		n := memtransport.New(nil)
		err := c.Check(transporttest.Pair{
			Controller: n.Controller(),
			Node:       func(a transport.Address) (transport.Transport, error) { return n.Node(a), nil },
		}, nil)
		fmt.Println(c.Says+":", err == nil)
	}
	// Output: messages arrive whole, and as they were cut: true
}

package natstransport

import "github.com/fleetwright/fleetwright/transport"

// ValidNonce is for the tests.
var ValidNonce = validNonce

// Learn makes the plane know of a node as a hello of it does.
func (c *Controller) Learn(a transport.Address) {
	c.learn(a, newID(), 0)
}

package blobtest_test

import (
	"fmt"
	"testing"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/blobtest"
	"github.com/fleetwright/fleetwright/blob/memblob"
)

// The test of a driver is three lines.
func Example() {
	test := func(t *testing.T) {
		blobtest.Run(t, func(testing.TB) blob.Store { return memblob.New() })
	}
	_ = test
	for _, c := range blobtest.Cases()[:2] {
		fmt.Println(c.Rule+":", c.Text)
	}
	// Output:
	// B-KEY: bad keys are ErrBadKey and touch nothing; keys at the limits work
	// B-CANCEL: an ended ctx ends every method, which then changes nothing
}

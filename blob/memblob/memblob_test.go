package memblob_test

import (
	"testing"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/blobtest"
	"github.com/fleetwright/fleetwright/blob/memblob"
)

func TestContract(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blob.Store { return memblob.New() })
}

package pgstore_test

import (
	"testing"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func TestContract(t *testing.T) {
	if !testing.Short() && times(0, 1) == 0 {
		t.Skip("SKIPPED: TestContractOfTwoPlanes does more; run with -short or FLEETWRIGHT_LONG=1")
	}
	storetest.Run(t, open)
}

// TestContractOfTwoPlanes runs the suite on a store of which every call goes to another of two planes, and whose functions run twice each time.
func TestContractOfTwoPlanes(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: TestContract does most of it; run without -short")
	}
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return storetest.Harsh(newPlanes(t, 2, nil)) })
}

func TestModel(t *testing.T) { storetest.Model(t, open) }

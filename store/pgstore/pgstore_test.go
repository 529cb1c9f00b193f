package pgstore_test

import (
	"strings"
	"testing"

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
	server(t)
	for _, k := range storetest.Cases() { // as storetest.Run, but at once
		t.Run(strings.ReplaceAll(k.Rule, "/", ":")+"/"+strings.ReplaceAll(k.Name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			k.Check(t, storetest.Harsh(newPlanes(t, 2, nil)))
		})
	}
}

func TestModel(t *testing.T) { storetest.Model(t, open) }

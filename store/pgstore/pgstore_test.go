package pgstore_test

import (
	"testing"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func TestContract(t *testing.T) { storetest.Run(t, open) }

func TestContractOfTwoPlanes(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return storetest.Harsh(newPlanes(t, 2, nil)) })
}

func TestModel(t *testing.T) { storetest.Model(t, open) }

package memstore_test

import (
	"testing"
	"testing/synctest"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func open(*testing.T) store.Store { return memstore.New() }

func TestContract(t *testing.T) { storetest.Run(t, open) }

func TestContractInABubble(t *testing.T) {
	for _, k := range storetest.Cases() {
		t.Run(k.Rule+"/"+k.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { k.Check(t, memstore.New()) })
		})
	}
}

package storetest_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

// A service that counts runs in a captured variable is found out by a harsh store.
func ExampleHarsh() {
	s := storetest.Harsh(memstore.New())
	created := 0
	_ = s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		created++ // wrong: set, do not add
		return tx.Put([]byte("k"), []byte("v"))
	})
	fmt.Println(created)
	// Output: 2
}

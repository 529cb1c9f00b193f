package driver_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// A driver buffers the writes of an Update and merges them into its scans.
func ExampleWrites() {
	committed := func(yield func(store.Item, error) bool) {
		for _, k := range []string{"a", "b", "c"} {
			if !yield(store.Item{Key: []byte(k), Value: []byte("committed")}, nil) {
				return
			}
		}
	}
	var w driver.Writes
	_ = w.Delete([]byte("a"))
	_ = w.Put([]byte("bb"), []byte("mine"))
	for it := range w.Scan(store.Range{}, committed) {
		fmt.Printf("%s %s\n", it.Key, it.Value)
	}
	// Output:
	// b committed
	// bb mine
	// c committed
}

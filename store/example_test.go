package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// Two Updates of the same key: each reads what the other wrote, whatever the driver does to run them.
func Example() {
	ctx := context.Background()
	var s store.Store = memstore.New()
	raise := func() error {
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			v, err := tx.Get(ctx, []byte("epoch"))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return tx.Put([]byte("epoch"), append([]byte{}, string(v)+"|"...))
		})
	}
	done := make(chan error)
	go func() { done <- raise() }()
	fmt.Println(raise(), <-done)
	_ = s.View(ctx, func(ctx context.Context, r store.Reader) error {
		v, err := r.Get(ctx, []byte("epoch"))
		fmt.Printf("%s %v\n", v, err)
		return nil
	})
	// Output:
	// <nil> <nil>
	// || <nil>
}

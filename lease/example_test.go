package lease_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func Example() {
	ctx, st := context.Background(), memstore.New()
	one := lease.New(st, nil, lease.Config{Owner: "plane-1"})
	two := lease.New(st, nil, lease.Config{Owner: "plane-2"})

	held, err := one.Acquire(ctx, "default", "command/1")
	fmt.Println(held.Epoch, err)
	_, err = two.Acquire(ctx, "default", "command/1")
	fmt.Println(errors.Is(err, lease.ErrHeld))

	err = st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := held.Check(ctx, tx); err != nil {
			return err // another plane owns it now: write nothing
		}
		return tx.Put([]byte("k"), []byte("v"))
	})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// true
	// <nil>
}

package memstore_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func Example() {
	ctx := context.Background()
	s := memstore.New()
	err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, name := range []string{"web-2", "db-1", "web-1"} {
			if err := tx.Put([]byte("node/"+name), []byte("online")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = s.View(ctx, func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{Start: []byte("node/web"), End: []byte("node/wec")}) {
			if err != nil {
				return err
			}
			fmt.Printf("%s is %s\n", it.Key, it.Value)
		}
		return nil
	})
	// Output:
	// node/web-1 is online
	// node/web-2 is online
}

package record_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

func ExampleTable() {
	type Node struct{ Platform string }
	ctx := context.Background()
	s := memstore.New()
	nodes := record.NewTable[Node](nil)
	space := key.New("default").Str("node")
	err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := nodes.Put(tx, space.Str("mi-2"), Node{"Windows"}); err != nil {
			return err
		}
		return nodes.Put(tx, space.Str("mi-1"), Node{"Linux"})
	})
	fmt.Println(err)
	_ = s.View(ctx, func(ctx context.Context, r store.Reader) error {
		for e, err := range nodes.Scan(ctx, r, space.Range()) {
			if err != nil {
				return err
			}
			id := key.Read(e.Key)
			id.Str()
			id.Str()
			fmt.Println(id.Str(), e.Value.Platform)
		}
		return nil
	})
	// Output:
	// <nil>
	// mi-1 Linux
	// mi-2 Windows
}

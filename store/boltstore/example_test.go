package boltstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	for range 2 { // the second opening finds what the first wrote
		s, err := boltstore.Open(ctx, filepath.Join(dir, "store.db"), nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			v, _ := tx.Get(ctx, []byte("starts"))
			return tx.Put([]byte("starts"), append(v, '*'))
		})
		_ = s.View(ctx, func(ctx context.Context, r store.Reader) error {
			v, err := r.Get(ctx, []byte("starts"))
			fmt.Printf("%s\n", v)
			return err
		})
		if err := s.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// *
	// **
}

package pgstore_test

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
)

// The host makes the pool and closes it after the store.
func Example() {
	dsn := os.Getenv("FLEETWRIGHT_PG") // e.g. postgres://fleet@db.example/fleet?target_session_attrs=read-write
	if dsn == "" {
		fmt.Println("no database")
		return
	}
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	s, err := pgstore.Open(ctx, pool, "main", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Put([]byte("greeting"), []byte("hello"))
	})
	fmt.Println(err)
}

package storeblob_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/fleetwright/fleetwright/blob/storeblob"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// Two control planes on one store: what one writes the other reads.
func Example() {
	ctx := context.Background()
	st := memstore.New() // of several processes: store/pgstore
	one, other := storeblob.New(st, nil, nil), storeblob.New(st, nil, nil)
	if _, err := one.Put(ctx, "output/c-1/stdout", strings.NewReader("hello")); err != nil {
		fmt.Println(err)
		return
	}
	r, err := other.Open(ctx, "output/c-1/stdout")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	fmt.Println(string(b), err)
	// Output: hello <nil>
}

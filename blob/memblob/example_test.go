package memblob_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/blob/memblob"
)

func Example() {
	blobs := memblob.New()
	n, err := blobs.Put(context.Background(), "default/package/agent.tar", strings.NewReader("…"))
	fmt.Println(n, err, blobs.Len())
	// Output: 3 <nil> 1
}

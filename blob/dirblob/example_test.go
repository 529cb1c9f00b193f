package dirblob_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleetwright/fleetwright/blob/dirblob"
)

func Example() {
	dir, _ := os.MkdirTemp("", "dirblob")
	defer os.RemoveAll(dir)

	blobs, err := dirblob.Open(filepath.Join(dir, "blobs"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer blobs.Close()
	ctx := context.Background()
	blobs.Put(ctx, "default/command/c-1/stdout", strings.NewReader("hello\n"))
	r, _ := blobs.Open(ctx, "default/command/c-1/stdout")
	io.Copy(os.Stdout, r)
	r.Close()
	_, err = os.Stat(filepath.Join(dir, "blobs", "default", "command", "c-1", "stdout="))
	fmt.Println(err)
	// Output:
	// hello
	// <nil>
}

package localkeys_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/seal/localkeys"
)

func Example() {
	dir, _ := os.MkdirTemp("", "localkeys")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys.json")

	keys, err := localkeys.Open(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err = localkeys.Create(path, nil)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	old, _ := keys.WrapKey(ctx, "", make([]byte, 32), []byte("record 1"))
	keys.Rotate(ctx)
	_, err = keys.UnwrapKey(ctx, old, []byte("record 1"))
	fmt.Println("the old generation still unwraps:", err == nil)
	_, err = keys.UnwrapKey(ctx, old, []byte("record 2"))
	fmt.Println("for its record only:", err != nil)
	fmt.Println(len(keys.Generations()), "generations")
	// Output:
	// the old generation still unwraps: true
	// for its record only: true
	// 2 generations
}

package seal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
)

// A value is sealed for its record, opened there, and nowhere else; the key is rotated without touching it.
func Example() {
	dir, _ := os.MkdirTemp("", "seal")
	defer os.RemoveAll(dir)
	keys, err := localkeys.Create(filepath.Join(dir, "keys.json"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	box := seal.NewBox(keys, nil)
	b := seal.Binding{Tenant: "default", Kind: "parameter", Name: "/db/password", Version: 3, Type: "SecureString"}

	sealer, _ := box.Prepare(ctx, "", b)                         // before the transaction
	ciphertext, _ := sealer.Seal(secret.String("correct horse")) // inside

	value, err := box.Open(ctx, ciphertext, b)
	fmt.Println(string(value.Reveal()), err)

	b.Version = 2
	_, err = box.Open(ctx, ciphertext, b)
	fmt.Println("as version 2:", errors.Is(err, seal.ErrTampered))
	b.Version = 3

	id, _ := keys.Rotate(ctx)
	ciphertext, _ = box.Rewrap(ctx, ciphertext, id, b)
	now, _ := seal.KeyID(ciphertext)
	value, err = box.Open(ctx, ciphertext, b)
	fmt.Println("after rotation:", now == id, string(value.Reveal()), err)
	// Output:
	// correct horse <nil>
	// as version 2: true
	// after rotation: true correct horse <nil>
}

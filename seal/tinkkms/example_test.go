package tinkkms_test

import (
	"context"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/testing/fakekms"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/tinkkms"
	"github.com/fleetwright/fleetwright/secret"
)

// A KMS that Tink has a client for: here the one that Tink has for tests.
func Example() {
	client, _ := fakekms.NewClient("fake-kms://")
	uri, _ := fakekms.NewKeyURI()
	keys, err := tinkkms.New(uri, nil, client)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, box := context.Background(), seal.NewBox(keys, nil)
	b := seal.Binding{Tenant: "default", Kind: "parameter", Name: "/app/db", Version: 1, Type: "SecureString"}
	sealer, err := box.Prepare(ctx, "", b)
	if err != nil {
		fmt.Println(err)
		return
	}
	ciphertext, _ := sealer.Seal(secret.String("correct horse"))
	value, err := box.Open(ctx, ciphertext, b)
	fmt.Println(string(value.Reveal()), err)
	// Output: correct horse <nil>
}

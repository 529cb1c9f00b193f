// Package seal is envelope encryption for secrets that lie in a store: a fresh data key for every value, sealed by a key that only the
// host's key service ([Wrapper]: a key file, a KMS) has, and bound to the record that the value belongs to.
//
//	box := seal.NewBox(keys, nil)
//	b := seal.Binding{Tenant: "default", Kind: "parameter", Name: "/db/password", Version: 3, Type: "SecureString"}
//	sealer, err := box.Prepare(ctx, "", b)      // makes and wraps a data key: may use the network, so before the transaction
//	ciphertext, err := sealer.Seal(password)    // no I/O, a new nonce each time: inside the transaction, as often as it is rerun
//	…
//	password, err := box.Open(ctx, ciphertext, b)
//
// seal/localkeys is the driver for a key file; seal/sealtest holds the suites for wrappers and boxes.
//
// # Format
//
// A ciphertext is, with integers in big endian and a text as its length in 2 bytes and its bytes:
//
//	"fwc" 0x01            4 bytes: fleetwright ciphertext, version 1
//	key id                text, 1 to 512 bytes: the key-encryption key
//	wrapped data key      text, 1 to 8192 bytes: what the Wrapper returned
//	nonce                 12 bytes
//	payload and tag       AES-256-GCM under the data key; 16 bytes more than the plaintext
//
// The payload's associated data is
//
//	"fleetwright/seal/v1/value" 0x00 | tenant (text) | kind (text) | name (text) | version (8 bytes) | type (text)
//
// and what the Wrapper gets as associated data of the data key is
//
//	"fleetwright/seal/v1/key" 0x00 | tenant (text) | kind (text) | name (text)
//
// A Wrapper authenticates its key id beside that, so that the whole header is bound without being part of the payload's associated data: rotation
// rewraps the data key and leaves the payload as it is. There is no algorithm field. testdata/vectors.json holds vectors with every intermediate value.
//
// # Compatibility
//
// Version 1 is read for ever.
package seal

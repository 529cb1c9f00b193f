package seal

import (
	"context"
	"errors"
)

// The errors of the contract. Any other error of a Wrapper is transient.
var (
	// ErrKeyNotFound: the key that wrapped this is not, or no longer, known.
	ErrKeyNotFound = errors.New("seal: key not found")
	// ErrKeyDisabled: the key is known and may not be used at present.
	ErrKeyDisabled = errors.New("seal: key disabled")
	// ErrTampered: the ciphertext, its header or its context is not what was sealed.
	ErrTampered = errors.New("seal: ciphertext does not match its record")
)

// Wrapped is a data key encrypted by a key-encryption key.
type Wrapped struct {
	KeyID string // of the key-encryption key
	Data  []byte
}

// Wrapper is the key service that a host supplies: localkeys, KMS, … Both methods are safe for concurrent use, may use the network, and honour ctx. They are never called
// within a transaction of a store. aad is authenticated, not hidden: unwrapping with another one fails with ErrTampered. keyID "" is the service's primary key.
type Wrapper interface {
	WrapKey(ctx context.Context, keyID string, key, aad []byte) (Wrapped, error)
	UnwrapKey(ctx context.Context, w Wrapped, aad []byte) ([]byte, error)
}

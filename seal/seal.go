package seal

import (
	"context"
	"crypto/rand"
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

// Wrapper is the key service that a host supplies: localkeys, KMS, … Both methods are safe for concurrent use (W-RACE), may use the network, and honour ctx (W-CANCEL). They are never called
// within a transaction of a store. They keep and change none of the slices given to them, and what they return is the caller's (W-ALIAS). The names in brackets are sealtest's cases.
type Wrapper interface {
	// WrapKey encrypts key under the key-encryption key of that id, "" being the service's primary key (W-ROUND); the answer names it. A key id that is not known is
	// ErrKeyNotFound (W-KEYID). aad is authenticated, not hidden. Two wraps of the same key differ (W-FRESH), and none shows it (W-HIDE).
	WrapKey(ctx context.Context, keyID string, key, aad []byte) (Wrapped, error)
	// UnwrapKey returns the key. Another aad (W-AAD), other bytes of Data (W-FLIP, W-LENGTH) are ErrTampered. Another KeyID is ErrTampered or ErrKeyNotFound (W-KEYID): the
	// id is authenticated too. Keys that were primary once go on unwrapping (W-ROTATE); the loss of one key leaves the others working (W-LOST).
	UnwrapKey(ctx context.Context, w Wrapped, aad []byte) ([]byte, error)
}

// DataKeyGenerator is an optional ability of a Wrapper: to make a data key and wrap it in one call, as KMS does.
type DataKeyGenerator interface {
	// GenerateDataKey returns a new random key of 32 bytes and what WrapKey would return for it.
	GenerateDataKey(ctx context.Context, keyID string, aad []byte) (key []byte, w Wrapped, err error)
}

// dataKeySize is the size of an AES-256 key.
const dataKeySize = 32

// GenerateDataKey makes a new data key of 32 bytes and wraps it: by w itself where it can, else with crypto/rand and WrapKey. The caller clears the key after use.
func GenerateDataKey(ctx context.Context, w Wrapper, keyID string, aad []byte) (key []byte, wrapped Wrapped, err error) {
	if g, ok := w.(DataKeyGenerator); ok {
		return g.GenerateDataKey(ctx, keyID, aad)
	}
	key = make([]byte, dataKeySize)
	rand.Read(key) //nolint:errcheck // crypto/rand.Read never fails
	if wrapped, err = w.WrapKey(ctx, keyID, key, aad); err != nil {
		clear(key)
		return nil, Wrapped{}, err
	}
	return key, wrapped, nil
}

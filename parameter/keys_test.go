package parameter_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/fleetwright/fleetwright/seal"
)

// memKeys is a key service in memory, which can fail when told.
type memKeys struct {
	mu      sync.Mutex
	keys    map[string]cipher.AEAD
	primary string
	n       int
	fail    func() error // asked at each call; nil never fails
}

func newKeys() *memKeys {
	k := &memKeys{keys: map[string]cipher.AEAD{}}
	k.Rotate(context.Background()) //nolint:errcheck // it never fails
	return k
}

func (k *memKeys) Primary() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.primary
}

func (k *memKeys) Rotate(context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // it never fails
	block, err := aes.NewCipher(b)
	if err != nil {
		return "", err
	}
	k.n++
	k.primary = fmt.Sprint("key-", k.n)
	k.keys[k.primary], err = cipher.NewGCM(block)
	return k.primary, err
}

func (k *memKeys) Remove(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, id)
	return nil
}

func (k *memKeys) key(ctx context.Context, id string) (string, cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		if err := k.fail(); err != nil {
			return "", nil, err
		}
	}
	if id == "" {
		id = k.primary
	}
	aead := k.keys[id]
	if aead == nil {
		return "", nil, seal.ErrKeyNotFound
	}
	return id, aead, ctx.Err()
}

func (k *memKeys) WrapKey(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
	id, aead, err := k.key(ctx, id)
	if err != nil {
		return seal.Wrapped{}, err
	}
	nonce := make([]byte, 12)
	rand.Read(nonce) //nolint:errcheck // it never fails
	return seal.Wrapped{KeyID: id, Data: aead.Seal(nonce, nonce, key, append([]byte(id+"|"), aad...))}, nil
}

func (k *memKeys) UnwrapKey(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	_, aead, err := k.key(ctx, w.KeyID)
	if err != nil {
		return nil, err
	}
	if len(w.Data) < 12 {
		return nil, seal.ErrTampered
	}
	key, err := aead.Open(nil, w.Data[:12], w.Data[12:], append([]byte(w.KeyID+"|"), aad...))
	if err != nil {
		return nil, errors.Join(seal.ErrTampered, err)
	}
	return key, nil
}

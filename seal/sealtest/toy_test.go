package sealtest_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"strconv"
	"sync"
	"testing"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
)

// toy is a right wrapper in memory; its fields are the places where a fault can be planted.
type toy struct {
	mu      sync.Mutex
	keys    map[string][]byte
	primary string

	nonce    func(key, aad []byte) []byte
	bind     func(id string, aad []byte) []byte // associated data
	resolve  func(id string) string
	unwrap   func(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error)
	wrap     func(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error)
	rotate   func(id string)
	lose     func(id string)
	lostErr  error
	ignoreIn bool // ctx
}

func newToy() *toy {
	t := &toy{keys: map[string][]byte{}, lostErr: seal.ErrKeyNotFound}
	for i := range 3 {
		t.add("k" + strconv.Itoa(i))
	}
	t.nonce = func([]byte, []byte) []byte { return random(12) }
	t.bind = func(id string, aad []byte) []byte { return append([]byte(id+"\x00"), aad...) }
	t.resolve = func(id string) string {
		if id == "" {
			return t.primary
		}
		return id
	}
	t.rotate = func(id string) { t.add(id) }
	t.lose = func(id string) { delete(t.keys, id) }
	return t
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (t *toy) add(id string) { t.keys[id], t.primary = random(32), id }

func (t *toy) aead(id string) (cipher.AEAD, error) {
	k, ok := t.keys[id]
	if !ok {
		return nil, t.lostErr
	}
	b, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

func (t *toy) WrapKey(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
	if t.wrap != nil {
		return t.wrap(ctx, id, key, aad)
	}
	return t.rightWrap(ctx, id, key, aad)
}

func (t *toy) rightWrap(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
	if err := ctx.Err(); err != nil && !t.ignoreIn {
		return seal.Wrapped{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id = t.resolve(id)
	a, err := t.aead(id)
	if err != nil {
		return seal.Wrapped{}, err
	}
	n := t.nonce(key, aad)
	return seal.Wrapped{KeyID: id, Data: a.Seal(n, n, key, t.bind(id, aad))}, nil
}

func (t *toy) UnwrapKey(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	if t.unwrap != nil {
		return t.unwrap(ctx, w, aad)
	}
	return t.rightUnwrap(ctx, w, aad)
}

func (t *toy) rightUnwrap(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil && !t.ignoreIn {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.aead(w.KeyID)
	if err != nil {
		return nil, err
	}
	if len(w.Data) < 12 {
		return nil, seal.ErrTampered
	}
	k, err := a.Open(nil, w.Data[:12], w.Data[12:], t.bind(w.KeyID, aad))
	if err != nil {
		return nil, seal.ErrTampered
	}
	return k, nil
}

func (t *toy) subject() sealtest.Keys {
	n := 0
	return sealtest.Keys{Wrapper: t, IDs: []string{"k0", "k1", "k2"},
		Rotate: func(context.Context) (string, error) {
			n++
			id := "r" + strconv.Itoa(n)
			t.mu.Lock()
			defer t.mu.Unlock()
			t.rotate(id)
			return id, nil
		},
		Lose: func(_ context.Context, id string) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.lose(id)
			return nil
		}}
}

func TestTheToyIsRight(t *testing.T) {
	sealtest.RunWrapper(t, func(testing.TB) sealtest.Keys { return newToy().subject() })
	sealtest.RunBox(t, func(testing.TB) sealtest.Subject {
		k := newToy().subject()
		return sealtest.Subject{Box: sealtest.Of(seal.NewBox(k, nil)), Keys: k}
	})
}

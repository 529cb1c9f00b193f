package sealtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/fleetwright/fleetwright/seal"
)

func background() context.Context { return context.Background() }

func ended() context.Context {
	ctx, cancel := context.WithCancel(background())
	cancel()
	return ctx
}

func newKey() []byte {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never fails
	return b
}

var aad = []byte("associated data of a record")

func mustWrap(t T, k Keys, id string, key, aad []byte) seal.Wrapped {
	t.Helper()
	w, err := k.WrapKey(background(), id, key, aad)
	if err != nil {
		t.Fatalf("WrapKey under %q: %v", id, err)
	}
	return w
}

func mustUnwrap(t T, k Keys, w seal.Wrapped, aad, want []byte) {
	t.Helper()
	got, err := k.UnwrapKey(background(), w, aad)
	if err != nil {
		t.Fatalf("UnwrapKey under %q: %v", w.KeyID, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("UnwrapKey under %q gave another key", w.KeyID)
	}
}

// refused fails unless UnwrapKey gives an error that is one of want, and no key.
func refused(t T, k Keys, w seal.Wrapped, aad []byte, what string, want ...error) {
	t.Helper()
	key, err := k.UnwrapKey(background(), w, aad)
	if key != nil {
		t.Fatalf("UnwrapKey with %s gave a key (%v)", what, err)
	}
	for _, e := range want {
		if errors.Is(err, e) {
			return
		}
	}
	t.Fatalf("UnwrapKey with %s gave %v, want %v", what, err, want)
}

func wrapRound(t T, k Keys) {
	for _, id := range append([]string{""}, k.IDs...) {
		key := newKey()
		w := mustWrap(t, k, id, key, aad)
		if w.KeyID == "" || id != "" && w.KeyID != id {
			t.Errorf("a wrap under %q names the key %q", id, w.KeyID)
		}
		mustUnwrap(t, k, w, aad, key)
		empty := mustWrap(t, k, id, key, nil)
		mustUnwrap(t, k, empty, nil, key)
	}
}

func wrapFresh(t T, k Keys) {
	key, seen := newKey(), map[string]bool{}
	for range 64 {
		w := mustWrap(t, k, "", key, aad)
		if seen[string(w.Data)] {
			t.Fatalf("the same key was wrapped to the same bytes twice")
		}
		seen[string(w.Data)] = true
	}
}

func wrapHide(t T, k Keys) {
	key := newKey()
	w := mustWrap(t, k, "", key, aad)
	for n := 0; n+8 <= len(key); n++ {
		if bytes.Contains(w.Data, key[n:n+8]) {
			t.Fatalf("the wrap shows bytes of the key")
		}
	}
}

func wrapAAD(t T, k Keys) {
	w := mustWrap(t, k, "", newKey(), aad)
	for i := range len(aad) * 8 {
		other := bytes.Clone(aad)
		other[i/8] ^= 1 << (i % 8)
		refused(t, k, w, other, "changed associated data", seal.ErrTampered)
	}
	refused(t, k, w, nil, "no associated data", seal.ErrTampered)
	refused(t, k, w, aad[:len(aad)-1], "shorter associated data", seal.ErrTampered)
	refused(t, k, w, append(bytes.Clone(aad), 0), "longer associated data", seal.ErrTampered)
}

func wrapFlip(t T, k Keys) {
	w := mustWrap(t, k, "", newKey(), aad)
	for i := range len(w.Data) * 8 {
		data := bytes.Clone(w.Data)
		data[i/8] ^= 1 << (i % 8)
		refused(t, k, seal.Wrapped{KeyID: w.KeyID, Data: data}, aad, "a changed bit", seal.ErrTampered)
	}
}

func wrapLength(t T, k Keys) {
	w := mustWrap(t, k, "", newKey(), aad)
	for n := range len(w.Data) {
		refused(t, k, seal.Wrapped{KeyID: w.KeyID, Data: w.Data[:n]}, aad, "cut data", seal.ErrTampered)
	}
	refused(t, k, seal.Wrapped{KeyID: w.KeyID, Data: append(bytes.Clone(w.Data), 0)}, aad, "longer data", seal.ErrTampered)
}

func wrapKeyID(t T, k Keys) {
	for _, id := range k.IDs {
		w := mustWrap(t, k, id, newKey(), aad)
		for _, other := range k.IDs {
			if other != id {
				refused(t, k, seal.Wrapped{KeyID: other, Data: w.Data}, aad, "another key id", seal.ErrTampered, seal.ErrKeyNotFound)
			}
		}
		refused(t, k, seal.Wrapped{KeyID: "no such key", Data: w.Data}, aad, "an unknown key id", seal.ErrKeyNotFound)
		refused(t, k, seal.Wrapped{Data: w.Data}, aad, "no key id", seal.ErrTampered, seal.ErrKeyNotFound)
	}
	if _, err := k.WrapKey(background(), "no such key", newKey(), aad); !errors.Is(err, seal.ErrKeyNotFound) {
		t.Errorf("WrapKey under an unknown key gave %v, want ErrKeyNotFound", err)
	}
}

func wrapCancel(t T, k Keys) {
	w := mustWrap(t, k, "", newKey(), aad)
	if _, err := k.WrapKey(ended(), "", newKey(), aad); !errors.Is(err, context.Canceled) {
		t.Errorf("WrapKey with an ended ctx gave %v, want context.Canceled", err)
	}
	if _, err := k.UnwrapKey(ended(), w, aad); !errors.Is(err, context.Canceled) {
		t.Errorf("UnwrapKey with an ended ctx gave %v, want context.Canceled", err)
	}
}

func wrapAlias(t T, k Keys) {
	key, a := newKey(), bytes.Clone(aad)
	keptKey, keptAAD := bytes.Clone(key), bytes.Clone(a)
	w := mustWrap(t, k, "", key, a)
	data := bytes.Clone(w.Data)
	first, err := k.UnwrapKey(background(), w, a)
	if err != nil {
		t.Fatalf("UnwrapKey: %v", err)
	}
	if !bytes.Equal(key, keptKey) || !bytes.Equal(a, keptAAD) || !bytes.Equal(w.Data, data) {
		t.Fatalf("an argument was changed")
	}
	clear(key)
	clear(a)
	clear(first)
	mustUnwrap(t, k, w, keptAAD, keptKey)
	clear(w.Data)
	mustUnwrap(t, k, seal.Wrapped{KeyID: w.KeyID, Data: data}, keptAAD, keptKey)
}

func wrapRace(t T, k Keys) {
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 20 {
				key, own := newKey(), []byte{byte(n)}
				w, err := k.WrapKey(background(), k.IDs[n%len(k.IDs)], key, own)
				if err != nil {
					t.Errorf("WrapKey: %v", err)
					return
				}
				if got, err := k.UnwrapKey(background(), w, own); err != nil || !bytes.Equal(got, key) {
					t.Errorf("UnwrapKey gave another key, or %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func wrapRotate(t T, k Keys) {
	if k.Rotate == nil {
		t.Skip("SKIPPED: these keys cannot be rotated by the suite")
	}
	key := newKey()
	before := mustWrap(t, k, "", key, aad)
	for range 3 {
		id, err := k.Rotate(background())
		if err != nil {
			t.Fatalf("rotating: %v", err)
		}
		w := mustWrap(t, k, "", key, aad)
		if w.KeyID != id || id == before.KeyID {
			t.Fatalf("after a rotation from %q to %q the primary key is %q", before.KeyID, id, w.KeyID)
		}
		mustUnwrap(t, k, w, aad, key)
		mustUnwrap(t, k, before, aad, key)
		before = w
	}
}

func wrapLost(t T, k Keys) {
	if k.Lose == nil {
		t.Skip("SKIPPED: these keys cannot be destroyed by the suite")
	}
	key := newKey()
	primary := mustWrap(t, k, "", key, aad)
	for _, id := range k.IDs {
		if id == primary.KeyID {
			continue
		}
		w := mustWrap(t, k, id, key, aad)
		if err := k.Lose(background(), id); err != nil {
			t.Fatalf("losing %q: %v", id, err)
		}
		refused(t, k, w, aad, "a lost key", seal.ErrKeyNotFound)
		if _, err := k.WrapKey(background(), id, key, aad); !errors.Is(err, seal.ErrKeyNotFound) {
			t.Errorf("WrapKey under a lost key gave %v, want ErrKeyNotFound", err)
		}
	}
	mustUnwrap(t, k, primary, aad, key)
}

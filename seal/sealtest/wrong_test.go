package sealtest_test

// A suite that cannot fail proves nothing: each wrapper and box here has one fault, and must fail exactly the cases that speak of it.

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
)

// recorder is a T that remembers whether the case failed.
type recorder struct {
	sealtest.T // of the real test, for what is not overridden
	mu         sync.Mutex
	failed     bool
	text       []string
}

func (r *recorder) fail(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, r.text = true, append(r.text, s)
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }
func (r *recorder) Error(a ...any)            { r.fail(fmt.Sprint(a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) Fatal(a ...any)            { r.Error(a...); runtime.Goexit() }
func (r *recorder) FailNow()                  { r.fail("FailNow"); runtime.Goexit() }

func (r *recorder) run(f func(sealtest.T)) bool {
	done := make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
	return r.failed
}

var wrongWrappers = []struct {
	name, rule string
	plant      func(t *toy)
}{
	{"needs associated data", "W-ROUND", func(t *toy) {
		t.wrap = func(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
			if len(aad) == 0 {
				return seal.Wrapped{}, errors.New("no aad")
			}
			return t.rightWrap(ctx, id, key, aad)
		}
	}},
	{"derives the nonce from the key", "W-FRESH", func(t *toy) {
		t.nonce = func(key, aad []byte) []byte { h := sha256.Sum256(append(bytes.Clone(key), aad...)); return h[:12] }
	}},
	{"authenticates and does not encrypt", "W-HIDE", func(t *toy) {
		mac := func(id string, b, aad []byte) []byte {
			m := hmac.New(sha256.New, t.keys[id])
			m.Write(t.bind(id, aad))
			m.Write([]byte{0})
			m.Write(b)
			return m.Sum(nil)
		}
		t.wrap = func(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if id = t.resolve(id); t.keys[id] == nil {
				return seal.Wrapped{}, seal.ErrKeyNotFound
			}
			b := append(random(12), key...)
			return seal.Wrapped{KeyID: id, Data: append(b, mac(id, b, aad)...)}, ctx.Err()
		}
		t.unwrap = func(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
			t.mu.Lock()
			defer t.mu.Unlock()
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case t.keys[w.KeyID] == nil:
				return nil, seal.ErrKeyNotFound
			case len(w.Data) != 12+32+32 || !hmac.Equal(mac(w.KeyID, w.Data[:44], aad), w.Data[44:]):
				return nil, seal.ErrTampered
			}
			return bytes.Clone(w.Data[12:44]), nil
		}
	}},
	{"ignores associated data", "W-AAD", func(t *toy) {
		t.bind = func(id string, _ []byte) []byte { return []byte(id) }
	}},
	{"counts the beginning of associated data only", "W-AAD", func(t *toy) {
		t.bind = func(id string, aad []byte) []byte { return append([]byte(id+"\x00"), aad[:min(len(aad), 16)]...) }
	}},
	{"has a version byte that does not count", "W-FLIP", func(t *toy) {
		t.wrap = func(ctx context.Context, id string, key, aad []byte) (seal.Wrapped, error) {
			w, err := t.rightWrap(ctx, id, key, aad)
			w.Data = append([]byte{1}, w.Data...)
			return w, err
		}
		t.unwrap = func(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
			w.Data = w.Data[min(1, len(w.Data)):]
			return t.rightUnwrap(ctx, w, aad)
		}
	}},
	{"ignores what follows", "W-LENGTH", func(t *toy) {
		t.unwrap = func(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
			w.Data = w.Data[:min(len(w.Data), 12+32+16)]
			return t.rightUnwrap(ctx, w, aad)
		}
	}},
	{"ignores the key id", "W-KEYID", func(t *toy) {
		one := random(32)
		t.bind = func(_ string, aad []byte) []byte { return aad }
		for id := range t.keys {
			t.keys[id] = one
		}
		t.rotate = func(id string) { t.keys[id], t.primary = one, id }
	}},
	{"wraps by the primary key when it does not know the one asked for", "W-KEYID", func(t *toy) {
		t.resolve = func(id string) string {
			if _, ok := t.keys[id]; !ok && (id == "" || id[0] == 'n') {
				return t.primary
			}
			return id
		}
	}},
	{"does not look at ctx", "W-CANCEL", func(t *toy) { t.ignoreIn = true }},
	{"hands out its own bytes", "W-ALIAS", func(t *toy) {
		known := map[string][]byte{}
		t.unwrap = func(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
			k, err := t.rightUnwrap(ctx, w, aad)
			if err != nil {
				return nil, err
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			if known[string(w.Data)] == nil {
				known[string(w.Data)] = k
			}
			return known[string(w.Data)], nil
		}
	}},
	{"mixes up concurrent calls", "W-RACE", func(t *toy) {
		var last []byte
		t.unwrap = func(ctx context.Context, w seal.Wrapped, aad []byte) ([]byte, error) {
			k, err := t.rightUnwrap(ctx, w, aad)
			if err != nil {
				return nil, err
			}
			t.mu.Lock()
			last = k
			t.mu.Unlock()
			if len(aad) == 1 {
				time.Sleep(50 * time.Microsecond)
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			return bytes.Clone(last), nil
		}
	}},
	{"forgets the old key on rotation", "W-ROTATE", func(t *toy) {
		t.rotate = func(id string) { delete(t.keys, t.primary); t.add(id) }
	}},
	{"rotates without a new primary key", "W-ROTATE", func(t *toy) {
		t.rotate = func(id string) { p := t.primary; t.add(id); t.primary = p }
	}},
	{"loses all keys with one", "W-LOST", func(t *toy) {
		t.lose = func(string) { clear(t.keys) }
	}},
	{"loses nothing", "W-LOST", func(t *toy) { t.lose = func(string) {} }},
}

func TestWrongWrappersFailTheirRule(t *testing.T) {
	for _, w := range wrongWrappers {
		t.Run(w.name, func(t *testing.T) {
			var failed []string
			text := map[string][]string{}
			for _, c := range sealtest.WrapperCases() {
				k := newToy()
				w.plant(k)
				r := &recorder{T: t}
				if r.run(func(rt sealtest.T) { c.Run(rt, k.subject()) }) {
					failed, text[c.Rule] = append(failed, c.Rule), r.text
				}
			}
			require.Equal(t, []string{w.rule}, failed, "%v", text)
		})
	}
}

func TestRulesAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range sealtest.WrapperCases() {
		require.False(t, seen[c.Rule])
		require.NotEmpty(t, c.Text)
		seen[c.Rule] = true
	}
	for _, c := range sealtest.BoxCases() {
		require.False(t, seen[c.Rule])
		require.NotEmpty(t, c.Text)
		seen[c.Rule] = true
	}
	for _, w := range wrongWrappers {
		delete(seen, w.rule)
	}
	for _, w := range wrongBoxes {
		for _, r := range w.rules {
			delete(seen, r)
		}
	}
	require.Empty(t, seen, "rules that nothing wrong fails")
}

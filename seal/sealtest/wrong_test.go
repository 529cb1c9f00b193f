package sealtest_test

// A suite that cannot fail proves nothing: each wrapper and box here has one fault, and must fail exactly the cases that speak of it.

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
	"github.com/fleetwright/fleetwright/secret"
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

// faulty is a box with methods replaced.
type faulty struct {
	sealtest.Box
	seal   func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error)
	open   func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error)
	rewrap func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error)
}

func (f *faulty) Seal(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
	if f.seal != nil {
		return f.seal(ctx, id, b, p, n)
	}
	return f.Box.Seal(ctx, id, b, p, n)
}

func (f *faulty) Open(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
	if f.open != nil {
		return f.open(ctx, c, b)
	}
	return f.Box.Open(ctx, c, b)
}

func (f *faulty) Rewrap(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
	if f.rewrap != nil {
		return f.rewrap(ctx, c, id, b)
	}
	return f.Box.Rewrap(ctx, c, id, b)
}

// bound makes a box whose binding loses something.
func bound(change func(b *seal.Binding)) func(x sealtest.Box, f *faulty, k sealtest.Keys) {
	return func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			change(&b)
			return x.Seal(ctx, id, b, p, n)
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			change(&b)
			return x.Open(ctx, c, b)
		}
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			change(&b)
			return x.Rewrap(ctx, c, id, b)
		}
	}
}

var wrongBoxes = []struct {
	name  string
	rules []string
	plant func(x sealtest.Box, f *faulty, k sealtest.Keys)
}{
	{"binds without the version", []string{"S-BIND", "S-SWAP", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Version = 0 })},
	{"binds half of the version", []string{"S-BIND", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Version = uint64(uint32(b.Version)) })},
	{"binds without the type", []string{"S-BIND", "S-SWAP", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Type = "" })},
	{"binds without the tenant", []string{"S-BIND", "S-SWAP", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Tenant = "-" })},
	{"binds texts without their lengths", []string{"S-BIND", "S-REWRAP"}, bound(func(b *seal.Binding) { b.Tenant, b.Kind = b.Tenant+b.Kind, "-" })},
	{"uses a nonce again", []string{"S-FRESH"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, 1)
			if err != nil {
				return nil, err
			}
			return slices.Repeat(c, n), nil
		}
	}},
	{"uses a data key again", []string{"S-FRESH"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		var spare [][]byte
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			if string(p) != "the same value" {
				return x.Seal(ctx, id, b, p, n)
			}
			if spare == nil {
				var err error
				if spare, err = x.Seal(ctx, id, b, p, 64); err != nil {
					return nil, err
				}
			}
			out := spare[:n]
			spare = spare[n:]
			return out, nil
		}
	}},
	{"ignores the key id", []string{"S-KEYID"}, func(x sealtest.Box, f *faulty, k sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			if len(p) == 1 { // of S-KEYID; elsewhere the cases need several keys
				id = ""
			}
			return x.Seal(ctx, id, b, p, n)
		}
	}},
	{"rewraps without a look at the payload", []string{"S-REWRAP"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			out, err := x.Rewrap(ctx, c, id, b)
			if errors.Is(err, seal.ErrTampered) {
				return c, nil
			}
			return out, err
		}
	}},
	{"seals anew instead of rewrapping", []string{"S-REWRAP"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.rewrap = func(ctx context.Context, c []byte, id string, b seal.Binding) ([]byte, error) {
			v, err := x.Open(ctx, c, b)
			if err != nil {
				return nil, err
			}
			out, err := x.Seal(ctx, id, b, v.Reveal(), 1)
			if err != nil {
				return nil, err
			}
			return out[0], nil
		}
	}},
	{"remembers values by ciphertext alone", []string{"S-BIND", "S-SWAP", "S-CANCEL", "S-REWRAP"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		known := map[string]secret.Value{}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			if v, ok := known[string(c)]; ok {
				return v, nil
			}
			v, err := x.Open(ctx, c, b)
			if err == nil {
				known[string(c)] = v
			}
			return v, err
		}
	}},
	{"does not look at ctx", []string{"S-CANCEL"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			return x.Open(context.WithoutCancel(ctx), c, b)
		}
	}},
	{"ignores what follows", []string{"S-LENGTH"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		sizes := map[int]bool{}
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				sizes[len(c[i])] = true
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			if !sizes[len(c)] && len(c) > 0 && sizes[len(c)-1] {
				c = c[:len(c)-1]
			}
			return x.Open(ctx, c, b)
		}
	}},
	{"does not check its magic", []string{"S-FLIP"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			if len(c) > 4 {
				c = append([]byte("fwc"), c[3:]...)
			}
			return x.Open(ctx, c, b)
		}
	}},
	{"shows the beginning of the value", []string{"S-HIDE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		strip := func(c []byte) []byte {
			if n := len(c) - 8; n > 0 && bytes.Equal(c[n:], []byte("canary-6")) {
				return c[:n]
			}
			return c
		}
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				if bytes.HasPrefix(p, []byte("canary")) {
					c[i] = append(c[i], p[:8]...)
				}
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			return x.Open(ctx, strip(c), b)
		}
	}},
	{"cannot seal nothing", []string{"S-ROUND"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			if len(p) == 0 {
				return nil, errors.New("empty")
			}
			return x.Seal(ctx, id, b, p, n)
		}
	}},
	{"keeps values of lost keys", []string{"S-LOST"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		kept := map[string]secret.Value{}
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				kept[string(c[i])] = secret.New(p)
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			v, err := x.Open(ctx, c, b)
			if errors.Is(err, seal.ErrKeyNotFound) && !kept[string(c)].IsZero() {
				return kept[string(c)], nil
			}
			return v, err
		}
	}},
	{"takes the payload of another value of the record", []string{"S-SPLICE"}, func(x sealtest.Box, f *faulty, _ sealtest.Keys) {
		// As if one data key served all: the payload decides, whatever header stands before it.
		whole := map[string][]byte{}
		tail := func(c []byte) string { return string(c[max(0, len(c)-33):]) }
		f.seal = func(ctx context.Context, id string, b seal.Binding, p []byte, n int) ([][]byte, error) {
			c, err := x.Seal(ctx, id, b, p, n)
			for i := range c {
				whole[tail(c[i])] = bytes.Clone(c[i])
			}
			return c, err
		}
		f.open = func(ctx context.Context, c []byte, b seal.Binding) (secret.Value, error) {
			w, ok := whole[tail(c)]
			if id, err := seal.KeyID(c); ok && err == nil && len(w) == len(c) {
				if o, err := seal.KeyID(w); err == nil && o == id && bits(w, c) > 1 {
					c = w
				}
			}
			return x.Open(ctx, c, b)
		}
	}},
}

// bits counts how many bits differ.
func bits(a, b []byte) (n int) {
	for i := range a {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

func TestWrongBoxesFailTheirRules(t *testing.T) {
	for _, w := range wrongBoxes {
		t.Run(w.name, func(t *testing.T) {
			var failed []string
			text := map[string][]string{}
			for _, c := range sealtest.BoxCases() {
				k := newToy().subject()
				f := &faulty{Box: sealtest.Of(seal.NewBox(k, nil))}
				w.plant(f.Box, f, k)
				r := &recorder{T: t}
				if r.run(func(rt sealtest.T) { c.Run(rt, sealtest.Subject{Box: f, Keys: k}) }) {
					failed, text[c.Rule] = append(failed, c.Rule), r.text
				}
			}
			require.ElementsMatch(t, w.rules, failed, "%v", text)
		})
	}
}

// TestWrongWrappersAreCaughtThroughTheBox: the suite of boxes sees what a wrapper gets wrong, where that matters to values.
func TestWrongWrappersAreCaughtThroughTheBox(t *testing.T) {
	k := newToy()
	k.lose = func(string) { clear(k.keys) }
	s := k.subject()
	for _, c := range sealtest.BoxCases() {
		if c.Rule == "S-LOST" {
			r := &recorder{T: t}
			require.True(t, r.run(func(rt sealtest.T) { c.Run(rt, sealtest.Subject{Box: sealtest.Of(seal.NewBox(s, nil)), Keys: s}) }))
		}
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

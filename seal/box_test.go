package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// one is a wrapper with one key, and counters.
type one struct {
	mu           sync.Mutex
	aead         cipher.AEAD
	wraps, opens int
	err          error // of both methods
	key          func(k []byte) []byte
	wrapped      func(w Wrapped) Wrapped
	lastAAD      []byte
}

func newOne(t testing.TB) *one {
	b, err := aes.NewCipher(make([]byte, 32))
	require.NoError(t, err)
	a, err := cipher.NewGCMWithRandomNonce(b)
	require.NoError(t, err)
	return &one{aead: a}
}

func (o *one) WrapKey(ctx context.Context, id string, key, aad []byte) (Wrapped, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wraps++
	o.lastAAD = bytes.Clone(aad)
	if o.err != nil {
		return Wrapped{}, o.err
	}
	if id == "" {
		id = "the one"
	}
	w := Wrapped{KeyID: id, Data: o.aead.Seal(nil, nil, key, append([]byte(id), aad...))}
	if o.wrapped != nil {
		w = o.wrapped(w)
	}
	return w, nil
}

func (o *one) UnwrapKey(ctx context.Context, w Wrapped, aad []byte) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens++
	if o.err != nil {
		return nil, o.err
	}
	k, err := o.aead.Open(nil, nil, w.Data, append([]byte(w.KeyID), aad...))
	if err != nil {
		return nil, ErrTampered
	}
	if o.key != nil {
		k = o.key(k)
	}
	return k, nil
}

func record() Binding {
	return Binding{Tenant: "default", Kind: "parameter", Name: "/db/password", Version: 3, Type: "SecureString"}
}

func sealed(t testing.TB, x *Box, value string) []byte {
	t.Helper()
	s, err := x.Prepare(t.Context(), "", record())
	require.NoError(t, err)
	c, err := s.Seal(secret.String(value))
	require.NoError(t, err)
	return c
}

func TestR16WithoutAKeyServiceNothingIsSealed(t *testing.T) {
	x := NewBox(nil, nil)
	c := sealed(t, NewBox(newOne(t), nil), "value")
	_, err := x.Prepare(t.Context(), "", record())
	require.ErrorContains(t, err, "no key service")
	require.Equal(t, InvalidKeyID, fault.CodeOf(err))
	_, err = x.Open(t.Context(), c, record())
	require.ErrorContains(t, err, "no key service")
	_, err = x.Rewrap(t.Context(), c, "", record())
	require.ErrorContains(t, err, "no key service")
	_, err = x.MakeCheck(t.Context())
	require.Error(t, err)
	require.Error(t, x.VerifyCheck(t.Context(), c))
}

func TestSealWorksInAClosureThatIsRerun(t *testing.T) {
	o := newOne(t)
	x := NewBox(o, nil)
	s, err := x.Prepare(t.Context(), "", record())
	require.NoError(t, err)
	require.Equal(t, "the one", s.KeyID())
	require.Equal(t, 1, o.wraps)
	var last []byte
	for range 3 {
		c, err := s.SealVersion(4, secret.String("v"))
		require.NoError(t, err)
		require.NotEqual(t, last, c)
		last = c
	}
	require.Equal(t, 1, o.wraps, "the key service is not asked again")
	_, err = x.Open(t.Context(), last, record())
	require.ErrorIs(t, err, ErrTampered, "version 3 it is not")
	b := record()
	b.Version = 4
	v, err := x.Open(t.Context(), last, b)
	require.NoError(t, err)
	require.Equal(t, "v", string(v.Reveal()))
}

func TestValuesHaveALimit(t *testing.T) {
	x := NewBox(newOne(t), nil)
	s, err := x.Prepare(t.Context(), "", record())
	require.NoError(t, err)
	c, err := s.Seal(secret.New(make([]byte, MaxPlaintext)))
	require.NoError(t, err)
	v, err := x.Open(t.Context(), c, record())
	require.NoError(t, err)
	require.Equal(t, MaxPlaintext, v.Len())
	_, err = s.Seal(secret.New(make([]byte, MaxPlaintext+1)))
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	_, err = x.Open(t.Context(), append(c, 0), record())
	require.ErrorIs(t, err, ErrTampered)
	require.LessOrEqual(t, len(magic)+2+maxKeyID+2+maxWrapped+nonceSize+tagSize+MaxPlaintext, 256<<10, "a store takes the largest ciphertext")
}

func TestBindingsHaveLimits(t *testing.T) {
	x := NewBox(newOne(t), nil)
	long := strings.Repeat("x", maxText)
	for what, c := range map[string]struct {
		change func(b *Binding)
		good   bool
	}{
		"no tenant":     {func(b *Binding) { b.Tenant = "" }, false},
		"no kind":       {func(b *Binding) { b.Kind = "" }, false},
		"no name":       {func(b *Binding) { b.Name = "" }, false},
		"no type":       {func(b *Binding) { b.Type = "" }, true},
		"longest":       {func(b *Binding) { b.Tenant, b.Kind, b.Name, b.Type = long, long, long, long }, true},
		"a long name":   {func(b *Binding) { b.Name = long + "x" }, false},
		"a long type":   {func(b *Binding) { b.Type = long + "x" }, false},
		"a long tenant": {func(b *Binding) { b.Tenant = long + "x" }, false},
		"any bytes":     {func(b *Binding) { b.Name = "\x00\xff/" }, true},
	} {
		b := record()
		c.change(&b)
		_, err := x.Prepare(t.Context(), "", b)
		require.Equal(t, c.good, err == nil, "%s: %v", what, err)
		if !c.good {
			require.Equal(t, fault.Validation, fault.CodeOf(err), what)
			_, err = x.Open(t.Context(), []byte("fwc\x01"), b)
			require.Equal(t, fault.Validation, fault.CodeOf(err), what)
		}
	}
}

func TestErrorsNameTheRecordAndKeepTheCause(t *testing.T) {
	o := newOne(t)
	x := NewBox(o, nil)
	c := sealed(t, x, "canary-value")
	for _, e := range []struct {
		cause error
		code  fault.Code
	}{{ErrKeyNotFound, InvalidKeyID}, {ErrKeyDisabled, InvalidKeyID}, {ErrTampered, fault.DataCorrupt}, {errors.New("connection refused"), fault.ServiceUnavailable},
		{context.DeadlineExceeded, fault.RequestCanceled}, {fault.New("kms", fault.Throttling, "slow down"), fault.Throttling}} {
		o.err = e.cause
		_, errOpen := x.Open(t.Context(), c, record())
		_, errPrepare := x.Prepare(t.Context(), "", record())
		_, errRewrap := x.Rewrap(t.Context(), c, "", record())
		for _, err := range []error{errOpen, errPrepare, errRewrap} {
			require.ErrorIs(t, err, e.cause)
			require.Equal(t, e.code, fault.CodeOf(err))
			require.ErrorContains(t, err, "parameter /db/password version 3 of tenant default")
			require.NotContains(t, err.Error(), "canary")
		}
	}
	o.err = nil
	_, err := x.Open(t.Context(), []byte("plain text"), record())
	require.ErrorIs(t, err, ErrTampered)
	require.NotContains(t, err.Error(), "plain text")
	require.NotContains(t, Binding{Tenant: "a\x1b", Kind: "k\n", Name: "\u202e"}.String(), "\x1b")
}

func TestOpeningAgainAsksNobody(t *testing.T) {
	o, now := newOne(t), time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	x := NewBox(o, &BoxOptions{CacheKeys: 2, CacheFor: time.Minute, Now: func() time.Time { return now }})
	open := func(c []byte, want int) {
		t.Helper()
		before := o.opens
		_, err := x.Open(t.Context(), c, record())
		require.NoError(t, err)
		require.Equal(t, want, o.opens-before)
	}
	a, b, c := sealed(t, x, "a"), sealed(t, x, "b"), sealed(t, x, "c")
	open(a, 1)
	open(a, 0)
	now = now.Add(59 * time.Second)
	open(a, 0)
	now = now.Add(time.Second)
	open(a, 1) // a minute from when it came, not from its last use
	now = now.Add(-time.Second)
	open(a, 1) // a clock that went back is not trusted
	open(b, 1)
	open(a, 0)
	open(c, 1)
	require.Equal(t, 2, x.cache.len())
	open(a, 0)
	open(b, 1) // the one unused for longest went
	x.Forget()
	require.Zero(t, x.cache.len())
	open(b, 1)

	x = NewBox(o, &BoxOptions{CacheKeys: -1})
	open(a, 1)
	open(a, 1)
	require.Zero(t, x.cache.len())
}

// TestOldDataKeysLeaveTheMemory: what is too old does not wait for being asked for again, or for being pushed out.
func TestOldDataKeysLeaveTheMemory(t *testing.T) {
	o, now := newOne(t), time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	x := NewBox(o, &BoxOptions{CacheFor: time.Minute, Now: func() time.Time { return now }})
	var all [][]byte
	for range 20 {
		all = append(all, sealed(t, x, "v"))
		_, err := x.Open(t.Context(), all[len(all)-1], record())
		require.NoError(t, err)
		now = now.Add(time.Second)
	}
	require.Equal(t, 20, x.cache.len())
	now = now.Add(50 * time.Second) // ten of them have their minute behind them
	_, err := x.Open(t.Context(), all[19], record())
	require.NoError(t, err)
	require.Equal(t, 9, x.cache.len())
	now = now.Add(time.Hour)
	_, err = x.Open(t.Context(), all[0], record())
	require.NoError(t, err)
	require.Equal(t, 1, x.cache.len())
}

func TestTheCacheTellsEverythingApart(t *testing.T) {
	w := Wrapped{KeyID: "k", Data: []byte("data")}
	seen := map[[32]byte]bool{cacheKey(w, []byte("aad")): true}
	for _, c := range []struct {
		w   Wrapped
		aad string
	}{{Wrapped{KeyID: "j", Data: w.Data}, "aad"}, {Wrapped{KeyID: "k", Data: []byte("dato")}, "aad"}, {w, "aae"}, {w, ""}, {Wrapped{KeyID: "kd", Data: []byte("ata")}, "aad"},
		{Wrapped{KeyID: "k", Data: []byte("dataa")}, "ad"}} {
		k := cacheKey(c.w, []byte(c.aad))
		require.False(t, seen[k], "%v", c)
		seen[k] = true
	}
}

func TestOnlyWhatOpensIsRemembered(t *testing.T) {
	x := NewBox(newOne(t), nil)
	c := sealed(t, x, "v")
	c[len(c)-1] ^= 1
	_, err := x.Open(t.Context(), c, record())
	require.ErrorIs(t, err, ErrTampered)
	require.Zero(t, x.cache.len())
}

func TestAKeyServiceThatMisbehaves(t *testing.T) {
	o := newOne(t)
	x := NewBox(o, nil)
	c := sealed(t, x, "v")
	for what, w := range map[string]func(Wrapped) Wrapped{
		"no key id":    func(w Wrapped) Wrapped { w.KeyID = ""; return w },
		"long key id":  func(w Wrapped) Wrapped { w.KeyID = strings.Repeat("k", maxKeyID+1); return w },
		"no data":      func(w Wrapped) Wrapped { w.Data = nil; return w },
		"long data":    func(w Wrapped) Wrapped { w.Data = make([]byte, maxWrapped+1); return w },
		"another wrap": func(w Wrapped) Wrapped { w.Data = bytes.Clone(w.Data); w.Data[20] ^= 1; return w },
	} {
		o.wrapped = w
		_, err := x.Rewrap(t.Context(), c, "", record())
		require.Error(t, err, what)
		if what != "another wrap" {
			_, err = x.Prepare(t.Context(), "", record())
			require.Error(t, err, what)
		}
	}
	o.wrapped = nil
	for what, k := range map[string]func([]byte) []byte{
		"a short key":   func(k []byte) []byte { return k[:16] },
		"no key":        func(k []byte) []byte { return nil },
		"another key":   func(k []byte) []byte { return make([]byte, 32) },
		"a long key":    func(k []byte) []byte { return append(k, 0) },
		"another later": func(k []byte) []byte { k[0] ^= byte(o.opens & 1); return k },
	} {
		o.key, o.opens = k, 1
		_, err := x.Rewrap(t.Context(), c, "other", record())
		require.Error(t, err, what)
	}
	_, err := NewBox(generator{newOne(t), 16}, nil).Prepare(t.Context(), "", record())
	require.ErrorContains(t, err, "16 bytes")
}

// generator makes data keys by itself.
type generator struct {
	*one
	size int
}

func (g generator) GenerateDataKey(ctx context.Context, id string, aad []byte) ([]byte, Wrapped, error) {
	k := make([]byte, g.size)
	rand.Read(k)
	w, err := g.WrapKey(ctx, id, k, aad)
	return k, w, err
}

func TestAKeyServiceMayMakeDataKeysItself(t *testing.T) {
	x := NewBox(generator{newOne(t), 32}, nil)
	v, err := x.Open(t.Context(), sealed(t, x, "v"), record())
	require.NoError(t, err)
	require.Equal(t, "v", string(v.Reveal()))
}

func TestDriversCanReadTheBinding(t *testing.T) {
	o := newOne(t)
	sealed(t, NewBox(o, nil), "v")
	b, ok := BindingOf(o.lastAAD)
	require.True(t, ok)
	require.Equal(t, Binding{Tenant: "default", Kind: "parameter", Name: "/db/password"}, b)
	for n := range o.lastAAD {
		_, ok := BindingOf(o.lastAAD[:n])
		require.False(t, ok)
	}
	for _, bad := range [][]byte{nil, append(bytes.Clone(o.lastAAD), 0), record().valueAAD(), (Binding{}).keyAAD(), []byte(contextKey + "\xff\xff")} {
		_, ok := BindingOf(bad)
		require.False(t, ok)
	}
}

func TestACheckValueTellsAWrongKeyService(t *testing.T) {
	x := NewBox(newOne(t), nil)
	value, err := x.MakeCheck(t.Context())
	require.NoError(t, err)
	require.NoError(t, NewBox(newOne(t), nil).VerifyCheck(t.Context(), value), "the same keys")
	other := newOne(t)
	b, err := aes.NewCipher(bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	other.aead, err = cipher.NewGCMWithRandomNonce(b)
	require.NoError(t, err)
	require.ErrorIs(t, NewBox(other, nil).VerifyCheck(t.Context(), value), ErrTampered)
}

func TestKeyIDIsReadWithoutOpening(t *testing.T) {
	id, err := KeyID(sealed(t, NewBox(newOne(t), nil), "v"))
	require.NoError(t, err)
	require.Equal(t, "the one", id)
	_, err = KeyID([]byte("fwc\x02"))
	require.ErrorIs(t, err, ErrTampered)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
}

func TestR12NoFormatterShowsDataKeys(t *testing.T) {
	x := NewBox(newOne(t), nil)
	s, err := x.Prepare(t.Context(), "", record())
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		require.Equal(t, "seal.Box", fmt.Sprintf(verb, x))
		require.Contains(t, fmt.Sprintf(verb, s), "seal.Sealer for parameter")
	}
}

func TestABrokenSourceOfRandomnessSealsNothing(t *testing.T) {
	x := NewBox(newOne(t), nil)
	x.random = strings.NewReader("short")
	s, err := x.Prepare(t.Context(), "", record())
	require.NoError(t, err)
	_, err = s.Seal(secret.String("v"))
	require.Error(t, err)
}

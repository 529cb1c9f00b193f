package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
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

// bin is bytes as hex in JSON.
type bin []byte

func (b bin) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *bin) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(string(t))
	return err
}

// vector is one published example for other implementations. The wrapped data key is what some key service returned: its format is not part of this one.
type vector struct {
	Name      string  `json:"name"`
	Binding   Binding `json:"binding"`
	KeyID     string  `json:"keyId"`
	Wrapped   bin     `json:"wrapped"`
	DataKey   bin     `json:"dataKey"`
	Nonce     bin     `json:"nonce"`
	Plaintext bin     `json:"plaintext"`
	// What comes of it.
	KeyAAD     bin `json:"keyAad"`
	ValueAAD   bin `json:"valueAad"`
	Ciphertext bin `json:"ciphertext"`
}

// fixed is the key service of a vector.
type fixed struct {
	t testing.TB
	v *vector
}

func (f fixed) WrapKey(context.Context, string, []byte, []byte) (Wrapped, error) {
	return Wrapped{}, ErrKeyDisabled
}

func (f fixed) GenerateDataKey(_ context.Context, _ string, aad []byte) ([]byte, Wrapped, error) {
	f.v.KeyAAD = bytes.Clone(aad)
	return bytes.Clone(f.v.DataKey), Wrapped{KeyID: f.v.KeyID, Data: f.v.Wrapped}, nil
}

func (f fixed) UnwrapKey(_ context.Context, w Wrapped, aad []byte) ([]byte, error) {
	if w.KeyID != f.v.KeyID || !bytes.Equal(w.Data, f.v.Wrapped) || !bytes.Equal(aad, f.v.KeyAAD) {
		return nil, ErrTampered
	}
	return bytes.Clone(f.v.DataKey), nil
}

func (v *vector) fill(t testing.TB) {
	x := NewBox(fixed{t, v}, nil)
	x.random = bytes.NewReader(v.Nonce)
	s, err := x.Prepare(t.Context(), "", v.Binding)
	require.NoError(t, err)
	v.ValueAAD = v.Binding.valueAAD()
	v.Ciphertext, err = s.Seal(secret.New(v.Plaintext))
	require.NoError(t, err)
}

func pattern(first byte, n int) bin {
	b := make(bin, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

var update = flag.Bool("update", false, "write testdata/vectors.json anew: only for a new version of the format")

const vectorFile = "testdata/vectors.json"

func published(t testing.TB) []vector {
	raw, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	var all []vector
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&all))
	require.Len(t, all, 3)
	return all
}

// TestVectors: the format is what testdata/vectors.json publishes. A failure here means that values which released versions sealed are no longer read.
func TestVectors(t *testing.T) {
	if *update {
		all := []vector{
			{Name: "a parameter", Binding: record(), KeyID: "lk-0011223344556677", Wrapped: pattern(0, 61), DataKey: pattern(64, 32), Nonce: pattern(96, 12), Plaintext: bin("correct horse")},
			{Name: "nothing in it", Binding: Binding{Tenant: "t", Kind: "k", Name: "n"}, KeyID: "k", Wrapped: pattern(1, 1), DataKey: pattern(128, 32), Nonce: pattern(160, 12), Plaintext: bin{}},
			{Name: "long fields", Binding: Binding{Tenant: strings.Repeat("t", 300), Kind: "parameter", Name: "/ü/" + strings.Repeat("n", 1000), Version: 1<<64 - 1, Type: "SecureString"},
				KeyID: strings.Repeat("k", maxKeyID), Wrapped: pattern(7, 600), DataKey: pattern(192, 32), Nonce: pattern(224, 12), Plaintext: pattern(0, 100)},
		}
		for i := range all {
			all[i].fill(t)
		}
		b, err := json.MarshalIndent(all, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(vectorFile, append(b, '\n'), 0o644))
	}
	for _, want := range published(t) {
		t.Run(want.Name, func(t *testing.T) {
			got := want
			got.fill(t)
			require.Equal(t, want, got)
			v, err := NewBox(fixed{t, &want}, nil).Open(t.Context(), want.Ciphertext, want.Binding)
			require.NoError(t, err)
			require.Equal(t, []byte(want.Plaintext), append([]byte{}, v.Reveal()...))
		})
	}
}

// FuzzOpen: nothing but the ciphertext itself opens.
func FuzzOpen(f *testing.F) {
	v := published(f)[0]
	x := NewBox(fixed{f, &v}, &BoxOptions{CacheKeys: -1})
	f.Add([]byte(v.Ciphertext))
	f.Add([]byte(v.Ciphertext[:40]))
	f.Add([]byte("fwc\x01\x00\x01k\x00\x01w"))
	f.Fuzz(func(t *testing.T, c []byte) {
		got, err := x.Open(context.Background(), c, v.Binding)
		if err == nil {
			require.Equal(t, []byte(v.Ciphertext), c)
			require.Equal(t, []byte(v.Plaintext), got.Reveal())
			return
		}
		require.ErrorIs(t, err, ErrTampered)
		require.True(t, got.IsZero())
		if w, sealed, err := parse(c); err == nil { // what has the form is the only encoding of its parts
			h, err := header(w)
			require.NoError(t, err)
			require.Equal(t, c, append(h, sealed...))
		}
	})
}

func FuzzBindingOf(f *testing.F) {
	f.Add(record().keyAAD())
	f.Add([]byte(contextKey))
	f.Fuzz(func(t *testing.T, aad []byte) {
		if b, ok := BindingOf(aad); ok {
			require.Equal(t, aad, b.keyAAD())
		}
	})
}

// BenchmarkSeal1K and BenchmarkOpen1K compare with the bare AES-256-GCM of the same bytes.
func BenchmarkSeal1K(b *testing.B) { benchmark(b, "seal") }

// BenchmarkOpen1K opens with the data key unknown.
func BenchmarkOpen1K(b *testing.B) { benchmark(b, "open") }

// BenchmarkOpenKnown1K opens with the data key remembered.
func BenchmarkOpenKnown1K(b *testing.B) { benchmark(b, "known") }

func benchmark(b *testing.B, what string) {
	x := NewBox(newOne(b), nil)
	value := secret.New(make([]byte, 1024))
	block, err := aes.NewCipher(make([]byte, 32))
	require.NoError(b, err)
	bare, err := cipher.NewGCM(block)
	require.NoError(b, err)
	nonce, out := make([]byte, 12), make([]byte, 0, 2048)
	c := sealed(b, x, string(value.Reveal()))
	plain := bare.Seal(nil, nonce, value.Reveal(), nil)
	ours, limit := time.Hour, time.Hour // what an undisturbed call takes
	b.ReportAllocs()
	for b.Loop() {
		t0 := time.Now()
		switch what {
		case "seal":
			s, err := x.Prepare(b.Context(), "", record())
			if err != nil {
				b.Fatal(err)
			}
			if _, err = s.Seal(value); err != nil {
				b.Fatal(err)
			}
		default:
			if what == "open" {
				x.Forget()
			}
			if _, err := x.Open(b.Context(), c, record()); err != nil {
				b.Fatal(err)
			}
		}
		t1 := time.Now()
		if what == "seal" {
			out = bare.Seal(out[:0], nonce, value.Reveal(), nil)
		} else if out, err = bare.Open(out[:0], nonce, plain, nil); err != nil {
			b.Fatal(err)
		}
		limit, ours = min(limit, time.Since(t1)), min(ours, t1.Sub(t0))
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
	b.ReportMetric(float64(ours.Nanoseconds()), "least-ns")
}

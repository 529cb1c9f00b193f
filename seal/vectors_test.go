package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/secret"
)

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

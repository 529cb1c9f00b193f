package message

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

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

// vector is one published example with every intermediate value, for other implementations.
type vector struct {
	Name         string `json:"name"`
	Tenant       string `json:"tenant"`
	From         string `json:"from"`
	To           string `json:"to"`
	Kind         string `json:"kind"`
	ID           string `json:"id"`
	Attempt      int    `json:"attempt"`
	Epoch        uint64 `json:"epoch"`
	NotBefore    int64  `json:"notBefore"` // Unix milliseconds
	NotAfter     int64  `json:"notAfter"`
	Body         string `json:"body"`
	SenderSeed   bin    `json:"senderSeed"`   // Ed25519 seed, X25519 scalar
	ReceiverSeed bin    `json:"receiverSeed"` // likewise
	Ephemeral    bin    `json:"ephemeral"`    // X25519 scalar
	Salt         bin    `json:"salt"`
	// What comes of it.
	SenderSignKey   bin    `json:"senderSignKey"`
	ReceiverSealKey bin    `json:"receiverSealKey"`
	Canonical       bin    `json:"canonical"`
	Context         string `json:"context"`
	Signature       bin    `json:"signature"`
	Header          bin    `json:"header"`
	Shared          bin    `json:"shared"`
	KeyAndNonce     bin    `json:"keyAndNonce"`
	Sealed          bin    `json:"sealed"`
}

var update = flag.Bool("update", false, "write testdata/vectors.json anew: only for a new version of the format")

func (v *vector) envelope() Envelope {
	return Envelope{Tenant: v.Tenant, From: v.From, To: v.To, Kind: Kind(v.Kind), ID: v.ID, Attempt: v.Attempt, Epoch: v.Epoch, NotBefore: time.UnixMilli(v.NotBefore).UTC(),
		NotAfter: time.UnixMilli(v.NotAfter).UTC(), Body: []byte(v.Body)}
}

// fill computes what comes of the inputs, by the code under test.
func (v *vector) fill(t *testing.T) {
	sender, err := IdentityFromSeed(v.Tenant, v.From, secret.New(v.SenderSeed))
	require.NoError(t, err)
	receiver, err := IdentityFromSeed(v.Tenant, v.To, secret.New(v.ReceiverSeed))
	require.NoError(t, err)
	sender.own().sealer.random = bytes.NewReader(append(bytes.Clone(v.Ephemeral), v.Salt...))
	e := v.envelope()
	v.Sealed, err = sender.Seal(receiver.Public(), e)
	require.NoError(t, err)
	v.Canonical, err = Encode(e)
	require.NoError(t, err)
	v.Context = contextKind + v.Kind
	v.Signature = sender.Sign(v.Context, v.Canonical)
	v.SenderSignKey, v.ReceiverSealKey = sender.Public().SignKey, receiver.Public().SealKey
	v.Header = v.Sealed[:len(v.Sealed)-len(v.Canonical)-64-16]
	eph, err := ecdh.X25519().NewPrivateKey(v.Ephemeral)
	require.NoError(t, err)
	z, err := exchange(eph, v.ReceiverSealKey)
	require.NoError(t, err)
	v.Shared = z[:]
	v.KeyAndNonce, err = keyAndNonce(z, eph.PublicKey().Bytes(), v.ReceiverSealKey, v.Header)
	require.NoError(t, err)
}

func pattern(first byte, n int) bin {
	b := make(bin, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

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

// TestVectors: the format is what testdata/vectors.json publishes. A failure here means that messages of released versions are no longer understood.
func TestVectors(t *testing.T) {
	if *update {
		cancel := vector{Name: "cancel to a node", Tenant: "default", From: Controller, To: "mi-0123456789abcdef0", Kind: "cancel", ID: "6c5e3f0a-1f2b-4c3d-8e4f-5a6b7c8d9e0f",
			Attempt: 1, Epoch: 7, NotBefore: 1795510800000, NotAfter: 1795514400000, Body: `{"command":"c-1","attempt":1,"detail":"Cancelled"}`,
			SenderSeed: pattern(0, 64), ReceiverSeed: pattern(64, 64), Ephemeral: pattern(128, 32), Salt: pattern(160, 32)}
		hello := vector{Name: "hello to the control plane", Tenant: "tenant-2", From: "mi-0123456789abcdef0", To: Controller, Kind: "hello", ID: "x", Epoch: 1<<64 - 1,
			NotBefore: 0, NotAfter: maxMillis, Body: `{"session":"s","seq":1,"sent":"2026-11-24T09:00:00Z"}`,
			SenderSeed: pattern(64, 64), ReceiverSeed: pattern(0, 64), Ephemeral: pattern(192, 32), Salt: pattern(224, 32)}
		empty := vector{Name: "no body, longest names", Tenant: string(bytes.Repeat([]byte("t"), 128)), From: Controller, To: string(bytes.Repeat([]byte("n"), 128)), Kind: "ack",
			ID: string(bytes.Repeat([]byte("i"), 128)), Attempt: MaxAttempt, NotBefore: 1, NotAfter: 1,
			SenderSeed: pattern(1, 64), ReceiverSeed: pattern(65, 64), Ephemeral: pattern(129, 32), Salt: pattern(161, 32)}
		all := []vector{cancel, hello, empty}
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

			sender, err := IdentityFromSeed(want.Tenant, want.From, secret.New(want.SenderSeed))
			require.NoError(t, err)
			receiver, err := IdentityFromSeed(want.Tenant, want.To, secret.New(want.ReceiverSeed))
			require.NoError(t, err)
			e, err := receiver.Open(want.Sealed, func(string) (Peer, error) { return sender.Public(), nil }, time.UnixMilli(want.NotBefore), 0)
			require.NoError(t, err)
			w := want.envelope()
			if len(w.Body) == 0 {
				w.Body = nil
			}
			require.Equal(t, w, e)
		})
	}
}

// FuzzOpen: whatever is changed about a captured message, it does not open, unless it is the message itself.
func FuzzOpen(f *testing.F) {
	v := published(f)[0]
	sender, err := IdentityFromSeed(v.Tenant, v.From, secret.New(v.SenderSeed))
	require.NoError(f, err)
	receiver, err := IdentityFromSeed(v.Tenant, v.To, secret.New(v.ReceiverSeed))
	require.NoError(f, err)
	f.Add([]byte(v.Sealed))
	f.Add([]byte(v.Sealed[:100]))
	f.Add([]byte(v.Canonical))
	f.Add([]byte("fws\x01\x00\x07default\x00\x04mi-1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := receiver.Open(data, know(sender), time.UnixMilli(v.NotBefore), 0)
		if err == nil {
			require.Equal(t, []byte(v.Sealed), data, "a message that nobody sealed opened")
			require.Equal(t, v.envelope(), got)
			return
		}
		require.Equal(t, Envelope{}, got)
		require.Less(t, len(err.Error()), 1000)
	})
}

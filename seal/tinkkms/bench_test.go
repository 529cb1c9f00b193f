package tinkkms_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/tinkkms"
	"github.com/fleetwright/fleetwright/secret"
)

// BenchmarkSeal1K compares with Tink's own envelope under the same KMS in memory.
func BenchmarkSeal1K(b *testing.B) { benchmark(b, "seal") }

// BenchmarkOpen1K opens with the data key unknown, as Tink always does.
func BenchmarkOpen1K(b *testing.B) { benchmark(b, "open") }

// BenchmarkOpenKnown1K opens with the data key remembered.
func BenchmarkOpenKnown1K(b *testing.B) { benchmark(b, "known") }

func benchmark(b *testing.B, what string) {
	client, uri := fakeClient(b), newURI(b)
	kek, err := client.GetAEAD(uri)
	require.NoError(b, err)
	w, err := tinkkms.New(uri, nil, ready{client, kek})
	require.NoError(b, err)
	box := seal.NewBox(w, nil)
	tinks := aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kek)
	value, record := make([]byte, 1024), seal.Binding{Tenant: "default", Kind: "parameter", Name: "/db/password", Version: 3, Type: "SecureString"}
	sealed := func() []byte {
		s, err := box.Prepare(b.Context(), "", record)
		if err != nil {
			b.Fatal(err)
		}
		c, err := s.Seal(secret.New(value))
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	ad := []byte("default/parameter//db/password/3/SecureString")
	ours := sealed()
	theirs, err := tinks.Encrypt(value, ad)
	require.NoError(b, err)
	least, limit := time.Hour, time.Hour // what an undisturbed call takes
	b.ReportAllocs()
	for b.Loop() {
		t0 := time.Now()
		if what == "seal" {
			sealed()
		} else {
			if what == "open" {
				box.Forget()
			}
			if _, err := box.Open(b.Context(), ours, record); err != nil {
				b.Fatal(err)
			}
		}
		t1 := time.Now()
		if what == "seal" {
			_, err = tinks.Encrypt(value, ad)
		} else {
			_, err = tinks.Decrypt(theirs, ad)
		}
		if err != nil {
			b.Fatal(err)
		}
		limit, least = min(limit, time.Since(t1)), min(least, t1.Sub(t0))
	}
	b.ReportMetric(float64(least)/float64(limit), "ratio")
	b.ReportMetric(float64(least.Nanoseconds()), "least-ns")
}

// ready is a client whose AEAD is at hand, as those of real services are: Tink's fake one reads a keyset for each.
type ready struct {
	registry.KMSClient
	kek tink.AEAD
}

func (r ready) GetAEAD(string) (tink.AEAD, error) { return r.kek, nil }

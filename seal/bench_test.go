package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/secret"
)

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

package message

import (
	"crypto/ed25519"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The bare signature of the same bytes, measured in the same run, is what no signed message is faster than.

func benchSeal(b *testing.B, receivers int) {
	w := newWorld(b)
	peers := make([]Peer, receivers)
	for i := range peers {
		peers[i] = identity(b, "default", "mi-"+strconv.Itoa(i)).Public()
	}
	e := run("m-1")
	e.Body = make([]byte, 1024)
	signed := make([]byte, 1200)
	ours, limit := time.Hour, time.Hour // what an undisturbed call takes
	for i := 0; b.Loop(); i++ {
		t0 := time.Now()
		_, err := w.controller.Seal(peers[i%receivers], e)
		t1 := time.Now()
		_ = ed25519.Sign(w.controller.own().sign, signed)
		limit, ours = min(limit, time.Since(t1)), min(ours, t1.Sub(t0))
		require.NoError(b, err)
		if receivers > 1 {
			w.controller.own().sealer.now = nil // a new ephemeral key: the dearest case
		}
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
	b.ReportMetric(float64(ours.Nanoseconds()), "least-ns")
}

// BenchmarkSealKnown: sign and seal for a receiver that was written to a moment ago.
func BenchmarkSealKnown(b *testing.B) { benchSeal(b, 1) }

// BenchmarkSealFresh: sign and seal with a new ephemeral key each time.
func BenchmarkSealFresh(b *testing.B) { benchSeal(b, 64) }

func benchOpen(b *testing.B, known bool) {
	w := newWorld(b)
	e := run("m-1")
	e.Body = make([]byte, 1024)
	data := seal(b, w.controller, w.node, e)
	book := know(w.controller)
	signed := make([]byte, 1200)
	sig := ed25519.Sign(w.controller.own().sign, signed)
	public := ed25519.PublicKey(w.controller.Public().SignKey)
	ours, limit := time.Hour, time.Hour // what an undisturbed call takes
	for b.Loop() {
		if !known {
			w.node.own().opened = &shares{limit: maxOpened}
		}
		t0 := time.Now()
		_, err := w.node.Open(data, book, start, 0)
		t1 := time.Now()
		ed25519.Verify(public, signed, sig)
		limit, ours = min(limit, time.Since(t1)), min(ours, t1.Sub(t0))
		require.NoError(b, err)
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
	b.ReportMetric(float64(ours.Nanoseconds()), "least-ns")
}

// BenchmarkOpenKnown: open and verify a message of a sender whose ephemeral key was met a moment ago.
func BenchmarkOpenKnown(b *testing.B) { benchOpen(b, true) }

// BenchmarkOpenFresh: open and verify with a new ephemeral key.
func BenchmarkOpenFresh(b *testing.B) { benchOpen(b, false) }

// BenchmarkPlain: what a simulation pays.
func BenchmarkPlain(b *testing.B) {
	w := newWorld(b)
	from, at := Plain{"default", Controller}, Plain{"default", "mi-1"}
	to, book := w.node.Public(), know(w.controller)
	e := run("m-1")
	e.Body = make([]byte, 1024)
	for b.Loop() {
		data, err := from.Seal(to, e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := at.Open(data, book, start, 0); err != nil {
			b.Fatal(err)
		}
	}
}

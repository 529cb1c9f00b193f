package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// TestEntriesAreStoredAsJSONHasThem: what is written by hand is what encoding/json writes, byte for byte.
func TestEntriesAreStoredAsJSONHasThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		str := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[ -~]{0,20}`), rapid.String())
		e := Entry{Tenant: str.Draw(t, "tenant"), Principal: str.Draw(t, "principal"), Action: str.Draw(t, "action"), Resource: str.Draw(t, "resource"), Outcome: Outcome(str.Draw(t, "outcome")),
			Code: fault.Code(str.Draw(t, "code")), Digest: str.Draw(t, "digest"), IDs: rapid.MapOfN(str, str, 0, 4).Draw(t, "ids"), Writer: str.Draw(t, "writer"),
			Segment: rapid.Uint64().Draw(t, "segment"), N: rapid.Uint64().Draw(t, "n"), Hash: rapid.SliceOfN(rapid.Byte(), 0, 32).Draw(t, "hash")}
		e.Time = time.Unix(rapid.Int64Range(-70_000_000_000, 300_000_000_000).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "utc") {
			e.Time = e.Time.UTC()
		}
		if rapid.Bool().Draw(t, "nil") {
			e.Hash = nil
		}
		want, werr := json.Marshal(e)
		got, err := e.appendJSON([]byte("x"))
		require.Equal(t, werr == nil, err == nil)
		if err == nil {
			require.Equal(t, "x"+string(want), string(got))
		}
	})
}

// TestWhatIsPlainIsClean: the short way of clip leaves alone what the long way would.
func TestWhatIsPlainIsClean(t *testing.T) {
	for c := range 0x250 {
		s := "a" + string(rune(c)) + "b"
		if plain(s) {
			require.Equal(t, s, fault.Clean(s))
		}
	}
	require.False(t, plain("\x7f"))
	require.Len(t, clip(strings.Repeat("a", MaxField)), MaxField)
	require.LessOrEqual(t, len(clip(strings.Repeat("a", MaxField+1))), MaxField)
}

// BenchmarkRead compares a read that is recorded through the buffer, its share of the flush included, with the bare hash and JSON of its entry by encoding/json.
func BenchmarkRead(b *testing.B) {
	l := New(Config{Store: memstore.New(), Authorize: access.AllowAll{}})
	ctx := as("t", "alice")
	e := Entry{Action: "ssm:GetParameter", Resource: "parameter/web/db/host"}
	for b.Loop() {
		if err := l.Read(ctx, e); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, l.Flush(ctx))
	const n = 2000
	least := func(f func()) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			for range n {
				f()
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	full := l.fill(ctx, e)
	full.Hash = make([]byte, 32)
	read := least(func() {
		if err := l.Read(ctx, e); err != nil {
			b.Fatal(err)
		}
	})
	limit := least(func() {
		full.Hash = sum(full, full.Hash)
		json.Marshal(full) //nolint:errcheck // it has been stored before
	})
	b.ReportMetric(float64(read)/float64(limit), "ratio")
	b.ReportMetric(float64(read.Nanoseconds())/n, "ns/read")
}

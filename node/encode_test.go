package node

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/target"
)

func drawRecord(t *rapid.T) nodeRecord {
	s := rapid.String()
	n := nodeRecord{
		ID: s.Draw(t, "id"), Name: s.Draw(t, "name"), Activation: s.Draw(t, "activation"), Token: s.Draw(t, "token"), Role: s.Draw(t, "role"),
		SignKey: bytesOf(s.Draw(t, "sign")), SealKey: bytesOf(s.Draw(t, "seal")), Serial: rapid.Uint64().Draw(t, "serial"), Assurance: target.Assurance(s.Draw(t, "assurance")),
		Facts: message.Facts{AgentName: s.Draw(t, "a"), AgentVersion: s.Draw(t, "b"), PlatformType: s.Draw(t, "c"), PlatformName: s.Draw(t, "d"), PlatformVersion: s.Draw(t, "e"),
			Architecture: s.Draw(t, "f"), ComputerName: s.Draw(t, "g"), IPAddress: s.Draw(t, "h"), BootID: s.Draw(t, "i")},
	}
	if rapid.Bool().Draw(t, "registered") {
		n.Registered = time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	}
	if tags := rapid.MapOf(s, s).Draw(t, "tags"); len(tags) > 0 {
		n.Tags = tags
	}
	if caps := rapid.SliceOf(s).Draw(t, "caps"); len(caps) > 0 {
		n.Facts.Capabilities = caps
	}
	return n
}

func TestNodeRecordsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawRecord(t)
		b := n.encode()
		var got nodeRecord
		if !got.decode(b) {
			t.Fatal("not read back")
		}
		if d := cmp.Diff(n, got); d != "" {
			t.Fatal(d)
		}
		var short nodeRecord
		if short.decode(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]) {
			t.Fatal("a record that was cut off was read")
		}
	})
	var n nodeRecord
	require.False(t, n.decode(nil))
	require.False(t, n.decode([]byte{nodeV1 + 1}))
	_, err := nodeTable{}.open([]byte("k"), (*record.Codec)(nil).Seal([]byte("k"), []byte("{}")))
	require.ErrorContains(t, err, "newer release")
}

func FuzzNodeRecord(f *testing.F) {
	f.Add((&nodeRecord{ID: "mi-1", Tags: map[string]string{"a": "b"}, Facts: message.Facts{Capabilities: []string{"x", "y"}}, Serial: math.MaxUint64, Registered: time.Unix(1e9, 5)}).encode())
	f.Add((&nodeRecord{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var n, again nodeRecord
		if !n.decode(b) {
			return
		}
		require.True(t, again.decode(n.encode()))
		require.Empty(t, cmp.Diff(n, again))
	})
}

package agent

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
)

// F6: whatever bit of a node's file is flipped, wherever it ends, the file is refused or means what it meant. One of an older release, without a checksum, is read.
func TestAFlippedNodeFileIsRefused(t *testing.T) {
	_, files := newOffice(t)
	older := files[nodeFile]
	_, err := ringOf(older, "dir")
	require.NoError(t, err)
	var st nodeState
	require.NoError(t, json.Unmarshal(older, &st))
	st.Serial, st.Before = 3, &message.Peer{Tenant: "default", Name: message.Controller, SignKey: st.Controller.SignKey, SealKey: st.Controller.SealKey}
	good, err := st.encode()
	require.NoError(t, err)
	meaning := func(b []byte) (string, error) {
		k, err := ringOf(b, "dir")
		if err != nil {
			return "", err
		}
		out, err := json.Marshal([]any{k.own.Public(), k.serial, k.controller, k.epoch, k.before, k.next == nil})
		return string(out), err
	}
	want, err := meaning(good)
	require.NoError(t, err)
	tried, wrong := 0, 0
	try := func(b []byte) {
		tried++
		got, err := meaning(b)
		if err != nil && fault.CodeOf(err) != fault.DataCorrupt || err == nil && got != want {
			wrong++
			t.Errorf("%s: %v", b, err)
		}
	}
	for bit := range 8 * len(good) {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		try(b)
	}
	for cut := range good {
		try(good[:cut])
	}
	testenv.Figure(t, "bits flipped and bytes cut off in a node's file", tried, wrong)
}

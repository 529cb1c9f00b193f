package message_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/message"
)

func TestAskAndAnswerRoundTrip(t *testing.T) {
	roundTrip(t, message.KindAsk, message.Ask{ID: "a-1", Op: "PutInventory", Body: []byte{0x1f, 0x8b}})
	roundTrip(t, message.KindAnswer, message.Answer{ID: "a-1", Code: "ValidationException", Message: "no", Body: []byte{1}})
}

func TestPackKeepsEveryByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "in")
		packed, err := message.Pack(in)
		require.NoError(t, err)
		out, err := message.Unpack(packed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(in, out))
	})
}

func TestPackedBodiesAreBounded(t *testing.T) {
	_, err := message.Pack(make([]byte, message.MaxUnpacked+1))
	require.ErrorIs(t, err, message.ErrMalformed)
	noise := make([]byte, 2*message.MaxPacked)
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	_, err = message.Pack(noise)
	require.ErrorIs(t, err, message.ErrMalformed)
	require.ErrorContains(t, err, "send less at once")

	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	for range message.MaxUnpacked>>20 + 1 {
		w.Write(make([]byte, 1<<20)) //nolint:errcheck // a buffer
	}
	require.NoError(t, w.Close())
	whole, err := message.Pack([]byte(strings.Repeat("inventory ", 100)))
	require.NoError(t, err)
	for what, b := range map[string][]byte{"a bomb": bomb.Bytes(), "nothing": nil, "no gzip": []byte("{}"), "a cut": whole[:len(whole)-9], "too much": make([]byte, message.MaxPacked+1),
		"a wrong sum": append(bytes.Clone(whole[:len(whole)-8]), 0, 0, 0, 0, 0, 0, 0, 0)} {
		_, err := message.Unpack(b)
		require.ErrorIs(t, err, message.ErrMalformed, what)
	}
}

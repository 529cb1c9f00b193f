package natstransport

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/transport"
)

// FuzzToken: any two strings have two tokens, which are one element of a subject each, and only what token makes is taken back.
func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "default", "a.b", "*", ">", " ", "=", "=41", "=2E", "=2e", "ü", "\x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok := token(s)
		require.False(t, strings.ContainsAny(tok, ".*> \t\r\n\x00$"), "%q", tok)
		back, ok := untoken(tok)
		require.True(t, ok)
		require.Equal(t, s, back)
		if b, ok := untoken(s); ok {
			require.Equal(t, s, token(b), "one spelling only")
		}
	})
}

// FuzzFrame: what is taken is written again as the same bytes.
func FuzzFrame(f *testing.F) {
	for k := kindHello; k <= lastKind; k++ {
		fr := frame{kind: k, session: newID(), plane: newID(), ack: 7}
		switch k {
		case kindData:
			fr.seq, fr.flags, fr.data = 3, flagFirst, []byte("data")
		case kindProbe:
			fr.seq = 1
		case kindHello, kindBeat, kindWelcome, kindRoll:
			fr.data = appendMillis(time.Second)
		}
		b := fr.encode()
		_, err := parseFrame(b)
		require.NoError(f, err, k)
		f.Add(b)
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := parseFrame(b)
		if err != nil {
			return
		}
		require.True(t, bytes.Equal(b, fr.encode()))
	})
}

// Frames that are lost, repeated and made up: what comes out of a flow was sent, whole, in order and once; the window opens again for what was handled, and an acknowledgement of something that was never
// sent opens nothing.
func TestAFlowOverABadWay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := limits{16, 4000}
		out, in := newFlow(sessionID{1}, planeID{2}, l), newFlow(sessionID{1}, planeID{2}, l)
		loss := rapid.Float64Range(0, 0.3).Draw(rt, "loss")
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		var sent, got [][]byte
		now := time.Unix(0, 0)
		arrive := func(b []byte) {
			fr, err := parseFrame(b)
			require.NoError(rt, err)
			if data, whole := in.take(&fr); whole {
				got = append(got, bytes.Clone(data))
			}
			if ack := in.handled(&fr); ack != nil && dice.Float64() >= loss {
				a, err := parseFrame(ack)
				require.NoError(rt, err)
				out.acknowledged(a.ack)
			}
		}
		for i := range rapid.IntRange(1, 200).Draw(rt, "messages") {
			data := bytes.Repeat([]byte{byte(i)}, 1+dice.IntN(2500))
			for try := 0; ; try++ {
				now = now.Add(probeEvery)
				var way [][]byte
				err := out.send(data, 1000, now, func(frames [][]byte) error { way = frames; return nil })
				for _, b := range way {
					if dice.Float64() < loss {
						continue
					}
					arrive(b)
					if dice.Float64() < loss {
						arrive(b)
					}
				}
				if err == nil {
					sent = append(sent, data)
					break
				}
				require.ErrorIs(rt, err, transport.ErrBusy)
				require.Less(rt, try, 1000, "the window never opens again")
			}
			if dice.Float64() < 0.1 {
				out.acknowledged(dice.Uint32())
			}
			require.LessOrEqual(rt, out.bytes, l.bytes)
			require.LessOrEqual(rt, len(in.part), l.bytes)
		}
		at := 0
		for _, g := range got {
			for at < len(sent) && !bytes.Equal(sent[at], g) {
				at++
			}
			require.Less(rt, at, len(sent), "something came that was not sent, or not in its turn")
			at++
		}
		if loss == 0 {
			require.Equal(rt, len(sent), len(got))
		}
	})
}

// A piece of a message that is larger than any message may be is dropped, whatever its sender says.
func TestAMessageOfTooManyPieces(t *testing.T) {
	f := newFlow(sessionID{}, planeID{}, limits{1, 1})
	for i := range uint32(2000) {
		fr := frame{kind: kindData, seq: i + 1, data: make([]byte, 1000)}
		if i == 0 {
			fr.flags = flagFirst
		}
		_, whole := f.take(&fr)
		require.False(t, whole)
		require.LessOrEqual(t, len(f.part), transport.MaxMessage)
	}
}

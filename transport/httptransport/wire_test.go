package httptransport

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
)

// What parses is exactly what its parts encode to: one shape, nothing left over, nothing ignored.
func FuzzHandshake(f *testing.F) {
	f.Add(hello{binding: bindExporter}.append(nil))
	f.Add(auth{addr: transport.Address{Tenant: "default", Name: "mi-1"}}.append(nil))
	f.Add(welcome{verdict: accepted, keepAlive: time.Second}.append(nil))
	f.Add(welcome{verdict: refused, token: make([]byte, lenToken)}.append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHello(b); err == nil {
			require.Equal(t, b, h.append(nil))
		}
		if a, err := parseAuth(b); err == nil {
			require.Equal(t, b, a.append(nil))
			require.True(t, validAddress(a.addr))
			require.LessOrEqual(t, len(b), maxAuth)
		}
		for _, token := range []int{0, lenToken} {
			if w, err := parseWelcome(b, token); err == nil {
				require.Equal(t, b, w.append(nil))
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, []byte("one")), nil))
	f.Add([]byte{0, 0, 0, 1})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := parseFrames(b)
		if err != nil {
			require.Nil(t, frames)
			return
		}
		require.NotEmpty(t, frames)
		var again []byte
		for _, data := range frames {
			require.LessOrEqual(t, len(data), transport.MaxMessage)
			again = appendFrame(again, data)
		}
		require.Equal(t, b, again)
	})
}

func TestFramesThatAreNone(t *testing.T) {
	for name, b := range map[string][]byte{
		"none":       nil,
		"cut length": {0, 0, 0},
		"cut data":   {0, 0, 0, 1},
		"too long":   append(binary.BigEndian.AppendUint32(nil, transport.MaxMessage+1), make([]byte, transport.MaxMessage+1)...),
		"left over":  append(appendFrame(nil, []byte("x")), 0),
	} {
		_, err := parseFrames(b)
		require.ErrorIs(t, err, errShape, name)
	}
	frames, err := parseFrames(appendFrame(nil, make([]byte, transport.MaxMessage)))
	require.NoError(t, err)
	require.Len(t, frames[0], transport.MaxMessage)
}

func TestWelcomesThatAreNone(t *testing.T) {
	good := welcome{verdict: accepted, keepAlive: time.Second}.append(nil)
	_, err := parseWelcome(good, 0)
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"none": nil, "short": good[:5], "long": append(bytes.Clone(good), 0), "version": append([]byte{2}, good[1:]...), "verdict": append([]byte{1, 3}, good[2:]...),
		"no keep-alive": welcome{verdict: accepted}.append(nil), "a keep-alive of days": welcome{verdict: accepted, keepAlive: 48 * time.Hour}.append(nil),
	} {
		_, err := parseWelcome(b, 0)
		require.ErrorIs(t, err, errShape, name)
	}
}

func TestSignedFieldsCannotBeShifted(t *testing.T) {
	var c [lenChallenge]byte
	seen := make(map[string]bool)
	for _, a := range []transport.Address{{Tenant: "ab", Name: "c"}, {Tenant: "a", Name: "bc"}, {Tenant: "abc"}, {Name: "abc"}} {
		for _, medium := range []string{mediumPoll, mediumWebsocket} {
			for _, binding := range [][]byte{nil, make([]byte, lenExporter)} {
				s := string(signed(medium, a, c, binding))
				require.False(t, seen[s])
				seen[s] = true
			}
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"mi-0123456789abcdef0": true, "i_A.b": true, "controller": false, "": false, "a/b": false, "a b": false, "a\x00": false, "ä": false, "..": true, strings.Repeat("n", 128): true, strings.Repeat("n", 129): false,
	} {
		require.Equal(t, ok, validAddress(transport.Address{Tenant: "default", Name: name}), "%q", name)
	}
}

// The queue of one connection: bounded by count and by bytes, what is being written counted in, in order, and nothing after its end.
func TestOutbox(t *testing.T) {
	o := &outbox{maxCount: 3, maxBytes: 10, wake: make(chan struct{}, 1)}
	data := []byte("abcd")
	require.NoError(t, o.put(data))
	data[0] = 'X'
	require.NoError(t, o.put([]byte("efgh")))
	require.ErrorIs(t, o.put([]byte("ijk")), transport.ErrBusy)
	require.NoError(t, o.put([]byte("ij")))
	require.ErrorIs(t, o.put(nil), transport.ErrBusy)
	<-o.wake
	batch := o.take()
	require.Equal(t, [][]byte{[]byte("abcd"), []byte("efgh"), []byte("ij")}, batch)
	require.Empty(t, o.take())
	require.NoError(t, o.put([]byte("0123456789")))
	<-o.close()
	require.ErrorIs(t, o.put(nil), transport.ErrNotConnected)
	require.Empty(t, o.take())

	started, release := make(chan struct{}), make(chan bool)
	var got [][]byte
	w := &outbox{maxCount: 2, maxBytes: 100, write: func(b [][]byte) bool {
		got = append(got, b...)
		started <- struct{}{}
		return <-release
	}}
	require.NoError(t, w.put([]byte("1")))
	<-started
	require.NoError(t, w.put([]byte("2")))
	require.ErrorIs(t, w.put([]byte("3")), transport.ErrBusy, "what is being written counts")
	release <- true
	<-started
	require.NoError(t, w.put([]byte("3")))
	ended := w.close()
	select {
	case <-ended:
		t.Fatal("closed while it writes")
	default:
	}
	release <- true
	<-ended
	<-w.close()
	require.Equal(t, [][]byte{[]byte("1"), []byte("2")}, got)

	broken := &outbox{maxCount: 2, maxBytes: 100, write: func([][]byte) bool { return false }}
	require.NoError(t, broken.put(nil))
	<-broken.close()
	require.ErrorIs(t, broken.put(nil), transport.ErrNotConnected)
}

// A batch is as large as fits, and at least one message.
func TestOutboxBatches(t *testing.T) {
	o := &outbox{maxCount: 100, maxBytes: 100 << 20, wake: make(chan struct{}, 1)}
	for range 10 {
		require.NoError(t, o.put(make([]byte, transport.MaxMessage)))
	}
	require.Len(t, o.take(), 3)
	o2 := &outbox{maxCount: 100, maxBytes: 100 << 20, wake: make(chan struct{}, 1)}
	require.NoError(t, o2.put(make([]byte, 2*maxBatch)))
	require.Len(t, o2.take(), 1)
}

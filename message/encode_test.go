package message_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

func sample() message.Envelope {
	return message.Envelope{Tenant: "default", From: message.Controller, To: "mi-1", Kind: message.KindRun, ID: "m-1", Attempt: 2, Epoch: 3, NotBefore: t0, NotAfter: t0.Add(time.Hour),
		Body: []byte("{}")}
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}`)
	rapid.Check(t, func(t *rapid.T) {
		nb := rapid.Int64Range(0, 253402300799999).Draw(t, "nb")
		want := message.Envelope{Tenant: name.Draw(t, "tenant"), From: name.Draw(t, "from"), To: name.Draw(t, "to"), Kind: message.Kind(rapid.StringMatching(`[a-z0-9-]{1,32}`).Draw(t, "kind")),
			ID: name.Draw(t, "id"), Attempt: rapid.IntRange(0, message.MaxAttempt).Draw(t, "attempt"), Epoch: rapid.Uint64().Draw(t, "epoch"),
			NotBefore: time.UnixMilli(nb).UTC(), NotAfter: time.UnixMilli(rapid.Int64Range(nb, 253402300799999).Draw(t, "na")).UTC(),
			Body: rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "body")}
		b, err := message.Encode(want)
		require.NoError(t, err)
		got, err := message.Decode(b)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
		tenant, to, err := message.Header(b)
		require.NoError(t, err)
		require.Equal(t, []string{want.Tenant, want.To}, []string{tenant, to})
	})
}

func TestEncodeCutsTimesToTheMillisecond(t *testing.T) {
	e := sample()
	e.NotBefore = t0.Add(1999 * time.Microsecond).In(time.FixedZone("x", 3600))
	b, err := message.Encode(e)
	require.NoError(t, err)
	got, err := message.Decode(b)
	require.NoError(t, err)
	require.Equal(t, t0.Add(time.Millisecond), got.NotBefore)
	require.Equal(t, time.UTC, got.NotBefore.Location())
}

func TestDecodeSharesNoBytes(t *testing.T) {
	b, err := message.Encode(sample())
	require.NoError(t, err)
	e, err := message.Decode(b)
	require.NoError(t, err)
	clear(b)
	want := sample()
	require.Equal(t, want, e)
}

// TestR20LimitsOfFields: each field at its limit, and one beyond.
func TestR20LimitsOfFields(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	for what, c := range map[string]struct{ good, bad func(e *message.Envelope) }{
		"tenant":      {func(e *message.Envelope) { e.Tenant = text(128) }, func(e *message.Envelope) { e.Tenant = text(129) }},
		"from":        {func(e *message.Envelope) { e.From = text(128) }, func(e *message.Envelope) { e.From = text(129) }},
		"to":          {func(e *message.Envelope) { e.To = text(128) }, func(e *message.Envelope) { e.To = text(129) }},
		"id":          {func(e *message.Envelope) { e.ID = text(128) }, func(e *message.Envelope) { e.ID = text(129) }},
		"kind":        {func(e *message.Envelope) { e.Kind = message.Kind(text(32)) }, func(e *message.Envelope) { e.Kind = message.Kind(text(33)) }},
		"empty id":    {func(e *message.Envelope) { e.ID = "x" }, func(e *message.Envelope) { e.ID = "" }},
		"empty kind":  {func(e *message.Envelope) { e.Kind = "x" }, func(e *message.Envelope) { e.Kind = "" }},
		"body":        {func(e *message.Envelope) { e.Body = make([]byte, message.MaxBody) }, func(e *message.Envelope) { e.Body = make([]byte, message.MaxBody+1) }},
		"attempt":     {func(e *message.Envelope) { e.Attempt = message.MaxAttempt }, func(e *message.Envelope) { e.Attempt = message.MaxAttempt + 1 }},
		"negative":    {func(e *message.Envelope) { e.Attempt = 0 }, func(e *message.Envelope) { e.Attempt = -1 }},
		"order":       {func(e *message.Envelope) { e.NotAfter = e.NotBefore }, func(e *message.Envelope) { e.NotAfter = e.NotBefore.Add(-time.Millisecond) }},
		"first time":  {func(e *message.Envelope) { e.NotBefore = time.UnixMilli(0) }, func(e *message.Envelope) { e.NotBefore = time.UnixMilli(-1) }},
		"last time":   {func(e *message.Envelope) { e.NotAfter = time.UnixMilli(253402300799999) }, func(e *message.Envelope) { e.NotAfter = time.UnixMilli(253402300800000) }},
		"path":        {func(e *message.Envelope) { e.To = "a..b" }, func(e *message.Envelope) { e.To = "../a" }},
		"slash":       {func(e *message.Envelope) { e.From = "a:b@c-d_e.f" }, func(e *message.Envelope) { e.From = "a/b" }},
		"control":     {func(e *message.Envelope) { e.ID = "_" }, func(e *message.Envelope) { e.ID = "a\nb" }},
		"beginning":   {func(e *message.Envelope) { e.ID = "0-" }, func(e *message.Envelope) { e.ID = "-0" }},
		"other alpha": {func(e *message.Envelope) { e.ID = "a" }, func(e *message.Envelope) { e.ID = "ä" }},
		"upper kind":  {func(e *message.Envelope) { e.Kind = "run-2" }, func(e *message.Envelope) { e.Kind = "Run" }},
	} {
		e := sample()
		c.good(&e)
		b, err := message.Encode(e)
		require.NoError(t, err, what)
		_, err = message.Decode(b)
		require.NoError(t, err, what)
		c.bad(&e)
		_, err = message.Encode(e)
		require.ErrorIs(t, err, message.ErrMalformed, what)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestDecodeRefusesEverythingButTheOneEncoding(t *testing.T) {
	good, err := message.Encode(sample())
	require.NoError(t, err)
	for n := range good {
		_, err := message.Decode(good[:n])
		require.ErrorIs(t, err, message.ErrMalformed, "cut at %d", n)
	}
	_, err = message.Decode(append(bytes.Clone(good), 0))
	require.ErrorIs(t, err, message.ErrMalformed)
	require.ErrorContains(t, err, "follow the body")

	// A huge length that would overflow, in each place of a length.
	for at := range good[:len(good)-3] {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[at:], 0xffffffff)
		if e, err := message.Decode(b); err == nil {
			again, err := message.Encode(e)
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
	}
	_, err = message.Decode(make([]byte, message.MaxEnvelope+1))
	require.ErrorIs(t, err, message.ErrMalformed)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestEveryBitOfAnEncodingIsMeant(t *testing.T) {
	good, err := message.Encode(sample())
	require.NoError(t, err)
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if e, err := message.Decode(b); err == nil {
			require.NotEmpty(t, cmp.Diff(sample(), e), "bit %d", i)
		}
	}
}

func TestHeaderIsReadWithoutOpening(t *testing.T) {
	p := newPair(t)
	data, err := p.controller.Seal(p.node.Public(), cancelOf(t))
	require.NoError(t, err)
	tenant, to, err := message.Header(data)
	require.NoError(t, err)
	require.Equal(t, "default", tenant)
	require.Equal(t, p.node.Name(), to)
	for _, bad := range []string{"", "fw", "fws\x01", "fws\x02\x00\x01a\x00\x01b", "fws\x01\x00\x01", "fws\x01\x00\x01a\x00\x00", "fws\x01\x00\x01a\x00\x02..", "fwe\x01\x00\x01a\x00\x01b", "GET / HTTP/1.1\r\n"} {
		_, _, err := message.Header([]byte(bad))
		require.ErrorIs(t, err, message.ErrMalformed, "%q", bad)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := message.Encode(sample())
	require.NoError(f, err)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte("fwe\x01"))
	e := sample()
	e.Body, e.Epoch, e.Attempt = nil, 1<<63, 0
	b, err = message.Encode(e)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := message.Decode(data)
		if err != nil {
			require.ErrorIs(t, err, message.ErrMalformed)
			require.Equal(t, message.Envelope{}, e)
			return
		}
		again, err := message.Encode(e)
		require.NoError(t, err)
		require.Equal(t, data, again, "two encodings of one envelope")
		tenant, to, err := message.Header(data)
		require.NoError(t, err)
		require.Equal(t, []string{e.Tenant, e.To}, []string{tenant, to})
	})
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"command":"c","attempt":1,"seq":3,"offsets":{"0o":5}}`))
	f.Add([]byte(`{"offsets":{"0o":5,"0o":6},"unknown":[[[]]]}`))
	f.Add([]byte(`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ack, err := message.Unmarshal[message.Ack](message.Envelope{Kind: message.KindAck, Body: body})
		if err != nil {
			require.ErrorIs(t, err, message.ErrMalformed)
			require.Empty(t, cmp.Diff(message.Ack{}, ack))
			return
		}
		b, err := message.Marshal(message.KindAck, ack)
		require.NoError(t, err)
		again, err := message.Unmarshal[message.Ack](message.Envelope{Kind: message.KindAck, Body: b})
		require.NoError(t, err)
		fixed, err := message.Marshal(message.KindAck, again)
		require.NoError(t, err)
		require.Equal(t, string(b), string(fixed))
	})
}

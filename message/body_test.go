package message_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

func roundTrip[T any](t *testing.T, kind message.Kind, want T) {
	t.Helper()
	for _, body := range []any{want, &want} {
		b, err := message.Marshal(kind, body)
		require.NoError(t, err)
		got, err := message.Unmarshal[T](message.Envelope{Kind: kind, Body: b})
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
	}
	for _, other := range []message.Kind{message.KindOffer, message.KindHello, "", "dance"} {
		if other == kind {
			continue
		}
		_, err := message.Marshal(other, want)
		require.ErrorIs(t, err, message.ErrMalformed)
		_, err = message.Unmarshal[T](message.Envelope{Kind: other, Body: []byte("{}")})
		require.ErrorIs(t, err, message.ErrMalformed)
	}
}

func TestBodiesRoundTrip(t *testing.T) {
	ref := message.Ref{Command: "c-1", Attempt: 1}
	facts := message.Facts{AgentName: "a", PlatformType: "Linux", Capabilities: []string{"aws:runShellScript", "feature:ENV_VAR"}}
	roundTrip(t, message.KindOffer, message.Offer{Ref: ref, Document: "D", Needs: []string{"feature:ENV_VAR"}, ExpiresAt: t0, Signed: true})
	roundTrip(t, message.KindReady, message.Ready{Ref: ref, Refused: message.DetailInvalidPlatform, Reason: "no pwsh"})
	roundTrip(t, message.KindRun, message.Run{Ref: ref, DocumentName: "D", DocumentHash: "00", Document: []byte("{\x00\xff"), Format: "JSON", Parameters: map[string][]string{"p": {"a", ""}},
		Documents: map[string]message.Included{"x": {Name: "x", Document: []byte("y")}}, ExpiresAt: t0, OutputLimit: 1 << 40, RefuseRaw: true})
	roundTrip(t, message.KindCancel, message.Cancel{Ref: ref, Detail: message.DetailCancelled})
	roundTrip(t, message.KindAck, message.Ack{Ref: ref, Seq: math.MaxUint64, Final: true, Offsets: map[string]int64{message.StreamID(3, true): math.MaxInt64}})
	roundTrip(t, message.KindHello, message.Hello{Session: "s", Seq: 1, Sent: t0, Facts: &facts, Running: []message.Ref{ref}, First: true})
	roundTrip(t, message.KindWelcome, message.Welcome{Session: "s", Seq: 1, Time: t0, Heartbeat: time.Minute})
	roundTrip(t, message.KindReport, message.Report{Ref: ref, Seq: 2, Detail: message.DetailSuccess, Started: t0, Ended: t0, Steps: []message.StepReport{{Name: "one", Status: message.Success,
		Stdout: message.Stream{Head: "hi\u2028", Size: 5}, Started: t0}}})
	roundTrip(t, message.KindKeys, message.Keys{Tenant: "default", Epoch: 2, SignKey: []byte{1}, SealKey: []byte{2}, Signature: []byte{3}, Proof: []byte{4}})
	roundTrip(t, message.KindPinned, message.Pinned{Epoch: 2})
	roundTrip(t, message.KindOutput, message.Output{Ref: ref, Step: 1, Stderr: true, Offset: 7, Data: []byte{0, 0xff}})
}

func TestUnmarshalIsStrictAndForgiving(t *testing.T) {
	cancel := func(body string) error {
		_, err := message.Unmarshal[message.Cancel](message.Envelope{Kind: message.KindCancel, Body: []byte(body)})
		return err
	}
	require.NoError(t, cancel(`{"command":"c","attempt":1,"new":{"of":["a","later","sender"]}}`), "unknown fields are of a newer sender")
	require.NoError(t, cancel(`{"reason":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \" {{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{"}`), "brackets in texts nest nothing")
	nested := func(n int) string { return `{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	require.NoError(t, cancel(nested(message.MaxDepth-1)))
	for what, body := range map[string]string{
		"nothing":              "",
		"null":                 "null",
		"a list":               "[]",
		"space before":         " {}",
		"something at the end": "{}{}",
		"a cut":                `{"command":"c"`,
		"a wrong type":         `{"command":1}`,
		"a huge number":        `{"attempt":1e999}`,
		"no UTF-8":             "{\"command\":\"\xff\"}",
		"depth":                nested(message.MaxDepth),
		"a depth bomb":         strings.Repeat(`{"x":`, 50_000) + "1" + strings.Repeat("}", 50_000),
		"size":                 `{"command":"` + strings.Repeat("c", message.MaxBody) + `"}`,
	} {
		require.ErrorIs(t, cancel(body), message.ErrMalformed, what)
	}
}

func TestMarshalRefusesWhatNoEnvelopeHolds(t *testing.T) {
	_, err := message.Marshal(message.KindOutput, message.Output{Data: make([]byte, message.MaxBody)})
	require.ErrorIs(t, err, message.ErrMalformed)
	b, err := message.Marshal(message.KindOutput, message.Output{Ref: message.Ref{Command: message.NewID(nil), Attempt: message.MaxAttempt}, Step: math.MaxInt32, Stderr: true, Offset: math.MaxInt64,
		Data: bytes.Repeat([]byte{0xff}, message.MaxPiece)})
	require.NoError(t, err, "the largest piece of output")
	require.Less(t, len(b), message.MaxBody)
	_, err = message.Marshal(message.KindRun, "text")
	require.ErrorIs(t, err, message.ErrMalformed)
	_, err = message.Marshal("", nil)
	require.ErrorIs(t, err, message.ErrMalformed)
	_, err = message.Marshal(message.KindHello, message.Hello{Sent: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	require.ErrorIs(t, err, message.ErrMalformed)
}

func TestEveryKindIsKnownOnce(t *testing.T) {
	for _, k := range []message.Kind{message.KindOffer, message.KindRun, message.KindCancel, message.KindAck, message.KindWelcome, message.KindHello, message.KindReady, message.KindReport, message.KindOutput, message.KindKeys, message.KindPinned} {
		require.True(t, k.Known(), k)
	}
	for _, k := range []message.Kind{"", "dance", "Run", "run "} {
		require.False(t, k.Known(), k)
	}
}

// TestStatusesOfDetails is AWS's table "Understanding command statuses", and Interrupted.
func TestStatusesOfDetails(t *testing.T) {
	for d, want := range map[message.Detail]struct {
		status          message.Status
		terminal, error bool
	}{
		message.DetailPending:           {message.Pending, false, false},
		message.DetailInProgress:        {message.InProgress, false, false},
		message.DetailDelayed:           {message.Delayed, false, false},
		message.DetailCancelling:        {message.Cancelling, false, false},
		message.DetailSuccess:           {message.Success, true, false},
		message.DetailDeliveryTimedOut:  {message.TimedOut, true, false},
		message.DetailExecutionTimedOut: {message.TimedOut, true, true},
		message.DetailFailed:            {message.Failed, true, true},
		message.DetailInterrupted:       {message.Failed, true, true},
		message.DetailCancelled:         {message.Cancelled, true, false},
		message.DetailTerminated:        {message.Cancelled, true, false},
		message.DetailUndeliverable:     {message.Failed, true, false},
		message.DetailInvalidPlatform:   {message.Failed, true, false},
		message.DetailAccessDenied:      {message.Failed, true, false},
		message.DetailNoInstancesInTag:  {message.Success, true, false},
		message.DetailIncomplete:        {message.Failed, true, false},
		message.DetailRateExceeded:      {message.Cancelled, true, false},
		"Invented":                      {message.Failed, true, false},
	} {
		require.Equal(t, want.status, d.Status(), d)
		require.Equal(t, want.terminal, d.Terminal(), d)
		require.Equal(t, want.error, d.CountsAsError(), d)
	}
	require.True(t, message.Skipped.Terminal())
	require.False(t, message.Cancelling.Terminal())
}

func TestStreamsThatWroteNothingAreLeftOut(t *testing.T) {
	require.True(t, message.Stream{}.IsZero())
	require.False(t, message.Stream{Size: 1}.IsZero())
	b, err := json.Marshal(message.StepReport{})
	require.NoError(t, err)
	require.NotContains(t, string(b), "stdout")
	require.Equal(t, "12o", message.StreamID(12, false))
	require.Equal(t, "0e", message.StreamID(0, true))
}

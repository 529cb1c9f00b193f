package command

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/message"
)

// agree says that what was decoded by hand is what message.Unmarshal makes of it.
func agree(t require.TestingT, body []byte) (fast bool) {
	if r, ok := decodeReady(body); ok {
		want, err := message.Unmarshal[message.Ready](message.Envelope{Kind: message.KindReady, Body: body})
		require.NoError(t, err, "%q", body)
		require.Equal(t, want, r, "%q", body)
	}
	r, ok := decodeReport(body)
	if ok {
		want, err := message.Unmarshal[message.Report](message.Envelope{Kind: message.KindReport, Body: body})
		require.NoError(t, err, "%q", body)
		require.Equal(t, want, r, "%q", body)
	}
	return ok
}

func TestTheDecoderAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := message.Report{Ref: message.Ref{Command: drawText(t, "command"), Attempt: rapid.Int().Draw(t, "attempt")}, Seq: rapid.Uint64().Draw(t, "seq"), Detail: message.Detail(drawText(t, "detail")),
			Reason: drawText(t, "why"), ExitCode: rapid.Int().Draw(t, "exit"), Started: drawTime(t, "begin"), Ended: drawTime(t, "end"), Steps: drawSteps(t)}
		b, err := message.Marshal(message.KindReport, r)
		require.NoError(t, err)
		agree(t, b)
		// And of what somebody did to it on the way.
		if len(b) > 0 {
			at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				b[at] = rapid.SampledFrom([]byte(`{}[]",:\0x9-e.nt `)).Draw(t, "byte")
			case 1:
				b = append(b[:at:at], b[at+1:]...)
			case 2:
				b = append(b[:at:at], append([]byte{b[at]}, b[at:]...)...)
			}
			agree(t, b)
		}
	})
}

// Reports as agents write them take the short way.
func TestUsualReportsTakeTheShortWay(t *testing.T) {
	r := message.Report{Ref: message.Ref{Command: "c", Attempt: 1}, Seq: 1048577, Detail: message.DetailFailed, Reason: "it said \"no\"", ExitCode: -1, Started: t0, Ended: t0, Steps: []message.StepReport{
		{Name: "a", Action: "aws:runShellScript", Status: message.Success, Started: t0, Ended: t0, Stdout: message.Stream{Head: "<é>\n\t\x1b[31m\\", Size: 9, Dropped: 3, InPieces: true}},
		{Name: "b", Status: message.Skipped, Reason: "an earlier step failed", ExitCode: -1, Reboots: 2, Stderr: message.Stream{Head: "x"}}}}
	b, err := message.Marshal(message.KindReport, r)
	require.NoError(t, err)
	require.True(t, agree(t, b))
	for _, unusual := range []string{`{"command":"c","command":"d"}`, `{"Command":"c"}`, `{"command" :"c"}`, `{"seq":-1}`, `{"seq":1.0}`, `{"seq":01}`, `{"seq":9223372036854775807}`, `{"steps":null}`, `{"reason":"\ud800"}`,
		`{"reason":"\b"}`, `{} `, `{"new":1}`, `{"started":"yesterday"}`, `{"steps":[{"stdout":{"inPieces":1}}]}`, `{"reason":"` + "\x01" + `"}`, "", "{", `{"reason":"x`, `{"reason":"\`, `{"reason":"\u12`} {
		require.False(t, agree(t, []byte(unusual)), unusual)
	}
}

func FuzzDecode(f *testing.F) {
	r := message.Report{Ref: message.Ref{Command: "c", Attempt: 1}, Seq: 3, Detail: message.DetailSuccess, Started: t0, Steps: []message.StepReport{{Name: "a", Stdout: message.Stream{Head: "x\n", Size: 2, InPieces: true}}}}
	b, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(bytes.ReplaceAll(b, []byte("x"), []byte(`é\"\\\u00e9`)))
	f.Add([]byte(`{"command":"c","attempt":1,"refused":"AccessDenied","reason":"no"}`))
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}

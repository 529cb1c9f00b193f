package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/message"
)

func drawTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" zero") {
		return time.Time{}
	}
	return time.Unix(rapid.Int64Range(0, 9_000_000_000).Draw(t, label), rapid.Int64Range(0, 999_999_999).Draw(t, label+" ns")).UTC()
}

func drawText(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "plain", `"\`, "\x00\x1b[31m\u2028</script>&\n\t\r", "é\uFFFD☃"})).Draw(t, label)
}

func drawSteps(t *rapid.T) (out []message.StepReport) {
	for range rapid.IntRange(0, 4).Draw(t, "steps") {
		out = append(out, message.StepReport{Name: drawText(t, "name"), Action: drawText(t, "action"), Status: message.Status(drawText(t, "status")), Reason: drawText(t, "reason"),
			ExitCode: rapid.Int().Draw(t, "code"), Started: drawTime(t, "started"), Ended: drawTime(t, "ended"), Reboots: rapid.Int().Draw(t, "reboots"),
			Stdout: message.Stream{Head: drawText(t, "out"), Size: rapid.Int64().Draw(t, "size"), InPieces: rapid.Bool().Draw(t, "pieces")},
			Stderr: message.Stream{Head: drawText(t, "err"), Dropped: rapid.Int64().Draw(t, "dropped")}})
	}
	return out
}

func drawInvocation(t *rapid.T) Invocation {
	inv := Invocation{Node: drawText(t, "node"), Attempt: rapid.Int().Draw(t, "attempt"), Phase: Phase(drawText(t, "phase")), Detail: message.Detail(drawText(t, "detail")), Reason: drawText(t, "why"),
		ExitCode: rapid.Int().Draw(t, "exit"), OfferedAt: drawTime(t, "offered"), AskedAt: drawTime(t, "asked"), DeliveredAt: drawTime(t, "delivered"), Started: drawTime(t, "begin"),
		Ended: drawTime(t, "end"), DoneAt: drawTime(t, "done"), Seq: rapid.Uint64().Draw(t, "seq"), Cancelling: rapid.Bool().Draw(t, "cancelling"), Overdue: rapid.Bool().Draw(t, "overdue"),
		Steps: drawSteps(t), StepsApart: rapid.Bool().Draw(t, "apart")}
	if rapid.Bool().Draw(t, "late") {
		inv.Late = &Late{At: drawTime(t, "at"), Detail: message.Detail(drawText(t, "late detail")), ExitCode: rapid.Int().Draw(t, "late code")}
	}
	return inv
}

// What is written by hand reads as what encoding/json writes, and is no longer than it was said to become.
func TestTheEncoderWritesWhatJSONWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inv := drawInvocation(t)
		b := appendInvocation(nil, &inv)
		require.True(t, json.Valid(b), "%s", b)
		require.LessOrEqual(t, len(b), inv.weight())
		want, err := json.Marshal(inv)
		require.NoError(t, err)
		var got, std Invocation
		require.NoError(t, json.Unmarshal(b, &got))
		require.NoError(t, json.Unmarshal(want, &std))
		require.Equal(t, std, got)

		c := change(&inv)
		var gotC, stdC Change
		var e encoder
		e.change(&c)
		b = e.b
		require.NoError(t, json.Unmarshal(b, &gotC), "%s", b)
		want, err = json.Marshal(c)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(want, &stdC))
		require.Equal(t, stdC, gotC)

		hs := []head{{Step: rapid.Int().Draw(t, "step"), Stdout: drawText(t, "o"), Stderr: drawText(t, "e")}, {}}
		var gotH []head
		require.NoError(t, json.Unmarshal(appendHeads(nil, hs), &gotH))
		require.Equal(t, []head{{hs[0].Step, strings.ToValidUTF8(hs[0].Stdout, "\uFFFD"), strings.ToValidUTF8(hs[0].Stderr, "\uFFFD")}, {}}, gotH)
	})
}

// T-EVILNODE: whatever a report holds, what is written of it fits into its records.
func TestATidyReportFitsIntoRecords(t *testing.T) {
	for name, r := range map[string]message.Report{
		"many empty steps":   {Steps: make([]message.StepReport, 60_000)},
		"many steps":         {Steps: manySteps(3000, message.StepReport{Name: "s", Status: message.Success, Started: t0, Ended: t0, Stdout: message.Stream{Head: "\x1b", Size: 1}})},
		"control characters": {Reason: strings.Repeat("\x01", 200_000), Steps: manySteps(300, message.StepReport{Reason: strings.Repeat("\x1b", 4000), Name: strings.Repeat(`"`, 4000)})},
		"long words":         {Steps: manySteps(100, message.StepReport{Name: strings.Repeat("n", 100_000), Action: strings.Repeat("a", 100_000), Status: message.Status(strings.Repeat("s", 100_000))})},
		"large heads":        {Steps: manySteps(7, message.StepReport{Stdout: message.Stream{Head: strings.Repeat("\x1b", 30_000)}, Stderr: message.Stream{Head: strings.Repeat("\"", 30_000)}})},
		"impossible numbers": {ExitCode: -1 << 63, Started: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -86_000)), Ended: time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("", 86_000)),
			Steps: []message.StepReport{{Reboots: -1, Stdout: message.Stream{Size: -1, Dropped: -1 << 63}}}},
	} {
		t.Run(name, func(t *testing.T) {
			tidy(&r)
			require.LessOrEqual(t, len(r.Reason), maxReason)
			inv := Invocation{Node: "n", Reason: r.Reason, ExitCode: r.ExitCode, Started: r.Started, Ended: r.Ended}
			inv.take(r.Steps)
			b := appendInvocation(nil, &inv)
			require.Less(t, len(b), 250<<10)
			require.LessOrEqual(t, len(b), inv.weight())
			for _, p := range parts(inv.apart) {
				require.Less(t, len(appendHeads(nil, p)), 250<<10)
			}
			var back Invocation
			require.NoError(t, json.Unmarshal(b, &back))
			for _, s := range back.Steps {
				require.GreaterOrEqual(t, s.Stdout.Size, int64(0))
				require.GreaterOrEqual(t, s.Reboots, 0)
				require.True(t, s.Status == message.Pending || s.Status == message.InProgress || s.Status.Terminal(), s.Status)
			}
		})
	}
}

func manySteps(n int, s message.StepReport) []message.StepReport {
	out := make([]message.StepReport, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestOutputThatLiesApartIsWholeAgain(t *testing.T) {
	var steps []message.StepReport
	for i := range 12 {
		steps = append(steps, message.StepReport{Name: fmt.Sprint(i), Stdout: message.Stream{Head: fmt.Sprintf("first %d\n%s", i, strings.Repeat("x", 20_000))}})
	}
	var inv Invocation
	inv.take(steps)
	require.True(t, inv.StepsApart)
	require.Equal(t, "first 3", inv.Steps[3].Stdout.Head)
	n := 0
	for _, p := range parts(inv.apart) {
		for _, h := range p {
			require.Equal(t, steps[h.Step].Stdout.Head, h.Stdout)
			n++
		}
	}
	require.Equal(t, 12, n)
	inv.take(steps[:0])
	require.False(t, inv.StepsApart)
}

func BenchmarkEncodeInvocation(b *testing.B) {
	inv := Invocation{Node: "mi-00000000000000001", Attempt: 1, Phase: PhaseDone, Detail: message.DetailSuccess, OfferedAt: t0, AskedAt: t0, DeliveredAt: t0, Started: t0, Ended: t0, DoneAt: t0, Seq: 2,
		Steps: []message.StepReport{{Name: "greet", Action: "aws:runShellScript", Status: message.Success, Started: t0, Ended: t0, Stdout: message.Stream{Head: "hi\n", Size: 3}}}}
	var buf []byte
	var hand, std time.Duration
	for b.Loop() {
		begin := time.Now()
		buf = appendInvocation(buf[:0], &inv)
		hand += time.Since(begin)
		begin = time.Now()
		json.Marshal(inv) //nolint:errcheck // timed
		std += time.Since(begin)
	}
	b.ReportMetric(float64(hand)/float64(std), "ratio")
}

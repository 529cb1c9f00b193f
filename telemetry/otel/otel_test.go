package otel_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/telemetry/otel"
)

// collect returns a provider whose spans lie in memory once they have ended.
func collect(t testing.TB) (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	e := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e), sdktrace.WithIDGenerator(otel.IDs(nil)))
	t.Cleanup(func() { p.Shutdown(context.Background()) }) //nolint:errcheck // in memory
	return p, e
}

// tree draws the spans of one trace by their parents.
func tree(spans tracetest.SpanStubs) string {
	children := map[trace.SpanID][]tracetest.SpanStub{}
	for _, s := range spans {
		children[s.Parent.SpanID()] = append(children[s.Parent.SpanID()], s)
	}
	var b strings.Builder
	var draw func(id trace.SpanID, depth int)
	draw = func(id trace.SpanID, depth int) {
		for _, s := range children[id] {
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), s.Name)
			draw(s.SpanContext.SpanID(), depth+1)
		}
	}
	draw(trace.SpanID{}, 0)
	return b.String()
}

// One command makes one trace, of what the control plane and the agent tell, each through a provider of its own. No secret is in it.
func TestACommandIsOneTrace(t *testing.T) {
	const canary = "cn7f3kq0canary"
	p, spans := collect(t)
	np, nodeSpans := collect(t)
	f, err := fleetwright.Open(t.Context(), t.TempDir(), &fleetwright.Options{Config: fleetwright.Config{Observer: otel.New(p, nil)}})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the end of the test
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Observer: otel.New(np, nil)})
	require.NoError(t, err)

	callers := sdktrace.NewTracerProvider()
	ctx, caller := callers.Tracer("caller").Start(t.Context(), "deploy")
	c, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript", InstanceIDs: []string{a.ID}, Comment: canary,
		Parameters: map[string][]string{"commands": {"echo " + canary + "; exit 3"}}})
	require.NoError(t, err)
	caller.End()
	_, err = f.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	all := func() tracetest.SpanStubs { return append(spans.GetSpans(), nodeSpans.GetSpans()...) }
	require.Eventually(t, func() bool { return len(all()) == 8 }, 10*time.Second, 5*time.Millisecond, "%v", all())

	got := map[string]tracetest.SpanStub{}
	for _, s := range all() {
		got[s.Name] = s
		require.Equal(t, strings.ReplaceAll(c.ID, "-", ""), s.SpanContext.TraceID().String(), "the trace's id is the command's")
		require.NotContains(t, fmt.Sprintf("%+v", s), canary)
		require.False(t, s.EndTime.Before(s.StartTime))
	}
	text := tree(all())
	for _, line := range []string{"command\n", "\n  SendCommand\n", "\n  dispatch\n", "\n  invocation\n", "\n    deliver\n", "\n    run\n      step\n", "\n    report\n"} {
		require.Contains(t, text, line)
	}
	require.Equal(t, caller.SpanContext().TraceID(), got["SendCommand"].Links[0].SpanContext.TraceID())
	for _, name := range []string{"command", "invocation", "run", "step"} {
		require.Equal(t, codes.Error, got[name].Status.Code, name)
		require.Equal(t, "Failed", got[name].Status.Description, name)
	}
	require.Contains(t, got["invocation"].Attributes, otel.Node.String(a.ID))
	require.Contains(t, got["step"].Attributes, otel.Step.Int(1))

	// A span that the host begins in the command's trace.
	_, own := p.Tracer("host").Start(otel.Of(t.Context(), "default", c.ID), "notify")
	own.End()
	require.Equal(t, got["command"].SpanContext.TraceID(), own.SpanContext().TraceID())
	notify := spans.GetSpans()[len(spans.GetSpans())-1]
	require.Equal(t, got["command"].SpanContext.SpanID(), notify.Parent.SpanID())
	require.NotEqual(t, notify.Parent.SpanID(), own.SpanContext().SpanID())
	require.Equal(t, "00-"+got["command"].SpanContext.TraceID().String()+"-"+got["command"].SpanContext.SpanID().String()+"-01", observe.TraceParent("default", c.ID))
}

// What is told twice, by two control planes or after a restart, has the same ids; what is about something else has others.
func TestIDsAreThoseOfWhatTheyAreAbout(t *testing.T) {
	id := "0f7a1b2c-3d4e-4f5a-8b6c-7d8e9f0a1b2c"
	p, spans := collect(t)
	o := otel.New(p, nil)
	at := time.Unix(1000, 0)
	for range 2 {
		for _, node := range []string{"mi-1", "mi-2"} {
			for attempt := 1; attempt <= 2; attempt++ {
				for step := range 2 {
					o.Observe(t.Context(), observe.Event{Kind: observe.Step, Label: "Success", Start: at, End: at, Tenant: "t", Command: id, Node: node, Attempt: attempt, Step: step})
				}
			}
		}
	}
	seen := map[trace.SpanID]int{}
	for _, s := range spans.GetSpans() {
		seen[s.SpanContext.SpanID()]++
	}
	require.Len(t, seen, 8)
	for _, n := range seen {
		require.Equal(t, 2, n)
	}
	require.Equal(t, "0f7a1b2c3d4e4f5a8b6c7d8e9f0a1b2c", hex.EncodeToString(bytesOf(observe.TraceID(id))))
	require.NotEqual(t, observe.TraceID("not a UUID"), observe.TraceID("not a UUID either"))
	require.NotEqual(t, [16]byte{}, observe.TraceID("00000000-0000-0000-0000-000000000000"))
}

func bytesOf(b [16]byte) []byte { return b[:] }

func TestAShareIsWholeCommands(t *testing.T) {
	p, spans := collect(t)
	o, all, none := otel.New(p, &otel.Options{Share: 0.25}), otel.New(p, &otel.Options{Share: 1}), otel.New(p, &otel.Options{Share: -1})
	at := time.Unix(1000, 0)
	tell := func(o observe.Observer, id string) int {
		spans.Reset()
		for _, k := range observe.Kinds() {
			o.Observe(t.Context(), observe.Event{Kind: k, Label: "Success", Start: at, End: at, Tenant: "t", Command: id, Node: "n", Attempt: 1})
		}
		return len(spans.GetSpans())
	}
	traced := 0
	for i := range 1000 {
		switch n := tell(o, fmt.Sprintf("0f7a1b2c-3d4e-4f5a-%04x-%012x", i*65, i*0x9e3779b97f4)); n {
		case 8:
			traced++
		default:
			require.Zero(t, n, "whole or not at all")
		}
	}
	require.InDelta(t, 250, traced, 60)
	require.Equal(t, 8, tell(all, "c"))
	require.Zero(t, tell(none, "c"))
}

func TestErrorsHaveCodesAlone(t *testing.T) {
	p, spans := collect(t)
	at := time.Unix(1000, 0)
	otel.New(p, nil).Observe(t.Context(), observe.Event{Kind: observe.Send, Label: "Denied", Start: at, End: at.Add(-time.Hour), Tenant: "t", Command: "c",
		Err: fault.New("x", fault.AccessDenied, "canary %w", errors.New("canary"))})
	otel.New(p, nil).Observe(t.Context(), observe.Event{Kind: observe.Send, Start: at, End: at, Err: errors.New("canary")})
	got := spans.GetSpans()
	require.Len(t, got, 1, "what made no command has no trace")
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: string(fault.AccessDenied)}, got[0].Status)
	require.NotContains(t, fmt.Sprintf("%+v", got[0]), "canary")
	require.Equal(t, got[0].StartTime, got[0].EndTime, "a clock that was set back makes no negative span")
}

// BenchmarkObserve measures a span against one that the same provider makes by itself.
func BenchmarkObserve(b *testing.B) {
	p := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(otel.IDs(nil)))
	o, tr := otel.New(p, nil), p.Tracer("x")
	at := time.Unix(1000, 0)
	e := observe.Event{Kind: observe.Invocation, Label: "Success", Start: at, End: at.Add(time.Second), Tenant: "default", Command: "0f7a1b2c-3d4e-4f5a-8b6c-7d8e9f0a1b2c", Node: "mi-1", Attempt: 1}
	var limit, ours time.Duration
	for b.Loop() {
		start := time.Now()
		for range 2000 {
			_, s := tr.Start(b.Context(), "invocation", trace.WithTimestamp(at), trace.WithAttributes(otel.Tenant.String("default"), otel.Command.String(e.Command), otel.Node.String("mi-1"),
				otel.Attempt.Int(1), otel.Details.String("Success")))
			s.SetStatus(codes.Ok, "")
			s.End(trace.WithTimestamp(at.Add(time.Second)))
		}
		mid := time.Now()
		for range 2000 {
			o.Observe(b.Context(), e)
		}
		limit += mid.Sub(start)
		ours += time.Since(mid)
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
}

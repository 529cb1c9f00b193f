package command

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

var succeed = end(time.Second, message.DetailSuccess, 0, "hi\nthere\n")

var web = []target.Target{{Key: "tag:Role", Values: []string{"web"}}}

var all = []target.Target{{Key: "InstanceIds", Values: []string{"*"}}}

func TestSendDispatchRunResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20, nil)
		defer w.serve()()
		ctx := t.Context()
		c, err := w.s.Send(ctx, SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "4", Parameters: map[string][]string{"who": {"you"}}})
		require.NoError(t, err)
		require.Equal(t, message.Pending, c.Status)
		require.Equal(t, 20, c.TargetCount)
		require.Equal(t, 7200*time.Second, c.ExpiresAfter.Sub(c.RequestedDateTime))

		r, err := w.s.Invocation(ctx, c.ID, w.nodes[19].ID)
		require.NoError(t, err, "R27: never «does not exist yet»")
		require.Equal(t, message.Pending, r.Status)
		require.Equal(t, -1, r.ExitCode)

		c, err = w.s.Wait(ctx, c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
		require.Equal(t, 20, c.CompletedCount)
		require.LessOrEqual(t, w.most(), 4)

		var seen []string
		token := ""
		for {
			page, next, err := w.s.Invocations(ctx, ListRequest{Command: c.ID, Limit: 7, NextToken: token})
			require.NoError(t, err)
			for _, r := range page {
				require.Equal(t, message.DetailSuccess, r.Detail)
				require.Equal(t, "hi\nthere\n", r.Steps[0].Stdout.Head)
				seen = append(seen, r.Node)
			}
			if token = next; next == "" {
				break
			}
		}
		require.Len(t, seen, 20)
		require.True(t, slices.IsSorted(seen))

		list, _, err := w.s.List(ctx, ListRequest{Status: message.Success})
		require.NoError(t, err)
		require.Len(t, list, 1)
		list, _, err = w.s.List(ctx, ListRequest{Executing: true})
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

func TestARestartedControlPlaneGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12, nil)
		stop := w.run()
		c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "3"})
		require.NoError(t, err)
		time.Sleep(1500 * time.Millisecond)
		stop()
		w.start(nil)
		defer w.serve()()
		c, err = w.s.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
		require.LessOrEqual(t, w.most(), 3)
	})
}

func TestMaxErrorsTerminatesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10, nil)
		defer w.serve()()
		w.answers[w.nodes[1].ID] = end(time.Second, message.DetailFailed, 3, "")
		c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1"})
		require.NoError(t, err)
		c, err = w.s.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Failed, c.Status)
		require.Equal(t, Counts{message.DetailSuccess: 1, message.DetailFailed: 1, message.DetailTerminated: 8}, c.Counts)
		r, err := w.s.Invocation(t.Context(), c.ID, w.nodes[9].ID)
		require.NoError(t, err)
		require.Equal(t, message.DetailTerminated, r.Detail)
		require.Zero(t, w.ran(w.nodes[9].ID))
	})
}

func TestCancelStopsEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10, nil)
		defer w.serve()()
		w.answers[""] = func(w *world, node string, kind message.Kind, body []byte) {
			switch kind {
			case message.KindOffer:
				w.say(node, message.KindReady, message.Ready{Ref: ref[message.Offer](w, kind, body).Ref})
			case message.KindCancel:
				w.say(node, message.KindReport, message.Report{Ref: ref[message.Cancel](w, kind, body).Ref, Seq: 9, Detail: message.DetailCancelled, ExitCode: -1})
			}
		}
		c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "2", NoRamp: true})
		require.NoError(t, err)
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, w.s.Cancel(t.Context(), c.ID))
		c, err = w.s.Get(t.Context(), c.ID)
		require.NoError(t, err)
		require.True(t, c.StatusDetails == message.DetailCancelling || c.StatusDetails == message.DetailCancelled)
		c, err = w.s.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Cancelled, c.Status)
		require.Equal(t, 10, c.Counts[message.DetailCancelled])
		require.NoError(t, w.s.Cancel(t.Context(), c.ID), "cancelling what has ended is no error")
		require.ErrorIs(t, w.s.Cancel(t.Context(), "nope"), &fault.Error{Code: fault.InvalidCommandID})
	})
}

func TestAnOfflineNodeGetsTheCommandWhenItComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, nil)
		defer w.serve()()
		away := w.nodes[0].ID
		w.offline[away] = true
		c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		c, err = w.s.Get(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, 2, c.CompletedCount, "others do not wait for it")
		require.Equal(t, 1, c.Delayed)
		w.goes(away, false)
		w.s.Heard("default", away, true)
		c, err = w.s.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
	})
}

func TestLateResultIsEvidenceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, nil)
		defer w.serve()()
		w.answers[""] = end(3*time.Hour, message.DetailSuccess, 0, "late")
		c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
		require.NoError(t, err)
		c, err = w.s.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.DetailDeliveryTimedOut, c.StatusDetails)
		time.Sleep(2 * time.Hour)
		r, err := w.s.Invocation(t.Context(), c.ID, w.nodes[0].ID)
		require.NoError(t, err)
		require.Equal(t, message.DetailDeliveryTimedOut, r.Detail, "terminal is sticky")
		require.Equal(t, message.DetailSuccess, r.Late.Detail)
		require.True(t, w.acked(w.nodes[0].ID), "the node may forget")
	})
}

func TestClientToken(t *testing.T) {
	w := newWorld(t, 2, nil)
	req := SendRequest{DocumentName: "Hello", Targets: web, ClientToken: "once"}
	a, err := w.s.Send(t.Context(), req)
	require.NoError(t, err)
	b, err := w.s.Send(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, a.ID, b.ID)
	req.Comment = "other"
	_, err = w.s.Send(t.Context(), req)
	require.ErrorIs(t, err, &fault.Error{Code: fault.IdempotentParameterMismatch})
}

func TestOutputStreamsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, nil)
		defer w.serve()()
		id := w.nodes[0].ID
		text := strings.Repeat("0123456789abcdef", 20_000) // 320,000 bytes: four pieces
		w.answers[""] = func(w *world, node string, kind message.Kind, body []byte) {
			switch kind {
			case message.KindOffer:
				w.say(node, message.KindReady, message.Ready{Ref: ref[message.Offer](w, kind, body).Ref})
			case message.KindRun:
				r := ref[message.Run](w, kind, body)
				for off := 0; off < len(text); off += message.MaxPiece {
					o := message.Output{Ref: r.Ref, Offset: int64(off), Data: []byte(text[off:min(len(text), off+message.MaxPiece)])}
					w.say(node, message.KindOutput, o)
					w.say(node, message.KindOutput, o) // repeated
				}
				w.say(node, message.KindOutput, message.Output{Ref: r.Ref, Offset: int64(len(text)) + 10, Data: []byte("gap")})
				w.say(node, message.KindReport, message.Report{Ref: r.Ref, Seq: 1, Detail: message.DetailSuccess,
					Steps: []message.StepReport{{Name: "greet", Status: message.Success, Stdout: message.Stream{Head: text[:24000], Size: int64(len(text)), InPieces: true}}}})
			}
		}
		c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", InstanceIDs: []string{id}})
		require.NoError(t, err)
		_, err = w.s.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		r, info, err := w.s.Output(t.Context(), c.ID, id, "greet", false)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Equal(t, text, string(got))
		require.True(t, info.Whole)
		_, _, err = w.s.Output(t.Context(), c.ID, id, "nope", false)
		require.ErrorIs(t, err, &fault.Error{Code: fault.InvalidPluginName})

		n, err := w.s.Prune(t.Context(), "default")
		require.NoError(t, err)
		require.Zero(t, n, "no retention, nothing is removed")
		w.s.cfg.Retention.Age = time.Hour
		time.Sleep(2 * time.Hour)
		n, err = w.s.Prune(t.Context(), "default")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, err = w.s.Get(t.Context(), c.ID)
		require.ErrorIs(t, err, &fault.Error{Code: fault.InvalidCommandID})
		left := 0
		require.NoError(t, w.store.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			for range r.Scan(ctx, space("default", "invocation").Range()) {
				left++
			}
			for range r.Scan(ctx, space("default", "event").Range()) {
				left++
			}
			return nil
		}))
		require.Zero(t, left)
	})
}

func TestSendRefusesBadRequests(t *testing.T) {
	w := newWorld(t, 2, nil)
	w.nodes[1].Platform = "Windows"
	id := w.nodes[0].ID
	w.docs["ListAll"] = `{"schemaVersion":"2.2","mainSteps":[]}`
	for name, c := range map[string]struct {
		req  SendRequest
		code fault.Code
	}{
		"no document":        {SendRequest{InstanceIDs: []string{id}}, fault.Validation},
		"no node":            {SendRequest{DocumentName: "Hello"}, fault.Validation},
		"both":               {SendRequest{DocumentName: "Hello", InstanceIDs: []string{id}, Targets: web}, fault.Validation},
		"unknown document":   {SendRequest{DocumentName: "Nope", Targets: web}, fault.InvalidDocument},
		"unknown node":       {SendRequest{DocumentName: "Hello", InstanceIDs: []string{"mi-nope"}}, fault.InvalidInstanceID},
		"twice":              {SendRequest{DocumentName: "Hello", InstanceIDs: []string{id, id}}, fault.DuplicateInstanceID},
		"platform":           {SendRequest{DocumentName: "Hello", InstanceIDs: []string{w.nodes[1].ID}}, ""},
		"unknown parameter":  {SendRequest{DocumentName: "Hello", Targets: web, Parameters: map[string][]string{"x": {"y"}}}, fault.InvalidParameters},
		"pattern":            {SendRequest{DocumentName: "Hello", Targets: web, Parameters: map[string][]string{"who": {"A; rm"}}}, fault.InvalidParameters},
		"hash":               {SendRequest{DocumentName: "Hello", Targets: web, DocumentHash: strings.Repeat("0", 64)}, fault.InvalidDocument},
		"timeout":            {SendRequest{DocumentName: "Hello", Targets: web, TimeoutSeconds: 29}, fault.Validation},
		"concurrency 0":      {SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "0"}, fault.Validation},
		"errors 101%":        {SendRequest{DocumentName: "Hello", Targets: web, MaxErrors: "101%"}, fault.Validation},
		"comment":            {SendRequest{DocumentName: "Hello", Targets: web, Comment: strings.Repeat("é", 101)}, fault.Validation},
		"bad inline content": {SendRequest{Content: []byte("{"), Targets: web}, fault.InvalidDocumentContent},
		"target key":         {SendRequest{DocumentName: "Hello", Targets: []target.Target{{Key: "nope", Values: []string{"x"}}}}, fault.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.s.Send(t.Context(), c.req)
			if c.code == "" {
				return
			}
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			list, _, err := w.s.List(t.Context(), ListRequest{})
			require.NoError(t, err)
			require.LessOrEqual(t, len(list), 1, "nothing half done")
		})
	}
}

func TestNoTargetsIsTerminalAtOnce(t *testing.T) {
	w := newWorld(t, 1, nil)
	c, err := w.s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: []target.Target{{Key: "tag:Role", Values: []string{"none"}}}})
	require.NoError(t, err)
	require.Equal(t, message.DetailNoInstancesInTag, c.StatusDetails)
	c, err = w.s.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, 0, c.TargetCount)
}

func TestPlanSaysWhatWouldRunWhereAndWhy(t *testing.T) {
	w := newWorld(t, 9, nil)
	p, err := w.s.Plan(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "4", MaxErrors: "10%", Parameters: map[string][]string{"who": {"you"}}})
	require.NoError(t, err)
	require.Len(t, p.Nodes, 9)
	require.Equal(t, []string{"tag:Role = web"}, p.Nodes[0].Matched)
	require.Equal(t, 4, p.Concurrency)
	require.Equal(t, 0, p.ErrorLimit)
	require.Equal(t, 4, p.WorstErrors)
	require.Len(t, p.Variants, 1)
	script, err := p.Variants[0].Steps[0].Script()
	require.NoError(t, err)
	require.Equal(t, "echo you\n", script)
	sizes := []int{}
	for _, wave := range p.Waves {
		sizes = append(sizes, wave.Size)
	}
	require.Equal(t, []int{1, 2, 4, 2}, sizes)
	list, _, err := w.s.List(t.Context(), ListRequest{})
	require.NoError(t, err)
	require.Empty(t, list, "a plan writes nothing")
}

func TestTruncateKeepsRunesAndMarksCuts(t *testing.T) {
	require.Equal(t, "abc", Truncate("abc", "", 2500))
	require.Equal(t, "abc\n----------ERROR-------\ndef", Truncate("abc", "def", 2500))
	long := strings.Repeat("é", 3000)
	for _, got := range []string{Truncate(long, "", 2500), Truncate(long, long, 2500), Truncate("x", long, 2500), Truncate(long, "x", 2500)} {
		require.LessOrEqual(t, len(got), 2500)
		require.NotContains(t, got, "\uFFFD")
		require.Contains(t, got, "truncated--")
	}
}

func TestLineSaysMost(t *testing.T) {
	step := func(st message.Status, out, errs string) message.StepReport {
		return message.StepReport{Status: st, Stdout: message.Stream{Head: out}, Stderr: message.Stream{Head: errs}}
	}
	require.Equal(t, "a", Line([]message.StepReport{step(message.Success, "", "e"), step(message.Success, "a\nb", "")}))
	require.Equal(t, "e", Line([]message.StepReport{step(message.Success, "", "e")}))
	require.Equal(t, "why", Line([]message.StepReport{step(message.Success, "a", ""), step(message.Failed, "b", "why\nmore"), step(message.Failed, "", "later")}))
	require.Equal(t, "b", Line([]message.StepReport{step(message.Success, "a", ""), step(message.TimedOut, "b", "")}))
	require.Equal(t, "a", Line([]message.StepReport{step(message.Success, "a", ""), step(message.Failed, "", "")}))
	require.Empty(t, Line(nil))
}

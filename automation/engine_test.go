package automation_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// runbook reads a runbook of a test.
func runbook(t testing.TB, src string) *automation.Runbook {
	t.Helper()
	rb, err := automation.ParseRunbook([]byte(src), nil)
	require.NoError(t, err)
	return rb
}

// scenarioRunbooks are the runbooks of all scenarios that are not refused.
func scenarioRunbooks(t testing.TB) (out []*automation.Runbook) {
	files, err := filepath.Glob(filepath.Join("testdata", "scenarios", "*.txt"))
	require.NoError(t, err)
	for _, f := range files {
		src, err := os.ReadFile(f)
		require.NoError(t, err)
		if rb, err := automation.ParseRunbook(parseScenario(t, string(src)).text(), nil); err == nil {
			out = append(out, rb)
		}
	}
	return out
}

// TestAnyEventsInAnyOrder throws events at executions of every scenario's runbook. Whatever comes: nothing panics, an end is final, one that has ended asks for
// nothing, its steps have ended too, the stored form reads back to the same, and a replay decides the same.
func TestAnyEventsInAnyOrder(t *testing.T) {
	all := scenarioRunbooks(t)
	rapid.Check(t, func(t *rapid.T) {
		rb := all[rapid.IntRange(0, len(all)-1).Draw(t, "runbook")]
		req := automation.Start{ID: "x", Document: "D", Values: map[string]any{"S": "x", "N": 3, "T": true, "L": []any{"a", "b"}, "Id": "i"}, Mode: rapid.SampledFrom([]automation.Mode{automation.Auto, automation.Interactive}).Draw(t, "mode")}
		x, err := rb.New(req, epoch)
		if err != nil {
			return
		}
		fresh := x.Clone()
		now := epoch
		var children, owners []string
		var history []automation.Entry
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			ev := event(t, x, children, owners)
			ended, status := x.Status.Done(), x.Status
			entry, out, err := rb.Record(x, ev, now)
			history = append(history, entry)
			if err != nil {
				require.NotEqual(t, fault.InternalServerError, fault.CodeOf(err))
			}
			if ended {
				require.Empty(t, out)
				require.Equal(t, status, x.Status)
			}
			for _, e := range out {
				if e.Kind == automation.StartChild {
					children, owners = append(children, e.Child.ID), append(owners, e.StepID)
				}
			}
			if next, ok := x.Next(); ok {
				require.True(t, next.After(now), "what is due has been done")
			}
			if x.Status.Done() {
				for i := range x.Steps {
					require.True(t, x.Steps[i].Status.Done(), "step %s is %s in an execution that is %s", x.Steps[i].Name, x.Steps[i].Status, x.Status)
				}
				require.Empty(t, rb.Outstanding(x))
			}
			b, err := x.Encode()
			require.NoError(t, err)
			back, err := automation.Decode(b)
			require.NoError(t, err)
			x = back
		}
		require.NoError(t, rb.Replay(fresh, history))
		a, _ := fresh.Encode()
		b, _ := x.Encode()
		require.JSONEq(t, string(b), string(a))
	})
}

// event draws something that could happen, most often what is awaited.
func event(t *rapid.T, x *automation.Execution, children, owners []string) automation.Event {
	var cur automation.Step
	if x.Current >= 0 {
		cur = x.Steps[x.Current]
	}
	switch rapid.IntRange(0, 11).Draw(t, "event") {
	case 0:
		return automation.Event{Begin: true}
	case 1:
		return automation.Event{}
	case 2:
		if rapid.IntRange(0, 3).Draw(t, "stop?") == 0 {
			return automation.Event{Stop: &automation.Stop{Type: rapid.SampledFrom([]automation.StopType{automation.Cancel, automation.Complete, "", "x"}).Draw(t, "stop")}}
		}
		return automation.Event{Begin: true}
	case 3:
		return automation.Event{Result: &automation.Result{StepID: cur.ID, Attempt: cur.Attempt, Look: cur.Looks, Failure: &automation.Failure{Message: "broke"}}}
	case 4, 5:
		s := &automation.Signal{Type: rapid.SampledFrom([]automation.SignalType{automation.Approve, automation.Reject, automation.Resume, automation.StartStep, automation.StartStep, automation.StartStep, automation.StopStep, automation.Revoke}).Draw(t, "signal"),
			By: rapid.SampledFrom([]string{"ann", "bob", "eve", ""}).Draw(t, "by"), StepID: cur.ID}
		return automation.Event{Signal: s}
	case 6:
		if len(children) > 0 {
			i := rapid.IntRange(0, len(children)-1).Draw(t, "child")
			return automation.Event{Child: &automation.ChildEnd{ID: children[i], StepID: owners[i], Status: rapid.SampledFrom([]automation.Status{automation.Success, automation.Failed, automation.InProgress}).Draw(t, "status")}}
		}
		return automation.Event{}
	case 7:
		return automation.Event{Resolved: &automation.Resolved{StepID: cur.ID, Values: []string{"a", "b"}, Accounts: [][]string{{"1"}}}}
	default:
		out := rapid.SampledFrom([]any{map[string]any{}, "text", nil, 5, map[string]any{"Id": "i-1", "More": true, "X": "y", "R": []any{map[string]any{"S": "available"}}, "Payload": map[string]any{"out": "z"}}}).Draw(t, "output")
		return automation.Event{Result: &automation.Result{StepID: cur.ID, Attempt: cur.Attempt, Look: cur.Looks, Output: out}}
	}
}

func TestBadRunbooksAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		src  string
		code fault.Code
	}{
		"no document":      {"", fault.InvalidDocumentContent},
		"a command":        {`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["ls"]}}]}`, fault.InvalidDocumentType},
		"no steps":         {`{"schemaVersion":"0.3","mainSteps":[]}`, fault.InvalidDocumentContent},
		"one name twice":   {`{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:pause","inputs":{}},{"name":"a","action":"aws:pause","inputs":{}}]}`, fault.InvalidDocumentContent},
		"into a loop":      {`{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:pause","nextStep":"in","inputs":{}},{"name":"l","action":"aws:loop","inputs":{"Iterators":["x"],"Steps":[{"name":"in","action":"aws:pause","inputs":{}}]}}]}`, fault.InvalidDocumentContent},
		"a loop in a loop": {`{"schemaVersion":"0.3","mainSteps":[{"name":"l","action":"aws:loop","inputs":{"Iterators":["x"],"Steps":[{"name":"m","action":"aws:loop","inputs":{"Iterators":["x"],"Steps":[{"name":"in","action":"aws:pause","inputs":{}}]}}]}}]}`, fault.InvalidDocumentContent},
	} {
		_, err := automation.ParseRunbook([]byte(c.src), nil)
		require.Error(t, err, name)
		require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", name, err)
	}
	_, err := automation.NewRunbook(nil)
	require.Error(t, err)
	d, err := document.Parse([]byte(`{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:pause","nextStep":"b","inputs":{}}]}`), nil)
	require.Error(t, err)
	_, err = automation.NewRunbook(d) // nobody should, and nothing must come of it
	require.Error(t, err)
}

func TestBadStoredExecutions(t *testing.T) {
	for _, s := range []string{"", "{}", "[]", `{"v":0,"x":{"id":"a"}}`, `{"v":1}`, `{"v":1,"x":{"id":"a","current":3}}`, `{"v":1,"x":{"id":"a","current":-2}}`,
		`{"v":1,"x":{"id":"a","current":-1,"loop":{"step":0}}}`, `{"v":1,"x":{"id":"a","current":-1,"steps":[{"name":"l"}],"loop":{"step":0,"iteration":4,"items":["x"]}}}`,
		`{"v":1,"x":{"id":"a","current":-1,"fan":{"groups":[{"next":-1}]}}}`, `{"v":1,"x":{"id":"a","current":-1,"fan":{"groups":[{"next":0,"items":[{"account":"1"}]}]}}}`} {
		_, err := automation.Decode([]byte(s))
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), s)
	}
	_, err := automation.Decode([]byte(`{"v":2,"x":{"id":"a"}}`))
	require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err), "a newer release wrote it: it is not corrupt")
}

func TestStatuses(t *testing.T) {
	require.Len(t, automation.Statuses(), 19)
	for _, s := range []automation.Status{automation.Pending, automation.InProgress, automation.Waiting, automation.Cancelling, automation.Scheduled} {
		require.False(t, s.Done(), s)
	}
}

// FuzzDecode reads anything; what can be read is written and read again to the same, and can be copied and asked for its next time.
func FuzzDecode(f *testing.F) {
	for _, rb := range scenarioRunbooks(f)[:40] {
		x, err := rb.New(automation.Start{ID: "x", Values: map[string]any{"S": "x", "N": 3, "L": []any{"a"}}}, epoch)
		if err != nil {
			continue
		}
		_, _ = rb.Step(x, automation.Event{Begin: true}, epoch)
		b, err := x.Encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := automation.Decode(b)
		if err != nil {
			require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
			return
		}
		first, err := x.Encode()
		if err != nil {
			return
		}
		again, err := automation.Decode(first)
		require.NoError(t, err)
		second, err := again.Clone().Encode()
		require.NoError(t, err)
		require.Equal(t, string(first), string(second))
		_, _ = x.Next()
	})
}

package automation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
)

// thousand is a runbook whose loop runs a thousand times.
const thousand = `{"schemaVersion":"0.3","variables":{"v":{"type":"String","default":"x"}},"mainSteps":[
 {"name":"loop","action":"aws:loop","inputs":{"MaxIterations":1000,"LoopCondition":{"Variable":"{{ a.More }}","BooleanEquals":true},"Steps":[
  {"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A","I":"{{ loop.CurrentIteration }}","V":"{{ variable:v }}"},"outputs":[{"Name":"More","Selector":"$.R[0].More","Type":"Boolean"},{"Name":"Next","Selector":"$.Next","Type":"String"}]},
  {"name":"set","action":"aws:updateVariable","inputs":{"Name":"variable:v","Value":"{{ a.Next }}"}},
  {"name":"choose","action":"aws:branch","isEnd":true,"inputs":{"Choices":[{"NextStep":"b","Variable":"{{ a.Next }}","StringEquals":"never"}]}},
  {"name":"b","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"B"}}]}}]}`

// loopOnce runs the thousand iterations and returns the history.
func loopOnce(t testing.TB, rb *automation.Runbook, record bool) (*automation.Execution, []automation.Entry) {
	x, err := rb.New(automation.Start{ID: "x", Limits: automation.Limits{Iterations: 1000}}, epoch)
	require.NoError(t, err)
	now := epoch
	var h []automation.Entry
	ev := automation.Event{Begin: true}
	out := map[string]any{"R": []any{map[string]any{"More": true}}, "Next": "y"}
	for !x.Status.Done() {
		if record {
			e, _, err := rb.Record(x, ev, now)
			if err != nil {
				t.Fatal(err)
			}
			h = append(h, e)
		} else if _, err := rb.Step(x, ev, now); err != nil {
			t.Fatal(err)
		}
		if x.Current < 0 {
			break
		}
		s := &x.Steps[x.Current]
		now = now.Add(time.Second)
		ev = automation.Event{Result: &automation.Result{StepID: s.ID, Attempt: s.Attempt, Output: out}}
	}
	if len(x.Steps) != 3001 || x.Status != automation.Success {
		t.Fatalf("%d steps, %s", len(x.Steps), x.Status)
	}
	return x, h
}

func TestAThousandIterations(t *testing.T) { loopOnce(t, runbook(t, thousand), false) }

// BenchmarkSteps runs a runbook of a thousand iterations, 3,001 steps. The limit is what its state is: the ratio is to encoding the same steps once.
func BenchmarkSteps(b *testing.B) {
	rb := runbook(b, thousand)
	var x *automation.Execution
	start := time.Now()
	for b.Loop() {
		x, _ = loopOnce(b, rb, false)
	}
	each := time.Since(start) / time.Duration(b.N)
	again := time.Now()
	n := 0
	for time.Since(again) < 50*time.Millisecond || n == 0 {
		_, err := x.Encode()
		require.NoError(b, err)
		n++
	}
	limit := time.Since(again) / time.Duration(n)
	b.ReportMetric(float64(len(x.Steps))/each.Seconds(), "steps/s")
	b.ReportMetric(float64(each)/float64(limit), "ratio")
}

// BenchmarkReplay replays the history of the same execution and compares every decision; the ratio is to running it without.
func BenchmarkReplay(b *testing.B) {
	rb := runbook(b, thousand)
	_, h := loopOnce(b, rb, true)
	x, err := rb.New(automation.Start{ID: "x", Limits: automation.Limits{Iterations: 1000}}, epoch)
	require.NoError(b, err)
	start := time.Now()
	for b.Loop() {
		require.NoError(b, rb.Replay(x.Clone(), h))
	}
	each := time.Since(start) / time.Duration(b.N)
	again := time.Now()
	n := 0
	for time.Since(again) < 50*time.Millisecond || n == 0 {
		loopOnce(b, rb, false)
		n++
	}
	limit := time.Since(again) / time.Duration(n)
	b.ReportMetric(float64(len(h))/each.Seconds(), "events/s")
	b.ReportMetric(float64(each)/float64(limit), "ratio")
}

// BenchmarkStepsBySize shows that a step costs the same however many there were before: the ratio is of the time of a step in a list of 1,000 to one in a list of 100.
func BenchmarkStepsBySize(b *testing.B) {
	per := map[int]time.Duration{}
	for b.Loop() {
		for _, n := range []int{100, 1000} {
			src := `{"schemaVersion":"0.3","mainSteps":[`
			for i := range n {
				if i > 0 {
					src += ","
				}
				src += fmt.Sprintf(`{"name":"s%d","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"}}`, i)
			}
			rb, err := automation.ParseRunbook([]byte(src+"]}"), &document.Options{MaxSize: -1})
			require.NoError(b, err)
			x, err := rb.New(automation.Start{ID: "x"}, epoch)
			require.NoError(b, err)
			start := time.Now()
			ev := automation.Event{Begin: true}
			for !x.Status.Done() {
				_, _ = rb.Step(x, ev, epoch)
				if x.Current >= 0 {
					ev = automation.Event{Result: &automation.Result{StepID: x.Steps[x.Current].ID, Attempt: 1}}
				}
			}
			per[n] = time.Since(start) / time.Duration(n)
		}
	}
	b.ReportMetric(float64(per[1000])/float64(per[100]), "ratio")
}

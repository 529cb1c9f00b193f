package automation_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/memstore"
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

// disk is a service over a file.
func disk(b *testing.B, docs shelf, acts map[string]automation.Action) (*automation.Service, store.Store, func()) {
	st, err := boltstore.Open(b.Context(), filepath.Join(b.TempDir(), "store"), nil)
	require.NoError(b, err)
	leases := lease.New(st, nil, lease.Config{Exclusive: true})
	s, err := automation.NewService(automation.Config{Store: st, Documents: docs, Authorizer: access.AllowAll{}, Leases: leases, Actions: acts, Concurrency: 1 << 20})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { leases.Run(ctx) }) //nolint:errcheck // it ends with ctx
	wg.Go(func() { s.Run(ctx) })      //nolint:errcheck // likewise
	return s, st, func() { cancel(); wg.Wait(); require.NoError(b, st.Close()) }
}

// BenchmarkDurable runs executions of ten steps, sixteen at a time, on a file. The limit is one commit a transition: the ratio is to commits of as many records of that size by as
// many goroutines.
func BenchmarkDurable(b *testing.B) {
	src := `{"schemaVersion":"0.3","mainSteps":[`
	for i := range 10 {
		if i > 0 {
			src += ","
		}
		src += fmt.Sprintf(`{"name":"s%d","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"}}`, i)
	}
	s, st, end := disk(b, shelf{"Ten": src + "]}"}, map[string]automation.Action{"aws:executeAwsApi": {Repeat: true, Run: func(context.Context, automation.Call) (any, error) { return nil, nil }}})
	defer end()
	id, err := s.Start(ann, automation.Request{DocumentName: "Ten"})
	require.NoError(b, err)
	_, err = s.Wait(ann, id) // its leases are there then
	require.NoError(b, err)
	const at, rounds = 16, 5
	var ours, limit time.Duration // taken in turn: what else the machine does meets both
	n, k := 0, 0
	for b.Loop() {
		for range rounds {
			start := time.Now()
			var wg sync.WaitGroup
			for range at {
				wg.Go(func() {
					id, err := s.Start(ann, automation.Request{DocumentName: "Ten"})
					if err == nil {
						_, err = s.Wait(ann, id)
					}
					if err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			ours += time.Since(start)
			start = time.Now()
			for g := range at {
				wg.Go(func() {
					for i := range 12 {
						if err := st.Update(b.Context(), func(_ context.Context, tx store.Tx) error {
							for _, r := range []string{"log", "head", "event", "events"} { // what a transition writes: the entry, what lists show, what followers hear and its number
								if err := tx.Put([]byte(fmt.Sprintf("bench/%s/%d/%d", r, g, k*12+i)), make([]byte, 500)); err != nil {
									return err
								}
							}
							return nil
						}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			limit += time.Since(start)
			n, k = n+at*12, k+1 // a start, a beginning, ten answers
		}
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "transitions/s")
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
}

// BenchmarkWaiting holds executions that wait for a person, 1,000 of them (10,000 with FLEETWRIGHT_LONG=1): memory and goroutines of each.
func BenchmarkWaiting(b *testing.B) {
	n := 1000
	if os.Getenv("FLEETWRIGHT_LONG") != "" {
		n = 10_000
	}
	for b.Loop() {
		st := memstore.New()
		leases := lease.New(st, nil, lease.Config{Exclusive: true})
		s, err := automation.NewService(automation.Config{Store: st, Documents: shelf{"Hold": `{"schemaVersion":"0.3","mainSteps":[{"name":"hold","action":"aws:pause","inputs":{}}]}`}, Authorizer: access.AllowAll{}, Leases: leases})
		require.NoError(b, err)
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		wg.Go(func() { leases.Run(ctx) }) //nolint:errcheck // it ends with ctx
		var ids []string
		for range n {
			id, err := s.Start(ann, automation.Request{DocumentName: "Hold"})
			require.NoError(b, err)
			ids = append(ids, id)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		routines := runtime.NumGoroutine()
		wg.Go(func() { s.Run(ctx) }) //nolint:errcheck // likewise
		for _, id := range ids {
			for e, err := range s.Events(ann, id, 0) {
				require.NoError(b, err)
				if e.Kind == "ExecutionWaiting" {
					break
				}
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/execution")
		b.ReportMetric(float64(runtime.NumGoroutine()-routines)/float64(n), "goroutines/execution")
		cancel()
		wg.Wait()
	}
}

// BenchmarkStart is the time from a Start to the call of the first action, on a file. The limit is what must be durable before: the start and its beginning, each a commit of as many records.
func BenchmarkStart(b *testing.B) {
	called := make(chan time.Time, 1)
	s, st, end := disk(b, shelf{"One": `{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A"}}]}`}, map[string]automation.Action{
		"aws:executeAwsApi": {Repeat: true, Run: func(context.Context, automation.Call) (any, error) { called <- time.Now(); return nil, nil }}})
	defer end()
	one := func() time.Duration {
		began := time.Now()
		id, err := s.Start(ann, automation.Request{DocumentName: "One"})
		require.NoError(b, err)
		took := (<-called).Sub(began)
		_, err = s.Wait(ann, id)
		require.NoError(b, err)
		return took
	}
	one() // the leases are there then
	const times = 20
	var all time.Duration
	n := 0
	for b.Loop() {
		for range times {
			all += one()
			n++
		}
	}
	again := time.Now()
	for i := range times {
		for _, records := range []int{8, 6} {
			require.NoError(b, st.Update(b.Context(), func(_ context.Context, tx store.Tx) error {
				for r := range records {
					if err := tx.Put([]byte(fmt.Sprintf("bench/%d/%d", r, i)), make([]byte, 500)); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	limit := time.Since(again) / times
	b.ReportMetric(float64(all.Microseconds())/float64(n), "µs/start")
	b.ReportMetric(float64(all)/float64(n)/float64(limit), "ratio")
}

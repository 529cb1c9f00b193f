package command

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
)

// heardOf is an observer that remembers.
type heardOf struct {
	mu     sync.Mutex
	events []observe.Event
}

func (h *heardOf) Observe(_ context.Context, e observe.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *heardOf) of(k observe.Kind) (out []observe.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

// A command's whole story is told, once each, whatever is sent again meanwhile.
func TestACommandsStoryIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 12)
		defer w.close()
		w.works(2 * time.Second)
		bad := w.nodes[3].ID
		w.end = func(n string) message.Detail {
			if n == bad {
				return message.DetailFailed
			}
			return message.DetailSuccess
		}
		o := &heardOf{}
		a := w.start("a", func(c *Config) { c.Observer = o })
		defer a.stop()
		synctest.Wait()
		began := time.Now()
		c, err := a.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "3", MaxErrors: "2"})
		require.NoError(t, err)
		_, err = a.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(time.Minute)

		sends := o.of(observe.Send)
		require.Len(t, sends, 1)
		require.Equal(t, "ok", sends[0].Label)
		require.Equal(t, c.ID, sends[0].Command)
		require.Equal(t, 12, sends[0].N)
		require.Len(t, o.of(observe.Dispatch), 1)
		require.Len(t, o.of(observe.Deliver), 12)
		ended := map[string]int{}
		for _, e := range o.of(observe.Invocation) {
			require.Equal(t, c.ID, e.Command)
			require.Positive(t, e.Took())
			ended[e.Node+" "+e.Label]++
		}
		want := map[string]int{}
		for _, n := range w.nodes {
			d := "Success"
			if n.ID == bad {
				d = "Failed"
			}
			want[n.ID+" "+d] = 1
		}
		require.Equal(t, want, ended)
		over := o.of(observe.Command)
		require.Len(t, over, 1)
		require.Equal(t, 12, over[0].N)
		require.True(t, over[0].Start.Equal(began))
		kinds := map[string]bool{}
		for _, e := range o.of(observe.Message) {
			kinds[e.Label] = true
			require.NoError(t, e.Err)
		}
		require.True(t, kinds["offer"] && kinds["run"] && kinds["ack"], "%v", kinds)

		_, err = a.Send(t.Context(), SendRequest{DocumentName: "Hello"})
		require.Error(t, err)
		sends = o.of(observe.Send)
		require.Equal(t, fault.KindOf(err).String(), sends[1].Label)
		require.Equal(t, err, sends[1].Err)
		require.Empty(t, sends[1].Command)
	})
}

// The gauges tell how the outbox stands, and for how long its oldest waits.
func TestGauges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 10)
		defer w.close()
		w.works(100 * time.Second)
		deaf := w.nodes[0].ID
		w.deaf[deaf] = true
		a := w.start("a", func(c *Config) { c.Observer = &heardOf{} })
		defer a.stop()
		synctest.Wait()
		gauge := func() (g observe.Gauges) {
			a.Gauge(&g)
			return g
		}
		require.Zero(t, gauge())
		c, err := a.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "4", NoRamp: true})
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		g := gauge()
		require.Equal(t, observe.Gauges{Commands: 1, Pending: 6, Outbox: 1, Running: 3, Oldest: g.Oldest, OldestIn: c.ID}, g)
		require.InDelta(t, 10, g.Oldest.Seconds(), 1)
		time.Sleep(10 * time.Second) // given up for the time being: another one takes its place
		g = gauge()
		require.Equal(t, observe.Gauges{Commands: 1, Pending: 5, Outbox: 1, Delayed: 1, Running: 4, Oldest: g.Oldest, OldestIn: c.ID}, g)
		require.InDelta(t, 20, g.Oldest.Seconds(), 1)
		require.NoError(t, a.Cancel(t.Context(), c.ID))
		_, err = a.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, gauge())
	})
}

// What an engine forgets of those who answered leaves neither the oldest nor the memory wrong.
func TestWhoAnsweredIsForgotten(t *testing.T) {
	now := time.Unix(1000, 0)
	e := NewEngine(NewState("c", 5000, 5000, 5000, false, now, time.Hour, time.Hour), Timing{})
	ids := make([]Candidate, 5000)
	for i := range ids {
		ids[i].Node = fmt.Sprint("n", i)
	}
	for len(ids) > 0 {
		n := min(len(ids), 10)
		e.Step(now, Event{Candidates: ids[:n]})
		for i, c := range ids[:n] {
			if e.Turn == 10 && i == 0 {
				continue // the first of all never answers
			}
			e.Step(now, Event{Node: c.Node, Ready: &message.Ready{Ref: message.Ref{Command: "c", Attempt: 1}}})
		}
		ids = ids[n:]
		now = now.Add(time.Millisecond)
		e.Flush()
	}
	since, ok := e.Oldest()
	require.True(t, ok)
	require.Equal(t, time.Unix(1000, 0), since)
	require.Less(t, cap(e.unheard), 500)
	require.True(t, slices.ContainsFunc(e.unheard, func(a asked) bool { return a.node == "n0" }))
}

// BenchmarkObserved measures what an observer costs a fan-out to 2,000 nodes in the engine's owner: with one, without one.
func BenchmarkObserved(b *testing.B) {
	run := func(o observe.Observer) (took time.Duration) {
		a := &actor{s: &Service{cfg: Config{Observer: o, Now: time.Now}}, key: actorKey{"default", "c"}, log: slog.New(slog.DiscardHandler)}
		now := time.Unix(1000, 0)
		a.engine = NewEngine(NewState("c", 2000, 2000, 0, false, now, time.Hour, time.Hour), Timing{})
		a.engine.watched = o != nil
		ids := make([]Candidate, 2000)
		for i := range ids {
			ids[i].Node = fmt.Sprintf("mi-%017x", i)
		}
		ref := message.Ref{Command: "c", Attempt: 1}
		a.engine.Step(now, Event{Candidates: ids})
		a.engine.Flush()
		start := time.Now()
		for _, c := range ids {
			a.engine.Step(now, Event{Node: c.Node, Ready: &message.Ready{Ref: ref}})
		}
		f, err := a.encode()
		if err == nil {
			for _, c := range ids {
				a.engine.Step(now, Event{Node: c.Node, Report: &message.Report{Ref: ref, Seq: 1, Detail: message.DetailSuccess}})
			}
			f, err = a.encode()
		}
		if err != nil {
			b.Fatal(err)
		}
		if o != nil {
			a.told(b.Context(), f)
		}
		return time.Since(start)
	}
	run(nil)
	var bare, with time.Duration
	for b.Loop() {
		for range 20 {
			bare += run(nil)
			with += run(observe.Func(func(context.Context, observe.Event) {}))
		}
	}
	b.ReportMetric(float64(with)/float64(bare), "ratio")
}

package command

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/message"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fleet drives an engine as a perfect host would, keeping what it wrote.
type fleet struct {
	e    *Engine
	now  time.Time
	invs map[string]Invocation
	sent map[message.Kind]int
	last State
	ends int
}

func newFleet(n, c, l int, ramp bool) *fleet {
	st := NewState("c", n, c, l, ramp, t0, time.Hour, time.Hour)
	return &fleet{e: NewEngine(st, Timing{}), now: t0, invs: map[string]Invocation{}, sent: map[message.Kind]int{}, last: st}
}

func node(i int) string { return fmt.Sprintf("n%06d", i) }

// flush stores what the engine changed and dispatches while there is room.
func (f *fleet) flush() (offers []string) {
	for {
		for room := f.e.Room(); room > 0 && f.e.Turn < f.e.N; room = f.e.Room() {
			var cs []Candidate
			for i := f.e.Turn; i < min(f.e.N, f.e.Turn+room); i++ {
				_, exists := f.invs[node(i)]
				cs = append(cs, Candidate{Node: node(i), Exists: exists})
			}
			f.e.Step(f.now, Event{Candidates: cs})
		}
		if !f.e.Dirty() {
			return offers
		}
		ch, _ := f.e.Flush()
		f.last = ch.State
		for _, inv := range ch.Invocations {
			f.invs[inv.Node] = inv
		}
		for _, s := range ch.Sends {
			f.sent[s.Kind]++
			if s.Kind == message.KindOffer {
				offers = append(offers, s.Node)
			}
		}
		if ch.Ended {
			f.ends++
		}
	}
}

func (f *fleet) ready(n string) {
	f.e.Step(f.now, Event{Node: n, Ready: &message.Ready{Ref: message.Ref{Command: "c", Attempt: 1}}})
}

func (f *fleet) report(n string, seq uint64, d message.Detail) {
	f.e.Step(f.now, Event{Node: n, Report: &message.Report{Ref: message.Ref{Command: "c", Attempt: 1}, Seq: seq, Detail: d}})
}

func (f *fleet) pass(d time.Duration) {
	f.now = f.now.Add(d)
	f.e.Tick(f.now, 1000)
}

func TestR13_RampUpDoublesAfterAcknowledgements(t *testing.T) {
	f := newFleet(100, 10, 0, true)
	for _, want := range []int{1, 2, 4, 3} { // the fourth wave is cut to what MaxConcurrency leaves
		offers := f.flush()
		require.Len(t, offers, want)
		for _, n := range offers {
			f.ready(n)
		}
	}
	require.Empty(t, f.flush(), "ten run: no slot is free")
	f.report(node(0), 1, message.DetailSuccess)
	require.Len(t, f.flush(), 1)
}

func TestT1_TheSixthErrorOfFiftyAtTenPercentStops(t *testing.T) {
	f := newFleet(50, 1, 5, false) // 10 % of 50
	for i := range 6 {
		require.Equal(t, []string{node(i)}, f.flush())
		f.ready(node(i))
		f.report(node(i), 1, message.DetailFailed)
	}
	require.Empty(t, f.flush())
	require.True(t, f.e.State.Done())
	require.Equal(t, message.DetailFailed, f.last.Detail())
	require.Equal(t, Counts{message.DetailFailed: 6, message.DetailTerminated: 44}, f.last.Counts)
	require.Equal(t, message.DetailTerminated, f.last.Rest)
}

func TestAnOfflineNodeHoldsASlotOnlyUntilDelayed(t *testing.T) {
	f := newFleet(3, 1, 0, false)
	require.Equal(t, []string{node(0)}, f.flush())
	f.pass(14 * time.Second)
	require.Equal(t, []string{node(0)}, f.flush(), "the offer is repeated, the slot is kept")
	f.pass(time.Second)
	require.Equal(t, []string{node(1)}, f.flush())
	require.Equal(t, message.DetailDelayed, f.invs[node(0)].Detail)

	f.ready(node(1))
	f.e.Step(f.now, Event{Node: node(0), Present: true, First: true})
	require.Equal(t, []string{node(0)}, f.flush(), "it is back: it is asked, and gets no slot for that")
	require.Equal(t, message.DetailDelayed, f.invs[node(0)].Detail)
	f.ready(node(0))
	f.pass(0)
	require.Empty(t, f.flush())
	require.Equal(t, message.DetailDelayed, f.invs[node(0)].Detail, "an answer starts nothing while no slot is free: MaxConcurrency is never exceeded")
	f.report(node(1), 1, message.DetailSuccess)
	f.pass(0)
	require.Equal(t, []string{node(0)}, f.flush(), "the one that waited goes first, and is asked whether it still can")
	f.ready(node(0))
	f.report(node(0), 1, message.DetailSuccess)
	require.Equal(t, []string{node(2)}, f.flush())
}

func TestAnAbsentNodeIsDelayedAtOnce(t *testing.T) {
	f := newFleet(2, 1, 0, false)
	f.e.Step(f.now, Event{Candidates: []Candidate{{Node: node(0), Absent: true}, {Node: node(1)}}})
	require.Equal(t, []string{node(1)}, f.flush())
	require.Equal(t, message.DetailDelayed, f.invs[node(0)].Detail)
	f.pass(time.Hour)
	f.flush()
	require.Equal(t, message.DetailDeliveryTimedOut, f.invs[node(0)].Detail, "the delivery timeout ends it")
	require.Equal(t, message.DetailDeliveryTimedOut, f.last.Detail())
}

func TestCancelEndsWhatNeverRanAndStopsTheRest(t *testing.T) {
	f := newFleet(1000, 2, 0, false)
	f.flush()
	f.ready(node(0))
	f.e.Step(f.now, Event{Cancel: true})
	f.pass(0)
	f.flush()
	require.Equal(t, message.DetailCancelling, f.last.Detail())
	require.Equal(t, 999, f.last.Counts[message.DetailCancelled])
	require.Equal(t, message.DetailCancelled, f.invs[node(1)].Detail, "offered, never told to run")
	require.Equal(t, message.DetailCancelling, f.invs[node(0)].Detail)
	require.Equal(t, 1, f.sent[message.KindCancel])
	f.pass(2 * time.Second)
	f.flush()
	require.Greater(t, f.sent[message.KindCancel], 1, "repeated until the node answers")
	f.ready(node(1))
	f.flush()
	require.Equal(t, 1, f.sent[message.KindRun], "a node that answers late starts nothing")
	f.report(node(0), 1, message.DetailCancelled)
	f.flush()
	require.Equal(t, message.DetailCancelled, f.last.Detail())
	require.Equal(t, 1, f.ends)
}

// Between the moment when a command closes and the sweep that ends what is open, however long that takes, nothing starts.
func TestNothingStartsOnceTheCommandCloses(t *testing.T) {
	f := newFleet(5000, 5000, 0, false)
	f.flush()
	f.ready(node(0))
	f.report(node(0), 1, message.DetailFailed)
	f.ready(node(4999))
	f.e.Step(f.now, Event{Node: node(4998), Present: true, First: true})
	f.flush()
	require.Equal(t, 1, f.sent[message.KindRun])
	f.pass(0)
	f.ready(node(4998))
	for range 10 {
		f.flush()
		f.pass(0)
	}
	require.Equal(t, 1, f.sent[message.KindRun])
	require.Equal(t, 4999, f.last.Counts[message.DetailTerminated])
	require.True(t, f.e.State.Done())
}

func TestCancelOfOneNodeBeforeItsTurn(t *testing.T) {
	f := newFleet(3, 1, 0, false)
	f.flush()
	f.e.Step(f.now, Event{Cancel: true, Nodes: []string{node(2)}})
	f.flush()
	for i := range 2 {
		f.ready(node(i))
		f.report(node(i), 1, message.DetailSuccess)
		f.flush()
	}
	require.True(t, f.e.State.Done())
	require.Equal(t, Counts{message.DetailSuccess: 2, message.DetailCancelled: 1}, f.last.Counts)
	require.Equal(t, message.DetailIncomplete, f.last.Detail())
}

func TestR21_AtExpiresAfterEverythingEndsAsDeliveryTimedOut(t *testing.T) {
	f := newFleet(10, 3, 9, false)
	f.flush()
	f.ready(node(0))
	f.report(node(0), 1, message.DetailInProgress)
	f.flush()
	f.pass(2 * time.Hour)
	f.flush()
	require.Equal(t, 9, f.last.Counts[message.DetailDeliveryTimedOut])
	require.Equal(t, message.DetailCancelling, f.invs[node(0)].Detail, "what runs is told to stop, and may say how it ended")
	f.pass(6 * time.Second)
	f.flush()
	require.True(t, f.e.State.Done(), "silence ends it: deadline plus grace")
	require.Equal(t, 10, f.last.Counts[message.DetailDeliveryTimedOut])
	require.Equal(t, message.DetailDeliveryTimedOut, f.last.Detail())
}

func TestDerivation(t *testing.T) {
	s, f, e, d := message.DetailSuccess, message.DetailFailed, message.DetailExecutionTimedOut, message.DetailDeliveryTimedOut
	u, p, a := message.DetailUndeliverable, message.DetailInvalidPlatform, message.DetailAccessDenied
	for name, c := range map[string]struct {
		n, limit int
		cancel   bool
		counts   Counts
		running  int
		want     message.Detail
	}{
		"no targets":       {0, 0, false, nil, 0, message.DetailNoInstancesInTag},
		"nothing happened": {2, 0, false, nil, 0, message.DetailPending},
		"one runs":         {2, 0, false, nil, 1, message.DetailInProgress},
		"cancel asked":     {2, 0, true, Counts{s: 1}, 1, message.DetailCancelling},
		"T2: no error and MaxErrors 0 is a success": {2, 0, false, Counts{s: 2}, 0, s},
		"T2: errors at the limit":                   {3, 1, false, Counts{s: 2, f: 1}, 0, message.DetailIncomplete},
		"T2: errors above the limit":                {3, 1, false, Counts{s: 1, f: 2}, 0, f},
		"timeouts above the limit":                  {3, 1, false, Counts{s: 1, e: 2}, 0, e},
		"mixed above the limit":                     {3, 1, false, Counts{s: 1, e: 1, f: 1}, 0, f},
		"delivery above the limit":                  {3, 1, false, Counts{s: 1, d: 2}, 0, d},
		"T3: 4 undeliverable and 1 success":         {5, 0, false, Counts{u: 4, s: 1}, 0, s},
		"T3: all undeliverable":                     {5, 0, false, Counts{u: 5}, 0, f},
		"platforms and rights do not count":         {3, 0, false, Counts{s: 1, p: 1, a: 1}, 0, s},
		"cancelled":                                 {2, 0, true, Counts{s: 1, message.DetailCancelled: 1}, 0, message.DetailCancelled},
		"cancel came too late":                      {2, 0, true, Counts{s: 2}, 0, s},
		"interrupted counts as an error":            {1, 0, false, Counts{message.DetailInterrupted: 1}, 0, f},
	} {
		t.Run(name, func(t *testing.T) {
			st := State{N: c.n, ErrorLimit: c.limit, Cancel: c.cancel, Counts: c.counts, Running: c.running}
			require.Equal(t, c.want, st.Detail())
		})
	}
}

// The rules hold over every schedule: slots within MaxConcurrency, nothing offered after the limit was passed, one end per invocation, errors at most limit + concurrency, and
// an engine restored from what was written decides as the one that was lost.
func TestEngineProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n, c, l := rapid.IntRange(1, 30).Draw(r, "n"), rapid.IntRange(1, 8).Draw(r, "c"), rapid.IntRange(0, 5).Draw(r, "l")
		f := newFleet(n, c, l, rapid.Bool().Draw(r, "ramp"))
		ended, stopped := map[string]message.Detail{}, false
		seq := map[string]uint64{}
		check := func() {
			offers := f.flush()
			slots, delayed, open := 0, 0, 0
			for nd, inv := range f.invs {
				switch inv.Phase {
				case PhaseOffered, PhaseDelivered:
					slots++
					open++
				case PhaseDelayed:
					delayed++
					open++
				case PhaseDone:
					if was, ok := ended[nd]; ok && was != inv.Detail {
						r.Fatalf("%s ended as %s and then as %s", nd, was, inv.Detail)
					}
					ended[nd] = inv.Detail
				}
			}
			if slots > c || slots != f.e.Slots || delayed != f.e.Delayed || open != f.e.Open() {
				r.Fatalf("slots %d (engine %d, limit %d), delayed %d (%d), open %d (%d)", slots, f.e.Slots, c, delayed, f.e.Delayed, open, f.e.Open())
			}
			if stopped && len(offers) > 0 {
				r.Fatalf("%v were offered the command after errors > limit was committed", offers)
			}
			stopped = f.last.Counts.Errors() > l
			if open > 0 && f.e.Open() != open {
				r.Fatalf("%d are open, the engine has %d", open, f.e.Open())
			}
			if got := f.last.Counts.Errors(); got > l+c {
				r.Fatalf("%d errors with limit %d and concurrency %d", got, l, c)
			}
			if f.e.State.Done() != (f.last.Counts.Done() == n) || f.last.Counts.Done() > n {
				r.Fatalf("counts %v of %d", f.last.Counts, n)
			}
		}
		some := func() string { return node(rapid.IntRange(0, n-1).Draw(r, "node")) }
		r.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check(); checkOldest(r, f.e) },
			"ready": func(*rapid.T) {
				f.ready(some())
			},
			"refuse": func(*rapid.T) {
				f.e.Step(f.now, Event{Node: some(), Ready: &message.Ready{Ref: message.Ref{Command: "c", Attempt: 1}, Refused: message.DetailInvalidPlatform}})
			},
			"report": func(r *rapid.T) {
				nd := some()
				d := rapid.SampledFrom([]message.Detail{message.DetailInProgress, message.DetailSuccess, message.DetailFailed, message.DetailExecutionTimedOut,
					message.DetailInterrupted, message.DetailCancelled}).Draw(r, "detail")
				if rapid.Bool().Draw(r, "new") {
					seq[nd]++
				}
				f.report(nd, seq[nd], d)
			},
			"present": func(r *rapid.T) {
				f.e.Step(f.now, Event{Node: some(), Present: true, First: rapid.Bool().Draw(r, "first")})
			},
			"time": func(r *rapid.T) {
				f.pass(time.Duration(rapid.IntRange(0, 600).Draw(r, "s")) * time.Second)
			},
			"cancel nodes, and a slot is freed in the same batch": func(r *rapid.T) {
				if rapid.IntRange(0, 9).Draw(r, "rare") > 0 {
					return
				}
				var nodes []string
				for range rapid.IntRange(1, 3).Draw(r, "how many") {
					if nd := some(); f.invs[nd].Phase != PhaseDone {
						nodes = append(nodes, nd)
					}
				}
				if len(nodes) > 0 {
					f.e.Step(f.now, Event{Cancel: true, Nodes: nodes})
					f.e.Step(f.now, Event{Cancel: true, Nodes: nodes})
				}
				nd := some()
				seq[nd]++
				f.report(nd, seq[nd], message.DetailSuccess)
			},
			"cancel": func(r *rapid.T) {
				if rapid.IntRange(0, 30).Draw(r, "rare") == 0 {
					f.e.Step(f.now, Event{Cancel: true})
				}
			},
			"crash": func(*rapid.T) {
				var invs []Invocation
				for _, inv := range f.invs {
					invs = append(invs, inv)
				}
				f.e = Restore(f.last, Timing{}, invs, f.now)
			},
		})
		// Whatever happened, time ends it.
		f.pass(3 * time.Hour)
		check()
		f.pass(time.Minute)
		check()
		if !f.e.State.Done() {
			r.Fatalf("not ended after the deadline: %+v", f.e.State)
		}
	})
}

// One event costs the same on a command of 100,000 invocations as on one of ten.
func BenchmarkEvent(b *testing.B) {
	const rounds = 100_000
	cost := func(n int) float64 {
		f := newFleet(n, n, n, false)
		f.flush()
		begin := time.Now()
		for i := range rounds {
			f.ready(node(i % n))
			f.report(node(i%n), uint64(i+1), message.DetailInProgress)
			f.e.Flush()
		}
		return float64(time.Since(begin).Nanoseconds()) / (2 * rounds)
	}
	small, large := 0.0, 0.0
	for b.Loop() {
		small, large = small+cost(10), large+cost(100_000)
	}
	b.ReportMetric(large/small, "ratio")
	b.ReportMetric(large/float64(b.N), "ns/event")
}

// checkOldest holds Oldest against all invocations.
func checkOldest(r *rapid.T, e *Engine) {
	var want time.Time
	for _, o := range e.open {
		if o.Phase != PhaseDelivered && (want.IsZero() || o.OfferedAt.Before(want)) {
			want = o.OfferedAt
		}
	}
	since, ok := e.Oldest()
	require.Equal(r, !want.IsZero(), ok)
	require.True(r, since.Equal(want), "%v, want %v", since, want)
}

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// misdeeds are what a node that is root's no longer may send about command c. Phases tell when.
func misdeeds(c, other string) map[string]any {
	ref := message.Ref{Command: c, Attempt: 1}
	with := func(change func(*message.Ref)) message.Ref { r := ref; change(&r); return r }
	old := with(func(r *message.Ref) { r.Attempt = 0 })
	next := with(func(r *message.Ref) { r.Attempt = math.MaxInt })
	elsewhere := with(func(r *message.Ref) { r.Command = other })
	long := strings.Repeat("x", 200_000)
	esc := strings.Repeat("\x1b]52;c;", 5_000)
	out := map[string]any{}
	for name, r := range map[string]message.Ref{"this": ref, "attempt 0": old, "a later attempt": next, "another command": elsewhere, "a negative attempt": {Command: c, Attempt: math.MinInt},
		"no command": {Attempt: 1}, "a path": {Command: "../../" + c, Attempt: 1}, "a long id": {Command: long, Attempt: 1}, "a command that is none": {Command: "00000000-0000-0000-0000-000000000000", Attempt: 1},
		"another case": {Command: strings.ToUpper(c), Attempt: 1}} {
		for _, d := range []message.Detail{message.DetailSuccess, message.DetailInProgress, message.DetailCancelled, message.DetailTerminated, "", message.Detail(strings.Repeat("Success", 1000))} {
			if r == ref && (d == message.DetailSuccess || d.Terminal()) {
				continue // its own end is its own to give
			}
			out[fmt.Sprintf("report of %s: %.12s", name, d)] = message.Report{Ref: r, Seq: 3, Detail: d}
		}
		if r != ref {
			out["ready of "+name] = message.Ready{Ref: r}
			out["refusal of "+name] = message.Ready{Ref: r, Refused: message.DetailInvalidPlatform, Reason: esc}
			out["output of "+name] = message.Output{Ref: r, Data: []byte("x")}
		}
	}
	for name, s := range map[string][]message.StepReport{
		"many steps without a name":      make([]message.StepReport, 3_000),
		"steps of control characters":    manySteps(200, message.StepReport{Name: esc[:500], Action: esc[:100], Status: message.Status(esc[:20]), Reason: esc[:200]}),
		"heads over their limits":        {{Stdout: message.Stream{Head: long, Size: math.MaxInt64, Dropped: math.MaxInt64}, Stderr: message.Stream{Head: strings.Repeat("y", 30_000), Size: -1}}},
		"negative sizes and impossible":  {{Status: "Exploded", ExitCode: math.MinInt, Reboots: math.MinInt, Stdout: message.Stream{Size: math.MinInt64, Dropped: -5}, Started: time.Unix(-1<<40, 0), Ended: t0}},
		"an end before the beginning":    {{Status: message.Success, Started: t0, Ended: t0.Add(-time.Hour)}},
		"a step with another one's name": {{Name: "greet"}, {Name: "greet"}},
	} {
		out["report of "+name] = message.Report{Ref: ref, Seq: 4, Detail: message.DetailInProgress, Steps: s}
	}
	begin := `{"command":"` + c + `","attempt":1,"seq":100,"detail":"InProgress","steps":[`
	out["a report of sixty thousand steps in three bytes each"] = json.RawMessage(begin + strings.TrimSuffix(strings.Repeat("{},", 60_000), ",") + "]}")
	out["a report of steps that grow when they are written"] = json.RawMessage(strings.Replace(begin, "100", "101", 1) + strings.TrimSuffix(strings.Repeat(`{"stdout":{"head":"\u001b"}},`, 6_000), ",") + "]}")
	out["a report with the largest number"] = message.Report{Ref: ref, Seq: math.MaxUint64, Detail: message.DetailInProgress}
	out["a report with the smallest number"] = message.Report{Ref: ref, Seq: 0, Detail: message.DetailInProgress}
	out["a report from the year 1"] = message.Report{Ref: ref, Seq: 5, Detail: message.DetailInProgress, Started: time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)), Ended: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	out["a long reason"] = message.Report{Ref: ref, Seq: 6, Detail: message.DetailInProgress, Reason: long}
	out["a refusal after it was told to run"] = message.Ready{Ref: ref, Refused: message.DetailAccessDenied}
	out["readiness again"] = message.Ready{Ref: ref}
	for name, o := range map[string]message.Output{
		"a step that does not exist": {Step: 1, Data: []byte("x")}, "a negative step": {Step: -1, Data: []byte("x")}, "a huge step": {Step: math.MaxInt, Data: []byte("x")},
		"a gap": {Offset: 1 << 20, Data: []byte("x")}, "a negative offset": {Offset: -1, Data: []byte("x")}, "the largest offset": {Offset: math.MaxInt64, Data: []byte("x")},
		"no data": {}, "too much data": {Data: make([]byte, message.MaxPiece+1)},
	} {
		o.Ref = ref
		out["output with "+name] = o
	}
	return out
}

// T-EVILNODE: whatever a node says, the other nodes' invocations and the command's counters stay as they are, byte for byte.
func TestT_EVILNODE(t *testing.T) {
	// In each phase of the evil node's invocation.
	for _, phase := range []string{"no turn yet", "offered", "running", "ended"} {
		t.Run(phase, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { evil(t, phase) })
		})
	}
}

func evil(t *testing.T, phase string) {
	w := newSite(t, 5)
	defer w.close()
	var log lockedBuffer
	p := w.start("plane", func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	defer p.stop()
	synctest.Wait()
	w.works(time.Hour)
	evil := w.nodes[4].ID // the last one to have its turn
	concurrency := "5"
	switch phase {
	case "no turn yet":
		concurrency = "4"
	case "offered":
		w.deafen(evil)
	}
	other, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", InstanceIDs: []string{w.nodes[0].ID}})
	require.NoError(t, err)
	c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: concurrency, NoRamp: true})
	require.NoError(t, err)
	time.Sleep(time.Second)
	ref := message.Ref{Command: c.ID, Attempt: 1}
	if phase == "ended" {
		require.NoError(t, p.Handle(t.Context(), "default", evil, envelope(t, message.KindReport, message.Report{Ref: ref, Seq: 2, Detail: message.DetailFailed, ExitCode: 1})))
		time.Sleep(time.Second)
	}
	r, err := p.Invocation(t.Context(), c.ID, evil)
	require.NoError(t, err)
	status := r.Status
	// The others: every record of the commands but for those under the evil node, and the story, which tells of its reports.
	others := func() string {
		var b strings.Builder
		for _, part := range []string{"command", "state", "target", "document", "token", "time"} {
			b.WriteString(dump(t, w.store, space("default", part).Range()))
		}
		for _, part := range []func(string, string) key.K{invsKey, headsKey, streamsKey} {
			for _, id := range []string{c.ID, other.ID} {
				for _, n := range w.nodes[:4] {
					b.WriteString(dump(t, w.store, exactly(part("default", id).Str(n.ID))))
					b.WriteString(dump(t, w.store, part("default", id).Str(n.ID).Range()))
				}
			}
		}
		return b.String()
	}
	before := others()
	n := 0
	deeds := misdeeds(c.ID, other.ID)
	for _, name := range slices.Sorted(maps.Keys(deeds)) { // in order of their numbers, so that each is looked at
		body := deeds[name]
		if r, ok := body.(message.Ready); ok && r.Ref == ref && phase == "offered" {
			continue // that is its own to answer
		}
		kind := kindOf(body)
		b, raw := body.(json.RawMessage)
		if !raw {
			var err error
			if b, err = message.Marshal(kind, body); err != nil {
				continue // it is too large for any envelope
			}
		}
		for range 2 {
			p.Handle(t.Context(), "default", evil, message.Envelope{Tenant: "default", Kind: kind, Body: b}) //nolint:errcheck // it may well refuse
		}
		time.Sleep(10 * time.Millisecond)
		same(t, before, others(), name)
		require.NotContains(t, log.String(), "cannot go on", "%s: a report that cannot be written stops everybody", name)
		for _, id := range []string{c.ID, other.ID} {
			require.Empty(t, dump(t, w.store, streamsKey("default", id).Range()), "%s: no step wrote that", name)
		}
		n++
	}
	// Bodies that are not what their kind says.
	for _, body := range []string{"", "{", "[]", "null", `{"command":5}`, `{"seq":-1}`, `{"seq":1e99}`, `{"steps":{}}`, `{"attempt":"1"}`, strings.Repeat("[", 100_000), "\xff\xfe"} {
		for _, k := range []message.Kind{message.KindReady, message.KindReport, message.KindOutput, message.KindRun, message.KindAck, "", "nonsense"} {
			require.Error(t, p.Handle(t.Context(), "default", evil, message.Envelope{Tenant: "default", Kind: k, Body: []byte(body)}))
			n++
		}
	}
	// Signs of life in any number are no answers.
	for range 1000 {
		p.Heard("default", evil, true)
	}
	time.Sleep(10 * time.Millisecond)
	same(t, before, others(), "signs of life")
	require.GreaterOrEqual(t, n, 60)
	r, err = p.Invocation(t.Context(), c.ID, evil)
	require.NoError(t, err)
	require.Equal(t, status, r.Status, "terminal is sticky, and nothing began or ended by what is not the node's to say")

	// The others' work ends well.
	require.NoError(t, p.Cancel(t.Context(), c.ID))
	time.Sleep(time.Minute)
	require.NoError(t, p.Cancel(t.Context(), other.ID))
	got, err := p.Wait(t.Context(), other.ID)
	require.NoError(t, err)
	require.Equal(t, message.Cancelled, got.Status)
	for _, n := range w.nodes[:4] {
		r, err := p.Invocation(t.Context(), c.ID, n.ID)
		require.NoError(t, err)
		require.Equal(t, message.Cancelled, r.Status)
	}
	w.checkStarts()
}

// lockedBuffer is a buffer for many writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func kindOf(body any) message.Kind {
	switch body.(type) {
	case message.Ready:
		return message.KindReady
	case message.Report, json.RawMessage:
		return message.KindReport
	}
	return message.KindOutput
}

// T-EVILNODE: a node that sends a million messages takes no room from others, and what it sends costs a bounded amount of memory.
func TestAMillionMessagesTakeNoRoom(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	w := newSite(t, 3)
	p := w.start("plane", nil)
	defer func() { w.close(); p.stop() }()
	var c Command
	require.Eventually(t, func() bool {
		var err error
		c, err = p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1"})
		return err == nil && p.actor("default", c.ID) != nil
	}, 10*time.Second, time.Millisecond)
	a := p.actor("default", c.ID)
	p.gate.close() // the store takes its time
	evil, ref := w.nodes[2].ID, message.Ref{Command: c.ID, Attempt: 1}
	report := envelope(t, message.KindReport, message.Report{Ref: ref, Seq: 1, Detail: message.DetailInProgress, Steps: []message.StepReport{{Stdout: message.Stream{Head: strings.Repeat("x", 20_000)}}}})
	ready := envelope(t, message.KindReady, message.Ready{Ref: ref})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		e := ready
		if i%50 == 0 {
			e = report
		}
		p.Handle(t.Context(), "default", evil, e) //nolint:errcheck // it may be refused
		p.Heard("default", evil, i%2 == 0)
	}
	a.inbox.mu.Lock()
	waiting := len(a.inbox.queue) - a.inbox.next
	a.inbox.mu.Unlock()
	require.LessOrEqual(t, waiting, 6, "the newest of each kind waits, of each node")
	for i := range 2 {
		require.NoError(t, p.Handle(t.Context(), "default", w.nodes[i].ID, ready), "others have room")
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20))
}

// A queue that is full refuses; what callers wait for is never refused.
func TestAFullInboxRefuses(t *testing.T) {
	var b inbox
	big := item{ev: Event{Report: &message.Report{}}, size: inboxBytes / 4}
	for i := range 4 {
		big.ev.Node = node(i)
		require.NoError(t, b.put(big))
	}
	big.ev.Node = node(9)
	require.ErrorContains(t, b.put(big), "full")
	require.NoError(t, b.put(item{ev: Event{Cancel: true}, cancel: key.New("c")}))
	big.ev.Node = node(1)
	require.NoError(t, b.put(big), "a newer one takes the older one's place")
	n := 0
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		n += len(batch)
	}
	require.Equal(t, 5, n)
	require.True(t, b.empty())
	require.Zero(t, b.bytes)
	require.Empty(t, b.index)
	big.ev.Node = node(9)
	require.NoError(t, b.put(big))
}

// Of two reports of a node that wait, the one that says more stays.
func TestTheInboxKeepsTheReportThatSaysMore(t *testing.T) {
	report := func(seq uint64, d message.Detail) item {
		return item{ev: Event{Node: "n", Report: &message.Report{Ref: message.Ref{Attempt: 1}, Seq: seq, Detail: d}}, size: int(seq)}
	}
	for _, c := range []struct{ a, b, want item }{
		{report(1, message.DetailInProgress), report(2, message.DetailInProgress), report(2, message.DetailInProgress)},
		{report(2, message.DetailInProgress), report(1, message.DetailInProgress), report(2, message.DetailInProgress)},
		{report(3, message.DetailSuccess), report(2, message.DetailInProgress), report(3, message.DetailSuccess)},
		{report(9, message.DetailInProgress), report(3, message.DetailSuccess), report(3, message.DetailSuccess)},
	} {
		var b inbox
		require.NoError(t, b.put(c.a))
		require.NoError(t, b.put(c.b))
		require.Equal(t, c.want.size, b.bytes)
		got := b.take()
		require.Len(t, got, 1)
		require.Equal(t, c.want.ev.Report, got[0].ev.Report)
	}
}

// The largest batch of the largest reports fits into a transaction.
func TestABatchOfTheLargestReportsFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 120)
		defer w.close()
		p := w.start("plane", nil)
		defer p.stop()
		synctest.Wait()
		w.works(time.Hour)
		c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "100%", NoRamp: true})
		require.NoError(t, err)
		time.Sleep(time.Second)
		p.gate.close()
		ref := message.Ref{Command: c.ID, Attempt: 1}
		heads := manySteps(1, message.StepReport{Name: "greet", Stdout: message.Stream{Head: strings.Repeat("\x1b", 24_000), Size: 24_000}, Stderr: message.Stream{Head: strings.Repeat("\"", 8_000), Size: 8_000}})
		names := manySteps(800, message.StepReport{Name: strings.Repeat("n", 100), Status: message.Success})
		for i, n := range w.nodes {
			r := message.Report{Ref: ref, Seq: 9, Detail: message.DetailFailed, Steps: heads}
			if i%2 == 0 {
				r.Steps = names
			}
			require.NoError(t, p.Handle(t.Context(), "default", n.ID, envelope(t, message.KindReport, r)))
		}
		p.gate.open()
		got, err := p.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Failed, got.Status)
		r, err := p.Invocation(t.Context(), c.ID, w.nodes[1].ID)
		require.NoError(t, err)
		require.Equal(t, heads[0].Stdout.Head, r.Steps[0].Stdout.Head)
		page, next, err := p.Invocations(t.Context(), ListRequest{Command: c.ID, Limit: 1000})
		require.NoError(t, err)
		require.NotEmpty(t, next, "a page of what is large is short")
		for next != "" {
			var more []Result
			more, next, err = p.Invocations(t.Context(), ListRequest{Command: c.ID, Limit: 1000, NextToken: next})
			require.NoError(t, err)
			page = append(page, more...)
		}
		require.Len(t, page, 120)
	})
}

// Output that a node sends in the smallest pieces is kept in few.
func TestSmallPiecesOfOutputBecomeFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 1)
		defer w.close()
		p := w.start("plane", nil)
		defer p.stop()
		synctest.Wait()
		w.works(time.Hour)
		node := w.nodes[0].ID
		c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", InstanceIDs: []string{node}, OutputLimit: 300_000})
		require.NoError(t, err)
		time.Sleep(time.Second)
		ref := message.Ref{Command: c.ID, Attempt: 1}
		var want strings.Builder
		piece := func(data string) {
			o := message.Output{Ref: ref, Offset: int64(want.Len()), Data: []byte(data)}
			require.NoError(t, p.Handle(t.Context(), "default", node, envelope(t, message.KindOutput, o)))
			require.NoError(t, p.Handle(t.Context(), "default", node, envelope(t, message.KindOutput, o)), "repeated")
			want.WriteString(data)
		}
		for i := range 2000 {
			piece(fmt.Sprintf("line %d of a step that writes little at a time\n", i))
		}
		r, _, err := p.Output(t.Context(), c.ID, node, "greet", false)
		require.NoError(t, err)
		half := make([]byte, 10)
		_, err = r.Read(half)
		require.NoError(t, err)
		piece("more while somebody reads\n")
		var st stream
		require.NoError(t, w.store.View(t.Context(), func(ctx context.Context, r store.Reader) (err error) {
			st, err = p.streams.Get(ctx, r, streamsKey("default", c.ID).Str(node).Str(message.StreamID(0, false)))
			return err
		}))
		require.LessOrEqual(t, len(st.Pieces), 3)
		got := readAll(t, r)
		require.True(t, strings.HasPrefix(want.String(), string(half)+got), "what is read is what was there, and what came since")
		require.GreaterOrEqual(t, len(got)+10, want.Len()-40)

		for want.Len() < 300_000 {
			piece(strings.Repeat("z", 50_000))
		}
		r, info, err := p.Output(t.Context(), c.ID, node, "greet", false)
		require.NoError(t, err)
		require.Equal(t, want.String()[:300_000], readAll(t, r), "beyond the limit nothing is kept")
		require.Equal(t, int64(300_000), info.Size)
		require.False(t, info.Whole)
	})
}

func readAll(t testing.TB, r interface {
	Read([]byte) (int, error)
	Close() error
},
) string {
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			require.EqualError(t, err, "EOF")
			require.NoError(t, r.Close())
			return b.String()
		}
	}
}

package command

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
)

// latency is how long invocations took: from Send to the end, and from their own turn.
type latency struct{ whole, own []time.Duration }

func (l latency) at(percent int) time.Duration { return percentile(l.whole, percent) }

func percentile(d []time.Duration, percent int) time.Duration { return d[(len(d)-1)*percent/100] }

// measureSilent sends a command to n nodes, some of which are connected and never answer, and returns what the others took, in order. Time is virtual, so that nothing but waiting counts.
func measureSilent(t *testing.T, n int, silent []int, req SendRequest) (l latency) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, n)
		defer w.close()
		for _, i := range silent {
			w.deafen(w.nodes[i].ID)
		}
		p := w.start("plane", nil)
		defer p.stop()
		synctest.Wait()
		req.DocumentName, req.Targets, req.MaxErrors = "Hello", web, "100%"
		c, err := p.Send(t.Context(), req)
		require.NoError(t, err)
		c, err = p.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, n-len(silent), c.Counts[message.DetailSuccess])
		require.Equal(t, len(silent), c.Counts[message.DetailDeliveryTimedOut])
		for inv, err := range p.scanInvocations(t.Context(), "default", c.ID) {
			require.NoError(t, err)
			if inv.Detail == message.DetailSuccess {
				l.whole = append(l.whole, inv.DoneAt.Sub(c.RequestedDateTime))
				l.own = append(l.own, inv.DoneAt.Sub(inv.OfferedAt))
			}
		}
		w.checkStarts()
	})
	slices.Sort(l.whole)
	slices.Sort(l.own)
	return l
}

// F11: one node in a hundred is connected and never answers. What the others wait for, from Send to their end, is what it is without those; from their own turn it is so to the
// millisecond. Where slots are scarce, a silent node costs its slot for fifteen seconds, once; where it is among the first seven, which start one after another, it costs a second.
func TestSilentNodesDoNotSlowOthers(t *testing.T) {
	n := 500
	if testing.Short() {
		n = 200
	}
	if testenv.Long() {
		n = 10_000
	}
	var spread []int
	for i := range n / 100 {
		spread = append(spread, i*100+37)
	}
	for _, c := range []struct {
		name   string
		silent []int
		max    string
		early  time.Duration // what those among the first seven cost
		slots  int           // 0: as many as nodes
	}{
		{"all at once", spread, "100%", 0, 0},
		{"50 at once", spread, "50", 0, 50},
		{"all at once, the first two", []int{0, 1}, "100%", 2 * time.Second, 0},
		{"50 at once, the first two", []int{0, 1}, "50", 2 * time.Second, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := SendRequest{MaxConcurrency: c.max, TimeoutSeconds: 60}
			without, with := measureSilent(t, n, nil, req), measureSilent(t, n, c.silent, req)
			t.Logf("%d nodes, %d silent: p50 %v, without those %v; p99 %v, without %v", n, len(c.silent), with.at(50), without.at(50), with.at(99), without.at(99))
			late := 0
			for _, d := range with.whole {
				if d > 2*without.at(99)+c.early {
					late++
				}
			}
			testenv.Figure(t, "nodes beside 1 % that never answer; later than twice the p99 without those: "+c.name, len(with.whole), late)
			require.Zero(t, late)
			for _, percent := range []int{50, 99} {
				require.Equal(t, percentile(without.own, percent), percentile(with.own, percent), "p%d from a node's own turn", percent)
				bar := without.at(percent) + without.at(percent)/100 + c.early
				if c.slots > 0 {
					bar += time.Duration(len(c.silent))*15*time.Second/time.Duration(c.slots) + time.Second // and its neighbours' turns come one later at most
				}
				require.LessOrEqual(t, with.at(percent), bar, "p%d from Send", percent)
			}
		})
	}
}

// BenchmarkSilent is the same in real time on the file store: 10,000 nodes at once, 100,000 with FLEETWRIGHT_LONG=1, one in a hundred of which never answers. The ratios are of the others' times
// from Send to their end, to those of a fleet without such nodes in the same run.
func BenchmarkSilent(b *testing.B) {
	n := 10_000
	if testenv.Long() {
		n = 100_000
	}
	var with, without latency
	for b.Loop() {
		without, with = realSilent(b, n, 0), realSilent(b, n, 100)
	}
	b.ReportMetric(float64(with.at(50))/float64(without.at(50)), "p50-ratio")
	b.ReportMetric(float64(with.at(99))/float64(without.at(99)), "p99-ratio")
	b.ReportMetric(with.at(50).Seconds()*1000, "p50-ms")
	b.ReportMetric(with.at(99).Seconds()*1000, "p99-ms")
}

func realSilent(b *testing.B, n, silent int) (l latency) {
	st, end := openStore(b, "boltstore")
	defer end()
	w := newSwarm(n)
	defer w.close()
	w.silent = silent
	s, err := New(Config{Store: st, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: lease.New(st, nil, lease.Config{Exclusive: true})})
	require.NoError(b, err)
	w.service = s
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) }) //nolint:errcheck // ends with ctx
	defer func() { cancel(); wg.Wait() }()
	for len(s.mine()) < Shards {
		runtime.Gosched()
	}
	c, err := s.Send(ctx, SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "100%", TimeoutSeconds: 600})
	require.NoError(b, err)
	want := n
	if silent > 0 {
		want -= n / silent
	}
	for c.Counts[message.DetailSuccess] < want {
		time.Sleep(5 * time.Millisecond)
		c, err = s.Get(ctx, c.ID)
		require.NoError(b, err)
	}
	for inv, err := range s.scanInvocations(ctx, "default", c.ID) {
		require.NoError(b, err)
		if inv.Detail == message.DetailSuccess {
			l.whole = append(l.whole, inv.DoneAt.Sub(c.RequestedDateTime))
		}
	}
	slices.Sort(l.whole)
	return l
}

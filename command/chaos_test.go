package command

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

// Three control planes over one store that fails now and then; planes are stopped for longer than their leases last and resumed; nodes change the plane that they are connected to, and
// some go deaf for a while. In every history: at most one start a node, MaxConcurrency never exceeded, one terminal status an invocation which sticks, at most MaxErrors +
// MaxConcurrency failures, and every command ends by itself. FLEETWRIGHT_CHAOS plays more.
func TestPlanesInTrouble(t *testing.T) {
	for seed := range seeds(150, 12) {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { trouble(t, uint64(seed)) })
		})
	}
}

// seeds returns how many histories are played: FLEETWRIGHT_CHAOS, or long, or with -short short.
func seeds(long, short int) int {
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_CHAOS")); err == nil {
		return n
	}
	if testing.Short() {
		return short
	}
	return long
}

func trouble(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := newSite(t, 3+rng.IntN(15))
	defer w.close()
	good := w.store
	f := &faulty{Store: w.store, rng: rand.New(rand.NewPCG(seed, 8)), rate: rng.Float64() * 0.1}
	w.store = f
	w.works(time.Duration(1+rng.IntN(20)) * time.Second)
	w.end = func(node string) message.Detail {
		if (w.byID[node]+int(seed))%4 == 0 {
			return message.DetailFailed
		}
		return message.DetailSuccess
	}
	var planes []*plane
	for i := range 3 {
		p := w.start(strconv.Itoa(i), nil)
		defer p.stop()
		planes = append(planes, p)
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
	}
	open := func() *plane { // one that runs
		for {
			if p := planes[rng.IntN(len(planes))]; !p.gate.isClosed() {
				return p
			}
		}
	}
	type sent struct {
		id     string
		c, l   int
		cancel bool // it may have been cancelled
	}
	var commands []sent
	for i := range 4 {
		c, l := 1+rng.IntN(5), rng.IntN(len(w.nodes))
		req := SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: strconv.Itoa(c), MaxErrors: strconv.Itoa(l), ClientToken: fmt.Sprint(i), NoRamp: rng.IntN(2) == 0}
		for {
			got, err := open().Send(t.Context(), req)
			if err == nil {
				commands = append(commands, sent{id: got.ID, c: c, l: l})
				break
			}
			time.Sleep(time.Second)
		}
	}
	for range 25 {
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		switch rng.IntN(8) {
		case 0, 1: // a plane is stopped, unless it is the last one
			closed := 0
			for _, p := range planes {
				if p.gate.isClosed() {
					closed++
				}
			}
			if closed < 2 {
				open().gate.close()
			}
		case 2, 3:
			planes[rng.IntN(len(planes))].gate.open()
		case 4, 5:
			w.connect(open())
		case 6:
			n := w.nodes[rng.IntN(len(w.nodes))].ID
			w.mu.Lock()
			w.deaf[n] = !w.deaf[n]
			w.mu.Unlock()
		case 7:
			if i := rng.IntN(len(commands)); rng.IntN(3) == 0 {
				open().Cancel(t.Context(), commands[i].id) //nolint:errcheck // it may have failed, or may be known to nobody
				commands[i].cancel = true
			}
		}
	}
	f.heal()
	w.mu.Lock()
	clear(w.deaf)
	w.mu.Unlock()
	for _, p := range planes {
		p.gate.open()
	}
	w.connect(planes[0])
	for _, c := range commands {
		got, err := planes[1].Wait(t.Context(), c.id)
		require.NoError(t, err)
		total := 0
		for _, n := range got.Counts {
			total += n
		}
		require.Equal(t, len(w.nodes), total)
		require.LessOrEqual(t, got.ErrorCount, c.l+c.c)
		require.LessOrEqual(t, w.most(c.id), c.c, "MaxConcurrency")
		if !c.cancel {
			require.Zero(t, got.Counts[message.DetailCancelled])
		}
		require.Less(t, got.EndedDateTime.Sub(got.RequestedDateTime), 2*time.Hour+10*time.Second)
		ended := map[string]message.Detail{}
		for u, err := range planes[2].Events(t.Context(), c.id, 0) {
			require.NoError(t, err)
			for _, ch := range u.Changes {
				was, over := ended[ch.Node]
				require.False(t, over, "%s ended as %s and then became %s", ch.Node, was, ch.Detail)
				if ch.Detail.Terminal() {
					ended[ch.Node] = ch.Detail
				}
			}
		}
		for token := ""; ; {
			page, next, err := planes[0].Invocations(t.Context(), ListRequest{Command: c.id, NextToken: token})
			require.NoError(t, err)
			for _, r := range page {
				require.True(t, r.Detail.Terminal())
				if was, told := ended[r.Node]; told {
					require.Equal(t, was, r.Detail)
				}
			}
			if token = next; next == "" {
				break
			}
		}
	}
	w.checkStarts()
	time.Sleep(20 * time.Second)
	require.Empty(t, dump(t, good, todo().Range()))
	require.Empty(t, dump(t, good, space("", "active").Range()))
	for _, p := range planes {
		p.mu.Lock()
		actors, heard := len(p.actors), len(p.heard)
		p.mu.Unlock()
		require.Zero(t, actors)
		require.Zero(t, heard, "nobody is remembered who is not waited for")
	}
}

package sim

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
)

// play plays n seeds from the first on, on all processors, and returns what each came to in the order of the seeds.
func play(from uint64, n int, change func(*Config)) []Result {
	out := make([]Result, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				c := Draw(from + uint64(i))
				if change != nil {
					change(&c)
				}
				out[i] = Run(c)
			}
		})
	}
	wg.Wait()
	return out
}

// TestSeeds plays many seeds: 40 by default, FLEETWRIGHT_SEEDS of them otherwise, from FLEETWRIGHT_SEED on.
func TestSeeds(t *testing.T) {
	n, from := testenv.Count(t, "FLEETWRIGHT_SEEDS", 40), uint64(1)
	if v, err := strconv.ParseUint(os.Getenv("FLEETWRIGHT_SEED"), 10, 64); err == nil {
		from = v
	}
	var sum Result
	bad := 0
	const batch = 500
	for at := 0; at < n; at += batch {
		part := play(from+uint64(at), min(batch, n-at), nil)
		for i := range part {
			if len(part[i].Violations) > 0 {
				if bad++; bad <= 5 {
					t.Errorf("%s", Story(Draw(from+uint64(at+i))))
				}
			}
			sum.Add(&part[i])
		}
		if bad > 20 {
			t.Fatal("too many seeds break a rule")
		}
	}
	t.Logf("%d seeds from %d, hash %x: %d events, %d messages (%d lost, %d through the store), %d commits (%d without an answer, %d refused by the fence), %d leases taken over, "+
		"control planes: %d crashes, %d pauses, %d times without the store; %d clocks jumped, %d crashes of agents, %d invocations, %d starts, %d late results; ended %v",
		n, from, sum.Hash, sum.Events, sum.Messages, sum.Lost, sum.Routed, sum.Commits, sum.Unknown, sum.Fenced, sum.Takeovers, sum.PlaneCrashes, sum.Pauses, sum.StoreCuts, sum.Jumps,
		sum.NodeCrashes, sum.Invocations, sum.Starts, sum.Late, sum.Ended)
	testenv.Figure(t, "simulated clusters of 1 to 5 control planes: seeds", n, bad)
	testenv.Figure(t, "simulated clusters: events", sum.Events, 0)
	testenv.Figure(t, "simulated clusters: starts, of them double", sum.Starts, sum.Doubles)
	testenv.Figure(t, "simulated clusters: crashes, pauses and cuts of control planes", sum.PlaneCrashes+sum.Pauses+sum.StoreCuts, 0)
	testenv.Figure(t, "simulated clusters: crashes of agents", sum.NodeCrashes, 0)
	testenv.Figure(t, "simulated clusters: writes refused by the fence", sum.Fenced, 0)
	if n >= 40 && from == 1 {
		require.NotZero(t, sum.Fenced, "the fence was never needed")
		require.NotZero(t, sum.Takeovers)
		require.NotZero(t, sum.Routed)
	}
}

func TestASeedReplaysBitForBit(t *testing.T) {
	for seed := range uint64(4) {
		a, b := Run(Draw(seed)), Run(Draw(seed))
		require.Equal(t, a.Hash, b.Hash)
		require.Equal(t, a.Events, b.Events)
		traced := Trace(Draw(seed))
		require.Equal(t, a.Hash, traced.Hash, "being watched changes nothing")
		require.NotEmpty(t, traced.Log)
	}
	require.NotEqual(t, Run(Draw(1)).Hash, Run(Draw(2)).Hash)
}

func TestWithoutFaultsEverythingSucceeds(t *testing.T) {
	for _, planes := range []int{1, 3} {
		r := Run(Config{Seed: 1, Planes: planes, Nodes: 9, Commands: 2})
		require.Empty(t, r.Violations)
		require.Equal(t, map[string]int{"Success": 18}, r.Ended)
		require.Equal(t, 36, r.Starts)
		require.Zero(t, r.Fenced)
	}
}

// TestSeedsThatFoundSomething: what the simulation found stays found.
func TestSeedsThatFoundSomething(t *testing.T) {
	for _, seed := range []uint64{
		17, 30, // a node that had heard of a control plane with another clock was never heard by the others again
		73, // a node that was told to stop twice, and a control plane that heard it was running still, answered each other without end
	} {
		require.Empty(t, Run(Draw(seed)).Violations, "seed %d", seed)
	}
}

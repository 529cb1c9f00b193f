package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSeeds plays many seeds: 200 by default, FLEETWRIGHT_SEEDS of them otherwise, from FLEETWRIGHT_SEED on.
func TestSeeds(t *testing.T) {
	n, from := 200, uint64(1)
	if testing.Short() {
		n = 25
	}
	if v, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_SEEDS")); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("FLEETWRIGHT_SEED"), 10, 64); err == nil {
		from = v
	}
	var sum Result
	sum.Ended = map[string]int{}
	bad := 0
	for seed := from; seed < from+uint64(n); seed++ {
		r := Run(Draw(seed))
		for _, v := range r.Violations {
			t.Errorf("%s", v)
			bad++
		}
		if bad > 20 {
			t.Fatal("too many violations")
		}
		sum.Events += r.Events
		sum.Messages += r.Messages
		sum.Lost += r.Lost
		sum.PlaneCrashes += r.PlaneCrashes
		sum.NodeCrashes += r.NodeCrashes
		sum.Starts += r.Starts
		sum.Invocations += r.Invocations
		for d, k := range r.Ended {
			sum.Ended[d] += k
		}
	}
	t.Logf("%d seeds: %d events, %d messages (%d lost), %d crashes of the control plane, %d of agents, %d invocations, %d starts; ended %v",
		n, sum.Events, sum.Messages, sum.Lost, sum.PlaneCrashes, sum.NodeCrashes, sum.Invocations, sum.Starts, sum.Ended)
}

func TestASeedReplaysBitForBit(t *testing.T) {
	for seed := range uint64(10) {
		a, b := Run(Draw(seed)), Run(Draw(seed))
		require.Equal(t, a.Hash, b.Hash)
		require.Equal(t, a.Events, b.Events)
	}
	require.NotEqual(t, Run(Draw(1)).Hash, Run(Draw(2)).Hash)
}

func TestWithoutFaultsEverythingSucceeds(t *testing.T) {
	r := Run(Config{Seed: 1, Nodes: 9, Commands: 2})
	require.Empty(t, r.Violations)
	require.Equal(t, map[string]int{"Success": 18}, r.Ended)
	require.Equal(t, 36, r.Starts)
}

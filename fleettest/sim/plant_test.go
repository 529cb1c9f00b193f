package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
)

// planted are the mistakes, what makes the play harder for each, and within how many seeds it is found.
var planted = []struct {
	plant  plant
	change func(*Config)
	from   uint64
	within uint64
}{
	{plantNoFence, stalls, 0, 40},
	{plantCheckBefore, stalls, 0, 40},
	{plantAckFirst, nil, 0, 40},
	{plantRunFirst, crashes, 16, 40},
	{plantUnknownIsDone, nil, 0, 40},
	{plantSlotsInMemory, nil, 0, 10},
	{plantTokenOutside, stalls, 22, 60},
	{plantRetryUnknown, badStore, 0, 20},
	{plantCancelForgotten, func(c *Config) { c.Cancels = 1 }, 0, 20},
	{plantLateDropped, late, 17, 60},
	{plantLateWins, late, 17, 60},
	{plantRetryInterrupted, nil, 0, 20},
	{plantWallClockMemory, replays, 0, 60},
	{plantNoSync, nil, 38, 20},
}

func stalls(c *Config)   { c.Stalls, c.Planes = 0.1, max(c.Planes, 3) }
func crashes(c *Config)  { c.PlaneCrashes = 0.1 }
func badStore(c *Config) { c.StoreFaults, c.Commands = 0.3, 3 }
func late(c *Config)     { c.PlaneSkew, c.Replays, c.Partitions, c.Loss = time.Hour, 0, 12, 0.3 }
func replays(c *Config) {
	c.Replays, c.Jumps, c.NodeCrashes, c.Calm = 0.5, 60, 0.02, time.Hour
	c.PlaneSkew, c.PlaneJumps = 0, 4
}

// TestPlants: each mistake that is planted breaks a rule within so many seeds, so that seeds without a violation say something.
func TestPlants(t *testing.T) {
	caught := 0
	for i, p := range planted {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(string(p.plant), func(t *testing.T) {
			for seed := p.from; seed < p.from+p.within; seed++ {
				c := Draw(seed)
				c.plant = p.plant
				if p.change != nil {
					p.change(&c)
				}
				if r := Run(c); len(r.Violations) > 0 {
					t.Logf("seed %d: %s", seed, r.Violations[0])
					caught++
					return
				}
			}
			require.Fail(t, "not found", "within %d seeds from %d", p.within, p.from)
		})
	}
	testenv.Figure(t, "simulated clusters: planted mistakes, of them not found", len(planted), len(planted)-caught)
}

// TestWithoutThePlantTheHarderPlaysAreClean: what finds a planted mistake finds nothing where there is none.
func TestWithoutThePlantTheHarderPlaysAreClean(t *testing.T) {
	n := uint64(2)
	if testenv.Long() {
		n = 40
	}
	for _, p := range planted {
		if p.change == nil {
			continue
		}
		for seed := p.from; seed < p.from+n; seed++ {
			c := Draw(seed)
			p.change(&c)
			require.Empty(t, Run(c).Violations, "%s", p.plant)
		}
	}
}

package target_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/target"
)

func TestR13_RampDoublesAfterAcknowledgement(t *testing.T) {
	r := target.NewRamp(10)
	require.Equal(t, 1, r.Allow(0))
	r = r.Start(1)
	require.Equal(t, 0, r.Allow(1), "the first node has not acknowledged")
	require.Equal(t, 0, r.Allow(0), "nor does its end without an answer let others go")
	r = r.Ack(1)
	require.Equal(t, 2, r.Allow(1), "two more, though the first still works")
	r = r.Start(2)
	r = r.Ack(1)
	require.Equal(t, 0, r.Allow(3), "half of the second wave is not enough")
	r = r.Drop(1)
	require.Equal(t, 1, r.Allow(2), "an offline node gives its place away")
	r = r.Start(1).Ack(1)
	require.Equal(t, 4, r.Allow(3))
	b, err := json.Marshal(r)
	require.NoError(t, err)
	var back target.Ramp
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, r, back, "it is stored with its command")
	r = r.Start(4).Ack(4)
	require.Equal(t, 3, r.Allow(7), "the fourth wave has eight, the limit ten leaves three")
	r = r.Start(8).Ack(7)
	require.True(t, r.Done())
	require.Equal(t, 10, r.Allow(0))
	require.Equal(t, 0, r.Allow(12))
	require.Equal(t, 0, target.Ramp{}.Allow(0))
	require.Equal(t, 7, target.NoRamp(7).Allow(0))
	require.True(t, target.NewRamp(1).Done())
}

// However starts, acknowledgements, drops and ends come, there are never more at work than the limit, never more started than the doubling
// allows, and as long as all that were started answered, something may go.
func TestR13_RampInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		r := target.NewRamp(limit)
		flying, silent, acked := 0, 0, 0 // at work; of those without an answer; answers so far
		for range 60 {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				n := min(r.Allow(flying), rapid.IntRange(0, 8).Draw(t, "start"))
				r, flying, silent = r.Start(n), flying+n, silent+n
			case 1:
				if n := min(silent, rapid.IntRange(0, 8).Draw(t, "ack")); n > 0 {
					r, silent, acked = r.Ack(n), silent-n, acked+n
				}
			case 2:
				if silent > 0 {
					r, silent, flying = r.Drop(1), silent-1, flying-1
				}
			case 3:
				if flying > silent {
					flying--
				}
			}
			if flying > limit {
				t.Fatalf("%d at work, limit %d", flying, limit)
			}
			if !r.Done() && 7*silent > 8*(acked+1) {
				t.Fatalf("%d without an answer after %d answers", silent, acked)
			}
			if silent == 0 && flying < limit && r.Allow(flying) == 0 {
				t.Fatalf("stuck: %+v with %d at work", r, flying)
			}
		}
	})
}

func TestR15_Plan(t *testing.T) {
	got := target.Plan(10, target.Rate{N: 4}, target.Rate{N: 1}, true)
	require.Equal(t, []target.Wave{{0, 1, 1}, {1, 2, 3}, {3, 4, 5}, {7, 3, 4}}, got)
	got = target.Plan(10, target.Rate{N: 4}, target.Rate{}, false)
	require.Equal(t, []target.Wave{{0, 4, 4}, {4, 4, 4}, {8, 2, 2}}, got)
	require.Equal(t, 5, target.WorstErrors(10, target.Rate{N: 4}, target.Rate{N: 1}))
	require.Equal(t, 2, target.WorstErrors(10, target.Rate{N: 1}, target.Rate{N: 1}), "C = 1 bounds it at L+1")
	require.Equal(t, 3, target.WorstErrors(3, target.Rate{N: 50}, target.Rate{}))
	require.Empty(t, target.Plan(0, target.Rate{N: 4}, target.Rate{}, true))
	require.Len(t, target.Plan(100_000, target.Rate{N: 1}, target.Rate{}, true), 100_000)
}

func TestPlanCoversEveryNodeOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 3000).Draw(t, "n")
		c, e := rates(t, "concurrency", 1), rates(t, "errors", 0)
		next := 0
		for _, w := range target.Plan(n, c, e, rapid.Bool().Draw(t, "ramp")) {
			if w.First != next || w.Size < 1 || w.Size > c.Concurrency(n) || w.Worst > w.First+w.Size || w.Worst > target.WorstErrors(n, c, e) {
				t.Fatalf("wave %+v after %d", w, next)
			}
			next += w.Size
		}
		if next != n {
			t.Fatalf("%d of %d planned", next, n)
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	for b.Loop() {
		target.Plan(100_000, target.Rate{N: 50}, target.Rate{}, true)
	}
}

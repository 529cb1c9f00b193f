package httptransport

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// visit is somebody who asks to be admitted at a time.
type visit struct {
	at   time.Time
	asks int
}

type visits []visit

func (v visits) Len() int           { return len(v) }
func (v visits) Less(i, j int) bool { return v[i].at.Before(v[j].at) }
func (v visits) Swap(i, j int)      { v[i], v[j] = v[j], v[i] }
func (v *visits) Push(x any)        { *v = append(*v, x.(visit)) }
func (v *visits) Pop() any {
	last := (*v)[len(*v)-1]
	*v = (*v)[:len(*v)-1]
	return last
}

// F12 on a clock: 100,000 nodes within a tenth of a second, told when to come back and coming with their own jitter.
func TestAHerdOfAHundredThousandOnAClock(t *testing.T) {
	const rate, burst = 1000.0, 500
	n := 100_000
	if testing.Short() {
		n = 20_000
	}
	start := time.Unix(1_000_000, 0)
	a := newAdmission(rate, burst, 5*time.Minute)
	dice := rand.New(rand.NewPCG(1, 2))
	queue := make(visits, n)
	for i := range queue {
		queue[i].at = start.Add(time.Duration(dice.Float64() * 1e8))
	}
	heap.Init(&queue)
	var admitted []time.Time
	asks, worst := 0, 0
	for queue.Len() > 0 {
		v := heap.Pop(&queue).(visit)
		v.asks++
		asks++
		after, ok := a.take(v.at)
		if ok {
			admitted = append(admitted, v.at)
			worst = max(worst, v.asks)
			continue
		}
		require.Positive(t, after)
		require.LessOrEqual(t, after, 5*time.Minute+200*time.Millisecond)
		v.at = v.at.Add(after + time.Duration(dice.Float64()*float64(500*time.Millisecond)))
		heap.Push(&queue, v)
	}
	for _, k := range []int{1, 10, 600, n / 20, n / 2, n - 1} {
		for i := 0; i+k < n; i++ {
			took := admitted[i+k].Sub(admitted[i]).Seconds()
			require.LessOrEqual(t, float64(k), burst+rate*took+1, "%d within %.3f s", k, took)
		}
	}
	took := admitted[n-1].Sub(start).Seconds()
	t.Logf("all in after %.1f s (the limit allows %.1f), %.2f asks a node, at most %d", took, float64(n)/rate, float64(asks)/float64(n), worst)
	require.Less(t, took, 1.5*float64(n)/rate)
	require.Less(t, float64(asks)/float64(n), 3.0)
	require.LessOrEqual(t, worst, 12)
}

// More than MaxRetryAfter can hold: nobody is told a longer time, and the times are spread.
func TestTooManyAreSpreadOverTheLongestTime(t *testing.T) {
	a := newAdmission(1, 1, time.Minute)
	now := time.Unix(1_000_000, 0)
	low, high := time.Hour, time.Duration(0)
	for range 10_000 {
		if after, ok := a.take(now); !ok {
			low, high = min(low, after), max(high, after)
		}
	}
	require.Less(t, low, 3*time.Second)
	require.LessOrEqual(t, high, time.Minute+time.Second+100*time.Millisecond)
	seen := make(map[time.Duration]bool)
	for range 1000 {
		after, _ := a.take(now)
		seen[after.Truncate(time.Second)] = true
	}
	require.Greater(t, len(seen), 25)
}

func TestBackoffIsFullJitterUpToItsCap(t *testing.T) {
	one := func() float64 { return math.Nextafter(1, 0) }
	zero := func() float64 { return 0 }
	want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
	for n, w := range want {
		require.InDelta(t, float64(w), float64(backoff(n, 500*time.Millisecond, time.Minute, one)), 2)
		require.Zero(t, backoff(n, 500*time.Millisecond, time.Minute, zero))
	}
	for _, n := range []int{31, 32, 63, 64, 1 << 30} {
		require.InDelta(t, float64(time.Minute), float64(backoff(n, 500*time.Millisecond, time.Minute, one)), 2)
		require.InDelta(t, float64(math.MaxInt64), float64(backoff(n, math.MaxInt64/2, math.MaxInt64, func() float64 { return 1 - 1e-12 })), 1e10)
	}
	dice := rand.New(rand.NewPCG(3, 4))
	sum := 0.0
	for range 1000 {
		sum += backoff(3, time.Second, time.Minute, dice.Float64).Seconds()
	}
	require.InDelta(t, 4.0, sum/1000, 0.3, "uniform between nothing and eight seconds")
}

package agent

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// All commands of a node together keep no more than its limit; what is over is counted, and room comes back when a command's output is gone.
func TestOutputOfAllCommandsIsBounded(t *testing.T) {
	b := newBudget(100)
	b.add("old", 30) // from before the agent started
	var wg sync.WaitGroup
	spools := make([]*spool, 0, 8)
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		dir, err := openRoot(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { dir.Close() })
		for stream := range 2 {
			s, err := openSpool(dir, 0, stream, 1000, nil, b.of(name))
			require.NoError(t, err)
			t.Cleanup(func() { s.close() })
			spools = append(spools, s)
			wg.Go(func() {
				for range 10 {
					n, err := s.Write(bytes.Repeat([]byte("x"), 7))
					if n != 7 || err != nil {
						t.Errorf("a step sees nothing of it: %d, %v", n, err)
					}
				}
			})
		}
	}
	wg.Wait()
	kept, dropped := int64(0), int64(0)
	for _, s := range spools {
		o, _ := s.state()
		kept, dropped = kept+o.Size, dropped+o.Dropped
		require.LessOrEqual(t, int64(len(o.Head)), o.Size)
	}
	require.EqualValues(t, 70, kept, "exactly what was left")
	require.EqualValues(t, 8*70-70, dropped, "and the rest is counted")
	require.Zero(t, b.of("e")(1))
	b.free("old")
	require.EqualValues(t, 30, b.of("e")(50))
	for _, name := range append(names, "e") {
		b.free(name)
	}
	require.Zero(t, b.used)
	require.EqualValues(t, 100, b.of("f")(1000))
	require.EqualValues(t, 1000, newBudget(-1).of("g")(1000), "no limit")
}

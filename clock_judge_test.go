package fleetwright

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The majority decides; where there is none each keeps its own time.
func TestWhatClocksAgreeOn(t *testing.T) {
	const h, s = time.Hour, time.Second
	for name, c := range map[string]struct {
		offs  []time.Duration
		want  time.Duration
		known bool
	}{
		"alone":                           {[]time.Duration{0}, 0, true},
		"two that agree":                  {[]time.Duration{0, 20 * s}, 0, true},
		"two that differ":                 {[]time.Duration{0, h}, 0, false},
		"the other one of three is off":   {[]time.Duration{0, -h, 3 * s}, 0, true},
		"this one of three is behind":     {[]time.Duration{0, h, h + 4*s}, h, true},
		"this one of three is ahead":      {[]time.Duration{0, -h, -h - 4*s}, -h, true},
		"three that differ, own between":  {[]time.Duration{0, h, -h}, 0, true},
		"two of four are off, likewise":   {[]time.Duration{0, s, h, h}, 0, false},
		"two of five are off":             {[]time.Duration{0, s, h, -h, s}, 0, true},
		"small differences are not taken": {[]time.Duration{0, 50 * s, 50 * s}, 0, true},
	} {
		off, known := agreed(c.offs)
		require.Equal(t, c.known, known, name)
		require.InDelta(t, c.want, off, float64(5*s), name)
	}
}

// Only what another's clock said shortly before counts: not what the dead left, not what was read after this process did not move for long.
func TestOldReadingsOfClocksDoNotCount(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &sharedClock{raw: func() time.Time { return now }, valid: 4 * time.Second, log: slog.New(slog.DiscardHandler), seen: map[string]reading{}}
	beat := uint64(0)
	others := func(ahead time.Duration) map[string]clockRecord {
		beat++
		rec := clockRecord{now.Add(ahead), beat}
		return map[string]clockRecord{"a": rec, "b": rec}
	}
	left := others(-time.Hour)
	require.True(t, c.judge(left), "perhaps they live")
	now = now.Add(time.Second)
	require.True(t, c.judge(left))
	now = now.Add(4 * time.Second)
	require.False(t, c.judge(left), "they are dead")
	require.Zero(t, c.offset())

	now = now.Add(time.Second)
	require.False(t, c.judge(others(time.Hour)))
	require.Equal(t, time.Hour, c.offset(), "they live, and agree")
	require.Equal(t, now.Add(time.Hour), c.now())

	old := others(time.Hour)
	now = now.Add(30 * time.Minute) // this process was frozen
	require.True(t, c.judge(old), "written half an hour ago, or just now: who knows")
	require.Equal(t, time.Hour, c.offset())
	now = now.Add(time.Second)
	require.False(t, c.judge(others(0)))
	require.Zero(t, c.offset(), "the clock was set right")
}

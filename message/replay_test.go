package message_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// memory has a clock to turn.
func memory(capacity int) (*message.ReplayMemory, *time.Time) {
	m, now := message.NewReplayMemory(capacity), t0
	m.Now = func() time.Time { return now }
	return m, &now
}

func key(id string) message.ReplayKey {
	return message.ReplayKey{Tenant: "default", From: message.Controller, Kind: message.KindRun, ID: id, Attempt: 1}
}

func seen(t testing.TB, m message.Replay, k message.ReplayKey, notAfter time.Time) bool {
	t.Helper()
	s, err := m.Seen(context.Background(), k, notAfter)
	require.NoError(t, err)
	return s
}

func TestR03ARepeatedMessageIsSeen(t *testing.T) {
	m, _ := memory(10)
	end := t0.Add(time.Hour)
	require.False(t, seen(t, m, key("a"), end))
	for range 5 {
		require.True(t, seen(t, m, key("a"), end))
	}
	for _, k := range []message.ReplayKey{
		{Tenant: "other", From: message.Controller, Kind: message.KindRun, ID: "a", Attempt: 1},
		{Tenant: "default", From: "mi-1", Kind: message.KindRun, ID: "a", Attempt: 1},
		{Tenant: "default", From: message.Controller, Kind: message.KindCancel, ID: "a", Attempt: 1},
		{Tenant: "default", From: message.Controller, Kind: message.KindRun, ID: "b", Attempt: 1},
		{Tenant: "default", From: message.Controller, Kind: message.KindRun, ID: "a", Attempt: 2},
	} {
		require.False(t, seen(t, m, k, end), "%v", k)
	}
	require.Equal(t, 6, m.Len())
}

func TestTheKeyIsOfTheEnvelope(t *testing.T) {
	e := sample()
	require.Equal(t, message.ReplayKey{Tenant: "default", From: message.Controller, Kind: message.KindRun, ID: "m-1", Attempt: 2}, e.ReplayKey())
}

func TestR03AFullMemoryRefusesAndForgetsNothing(t *testing.T) {
	m, now := memory(3)
	for i := range 3 {
		require.False(t, seen(t, m, key(strconv.Itoa(i)), t0.Add(time.Hour)))
	}
	_, err := m.Seen(context.Background(), key("more"), t0.Add(time.Hour))
	require.ErrorIs(t, err, message.ErrReplayFull)
	require.Equal(t, fault.Throttled, fault.KindOf(err))
	require.True(t, seen(t, m, key("0"), t0.Add(time.Hour)), "what is known is still answered")

	*now = t0.Add(time.Hour + message.DefaultSkew) // Open still accepts them
	_, err = m.Seen(context.Background(), key("more"), now.Add(time.Hour))
	require.ErrorIs(t, err, message.ErrReplayFull)
	*now = now.Add(time.Millisecond)
	require.False(t, seen(t, m, key("more"), now.Add(time.Hour)))
	require.True(t, seen(t, m, key("0"), t0.Add(time.Hour)), "forgotten, but never again new")
}

func TestR08AClockThatJumpsOpensNothing(t *testing.T) {
	m, now := memory(2)
	end := t0.Add(time.Hour)
	require.False(t, seen(t, m, key("a"), end))
	*now = t0.AddDate(1, 0, 0)
	require.True(t, seen(t, m, key("a"), end), "nothing is forgotten while there is room")
	require.False(t, seen(t, m, key("b"), now.Add(time.Hour)))
	require.False(t, seen(t, m, key("c"), now.Add(time.Hour)), "a made room")
	*now = t0
	require.True(t, seen(t, m, key("a"), end))
	m, now = memory(2)
	require.False(t, seen(t, m, key("a"), end))
	*now = t0.Add(31 * time.Minute)
	require.True(t, seen(t, m, key("a"), end))
}

func TestOneSenderCannotUseUpTheRoom(t *testing.T) {
	m, now := memory(100)
	m.PerSender = 3
	end := t0.Add(time.Hour)
	node := func(name, id string) message.ReplayKey {
		return message.ReplayKey{Tenant: "default", From: name, Kind: message.KindReport, ID: id}
	}
	for i := range 3 {
		require.False(t, seen(t, m, node("evil", strconv.Itoa(i)), end))
	}
	_, err := m.Seen(context.Background(), node("evil", "x"), end)
	require.ErrorIs(t, err, message.ErrReplayFull)
	require.False(t, seen(t, m, node("good", "x"), end))
	*now = t0.Add(2 * time.Hour)
	require.False(t, seen(t, m, node("evil", "y"), now.Add(time.Hour)))
	require.Equal(t, 1, m.Len())
}

func TestSeenHonoursItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m, _ := memory(1)
	_, err := m.Seen(ctx, key("a"), t0)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, m.Len())
}

func TestOneOfManyIsFirst(t *testing.T) {
	m := message.NewReplayMemory(1000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	first := map[string]int{}
	for range 16 {
		wg.Go(func() {
			for i := range 100 {
				s, err := m.Seen(context.Background(), key(strconv.Itoa(i)), time.Now().Add(time.Hour))
				if err != nil {
					t.Error(err)
				}
				if !s {
					mu.Lock()
					first[strconv.Itoa(i)]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, first, 100)
	for id, n := range first {
		require.Equal(t, 1, n, id)
	}
}

// TestReplayMemoryNeverSaysNewTwice: any sequence of messages, and any clock.
func TestReplayMemoryNeverSaysNewTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now := memory(rapid.IntRange(1, 6).Draw(t, "capacity"))
		m.PerSender = rapid.IntRange(0, 3).Draw(t, "per sender")
		ends := map[message.ReplayKey]time.Time{} // signed, so a copy has the same
		accepted := map[message.ReplayKey]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"clock": func(t *rapid.T) {
				*now = now.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "minutes")) * time.Minute)
			},
			"message": func(t *rapid.T) {
				k := message.ReplayKey{From: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "from"), ID: strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "id"))}
				end, ok := ends[k]
				if !ok {
					end = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "life")) * time.Minute)
					ends[k] = end
				}
				s, err := m.Seen(context.Background(), k, end)
				if err != nil {
					require.ErrorIs(t, err, message.ErrReplayFull)
					return
				}
				require.False(t, !s && accepted[k], "%v was new twice", k)
				accepted[k] = true
			},
		})
	})
}

package command

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// What nodes report on commands that the store does not know is kept before the node may forget, and outlives a restart.
func TestStraysOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, nil)
		stop := w.serve()
		synctest.Wait()
		report := func(node int, d message.Detail) {
			w.say(w.nodes[node].ID, message.KindReport, message.Report{Ref: message.Ref{Command: "lost-1", Attempt: 1}, Seq: 1, Detail: d})
		}
		report(0, message.DetailInProgress)
		time.Sleep(time.Second)
		report(0, message.DetailInProgress)
		report(1, message.DetailSuccess)
		time.Sleep(time.Second)
		w.mu.Lock()
		require.Equal(t, 1, w.acks[w.nodes[1].ID], "the node may forget: it is written down here")
		w.mu.Unlock()
		stop()

		w.start(nil)
		all, dropped, err := w.s.Strays(t.Context(), "default")
		require.NoError(t, err)
		require.Zero(t, dropped)
		require.Len(t, all, 1)
		require.Equal(t, "lost-1", all[0].Command)
		require.ElementsMatch(t, []string{w.nodes[0].ID, w.nodes[1].ID}, all[0].Nodes)
		require.Equal(t, message.DetailSuccess, all[0].Detail)
		require.True(t, all[0].Last.After(all[0].First))
		all, _, err = w.s.Strays(t.Context(), "other")
		require.NoError(t, err)
		require.Empty(t, all, "tenants do not see each other's")
		time.Sleep(strayAge + time.Minute)
		all, _, err = w.s.Strays(t.Context(), "default")
		require.NoError(t, err)
		require.Empty(t, all, "old ones are not named any more")
	})
}

// A report that could not be written down is not acknowledged: the node says it again.
func TestAStrayThatIsNotKeptIsNotAcknowledged(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Store = noWrites{c.Store} })
	it := item{ev: Event{Node: w.nodes[0].ID, Report: &message.Report{Ref: message.Ref{Command: "lost-1", Attempt: 1}, Seq: 1, Detail: message.DetailSuccess}}}
	require.ErrorIs(t, w.s.lateReports(t.Context(), "default", "lost-1", []*item{&it}), store.ErrClosed)
	w.wg.Wait()
	require.Empty(t, w.acks)
}

type noWrites struct{ store.Store }

func (noWrites) Update(context.Context, func(context.Context, store.Tx) error) error {
	return store.ErrClosed
}

// 1,000 strays of a tenant and 20 nodes of each: the newest have no room and are counted, however often they are told; the old ones make room.
func TestStraysAreBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := newWorld(t, 0, func(c *Config) { c.Now = func() time.Time { return now } })
	note := func(id, node string) bool {
		news, err := w.s.noteStray(t.Context(), "default", id, node, message.DetailInProgress)
		require.NoError(t, err)
		return news
	}
	for i := range maxStrays {
		require.True(t, note(fmt.Sprintf("c-%d", i), "n"))
	}
	for range 3 {
		require.False(t, note("c-more", "n"))
	}
	require.False(t, note("c-0", "n"), "the same again")
	for i := range maxStrayNodes + 5 {
		note("c-0", fmt.Sprintf("m-%d", i))
	}
	w.start(func(c *Config) { c.Now = func() time.Time { return now } })
	all, dropped, err := w.s.Strays(t.Context(), "default")
	require.NoError(t, err)
	require.Len(t, all, maxStrays)
	require.Equal(t, 1, dropped)
	for _, x := range all {
		require.Equal(t, x.Command == "c-0", x.More)
		require.LessOrEqual(t, len(x.Nodes), maxStrayNodes)
	}
	_, err = w.s.noteStray(t.Context(), "other", "c-x", "n", message.DetailInProgress)
	require.NoError(t, err)
	all, _, err = w.s.Strays(t.Context(), "other")
	require.NoError(t, err)
	require.Len(t, all, 1, "a tenant takes no other's room")

	now = now.Add(strayAge + time.Hour)
	require.True(t, note("c-new", "n"))
	all, _, err = w.s.Strays(t.Context(), "default")
	require.NoError(t, err)
	require.Len(t, all, 1)
}

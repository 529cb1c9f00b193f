package command

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
)

// MaxConcurrency 50 with one node in a hundred failing: the fifty slots are full from the end of the ramp to the last node, never more than full, and every failure is counted. In virtual
// time, where commits take none, the command takes what fifty nodes at a time need.
func TestSlotsStayFull(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 500
	}
	if testenv.Long() {
		n = 10_000
	}
	const slots, work = 50, time.Second
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, n)
		defer w.close()
		w.end = func(node string) message.Detail {
			if w.byID[node]%100 == 13 {
				return message.DetailFailed
			}
			return message.DetailSuccess
		}
		p := w.start("plane", nil)
		defer p.stop()
		synctest.Wait()
		c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "50", MaxErrors: "2%"})
		require.NoError(t, err)
		c, err = p.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		took := c.EndedDateTime.Sub(c.RequestedDateTime)
		require.Equal(t, n/100, c.Counts[message.DetailFailed])
		require.Equal(t, n-n/100, c.Counts[message.DetailSuccess])
		require.Equal(t, slots, w.most(c.ID))
		w.checkStarts()
		// A node is busy for its work and for the two messages that begin it, a millisecond each; the ramp takes seven rounds of messages.
		limit := time.Duration(n/slots)*(work+2*time.Millisecond) + 7*2*time.Millisecond
		t.Logf("%d nodes, %d at a time, %d failing: %v, the nodes alone need %v", n, slots, n/100, took, limit)
		testenv.Figure(t, "MaxConcurrency 50 of many nodes, 1 % failing: invocations that ended otherwise", n, n-c.Counts[message.DetailFailed]-c.Counts[message.DetailSuccess])
		require.LessOrEqual(t, took, limit+limit/100)
	})
}

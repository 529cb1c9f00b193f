//go:build unix

package agent_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/observe"
)

type heardOf struct {
	mu     sync.Mutex
	events []observe.Event
}

func (h *heardOf) Observe(_ context.Context, e observe.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *heardOf) of(k observe.Kind) (out []observe.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

// What ran is told once, when the journal has it, and not again by a later life of the agent.
func TestARunIsToldOnce(t *testing.T) {
	o := &heardOf{}
	f := newFleet(t, func(c *agent.Config) { c.Observer = o })
	f.run(newRun("c1", script("echo hello")))
	f.terminal("c1")
	require.Eventually(t, func() bool { return len(o.of(observe.Report)) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.stop())
	f.start()
	f.run(newRun("c1", script("echo hello")))
	f.run(newRun("c2", script("exit 3")))
	f.terminal("c2")
	require.Eventually(t, func() bool { return len(o.of(observe.Report)) == 2 }, 10*time.Second, time.Millisecond)
	for _, k := range []observe.Kind{observe.Step, observe.Run} {
		got := o.of(k)
		require.Len(t, got, 2)
		require.Equal(t, []string{"c1", "Success", "c2", "Failed"}, []string{got[0].Command, got[0].Label, got[1].Command, got[1].Label})
		for _, e := range got {
			require.Equal(t, nodeID, e.Node)
			require.Equal(t, tenant, e.Tenant)
			require.Equal(t, 1, e.Attempt)
			require.False(t, e.Start.IsZero())
			require.False(t, e.End.Before(e.Start))
		}
	}
	require.NotEmpty(t, o.of(observe.Journal))
	var links []string
	for _, e := range o.of(observe.Connect) {
		links = append(links, e.Label)
	}
	require.Equal(t, []string{"connected", "connected"}, links)
}

package fleetwright_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/automation"
	watch "github.com/fleetwright/fleetwright/observe"
)

// The observer hears once of each beginning and end of a runbook, and of each step's end, once they are durable.
func TestTheObserverHearsOfRunbooks(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	id := ""
	o := &fleetwright.Options{}
	o.Config.Observer = watch.Func(func(_ context.Context, e watch.Event) {
		if e.Kind != watch.Automation && e.Kind != watch.AutomationStep {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		id = e.Execution
		heard = append(heard, e.Kind.String()+" "+e.Name+" "+e.Label)
	})
	f, err := fleetwright.Open(t.Context(), t.TempDir(), o)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the end of the test
	addRunbook(t, f, "Naps", "schemaVersion: '0.3'\nmainSteps:\n- {name: nap, action: 'aws:sleep', inputs: {Duration: PT0.01S}}\n- {name: again, action: 'aws:sleep', inputs: {Duration: PT0.01S}}\n")
	x := runToEnd(t, f, automation.Request{DocumentName: "Naps"})
	require.Equal(t, automation.Success, x.Status)
	require.NoError(t, f.Close())
	require.Equal(t, x.ID, id)
	require.Equal(t, []string{"Automation Naps Started", "AutomationStep nap Success", "AutomationStep again Success", "Automation Naps Success"}, heard)
}

package fleetwright

import (
	"context"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/observe"
)

// observeRunbooks tells o of executions and their steps; nil when there is nobody to tell.
func observeRunbooks(o observe.Observer) func(automation.Observation) {
	if o == nil {
		return nil
	}
	return func(told automation.Observation) {
		for i := range told.Changes {
			c := &told.Changes[i]
			e := observe.Event{Kind: observe.Automation, Label: string(c.Status), Start: c.Start, End: c.End, Tenant: c.Tenant, Execution: c.Execution, Name: c.Document}
			switch {
			case c.Step != nil:
				e.Kind, e.Name, e.Attempt = observe.AutomationStep, c.Step.Name, c.Step.Attempt
			case c.Status == automation.InProgress:
				e.Label = "Started"
			}
			o.Observe(context.Background(), e)
		}
	}
}

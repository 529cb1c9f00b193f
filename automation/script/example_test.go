package script_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/script"
)

// A host chooses how scripts are kept apart, and from what. Without a choice a step fails and says so.
func Example() {
	rt := script.NewLocal(&script.Namespace{Protect: []string{"/var/lib/fleet"}}, nil) // for automation.Config.Actions["aws:executeScript"]
	_ = script.New(rt, &script.Options{Limits: script.Limits{Memory: 256 << 20}})

	act := script.New(nil, nil)
	_, err := act.Run(context.Background(), automation.Call{Inputs: map[string]any{"Runtime": "python3.11", "Handler": "h", "Script": "def h(events, context): return 1"}})
	fmt.Println(err)
	// Output: this control plane runs no scripts: its host was not given a runtime for them
}

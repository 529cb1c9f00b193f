package api_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/fault"
)

// A host's own service beside AWS's: a runbook calls it with Service: racks, Api: PowerOff.
func ExampleActions() {
	racks := api.CallerFunc(func(_ context.Context, _, op string, in map[string]any) (map[string]any, error) {
		if op != "PowerOff" {
			return nil, fault.New("racks.Call", fault.Validation, "there is no %s", op)
		}
		return map[string]any{"Rack": in["Rack"], "Power": "off"}, nil
	})
	actions := api.Actions(api.Mux{Services: map[string]api.Caller{"racks": racks}}, nil)

	run := actions["aws:executeAwsApi"].Run // what the engine does for a step
	out, err := run(context.Background(), automation.Call{Action: "aws:executeAwsApi", Inputs: map[string]any{"Service": "racks", "Api": "powerOff", "Rack": "7"}})
	fmt.Println(out, err)
	_, err = run(context.Background(), automation.Call{Action: "aws:executeAwsApi", Inputs: map[string]any{"Service": "racks", "Api": "explode"}})
	fmt.Println(err)
	// Output:
	// map[Power:off Rack:7] <nil>
	// an error occurred (ValidationException) when calling the Explode operation: there is no Explode
}

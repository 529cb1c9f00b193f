package ssmops

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// RunbookCaller is the operations as automations call services (automation/api.Caller): aws:executeAwsApi with the service ssm, as who started the execution. Put it into an api.Mux under "ssm":
//
//	cfg.Runbooks.Services = func(f *fleetwright.Fleet) api.Caller {
//		return api.Mux{Services: map[string]api.Caller{"ssm": ssmops.RunbookCaller{API: ssmops.New(…)}}}
//	}
type RunbookCaller struct{ API *API }

// Call carries an operation out. Its name and those of the inputs are found without regard to case and _; what an operation does not take is left alone, as on the wire.
func (c RunbookCaller) Call(ctx context.Context, service, api string, inputs map[string]any) (map[string]any, error) {
	const op = "ssmops.RunbookCaller"
	if !strings.EqualFold(service, "ssm") {
		return nil, fault.New(op, fault.Validation, "the service %q is not here", clip(service))
	}
	name := strings.ReplaceAll(api, "_", "")
	for own := range c.API.ops {
		if strings.EqualFold(own, name) {
			name = own
			break
		}
	}
	in, err := json.Marshal(inputs)
	if err != nil {
		return nil, fault.New(op, fault.Validation, "the inputs cannot be written as JSON")
	}
	out, err := c.API.Call(ctx, name, in)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(string(out)))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, fault.New(op, fault.InternalServerError, "the answer cannot be read: %w", err)
	}
	return m, nil
}

package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
)

// FuzzActions gives every action any inputs and any answers. Each ends with an answer that is a map, with a failure that has a stage, a type and a clean message, or because its
// context ended; never with both or neither.
func FuzzActions(f *testing.F) {
	for _, s := range [][2]string{
		{`{"Service":"ec2","Api":"x"}`, `{}`},
		{`{"InstanceIds":["i-1"],"DesiredState":"running","Force":"x"}`, `{"Reservations":[{"Instances":[{"InstanceId":"i-1","State":{"Name":"running"}}]}],"InstanceStatuses":[{"InstanceId":"i-1"}]}`},
		{`{"ImageId":"ami-1","InstanceId":"i","ImageName":"n","SourceImageId":"a","SourceRegion":"r"}`, `{"ImageId":"ami-2","Images":[{"State":"pending","BlockDeviceMappings":[{"Ebs":{"SnapshotId":"s"}}]}]}`},
		{`{"StackName":"s","Tags":[{"Key":1}],"Capabilities":"[\"A\"]","ResourceIds":[["x"]]}`, `{"StackId":5,"Stacks":[{"StackStatus":"CREATE_COMPLETE"},null]}`},
		{`{"FunctionName":"f","InputPayload":[1],"stateMachineArn":"arn:stateMachine:x"}`, `{"Payload":"{\"a\":1","executionArn":"e","status":["SUCCEEDED"],"FunctionError":{}}`},
		{`{"ImageId":"a","MinInstanceCount":"-1","Monitoring":"{}","UserData":"[","ClientToken":7}`, `{"Instances":[{"InstanceId":"i-1"},3]}`},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, inputs, answer string) {
		var in, out map[string]any
		if json.Unmarshal([]byte(inputs), &in) != nil || json.Unmarshal([]byte(answer), &out) != nil {
			return
		}
		all := api.Actions(nil, nil)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			ctx, stop := context.WithCancel(t.Context())
			calls := 0
			c := api.CallerFunc(func(context.Context, string, string, map[string]any) (map[string]any, error) {
				if calls++; calls > 12 {
					stop()
				}
				if calls%5 == 4 {
					return nil, no("Odd\x1bCode", "bad\x1b[2J")
				}
				return out, nil
			})
			v, err := api.Actions(c, &api.Options{Poll: time.Nanosecond, PollMost: time.Nanosecond})[name].Run(ctx, automation.Call{Action: name, Inputs: in, Token: token})
			var failure *automation.CallError
			switch {
			case err == nil:
				require.IsType(t, map[string]any{}, v, name)
			case errors.As(err, &failure):
				require.NotEmpty(t, failure.Failure.Stage)
				require.NotEmpty(t, failure.Failure.Type)
				require.NotContains(t, failure.Failure.Message, "\x1b")
				require.Nil(t, v)
			default:
				require.ErrorIs(t, err, context.Canceled, name)
				require.Nil(t, v)
			}
			stop()
		}
	})
}

package api

import (
	"context"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// Options are what can be said of the actions. The zero value is AWS's way.
type Options struct {
	Poll     time.Duration // the first pause before what was begun is looked at again; 0 is 3 s
	PollMost time.Duration // pauses double up to this; 0 is 30 s
	Tags     int           // most tags that a stack is given; 0 is 10, as the pages of aws:createStack say
}

// actions has what all of them need.
type actions struct {
	caller Caller
	o      Options
}

// Actions returns the actions, by name, for automation.Config.Actions.
//
// Those that may be repeated after a crash are the ones that only read (aws:assertAwsResourceProperty, aws:waitForAwsResourceProperty: whatever API they name is made to
// be asked many times), that set a state (aws:changeInstanceState, aws:createTags, aws:deleteStack), and that send an idempotency token (aws:copyImage,
// aws:createStack, aws:updateStack, aws:runInstances, aws:executeStateMachine). aws:executeAwsApi, aws:createImage, aws:deleteImage and
// aws:invokeLambdaFunction have nothing of the kind: such a step is Interrupted.
func Actions(caller Caller, o *Options) map[string]automation.Action {
	a := &actions{caller: caller}
	if o != nil {
		a.o = *o
	}
	if a.o.Poll <= 0 {
		a.o.Poll = 3 * time.Second
	}
	if a.o.PollMost <= 0 {
		a.o.PollMost = 30 * time.Second
	}
	if a.o.Tags <= 0 {
		a.o.Tags = 10
	}
	out := map[string]automation.Action{}
	add := func(name string, repeat bool, run func(context.Context, *call) (any, error)) {
		spec := document.Builtin().Get(name)
		out[name] = automation.Action{Repeat: repeat, Run: func(ctx context.Context, c automation.Call) (any, error) {
			if a.caller == nil {
				return nil, fault.New("api.Actions", fault.Validation, "this control plane was given nothing that calls services")
			}
			in := make(map[string]any, len(c.Inputs))
			for k, v := range c.Inputs {
				if known := spec.Input(k); known != nil {
					k = known.Name
				}
				in[k] = v
			}
			return run(context.WithValue(ctx, callKey{}, c), &call{Call: c, in: in})
		}}
	}
	add("aws:executeAwsApi", false, a.execute)
	add("aws:assertAwsResourceProperty", true, a.execute)
	add("aws:waitForAwsResourceProperty", true, a.execute)
	add("aws:changeInstanceState", true, a.changeInstanceState)
	add("aws:runInstances", true, a.runInstances)
	add("aws:createTags", true, a.createTags)
	add("aws:createImage", false, a.createImage)
	add("aws:copyImage", true, a.copyImage)
	add("aws:deleteImage", false, a.deleteImage)
	add("aws:createStack", true, a.createStack)
	add("aws:updateStack", true, a.updateStack)
	add("aws:deleteStack", true, a.deleteStack)
	add("aws:executeStateMachine", true, a.executeStateMachine)
	add("aws:invokeLambdaFunction", false, a.invokeLambdaFunction)
	return out
}

// call is a call of an action.
type call struct {
	automation.Call
	in map[string]any // the inputs; those that the action has, under their names in the table of package document
}

// execute calls the operation that the inputs name with all other inputs. What a step looks for in the answer (PropertySelector, DesiredValues), and when it looks
// again, is the engine's; a look of aws:waitForAwsResourceProperty that was throttled, or for which the service was away, is made again here.
func (a *actions) execute(ctx context.Context, c *call) (any, error) {
	service, api := serviceName(c.text("Service")), apiName(c.text("Api"))
	if service == "" || api == "" {
		return nil, invalid("Service and Api must name a service and one of its operations")
	}
	in := make(map[string]any, len(c.in))
	for name, v := range c.in {
		switch {
		case name == "Service", name == "Api":
		case c.Action != "aws:executeAwsApi" && (name == "PropertySelector" || name == "DesiredValues"):
		default:
			in[name] = v
		}
	}
	if c.Action != "aws:waitForAwsResourceProperty" {
		return a.call(ctx, service, api, in)
	}
	var out map[string]any
	err := a.watch(ctx, func(int) (bool, error) {
		var err error
		if out, err = a.ask(ctx, service, api, in); err != nil {
			return false, a.failed(ctx, err)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// call calls an operation; an error is the step's failure.
func (a *actions) call(ctx context.Context, service, api string, in map[string]any) (map[string]any, error) {
	out, err := a.caller.Call(ctx, service, api, in)
	if err != nil {
		return nil, refused(ctx, api, err)
	}
	if out == nil {
		out = map[string]any{}
	}
	return out, nil
}

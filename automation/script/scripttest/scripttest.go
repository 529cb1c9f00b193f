// Package scripttest lets the worlds of automationtest run scripts for real, so that a test of a runbook tests its scripts, too:
//
//	w := automationtest.New(rb).Call("aws:executeScript", scripttest.Real(t.Context(), script.New(script.NewLocal(&script.Namespace{}, nil), nil)))
//
// Everything else in the world stays a fake, and its clock virtual: a script takes no time there.
package scripttest

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/automationtest"
)

// Real answers calls of a world with an action that really does them, such as script.New's. ctx ends what runs.
func Real(ctx context.Context, act automation.Action) func(automationtest.Call) automationtest.Answer {
	return func(c automationtest.Call) automationtest.Answer {
		out, err := act.Run(ctx, automation.Call{Tenant: "default", Execution: "00000000-0000-4000-8000-000000000001", StepID: c.Step, Step: c.Step, Action: c.Action, Attempt: c.Attempt,
			Inputs: c.Inputs, Token: fmt.Sprintf("%s/%d/%d", c.Step, c.Attempt, c.Look)})
		var typed *automation.CallError
		if errors.As(err, &typed) {
			err = automationtest.FailureError{Failure: typed.Failure}
		}
		return automationtest.Answer{Output: out, Err: err}
	}
}

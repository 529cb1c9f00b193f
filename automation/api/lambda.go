package api

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// mostMembers is how long a function's answer may be for its members to be handed out one by one.
const mostMembers = 48 << 10

// invokeLambdaFunction is aws:invokeLambdaFunction. The function's answer is the output Payload, as JSON text; where it is an object its members are in the step's answer, too,
// as the selectors of runbooks name them ($.reachable). A function that answers with an error fails the step.
func (a *actions) invokeLambdaFunction(ctx context.Context, c *call) (any, error) {
	in := map[string]any{}
	if err := c.take(in, "FunctionName", "FunctionName"); err != nil {
		return nil, err
	}
	kind := c.text("InvocationType")
	switch kind {
	case "", "RequestResponse", "Event", "DryRun":
	default:
		return nil, invalid("InvocationType must be RequestResponse, Event or DryRun")
	}
	if log := c.text("LogType"); log != "" && log != "None" && log != "Tail" {
		return nil, invalid("LogType must be None or Tail")
	} else if log == "Tail" && kind != "" && kind != "RequestResponse" {
		return nil, invalid("LogType Tail needs the InvocationType RequestResponse")
	}
	c.pass(in, "Qualifier", "Qualifier", "InvocationType", "InvocationType", "LogType", "LogType", "ClientContext", "ClientContext")
	payload := c.value("InputPayload")
	if payload == nil || payload == "" {
		payload = c.value("Payload")
	}
	if payload != nil && payload != "" {
		in["Payload"] = jsonText(payload)
	}
	answer, err := a.call(ctx, "lambda", "Invoke", in)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	text := jsonText(answer["Payload"])
	if answer["Payload"] == nil {
		text = ""
	}
	if m, ok := parsed(text).(map[string]any); ok && len(text) <= mostMembers {
		maps.Copy(out, m)
	}
	for _, name := range []string{"StatusCode", "FunctionError", "LogResult", "Payload"} {
		delete(out, name)
		if v := answer[name]; v != nil {
			out[name] = v
		}
	}
	if text != "" {
		out["Payload"] = text
	}
	if broken := str(answer, "FunctionError"); broken != "" {
		f := automation.Failure{Stage: automation.Invocation, Type: automation.ActionFailure, Message: "the function answered with an error (" + fault.Clean(clip(broken)) + ")", Details: map[string][]string{"FunctionError": {fault.Clean(clip(broken))}}}
		var said struct{ ErrorType, ErrorMessage string }
		if json.Unmarshal([]byte(text), &said) == nil && said.ErrorType+said.ErrorMessage != "" {
			f.Message += ": " + fault.Clean(clipTo(strings.TrimPrefix(said.ErrorType+": "+said.ErrorMessage, ": "), 1000))
		}
		return nil, &automation.CallError{Failure: f}
	}
	return out, nil
}

// executeStateMachine is aws:executeStateMachine: it starts an execution and waits until that has ended. An execution without a name has the call's token as its name,
// under which a repeated call finds it again: Step Functions starts one of a name only once.
func (a *actions) executeStateMachine(ctx context.Context, c *call) (any, error) {
	in := map[string]any{"name": c.Token}
	if err := c.take(in, "stateMachineArn", "stateMachineArn"); err != nil {
		return nil, err
	}
	c.pass(in, "name", "name")
	if v := c.value("input"); v != nil && v != "" {
		in["input"] = jsonText(v)
	}
	out, err := a.call(ctx, "stepfunctions", "StartExecution", in)
	arn := str(out, "executionArn")
	if codeIs(err, "ExecutionAlreadyExists") && in["name"] == c.Token {
		arn, err = strings.Replace(in["stateMachineArn"].(string), ":stateMachine:", ":execution:", 1)+":"+c.Token, nil
	}
	if err != nil {
		return nil, err
	}
	if arn == "" {
		return nil, unexpected("StartExecution named no execution", nil)
	}
	var last map[string]any
	err = a.watch(ctx, func(n int) (bool, error) {
		out, err := a.ask(ctx, "stepfunctions", "DescribeExecution", map[string]any{"executionArn": arn})
		if has(err, "ExecutionDoesNotExist") && n <= settle {
			return false, nil
		}
		if err != nil {
			return false, a.failed(ctx, err)
		}
		last = out
		switch status := str(out, "status"); status {
		case "SUCCEEDED":
			return true, nil
		case "RUNNING", "PENDING_REDRIVE", "":
			return false, nil
		default:
			text := "the execution ended " + status
			for _, name := range []string{"error", "cause"} {
				if s := str(out, name); s != "" {
					text += ": " + s
				}
			}
			return false, unexpected(text, map[string][]string{"status": {status}})
		}
	})
	if err != nil {
		return nil, about(err, "executionArn", arn)
	}
	answer := map[string]any{}
	for _, name := range []string{"executionArn", "input", "name", "output", "startDate", "stopDate", "status", "stateMachineArn"} {
		if v, ok := last[name]; ok && v != nil {
			answer[name] = v
		}
	}
	return answer, nil
}

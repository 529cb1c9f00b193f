package ssmops

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/parameter"
)

const ask = `
schemaVersion: "0.3"
parameters:
  Id: {type: String, default: i-1}
  List: {type: StringList, default: [a, b]}
outputs: [call.Id]
mainSteps:
- {name: call, action: "aws:executeAwsApi", timeoutSeconds: 20, inputs: {Service: ec2, Api: Look, Ids: ["{{ List }}"], Id: "{{ Id }}"}, outputs: [{Name: Id, Selector: $.Id, Type: String}]}
- {name: hold, action: "aws:pause", onFailure: Continue, inputs: {}}
- {name: last, action: "aws:sleep", inputs: {Duration: PT0S}, isEnd: true}
`

// runbook stores the runbook and a fake of what it calls.
func runbook(w *world) {
	w.t.Helper()
	_, err := w.docs.CreateDocument(w.ctx, library.CreateDocumentRequest{Name: "Ask", DocumentType: "Automation", DocumentFormat: "YAML", Content: ask})
	require.NoError(w.t, err)
}

// when waits for an event of an execution.
func when(w *world, id, kind string) {
	w.t.Helper()
	for e, err := range w.automations.Events(w.ctx, id, 0) {
		require.NoError(w.t, err)
		if e.Kind == kind {
			return
		}
	}
}

func TestAutomationOperations(t *testing.T) {
	type m = map[string]any
	inWorld(t, func(t *testing.T, w *world) {
		runbook(w)
		w.answer = func(c automation.Call) (any, error) { return m{"Id": c.Inputs["Id"]}, nil }
		start := m{"DocumentName": "Ask", "Parameters": m{"Id": []string{"i-2"}}, "ClientToken": "11111111-1111-4111-8111-111111111111", "Tags": []m{{"Key": "k", "Value": "v"}}}
		id := call1[StartAutomationExecutionResult](w, "StartAutomationExecution", start).AutomationExecutionID
		require.Equal(t, id, call1[StartAutomationExecutionResult](w, "StartAutomationExecution", start).AutomationExecutionID, "A18")
		when(w, id, "ExecutionWaiting")
		x := call1[AutomationExecutionResult](w, "GetAutomationExecution", m{"AutomationExecutionId": id}).AutomationExecution
		require.Equal(t, automation.Waiting, x.AutomationExecutionStatus)
		require.Equal(t, "hold", x.CurrentStepName)
		require.Equal(t, "aws:pause", x.CurrentAction)
		require.Equal(t, "admin", x.ExecutedBy)
		require.Equal(t, map[string][]string{"Id": {"i-2"}, "List": {"a", "b"}}, x.Parameters)
		require.Len(t, x.StepExecutions, 3)
		stepsOf := func(in m) (names []string, next string) {
			in["AutomationExecutionId"] = id
			r := call1[DescribeAutomationStepExecutionsResult](w, "DescribeAutomationStepExecutions", in)
			for _, st := range r.StepExecutions {
				names = append(names, st.StepName)
			}
			return names, r.NextToken
		}
		names, next := stepsOf(m{"MaxResults": 2})
		require.Equal(t, []string{"call", "hold"}, names)
		names, next = stepsOf(m{"MaxResults": 2, "NextToken": next})
		require.Equal(t, []string{"last"}, names)
		require.Empty(t, next)
		names, _ = stepsOf(m{"Filters": []m{{"Key": "StepExecutionStatus", "Values": []string{"Success"}}, {"Key": "Action", "Values": []string{"aws:executeAwsApi", "aws:sleep"}}}})
		require.Equal(t, []string{"call"}, names)
		names, _ = stepsOf(m{"ReverseOrder": true})
		require.Equal(t, []string{"hold", "call"}, names)
		for _, f := range []m{{"Key": "Colour", "Values": []string{"x"}}, {"Key": "StepName"}, {"Key": "StartTimeAfter", "Values": []string{"soon"}}, {"Key": "ParentStepIteration", "Values": []string{"x"}}} {
			b, err := json.Marshal(m{"AutomationExecutionId": id, "Filters": []m{f}})
			require.NoError(t, err)
			_, err = w.api.Call(w.ctx, "DescribeAutomationStepExecutions", b)
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", f)
		}
		call := x.StepExecutions[0]
		require.Equal(t, map[string]string{"Service": `"ec2"`, "Api": `"Look"`, "Ids": `["a","b"]`, "Id": `"i-2"`}, call.Inputs)
		require.Equal(t, []string{"i-2"}, call.Outputs["Id"])
		require.Equal(t, int64(20), call.TimeoutSeconds)
		require.True(t, call.IsCritical)
		require.Equal(t, "hold", call.NextStep)
		require.Equal(t, "Continue", x.StepExecutions[1].OnFailure)
		require.False(t, x.StepExecutions[1].IsCritical)
		require.Equal(t, automation.Pending, x.StepExecutions[2].StepStatus)
		require.True(t, x.StepExecutions[2].IsEnd)

		_, err := call2[m](w, "SendAutomationSignal", m{"AutomationExecutionId": id, "SignalType": "Resume", "Payload": m{"StepName": []string{"hold", "last"}}})
		require.Equal(t, automation.InvalidSignal, fault.CodeOf(err))
		call1[m](w, "SendAutomationSignal", m{"AutomationExecutionId": id, "SignalType": "Resume", "Payload": m{"StepName": []string{"hold"}}})
		when(w, id, "ExecutionSuccess")
		x = call1[AutomationExecutionResult](w, "GetAutomationExecution", m{"AutomationExecutionId": id}).AutomationExecution
		require.Equal(t, map[string][]string{"call.Id": {"i-2"}}, x.Outputs)
		require.False(t, x.ExecutionEndTime.IsZero())

		w.answer = func(c automation.Call) (any, error) {
			return nil, &automation.CallError{Failure: automation.Failure{Stage: automation.Invocation, Type: automation.ThrottlingFailure, Message: "slow", Details: map[string][]string{"Code": {"X"}}}}
		}
		bad := call1[StartAutomationExecutionResult](w, "StartAutomationExecution", m{"DocumentName": "Ask"}).AutomationExecutionID
		when(w, bad, "ExecutionFailed")
		x = call1[AutomationExecutionResult](w, "GetAutomationExecution", m{"AutomationExecutionId": bad}).AutomationExecution
		require.Equal(t, &FailureDetails{automation.Invocation, automation.ThrottlingFailure, map[string][]string{"Code": {"X"}}}, x.StepExecutions[0].FailureDetails)
		require.Equal(t, "slow", x.StepExecutions[0].FailureMessage)

		w.answer = nil
		many := call1[StartAutomationExecutionResult](w, "StartAutomationExecution", m{"DocumentName": "Ask", "TargetParameterName": "Id", "Targets": []m{{"Key": "ParameterValues", "Values": []string{"i-1", "i-2", "i-3"}}}, "MaxConcurrency": "1"}).AutomationExecutionID
		when(w, many, "ExecutionInProgress")
		call1[m](w, "StopAutomationExecution", m{"AutomationExecutionId": many})
		when(w, many, "ExecutionCancelled")
		x = call1[AutomationExecutionResult](w, "GetAutomationExecution", m{"AutomationExecutionId": many}).AutomationExecution
		require.Equal(t, 3, x.ProgressCounters.TotalSteps)
		require.Equal(t, []string{"i-1", "i-2", "i-3"}, x.ResolvedTargets.ParameterValues)
		require.Equal(t, "Id", x.TargetParameterName)
		require.Equal(t, "1", x.MaxConcurrency)

		list := func(filters ...m) (ids []string) {
			out := call1[DescribeAutomationExecutionsResult](w, "DescribeAutomationExecutions", m{"Filters": filters})
			for _, e := range out.AutomationExecutionMetadataList {
				ids = append(ids, e.AutomationExecutionID)
			}
			return ids
		}
		require.Len(t, list(), 4, "the children that began, too")
		require.Equal(t, []string{bad}, list(m{"Key": "ExecutionStatus", "Values": []string{"Failed", "TimedOut"}}))
		require.Len(t, list(m{"Key": "ParentExecutionId", "Values": []string{many}}), 1)
		require.Empty(t, list(m{"Key": "DocumentNamePrefix", "Values": []string{"Other"}}))
		require.Empty(t, list(m{"Key": "StartTimeBefore", "Values": []string{"2000-01-01T00:00:00Z"}}))
		page := call1[DescribeAutomationExecutionsResult](w, "DescribeAutomationExecutions", m{"MaxResults": 1})
		require.Len(t, page.AutomationExecutionMetadataList, 1)
		require.Equal(t, []string{bad}, list(m{"Key": "ExecutionId", "Values": []string{bad}}))
		require.Empty(t, list(m{"Key": "AutomationType", "Values": []string{"CrossAccount"}}))

		plan := call1[PreviewAutomationExecutionResult](w, "PreviewAutomationExecution", m{"DocumentName": "Ask"})
		require.Equal(t, map[automation.Impact]int{automation.Mutating: 1, automation.NonMutating: 2}, plan.StepPreviews)
		require.Equal(t, StepPreview{StepName: "call", Action: "aws:executeAwsApi", Impact: automation.Mutating, Next: []string{"hold"}, Likely: true,
			Inputs: map[string]string{"Service": `"ec2"`, "Api": `"Look"`, "Ids": `["a","b"]`, "Id": `"i-1"`}}, plan.Steps[0])
		require.Len(t, list(), 4, "a preview starts nothing")
		require.NotEmpty(t, page.NextToken)
	})
}

func TestAutomationRequestsThatAreRefused(t *testing.T) {
	type m = map[string]any
	inWorld(t, func(t *testing.T, w *world) {
		runbook(w)
		w.create("Greet", greet)
		for _, c := range []struct {
			rule, op string
			in       m
			code     fault.Code
		}{
			{"no such runbook", "StartAutomationExecution", m{"DocumentName": "Nope"}, automation.DefinitionNotFound},
			{"no runbook", "StartAutomationExecution", m{"DocumentName": "Greet"}, fault.InvalidDocumentSchemaVersion},
			{"a parameter that it has not", "StartAutomationExecution", m{"DocumentName": "Ask", "Parameters": m{"Nope": []string{"x"}}}, automation.InvalidExecutionParams},
			{"a mode that there is not", "StartAutomationExecution", m{"DocumentName": "Ask", "Mode": "Slow"}, fault.Validation},
			{"a target parameter without targets", "StartAutomationExecution", m{"DocumentName": "Ask", "TargetParameterName": "Id"}, automation.InvalidExecutionParams},
			{"an alarm", "StartAutomationExecution", m{"DocumentName": "Ask", "AlarmConfiguration": m{"Alarms": []m{{"Name": "x"}}}}, fault.UnsupportedOperation},
			{"a token that is none", "StartAutomationExecution", m{"DocumentName": "Ask", "ClientToken": "x"}, fault.Validation},
			{"an execution that is not there", "GetAutomationExecution", m{"AutomationExecutionId": "x"}, automation.ExecutionNotFound},
			{"nor stopped", "StopAutomationExecution", m{"AutomationExecutionId": "x"}, automation.ExecutionNotFound},
			{"a way to stop that there is not", "StopAutomationExecution", m{"AutomationExecutionId": "x", "Type": "Now"}, automation.InvalidStatusUpdate},
			{"a signal for what is not there", "SendAutomationSignal", m{"AutomationExecutionId": "x", "SignalType": "Resume"}, automation.ExecutionNotFound},
			{"a filter that there is not", "DescribeAutomationExecutions", m{"Filters": []m{{"Key": "Colour", "Values": []string{"red"}}}}, fault.InvalidFilterKey},
			{"a filter without values", "DescribeAutomationExecutions", m{"Filters": []m{{"Key": "ExecutionStatus"}}}, fault.InvalidFilterValue},
			{"a status that there is not", "DescribeAutomationExecutions", m{"Filters": []m{{"Key": "ExecutionStatus", "Values": []string{"Blue"}}}}, fault.InvalidFilterValue},
			{"a time that is none", "DescribeAutomationExecutions", m{"Filters": []m{{"Key": "StartTimeAfter", "Values": []string{"noon"}}}}, fault.InvalidFilterValue},
			{"a filter twice", "DescribeAutomationExecutions", m{"Filters": []m{{"Key": "ParentExecutionId", "Values": []string{"x"}}, {"Key": "ParentExecutionId", "Values": []string{"x"}}}}, fault.InvalidFilterValue},
			{"too many results", "DescribeAutomationExecutions", m{"MaxResults": 51}, fault.Validation},
			{"a page of no list", "DescribeAutomationExecutions", m{"NextToken": "x"}, fault.InvalidNextToken},
		} {
			_, err := call2[m](w, c.op, c.in)
			require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", c.rule, err)
		}
	})
}

// A runbook that calls the service ssm reaches the fleet's own services, as who started it.
func TestRunbookCallerAnswersForSSM(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var caller api.Caller = RunbookCaller{w.api}
		_, err := w.parameters.PutParameter(w.ctx, parameter.PutParameterRequest{Name: "/x", Type: parameter.String, Value: parameter.Text("one")})
		require.NoError(t, err)
		out, err := caller.Call(w.ctx, "ssm", "GetParameter", map[string]any{"Name": "/x"})
		require.NoError(t, err)
		require.Equal(t, "one", out["Parameter"].(map[string]any)["Value"])
		out, err = caller.Call(w.ctx, "SSM", "get_parameter", map[string]any{"name": "/x"})
		require.NoError(t, err)
		require.Equal(t, "one", out["Parameter"].(map[string]any)["Value"])
		out, err = caller.Call(w.ctx, "ssm", "DeleteParameter", map[string]any{"Name": "/x"})
		require.NoError(t, err)
		require.Empty(t, out)
		act := api.Actions(caller, nil)["aws:executeAwsApi"]
		_, err = act.Run(w.ctx, automation.Call{Inputs: map[string]any{"Service": "ssm", "Api": "put_parameter", "Name": "/y", "Value": "two", "Type": "String"}})
		require.NoError(t, err)
		got, err := act.Run(w.ctx, automation.Call{Inputs: map[string]any{"Service": "ssm", "Api": "GetParametersByPath", "Path": "/"}})
		require.NoError(t, err)
		require.Equal(t, "two", got.(map[string]any)["Parameters"].([]any)[0].(map[string]any)["Value"])
		for rule, c := range map[string]struct {
			who, service, op string
			in               map[string]any
			code             fault.Code
		}{
			"another service":          {"admin", "ec2", "DescribeInstances", nil, fault.Validation},
			"no such operation":        {"admin", "ssm", "Invented", nil, unknownOperation},
			"what streams":             {"admin", "ssm", "WatchCommand", nil, fault.UnsupportedOperation},
			"what is not there":        {"admin", "ssm", "GetParameter", map[string]any{"Name": "/x"}, parameter.CodeNotFound},
			"who may not":              {"eve", "ssm", "GetParameter", map[string]any{"Name": "/x"}, fault.AccessDenied},
			"an input of another kind": {"admin", "ssm", "GetParameter", map[string]any{"Name": []any{"/x"}}, serialization},
		} {
			_, err := caller.Call(as(c.who, ""), c.service, c.op, c.in)
			require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", rule, err)
		}
	})
}

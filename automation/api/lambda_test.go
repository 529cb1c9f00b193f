package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/automation"
)

func TestInvokeLambdaFunction(t *testing.T) {
	invoke := func(in, out string) []said { return []said{{"lambda:Invoke", in, out, nil}} }
	bad := func(name, in, says string) row {
		return row{name: name, in: in, fails: says, stage: automation.InputValidation, typ: verification}
	}
	large := `{\"a\":\"` + strings.Repeat("x", 50_000) + `\"}`
	play(t, "aws:invokeLambdaFunction", false, []row{
		{name: "the answer's members beside the action's outputs", in: `{"FunctionName":"f"}`, says: invoke(`{"FunctionName":"f"}`, `{"StatusCode":200,"ExecutedVersion":"1","Payload":"{\"reachable\":true,\"StatusCode\":5,\"LogResult\":\"mine\"}"}`),
			want: `{"StatusCode":200,"Payload":"{\"reachable\":true,\"StatusCode\":5,\"LogResult\":\"mine\"}","reachable":true}`},
		{name: "all inputs", in: `{"FunctionName":"f","Qualifier":"7","InvocationType":"RequestResponse","LogType":"Tail","ClientContext":"c","Payload":"{\"a\":1}"}`,
			says: invoke(`{"FunctionName":"f","Qualifier":"7","InvocationType":"RequestResponse","LogType":"Tail","ClientContext":"c","Payload":"{\"a\":1}"}`, `{"StatusCode":200,"LogResult":"bG9n","Payload":"null"}`), want: `{"StatusCode":200,"LogResult":"bG9n","Payload":"null"}`},
		{name: "InputPayload beats Payload", in: `{"FunctionName":"f","InputPayload":{"b":[2]},"Payload":"{}"}`, says: invoke(`{"FunctionName":"f","Payload":"{\"b\":[2]}"}`, `{"StatusCode":200}`), want: `{"StatusCode":200}`},
		{name: "a Payload that is a structure", in: `{"FunctionName":"f","Payload":{"b":2}}`, says: invoke(`{"FunctionName":"f","Payload":"{\"b\":2}"}`, `{"StatusCode":200,"Payload":"[1]"}`), want: `{"StatusCode":200,"Payload":"[1]"}`},
		{name: "nobody waits", in: `{"FunctionName":"f","InvocationType":"Event"}`, says: invoke(`{"FunctionName":"f","InvocationType":"Event"}`, `{"StatusCode":202}`), want: `{"StatusCode":202}`},
		{name: "an answer that is decoded", in: `{"FunctionName":"f"}`, says: invoke(``, `{"StatusCode":200,"Payload":{"a":1}}`), want: `{"StatusCode":200,"Payload":"{\"a\":1}","a":1}`},
		{name: "a large answer is text alone", in: `{"FunctionName":"f"}`, says: invoke(``, `{"StatusCode":200,"Payload":"`+large+`"}`), want: `{"StatusCode":200,"Payload":"` + large + `"}`},
		{name: "the function fails", in: `{"FunctionName":"f"}`, says: invoke(``, `{"StatusCode":200,"FunctionError":"Unhandled","Payload":"{\"errorType\":\"KeyError\",\"errorMessage\":\"a\"}"}`),
			fails: "the function answered with an error (Unhandled): KeyError: a", detail: map[string][]string{"FunctionError": {"Unhandled"}}},
		{name: "there is no function", in: `{"FunctionName":"f"}`, says: []said{{op: "lambda:Invoke", err: no("ResourceNotFoundException", "Function not found")}}, fails: "ResourceNotFoundException"},
		{name: "too many", in: `{"FunctionName":"f"}`, says: []said{{op: "lambda:Invoke", err: no("TooManyRequestsException", "slow")}}, fails: "slow", typ: automation.ThrottlingFailure},
		bad("no function", `{"FunctionName":""}`, "FunctionName must be given"),
		bad("no such type", `{"FunctionName":"f","InvocationType":"Later"}`, "InvocationType"),
		bad("no such log", `{"FunctionName":"f","LogType":"Head"}`, "LogType"),
		bad("a log nobody waits for", `{"FunctionName":"f","LogType":"Tail","InvocationType":"Event"}`, "LogType Tail"),
	})
}

func TestExecuteStateMachine(t *testing.T) {
	const machine = `arn:aws:states:r:1:stateMachine:m`
	const in = `{"stateMachineArn":"` + machine + `"}`
	begun := said{"stepfunctions:StartExecution", "", `{"executionArn":"arn:e","startDate":"2026-01-02T03:04:05Z"}`, nil}
	look := func(status, more string) said {
		return said{"stepfunctions:DescribeExecution", `{"executionArn":"arn:e"}`, `{"executionArn":"arn:e","stateMachineArn":"` + machine + `","name":"n","status":"` + status + `","startDate":"2026-01-02T03:04:05Z"` + more + `}`, nil}
	}
	arn := map[string][]string{"executionArn": {"arn:e"}}
	play(t, "aws:executeStateMachine", true, []row{
		{name: "waits for its end", in: `{"stateMachineArn":"` + machine + `","input":{"a":1},"name":"n"}`, took: 9 * time.Second,
			says: []said{{"stepfunctions:StartExecution", `{"stateMachineArn":"` + machine + `","input":"{\"a\":1}","name":"n"}`, `{"executionArn":"arn:e"}`, nil}, {op: "stepfunctions:DescribeExecution", err: no("ExecutionDoesNotExist", "")}, look("RUNNING", ""),
				look("SUCCEEDED", `,"stopDate":"2026-01-02T03:05:05Z","input":"{}","output":"[1]","traceHeader":"t"`)},
			want: `{"executionArn":"arn:e","stateMachineArn":"` + machine + `","name":"n","status":"SUCCEEDED","startDate":"2026-01-02T03:04:05Z","stopDate":"2026-01-02T03:05:05Z","input":"{}","output":"[1]"}`},
		{name: "the token is the name", in: `{"stateMachineArn":"` + machine + `","input":"{}"}`, says: []said{{"stepfunctions:StartExecution", `{"stateMachineArn":"` + machine + `","input":"{}","name":"` + token + `"}`, `{"executionArn":"arn:e"}`, nil}, look("SUCCEEDED", "")},
			want: `{"executionArn":"arn:e","stateMachineArn":"` + machine + `","name":"n","status":"SUCCEEDED","startDate":"2026-01-02T03:04:05Z"}`},
		{name: "was begun before a crash, and has ended", in: in, says: []said{{op: "stepfunctions:StartExecution", err: no("ExecutionAlreadyExists", "")},
			{"stepfunctions:DescribeExecution", `{"executionArn":"arn:aws:states:r:1:execution:m:` + token + `"}`, `{"status":"SUCCEEDED"}`, nil}}, want: `{"status":"SUCCEEDED"}`},
		{name: "a name that was used", in: `{"stateMachineArn":"` + machine + `","name":"n"}`, says: []said{{op: "stepfunctions:StartExecution", err: no("ExecutionAlreadyExists", "there is one")}}, fails: "ExecutionAlreadyExists"},
		{name: "fails", in: in, says: []said{begun, look("FAILED", `,"error":"E","cause":"c"`)}, fails: "the execution ended FAILED: E: c", stage: automation.PostVerification, typ: verification, detail: arn},
		{name: "is aborted", in: in, took: 6 * time.Second, says: []said{begun, {op: "stepfunctions:DescribeExecution", err: no("ThrottlingException", "")}, look("ABORTED", "")}, fails: "ABORTED", stage: automation.PostVerification, typ: verification, detail: arn},
		{name: "takes too long", in: in, says: []said{begun, look("TIMED_OUT", "")}, fails: "TIMED_OUT", stage: automation.PostVerification, typ: verification, detail: map[string][]string{"status": {"TIMED_OUT"}}},
		{name: "there is none", in: in, says: []said{{op: "stepfunctions:StartExecution", err: no("StateMachineDoesNotExist", "no")}}, fails: "StateMachineDoesNotExist"},
		{name: "no machine", in: `{"input":"{}"}`, fails: "stateMachineArn must be given", stage: automation.InputValidation, typ: verification},
	})
}

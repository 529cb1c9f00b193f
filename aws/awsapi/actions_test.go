package awsapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/aws/awsapi"
)

// sayInTurn gives an operation one answer after the other; the last one stays.
func (s *server) sayInTurn(op, contentType string, answers ...string) {
	n := 0
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[op] = func(w http.ResponseWriter) {
		s.mu.Lock()
		body := answers[min(n, len(answers)-1)]
		n++
		s.mu.Unlock()
		w.Header().Set("Content-Type", contentType)
		if body[0] == '!' {
			w.WriteHeader(http.StatusBadRequest)
			body = body[1:]
		}
		w.Write([]byte(body)) //nolint:errcheck // the test sees what is missing
	}
}

// The actions of package api find what they look for in what the SDK's clients answer: the names, the errors, the states.
func TestActionsOverClients(t *testing.T) {
	stack := func(status string) string {
		return `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackId>arn:s</StackId><StackName>s</StackName><CreationTime>2020-01-01T00:00:00Z</CreationTime><StackStatus>` + status + `</StackStatus></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`
	}
	const gone = `!<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id arn:s does not exist</Message></Error></ErrorResponse>`
	const slow = `!<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>`
	s := serve(t)
	s.sayInTurn("CreateStack", xml, `<CreateStackResponse><CreateStackResult><StackId>arn:s</StackId></CreateStackResult></CreateStackResponse>`)
	s.sayInTurn("DeleteStack", xml, `<DeleteStackResponse/>`)
	s.sayInTurn("AmazonSSM.AddTagsToResource", json11, `{}`)
	s.sayInTurn("AWSStepFunctions.StartExecution", json10, `{"executionArn":"arn:e","startDate":1.6e9}`)
	s.sayInTurn("AWSStepFunctions.DescribeExecution", json10, `{"executionArn":"arn:e","status":"RUNNING","startDate":1.6e9}`, `!{"__type":"ThrottlingException","message":"slow"}`,
		`{"executionArn":"arn:e","stateMachineArn":"m","name":"n","status":"SUCCEEDED","startDate":1.6e9,"stopDate":1600000005,"input":"{}","output":"[1]"}`)
	s.sayInTurn("POST /2015-03-31/functions/f/invocations", json11, `{"reachable":true}`)
	acts := api.Actions(caller(t, s, &awsapi.Options{}), &api.Options{Poll: time.Millisecond, PollMost: time.Millisecond})
	run := func(action, in string) (any, error) {
		return acts[action].Run(t.Context(), automation.Call{Action: action, Token: "7f2c1c1e-0000-4000-8000-000000000001", Inputs: value(t, in)})
	}

	s.sayInTurn("DescribeStacks", xml, gone, stack("CREATE_IN_PROGRESS"), slow, stack("CREATE_COMPLETE"))
	out, err := run("aws:createStack", `{"StackName":"s","TemplateBody":"{}","Parameters":[{"ParameterKey":"k","ParameterValue":"v"}]}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"StackId": "arn:s", "StackStatus": "CREATE_COMPLETE"}, out)

	s.sayInTurn("DescribeStacks", xml, stack("CREATE_COMPLETE"), stack("DELETE_IN_PROGRESS"), gone)
	out, err = run("aws:deleteStack", `{"StackName":"s"}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"StackId": "arn:s", "StackStatus": "DELETE_COMPLETE"}, out)

	s.sayInTurn("DescribeStacks", xml, stack("ROLLBACK_COMPLETE"))
	_, err = run("aws:createStack", `{"StackName":"s","TemplateBody":"{}"}`)
	require.ErrorContains(t, err, "entered the unexpected state ROLLBACK_COMPLETE")

	out, err = run("aws:executeStateMachine", `{"stateMachineArn":"m","input":{"a":1}}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"executionArn": "arn:e", "stateMachineArn": "m", "name": "n", "status": "SUCCEEDED", "startDate": "2020-09-13T12:26:40Z", "stopDate": "2020-09-13T12:26:45Z", "input": "{}", "output": "[1]"}, out)

	out, err = run("aws:invokeLambdaFunction", `{"FunctionName":"f","InputPayload":{"a":1}}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"StatusCode": int64(200), "Payload": `{"reachable":true}`, "reachable": true}, out)
	require.JSONEq(t, `{"a":1}`, s.last().body)

	_, err = run("aws:createTags", `{"ResourceType":"ManagedInstance","ResourceIds":["mi-1"],"Tags":[{"Key":"k","Value":"v"}]}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"ResourceType":"ManagedInstance","ResourceId":"mi-1","Tags":[{"Key":"k","Value":"v"}]}`, s.last().body)
}

package awsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sso"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/aws/awsapi"
	"github.com/fleetwright/fleetwright/fault"
)

// asked is a request as it arrived.
type asked struct {
	op     string     // "AmazonSSM.GetParameter", "GetCallerIdentity", "POST /2015-03-31/functions/f/invocations"
	body   string     // JSON
	form   url.Values // of the query protocol
	header http.Header
	query  url.Values
}

// server speaks as AWS does: answers by operation, for as long as the test lasts.
type server struct {
	mu      sync.Mutex
	answers map[string]func(w http.ResponseWriter)
	got     []asked
	url     string
}

func serve(t *testing.T) *server {
	s := &server{answers: map[string]func(http.ResponseWriter){}}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		a := asked{body: string(b), header: r.Header, query: r.URL.Query()}
		switch target := r.Header.Get("X-Amz-Target"); {
		case target != "":
			a.op = target
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
			a.form, _ = url.ParseQuery(a.body)
			a.op = a.form.Get("Action")
		default:
			a.op = r.Method + " " + r.URL.Path
		}
		s.mu.Lock()
		s.got = append(s.got, a)
		f := s.answers[a.op]
		s.mu.Unlock()
		if f == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		f(w)
	}))
	t.Cleanup(h.Close)
	s.url = h.URL
	return s
}

func (s *server) last() asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[len(s.got)-1]
}

func (s *server) say(op, contentType string, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[op] = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", contentType)
		if contentType == "application/json" {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			w.Header().Set("X-Amz-Executed-Version", "$LATEST")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// clients are clients of the SDK that ask the server. It is plain HTTP on the loopback address.
func (s *server) config(name string) aws.Config {
	return aws.Config{Region: "eu-west-1", BaseEndpoint: aws.String(s.url), Credentials: credentials.NewStaticCredentialsProvider(name, "secret", ""), RetryMaxAttempts: 1}
}

func (s *server) clients() map[string]any {
	cfg := s.config("host")
	return map[string]any{"sts": sts.NewFromConfig(cfg), "sso": sso.NewFromConfig(cfg), "ssm": ssm.NewFromConfig(cfg), "stepfunctions": sfn.NewFromConfig(cfg), "lambda": lambda.NewFromConfig(cfg), "cloudformation": cloudformation.NewFromConfig(cfg)}
}

func caller(t *testing.T, s *server, o *awsapi.Options) *awsapi.Caller {
	c, err := awsapi.New(s.clients(), o)
	require.NoError(t, err)
	return c
}

func value(t *testing.T, s string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v map[string]any
	require.NoError(t, d.Decode(&v), s)
	return v
}

const (
	json11 = "application/x-amz-json-1.1"
	json10 = "application/x-amz-json-1.0"
	xml    = "text/xml"
)

// Inputs of every type arrive as the service expects them; outputs have AWS's names. One row is a call.
func TestCalls(t *testing.T) {
	for _, row := range []struct {
		name, service, api, in string
		op, kind, answer       string // what the server is asked, and says
		sent                   string // JSON bodies: what arrives
		form                   map[string]string
		want                   string
	}{
		{name: "JSON 1.1, clients that describe themselves", service: "ssm", api: "GetParameter", in: `{"Name":"/a","WithDecryption":"True"}`, op: "AmazonSSM.GetParameter", kind: json11,
			sent: `{"Name":"/a","WithDecryption":true}`, answer: `{"Parameter":{"Name":"/a","Type":"String","Value":"","Version":3,"LastModifiedDate":1.6e9,"ARN":"arn"}}`,
			want: `{"Parameter":{"Name":"/a","Type":"String","Value":"","Version":3,"LastModifiedDate":"2020-09-13T12:26:40Z","ARN":"arn"}}`},
		{name: "camel case at every depth, texts for numbers, times and lists as text", service: "SSM", api: "sendCommand",
			in: `{"documentName":"AWS-RunShellScript","targets":"[{\"key\":\"tag:a\",\"values\":[1,true]}]","parameters":{"commands":["ls","pwd"]},"timeoutSeconds":"60","cloudWatchOutputConfig":{"cloudWatchOutputEnabled":"true"}}`,
			op: "AmazonSSM.SendCommand", kind: json11, sent: `{"DocumentName":"AWS-RunShellScript","Targets":[{"Key":"tag:a","Values":["1","true"]}],"Parameters":{"commands":["ls","pwd"]},"TimeoutSeconds":60,"CloudWatchOutputConfig":{"CloudWatchOutputEnabled":true}}`,
			answer: `{"Command":{"CommandId":"c","Targets":[{"Key":"tag:a","Values":["1"]}],"Parameters":{"commands":[]},"RequestedDateTime":1600000000.123,"CompletedCount":0,"Status":"Pending","InstanceIds":[]}}`,
			want:   `{"Command":{"CommandId":"c","Targets":[{"Key":"tag:a","Values":["1"]}],"Parameters":{"commands":[]},"RequestedDateTime":"2020-09-13T12:26:40.123Z","CompletedCount":0,"DeliveryTimedOutCount":0,"ErrorCount":0,"TargetCount":0,"Status":"Pending","InstanceIds":[]}}`},
		{name: "a time that is given", service: "ssm", api: "CreateActivation", in: `{"IamRole":"r","ExpirationDate":"2026-01-02T03:04:05Z","RegistrationLimit":5.0}`, op: "AmazonSSM.CreateActivation", kind: json11,
			sent: `{"IamRole":"r","ExpirationDate":1767323045,"RegistrationLimit":5}`, answer: `{"ActivationId":"a"}`, want: `{"ActivationId":"a"}`},
		{name: "seconds since 1970", service: "ssm", api: "CreateActivation", in: `{"IamRole":"r","ExpirationDate":1767323045}`, op: "AmazonSSM.CreateActivation", kind: json11, sent: `{"IamRole":"r","ExpirationDate":1767323045}`, answer: `{}`, want: `{}`},
		{name: "a structure as text", service: "ssm", api: "CreateDocument", in: `{"Name":"n","Content":{"schemaVersion":"2.2"}}`, op: "AmazonSSM.CreateDocument", kind: json11, sent: `{"Name":"n","Content":"{\"schemaVersion\":\"2.2\"}"}`, answer: `{}`, want: `{}`},
		{name: "a union", service: "ssm", api: "StartExecutionPreview", in: `{"DocumentName":"n","ExecutionInputs":{"automation":{"Parameters":{"a":["b"]}}}}`, op: "AmazonSSM.StartExecutionPreview", kind: json11,
			sent: `{"DocumentName":"n","ExecutionInputs":{"Automation":{"Parameters":{"a":["b"]}}}}`, answer: `{"ExecutionPreviewId":"p"}`, want: `{"ExecutionPreviewId":"p"}`},
		{name: "a union that comes back", service: "ssm", api: "GetExecutionPreview", in: `{"ExecutionPreviewId":"p"}`, op: "AmazonSSM.GetExecutionPreview", kind: json11,
			answer: `{"Status":"Success","ExecutionPreview":{"Automation":{"Regions":["r"],"StepPreviews":{"Mutating":2},"TotalAccounts":1}}}`,
			want:   `{"Status":"Success","ExecutionPreview":{"Automation":{"Regions":["r"],"StepPreviews":{"Mutating":2},"TotalAccounts":1}}}`},
		{name: "JSON 1.0, older clients, names in camel case", service: "stepfunctions", api: "DescribeExecution", in: `{"ExecutionArn":"e"}`, op: "AWSStepFunctions.DescribeExecution", kind: json10, sent: `{"executionArn":"e"}`,
			answer: `{"executionArn":"e","startDate":1.6e9,"status":"RUNNING","inputDetails":{"included":true},"input":"{}"}`, want: `{"executionArn":"e","startDate":"2020-09-13T12:26:40Z","status":"RUNNING","inputDetails":{"included":true},"input":"{}"}`},
		{name: "what older clients leave out, in the case of its siblings", service: "stepfunctions", api: "DescribeStateMachine", in: `{"stateMachineArn":"m"}`, op: "AWSStepFunctions.DescribeStateMachine", kind: json10,
			answer: `{"name":"m","status":"ACTIVE","loggingConfiguration":{"level":"OFF"},"creationDate":1.5}`, want: `{"name":"m","status":"ACTIVE","loggingConfiguration":{"level":"OFF","includeExecutionData":false},"creationDate":"1970-01-01T00:00:01.5Z"}`},
		{name: "what newer clients leave out, in the model's case", service: "sso", api: "getRoleCredentials", in: `{"AccountId":"1","RoleName":"r","AccessToken":"t"}`, op: "GET /federation/credentials", kind: json11,
			answer: `{"roleCredentials":{"accessKeyId":"a","sessionToken":""}}`, want: `{"roleCredentials":{"accessKeyId":"a","sessionToken":"","expiration":0}}`},
		{name: "by the name of the Go package", service: "sfn", api: "listTagsForResource", in: `{"resourceArn":"e"}`, op: "AWSStepFunctions.ListTagsForResource", kind: json10, answer: `{"tags":[{"key":"k","value":"v"}]}`, want: `{"tags":[{"key":"k","value":"v"}]}`},
		{name: "REST, the answer in headers and body", service: "lambda", api: "Invoke", in: `{"FunctionName":"f","Payload":"{\"a\":1}","Qualifier":"7"}`, op: "POST /2015-03-31/functions/f/invocations", kind: "application/json", sent: `{"a":1}`,
			answer: `{"errorMessage":"x"}`, want: `{"StatusCode":200,"ExecutedVersion":"$LATEST","FunctionError":"Unhandled","Payload":"{\"errorMessage\":\"x\"}"}`},
		{name: "a blob from a structure", service: "lambda.amazonaws.com", api: "invoke", in: `{"FunctionName":"f","Payload":{"a":[1]}}`, op: "POST /2015-03-31/functions/f/invocations", kind: "application/json", sent: `{"a":[1]}`,
			answer: "\xff", want: `{"StatusCode":200,"ExecutedVersion":"$LATEST","FunctionError":"Unhandled","Payload":"/w=="}`},
		{name: "the query protocol, an answer in XML", service: "cloudformation", api: "DescribeStacks", in: `{"StackName":"s"}`, op: "DescribeStacks", kind: xml, form: map[string]string{"StackName": "s"},
			answer: `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackId>arn</StackId><StackName>s</StackName><CreationTime>2020-09-13T12:26:40.500Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Capabilities/><EnableTerminationProtection>false</EnableTerminationProtection>
<Outputs><member><OutputKey>k</OutputKey><OutputValue>v</OutputValue></member></Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
			want: `{"Stacks":[{"StackId":"arn","StackName":"s","CreationTime":"2020-09-13T12:26:40.5Z","StackStatus":"CREATE_COMPLETE","Capabilities":[],"EnableTerminationProtection":false,"Outputs":[{"OutputKey":"k","OutputValue":"v"}]}]}`},
		{name: "lists in the query protocol", service: "cloudformation", api: "CreateStack", in: `{"StackName":"s","TemplateBody":"{}","Parameters":[{"ParameterKey":"a","ParameterValue":5}],"Capabilities":["CAPABILITY_IAM"],"TimeoutInMinutes":"5","OnFailure":"DELETE"}`, op: "CreateStack", kind: xml,
			form:   map[string]string{"Parameters.member.1.ParameterKey": "a", "Parameters.member.1.ParameterValue": "5", "Capabilities.member.1": "CAPABILITY_IAM", "TimeoutInMinutes": "5", "OnFailure": "DELETE"},
			answer: `<CreateStackResponse><CreateStackResult><StackId>arn</StackId></CreateStackResult></CreateStackResponse>`, want: `{"StackId":"arn"}`},
		{name: "nothing to say", service: "sts", api: "GetCallerIdentity", in: `{}`, op: "GetCallerIdentity", kind: xml,
			answer: `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/u</Arn><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, want: `{"Arn":"arn:aws:iam::1:user/u","Account":"1"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serve(t)
			s.say(row.op, row.kind, http.StatusOK, row.answer)
			c := caller(t, s, &awsapi.Options{Types: []any{&ssmtypes.ExecutionInputsMemberAutomation{}}})
			in := value(t, row.in)
			before := fmt.Sprint(in)
			out, err := c.Call(t.Context(), row.service, row.api, in)
			require.NoError(t, err)
			require.Equal(t, before, fmt.Sprint(in), "the inputs were changed")
			b, err := json.Marshal(out)
			require.NoError(t, err)
			require.JSONEq(t, row.want, string(b))
			got := s.last()
			if row.sent != "" {
				require.JSONEq(t, row.sent, got.body)
			}
			for k, v := range row.form {
				require.Equal(t, v, got.form.Get(k), k)
			}
		})
	}
}

// What cannot be called calls nothing, and the error names what is wrong and where.
func TestBadInputs(t *testing.T) {
	s := serve(t)
	c := caller(t, s, nil)
	for _, row := range []struct {
		name, service, api, in, says string
		code                         fault.Code
	}{
		{"no such service", "ec2\x1b", "DescribeInstances", `{}`, `no client is registered for the service "ec2\x1b"`, fault.Validation},
		{"no such operation", "ssm", "LaunchRocket", `{}`, `has no operation "LaunchRocket"`, fault.Validation},
		{"what is no operation", "ssm", "Options", `{}`, `has no operation`, fault.Validation},
		{"a member that there is not", "ssm", "GetParameter", `{"Name":"a","Colour":"red"}`, "Colour is no member that there is here: the members are Name, WithDecryption", fault.Validation},
		{"below", "ssm", "SendCommand", `{"DocumentName":"d","Targets":[{"Key":"a"},{"Kye":"b"}]}`, "Targets[1].Kye is no member", fault.Validation},
		{"twice", "ssm", "GetParameter", `{"Name":"a","name":"b"}`, "name is given twice, as Name too", fault.Validation},
		{"what the SDK adds", "ssm", "GetParameter", `{"ResultMetadata":{}}`, "is no member", fault.Validation},
		{"no number", "ssm", "SendCommand", `{"DocumentName":"d","TimeoutSeconds":"soon"}`, "TimeoutSeconds must be a whole number of 32 bits", fault.Validation},
		{"a number that is too large", "ssm", "SendCommand", `{"DocumentName":"d","TimeoutSeconds":4294967296}`, "TimeoutSeconds must be a whole number of 32 bits", fault.Validation},
		{"no whole number", "ssm", "SendCommand", `{"DocumentName":"d","TimeoutSeconds":1.5}`, "TimeoutSeconds", fault.Validation},
		{"no Boolean", "ssm", "GetParameter", `{"Name":"a","WithDecryption":"yes"}`, "WithDecryption must be true or false", fault.Validation},
		{"no list", "ssm", "GetParameters", `{"Names":"a"}`, "Names must be a list", fault.Validation},
		{"null in a list", "ssm", "GetParameters", `{"Names":["a",null]}`, "Names[1] must not be null", fault.Validation},
		{"no map", "ssm", "SendCommand", `{"DocumentName":"d","Parameters":["a"]}`, "Parameters must be a map", fault.Validation},
		{"no structure", "ssm", "SendCommand", `{"DocumentName":"d","Targets":["a"]}`, "Targets[0] must be a map of its members", fault.Validation},
		{"no time", "ssm", "CreateActivation", `{"IamRole":"r","ExpirationDate":"tomorrow"}`, "ExpirationDate must be a time", fault.Validation},
		{"a time out of all time", "ssm", "CreateActivation", `{"IamRole":"r","ExpirationDate":1e30}`, "ExpirationDate must be a time", fault.Validation},
		{"a union that was not named", "ssm", "StartExecutionPreview", `{"DocumentName":"n","ExecutionInputs":{"Automation":{}}}`, "ExecutionInputs is a union or a document", fault.Validation},
		{"what is required", "ssm", "GetParameter", `{}`, "Name", fault.Validation},
		{"what streams", "lambda", "InvokeWithResponseStream", `{"FunctionName":"f"}`, "InvokeWithResponseStream streams", fault.UnsupportedOperation},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := c.Call(t.Context(), row.service, row.api, value(t, row.in))
			require.ErrorContains(t, err, row.says)
			require.Equal(t, row.code, fault.CodeOf(err))
			require.Equal(t, string(row.code), api.CodeOf(err))
			require.NotContains(t, err.Error(), "\x1b")
		})
	}
	require.Empty(t, s.got, "something was called")

	c = caller(t, s, &awsapi.Options{Types: []any{&ssmtypes.ExecutionInputsMemberAutomation{}}})
	for _, in := range []string{`{"ExecutionInputs":{"Command":{}}}`, `{"ExecutionInputs":{"Automation":{},"Other":{}}}`, `{"ExecutionInputs":{}}`, `{"ExecutionInputs":"x"}`} {
		_, err := c.Call(t.Context(), "ssm", "StartExecutionPreview", value(t, in))
		require.ErrorContains(t, err, "ExecutionInputs must have exactly one of the members Automation", in)
	}
	_, err := c.Call(t.Context(), "ssm", "StartExecutionPreview", value(t, `{"ExecutionInputs":{"Automation":{"Size":1}}}`))
	require.ErrorContains(t, err, "ExecutionInputs.Automation.Size is no member")
}

func TestNew(t *testing.T) {
	for _, bad := range []map[string]any{{"ssm": nil}, {"ssm": 5}, {"ssm": http.DefaultClient}, {"stepfunctions": sfn.New(sfn.Options{}), "sfn": sfn.New(sfn.Options{})}} {
		_, err := awsapi.New(bad, nil)
		require.Equal(t, fault.Validation, fault.CodeOf(err), "%v", bad)
	}
	for _, bad := range []any{nil, 5, ssmtypes.Parameter{}, &ssmtypes.Parameter{}, func() {}} {
		_, err := awsapi.New(nil, &awsapi.Options{Types: []any{bad}})
		require.Equal(t, fault.Validation, fault.CodeOf(err), "%T", bad)
	}
}

// Errors keep AWS's code and message, in every protocol.
func TestErrors(t *testing.T) {
	s := serve(t)
	c := caller(t, s, nil)
	query := `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`
	s.say("AmazonSSM.GetParameter", json11, 400, `{"__type":"com.amazonaws.ssm#ParameterNotFound","message":"no such parameter"}`)
	s.say("AmazonSSM.DeleteParameter", json11, 400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`)
	s.say("AmazonSSM.PutParameter", json11, 400, `{"__type":"Odd\u001bName","message":"bad\u001b[2J"}`)
	s.say("AWSStepFunctions.StartExecution", json10, 400, `{"__type":"ExecutionAlreadyExists","message":"there is one"}`)
	s.say("DescribeStacks", xml, 400, fmt.Sprintf(query, "ValidationError", "Stack with id s does not exist"))
	s.say("GetCallerIdentity", xml, 403, fmt.Sprintf(query, "AccessDenied", "no"))
	s.say("POST /2015-03-31/functions/f/invocations", json11, 404, `{"Type":"User","Message":"Function not found"}`)
	for _, row := range []struct{ service, api, in, code, says string }{
		{"ssm", "GetParameter", `{"Name":"a"}`, "ParameterNotFound", "no such parameter"},
		{"ssm", "DeleteParameter", `{"Name":"a"}`, "ThrottlingException", "Rate exceeded"},
		{"ssm", "PutParameter", `{"Name":"a","Value":"b"}`, `Odd\x1bName`, `bad\x1b[2J`},
		{"sfn", "StartExecution", `{"stateMachineArn":"a"}`, "ExecutionAlreadyExists", "there is one"},
		{"cloudformation", "DescribeStacks", `{"StackName":"s"}`, "ValidationError", "does not exist"},
		{"sts", "GetCallerIdentity", `{}`, "AccessDenied", "no"},
	} {
		_, err := c.Call(t.Context(), row.service, row.api, value(t, row.in))
		require.Equal(t, row.code, api.CodeOf(err), "%v", err)
		require.Contains(t, fault.MessageOf(err), row.says)
		require.NotContains(t, err.Error(), "\x1b")
	}

	ctx, stop := context.WithCancelCause(t.Context())
	stop(io.ErrClosedPipe)
	_, err := c.Call(ctx, "sts", "GetCallerIdentity", nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)

	gone := httptest.NewServer(nil)
	cfg := s.config("host")
	cfg.BaseEndpoint = aws.String(gone.URL)
	gone.Close()
	c, err = awsapi.New(map[string]any{"sts": sts.NewFromConfig(cfg)}, nil)
	require.NoError(t, err)
	_, err = c.Call(t.Context(), "sts", "GetCallerIdentity", nil)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
}

// as makes a context as the actions do.
func as(t *testing.T, c *awsapi.Caller, role, execution string) error {
	_, err := api.Actions(c, nil)["aws:executeAwsApi"].Run(t.Context(), automation.Call{Tenant: "t", Execution: execution, Action: "aws:executeAwsApi", Role: role, Inputs: map[string]any{"Service": "ssm", "Api": "GetParameter", "Name": "a"}})
	return err
}

// A role's calls are made with the role's credentials and with no others.
func TestRoles(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/runbooks"
	s := serve(t)
	s.say("AmazonSSM.GetParameter", json11, 200, `{}`)
	s.say("AssumeRole", xml, 200, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>assumed</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)

	var f *automation.CallError
	err := as(t, caller(t, s, nil), role, "x1")
	require.ErrorAs(t, err, &f)
	require.Equal(t, automation.PermissionFailure, f.Failure.Type, "it must not fall back to what the program may do")
	err = as(t, caller(t, s, &awsapi.Options{Credentials: func(context.Context, string, automation.Call) (aws.CredentialsProvider, error) { return nil, nil }}), role, "x1")
	require.ErrorAs(t, err, &f)
	require.Equal(t, automation.PermissionFailure, f.Failure.Type)
	require.Empty(t, s.got)

	c := caller(t, s, &awsapi.Options{Credentials: awsapi.AssumeRole(sts.NewFromConfig(s.config("host")))})
	require.NoError(t, as(t, c, "", "x1"))
	require.Contains(t, s.last().header.Get("Authorization"), "Credential=host/")
	for range 2 {
		require.NoError(t, as(t, c, role, "x1"))
		require.Contains(t, s.last().header.Get("Authorization"), "Credential=assumed/")
		require.Equal(t, "session", s.last().header.Get("X-Amz-Security-Token"))
	}
	require.NoError(t, as(t, c, "", "x1"))
	require.Contains(t, s.last().header.Get("Authorization"), "Credential=host/", "the client itself was changed")
	require.NoError(t, as(t, c, role, "x 2/"+strings.Repeat("y", 100)))
	var sessions []string
	for _, a := range s.got {
		if a.op == "AssumeRole" {
			require.Equal(t, role, a.form.Get("RoleArn"))
			sessions = append(sessions, a.form.Get("RoleSessionName"))
		}
	}
	require.Equal(t, []string{"Automation-x1", "Automation-x-2-" + strings.Repeat("y", 49)}, sessions, "one session an execution")

	err = as(t, c, "arn:aws:iam::1:user/u", "x1")
	require.ErrorContains(t, err, "is no ARN of a role")
	s.say("AssumeRole", xml, 403, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`)
	err = as(t, c, role, "x3")
	require.ErrorAs(t, err, &f)
	require.Equal(t, automation.PermissionFailure, f.Failure.Type)
}

// What is kept for roles has a bound.
func TestAssumeRoleKeeps(t *testing.T) {
	f := awsapi.AssumeRole(sts.New(sts.Options{}))
	ask := func(tenant, execution string) aws.CredentialsProvider {
		p, err := f(t.Context(), "arn:aws:iam::123456789012:role/r", automation.Call{Tenant: tenant, Execution: execution})
		require.NoError(t, err)
		return p
	}
	first := ask("t", "x")
	require.Same(t, first, ask("t", "x"))
	require.NotSame(t, first, ask("u", "x"), "tenants share nothing")
	for i := range 254 {
		ask("t", fmt.Sprint(i))
	}
	require.Same(t, first, ask("t", "x"))
	ask("t", "one more")
	require.NotSame(t, first, ask("t", "x"))
}

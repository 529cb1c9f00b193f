package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// said is a call that is expected, and what the service says to it.
type said struct {
	op  string // "ec2:StartInstances"
	in  string // JSON; "" is not looked at
	out string // JSON; "" is an empty answer
	err error
}

// row is a run of an action against a script.
type row struct {
	name   string
	in     string // the step's inputs, JSON
	says   []said
	want   string                    // the answer, JSON
	fails  string                    // else: what the message holds
	stage  automation.Stage          // "" is Invocation
	typ    automation.FailureType    // "" is Action
	detail map[string][]string       // that the failure has at least
	took   time.Duration             // how long it must have taken
	limit  time.Duration             // the step's deadline; 0 is an hour
	o      *api.Options              //
	after  func(*testing.T, *script) //
}

type script struct {
	t    *testing.T
	says []said
	at   int
	ctx  context.Context
}

func (s *script) Call(ctx context.Context, service, op string, in map[string]any) (map[string]any, error) {
	s.ctx = ctx
	name := service + ":" + op
	require.Less(s.t, s.at, len(s.says), "one call too many: %s %v", name, in)
	want := s.says[s.at]
	s.at++
	require.Equal(s.t, want.op, name)
	if want.in != "" {
		require.Empty(s.t, cmp.Diff(value(s.t, want.in), value(s.t, text(s.t, in))), "the inputs of %s", name)
	}
	if want.err != nil {
		return nil, want.err
	}
	if want.out == "" {
		return nil, nil
	}
	return value(s.t, want.out).(map[string]any), nil
}

func value(t *testing.T, s string) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(s), &v), s)
	return v
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// awsError is an error as those of AWS's SDK.
type awsError struct{ code, message string }

func (e *awsError) Error() string        { return "api error " + e.code + ": " + e.message }
func (e *awsError) ErrorCode() string    { return e.code }
func (e *awsError) ErrorMessage() string { return e.message }

func no(code, message string) error { return &awsError{code, message} }

const token = "7f2c1c1e-0000-4000-8000-000000000001"

// play runs every row of a table of one action in virtual time.
func play(t *testing.T, action string, repeat bool, rows []row) {
	t.Helper()
	spec := document.Builtin().Get(action)
	require.NotNil(t, spec)
	named := map[string]bool{}
	for _, o := range spec.Outputs {
		named[o.Name] = true
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, says: r.says}
				act := api.Actions(s, r.o)[action]
				require.Equal(t, repeat, act.Repeat)
				if r.limit == 0 {
					r.limit = time.Hour
				}
				ctx, stop := context.WithTimeout(t.Context(), r.limit)
				defer stop()
				began := time.Now()
				c := automation.Call{Tenant: "t", Execution: "x", Step: "s", Action: action, Inputs: value(t, r.in).(map[string]any), Token: token, Role: "arn:aws:iam::123456789012:role/runbooks"}
				before := text(t, c.Inputs)
				out, err := act.Run(ctx, c)
				require.Equal(t, before, text(t, c.Inputs), "the inputs were changed")
				require.Equal(t, len(r.says), s.at, "calls that were not made")
				require.Equal(t, r.took, time.Since(began))
				if r.fails != "" {
					require.ErrorContains(t, err, r.fails)
					require.Nil(t, out)
					var f *automation.CallError
					require.ErrorAs(t, err, &f)
					if r.stage == "" {
						r.stage = automation.Invocation
					}
					if r.typ == "" {
						r.typ = automation.ActionFailure
					}
					require.Equal(t, r.stage, f.Failure.Stage)
					require.Equal(t, r.typ, f.Failure.Type)
					for k, v := range r.detail {
						require.Equal(t, v, f.Failure.Details[k], k)
					}
					return
				}
				require.NoError(t, err)
				require.Empty(t, cmp.Diff(value(t, r.want), value(t, text(t, out))))
				if action != "aws:executeAwsApi" && !strings.Contains(action, "ResourceProperty") && action != "aws:invokeLambdaFunction" {
					for name := range out.(map[string]any) {
						require.True(t, named[name], "%s is no output of the action", name)
					}
				}
				if r.after != nil {
					r.after(t, s)
				}
			})
		})
	}
}

// Every action of AWS that is made of calls is there, and no other.
func TestActions(t *testing.T) {
	var have []string
	for name, a := range api.Actions(nil, nil) {
		have = append(have, name)
		require.NotNil(t, document.Builtin().Get(name), name)
		_, err := a.Run(t.Context(), automation.Call{Inputs: map[string]any{"Service": "ec2", "Api": "X"}})
		require.Equal(t, fault.Validation, fault.CodeOf(err), name)
	}
	require.ElementsMatch(t, []string{"aws:executeAwsApi", "aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty", "aws:changeInstanceState", "aws:copyImage", "aws:createImage", "aws:deleteImage",
		"aws:createStack", "aws:updateStack", "aws:deleteStack", "aws:createTags", "aws:runInstances", "aws:executeStateMachine", "aws:invokeLambdaFunction"}, have)
}

func TestExecuteAwsAPI(t *testing.T) {
	play(t, "aws:executeAwsApi", false, []row{
		{name: "everything else is the operation's", in: `{"Service":"ec2","Api":"DescribeInstances","InstanceIds":["i-1"],"filters":[{"name":"x"}],"PropertySelector":"$"}`,
			says: []said{{"ec2:DescribeInstances", `{"InstanceIds":["i-1"],"filters":[{"name":"x"}],"PropertySelector":"$"}`, `{"Reservations":[]}`, nil}}, want: `{"Reservations":[]}`,
			after: func(t *testing.T, s *script) {
				c, ok := api.CallOf(s.ctx)
				require.True(t, ok)
				require.Equal(t, "arn:aws:iam::123456789012:role/runbooks", c.Role)
			}},
		{name: "camel case", in: `{"service":"EC2","api":"describeInstances"}`, says: []said{{op: "ec2:DescribeInstances"}}, want: `{}`},
		{name: "as in Python", in: `{"Service":" ec2 ","Api":"describe_instance_status"}`, says: []said{{op: "ec2:DescribeInstanceStatus"}}, want: `{}`},
		{name: "no service", in: `{"Service":"","Api":"X"}`, fails: "Service and Api", stage: automation.InputValidation, typ: automation.VerificationFailure},
		{name: "no operation", in: `{"Service":"ec2"}`, fails: "Service and Api", stage: automation.InputValidation, typ: automation.VerificationFailure},
		{name: "refused", in: `{"Service":"ec2","Api":"StopInstances"}`, says: []said{{op: "ec2:StopInstances", err: no("IncorrectInstanceState", "it is pending")}},
			fails: "an error occurred (IncorrectInstanceState) when calling the StopInstances operation: it is pending", detail: map[string][]string{"ErrorCode": {"IncorrectInstanceState"}, "Api": {"StopInstances"}}},
		{name: "denied", in: `{"Service":"ec2","Api":"StopInstances"}`, says: []said{{op: "ec2:StopInstances", err: no("UnauthorizedOperation", "no")}}, fails: "UnauthorizedOperation", typ: automation.PermissionFailure},
		{name: "denied by our own", in: `{"Service":"ssm","Api":"SendCommand"}`, says: []said{{op: "ssm:SendCommand", err: fault.New("x", fault.AccessDenied, "no")}}, fails: "(AccessDeniedException) when calling the SendCommand operation: no", typ: automation.PermissionFailure},
		{name: "too fast", in: `{"Service":"ec2","Api":"StopInstances"}`, says: []said{{op: "ec2:StopInstances", err: no("RequestLimitExceeded", "slow")}}, fails: "slow", typ: automation.ThrottlingFailure},
		{name: "the service is away", in: `{"Service":"ec2","Api":"StopInstances"}`, says: []said{{op: "ec2:StopInstances", err: no("ServiceUnavailable", "away")}}, fails: "away", typ: automation.InternalFailure},
		{name: "an error without a code, with bytes of a stranger", in: `{"Service":"ec2","Api":"X"}`, says: []said{{op: "ec2:X", err: errors.New("odd\x1b[2J")}}, fails: `the operation X was refused: odd\x1b[2J`},
		{name: "a failure of the host's own", in: `{"Service":"mine","Api":"X"}`, says: []said{{op: "mine:X", err: &automation.CallError{Failure: automation.Failure{Stage: automation.PreVerification, Type: automation.InternalFailure, Message: "m"}}}},
			fails: "m", stage: automation.PreVerification, typ: automation.InternalFailure},
	})
}

// What a property is looked for with is the engine's, and not sent.
func TestProperties(t *testing.T) {
	for _, action := range []string{"aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty"} {
		play(t, action, true, []row{{name: action, in: `{"Service":"rds","Api":"DescribeDBInstances","DBInstanceIdentifier":"d","PropertySelector":"$.X","DesiredValues":["available"]}`,
			says: []said{{"rds:DescribeDBInstances", `{"DBInstanceIdentifier":"d"}`, `{"X":"available"}`, nil}}, want: `{"X":"available"}`}})
	}
}

// A look that was throttled is not the end of a wait; one that was refused is.
func TestWaitIsPatient(t *testing.T) {
	const in = `{"Service":"rds","Api":"DescribeDBInstances","PropertySelector":"$.X","DesiredValues":["a"]}`
	slow := said{op: "rds:DescribeDBInstances", err: no("Throttling", "Rate exceeded")}
	play(t, "aws:waitForAwsResourceProperty", true, []row{
		{name: "throttled", in: in, took: (6 + 24) * time.Second, says: []said{slow, {op: "rds:DescribeDBInstances", err: no("InternalFailure", "")}, {op: "rds:DescribeDBInstances", out: `{"X":"a"}`}}, want: `{"X":"a"}`},
		{name: "refused", in: in, says: []said{{op: "rds:DescribeDBInstances", err: no("AccessDenied", "no")}}, fails: "(AccessDenied) when calling the DescribeDBInstances operation: no", typ: automation.PermissionFailure},
		{name: "not there", in: in, says: []said{{op: "rds:DescribeDBInstances", err: no("DBInstanceNotFound", "no")}}, fails: "DBInstanceNotFound"},
	})
	play(t, "aws:assertAwsResourceProperty", true, []row{{name: "an assertion says so at once", in: in, says: []said{slow}, fails: "Rate exceeded", typ: automation.ThrottlingFailure}})
}

// A call that is of no use any more ends, as the context says why.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		looks := 0
		acts := api.Actions(api.CallerFunc(func(_ context.Context, _, op string, _ map[string]any) (map[string]any, error) {
			if op == "DescribeInstances" {
				looks++
			}
			return map[string]any{"Reservations": []any{map[string]any{"Instances": []any{map[string]any{"InstanceId": "i-1", "State": map[string]any{"Name": "pending"}}}}}}, nil
		}), nil)
		began := time.Now()
		_, err := acts["aws:changeInstanceState"].Run(ctx, automation.Call{Inputs: map[string]any{"InstanceIds": "i-1", "DesiredState": "running"}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		require.Equal(t, 5, looks, "at 0, 3, 9, 21 and 45 seconds")
	})
	synctest.Test(t, func(t *testing.T) { // also one whose look would be the last
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		out, err := api.Actions(api.CallerFunc(func(context.Context, string, string, map[string]any) (map[string]any, error) {
			return nil, no("Throttling", "")
		}), nil)["aws:waitForAwsResourceProperty"].
			Run(ctx, automation.Call{Action: "aws:waitForAwsResourceProperty", Inputs: map[string]any{"Service": "s", "Api": "A"}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Nil(t, out)
	})
	ctx, stop := context.WithCancel(t.Context())
	acts := api.Actions(api.CallerFunc(func(context.Context, string, string, map[string]any) (map[string]any, error) {
		stop()
		return nil, errors.New("the connection was closed")
	}), nil)
	_, err := acts["aws:executeAwsApi"].Run(ctx, automation.Call{Inputs: map[string]any{"Service": "s", "Api": "A"}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestMux(t *testing.T) {
	who := func(name string) api.Caller {
		return api.CallerFunc(func(_ context.Context, service, op string, _ map[string]any) (map[string]any, error) {
			return map[string]any{"who": name, "service": service}, nil
		})
	}
	m := api.Mux{Services: map[string]api.Caller{"ssm": who("ours")}, Other: who("aws")}
	out, err := m.Call(t.Context(), " SSM", "GetParameter", nil)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"who": "ours", "service": "ssm"}, out)
	out, err = m.Call(t.Context(), "ec2", "X", nil)
	require.NoError(t, err)
	require.Equal(t, "aws", out["who"])
	m.Other = nil
	_, err = m.Call(t.Context(), "ec2\x00", "X", nil)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	require.NotContains(t, err.Error(), "\x00")
}

func TestCodeOf(t *testing.T) {
	require.Equal(t, "", api.CodeOf(nil))
	require.Equal(t, "", api.CodeOf(errors.New("x")))
	require.Equal(t, "Gone", api.CodeOf(no("Gone", "")))
	require.Equal(t, "ParameterNotFound", api.CodeOf(fault.Wrap("op", fault.New("x", fault.ParameterNotFound, "m"))))
	require.Equal(t, "RequestCanceled", api.CodeOf(context.Canceled))
}

package scripttest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/automationtest"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/automation/script/scripttest"
)

// runtime returns one that works here; without it the test is skipped aloud.
func runtime(t *testing.T) script.Runtime {
	t.Helper()
	var err error
	for _, iso := range []script.Isolation{&script.Namespace{}, &script.User{UID: 61184, GID: 61184}} {
		rt := script.NewLocal(iso, nil)
		if _, err = rt.Run(t.Context(), script.Job{Language: script.Python, Version: "3.11", Handler: "h", Script: []byte("def h(e, c): pass"), Input: []byte("{}"), Context: []byte("{}")}); err == nil {
			return rt
		}
	}
	t.Skipf("SKIPPED: no script can be kept apart on this machine: %v", err)
	return nil
}

// A loop whose scripts really run, beside a service that is a fake.
func TestRunbookWithRealScripts(t *testing.T) {
	rb, err := automation.ParseRunbook([]byte(`
schemaVersion: "0.3"
variables: {Sum: {type: Integer, default: 0}}
mainSteps:
- {name: look, action: "aws:executeAwsApi", inputs: {Service: ec2, Api: DescribeInstances}, outputs: [{Name: Ids, Selector: "$.Ids", Type: StringList}]}
- name: each
  action: aws:loop
  inputs:
    Iterators: "{{ look.Ids }}"
    Steps:
    - name: measure
      action: aws:executeScript
      inputs:
        Runtime: python3.11
        Handler: measure
        InputPayload: {id: "{{ each.CurrentIteratorValue }}", sum: "{{ variable:Sum }}"}
        Script: |
          def measure(events, context):
              return {'sum': events['sum'] + len(events['id'])}
      outputs: [{Name: Sum, Selector: $.Payload.sum, Type: Integer}]
    - {name: keep, action: "aws:updateVariable", inputs: {Name: "variable:Sum", Value: "{{ measure.Sum }}"}}
- name: judge
  action: aws:executeScript
  onFailure: step:report
  inputs: {Runtime: python3.8, Handler: judge, InputPayload: {sum: "{{ variable:Sum }}"}, Script: "def judge(events, context): raise RuntimeError('the sum is %d' % events['sum'])"}
- {name: report, action: "aws:executeAwsApi", inputs: {Service: sns, Api: Publish, Message: "{{ variable:Sum }}"}, isEnd: true}
`), nil)
	require.NoError(t, err)
	w := automationtest.New(rb).Call("ec2:DescribeInstances", automationtest.Returns(map[string]any{"Ids": []any{"i-1", "i-22", "i-333"}}))
	w.Call("aws:executeScript", scripttest.Real(t.Context(), script.New(runtime(t), nil)))
	x, err := w.Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.Failed, x.Status, "a critical step failed, whatever came after it")
	require.Equal(t, int64(12), x.Variables["Sum"])
	calls := w.Calls()
	require.Equal(t, "report", calls[len(calls)-1].Step)
	for i := range x.Steps {
		if x.Steps[i].Name == "judge" {
			require.Equal(t, "RuntimeError: the sum is 12", x.Steps[i].Failure.Message)
			require.Contains(t, x.Steps[i].Failure.Details["Traceback"][0], "in judge")
		}
	}
	again, err := w.Replay()
	require.NoError(t, err)
	require.Equal(t, x.Status, again.Status, "a replay needs no script")
}

// Failures keep their stage and type.
func TestFailuresKeepTheirType(t *testing.T) {
	for _, c := range []struct {
		err  error
		want automation.FailureType
	}{
		{&automation.CallError{Failure: automation.Failure{Stage: automation.PreVerification, Type: automation.PermissionFailure, Message: "no"}}, automation.PermissionFailure},
		{errors.New("no"), ""},
	} {
		a := scripttest.Real(t.Context(), automation.Action{Run: func(context.Context, automation.Call) (any, error) { return nil, c.err }})(automationtest.Call{})
		require.EqualError(t, a.Err, "no")
		var typed automationtest.FailureError
		require.Equal(t, c.want != "", errors.As(a.Err, &typed))
		require.Equal(t, c.want, typed.Type)
	}
}

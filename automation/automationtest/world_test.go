package automationtest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/automationtest"
)

func runbook(t *testing.T, steps string) *automation.Runbook {
	t.Helper()
	rb, err := automation.ParseRunbook([]byte("schemaVersion: \"0.3\"\nmainSteps:\n"+steps), nil)
	require.NoError(t, err)
	return rb
}

const call = `{name: a, action: "aws:executeAwsApi", maxAttempts: 3, timeoutSeconds: 10, inputs: {Service: S, Api: Do}}`

func TestAnswers(t *testing.T) {
	n := 0
	w := automationtest.New(runbook(t, "- "+call)).On("a", func(c automationtest.Call) automationtest.Answer {
		n++
		require.Equal(t, n, c.Attempt)
		switch n {
		case 1:
			return automationtest.Answer{Err: automationtest.FailureError{Failure: automation.Failure{Type: automation.ThrottlingFailure, Message: "slow"}}, After: 5 * time.Second}
		case 2:
			return automationtest.Answer{Never: true}
		}
		return automationtest.Answer{Output: map[string]any{}, After: time.Second}
	})
	x, err := w.Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.Success, x.Status)
	require.Equal(t, 16*time.Second, w.Elapsed())
	require.Len(t, w.Calls(), 3)
	again, err := w.Replay()
	require.NoError(t, err)
	require.Equal(t, automation.Success, again.Status)
	require.Len(t, w.History(), 4)

	x, err = automationtest.New(runbook(t, "- "+call)).Call("s:do", automationtest.Breaks("no")).Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.Failed, x.Status)
	require.Equal(t, "no", x.Failure.Message)
}

func TestPeople(t *testing.T) {
	steps := "- {name: ask, action: \"aws:approve\", inputs: {Approvers: [ann, bob], MinRequiredApprovals: 2}}\n- {name: hold, action: \"aws:pause\", inputs: {}}"
	x, err := automationtest.New(runbook(t, steps)).Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.Success, x.Status, "nobody cares: everybody approves")

	w := automationtest.New(runbook(t, steps))
	w.Patient = true
	x, err = w.Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.TimedOut, x.Status)

	w = automationtest.New(runbook(t, "- {name: hold, action: \"aws:pause\", inputs: {}}"))
	w.Patient = true
	x, err = w.Run(automation.Start{})
	require.Error(t, err, "nobody resumes it")
	require.Equal(t, automation.Waiting, x.Status)
}

func TestChildren(t *testing.T) {
	parent := runbook(t, `- {name: kid, action: "aws:executeAutomation", inputs: {DocumentName: Kid, RuntimeParameters: {P: x}}}`)
	kid, err := automation.ParseRunbook([]byte(`{"schemaVersion":"0.3","parameters":{"P":{"type":"String"}},"outputs":["a.Id"],"mainSteps":[{"name":"a","action":"aws:executeAwsApi","inputs":{"Service":"s","Api":"A","P":"{{ P }}"},"outputs":[{"Name":"Id","Selector":"$.Id","Type":"String"}]}]}`), nil)
	require.NoError(t, err)
	w := automationtest.New(parent).Document("Kid", kid).On("a", func(c automationtest.Call) automationtest.Answer {
		require.Equal(t, "x", c.Inputs["P"])
		return automationtest.Answer{Output: map[string]any{"Id": "i-1"}, After: 20 * time.Second}
	})
	x, err := w.Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.Success, x.Status)
	require.Equal(t, []any{"i-1"}, x.Steps[0].Outputs["Output"])
	require.Equal(t, 20*time.Second, w.Elapsed())

	w = automationtest.New(runbook(t, `- {name: kid, action: "aws:executeAutomation", inputs: {DocumentName: Kid, RuntimeParameters: {Nope: x}}}`)).Document("Kid", kid)
	x, err = w.Run(automation.Start{})
	require.NoError(t, err)
	require.Equal(t, automation.Failed, x.Status, "the child was refused")

	_, err = automationtest.New(kid).Run(automation.Start{})
	require.Error(t, err, "a start that is refused")
	require.False(t, errors.Is(err, errors.ErrUnsupported))
}

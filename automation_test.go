package fleetwright_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/library"
)

// as is a context of somebody.
func as(ctx context.Context, name string) context.Context {
	return access.With(ctx, access.Principal{Name: name})
}

// addRunbook stores a runbook.
func addRunbook(t *testing.T, f *fleetwright.Fleet, name, text string) {
	t.Helper()
	_, err := f.Documents.CreateDocument(t.Context(), library.CreateDocumentRequest{Name: name, Content: text, DocumentType: "Automation", DocumentFormat: "YAML"})
	require.NoError(t, err)
}

// runToEnd starts a runbook and waits for its end.
func runToEnd(t *testing.T, f *fleetwright.Fleet, req automation.Request) *automation.Execution {
	t.Helper()
	id, err := f.Automations.Start(as(t.Context(), "ann"), req)
	require.NoError(t, err)
	x, err := f.Automations.Wait(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	return x
}

// stepOf returns the last record of a step.
func stepOf(t *testing.T, x *automation.Execution, name string) automation.Step {
	t.Helper()
	for i := len(x.Steps) - 1; i >= 0; i-- {
		if x.Steps[i].Name == name {
			return x.Steps[i]
		}
	}
	t.Fatalf("there is no step %s", name)
	return automation.Step{}
}

// waitFor returns the execution when a step has a status.
func waitFor(t *testing.T, f *fleetwright.Fleet, id, step string, status automation.Status) *automation.Execution {
	t.Helper()
	for e, err := range f.Automations.Events(as(t.Context(), "ann"), id, 0) {
		require.NoError(t, err)
		var of struct {
			Name   string            `json:"stepName"`
			Status automation.Status `json:"status"`
		}
		if json.Unmarshal(e.Data, &of) == nil && of.Name == step && of.Status == status {
			break
		}
	}
	x, _, err := f.Automations.Get(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	return x
}

// apart is a script runtime that protects a directory, and whether scripts can be kept apart on this machine.
func apart(t *testing.T, dir string) (script.Runtime, bool) {
	t.Helper()
	for _, iso := range []script.Isolation{&script.Namespace{Protect: []string{dir}}, &script.User{UID: 61184, GID: 61184, Protect: []string{dir}}} {
		rt := script.NewLocal(iso, nil)
		_, err := rt.Run(t.Context(), script.Job{Language: script.Python, Version: "3.11", Handler: "h", Script: []byte("def h(e, c): pass"), Input: []byte("{}"), Context: []byte("{}")})
		if err == nil {
			return rt, true
		}
		t.Logf("SKIPPED: the script's part: %v", err)
	}
	return nil, false
}

const upgrade = `
schemaVersion: "0.3"
description: A command, a script that judges it, a branch, a person, and the last command.
parameters:
  Node: {type: String}
outputs: [judge.Words, last.Output]
mainSteps:
- name: look
  action: aws:runCommand
  inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Node }}"], Parameters: {commands: ["echo one two three"]}, Comment: from a runbook}
- name: judge
  action: aws:executeScript
  inputs:
    Runtime: python3.11
    Handler: judge
    InputPayload: {text: "{{ look.Output }}", code: "{{ look.ResponseCode }}", store: "STORE"}
    Script: |
      def judge(events, context):
          try:
              open(events['store'], 'rb').close()
              found = 'open'
          except OSError:
              found = 'shut'
          return {'words': len(events['text'].split()), 'code': events['code'], 'store': found}
  outputs:
  - {Name: Words, Selector: $.Payload.words, Type: Integer}
  - {Name: Store, Selector: $.Payload.store, Type: String}
- name: choose
  action: aws:branch
  inputs:
    Choices:
    - {NextStep: ask, Variable: "{{ judge.Words }}", NumericEquals: 3}
    Default: never
- name: never
  action: aws:runCommand
  inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Node }}"], Parameters: {commands: ["exit 1"]}}
  isEnd: true
- name: ask
  action: aws:approve
  inputs: {Approvers: [ann], Message: "Go on with {{ judge.Words }} words?"}
- name: last
  action: aws:runCommand
  inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Node }}"], Parameters: {commands: ["echo done"]}}
  isEnd: true
`

// A runbook goes through a fleet with real agents; the control plane is closed and opened again while it waits for a person.
func TestRunbookOverAFleet(t *testing.T) {
	dir := t.TempDir()
	scripts, ok := apart(t, dir)
	text := strings.Replace(upgrade, "STORE", filepath.Join(dir, "store.db"), 1)
	o := &fleetwright.Options{}
	o.Config.Runbooks.Scripts = scripts
	f, err := fleetwright.Open(t.Context(), dir, o)
	require.NoError(t, err)
	closed := false
	defer func() {
		if !closed {
			f.Close() //nolint:errcheck // the test has failed
		}
	}()
	agent, err := f.StartAgent(t.Context(), "web-1", nil)
	require.NoError(t, err)
	addRunbook(t, f, "Upgrade", text)
	id, err := f.Automations.Start(as(t.Context(), "ann"), automation.Request{DocumentName: "Upgrade", Parameters: map[string][]string{"Node": {agent.ID}}})
	require.NoError(t, err)
	if !ok {
		x, err := f.Automations.Wait(as(t.Context(), "ann"), id)
		require.NoError(t, err)
		require.Equal(t, automation.Failed, x.Status, "a script that cannot be kept apart is not run")
		t.Skip("SKIPPED: no script can be kept apart on this machine; the step said so: " + x.Failure.Message)
	}
	x := waitFor(t, f, id, "ask", automation.Waiting)
	require.Equal(t, "one two three\n", stepOf(t, x, "look").Outputs["Output"])
	require.Equal(t, "Success", stepOf(t, x, "look").Outputs["Status"])
	require.Equal(t, "shut", stepOf(t, x, "judge").Outputs["Store"], "a script cannot open the store")
	require.NoError(t, f.Close())

	f, err = fleetwright.Open(t.Context(), dir, o)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // closed below
	closed = true
	_, err = f.StartAgent(t.Context(), "web-1", nil)
	require.NoError(t, err)
	require.Error(t, f.Automations.Signal(as(t.Context(), "eve"), id, automation.Signal{Type: automation.Approve}), "she is no approver")
	require.NoError(t, f.Automations.Signal(as(t.Context(), "ann"), id, automation.Signal{Type: automation.Approve}))
	x, err = f.Automations.Wait(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
	require.Equal(t, "done\n", stepOf(t, x, "last").Outputs["Output"])
	_, history, err := f.Automations.History(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	require.NotEmpty(t, history)
	require.NoError(t, f.Close())
}

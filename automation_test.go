package fleetwright_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/automation/webhook"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fleettest"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/target"
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
    InputPayload: {text: "{{ look.Output }}", code: "{{ look.ResponseCode }}", dir: "DIR"}
    Script: |
      import os
      def judge(events, context):
          found = 'shut'
          for attempt in [lambda: os.listdir(events['dir']), lambda: open(events['dir'] + '/store.db', 'rb'), lambda: open(events['dir'] + '/keys.json', 'rb'), lambda: open(events['dir'] + '/x', 'w')]:
              try:
                  attempt()
                  found = 'open'
              except OSError:
                  pass
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
	text := strings.Replace(upgrade, "DIR", dir, 1)
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
	require.Equal(t, "shut", stepOf(t, x, "judge").Outputs["Store"], "a script cannot open the store, which holds the audit log, nor the keys")
	for _, name := range []string{"store.db", "keys.json"} {
		require.FileExists(t, filepath.Join(dir, name), "what it tried is there")
	}
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

// onFleet runs a runbook of steps on a fleet in memory; {{ Nodes }} are its nodes.
func onFleet(t *testing.T, fleet *fleettest.Fleet, name, steps string) *automation.Execution {
	t.Helper()
	ids := make([]string, fleet.Len())
	for i := range ids {
		ids[i] = fleet.Node(i).ID
	}
	addRunbook(t, fleet.Fleet, name, "schemaVersion: \"0.3\"\nparameters:\n  Nodes: {type: StringList}\nmainSteps:\n"+steps)
	return runToEnd(t, fleet.Fleet, automation.Request{DocumentName: name, Parameters: map[string][]string{"Nodes": ids}})
}

// aws:runCommand has the inputs of SendCommand, and its outputs under AWS's names.
func TestRunCommandStep(t *testing.T) {
	fleet := fleettest.New(t, 3)
	fleet.Script = func(node, script string) (string, int) {
		if strings.Contains(script, "fail") && node == "node-2" {
			return "broken on " + node, 7
		}
		return node + ": " + strings.TrimSpace(script) + "\n", 0
	}
	x := onFleet(t, fleet, "Good", `
- {name: one, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Nodes }}"], Parameters: {commands: [look]}, MaxConcurrency: 100%, MaxErrors: 0, TimeoutSeconds: 600, Comment: hello}}
- {name: two, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, Targets: [{Key: "tag:Fleet", Values: [test]}], Parameters: '{"commands":["look"]}'}}
- {name: three, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, Targets: [{Key: "tag:Fleet", Values: [test]}], Parameters: {commands: "{{ one.Output }}"}}}
`)
	require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
	one := stepOf(t, x, "one")
	require.Equal(t, "Success", one.Outputs["Status"])
	require.Equal(t, int64(0), one.Outputs["ResponseCode"])
	require.Contains(t, one.Outputs["Output"], ": look")
	c, err := fleet.Commands.Get(t.Context(), one.Outputs["CommandId"].(string))
	require.NoError(t, err)
	require.Equal(t, []any{3, "100%", "0", 600, "hello", "ann"}, []any{c.TargetCount, c.MaxConcurrency, c.MaxErrors, c.TimeoutSeconds, c.Comment, c.RequestedBy})

	x = onFleet(t, fleet, "Bad", `
- {name: one, action: "aws:runCommand", onFailure: Continue, isCritical: true, inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Nodes }}"], Parameters: {commands: [fail]}, MaxErrors: 100%}}
- {name: two, action: "aws:runCommand", onFailure: Continue, inputs: {DocumentName: Nowhere, InstanceIds: ["{{ Nodes }}"]}}
- {name: three, action: "aws:runCommand", onFailure: Continue, inputs: {DocumentName: AWS-RunShellScript, InstanceIds: [mi-00000000000000000], Parameters: {commands: [x]}}}
- {name: four, action: "aws:runCommand", onFailure: Continue, inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Nodes }}"], Parameters: {nothing: [x]}}}
- {name: five, action: "aws:runCommand", onFailure: Continue, inputs: {DocumentName: AWS-RunShellScript, Targets: [tag], Parameters: {commands: [x]}}}
`)
	require.Equal(t, automation.Failed, x.Status)
	bad := stepOf(t, x, "one").Failure
	require.Equal(t, automation.PostVerification, bad.Stage)
	require.Equal(t, automation.VerificationFailure, bad.Type)
	require.Equal(t, []string{"7"}, bad.Details["ResponseCode"])
	require.Equal(t, []string{"broken on node-2"}, bad.Details["Output"])
	require.Equal(t, []string{"Failed"}, bad.Details["Status"])
	for _, name := range []string{"two", "three", "four", "five"} {
		require.Equal(t, automation.Failed, stepOf(t, x, name).Status, name)
	}
	require.Equal(t, automation.InputValidation, stepOf(t, x, "five").Failure.Stage)
}

// A step is one command, however often it is asked for; what ends with the step ends the command, what ends with the control plane does not.
func TestRunCommandIsOneCommandAnAttempt(t *testing.T) {
	fleet := fleettest.New(t, 1)
	release := make(chan struct{})
	fleet.Script = func(string, string) (string, int) { <-release; return "", 0 }
	call := func(token string) automation.Call {
		return automation.Call{Tenant: "default", StepID: "s", Attempt: 1, Token: token, StartedBy: "ann",
			Inputs: map[string]any{"DocumentName": "AWS-RunShellScript", "InstanceIds": []any{fleet.Node(0).ID}, "Parameters": map[string]any{"commands": []any{"x"}}}}
	}
	// stopped runs a call until its command, the n-th, is there, ends the ctx, and returns the command.
	stopped := func(token string, wanted bool, n int) command.Command {
		act := fleetwright.CommandRunner(fleet.Commands, func(context.Context, automation.Call) bool { return wanted })
		require.True(t, act.Repeat)
		ctx, stop := context.WithCancel(as(t.Context(), "ann"))
		ended := make(chan error)
		go func() {
			_, err := act.Run(ctx, call(token))
			ended <- err
		}()
		var all []command.Command
		require.Eventually(t, func() bool {
			var err error
			all, _, err = fleet.Commands.List(t.Context(), command.ListRequest{})
			require.NoError(t, err)
			return len(all) == n
		}, 30*time.Second, time.Millisecond)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		c, err := fleet.Commands.Get(t.Context(), all[0].ID)
		require.NoError(t, err)
		return c
	}
	kept := stopped("22222222-2222-4222-8222-222222222222", true, 1)
	require.Contains(t, []message.Status{message.Pending, message.InProgress}, kept.Status)
	gone := stopped("22222222-2222-4222-8222-222222222223", false, 2)
	require.Contains(t, []message.Status{message.Cancelling, message.Cancelled}, gone.Status)
	close(release)
	out, err := fleetwright.CommandRunner(fleet.Commands, nil).Run(as(t.Context(), "ann"), call("22222222-2222-4222-8222-222222222222"))
	require.NoError(t, err)
	require.Equal(t, kept.ID, out.(map[string]any)["CommandId"], "the same token is the same command")
}

// A command that a step waits for outlives the control plane: it is neither cancelled nor sent twice, and the step ends with it after the next start.
func TestACommandOutlivesItsControlPlane(t *testing.T) {
	dir := t.TempDir()
	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	agent, err := f.StartAgent(t.Context(), "web-1", nil)
	require.NoError(t, err)
	require.NoError(t, agent.Stop())
	addRunbook(t, f, "Wait", `{"schemaVersion":"0.3","parameters":{"Node":{"type":"String"}},"mainSteps":[{"name":"run","action":"aws:runCommand","inputs":{"DocumentName":"AWS-RunShellScript","InstanceIds":["{{ Node }}"],"Parameters":{"commands":["echo hello"]}}}]}`)
	id, err := f.Automations.Start(as(t.Context(), "ann"), automation.Request{DocumentName: "Wait", Parameters: map[string][]string{"Node": {agent.ID}}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		all, _, err := f.Commands.List(t.Context(), command.ListRequest{})
		require.NoError(t, err)
		return len(all) == 1
	}, 30*time.Second, time.Millisecond)
	require.NoError(t, f.Close())

	f, err = fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test is done
	_, err = f.StartAgent(t.Context(), "web-1", nil)
	require.NoError(t, err)
	x, err := f.Automations.Wait(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
	require.Equal(t, "hello\n", stepOf(t, x, "run").Outputs["Output"])
	require.Equal(t, 1, stepOf(t, x, "run").Attempt)
	all, _, err := f.Commands.List(t.Context(), command.ListRequest{})
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// Stopping an execution cancels what its step runs on nodes.
func TestStoppingARunbookCancelsItsCommand(t *testing.T) {
	fleet := fleettest.New(t, 1)
	began, release := make(chan struct{}), make(chan struct{})
	fleet.Script = func(string, string) (string, int) { close(began); <-release; return "", 0 }
	defer close(release)
	addRunbook(t, fleet.Fleet, "Long", `{"schemaVersion":"0.3","parameters":{"Node":{"type":"String"}},"mainSteps":[{"name":"run","action":"aws:runCommand","inputs":{"DocumentName":"AWS-RunShellScript","InstanceIds":["{{ Node }}"],"Parameters":{"commands":["x"]}}}]}`)
	id, err := fleet.Automations.Start(as(t.Context(), "ann"), automation.Request{DocumentName: "Long", Parameters: map[string][]string{"Node": {fleet.Node(0).ID}}})
	require.NoError(t, err)
	<-began
	require.NoError(t, fleet.Automations.Stop(as(t.Context(), "ann"), id, automation.Cancel))
	x, err := fleet.Automations.Wait(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	require.Equal(t, automation.Cancelled, x.Status)
	require.Eventually(t, func() bool {
		all, _, err := fleet.Commands.List(t.Context(), command.ListRequest{})
		require.NoError(t, err)
		return len(all) == 1 && (all[0].Status == message.Cancelling || all[0].Status == message.Cancelled)
	}, 30*time.Second, time.Millisecond)
}

// An execution with targets has a child for each node that they select.
func TestRunbookTargets(t *testing.T) {
	fleet := fleettest.New(t, 3)
	fleet.Script = func(node, _ string) (string, int) { return node, 0 }
	require.NoError(t, fleet.Nodes.CreateGroup(t.Context(), node.Group{Name: "all", Query: node.Query{TagFilters: []target.TagFilter{{Key: "Fleet"}}}}))
	addRunbook(t, fleet.Fleet, "Each", `{"schemaVersion":"0.3","parameters":{"Node":{"type":"String"}},"outputs":["run.Output"],"mainSteps":[{"name":"run","action":"aws:runCommand","inputs":{"DocumentName":"AWS-RunShellScript","InstanceIds":["{{ Node }}"],"Parameters":{"commands":["x"]}}}]}`)
	for rule, tg := range map[string]target.Target{
		"a tag": {Key: "tag:Fleet", Values: []string{"test"}}, "a group": {Key: "ResourceGroup", Values: []string{"all"}}, "all nodes": {Key: "InstanceIds", Values: []string{"*"}},
	} {
		t.Run(rule, func(t *testing.T) {
			x := runToEnd(t, fleet.Fleet, automation.Request{DocumentName: "Each", Spread: &automation.Spread{Parameter: "Node", Targets: []target.Target{tg}}})
			require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
			require.Len(t, x.Fan.Groups, 1)
			var outs []string
			for _, it := range x.Fan.Groups[0].Items {
				outs = append(outs, it.Outputs...)
			}
			slices.Sort(outs)
			require.Equal(t, []string{"node-1", "node-2", "node-3"}, outs)
		})
	}
}

// A webhook finds its integration in the fleet's Parameter Store, as who started the runbook, and goes nowhere that is not public unless the host lets it.
func TestWebhookStep(t *testing.T) {
	chat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-Key"), b)
	}))
	defer chat.Close()
	cfg := fleetwright.Config{Authorizer: fickle{"eve", "ssm:GetParameter"}}
	cfg.Runbooks = fleetwright.Runbooks{Reach: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Webhooks: webhook.Options{Plain: true}}
	shut := cfg
	shut.Runbooks.Reach = nil
	const steps = `{"schemaVersion":"0.3","parameters":{"Name":{"type":"String"}},"mainSteps":[{"name":"tell","action":"aws:invokeWebhook","inputs":{"IntegrationName":"{{ Name }}","Body":"hello"}}]}`
	open, closed := fleettest.NewWith(t, 0, fleettest.Options{Config: cfg}), fleettest.NewWith(t, 0, fleettest.Options{Config: shut})
	for _, f := range []*fleettest.Fleet{open, closed} {
		addRunbook(t, f.Fleet, "Tell", steps)
		for name, value := range map[string]string{"chat": `{"description":"d","URL":"` + chat.URL + `","headers":{"X-Key":"abc"},"payload":"none"}`, "text": `{"url":"` + chat.URL + `","headers":"{\"X-Key\":\"abc\"}"}`, "broken": `["x"]`} {
			_, err := f.Parameters.PutParameter(t.Context(), parameter.PutParameterRequest{Name: "/d9d01087-4a3f-49e0-b0b4-d568d7826553/ssm/integrations/webhook/" + name, Type: parameter.SecureString, Value: parameter.Secret(secret.String(value))})
			require.NoError(t, err)
		}
	}
	run := func(f *fleettest.Fleet, who, name string) *automation.Execution {
		id, err := f.Automations.Start(as(t.Context(), who), automation.Request{DocumentName: "Tell", Parameters: map[string][]string{"Name": {name}}})
		require.NoError(t, err)
		x, err := f.Automations.Wait(as(t.Context(), "ann"), id)
		require.NoError(t, err)
		return x
	}
	for _, name := range []string{"chat", "text"} {
		x := run(open, "ann", name)
		require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
		require.Equal(t, map[string]any{"Response": "abc hello", "ResponseCode": int64(200)}, stepOf(t, x, "tell").Outputs)
	}
	for _, c := range []struct {
		rule  string
		fleet *fleettest.Fleet
		who   string
		name  string
		typ   automation.FailureType
	}{
		{"not public", closed, "ann", "chat", automation.PermissionFailure},
		{"who may not read the parameter", open, "eve", "chat", automation.PermissionFailure},
		{"none of that name", open, "ann", "nobody", automation.ActionFailure},
		{"a name that leads elsewhere", open, "ann", "../x", automation.ActionFailure},
		{"no integration", open, "ann", "broken", automation.ActionFailure},
	} {
		t.Run(c.rule, func(t *testing.T) {
			x := run(c.fleet, c.who, c.name)
			require.Equal(t, automation.Failed, x.Status)
			require.Equal(t, c.typ, stepOf(t, x, "tell").Failure.Type)
			require.NotContains(t, x.Failure.Message, chat.URL)
		})
	}
}

// aws:executeAwsApi reaches what the host registered, with the fleet's services at hand; without, it says so.
func TestServicesOfAHost(t *testing.T) {
	made := 0
	cfg := fleetwright.Config{}
	cfg.Runbooks.Services = func(f *fleetwright.Fleet) api.Caller {
		made++
		return api.CallerFunc(func(ctx context.Context, service, op string, in map[string]any) (map[string]any, error) {
			got, err := f.Parameters.GetParameter(ctx, parameter.GetParameterRequest{Name: in["Name"].(string)})
			return map[string]any{"Service": service, "Op": op, "Value": got.Parameter.Value.Reveal()}, err
		})
	}
	cfg.Runbooks.Actions = map[string]automation.Action{"aws:invokeLambdaFunction": {Run: func(_ context.Context, c automation.Call) (any, error) {
		return map[string]any{"Payload": c.StartedBy}, nil
	}}}
	const steps = `
- {name: read, action: "aws:executeAwsApi", inputs: {Service: ssm, Api: GetParameter, Name: /x}, outputs: [{Name: All, Selector: $, Type: StringMap}]}
- {name: own, action: "aws:invokeLambdaFunction", inputs: {FunctionName: f}}
`
	fleet := fleettest.NewWith(t, 0, fleettest.Options{Config: cfg})
	_, err := fleet.Parameters.PutParameter(t.Context(), parameter.PutParameterRequest{Name: "/x", Type: parameter.String, Value: parameter.Text("one")})
	require.NoError(t, err)
	require.Zero(t, made, "it is asked for when it is needed")
	x := onFleet(t, fleet, "Read", steps)
	require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
	require.Equal(t, map[string]any{"Service": "ssm", "Op": "GetParameter", "Value": "one"}, stepOf(t, x, "read").Outputs["All"])
	require.Equal(t, "ann", stepOf(t, x, "own").Outputs["Payload"])
	require.Equal(t, 1, made)

	x = onFleet(t, fleettest.New(t, 0), "Read", steps)
	require.Equal(t, automation.Failed, x.Status)
	require.Contains(t, x.Failure.Message, "given nothing")
}

// A script runs on a node of the fleet where the control plane's own machine runs none.
func TestScriptOnANodeOfTheFleet(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: no Python 3 on this machine")
	}
	dir := t.TempDir()
	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	agent, err := f.StartAgent(t.Context(), "scripts", nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test is done
	act := script.New(script.NewAgent(fleetwright.ScriptNode(f.Commands), agent.ID), nil)
	run := func(text, token string) (any, error) {
		return act.Run(as(t.Context(), "ann"), automation.Call{Tenant: "default", Execution: "e", StartedBy: "ann", Token: token,
			Inputs: map[string]any{"Runtime": "python3.11", "Handler": "h", "Script": text, "InputPayload": map[string]any{"n": 20_000}}})
	}
	out, err := run("def h(e, c):\n  print('hello')\n  return 'x' * e['n'] + 'end'", "33333333-3333-4333-8333-333333333331")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", 20_000)+"end", out.(map[string]any)["Payload"])
	require.Equal(t, "hello\n", out.(map[string]any)["Stdout"])
	_, err = run("def h(e, c): raise ValueError('no')", "33333333-3333-4333-8333-333333333332")
	require.EqualError(t, err, "ValueError: no")
}

const killDir = "FLEETWRIGHT_RUNBOOK_DIR"

// TestRunbookPlane is no test of its own: it is the control plane that TestRunbookSurvivesAKill kills.
func TestRunbookPlane(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("SKIPPED: the control plane of TestRunbookSurvivesAKill")
	}
	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	agent, err := f.StartAgent(t.Context(), "web-1", nil)
	require.NoError(t, err)
	addRunbook(t, f, "Survive", survive)
	id, err := f.Automations.Start(as(t.Context(), "ann"), automation.Request{DocumentName: "Survive", Parameters: map[string][]string{"Node": {agent.ID}, "File": {filepath.Join(dir, "ran")}}})
	require.NoError(t, err)
	waitFor(t, f, id, "ask", automation.Waiting)
	fmt.Printf("waiting %s\n", id)
	select {} // until it is killed
}

const survive = `
schemaVersion: "0.3"
parameters:
  Node: {type: String}
  File: {type: String}
mainSteps:
- name: each
  action: aws:loop
  inputs:
    Iterators: [one, two]
    Steps:
    - {name: write, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Node }}"], Parameters: {commands: ["echo {{ each.CurrentIteratorValue }} >>'{{ File }}'"]}}}
- {name: ask, action: "aws:approve", inputs: {Approvers: [ann]}}
- {name: last, action: "aws:runCommand", inputs: {DocumentName: AWS-RunShellScript, InstanceIds: ["{{ Node }}"], Parameters: {commands: ["echo three >>'{{ File }}'"]}}}
`

// The control plane is killed with SIGKILL while a runbook waits for a person; opened again it goes on, and what was done is not done again.
func TestRunbookSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestRunbookPlane$")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var id, rest string
	for lines := bufio.NewScanner(out); id == "" && lines.Scan(); {
		rest += lines.Text() + "\n"
		if word, of, ok := strings.Cut(lines.Text(), " "); ok && word == "waiting" {
			id = of
		}
	}
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait() //nolint:errcheck // it was killed
	require.NotEmpty(t, id, rest)

	f, err := fleetwright.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test is done
	_, err = f.StartAgent(t.Context(), "web-1", nil)
	require.NoError(t, err)
	require.NoError(t, f.Automations.Signal(as(t.Context(), "ann"), id, automation.Signal{Type: automation.Approve}))
	x, err := f.Automations.Wait(as(t.Context(), "ann"), id)
	require.NoError(t, err)
	require.Equal(t, automation.Success, x.Status, "%+v", x.Failure)
	b, err := os.ReadFile(filepath.Join(dir, "ran"))
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\nthree\n", string(b))
}

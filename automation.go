package fleetwright

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/action/download"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/automation/webhook"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/target"
)

// Runbooks are the options of a fleet's automations. The zero value runs every action that is the fleet's own; scripts and AWS's services need a choice of the host.
type Runbooks struct {
	// Scripts runs aws:executeScript; nil: such steps fail and say so. It should be told to protect the directory of Open, or where a host keeps its store, keys and audit log.
	Scripts       script.Runtime
	ScriptOptions script.Options // its System is set when it has none

	// Integrations answers aws:invokeWebhook; nil is the fleet's own Parameter Store, where AWS keeps them, too (see ParameterIntegrations).
	Integrations webhook.Integrations
	Webhooks     webhook.Options
	Reach        []netip.Prefix // networks that webhooks may reach although they are not public

	// Services calls what aws:executeAwsApi and the actions that are made of such calls name; nil: such steps fail and say so. It is called once, when the first such step
	// runs, so that it can use the fleet's services: ssmops.RunbookCaller makes them answer for the service ssm.
	Services func(f *Fleet) api.Caller
	Polling  api.Options

	Actions map[string]automation.Action // the host's own; they take the place of built-in ones of the same name

	System      automation.System // what the system variables of runbooks say
	Limits      automation.Limits
	Concurrency int // executions at once; 0 is 100
	// Retention is how long executions of the default tenant are kept after their end; 0 keeps them (AWS: 30 days). They are removed as the control plane, by its Name, which needs
	// ssm:StopAutomationExecution for that.
	Retention time.Duration
	// Ask tells approvers that they are asked; nil tells nobody.
	Ask func(ctx context.Context, tenant string, x *automation.Execution, e automation.Effect)
	// Names gives the other names of a caller by which an approver may be meant: an ARN, roles, groups.
	Names func(p access.Principal) []string
}

// automations puts the service together.
func (f *Fleet) automations(cfg *Config) (*automation.Service, error) {
	o := &cfg.Runbooks
	if o.ScriptOptions.System == (automation.System{}) {
		o.ScriptOptions.System = o.System
	}
	if o.Integrations == nil {
		o.Integrations = ParameterIntegrations(f.Parameters)
	}
	actions := map[string]automation.Action{}
	var caller api.Caller
	if o.Services != nil {
		made := sync.OnceValue(func() api.Caller { return o.Services(f) })
		caller = api.CallerFunc(func(ctx context.Context, service, op string, inputs map[string]any) (map[string]any, error) {
			return made().Call(ctx, service, op, inputs)
		})
	}
	maps.Copy(actions, api.Actions(caller, &o.Polling))
	actions["aws:executeScript"] = script.New(o.Scripts, &o.ScriptOptions)
	actions["aws:invokeWebhook"] = webhook.New(o.Integrations, &download.Guard{Allow: o.Reach}, &o.Webhooks)
	actions["aws:runCommand"] = CommandRunner(f.Commands, func(ctx context.Context, c automation.Call) bool { return wanted(ctx, f.Automations, c) })
	maps.Copy(actions, o.Actions)
	return automation.NewService(automation.Config{Observe: observeRunbooks(cfg.Observer), Store: cfg.Store, Codec: cfg.Codec, Documents: f.Documents, Authorizer: cfg.Authorizer, Leases: f.Leases, Audit: f.Audit,
		Actions: actions, Known: cfg.Actions, Parameters: cfg.Parameters, Targets: RunbookTargets(f.Nodes), System: o.System, Limits: o.Limits, Ask: o.Ask, Names: o.Names,
		Concurrency: o.Concurrency, Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log})
}

// pruneRunbooks applies the retention.
func (f *Fleet) pruneRunbooks(ctx context.Context) error {
	age := f.cfg.Runbooks.Retention
	if age <= 0 {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	own := access.With(ctx, access.Principal{Name: f.cfg.Name})
	for {
		if n, err := f.Automations.Prune(own, age); err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("old executions were not all removed", "error", err)
		} else if n > 0 {
			f.cfg.Log.Info("old executions removed", "executions", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// wanted reports whether the step of a call whose ctx ended still waits for it: the control plane stops, and another one, or this one when it is back, goes on.
func wanted(ctx context.Context, s *automation.Service, c automation.Call) bool {
	x, _, err := s.Get(access.With(ctx, access.Principal{Tenant: c.Tenant, Name: c.StartedBy}), c.Execution)
	if err != nil {
		return true // what is not known is left alone
	}
	for i := range x.Steps {
		if st := &x.Steps[i]; st.ID == c.StepID {
			return !x.Status.Done() && st.Status == automation.InProgress && st.Attempt == c.Attempt
		}
	}
	return false
}

// RunbookTargets is a node service as automations want it (automation.Targets): the ids of the nodes that the targets of an execution select.
func RunbookTargets(nodes *node.Service) automation.Targets { return runbookTargets{nodes} }

type runbookTargets struct{ nodes *node.Service }

// Values implements automation.Targets. ResourceGroup is what a runbook calls the key resource-groups:Name; the key InstanceIds with the value * is every node.
func (t runbookTargets) Values(ctx context.Context, tenant string, targets []target.Target) (out []string, err error) {
	own := make([]target.Target, len(targets))
	for i, g := range targets {
		if own[i] = g; strings.EqualFold(g.Key, "ResourceGroup") {
			own[i].Key = "resource-groups:Name"
		}
	}
	for after, more := "", true; more; more = after != "" {
		var page []string
		if page, after, err = t.nodes.Resolve(ctx, tenant, own, after, node.MaxResolve); err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	return out, nil
}

// mostOutput is how many bytes of what a command wrote become the output of a step.
const mostOutput = 24_000

// CommandRunner is a command service as the action aws:runCommand: the inputs of SendCommand, the outputs CommandId, Status, ResponseCode and Output, those of the
// node that failed first in the order of ids, else of the first. It sends as who started the execution, who needs ssm:SendCommand, ssm:ListCommands, ssm:ListCommandInvocations and
// ssm:GetCommandInvocation, and once for an attempt of a step however often it is repeated. Whatever is no Success fails the step; the command's outputs are in the failure's details.
//
// When ctx ends the command is cancelled, unless wanted says that the step still waits for it, as when a control plane is stopped: then it is let run, and whoever goes on with the
// execution finds it. A nil wanted always cancels. What AWS keeps elsewhere (OutputS3BucketName and the like) is kept by the command service.
func CommandRunner(commands *command.Service, wanted func(ctx context.Context, c automation.Call) bool) automation.Action {
	return automation.Action{Repeat: true, Run: func(ctx context.Context, c automation.Call) (any, error) {
		req, bad := sendRequest(c)
		if bad != nil {
			return nil, bad
		}
		cmd, err := runToEnd(ctx, commands, req, func(ctx context.Context) bool { return wanted != nil && wanted(ctx, c) })
		if err != nil {
			return nil, err
		}
		out := map[string]any{"CommandId": cmd.ID, "Status": string(cmd.Status), "ResponseCode": int64(-1), "Output": ""}
		r, err := shownInvocation(ctx, commands, cmd.ID)
		if err != nil {
			return nil, err
		}
		if r != nil {
			out["ResponseCode"], out["Output"] = int64(r.ExitCode), outputOf(r)
		}
		if cmd.Status == message.Success {
			return out, nil
		}
		f := automation.Failure{Stage: automation.PostVerification, Type: automation.VerificationFailure, Message: fmt.Sprintf("command %s ended with status %s", cmd.ID, cmd.StatusDetails), Details: map[string][]string{}}
		for k, v := range out {
			f.Details[k] = []string{fmt.Sprint(v)}
		}
		if r != nil && r.Reason != "" {
			f.Details["Reason"] = []string{r.Reason}
		}
		return nil, &automation.CallError{Failure: f}
	}}
}

// runToEnd sends a command and waits for its end.
func runToEnd(ctx context.Context, commands *command.Service, req command.SendRequest, wanted func(context.Context) bool) (command.Command, error) {
	if ctx.Err() != nil {
		return command.Command{}, ctx.Err()
	}
	cmd, err := commands.Send(context.WithoutCancel(ctx), req) // what was sent must be known, so that it can be cancelled
	if err != nil {
		return cmd, err
	}
	done, err := commands.Wait(ctx, cmd.ID)
	if ctx.Err() == nil {
		return done, err
	}
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	if !wanted(late) {
		commands.Cancel(late, cmd.ID) //nolint:errcheck // best effort: nobody waits for it any more
	}
	return cmd, ctx.Err()
}

// sendRequest reads the inputs of aws:runCommand.
func sendRequest(c automation.Call) (command.SendRequest, error) {
	bad := func(name, must string) (command.SendRequest, error) {
		return command.SendRequest{}, &automation.CallError{Failure: automation.Failure{Stage: automation.InputValidation, Type: automation.ActionFailure, Message: name + " must be " + must}}
	}
	text := func(name string) string {
		if v := c.Inputs[name]; v != nil {
			return strings.Join(automation.Strings(v), ",")
		}
		return ""
	}
	req := command.SendRequest{DocumentName: text("DocumentName"), DocumentVersion: text("DocumentVersion"), DocumentHash: text("DocumentHash"), DocumentHashType: text("DocumentHashType"),
		MaxConcurrency: text("MaxConcurrency"), MaxErrors: text("MaxErrors"), Comment: text("Comment"), ClientToken: c.Token}
	if v := c.Inputs["InstanceIds"]; v != nil {
		req.InstanceIDs = automation.Strings(v)
	}
	if v := c.Inputs["Parameters"]; v != nil {
		if s, ok := v.(string); ok { // a map written as JSON, as AWS takes it
			var m map[string]any
			if json.Unmarshal([]byte(s), &m) != nil {
				return bad("Parameters", "a map")
			}
			v = m
		}
		m, ok := v.(map[string]any)
		if !ok {
			return bad("Parameters", "a map")
		}
		req.Parameters = make(map[string][]string, len(m))
		for k, v := range m {
			if v != nil {
				req.Parameters[k] = automation.Strings(v)
			}
		}
	}
	if v := c.Inputs["Targets"]; v != nil {
		list, ok := v.([]any)
		for _, it := range list {
			m, is := it.(map[string]any)
			key, _ := m["Key"].(string)
			if ok = ok && is && key != ""; ok {
				t := target.Target{Key: key}
				if m["Values"] != nil {
					t.Values = automation.Strings(m["Values"])
				}
				req.Targets = append(req.Targets, t)
			}
		}
		if !ok {
			return bad("Targets", "a list of maps with Key and Values")
		}
	}
	if s := text("TimeoutSeconds"); s != "" {
		if _, err := fmt.Sscanf(s, "%d", &req.TimeoutSeconds); err != nil {
			return bad("TimeoutSeconds", "a number")
		}
	}
	return req, nil
}

// shownInvocation is the one whose output a step shows; nil when there is none.
func shownInvocation(ctx context.Context, commands *command.Service, id string) (*command.Result, error) {
	var first *command.Result
	for token, more := "", true; more; more = token != "" {
		var page []command.Result
		var err error
		if page, token, err = commands.Invocations(ctx, command.ListRequest{Command: id, NextToken: token, Limit: 1000}); err != nil {
			return nil, err
		}
		for i := range page {
			if first == nil {
				first = &page[i]
			}
			if page[i].Status != message.Success {
				first, token = &page[i], ""
				break
			}
		}
	}
	if first == nil {
		return nil, nil
	}
	r, err := commands.Invocation(ctx, id, first.Node)
	return &r, err
}

// outputOf is what the steps of a document wrote, one after the other.
func outputOf(r *command.Result) string {
	var b strings.Builder
	for i := range r.Steps {
		b.WriteString(r.Steps[i].Stdout.Head)
	}
	s := b.String()
	if len(s) > mostOutput {
		s = strings.ToValidUTF8(s[:mostOutput], "")
	}
	return s
}

// ScriptNode is a command service as scripts that run on a node want it (script.Node).
func ScriptNode(commands *command.Service) script.Node { return scriptNode{commands} }

type scriptNode struct{ commands *command.Service }

// RunDocument implements script.Node.
func (s scriptNode) RunDocument(ctx context.Context, tenant, by, id, token string, doc []byte) (out script.NodeResult, err error) {
	ctx = access.With(ctx, access.Principal{Tenant: tenant, Name: by})
	cmd, err := runToEnd(ctx, s.commands, command.SendRequest{DocumentName: "aws-executeScript", Content: doc, InstanceIDs: []string{id}, ClientToken: token}, func(context.Context) bool { return false })
	if err != nil {
		return out, err
	}
	r, err := s.commands.Invocation(ctx, cmd.ID, id)
	if err != nil {
		return out, err
	}
	out = script.NodeResult{Exit: r.ExitCode, Detail: string(r.Detail)}
	for stderr, to := range map[bool]*string{false: &out.Stdout, true: &out.Stderr} {
		b, err := s.read(ctx, cmd.ID, id, stderr)
		if err != nil {
			return out, err
		}
		*to = string(b)
	}
	return out, nil
}

// mostWait is how long the rest of an output is waited for after its command has ended.
const mostWait = time.Minute

// read reads an output whole, to a bound that is above what a script may return. Large outputs come in pieces, the last of them after the end.
func (s scriptNode) read(ctx context.Context, id, node string, stderr bool) ([]byte, error) {
	ctx, stop := context.WithTimeout(ctx, mostWait)
	defer stop()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		in, info, err := s.commands.Output(ctx, id, node, "", stderr)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(in, 4<<20))
		in.Close() //nolint:errcheck // a reader
		if err != nil || info.Whole || info.Dropped > 0 || len(b) == 4<<20 {
			return b, err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return b, nil // what came
		case <-t.C:
		}
	}
}

// integrationsAt is the name space that AWS keeps integrations of Automation in.
const integrationsAt = "/d9d01087-4a3f-49e0-b0b4-d568d7826553/ssm/integrations/webhook/"

// ParameterIntegrations looks integrations up where AWS keeps them: a SecureString below /d9d01087-4a3f-49e0-b0b4-d568d7826553/ssm/integrations/webhook/ whose
// value is a JSON object with URL, headers and payload. Who started the execution needs ssm:GetParameter for it, as at AWS.
func ParameterIntegrations(store parameter.Store) webhook.Integrations {
	return parameterIntegrations{store}
}

type parameterIntegrations struct{ store parameter.Store }

// Integration implements webhook.Integrations.
func (p parameterIntegrations) Integration(ctx context.Context, _ automation.Call, name string) (in webhook.Integration, err error) {
	const op = "fleetwright.Integration"
	if strings.ContainsAny(name, "/:") {
		return in, fault.New(op, fault.DoesNotExist, "no integration has such a name")
	}
	got, err := p.store.GetParameter(ctx, parameter.GetParameterRequest{Name: integrationsAt + name, WithDecryption: true})
	if fault.KindOf(err) == fault.NotFound {
		return in, fault.New(op, fault.DoesNotExist, "there is none: put it as a SecureString into the Parameter Store, as %s%s", integrationsAt, fault.Clean(name))
	} else if err != nil {
		return in, err
	}
	var fields map[string]json.RawMessage
	bad := fault.New(op, fault.Validation, "its parameter is no JSON object with a URL, headers and a payload")
	if json.Unmarshal(got.Parameter.Value.Secret().Reveal(), &fields) != nil {
		return in, bad
	}
	for k, v := range fields {
		var s string
		switch strings.ToLower(k) {
		case "url":
			if json.Unmarshal(v, &s) != nil {
				return in, bad
			}
			in.URL = secret.String(s)
		case "payload":
			if json.Unmarshal(v, &s) != nil {
				s = string(v)
			}
			in.Payload = s
		case "headers":
			var m map[string]string
			if json.Unmarshal(v, &s) == nil { // or written as text
				v = json.RawMessage(cmp.Or(s, "{}"))
			}
			if json.Unmarshal(v, &m) != nil {
				return in, bad
			}
			in.Headers = make(map[string]secret.Value, len(m))
			for name, value := range m {
				in.Headers[name] = secret.String(value)
			}
		}
	}
	if in.URL.IsZero() {
		return in, bad
	}
	return in, nil
}

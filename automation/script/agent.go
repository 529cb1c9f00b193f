package script

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// Node runs documents on nodes. fleetwright.ScriptNode makes one of a command service.
type Node interface {
	// RunDocument runs a Command document of one step on a node, once for a token, as the principal of the tenant, and returns when it has ended. When ctx ends it is cancelled.
	RunDocument(ctx context.Context, tenant, by, node, token string, document []byte) (NodeResult, error)
}

// NodeResult is how a document ended on a node.
type NodeResult struct {
	Exit           int
	Detail         string // Success, Failed, DeliveryTimedOut …
	Stdout, Stderr string
}

// Agent runs scripts on a node of the fleet, so that no code of runbooks runs on the control plane's machine. It is safe for concurrent use.
type Agent struct {
	nodes Node
	node  string
}

// NewAgent returns a runtime that runs scripts on a node, by its id: Linux or another Unix with Python 3 (and pwsh, for PowerShell). They run as commands do there; the node should be one for that purpose. What
// a script is granted by Options.Env is not sent: commands are kept. Limits other than those of time, Payload and output are the node's matter.
func NewAgent(nodes Node, node string) *Agent { return &Agent{nodes, node} }

// Run implements Runtime.
func (a *Agent) Run(ctx context.Context, j Job) (out Outcome, err error) {
	const op = "script.Run"
	for name := range j.Env {
		if name != "AWS_REGION" && name != "AWS_DEFAULT_REGION" {
			return out, fault.New(op, fault.UnsupportedOperation, "what a script is granted is not sent to nodes: run it on the control plane's machine, or give the node rights of its own")
		}
	}
	mark := "result-" + fmt.Sprintf("%x", j.Token)
	text, err := a.shell(&j, mark)
	if err != nil {
		return out, err
	}
	limit := max(5, int(j.Limits.withDefaults().Time.Seconds()))
	doc, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "description": "A script of a runbook.",
		"mainSteps": []any{map[string]any{"action": "aws:runShellScript", "name": "script", "inputs": map[string]any{"timeoutSeconds": fmt.Sprint(limit), "runCommand": strings.Split(text, "\n")}}}})
	if err != nil {
		return out, fault.New(op, fault.Validation, "the script cannot be written as JSON")
	}
	res, err := a.nodes.RunDocument(ctx, j.Tenant, j.By, a.node, j.Token, doc)
	if err != nil {
		return out, err
	}
	most := j.Limits.withDefaults().Output
	before, line, found := strings.Cut(res.Stdout, mark+" ")
	keep := func(s string) string {
		t := &tail{most: most}
		t.Write([]byte(s)) //nolint:errcheck // it never fails
		return t.String()
	}
	out.Stdout, out.Stderr = keep(before), keep(res.Stderr)
	line, _, _ = strings.Cut(line, "\n")
	data, derr := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	var r result
	switch {
	case !found || derr != nil:
		if res.Detail != "Success" && res.Detail != "Failed" || res.Exit == noPython {
			return out, fault.New(op, fault.UnsupportedOperation, "the script did not run on node %s: %s", fault.Clean(clip(a.node, 64)), fault.Clean(clip(res.Detail, 40)))
		}
		out.Failure = fmt.Sprintf("the script ended without returning: exit status %d", res.Exit)
	case json.Unmarshal(data, &r) != nil || len(r.Payload) == 0 && r.Failure == "":
		out.Failure = "the script returned nothing that can be read"
	default:
		out.Payload, out.Failure, out.Traceback = r.Payload, r.Failure, r.Traceback
	}
	return out, nil
}

const noPython = 97

// shell writes the script that unpacks everything and runs it.
func (a *Agent) shell(j *Job, mark string) (string, error) {
	var events any = j.Input
	if j.Language == PowerShell {
		events = string(j.Input)
	}
	work, err := json.Marshal(map[string]any{"events": events, "context": j.Context, "handler": j.Handler, "script": j.Script != nil})
	if err != nil {
		return "", fault.New("script.Run", fault.Validation, "the input cannot be written as JSON")
	}
	var b strings.Builder
	put := func(name string, data []byte) {
		fmt.Fprintf(&b, "base64 -d >'%s' <<'EOF'\n", name)
		for s := base64.StdEncoding.EncodeToString(data); s != ""; {
			n := min(len(s), 500)
			b.WriteString(s[:n] + "\n")
			s = s[n:]
		}
		b.WriteString("EOF\n")
	}
	b.WriteString("set -eu\numask 077\ndir=$(mktemp -d)\ntrap 'rm -rf \"$dir\"' EXIT\ncd \"$dir\"\nmkdir files\n")
	for _, f := range j.Files {
		if !plainPath(f.Path) || strings.ContainsAny(f.Path, "'\n") {
			return "", fault.New("script.Run", fault.Validation, "a file of the attachment has a name that cannot be sent")
		}
		if i := strings.LastIndexByte(f.Path, '/'); i > 0 {
			fmt.Fprintf(&b, "mkdir -p 'files/%s'\n", f.Path[:i])
		}
		put("files/"+f.Path, f.Data)
	}
	put("input", work)
	region := j.Env["AWS_REGION"]
	if region != "" && functions.MatchString(strings.ReplaceAll(region, "-", "_")) {
		fmt.Fprintf(&b, "AWS_REGION=%s AWS_DEFAULT_REGION=%s\nexport AWS_REGION AWS_DEFAULT_REGION\n", region, region)
	}
	run := `"$p" -s -B runner.py`
	if j.Language == PowerShell {
		put("runner.ps1", runnerPs)
		put("script.ps1", j.Script)
		run = `"$p" -NoLogo -NoProfile -NonInteractive -File runner.ps1`
		fmt.Fprintf(&b, "p=$(command -v pwsh) || { echo 'there is no pwsh on this node' >&2; exit %d; }\n", noPython)
	} else {
		put("runner.py", runnerPy)
		if j.Script != nil {
			put("script.py", j.Script)
		}
		fmt.Fprintf(&b, "p=$(command -v python%s || command -v python3) || { echo 'there is no python3 on this node' >&2; exit %d; }\n", j.Version, noPython)
	}
	fmt.Fprintf(&b, "PYTHONUTF8=1 PYTHONIOENCODING=utf-8 %s <input 3>result || :\n[ -s result ] || exit 1\nprintf '%%s ' %s\nbase64 <result | tr -d '\\n'\necho\n", run, mark)
	return b.String(), nil
}

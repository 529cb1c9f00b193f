package script_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/script"
	"github.com/fleetwright/fleetwright/document"
)

// node is a node that runs a document's shell script here: these are the test's own, which do nothing.
type node struct {
	t      *testing.T
	detail string // answers this instead
	got    []byte
}

func (n *node) RunDocument(ctx context.Context, tenant, by, id, token string, text []byte) (script.NodeResult, error) {
	n.got = text
	require.Equal(n.t, []string{"default", "i-1", "t"}, []string{tenant, id, token})
	_, err := document.Parse(text, nil)
	require.NoError(n.t, err, "the document is one that the fleet would take")
	if n.detail != "" {
		return script.NodeResult{Detail: n.detail, Exit: -1}, nil
	}
	var d struct {
		MainSteps []struct{ Inputs struct{ RunCommand []string } }
	}
	require.NoError(n.t, json.Unmarshal(text, &d))
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.Join(d.MainSteps[0].Inputs.RunCommand, "\n"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r := script.NodeResult{Detail: "Success"}
	if err := cmd.Run(); err != nil {
		r.Detail, r.Exit = "Failed", cmd.ProcessState.ExitCode()
	}
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	return r, nil
}

func TestScriptOnANode(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: no Python 3 on this machine")
	}
	n := &node{t: t}
	rt := script.NewAgent(n, "i-1")
	o := &script.Options{System: automation.System{Region: "eu-central-1"}, Attachments: attachments{"a.zip": zipped(t, 0o644, "pkg/help.py", "x = 'ü'")}}
	out, bad := step(t, rt, o, python("import os\nfrom pkg.help import x\ndef handler(e, c):\n  print('printed')\n  return [e['a'], x, os.environ['AWS_REGION'], c['automation:EXECUTION_ID']]",
		"InputPayload", map[string]any{"a": "it's $HOME `id`\nEOF\n"}, "Attachment", "a.zip"))
	require.Nil(t, bad, "%+v", bad)
	require.Equal(t, []any{"it's $HOME `id`\nEOF\n", "ü", "eu-central-1", "exec-1"}, out["Payload"])
	require.Equal(t, "printed\n", out["Stdout"])
	require.NotContains(t, string(n.got), "id`", "what a runbook gives is data, never shell")

	_, bad = step(t, rt, nil, python("def handler(e, c): raise KeyError('x')"))
	require.Equal(t, "KeyError: 'x'", bad.Message)
	require.Contains(t, bad.Details["Stderr"][0], "Traceback")
	_, bad = step(t, rt, nil, python("import os\ndef handler(e, c): os._exit(9)"))
	require.NotNil(t, bad)
	_, bad = step(t, rt, &script.Options{Limits: script.Limits{Payload: 10}}, python("def handler(e, c): return 'x' * 100"))
	require.Equal(t, automation.PostVerification, bad.Stage)
	_, bad = step(t, script.NewAgent(&node{t: t, detail: "DeliveryTimedOut"}, "i-1"), nil, python("def handler(e, c): pass"))
	require.Equal(t, automation.PreVerification, bad.Stage)
	require.Contains(t, bad.Message, "DeliveryTimedOut")
	_, bad = step(t, rt, &script.Options{Env: func(context.Context, automation.Call) (map[string]string, error) {
		return map[string]string{"TOKEN": "s3cret"}, nil
	}}, python("def handler(e, c): pass"))
	require.NotNil(t, bad, "a secret is not written into a command")
}

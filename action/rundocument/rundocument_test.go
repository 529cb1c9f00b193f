//go:build unix

package rundocument_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/rundocument"
	"github.com/fleetwright/fleetwright/message"
)

// shells runs scripts of aws:runShellScript by a tiny language, so that these tests start no processes: "echo x", "exit n", "wait".
type shells struct{}

func (shells) Name() string { return "aws:runShellScript" }

func (shells) Run(ctx context.Context, c *action.Call) action.Result {
	for _, line := range action.Lines(c.Inputs, "runCommand") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "echo":
			fmt.Fprintln(c.Stdout, rest) //nolint:errcheck // a test
		case "env":
			fmt.Fprintln(c.Stdout, c.Env[rest]) //nolint:errcheck // a test
		case "wait":
			<-ctx.Done()
			s, _ := action.Cause(ctx)
			return action.Result{Status: s, ExitCode: 143}
		case "exit":
			r := action.Result{Status: message.Success}
			switch rest {
			case "0":
			case "194":
				r.Flow, r.ExitCode = action.Reboot, 194
			case "168":
				r.Flow, r.ExitCode = action.SkipRest, 168
			default:
				r.Status, r.ExitCode = message.Failed, 7
			}
			return r
		}
	}
	return action.Succeeded()
}

func included(name, doc string) message.Included {
	sum := sha256.Sum256([]byte(doc))
	return message.Included{Name: name, Document: []byte(doc), Hash: hex.EncodeToString(sum[:]), Format: "YAML"}
}

func script(lines ...string) string {
	var b strings.Builder
	b.WriteString("schemaVersion: '2.2'\nmainSteps:\n")
	for i, l := range lines {
		fmt.Fprintf(&b, "- {action: aws:runShellScript, name: s%d, inputs: {runCommand: [%q]}}\n", i, l)
	}
	return b.String()
}

func call(t testing.TB, inputs map[string]any) (*action.Call, *bytes.Buffer) {
	set, err := action.NewSet(shells{}, rundocument.New(nil))
	require.NoError(t, err)
	dir := t.TempDir()
	var out bytes.Buffer
	deep := func(child string) string {
		return "schemaVersion: '2.2'\nmainSteps:\n- {action: aws:runDocument, name: d, inputs: {documentType: SSMDocument, documentPath: " + child + "}}\n"
	}
	return &action.Call{Action: rundocument.Name, Inputs: inputs, Downloads: dir, Stdout: &out, Stderr: &out, Actions: set, Depth: 1, Platform: "Linux", Log: slog.New(slog.DiscardHandler),
		Documents: map[string]message.Included{
			"two": included("two", script("echo one", "echo two")), "fails": included("fails", script("exit 7", "echo on")), "ends": included("ends", script("exit 168", "echo never")),
			"reboots": included("reboots", script("exit 194")), "waits": included("waits", script("wait", "echo never")),
			"depth2": included("depth2", deep("two")), "depth3": included("depth3", deep("depth2")), "loop": included("loop", deep("loop")),
			"broken": included("broken", "schemaVersion: '9.9'"), "tampered": {Name: "tampered", Document: []byte(script("echo x")), Hash: strings.Repeat("0", 64)}, "unpinned": {Name: "unpinned", Document: []byte(script("echo x"))},
			"params": included("params", "schemaVersion: '2.2'\nparameters:\n  A: {type: String}\n  L: {type: StringList, default: []}\n  N: {type: String, default: none}\n  E: {type: String, default: '', interpolationType: ENV_VAR}\nmainSteps:\n- {action: aws:runShellScript, name: s, inputs: {runCommand: ['echo {{ A }} {{ N }}', 'env SSM_E', '{{ L }}']}}\n"),
			"update": included("update", "schemaVersion: '2.2'\nmainSteps:\n- {action: aws:updateSsmAgent, name: s, inputs: {agentName: x}}\n"),
		}}, &out
}

func named(path string) map[string]any {
	return map[string]any{"documentType": "SSMDocument", "documentPath": path}
}

func TestNestedDocuments(t *testing.T) { // P11
	for _, c := range []struct {
		path, out string
		status    message.Status
		code      int
		reason    string
	}{
		{"two", "one\ntwo\n", message.Success, 0, ""},
		{"fails", "on\n", message.Failed, 7, ""},
		{"ends", "", message.Success, 0, ""},
		{"depth2", "one\ntwo\n", message.Success, 0, ""},
		{"depth3", "", message.Failed, 1, "more than 3 deep"},
		{"loop", "", message.Failed, 1, "more than 3 deep"},
		{"reboots", "", message.Failed, 1, "may not ask for a reboot"},
		{"broken", "", message.Failed, 1, "document broken"},
		{"tampered", "", message.Failed, 1, "SHA-256"},
		{"unpinned", "", message.Failed, 1, "not sent along"},
		{"absent", "", message.Failed, 1, "not sent along"},
		{"update", "", message.Failed, 1, "may not update the agent"},
		{"", "", message.Failed, 1, "no documentPath"},
	} {
		t.Run(c.path, func(t *testing.T) {
			cl, out := call(t, named(c.path))
			r := action.Run(t.Context(), cl)
			require.Equal(t, c.status, r.Status, r.Reason)
			require.Equal(t, c.code, r.ExitCode)
			require.Contains(t, r.Reason, c.reason)
			require.Equal(t, action.Continue, r.Flow, "a nested document's end does not end the outer one")
			if c.status == message.Success || c.path == "fails" {
				require.Equal(t, c.out, out.String())
			}
		})
	}
}

func TestParameters(t *testing.T) { // D19
	for _, p := range []any{
		map[string]any{"A": "a", "N": 5, "E": "$(x)", "L": []any{"echo l1", "echo l2"}},
		`{"A": "a", "N": "5", "E": "$(x)", "L": ["echo l1", "echo l2"]}`,
	} {
		in := named("params")
		in["documentParameters"] = p
		cl, out := call(t, in)
		r := action.Run(t.Context(), cl)
		require.Equal(t, message.Success, r.Status, r.Reason)
		require.Equal(t, "a 5\n$(x)\nl1\nl2\n", out.String())
	}
	for _, p := range []any{nil, "{", 5, map[string]any{"A": "a", "Unknown": "x"}, map[string]any{}} {
		in := named("params")
		in["documentParameters"] = p
		cl, _ := call(t, in)
		require.Equal(t, message.Failed, action.Run(t.Context(), cl).Status, "%v", p)
	}
}

func TestLocalPath(t *testing.T) {
	local := func(path string) map[string]any {
		return map[string]any{"documentType": "localpath", "documentPath": path}
	}
	cl, out := call(t, nil)
	require.NoError(t, os.Mkdir(cl.Downloads+"/d", 0o700))
	require.NoError(t, os.WriteFile(cl.Downloads+"/d/doc.yml", []byte(script("echo local")), 0o600))
	outside := filepath.Join(t.TempDir(), "doc.yml")
	require.NoError(t, os.WriteFile(outside, []byte(script("echo outside")), 0o600))
	require.NoError(t, os.Symlink(outside, cl.Downloads+"/link.yml"))
	for path, ok := range map[string]bool{"d/doc.yml": true, cl.Downloads + "/d/doc.yml": true, outside: false, "link.yml": false, "../doc.yml": false, "none.yml": false, "d": false} {
		cl.Inputs = local(path)
		out.Reset()
		r := action.Run(t.Context(), cl)
		if ok {
			require.Equal(t, message.Success, r.Status, r.Reason)
			require.Equal(t, "local\n", out.String())
		} else {
			require.Equal(t, message.Failed, r.Status, path)
		}
	}
	cl.Inputs = local(outside)
	require.Equal(t, message.Success, rundocument.New(&rundocument.Options{AnyPath: true}).Run(t.Context(), cl).Status)
	cl.Inputs = map[string]any{"documentType": "Other", "documentPath": "x"}
	require.Equal(t, message.Failed, action.Run(t.Context(), cl).Status)
}

func TestItStopsWhenToldTo(t *testing.T) {
	for cause, want := range map[error]message.Status{action.ErrTimeout: message.TimedOut, action.ErrCancelled: message.Cancelled} {
		cl, out := call(t, named("waits"))
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		require.Equal(t, want, action.Run(ctx, cl).Status)
		require.Empty(t, out.String())
	}
}

func Example() {
	set, err := action.NewSet(shells{}, rundocument.New(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	r := action.Run(context.Background(), &action.Call{
		Action: rundocument.Name, Inputs: map[string]any{"documentType": "SSMDocument", "documentPath": "Greet"},
		Documents: map[string]message.Included{"Greet": included("Greet", script("echo hello"))},
		Stdout:    os.Stdout, Stderr: os.Stderr, Actions: set, Depth: 1, Platform: "Linux", Log: slog.New(slog.DiscardHandler),
	})
	fmt.Println(r.Status)
	// Output:
	// hello
	// Success
}

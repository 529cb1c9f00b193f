//go:build unix

package shell_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/shell"
	"github.com/fleetwright/fleetwright/message"
)

// call returns a call with buffers for its output.
func call(t testing.TB, script ...string) (*action.Call, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	require.NoError(t, os.Mkdir(files, 0o700))
	var out, err bytes.Buffer
	lines := make([]any, len(script))
	for i, s := range script {
		lines[i] = s
	}
	return &action.Call{Tenant: "default", Node: "mi-1", Command: "c1", Attempt: 1, Action: shell.Name, Name: "step", Inputs: map[string]any{"runCommand": lines},
		Stdout: &out, Stderr: &err, Dir: dir, Downloads: files, Marker: "mark-" + strings.ReplaceAll(dir, "/", "-"), Depth: 1, Spawner: action.System{}, Log: slog.New(slog.DiscardHandler),
		Facts: message.Facts{PlatformName: "TestOS", PlatformVersion: "1"}}, &out, &err
}

func TestExitCodes(t *testing.T) { // P7, P10
	for _, c := range []struct {
		code   int
		status message.Status
		flow   action.Flow
	}{{0, message.Success, action.Continue}, {1, message.Failed, action.Continue}, {137, message.Failed, action.Continue}, {255, message.Failed, action.Continue},
		{168, message.Success, action.SkipRest}, {169, message.Failed, action.SkipRest}, {194, message.Success, action.Reboot}} {
		t.Run(strconv.Itoa(c.code), func(t *testing.T) {
			cl, _, _ := call(t, "exit "+strconv.Itoa(c.code))
			r := shell.New(nil).Run(t.Context(), cl)
			require.Equal(t, action.Result{Status: c.status, ExitCode: c.code, Flow: c.flow}, r)
		})
	}
}

func TestOnlyTheLastCommandCountsUnlessStrict(t *testing.T) { // T9
	cl, out, _ := call(t, "false", "echo on")
	require.Equal(t, message.Success, shell.New(nil).Run(t.Context(), cl).Status)
	require.Equal(t, "on\n", out.String())

	for _, script := range [][]string{{"false", "echo on"}, {"echo $undefined", "echo on"}} {
		cl, out, _ = call(t, script...)
		require.Equal(t, message.Failed, shell.New(&shell.Options{Strict: true}).Run(t.Context(), cl).Status)
		require.NotContains(t, out.String(), "on")
	}
	cl, _, _ = call(t, "#!/bin/sh", "true")
	r := shell.New(&shell.Options{Strict: true}).Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "#!")
	cl, _, _ = call(t, "true")
	require.Equal(t, message.Failed, shell.New(&shell.Options{Strict: true, Interpreter: []string{"sh"}}).Run(t.Context(), cl).Status)
}

func TestTheEnvironmentIsTheDocumentedOne(t *testing.T) {
	t.Setenv("LD_PRELOAD", "")
	t.Setenv("BASH_ENV", "/tmp/evil")
	t.Setenv("ENV", "/tmp/evil")
	t.Setenv("IFS", "x")
	t.Setenv("SECRET_OF_THE_AGENT", "s3cret")
	cl, out, _ := call(t, "env -0")
	cl.Env = map[string]string{"SSM_Name": "a b\n$(id)"}
	cl.Inputs["environment"] = map[string]any{"EXTRA": "1", "PATH": "/bin:/usr/bin"}
	require.Equal(t, message.Success, shell.New(&shell.Options{Environment: map[string]string{"HOST": "h"}}).Run(t.Context(), cl).Status)
	env := map[string]string{}
	for _, kv := range strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00") {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for k, v := range map[string]string{"AWS_SSM_INSTANCE_ID": "mi-1", "AWS_SSM_REGION_NAME": "", "AWS_SSM_PLATFORM_NAME": "TestOS", "AWS_SSM_PLATFORM_VERSION": "1", "SSM_COMMAND_ID": "c1",
		"SSM_Name": "a b\n$(id)", "EXTRA": "1", "PATH": "/bin:/usr/bin", "HOST": "h", action.MarkerVar: cl.Marker} {
		require.Contains(t, env, k)
		require.Equal(t, v, env[k], k)
	}
	for _, k := range []string{"LD_PRELOAD", "BASH_ENV", "ENV", "SECRET_OF_THE_AGENT"} {
		require.NotContains(t, env, k)
	}
}

func TestVariablesThatNoProcessCanHaveAreRefused(t *testing.T) {
	for _, name := range []string{"A B", "1A", "A=B", "", "A\nB", "Ä"} {
		cl, _, _ := call(t, "true")
		cl.Inputs["environment"] = map[string]any{name: "x"}
		require.Equal(t, message.Failed, shell.New(nil).Run(t.Context(), cl).Status, "%q", name)
	}
	cl, _, _ := call(t, "true")
	cl.Env = map[string]string{"SSM_x": "a\x00b"}
	require.Equal(t, message.Failed, shell.New(nil).Run(t.Context(), cl).Status)
}

func TestScriptFile(t *testing.T) { // P13, R-06
	cl, out, _ := call(t, `stat -c '%a' "$0"`, `dirname "$0"`, `readlink /proc/self/fd/0`, `umask`)
	cl.Name, cl.Command = "../../evil", "../../../tmp/evil"
	require.Equal(t, message.Success, shell.New(nil).Run(t.Context(), cl).Status)
	got := strings.Split(out.String(), "\n")
	require.Equal(t, "700", got[0])
	require.Equal(t, cl.Dir, got[1])
	require.Equal(t, "/dev/null", got[2])
	left, err := filepath.Glob(cl.Dir + "/script-*")
	require.NoError(t, err)
	require.Empty(t, left, "the script may hold parameters: it goes with the step")
}

func TestShebang(t *testing.T) { // P13
	for _, c := range []struct{ name, first, want string }{
		{"honoured as the first bytes", "#!/usr/bin/env -S sh -c 'echo other'", "other\n"},
		{"with an argument", "#!/bin/echo arg", "arg "},
		{"not after a space", " #!/bin/echo arg", "sh\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, out, _ := call(t, c.first, "echo sh")
			require.Equal(t, message.Success, shell.New(nil).Run(t.Context(), cl).Status)
			require.True(t, strings.HasPrefix(out.String(), c.want), out.String())
		})
	}
	cl, _, _ := call(t, "#!/no/such/interpreter", "x")
	r := shell.New(nil).Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Equal(t, 127, r.ExitCode)
}

func TestWorkingDirectory(t *testing.T) { // P13
	abs := t.TempDir()
	for _, c := range []struct {
		dir, want string
		bad       bool
	}{{"", "FILES", false}, {abs, abs, false}, {"below", "FILES/below", false}, {"not/there", "FILES", false}, {"../..", "", true}, {"/no/such/dir", "", true}} {
		t.Run(c.dir, func(t *testing.T) {
			cl, out, _ := call(t, "pwd -P")
			require.NoError(t, os.Mkdir(cl.Downloads+"/below", 0o700))
			cl.Inputs["workingDirectory"] = c.dir
			r := shell.New(nil).Run(t.Context(), cl)
			if c.bad {
				require.Equal(t, message.Failed, r.Status)
				return
			}
			require.Equal(t, message.Success, r.Status, r.Reason)
			require.Equal(t, strings.Replace(c.want, "FILES", cl.Downloads, 1)+"\n", out.String())
		})
	}
}

func TestInputsAreFlattenedAndMatchedWithoutCase(t *testing.T) { // I2
	cl, out, _ := call(t)
	cl.Inputs = map[string]any{"RunCommand": []any{[]any{"echo a", 5, []any{"echo b"}}, "echo c"}}
	require.Equal(t, message.Success, shell.New(nil).Run(t.Context(), cl).Status)
	require.Equal(t, "a\nb\nc\n", out.String())

	cl, _, _ = call(t)
	require.Equal(t, message.Failed, shell.New(nil).Run(t.Context(), cl).Status, "no runCommand")
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func pids(t *testing.T, text string) []int {
	t.Helper()
	var all []int
	for _, f := range strings.Fields(text) {
		n, err := strconv.Atoi(f)
		require.NoError(t, err)
		all = append(all, n)
	}
	return all
}

// watch cancels a context once the writer has seen the text.
type watch struct {
	b     bytes.Buffer
	until string
	then  func()
}

func (w *watch) String() string { return w.b.String() }

func (w *watch) Write(b []byte) (int, error) {
	n, err := w.b.Write(b)
	if w.then != nil && strings.Contains(w.String(), w.until) {
		w.then()
		w.then = nil
	}
	return n, err
}

func TestTheWholeGroupIsKilled(t *testing.T) { // R30, T23
	for _, c := range []struct {
		name   string
		cause  error
		want   message.Status
		script string
	}{
		{"a child of a child", action.ErrTimeout, message.TimedOut, `sh -c 'sleep 300 & echo $! ; wait' & echo $! $$ ; sleep 0.05; echo ready; wait`},
		{"who ignores SIGTERM", action.ErrCancelled, message.Cancelled, `trap '' TERM; sh -c 'trap "" TERM; echo $$; while :; do sleep 0.1; done' & echo $!; sleep 0.05; echo ready; while :; do sleep 0.1; done`},
		{"a process group of its own", action.ErrTimeout, message.TimedOut, `set -m; sh -c 'echo $$; sleep 300' & echo $!; sleep 0.05; echo ready; wait`},
		{"a session of its own", action.ErrTimeout, message.TimedOut, `command -v setsid >/dev/null && setsid sh -c 'echo $$; sleep 300' & echo $!; sleep 0.05; echo ready; wait`},
		{"who exits 0 when told to stop", action.ErrTimeout, message.TimedOut, `trap 'exit 0' TERM; echo $$; echo ready; while :; do sleep 0.05; done`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cl, _, _ := call(t, c.script)
			ctx, cancel := context.WithCancelCause(t.Context())
			out := &watch{until: "ready\n", then: func() { cancel(c.cause) }}
			cl.Stdout = out
			r := shell.New(&shell.Options{Grace: 300 * time.Millisecond}).Run(ctx, cl)
			require.Equal(t, c.want, r.Status)
			require.NotZero(t, r.ExitCode)
			for _, pid := range pids(t, strings.Replace(out.String(), "ready", "", 1)) {
				require.Eventually(t, func() bool { return !alive(pid) }, 5*time.Second, 10*time.Millisecond, "process %d lives on", pid)
			}
		})
	}
}

func TestASignalFromElsewhereIsNoTimeout(t *testing.T) { // T23
	cl, _, _ := call(t, "kill -KILL $$")
	r := shell.New(nil).Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Equal(t, 137, r.ExitCode)
	require.Contains(t, r.Reason, "killed")
}

func TestABackgroundProcessDoesNotHoldTheStep(t *testing.T) {
	cl, out, _ := call(t, "sleep 300 & echo $!")
	started := time.Now()
	r := shell.New(nil).Run(t.Context(), cl)
	require.Equal(t, message.Success, r.Status)
	require.Less(t, time.Since(started), time.Minute)
	pid := pids(t, out.String())[0]
	require.True(t, alive(pid), "what a script leaves behind on purpose lives on")
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

func TestNothingStartsInAnEndedContext(t *testing.T) {
	cl, out, _ := call(t, "echo started")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(action.ErrCancelled)
	r := action.Settle(ctx, shell.New(nil).Run(ctx, cl))
	require.Equal(t, message.Cancelled, r.Status)
	require.Empty(t, out.String())
}

func TestRunAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can run scripts as another user")
	}
	if _, err := user.Lookup("nobody"); err != nil {
		t.Skip("SKIPPED: there is no user nobody")
	}
	a := shell.New(&shell.Options{RunAs: "nobody"})
	cl, out, errs := call(t, "id -un; echo $HOME; cat /etc/shadow || true")
	cl.Inputs["workingDirectory"] = "/"
	r := a.Run(t.Context(), cl)
	require.Equal(t, message.Success, r.Status, "%s %s", r.Reason, errs)
	require.True(t, strings.HasPrefix(out.String(), "nobody\n"), out.String())
	require.NotContains(t, out.String(), "root:")

	cl, _, _ = call(t, "true")
	r = shell.New(&shell.Options{RunAs: "no-such-user"}).Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
}

func TestLimitsAreNeverSilentlyIgnored(t *testing.T) {
	cl, out, _ := call(t, "echo ran")
	r := shell.New(&shell.Options{Limits: action.Limits{Memory: 64 << 20, PIDs: 64}}).Run(t.Context(), cl)
	if r.Status == message.Failed {
		require.Empty(t, out.String())
		require.Contains(t, r.Reason, "control groups")
		t.Skip("SKIPPED: no control groups of version 2 that this process may write; refusing was tested, limiting was not")
	}
	require.Equal(t, "ran\n", out.String())
}

func TestPowerShell(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	a := shell.NewPowerShell(nil)
	require.Empty(t, a.Capabilities())
	cl, _, _ := call(t, "Write-Host hi")
	r := a.Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "pwsh is not installed")

	// A stand-in that shows what PowerShell would be given.
	sh, err := exec.LookPath("/bin/sh")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pwsh"), []byte("#!"+sh+"\necho \"$@\"\n/bin/cat \"$7\"\n/bin/cat \"$6\" 2>/dev/null; exit 3"), 0o700))
	require.Equal(t, []string{shell.PowerShellName}, a.Capabilities())
	cl, out, _ := call(t, "Write-Host hi")
	r = a.Run(t.Context(), cl)
	require.Equal(t, 3, r.ExitCode)
	require.Contains(t, out.String(), "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Unrestricted -File "+cl.Dir+"/script-")
	require.Contains(t, out.String(), "\ufeffWrite-Host hi\n")

	strict := shell.NewPowerShell(&shell.Options{Strict: true})
	cl, out, _ = call(t, "Write-Host hi")
	strict.Run(t.Context(), cl)
	require.Contains(t, out.String(), "\ufeff$ErrorActionPreference = 'Stop'; Write-Host hi\n")
	cl, out, _ = call(t, "", "Param($x)")
	require.Equal(t, message.Failed, strict.Run(t.Context(), cl).Status)
	require.Empty(t, out.String())
}

// hostile are values that a careless quoting would run.
func hostile() []string {
	all := []string{"$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED", "& touch PWNED", "\ntouch PWNED\n", "'; touch PWNED; '", "\"; touch PWNED; \"", "$((1+1))", "${IFS}touch${IFS}PWNED",
		"-n", "--help", "\\", "\\\n", "*", "~", "!!", "{a,b}", "<(touch PWNED)", "> PWNED", "\x7f\x1b[31m", "\u202e\u2066", "\xff\xfe", "a\tb", "%s%n", "{{ssm:x}}", "{{ other }}", "$SSM_v", "%PATH%", "\r\n", ""}
	quotes := []string{"", "'", "\"", "`", "\\", "$", "\n"}
	for _, a := range quotes {
		for _, b := range quotes {
			for _, c := range []string{"$(touch PWNED)", "`touch PWNED`", "; touch PWNED #", "\ntouch PWNED #"} {
				all = append(all, a+b+c+b+a, a+c+b)
				for _, d := range quotes {
					all = append(all, d+a+c+b+d)
				}
			}
		}
	}
	return all
}

func TestAScriptSeesTheExactBytesOfAVariable(t *testing.T) { // R-09, G11
	all := hostile()
	cl, _, _ := call(t)
	script := []any{}
	want := ""
	cl.Env = map[string]string{}
	for i, v := range all {
		name := "SSM_v" + strconv.Itoa(i)
		cl.Env[name] = v
		script = append(script, `printf '%s\000' "$`+name+`"`)
		want += v + "\x00"
	}
	for _, sh := range [][]string{{"sh"}, {"bash"}, {"dash"}} {
		if _, err := exec.LookPath(sh[0]); err != nil {
			t.Logf("SKIPPED: %s is not installed", sh[0])
			continue
		}
		var out bytes.Buffer
		cl.Stdout = &out
		cl.Inputs["runCommand"] = script
		require.Equal(t, message.Success, shell.New(&shell.Options{Interpreter: sh}).Run(t.Context(), cl).Status)
		require.True(t, want == out.String(), "%s changed a value", sh)
		_, err := os.Stat(cl.Downloads + "/PWNED")
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

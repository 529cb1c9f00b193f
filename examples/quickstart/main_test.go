package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// build makes the program once; it starts copies of itself, so the tests need the real one.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "quickstart")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

// play runs the program and returns what it printed, its errors apart, and its exit code.
func play(t *testing.T, bin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := exec.Command(bin, args...)
	c.Dir = filepath.Dir(bin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), errs.String(), exit.ExitCode()
	}
	require.NoError(t, err)
	return out.String(), errs.String(), 0
}

func TestQuickstart(t *testing.T) {
	bin := build(t)
	t.Run("tour", func(t *testing.T) {
		out, errs, code := play(t, bin, "-nodes", "4")
		require.Zero(t, code, "%s%s", out, errs)
		require.Empty(t, errs)
		require.Contains(t, out, "Success: 4 targets, 4 Success")
		require.Contains(t, out, "Failed: 3 targets, 1 Success, 1 Failed, 1 Terminated")
		require.Regexp(t, `Cancelled: 4 targets, .*Cancelled`, out)
		require.NotContains(t, out, "\x1b", "piped, there are lines and no cursor")
		require.Regexp(t, regexp.MustCompile(`(?m)^  NODE +STATUS +EXIT +TIME +OUTPUT$`), out)
	})
	t.Run("many agents start at once", func(t *testing.T) {
		doc := filepath.Join(t.TempDir(), "hello.json")
		require.NoError(t, os.WriteFile(doc, []byte(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["echo hello"]}}]}`), 0o600))
		dir := filepath.Join(t.TempDir(), "fleet")
		for range 3 { // each start hands the authority's certificate to agents of which some are running
			out, errs, code := play(t, bin, "-nodes", "12", "-keep", dir, "-document", doc, "-max-concurrency", "100%")
			require.Zero(t, code, "%s%s", out, errs)
			require.Contains(t, out, "12 targets, 12 Success")
			require.NoError(t, os.RemoveAll(dir))
		}
	})
	t.Run("kill", func(t *testing.T) {
		if testing.Short() {
			t.Skip("SKIPPED: killing takes some seconds; run without -short")
		}
		out, errs, code := play(t, bin, "-kill")
		require.Zero(t, code, "%s%s", out, errs)
		require.Contains(t, out, "kill -9 agent")
		require.Contains(t, out, "kill -9 control plane")
		require.Contains(t, out, "4 Success, 1 Interrupted")
		require.Contains(t, out, "nothing ran twice")
	})
	t.Run("own document, kept", func(t *testing.T) {
		doc := filepath.Join(t.TempDir(), "mine.yaml")
		require.NoError(t, os.WriteFile(doc, []byte(`schemaVersion: "2.2"
parameters:
  who: {type: String, allowedPattern: "^[a-z]+$"}
mainSteps:
  - action: aws:runShellScript
    name: greet
    inputs:
      runCommand: ["echo hello {{who}}", "echo to stderr >&2"]
`), 0o600))
		keep := filepath.Join(t.TempDir(), "fleet")
		out, errs, code := play(t, bin, "-nodes", "3", "-document", doc, "-parameters", "who=world", "-targets", "Key=tag:Role,Values=web", "-keep", keep)
		require.Zero(t, code, "%s%s", out, errs)
		require.Contains(t, out, "mine.yaml on 2 machines")
		require.Contains(t, out, "    hello world\n")
		require.Contains(t, out, "  ! to stderr\n")
		out, _, code = play(t, bin, "-nodes", "3", "-document", doc, "-parameters", `{"who":["again"]}`, "-keep", keep)
		require.Zero(t, code)
		require.Contains(t, out, "Earlier commands")
		require.Contains(t, out, "mine.yaml on 3 machines")
	})
	t.Run("bad arguments", func(t *testing.T) {
		dir := t.TempDir()
		bad := filepath.Join(dir, "bad.yaml")
		require.NoError(t, os.WriteFile(bad, []byte("schemaVersion: \"2.2\"\nmainSteps:\n  - action: aws:nope\n    name: a\n    inputs: {}\n"), 0o600))
		good := filepath.Join(dir, "good.json")
		require.NoError(t, os.WriteFile(good, []byte(`{"schemaVersion":"2.2","parameters":{"n":{"type":"String","allowedPattern":"^[0-9]$"}},"mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["exit {{n}}"]}}]}`), 0o600))
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"-nodes", "0"}, "-nodes is 0"},
			{[]string{"what"}, `unexpected argument "what"`},
			{[]string{"-document", "nope.yaml"}, "nope.yaml"},
			{[]string{"-document", bad}, bad + `:3:13: error: unknown action "aws:nope"`},
			{[]string{"-targets", "Key=x,Values=y"}, "belong to a -document"},
			{[]string{"-document", good}, "parameter n is required"},
			{[]string{"-document", good, "-parameters", "n"}, "column 1"},
			{[]string{"-document", good, "-parameters", "n=x"}, "does not match"},
			{[]string{"-document", good, "-parameters", "n=1", "-targets", "Key=tg:Role,Values=web"}, "unknown key"},
			{[]string{"-max-concurrency", "0"}, "MaxConcurrency"},
			{[]string{"-bogus"}, "bogus"},
		} {
			out, errs, code := play(t, bin, c.args...)
			require.Equal(t, 2, code, "%v", c.args)
			require.Empty(t, out, "%v: nothing was started", c.args)
			require.Contains(t, errs, c.want, "%v", c.args)
		}
		out, _, code := play(t, bin, "-nodes", "2", "-document", good, "-parameters", "n=3")
		require.Equal(t, 1, code, "a command that failed is an exit code")
		require.Contains(t, out, "Failed: 2 targets")
	})
}

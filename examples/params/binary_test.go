package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// binary is the tool as it is built, once.
var binary struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: builds the program; run without -short")
	}
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "params"); binary.err == nil {
			binary.out, binary.err = exec.Command("go", "build", "-o", filepath.Join(binary.dir, "params"), ".").CombinedOutput()
		}
	})
	require.NoError(t, binary.err, "%s", binary.out)
	return filepath.Join(binary.dir, "params")
}

// tool returns a command of the program over a store of its own.
func tool(t *testing.T, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(build(t), args...)
	cmd.Env = append(os.Environ(), "PARAMS_DIR="+dir, "PARAMS_POSTGRES=", "PARAMS_KEYS=", "OF_THE_CALLER=kept", "PASSWORD=of the caller")
	return cmd
}

func codeOf(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var ended *exec.ExitError
	require.True(t, errors.As(err, &ended), "%v", err)
	return ended.ExitCode()
}

func withSecret(t *testing.T) (dir string) {
	dir = t.TempDir() + "/params"
	out, err := tool(t, dir, "init").CombinedOutput()
	require.NoError(t, err, "%s", out)
	put := tool(t, dir, "put", "-secret", "/web/password")
	put.Stdin = strings.NewReader("it's \"$HOME\" canary\n")
	out, err = put.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

func TestExecBecomesTheProgram(t *testing.T) {
	dir := withSecret(t)
	run := func(args ...string) (string, int) {
		t.Helper()
		cmd := tool(t, dir, append([]string{"exec", "/web", "--"}, args...)...)
		cmd.Stdin = strings.NewReader("input")
		out, err := cmd.CombinedOutput()
		return string(out), codeOf(t, err)
	}
	out, code := run("sh", "-c", `printf '%s|%s|%s|' "$PASSWORD" "$OF_THE_CALLER" "${PARAMS_DIR-none}"; cat; exit 7`)
	require.Equal(t, 7, code, "the exit code is the program's")
	require.Equal(t, `it's "$HOME" canary|kept|none|input`, out)
	out, code = run("sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline")
	require.Zero(t, code)
	require.NotContains(t, out, "canary", "nothing stands in the arguments")
	out, code = run("sh", "-c", `"$@"`, "sh", tool(t, dir).Path, "-dir", dir, "get", "-n", "/web/password")
	require.Zero(t, code, "the store is free while the program runs: %s", out)
	require.Equal(t, `it's "$HOME" canary`, out)
	_, code = run("sh", "-c", "kill -TERM $$")
	require.Equal(t, -1, code, "it dies of the program's signal")
}

func TestExecPassesSignals(t *testing.T) {
	cmd := tool(t, withSecret(t), "exec", "/web", "--", "sh", "-c", `trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.01; done`)
	var out bytes.Buffer
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout = w
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	ready := make([]byte, 6)
	_, err = r.Read(ready)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_, err = out.ReadFrom(r)
	require.NoError(t, err)
	require.Equal(t, 3, codeOf(t, cmd.Wait()))
	require.Equal(t, "told\n", out.String())
}

func TestASecondProgramLearnsWhoHasTheStore(t *testing.T) {
	dir := withSecret(t)
	done := make(chan string, 4)
	for range cap(done) { // each waits for its turn
		go func() {
			out, err := tool(t, dir, "put", "-overwrite", "/n", "1").CombinedOutput()
			if err != nil {
				done <- string(out)
				return
			}
			done <- ""
		}()
	}
	for range cap(done) {
		require.Empty(t, <-done)
	}
}

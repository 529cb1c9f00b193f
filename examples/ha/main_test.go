//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// programVariable makes the test's binary the program: its copies are too.
const programVariable = "HA_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the program with arguments.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: control planes are killed for some seconds; run without -short")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(os.Environ(), programVariable+"=1")
	return c
}

// skipWithoutPostgres skips, aloud, when the program found none.
func skipWithoutPostgres(t *testing.T, said string) {
	t.Helper()
	if strings.Contains(said, "there is no PostgreSQL on this machine") {
		t.Skip("SKIPPED: " + said)
	}
}

// alive lists processes of the program that work in the directory.
func alive(t *testing.T, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range all {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(dir)) {
			pids = append(pids, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return pids
}

var inDir = regexp.MustCompile(`everything in (\S+)`)

func TestEverythingIsAsPromised(t *testing.T) {
	out, err := program(t, "-nodes", "4", "-lease", "600ms", "-pace", "200ms", "-seed", "1").CombinedOutput()
	text := string(out)
	skipWithoutPostgres(t, text)
	require.NoError(t, err, text)
	for _, want := range []string{"kill -9 plane-", "the others own everything after", "kill -STOP plane-", "refused: ", "kill -9 broker", "Everything is as promised."} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "\x1b", "no terminal, no escape sequences")
	dir := inDir.FindStringSubmatch(text)
	require.NotNil(t, dir, text)
	require.NoDirExists(t, dir[1])
	require.Empty(t, alive(t, dir[1]))
}

// Nothing outlives the program, however it ends: not even a control plane that is frozen.
func TestEverythingEndsWithTheParent(t *testing.T) {
	c := program(t, "-nodes", "2", "-lease", "500ms", "-rounds", "0", "-keep")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	c.Stdout, c.Stderr = w, w
	require.NoError(t, c.Start())
	w.Close()              //nolint:errcheck // the child has its own
	defer c.Wait()         //nolint:errcheck // it was killed
	defer c.Process.Kill() //nolint:errcheck // it may have ended
	text := ""
	buf := make([]byte, 4096)
	for !strings.Contains(text, "kill -STOP") {
		n, err := r.Read(buf)
		text += string(buf[:n])
		skipWithoutPostgres(t, text)
		require.NoError(t, err, text)
	}
	require.Regexp(t, `plane-1 +\d+ +https://`, text)
	dir := inDir.FindStringSubmatch(text)[1]
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a temporary directory
	require.GreaterOrEqual(t, len(alive(t, dir)), planeCount+2)
	var pid int
	_, err = fmt.Sscan(regexp.MustCompile(`kill -STOP (\d+)`).FindStringSubmatch(text)[1], &pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.NoError(t, c.Process.Kill())
	require.Eventually(t, func() bool { return len(alive(t, dir)) == 0 }, 10*time.Second, 20*time.Millisecond, "%v", alive(t, dir))
}

func TestBadArguments(t *testing.T) {
	for args, want := range map[string]string{
		"-nodes 1":                          "-nodes 1",
		"-rounds -1":                        "-rounds -1",
		"-rounds 0":                         "-rounds 0",
		"-lease 1ms":                        "-lease 1ms",
		"-bogus":                            "-bogus",
		"extra -x":                          `"extra"`,
		"-nodes 3 x":                        `"x"`,
		"-postgres postgres://u:secret@h/d": "FLEETWRIGHT_POSTGRES",
		"plane":                             "-postgres is missing",
		"plane -postgres postgres://u:secret@h/d":                  "FLEETWRIGHT_POSTGRES",
		"plane -postgres x -cert y":                                "-cert and -key",
		"plane -postgres x -log z":                                 `-log "z"`,
		"plane -postgres x -lease 1s -name ":                       "-name is missing",
		"agent":                                                    "-server is missing",
		"agent -server https://127.0.0.1:1 -log z":                 `-log "z"`,
		"agent -server https://127.0.0.1:1 -dir /nonexistent/node": "-activation",
		"init x": `"x"`,
	} {
		t.Run(args, func(t *testing.T) {
			var out, errs bytes.Buffer
			require.Equal(t, 2, run(t.Context(), strings.Split(args, " "), &out, &errs), errs.String())
			require.Contains(t, errs.String(), want)
			require.NotContains(t, errs.String(), "secret")
			require.Empty(t, out.String())
		})
	}
}

// What init made stays, and is for its owner's eyes.
func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"init", "-dir", dir, "-hosts", "a.example, b.example"}, &out, &errs), errs.String())
	files := map[string]string{}
	for range 2 {
		for _, f := range []string{keysFile, callersFile, tokenFile, "tls/ca.pem"} {
			b, err := os.ReadFile(filepath.Join(dir, f))
			require.NoError(t, err)
			if was, ok := files[f]; ok {
				require.Equal(t, was, string(b), f)
			}
			files[f] = string(b)
			st, err := os.Stat(filepath.Join(dir, f))
			require.NoError(t, err)
			require.Zero(t, st.Mode().Perm()&0o077, f)
		}
		require.NotContains(t, files[callersFile], strings.TrimSpace(files[tokenFile]))
		require.NotContains(t, out.String(), strings.TrimSpace(files[tokenFile]))
		require.Zero(t, run(t.Context(), []string{"init", "-dir", dir, "-hosts", "a.example, b.example"}, &out, &errs), errs.String())
	}
}

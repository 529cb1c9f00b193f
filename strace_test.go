package fleetwright_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/message"
)

// scenario is a control plane and an agent in one process: it registers the agent, sends a command and waits for its result. What it accepted goes to the file "accepted", after the
// call returned. Started again in the same directory, it goes on.
func scenario(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := fleetwright.Open(ctx, filepath.Join(dir, "fleet"), nil)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the process ends
	a, err := f.StartAgent(ctx, "one", nil)
	if err != nil {
		return err
	}
	req := shell(`echo "$SSM_COMMAND_ID" >> ` + filepath.Join(dir, "starts"))
	req.InstanceIDs, req.ClientToken = []string{a.ID}, "once"
	c, err := f.Commands.Send(ctx, req)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "accepted"), []byte(c.ID), 0o600); err != nil {
		return err
	}
	c, err = f.Commands.Wait(ctx, c.ID)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "ended"), []byte(c.ID+" "+string(c.StatusDetails)), 0o600)
}

// F1(b), F2: the process dies at every single write, fsync and rename of registration, send, run and report, one after another; each time what was accepted ends, once.
func TestKillAtEverySystemCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: strace is not installed")
	}
	if testing.Short() {
		t.Skip("SKIPPED: killing at every system call takes a minute; run without -short")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	step := 7 // every so manieth call; FLEETWRIGHT_LONG takes each
	if os.Getenv("FLEETWRIGHT_LONG") != "" {
		step = 1
	}
	points, interrupted := 0, 0
	for _, call := range []string{"write", "pwrite64", "fdatasync", "fsync", "renameat,renameat2,rename", "unlinkat"} {
		for n := 1; ; n += step {
			dir := t.TempDir()
			run := func(name string, args ...string) (string, error) {
				c := exec.Command(name, args...)
				c.Env = append(os.Environ(), killRole+"=scenario", "GOMAXPROCS=2")
				out, err := c.CombinedOutput()
				return string(out), err
			}
			out, err := run(strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+call+":signal=KILL:when="+strconv.Itoa(n), self, dir)
			if strings.Contains(out, "ptrace") && strings.Contains(out, "not permitted") {
				t.Skip("SKIPPED: strace may not trace here")
			}
			if err == nil {
				break // it came to its end before the n-th call
			}
			points++
			accepted, _ := os.ReadFile(filepath.Join(dir, "accepted")) //nolint:errcheck // it may have died before
			out, err = run(self, dir)
			require.NoError(t, err, "after death at %s number %d: %s", call, n, out)
			ended, err := os.ReadFile(filepath.Join(dir, "ended"))
			require.NoError(t, err)
			id, detail, _ := strings.Cut(string(ended), " ")
			if len(accepted) == len(id) {
				require.Equal(t, string(accepted), id, "%s number %d: the command that was accepted", call, n)
			}
			starts, _ := os.ReadFile(filepath.Join(dir, "starts")) //nolint:errcheck // nothing may have started
			lines := strings.Count(string(starts), "\n")
			switch message.Detail(detail) {
			case message.DetailSuccess:
				require.Equal(t, 1, lines, "%s number %d", call, n)
			case message.DetailFailed: // the command has one target, and the only error is Interrupted
				interrupted++
				require.LessOrEqual(t, lines, 1, "%s number %d", call, n)
			default:
				require.Fail(t, "it ended as "+detail, "%s number %d", call, n)
			}
		}
	}
	require.Positive(t, points)
	t.Logf("%d points, %d of them interrupted the step", points, interrupted)
}

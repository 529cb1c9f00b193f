package fleetwright_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
)

// oldRelease is the commit that closed the foundations: its agents must go on under every later control plane.
const oldRelease = "e08f294"

// F15: an agent of an older release works under the present control plane; in the middle of a command it gives way to the present agent on the same directory, and back. Each script ran once.
func TestF15_AnOldAgentUnderThisControlPlaneAndBack(t *testing.T) {
	if !testenv.Long() {
		t.Skip("SKIPPED: builds an older agent; FLEETWRIGHT_LONG=1 runs it")
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "old")
	if out, err := exec.Command("git", "worktree", "add", "-q", "--detach", tree, oldRelease).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no git history with %s: %s", oldRelease, out)
	}
	t.Cleanup(func() { exec.Command("git", "worktree", "remove", "--force", tree).Run() }) //nolint:errcheck // the folder goes anyway
	build := func(from, to string) string {
		c := exec.Command("go", "build", "-o", to, "./examples/agent")
		c.Dir = from
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		return to
	}
	was, is := build(tree, filepath.Join(dir, "agent-old")), build(".", filepath.Join(dir, "agent-new"))
	f, err := fleetwright.Open(t.Context(), filepath.Join(dir, "plane"), &fleetwright.Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the end of the test
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, f.CA(), 0o600))
	act, err := f.Nodes.CreateActivation(t.Context(), node.ActivationRequest{})
	require.NoError(t, err)
	start := func(program string) *exec.Cmd {
		c := exec.Command(program, "-server", f.URL(), "-ca", ca, "-dir", filepath.Join(dir, "agent"), "-activation", act.ID)
		c.Env = append(os.Environ(), "FLEETWRIGHT_ACTIVATION_CODE="+string(act.Code.Reveal()))
		c.Stderr = os.Stderr
		require.NoError(t, c.Start())
		return c
	}
	ran := filepath.Join(dir, "ran")
	var id string
	agent := start(was)
	require.Eventually(t, func() bool {
		all, _, err := f.Nodes.List(t.Context(), nil, nil)
		if err == nil && len(all) == 1 && f.Gauges().Connected == 1 {
			id = all[0].ID
		}
		return id != ""
	}, 30*time.Second, 20*time.Millisecond)
	send := func(line string) string {
		req := shell(line)
		req.InstanceIDs = []string{id}
		var cid string
		require.Eventually(t, func() bool {
			c, err := f.Commands.Send(t.Context(), req)
			cid = c.ID
			return err == nil
		}, 20*time.Second, 50*time.Millisecond)
		return cid
	}
	ends := func(cid string, want message.Detail) {
		c, err := f.Commands.Wait(t.Context(), cid)
		require.NoError(t, err)
		require.Equal(t, 1, c.Counts[want], "%v", c.Counts)
	}
	lines, n, wrong := 0, 0, 0
	for i, next := range []string{is, was, is} {
		ends(send("echo x >> "+ran), message.DetailSuccess)
		mid := send("echo x >> " + ran + "; sleep 60")
		lines += 2
		require.Eventually(t, func() bool { b, _ := os.ReadFile(ran); return strings.Count(string(b), "x") == lines }, 20*time.Second, 20*time.Millisecond, "swap %d", i)
		require.NoError(t, agent.Process.Kill())
		agent.Wait() //nolint:errcheck // it was killed
		agent = start(next)
		ends(mid, message.DetailInterrupted)
		n++
		b, err := os.ReadFile(ran)
		require.NoError(t, err)
		if strings.Count(string(b), "x") != lines {
			wrong++
		}
	}
	ends(send("echo x >> "+ran), message.DetailSuccess)
	require.NoError(t, agent.Process.Kill())
	agent.Wait() //nolint:errcheck // it was killed
	testenv.Figure(t, "agents of two releases swapped in the middle of a command", n, wrong)
	require.Zero(t, wrong)
}

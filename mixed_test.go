package fleetwright_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// older checks out the older release.
func older(t *testing.T, dir string) string {
	tree := filepath.Join(dir, "old")
	if out, err := exec.Command("git", "worktree", "add", "-q", "--detach", tree, oldRelease).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no git history with %s: %s", oldRelease, out)
	}
	t.Cleanup(func() { exec.Command("git", "worktree", "remove", "--force", tree).Run() }) //nolint:errcheck // the folder goes anyway
	return tree
}

// buildExample builds a program of a checkout.
func buildExample(t *testing.T, from, to, name string) string {
	c := exec.Command("go", "build", "-o", to, "./examples/"+name)
	c.Dir = from
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	return to
}

// F15: the present agent works under a control plane of an older release: commands run, also over a kill of either of them; each script ran once.
func TestF15_ThisAgentUnderAnOldControlPlane(t *testing.T) {
	if !testenv.Long() {
		t.Skip("SKIPPED: builds an older control plane; FLEETWRIGHT_LONG=1 runs it")
	}
	dir := t.TempDir()
	tree := older(t, dir)
	server, ctl := buildExample(t, tree, filepath.Join(dir, "controlplane-old"), "controlplane"), buildExample(t, tree, filepath.Join(dir, "fleetctl-old"), "fleetctl")
	program := buildExample(t, ".", filepath.Join(dir, "agent-new"), "agent")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := free.Addr().String()
	require.NoError(t, free.Close())
	data := filepath.Join(dir, "plane")
	start := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(name, args...)
		c.Stderr = os.Stderr
		require.NoError(t, c.Start())
		t.Cleanup(func() {
			c.Process.Kill() //nolint:errcheck // it may have ended
			c.Wait()         //nolint:errcheck // likewise
		})
		return c
	}
	kill := func(c *exec.Cmd) {
		require.NoError(t, c.Process.Kill())
		c.Wait() //nolint:errcheck // it was killed
	}
	ask := func(args ...string) (string, error) {
		c := exec.Command(ctl, args...)
		c.Env = append(os.Environ(), "FLEETCTL_PROFILE="+filepath.Join(data, "fleetctl.json"))
		out, err := c.CombinedOutput()
		return string(out), err
	}
	said := ""
	until := func(what string, args ...string) {
		require.Eventually(t, func() bool {
			var err error
			said, err = ask(args...)
			return err == nil && strings.Contains(said, what)
		}, 60*time.Second, 50*time.Millisecond, what)
	}
	plane := start(server, "-dir", data, "-listen", at)
	until("", "nodes")
	code := filepath.Join(dir, "code")
	act, err := ask("activations", "create", "-code-file", code)
	require.NoError(t, err, act)
	node := func(more ...string) *exec.Cmd {
		return start(program, append([]string{"-server", "https://" + at, "-ca", filepath.Join(data, "tls", "ca.pem"), "-dir", filepath.Join(dir, "agent")}, more...)...)
	}
	agent := node("-activation", strings.TrimSpace(act), "-code-file", code)
	until("mi-", "nodes", "-ping", "Online")
	id := regexp.MustCompile(`mi-[0-9a-f]{17}`).FindString(said)
	ran := filepath.Join(dir, "ran")
	count := func() int {
		b, _ := os.ReadFile(ran)
		return strings.Count(string(b), "x")
	}
	run := func(line string) <-chan string {
		done := make(chan string, 1)
		go func() { // ends with the command, or with the control plane
			out, err := ask("run", "-q", "-targets", "Key=InstanceIds,Values="+id, "--", line)
			if err != nil {
				out += " " + err.Error()
			}
			done <- out
		}()
		return done
	}
	n, wrong := 0, 0
	for i := range 4 {
		out := <-run("echo x >> " + ran)
		require.Contains(t, out, "Success")
		n++
		if count() != 2*i+1 {
			wrong++
		}
		mid := run("echo x >> " + ran + "; sleep 3; true")
		require.Eventually(t, func() bool { return count() == 2*i+2 }, 30*time.Second, 20*time.Millisecond)
		if i%2 == 0 {
			kill(agent)
			agent = node()
			require.Contains(t, <-mid, "went down in mid-step") // that it is Interrupted, in the words of that release
		} else {
			kill(plane)
			plane = start(server, "-dir", data, "-listen", at)
			<-mid // the caller may have lost the control plane
			until("Success", "list")
			require.Eventually(t, func() bool {
				out, err := ask("list", "-status", "InProgress")
				return err == nil && !strings.Contains(out, "InProgress")
			}, 60*time.Second, 50*time.Millisecond)
		}
		n++
		if count() != 2*i+2 {
			wrong++
		}
	}
	testenv.Figure(t, "scripts of this agent under an older control plane", n, wrong)
	require.Zero(t, wrong)
}

// F15: an agent of an older release works under the present control plane; in the middle of a command it gives way to the present agent on the same directory, and back. Each script ran once.
func TestF15_AnOldAgentUnderThisControlPlaneAndBack(t *testing.T) {
	if !testenv.Long() {
		t.Skip("SKIPPED: builds an older agent; FLEETWRIGHT_LONG=1 runs it")
	}
	dir := t.TempDir()
	tree := older(t, dir)
	was, is := buildExample(t, tree, filepath.Join(dir, "agent-old"), "agent"), buildExample(t, ".", filepath.Join(dir, "agent-new"), "agent")
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

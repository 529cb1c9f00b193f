//go:build unix

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

// fleet is a control plane, a network and one agent that can be started again.
type fleet struct {
	*plane
	net  *memtransport.Network
	node *agent.Node
	boot string
	cfg  func(*agent.Config)
	stop func() error // stops the agent gracefully
}

func newFleet(t *testing.T, cfg func(*agent.Config)) *fleet {
	t.Helper()
	node, ctrl := newNode(t, t.TempDir())
	net := memtransport.New(nil)
	f := &fleet{net: net, node: node, boot: "boot-1", cfg: cfg}
	f.plane = newPlane(t, net.Controller(), ctrl, node.Identity().Public())
	f.start()
	t.Cleanup(func() { f.stop() }) //nolint:errcheck // it may have stopped already
	return f
}

func (f *fleet) start() {
	f.t.Helper()
	boot := f.boot
	end := f.net.Node(transport.Address{Tenant: tenant, Name: nodeID})
	cfg := agent.Config{Node: f.node, Transport: end, Actions: actions(f.t), Log: testLog(f.t), BootID: func() string { return boot }}
	if f.cfg != nil {
		f.cfg(&cfg)
	}
	a, err := agent.New(cfg)
	require.NoError(f.t, err)
	f.mu.Lock()
	f.hello = message.Hello{}
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var result error
	ended := false
	f.stop = func() error {
		cancel()
		if !ended {
			result, ended = <-done, true
			end.Close()
		}
		return result
	}
	f.connected()
}

func TestACommandRuns(t *testing.T) {
	f := newFleet(t, nil)
	ref := message.Ref{Command: "c1", Attempt: 1}
	f.send(message.KindOffer, 1, message.Offer{Ref: ref, Needs: []string{"aws:runShellScript", "feature:ENV_VAR"}, ExpiresAt: time.Now().Add(time.Hour), Signed: true})
	f.until("ready", func() bool { _, ok := f.ready[ref]; return ok })
	require.Empty(t, f.ready[ref].Refused)
	f.run(newRun("c1", script("echo one; echo oops >&2", "echo two; exit 3", "echo three")))
	r := f.terminal("c1")
	require.Equal(t, message.DetailFailed, r.Detail)
	require.Equal(t, 3, r.ExitCode)
	require.Len(t, r.Steps, 3)
	require.Equal(t, "one\n", r.Steps[0].Stdout.Head)
	require.Equal(t, "oops\n", r.Steps[0].Stderr.Head)
	require.Equal(t, message.Failed, r.Steps[1].Status)
	require.Equal(t, message.Success, r.Steps[2].Status)
	require.Contains(t, f.hello.Facts.Capabilities, "aws:runDocument")
	require.NotContains(t, f.hello.Facts.Capabilities, "aws:runPowerShellScript")
	// Once everything is confirmed nothing of the command is left but its tombstone.
	require.Eventually(t, func() bool { names, _ := os.ReadDir(f.node.Dir + "/work"); return len(names) == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestParametersReachScriptsAsVariables(t *testing.T) { // R-09, T10
	f := newFleet(t, nil)
	r := newRun("c1", `
schemaVersion: '2.2'
parameters:
  Name: {type: String, interpolationType: ENV_VAR}
mainSteps:
- {action: aws:runShellScript, name: s, inputs: {runCommand: ["echo {{ Name }}"]}}
`)
	r.Parameters = map[string][]string{"Name": {"$(id); `id` \"'"}}
	f.run(r)
	require.Equal(t, "$(id); `id` \"'\n", f.terminal("c1").Steps[0].Stdout.Head)
}

func TestCancelAndTimeout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.run(newRun("c1", script("sleep 300", "echo never")))
	f.run(newRun("c2", "schemaVersion: '2.2'\nmainSteps:\n- {action: aws:runShellScript, name: s, inputs: {timeoutSeconds: 5, runCommand: ['trap \"exit 0\" TERM; while :; do sleep 0.1; done']}}\n"))
	f.started("c1", 0)
	f.send(message.KindCancel, 1, message.Cancel{Ref: message.Ref{Command: "c1", Attempt: 1}})
	r := f.terminal("c1")
	require.Equal(t, message.DetailCancelled, r.Detail)
	require.Equal(t, message.Cancelled, r.Steps[1].Status)
	f.send(message.KindCancel, 1, message.Cancel{Ref: message.Ref{Command: "unknown", Attempt: 1}})
	r = f.terminal("unknown")
	require.Equal(t, message.DetailCancelled, r.Detail)
	require.Equal(t, -1, r.ExitCode)
	require.Equal(t, message.DetailExecutionTimedOut, f.terminal("c2").Detail)
}

func TestLargeOutputIsBoundedAndWhole(t *testing.T) { // F11
	total, limit := 8<<20, int64(1<<20)
	if !testing.Short() {
		total, limit = 1<<30, 8<<20
	}
	f := newFleet(t, nil)
	r := newRun("c1", script(fmt.Sprintf("yes 0123456789 | head -c %d; echo end >&2", total)))
	r.OutputLimit = limit
	f.run(r)
	got := f.terminal("c1")
	require.Equal(t, message.DetailSuccess, got.Detail)
	out := got.Steps[0].Stdout
	require.Equal(t, limit, out.Size)
	require.Equal(t, int64(total)-limit, out.Dropped)
	require.True(t, out.InPieces)
	require.Len(t, out.Head, agent.HeadStdout)
	require.Equal(t, "end\n", got.Steps[0].Stderr.Head)
	f.until("all pieces", func() bool { return int64(len(f.outputs["c10o"])) == limit })
	require.Equal(t, strings.Repeat("0123456789\n", int(limit)/11+1)[:limit], string(f.outputs["c10o"]))
}

func TestBinaryOutputArrivesByteForByte(t *testing.T) { // R26
	f := newFleet(t, nil)
	f.run(newRun("c1", script(`printf 'a\377\000\303\050b'; printf '\303' >&2`)))
	r := f.terminal("c1")
	require.Equal(t, "a\ufffd\x00\ufffd(b", r.Steps[0].Stdout.Head)
	f.until("the bytes", func() bool {
		return string(f.outputs["c10o"]) == "a\xff\x00\xc3(b" && string(f.outputs["c10e"]) == "\xc3"
	})
}

func TestARebootContinuesTheSameStep(t *testing.T) { // R31, F3
	reboots := make(chan struct{}, 8)
	f := newFleet(t, func(c *agent.Config) {
		c.Reboot = func(context.Context) error { reboots <- struct{}{}; return nil }
	})
	count := filepath.Join(t.TempDir(), "count")
	f.run(newRun("c1", script(fmt.Sprintf("echo run >> %s; [ $(wc -l < %s) -ge 3 ] || exit 194; echo done", count, count), "echo after")))
	for i := 2; i <= 3; i++ {
		<-reboots
		require.NoError(t, f.stop())
		f.boot = fmt.Sprintf("boot-%d", i)
		f.start()
	}
	r := f.terminal("c1")
	require.Equal(t, message.DetailSuccess, r.Detail, r.Reason)
	require.Equal(t, 2, r.Steps[0].Reboots)
	require.Equal(t, "done\n", r.Steps[0].Stdout.Head)
	require.Equal(t, "after\n", r.Steps[1].Stdout.Head)
	b, err := os.ReadFile(count)
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(b), "run"))
}

func TestARebootThatCannotBeDoneFailsTheStep(t *testing.T) {
	f := newFleet(t, nil)
	f.run(newRun("c1", script("exit 194")))
	r := f.terminal("c1")
	require.Equal(t, message.DetailFailed, r.Detail)
	require.Contains(t, r.Steps[0].Reason, "restart")
}

func TestAStoppedAgentSaysInterrupted(t *testing.T) {
	f := newFleet(t, nil)
	f.run(newRun("c1", script("echo before", "sleep 300")))
	f.started("c1", 1)
	require.NoError(t, f.stop())
	r := f.terminal("c1")
	require.Equal(t, message.DetailInterrupted, r.Detail)
	require.Equal(t, message.Success, r.Steps[0].Status)
	f.start()
	f.run(newRun("c1", script("echo before", "sleep 300"))) // starts nothing
	require.Equal(t, message.DetailInterrupted, f.terminal("c1").Detail)
}

func TestWhatWaitsGoesOutAfterAReconnect(t *testing.T) {
	f := newFleet(t, nil)
	go1 := filepath.Join(t.TempDir(), "go")
	f.run(newRun("c1", script("while [ ! -e "+go1+" ]; do sleep 0.05; done; yes | head -c 300000")))
	f.started("c1", 0)
	addr := transport.Address{Tenant: tenant, Name: nodeID}
	f.net.Partition(addr)
	require.NoError(t, os.WriteFile(go1, nil, 0o600))
	f.mu.Lock()
	f.hello = message.Hello{}
	f.mu.Unlock()
	f.net.Heal(addr)
	require.Equal(t, message.DetailSuccess, f.terminal("c1").Detail)
	f.until("the output", func() bool { return len(f.outputs["c10o"]) == 300000 })
}

type panicking struct{}

func (panicking) Name() string                                    { return "test:panic" }
func (panicking) Run(context.Context, *action.Call) action.Result { panic("a defect") }

type stubborn struct{ release chan struct{} }

func (stubborn) Name() string { return "test:stubborn" }
func (s stubborn) Run(context.Context, *action.Call) action.Result {
	<-s.release
	return action.Succeeded()
}

func TestAPanicIsOneFailedStep(t *testing.T) { // F17
	f := newFleet(t, func(c *agent.Config) { c.Actions = actions(t, panicking{}) })
	f.run(newRun("c1", "schemaVersion: '2.2'\nmainSteps:\n- {action: 'test:panic', name: s, inputs: {}}\n- {action: aws:runShellScript, name: t, inputs: {runCommand: [echo on]}}\n"))
	r := f.terminal("c1")
	require.Equal(t, message.DetailFailed, r.Detail)
	require.Contains(t, r.Steps[0].Reason, "panic")
	require.Equal(t, "on\n", r.Steps[1].Stdout.Head)
}

func TestAStepThatDoesNotStopIsGivenUp(t *testing.T) {
	s := stubborn{make(chan struct{})}
	defer close(s.release)
	f := newFleet(t, func(c *agent.Config) { c.Actions = actions(t, s); c.Engine.StopGrace = 100 * time.Millisecond })
	f.run(newRun("c1", "schemaVersion: '2.2'\nmainSteps:\n- {action: 'test:stubborn', name: s, inputs: {}}\n"))
	f.started("c1", 0)
	f.send(message.KindCancel, 1, message.Cancel{Ref: message.Ref{Command: "c1", Attempt: 1}})
	require.Equal(t, message.DetailCancelled, f.terminal("c1").Detail)
}

func TestFiveCommandsAtOnceAndTheRestWaits(t *testing.T) {
	f := newFleet(t, nil)
	dir := t.TempDir()
	for i := range 7 {
		f.run(newRun(fmt.Sprint("c", i), script(fmt.Sprintf("echo > %s/%d; while [ ! -e %s/go ]; do sleep 0.05; done", dir, i, dir))))
	}
	running := func() int { names, _ := os.ReadDir(dir); return len(names) }
	require.Eventually(t, func() bool { return running() >= 5 }, 20*time.Second, 10*time.Millisecond)
	f.mu.Lock()
	waiting := 0
	for _, r := range f.reports {
		if r.Steps[0].Status == message.Pending {
			waiting++
		}
	}
	f.mu.Unlock()
	require.Equal(t, 2, waiting)
	require.Equal(t, 5, running())
	require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
	for i := range 7 {
		require.Equal(t, message.DetailSuccess, f.terminal(fmt.Sprint("c", i)).Detail)
	}
}

func TestNoFileIsEverOpenToOthers(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	f := newFleet(t, nil)
	f.deaf = true
	f.run(newRun("../../../../tmp/evil", script("umask 077; echo x > made; yes | head -c 100000; sleep 0.2", "exit 1")))
	f.terminal("../../../../tmp/evil")
	files := tree(t, f.node.Dir)
	require.Greater(t, len(files), 6)
	for path, mode := range files {
		require.Zero(t, mode.Perm()&0o077, "%s has mode %s", path, mode)
		require.Zero(t, mode&os.ModeSymlink, path)
		require.NotContains(t, path, "evil")
	}
}

func TestALinkInTheDirectoryIsNotFollowed(t *testing.T) {
	for _, name := range []string{"journal", "work", "lock", "epoch"} {
		t.Run(name, func(t *testing.T) {
			node, _ := newNode(t, t.TempDir())
			outside := t.TempDir()
			require.NoError(t, os.Symlink(outside, filepath.Join(node.Dir, name)))
			a, err := agent.New(agent.Config{Node: node, Transport: memtransport.New(nil).Node(transport.Address{Tenant: tenant, Name: nodeID}), Actions: actions(t)})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			require.Error(t, a.Run(ctx))
			names, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, names)
		})
	}
}

func TestOneAgentADirectory(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	a, err := agent.New(agent.Config{Node: f.node, Transport: f.net.Node(transport.Address{Tenant: tenant, Name: "mi-other"}), Actions: actions(t)})
	require.NoError(t, err)
	require.ErrorContains(t, a.Run(t.Context()), "another agent")
	require.Error(t, a.Run(t.Context()), "an agent runs once")
}

func TestForeignMessagesStartNothing(t *testing.T) {
	f := newFleet(t, nil)
	_, stranger := newNode(t, t.TempDir())
	evil := &plane{t: t, codec: stranger, peer: f.peer, end: f.end}
	evil.send(message.KindRun, 1, newRun("evil", script("echo x")))
	f.end.Send(t.Context(), transport.Address{Tenant: tenant, Name: nodeID}, []byte("garbage")) //nolint:errcheck // may be lost
	f.run(newRun("good", script("echo x")))
	f.terminal("good")
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, f.reports, 1)
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	node, _ := newNode(t, t.TempDir())
	end := memtransport.New(nil).Node(transport.Address{Tenant: tenant, Name: nodeID})
	set := actions(t)
	for _, c := range []agent.Config{{}, {Node: node}, {Node: node, Transport: end}, {Node: &agent.Node{Dir: "x", Codec: node.Codec}, Transport: end, Actions: set},
		{Node: &agent.Node{Tenant: tenant, ID: nodeID, Codec: node.Codec}, Transport: end, Actions: set}, {Transport: end, Actions: set}} {
		_, err := agent.New(c)
		require.Error(t, err)
	}
}

// brokenStore cannot write from a moment on.
type brokenStore struct {
	agent.Store
	broken func() bool
}

func (b *brokenStore) Put(e *agent.Entry) error {
	if b.broken() {
		return errors.New("no space left on device")
	}
	return b.Store.Put(e)
}

func TestAJournalThatCannotBeWrittenStartsNothing(t *testing.T) { // law 4, law 12
	mark := filepath.Join(t.TempDir(), "mark")
	f := newFleet(t, func(c *agent.Config) {
		s, err := agent.OpenFileStore(filepath.Join(c.Node.Dir, "journal"))
		require.NoError(t, err)
		c.Store = &brokenStore{s, func() bool { return true }}
	})
	f.run(newRun("c1", script("echo > "+mark)))
	r := f.terminal("c1")
	require.Equal(t, message.DetailFailed, r.Detail)
	require.Contains(t, r.Reason, "journal")
	require.NoFileExists(t, mark)
	ref := message.Ref{Command: "c2", Attempt: 1}
	f.send(message.KindOffer, 1, message.Offer{Ref: ref, ExpiresAt: time.Now().Add(time.Hour)})
	f.until("a refusal", func() bool { return f.ready[ref].Refused == message.DetailUndeliverable })
}

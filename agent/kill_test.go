//go:build linux

package agent_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// TestMain lets the test's own program be an agent, a real process that can be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FLEETWRIGHT_TEST_AGENT"); dir != "" {
		if err := child(dir, os.Getenv("FLEETWRIGHT_TEST_URL")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(dir, url string) error {
	agent.Lean()
	node, err := agent.Load(dir)
	if err != nil {
		return err
	}
	end, err := httptransport.NewClient(httptransport.ClientConfig{URL: url, Address: transport.Address{Tenant: node.Tenant, Name: node.ID}, Key: node.Identity().Signer(),
		BackoffBase: 10 * time.Millisecond, BackoffCap: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	defer end.Close()
	set := actions(nil)
	cfg := agent.Config{Node: node, Transport: end, Actions: set}
	if os.Getenv("FLEETWRIGHT_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// real is a control plane on a loopback socket and an agent's directory.
type real struct {
	*plane
	dir, url string
	cmd      *exec.Cmd
	exe      string
}

func newReal(t testing.TB) *real {
	t.Helper()
	ctrl, err := message.NewIdentity(tenant, message.Controller, nil)
	require.NoError(t, err)
	dir := t.TempDir()
	var peer message.Peer
	reg := agent.RegistrarFunc(func(_ context.Context, r message.RegisterRequest) (message.RegisterResponse, error) {
		peer = message.Peer{Tenant: tenant, Name: nodeID, SignKey: r.SignKey, SealKey: r.SealKey}
		return message.RegisterResponse{Tenant: tenant, Node: nodeID, SignKey: ctrl.Public().SignKey, SealKey: ctrl.Public().SealKey, Epoch: 1}, nil
	})
	_, err = agent.Register(t.Context(), reg, dir, "id", secret.String("code"), nil)
	require.NoError(t, err)
	srv := httptransport.NewServer(httptransport.ServerConfig{Key: func(_ context.Context, a transport.Address) (ed25519.PublicKey, error) { return peer.SignKey, nil }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := &http.Server{Handler: srv.Handler()}
	go host.Serve(l) //nolint:errcheck // ends with the test
	t.Cleanup(func() { host.Close(); srv.Close() })
	exe, err := os.Executable()
	require.NoError(t, err)
	r := &real{dir: dir, url: "http://" + l.Addr().String() + "/v1/node/", exe: exe}
	r.plane = newPlane(t, srv, ctrl, peer)
	t.Cleanup(r.kill)
	return r
}

// start starts the agent's process, through a wrapper if one is given.
func (r *real) start(wrapper ...string) {
	argv := append(wrapper, r.exe, "-test.run=^$")
	r.cmd = exec.Command(argv[0], argv[1:]...)
	r.cmd.Env = append(os.Environ(), "FLEETWRIGHT_TEST_AGENT="+r.dir, "FLEETWRIGHT_TEST_URL="+r.url)
	r.cmd.Stderr = os.Stderr
	require.NoError(r.t, r.cmd.Start())
}

// kill kills the agent with SIGKILL, and nothing else.
func (r *real) kill() {
	if r.cmd != nil {
		r.cmd.Process.Kill() //nolint:errcheck // gone is fine
		r.cmd.Wait()         //nolint:errcheck // killed
		r.cmd = nil
	}
}

// effects counts the lines that steps left: "command step".
func effects(t testing.TB, file string) map[string]int {
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	n := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		n[line]++
	}
	return n
}

func leaves(file, command string, step int, rest string) string {
	return fmt.Sprintf("echo %s %d >> %s; %s", command, step, file, rest)
}

// check holds a command's report against what its steps really did.
func check(t testing.TB, r message.Report, file string) {
	t.Helper()
	did := effects(t, file)
	for i, s := range r.Steps {
		n := did[fmt.Sprintf("%s %d", r.Command, i)]
		require.LessOrEqual(t, n, 1, "%s step %d ran %d times (law 4)", r.Command, i, n)
		switch s.Status {
		case message.Success:
			require.Equal(t, 1, n, "%s step %d is reported as done and was not", r.Command, i)
		case message.Skipped, message.Pending:
			require.Equal(t, 0, n, "%s step %d is reported as not run", r.Command, i)
		}
	}
	if r.Detail != message.DetailSuccess {
		require.Equal(t, message.DetailInterrupted, r.Detail, r.Reason)
	}
}

// TestKillLoop kills a real agent in the middle of commands (R-07, F2). FLEETWRIGHT_KILLS says how often.
func TestKillLoop(t *testing.T) {
	kills := 6
	if !testing.Short() {
		kills = 40
	}
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_KILLS")); err == nil {
		kills = n
	}
	r := newReal(t)
	file := filepath.Join(t.TempDir(), "effects")
	r.start()
	r.connected()
	interrupted := 0
	for i := range kills {
		c := fmt.Sprint("c", i)
		go func() {
			t := time.NewTimer(time.Duration(rand.IntN(120)) * time.Millisecond)
			<-t.C
			r.mu.Lock()
			p := r.cmd.Process
			r.mu.Unlock()
			p.Kill() //nolint:errcheck // gone is fine
		}()
		r.send(message.KindRun, 1, newRun(c, script(leaves(file, c, 0, "sleep 0.03"), leaves(file, c, 1, "sleep 0.03"), leaves(file, c, 2, "sleep 0.03"))))
		r.cmd.Wait() //nolint:errcheck // killed
		cmd := r.cmd
		r.mu.Lock()
		r.start()
		r.mu.Unlock()
		require.NotSame(t, cmd, r.cmd)
		r.run(newRun(c, script(leaves(file, c, 0, "sleep 0.03"), leaves(file, c, 1, "sleep 0.03"), leaves(file, c, 2, "sleep 0.03"))))
		rep := r.terminal(c)
		check(t, rep, file)
		if rep.Detail == message.DetailInterrupted {
			interrupted++
		}
	}
	t.Logf("%d kills, %d commands interrupted", kills, interrupted)
}

// TestWhatAKilledAgentLeftIsStopped: the processes of an interrupted step do not live on beside what is reported.
func TestWhatAKilledAgentLeftIsStopped(t *testing.T) {
	r := newReal(t)
	pidFile := filepath.Join(t.TempDir(), "pids")
	r.start()
	r.connected()
	r.run(newRun("c1", script("echo done", fmt.Sprintf("sleep 300 & echo $$ $! > %s.tmp; mv %s.tmp %s; wait", pidFile, pidFile, pidFile))))
	require.Eventually(t, func() bool { _, err := os.Stat(pidFile); return err == nil }, 20*time.Second, 10*time.Millisecond)
	r.kill()
	b, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, 0), "the step's processes outlive the agent that was killed")
		pids = append(pids, pid)
	}
	r.start()
	rep := r.terminal("c1")
	require.Equal(t, message.DetailInterrupted, rep.Detail)
	require.Equal(t, message.Success, rep.Steps[0].Status)
	require.Equal(t, "done\n", rep.Steps[0].Stdout.Head)
	for _, pid := range pids {
		require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, 20*time.Millisecond)
	}
}

func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// TestKillAtEverySyscall kills an agent at each write, sync, rename and fork of a command, one after another (R-07, G2).
func TestKillAtEverySyscall(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: it starts an agent for every system call of a command")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: strace is not installed")
	}
	points := 0
	for _, call := range []string{"fsync", "renameat", "pwrite64", "clone,clone3,vfork", "unlinkat", "mkdirat"} {
		for n := 1; ; n++ {
			r := newReal(t)
			file := filepath.Join(t.TempDir(), "effects")
			run := newRun("c", script(leaves(file, "c", 0, "true"), leaves(file, "c", 1, "true")))
			r.start(strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n))
			ended := make(chan struct{})
			cmd := r.cmd
			go func() { cmd.Wait(); close(ended) }() //nolint:errcheck // killed or not
			survived := false
			ref := run.Ref
			for dead := false; !dead && !survived; {
				r.send(message.KindRun, 1, run)
				select {
				case <-ended:
					dead = true
				case <-time.After(20 * time.Millisecond):
				}
				r.mu.Lock()
				rep, ok := r.reports[ref]
				survived = ok && rep.Detail.Terminal()
				r.mu.Unlock()
			}
			if survived { // let it tidy up, which has system calls too
				select {
				case <-ended:
					survived = false
				case <-time.After(300 * time.Millisecond):
				}
			}
			if survived {
				cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // strace passes on
				cmd.Process.Kill()                  //nolint:errcheck // gone is fine
				<-ended
				killTraced(t, r.dir)
				r.cmd = nil
				check(t, r.terminal("c"), file)
				break
			}
			points++
			r.cmd = nil
			r.start()
			r.run(run)
			check(t, r.terminal("c"), file)
			r.kill()
		}
	}
	t.Logf("killed at %d points", points)
	require.Greater(t, points, 10)
}

// killTraced ends the agent of this directory that a killed strace left.
func killTraced(t testing.TB, dir string) {
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, p := range procs {
		b, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(b), "FLEETWRIGHT_TEST_AGENT="+dir+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(p, "/")[2])
		require.NoError(t, err)
		syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // gone is fine
	}
}

// TestIdleMemory measures a connected agent that has run something and rests. VmRSS must stay under 15 MiB in a program that is nothing but an agent; this one
// is a test besides, with pages of its own, so what is held against a limit is the memory that is no file's.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: it waits until an agent rests")
	}
	r := newReal(t)
	r.start()
	r.connected()
	r.run(newRun("c1", script("head -c 3000000 /dev/zero | tr '\\0' x")))
	r.terminal("c1")
	time.Sleep(15 * time.Second) // the measure itself: the agent gives memory back 10 s after its last step
	pid := r.cmd.Process.Pid
	anon := status(t, pid, "RssAnon")
	t.Logf("RssAnon %d KiB, VmRSS %d KiB with the test's own pages, threads %d", anon, status(t, pid, "VmRSS"), status(t, pid, "Threads"))
	require.Less(t, anon, 6<<10)
}

func status(t testing.TB, pid int, key string) int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), key+":"); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("no %s", key)
	return 0
}

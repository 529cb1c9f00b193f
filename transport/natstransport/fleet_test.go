package natstransport_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

// brokerEnv makes the test binary a broker: the trust as JSON, and where to listen.
const brokerEnv, listenEnv = "FLEETWRIGHT_TEST_BROKER", "FLEETWRIGHT_TEST_LISTEN"

func TestMain(m *testing.M) {
	if trust := os.Getenv(brokerEnv); trust != "" {
		var t natstransport.Trust
		err := json.Unmarshal([]byte(trust), &t)
		if err == nil {
			var s *broker.Server
			if s, err = broker.Start(broker.Config{Trust: t, Listen: os.Getenv(listenEnv)}); err == nil {
				fmt.Println(s.URL())
				io.Copy(io.Discard, os.Stdin) // until the test goes
			}
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a broker in a process of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	url  string
	env  []string
	hold io.Closer
}

func (p *process) start() {
	exe, err := os.Executable()
	require.NoError(p.t, err)
	for try := 0; ; try++ {
		p.cmd = exec.Command(exe)
		p.cmd.Env, p.cmd.Dir = append(os.Environ(), p.env...), p.dir
		p.cmd.Env = append(p.cmd.Env, "TMPDIR="+p.dir)
		out, err := p.cmd.StdoutPipe()
		require.NoError(p.t, err)
		p.hold, err = p.cmd.StdinPipe()
		require.NoError(p.t, err)
		require.NoError(p.t, p.cmd.Start())
		line, _ := bufio.NewReader(out).ReadString('\n')
		if strings.HasPrefix(line, "nats://") {
			p.url = strings.TrimSpace(line)
			p.env[1] = listenEnv + "=" + strings.TrimPrefix(p.url, "nats://")
			return
		}
		p.kill()
		require.Less(p.t, try, 100, "the broker did not start: %s", line)
		time.Sleep(20 * time.Millisecond) // the port may be taken for a moment
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	p.hold.Close()
	p.cmd.Wait() //nolint:errcheck // killed
}

// counting is an action that notes each start.
type counting struct {
	node string
	mu   *sync.Mutex
	runs map[string]int // by node and script
}

func (c counting) Name() string { return "aws:runShellScript" }

func (c counting) Run(_ context.Context, call *action.Call) action.Result {
	script := strings.Join(action.Lines(call.Inputs, "runCommand"), "\n")
	c.mu.Lock()
	c.runs[c.node+" "+script]++
	c.mu.Unlock()
	fmt.Fprintln(call.Stdout, script)
	return action.Result{Status: message.Success}
}

// A real fleet, and a broker that is killed with SIGKILL, its disk wiped, or stopped and let go on, again and again: each command ends in success on each node, and nothing was started twice.
func TestABrokerThatDies(t *testing.T) {
	t.Parallel()
	kills := 3
	switch {
	case testing.Short():
		kills = 2
	case testenv.Long():
		kills = 60
	}
	kills = testenv.Count(t, "FLEETWRIGHT_BROKER_KILLS", kills)
	const nodes = 6
	keys := fleetKeys(t)
	trust, err := json.Marshal(keys.Trust())
	require.NoError(t, err)
	p := &process{t: t, dir: t.TempDir(), env: []string{brokerEnv + "=" + string(trust), listenEnv + "=127.0.0.1:0"}}
	p.start()
	t.Cleanup(func() { p.kill() })
	brokers := natstransport.Brokers{URLs: []string{p.url}, BackoffBase: 10 * time.Millisecond, BackoffCap: 100 * time.Millisecond, Handshake: time.Second, Write: time.Second}

	var f *fleetwright.Fleet
	ready := make(chan struct{})
	c, err := natstransport.NewController(natstransport.ControllerConfig{Brokers: brokers, Keys: keys, Beat: 300 * time.Millisecond, Roll: 100 * time.Millisecond,
		Key: func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
			<-ready
			return f.NodeKey(ctx, a)
		}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	local, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	f, err = fleetwright.New(fleetwright.Config{Store: memstore.New(), Exclusive: true, Blobs: memblob.New(), Keys: local, Authorizer: access.AllowAll{}, Transports: []transport.Transport{c},
		Heartbeat: time.Second, Timing: command.Timing{Resend: 100 * time.Millisecond, Max: time.Second}})
	require.NoError(t, err)
	close(ready)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() { f.Run(ctx) })

	var mu sync.Mutex
	runs := map[string]int{}
	var ids []string
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		act, err := f.Nodes.CreateActivation(ctx, node.ActivationRequest{DefaultName: name})
		require.NoError(t, err)
		me, err := agent.Register(ctx, agent.RegistrarFunc(f.Nodes.Register), filepath.Join(t.TempDir(), name), act.ID, act.Code, nil)
		require.NoError(t, err)
		ids = append(ids, me.ID)
		set, err := fleetwright.Actions(counting{me.ID, &mu, runs})
		require.NoError(t, err)
		conn, err := natstransport.NewNode(natstransport.NodeConfig{Brokers: brokers, Address: transport.Address{Tenant: me.Tenant, Name: me.ID}, Key: me.Signer(), Doubt: 300 * time.Millisecond})
		require.NoError(t, err)
		a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set, MinFree: -1})
		require.NoError(t, err)
		running.Go(func() {
			defer conn.Close()
			if err := a.Run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("an agent ended: %v", err)
			}
		})
	}
	for _, id := range ids {
		eventually(t, "all are there", func() bool { return c.Connected(transport.Address{Tenant: "default", Name: id}) })
	}

	dice := rand.New(rand.NewPCG(1, 2))
	failures := 0
	for i := range kills {
		script := fmt.Sprintf("command %d", i)
		sent, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript", Parameters: map[string][]string{"commands": {script}},
			Targets: []target.Target{{Key: target.InstanceIDs, Values: []string{target.All}}}, MaxErrors: "0", NoRamp: true})
		require.NoError(t, err)
		time.Sleep(time.Duration(dice.IntN(15)) * time.Millisecond) // somewhere in the middle of it
		if i%3 == 2 {
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
			pause := 300
			if testenv.Long() {
				pause = 3000 // longer than a write may take, and than presence lasts
			}
			time.Sleep(time.Duration(dice.IntN(pause)) * time.Millisecond)
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
		} else {
			p.kill()
			left, err := os.ReadDir(p.dir)
			require.NoError(t, err)
			require.Empty(t, left, "a broker keeps nothing")
			require.NoError(t, os.RemoveAll(p.dir))
			require.NoError(t, os.Mkdir(p.dir, 0o700))
			p.start()
		}
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		done, err := f.Commands.Wait(wait, sent.ID)
		cancel()
		require.NoError(t, err)
		ok := done.Status == message.Success && done.CompletedCount == nodes
		mu.Lock()
		for _, id := range ids {
			ok = ok && runs[id+" "+script] == 1
		}
		mu.Unlock()
		if !ok {
			failures++
			t.Errorf("%s ended as %s, %d of %d nodes; starts: %v", script, done.Status, done.CompletedCount, nodes, runs)
		}
	}
	testenv.Figure(t, "NATS broker killed, wiped or stopped under a fleet", kills, failures)
}

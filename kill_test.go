package fleetwright_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// killRole makes a copy of the test binary a control plane or an agent.
const killRole = "FLEETWRIGHT_KILL_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(killRole) {
	case "plane":
		err = killPlane(os.Args[1], os.Args[2])
	case "agent":
		err = killAgent(os.Args[1], os.Args[2], os.Args[3])
	case "patch":
		err = patchAgent(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case "scenario":
		err = scenario(os.Args[1])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Getenv(killRole), err)
		os.Exit(1)
	}
}

// killPlane serves a fleet and does what it reads: "activate", "send TOKEN FILE", "get ID". Every answer is one line of JSON, written after the call returned.
func killPlane(dir, listen string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o := &fleetwright.Options{Listen: listen}
	o.Config.Timing = command.Timing{Resend: 100 * time.Millisecond, Delay: 2 * time.Second}
	o.Config.Heartbeat = time.Second
	f, err := fleetwright.Open(ctx, dir, o)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the process ends
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(map[string]string{"url": f.URL(), "ca": string(f.CA())}); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		var answer any
		var err error
		switch words[0] {
		case "activate":
			var act node.NewActivation
			act, err = f.Nodes.CreateActivation(ctx, node.ActivationRequest{Tags: map[string]string{"Fleet": "kill"}})
			answer = map[string]string{"id": act.ID, "code": string(act.Code.Reveal())}
		case "send":
			answer, err = f.Commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript", ClientToken: words[1], MaxConcurrency: "2", MaxErrors: "100%", NoRamp: true,
				Targets:    []target.Target{{Key: "tag:Fleet", Values: []string{"kill"}}},
				Parameters: map[string][]string{"commands": {`echo "$SSM_COMMAND_ID $AWS_SSM_INSTANCE_ID" >> ` + words[2], "sleep 0." + strconv.Itoa(len(words[1])%2+int(words[1][len(words[1])-1]-'0')%3)}}})
		case "nodes":
			var ids []string
			ids, _, err = f.Nodes.Resolve(ctx, "default", []target.Target{{Key: "tag:Fleet", Values: []string{"kill"}}}, "", 100)
			answer = len(ids)
		case "get":
			var page []command.Result
			if page, _, err = f.Commands.Invocations(ctx, command.ListRequest{Command: words[1], Limit: 1000}); err == nil {
				answer = page
			}
		}
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

func killAgent(dir, url, caFile string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	var id, code string
	fmt.Scanln(&id)   //nolint:errcheck // empty after the first start
	fmt.Scanln(&code) //nolint:errcheck // likewise
	cfg := httptransport.ClientConfig{URL: url, RootCAs: ca, BackoffBase: 20 * time.Millisecond, BackoffCap: 200 * time.Millisecond}
	me, err := agent.Register(ctx, agent.RegisterOver(func(ctx context.Context, body []byte) ([]byte, error) { return httptransport.Enroll(ctx, cfg, body) }),
		dir, id, secret.String(code), &agent.RegisterOptions{Retry: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	cfg.Address, cfg.Key = transport.Address{Tenant: me.Tenant, Name: me.ID}, me.Signer()
	conn, err := httptransport.NewClient(cfg)
	if err != nil {
		return err
	}
	set, err := fleetwright.Actions()
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// process is a child that is killed and started again.
type process struct {
	t     *testing.T
	role  string
	args  []string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	code  string // what an agent reads from its standard input
}

func (p *process) start() {
	p.t.Helper()
	self, err := os.Executable()
	require.NoError(p.t, err)
	p.cmd = exec.Command(self, p.args...)
	p.cmd.Env = append(os.Environ(), killRole+"="+p.role)
	p.cmd.Stderr = os.Stderr
	if p.role == "plane" {
		p.stdin, err = p.cmd.StdinPipe()
		require.NoError(p.t, err)
		out, err := p.cmd.StdoutPipe()
		require.NoError(p.t, err)
		p.out = bufio.NewReaderSize(out, 1<<20)
	} else {
		p.cmd.Stdin = bytes.NewBufferString(p.code)
	}
	require.NoError(p.t, p.cmd.Start())
}

func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	p.cmd.Wait()         //nolint:errcheck // it was killed
}

// ask returns the control plane's answer, false when it died first.
func (p *process) ask(into any, question string) bool {
	if question != "" {
		if _, err := io.WriteString(p.stdin, question+"\n"); err != nil {
			return false
		}
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return false
	}
	require.NoError(p.t, json.Unmarshal(line, into), "%s", line)
	return true
}

func kills(short int) int {
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_KILLS")); err == nil {
		return n
	}
	return short
}

// F1, F2: the control plane and agents are killed with SIGKILL at random, as processes, while commands are sent. What was accepted is there and ends, no node starts
// anything twice, and what the store says ran is what left its line in a file.
func TestKillLoop(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the kill loop takes half a minute; run without -short")
	}
	const agents = 3
	total := kills(30)
	dir := t.TempDir()
	side := filepath.Join(dir, "starts")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())

	plane := &process{t: t, role: "plane", args: []string{filepath.Join(dir, "plane"), addr}}
	plane.start()
	var hello map[string]string
	require.True(t, plane.ask(&hello, ""))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(hello["ca"]), 0o600))
	var nodes []*process
	defer func() {
		plane.kill()
		for _, n := range nodes {
			n.kill()
		}
	}()
	for i := range agents {
		var act map[string]string
		require.True(t, plane.ask(&act, "activate"))
		require.Empty(t, act["error"])
		n := &process{t: t, role: "agent", args: []string{filepath.Join(dir, fmt.Sprint("agent", i)), hello["url"], filepath.Join(dir, "ca.pem")},
			code: act["id"] + "\n" + act["code"] + "\n"}
		n.start()
		nodes = append(nodes, n)
		if i == 0 { // also while it registers
			n.kill()
			n.start()
		}
	}
	for known := 0; known < agents; {
		require.True(t, plane.ask(&known, "nodes"))
	}
	restart := func() {
		plane.kill()
		plane.start()
		var again map[string]string
		require.True(t, plane.ask(&again, ""), "the control plane comes back")
	}

	rng := rand.New(rand.NewPCG(uint64(total), 1))
	var accepted []string
	planeKills, agentKills, tokens := 0, 0, 0
	for k := 0; k < total; {
		// Send; half of the time the control plane is killed while it accepts.
		tokens++
		question := fmt.Sprintf("send token-%d %s", tokens, side)
		for {
			if rng.IntN(4) == 0 && k < total {
				k++
				planeKills++
				victim := plane.cmd.Process
				time.AfterFunc(time.Duration(rng.IntN(6000))*time.Microsecond, func() { victim.Kill() }) //nolint:errcheck // it may be late
			}
			var c struct {
				ID    string `json:"CommandId"`
				Error string `json:"error"`
			}
			if plane.ask(&c, question) {
				require.Empty(t, c.Error)
				accepted = append(accepted, c.ID)
				break
			}
			restart() // the same token again: one command, whether it was accepted or not
		}
		wait := time.Duration(rng.IntN(80)) * time.Millisecond
		time.Sleep(wait) // real processes work meanwhile
		if k >= total {
			break
		}
		k++
		if rng.IntN(2) == 0 {
			planeKills++
			restart()
		} else {
			agentKills++
			n := nodes[rng.IntN(agents)]
			n.kill()
			n.start()
		}
	}
	// Time goes on without faults until everything ended.
	results := map[string][]command.Result{}
	deadline := time.Now().Add(3 * time.Minute)
	for _, id := range accepted {
		for {
			var page []command.Result
			if !plane.ask(&page, "get "+id) {
				restart() // a kill that came late
				continue
			}
			open := 0
			for _, r := range page {
				if !r.Detail.Terminal() {
					open++
				}
			}
			if open == 0 && len(page) > 0 {
				results[id] = page
				break
			}
			require.True(t, time.Now().Before(deadline), "command %s does not end: %+v", id, page)
			time.Sleep(20 * time.Millisecond)
		}
	}
	b, err := os.ReadFile(side)
	require.NoError(t, err)
	starts := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		starts[line]++
	}
	ended := map[message.Detail]int{}
	for id, page := range results {
		for _, r := range page {
			n := starts[id+" "+r.Node]
			ended[r.Detail]++
			switch r.Detail {
			case message.DetailSuccess:
				require.Equal(t, 1, n, "%s on %s succeeded", id, r.Node)
			case message.DetailInterrupted:
				require.LessOrEqual(t, n, 1, "%s on %s", id, r.Node)
			default:
				t.Errorf("%s on %s ended as %s (%s), started %d times", id, r.Node, r.Detail, r.Reason, n)
			}
			delete(starts, id+" "+r.Node)
		}
	}
	require.Empty(t, starts, "what left a line is known")
	t.Logf("%d kills (%d of the control plane, %d of agents), %d commands accepted, %d invocations: %v", planeKills+agentKills, planeKills, agentKills, len(accepted), len(accepted)*agents, ended)
}

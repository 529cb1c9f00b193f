package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// roleVar tells a copy of this program that it is an agent, or the control plane.
const roleVar = "FLEETWRIGHT_QUICKSTART_ROLE"

// fleet is a control plane in this process and agents in others.
type fleet struct {
	*fleetwright.Fleet
	agents []*exec.Cmd
}

// roles of the machines, in turn.
var roles = [...]string{"web", "web", "db", "web", "cache"}

func role(i int) string { return roles[i%len(roles)] }

func nodeName(i int) string { return fmt.Sprintf("%s-%d", role(i), i+1) }

func agentDir(dir string, i int) string { return filepath.Join(dir, "agents", fmt.Sprint(i+1)) }

// open opens the control plane.
func open(ctx context.Context, dir, listen string) (*fleetwright.Fleet, error) {
	o := &fleetwright.Options{Listen: listen, Log: logger(filepath.Join(dir, "control-plane.log"))}
	o.Config.Heartbeat = 5 * time.Second
	return fleetwright.Open(ctx, dir, o)
}

// logger writes to a file beside the store, for who wants to look behind the curtain.
func logger(path string) *slog.Logger {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil
	}
	return slog.New(slog.NewTextHandler(f, nil))
}

// startFleet opens the control plane and starts the agents; it returns when all of them are connected.
func startFleet(ctx context.Context, o options, dir string, w io.Writer) (*fleet, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	began := time.Now()
	cp, err := open(ctx, dir, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &fleet{Fleet: cp}
	fmt.Fprintf(w, "Control plane: store in %s, nodes at %s\n", shorten(dir), cp.URL())
	if err := history(ctx, cp, w); err != nil {
		f.close()
		return nil, err
	}
	// Once, before the first agent reads it: agents start at the same time as others read.
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), cp.CA(), 0o600); err != nil {
		f.close()
		return nil, err
	}
	for i := range o.nodes {
		c, err := startAgent(ctx, cp, dir, i)
		if err != nil {
			f.close()
			return nil, err
		}
		f.agents = append(f.agents, c)
	}
	if err := present(ctx, cp, o.nodes, began); err != nil {
		f.close()
		return nil, err
	}
	fmt.Fprintf(w, "%d agents, each a process of its own, registered and connected in %v\n", o.nodes, time.Since(began).Round(10*time.Millisecond))
	return f, nil
}

// startAgent makes an activation for the machine unless it is registered, and starts its agent. The code goes through a pipe, never through the arguments.
func startAgent(ctx context.Context, cp *fleetwright.Fleet, dir string, i int) (*exec.Cmd, error) {
	var stdin bytes.Buffer
	if _, err := agent.Load(agentDir(dir, i)); fault.CodeOf(err) == fault.DoesNotExist {
		act, err := cp.Nodes.CreateActivation(ctx, node.ActivationRequest{DefaultName: nodeName(i), Tags: map[string]string{"Role": role(i), "Env": "quickstart"}})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&stdin, "%s\n%s\n", act.ID, act.Code.Reveal())
	} else if err != nil {
		return nil, err
	}
	return spawn("agent", &stdin, nil, agentDir(dir, i), cp.URL(), filepath.Join(dir, "ca.pem"))
}

// spawn starts a copy of this program in a role.
func spawn(role string, stdin io.Reader, stdout io.Writer, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), roleVar+"="+role)
	c.Stdin, c.Stdout, c.Stderr = stdin, stdout, os.Stderr
	ownGroup(c)
	return c, c.Start()
}

// child is what a copy of this program does.
func child(role string) int {
	ctx, stop := untilParentEnds()
	defer stop()
	var err error
	switch role {
	case "agent":
		err = runAgent(ctx, os.Args[1], os.Args[2], os.Args[3])
	case "plane":
		err = runPlane(ctx, os.Args[1], os.Args[2], os.Args[3])
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "quickstart %s: %s\n", role, fault.MessageOf(err))
		return 1
	}
	return 0
}

// runAgent registers if it must, connects, and obeys until it is told to stop.
func runAgent(ctx context.Context, dir, url, caFile string) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	var id, code string
	fmt.Scanln(&id)   //nolint:errcheck // empty when the machine is registered already
	fmt.Scanln(&code) //nolint:errcheck // likewise
	log := logger(dir + ".log")
	client := httptransport.ClientConfig{URL: url, Logger: log, RootCAs: ca, BackoffBase: 100 * time.Millisecond, BackoffCap: 2 * time.Second}
	me, err := agent.Register(ctx, agent.RegisterOver(func(ctx context.Context, body []byte) ([]byte, error) {
		answer, err := httptransport.Enroll(ctx, client, body)
		if err != nil && log != nil {
			log.Warn("no answer to the registration yet", "error", err)
		}
		return answer, err
	}), dir, id, secret.String(code), nil)
	if err != nil {
		return err
	}
	client.Address, client.Key = transport.Address{Tenant: me.Tenant, Name: me.ID}, me.Signer()
	conn, err := httptransport.NewClient(client)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the process ends
	actions, err := fleetwright.Actions()
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: actions, Log: log})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// present waits until n nodes were heard of since then.
func present(ctx context.Context, cp *fleetwright.Fleet, n int, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		nodes, err := online(ctx, cp)
		if err != nil {
			return err
		}
		here := 0
		for _, nd := range nodes {
			if nd.LastPing.After(since) {
				here++
			}
		}
		if here >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fault.New("quickstart", fault.ServiceUnavailable, "only %d of %d agents connected within a minute; run it with -keep DIR, then control-plane.log and agents/*.log in there say why", here, n)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// online returns the nodes that are connected, by id.
func online(ctx context.Context, cp *fleetwright.Fleet) (map[string]node.Info, error) {
	out := map[string]node.Info{}
	list, _, err := cp.Nodes.List(ctx, []node.Filter{{Key: "PingStatus", Values: []string{"Online"}}}, &node.Page{MaxResults: 1000})
	for _, n := range list {
		out[n.ID] = n
	}
	return out, err
}

// history lists what earlier runs did.
func history(ctx context.Context, cp *fleetwright.Fleet, w io.Writer) error {
	list, _, err := cp.Commands.List(ctx, command.ListRequest{Limit: 20})
	if err != nil || len(list) == 0 {
		return err
	}
	fmt.Fprintf(w, "\nEarlier commands, the newest first:\n")
	t := newTable("WHEN", "COMMAND", "DOCUMENT", "STATUS", "TARGETS", "ERRORS")
	for _, c := range list {
		t.add(c.RequestedDateTime.Local().Format("2006-01-02 15:04:05"), c.ID[:8], c.DocumentName, word(c.StatusDetails), fmt.Sprint(c.TargetCount), fmt.Sprint(c.ErrorCount))
	}
	t.print(w)
	fmt.Fprintln(w)
	return nil
}

// close stops the agents, then the control plane.
func (f *fleet) close() {
	stopAgents(f.agents)
	if err := f.Fleet.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart: closing:", fault.MessageOf(err))
	}
}

func stopAgents(agents []*exec.Cmd) {
	for _, c := range agents {
		c.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
	}
	for _, c := range agents {
		c.Wait() //nolint:errcheck // it was told to
	}
}

// shorten shows the home directory as ~.
func shorten(path string) string {
	if home, err := os.UserHomeDir(); err == nil && home != "/" && strings.HasPrefix(path, home+string(filepath.Separator)) {
		return "~" + path[len(home):]
	}
	return path
}

// word is how a person reads a status.
func word(d message.Detail) string { return string(d) }

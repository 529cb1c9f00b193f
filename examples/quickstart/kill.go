package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/target"
)

// killing runs the control plane as a process too, and kills it and an agent with SIGKILL in mid-command. This process only starts them, kills them, and reads what
// they say; lines that begin with @ are for it, the others for people.
func killing(ctx context.Context, o options, dir string, w io.Writer) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	k := &killer{dir: dir, listen: l.Addr().String(), nodes: o.nodes, w: w, byID: map[string]int{}}
	l.Close() //nolint:errcheck // only its number was wanted
	defer k.end()
	if err := k.startPlane(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case line, ok := <-k.lines:
			if !ok {
				return fault.New("quickstart", fault.InternalServerError, "the control plane ended without having said how the command ended")
			}
			done, err := k.line(ctx, line)
			if err != nil || done {
				return err
			}
		}
	}
}

type killer struct {
	dir, listen string
	nodes       int
	w           io.Writer
	plane       *exec.Cmd
	lines       chan string
	agents      []*exec.Cmd
	byID        map[string]int
	url         string
	agentKilled bool
	planeKilled bool
	doomed      string
	planeLives  int
}

func (k *killer) startPlane() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	k.plane, err = spawn("plane", nil, w, k.dir, k.listen, strconv.Itoa(k.nodes))
	w.Close() //nolint:errcheck // the child has its own
	if err != nil {
		return err
	}
	k.planeLives++
	lines := make(chan string)
	k.lines = lines
	go func() {
		defer close(lines)
		defer r.Close() //nolint:errcheck // read only
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return nil
}

// line takes one line of the control plane.
func (k *killer) line(ctx context.Context, line string) (done bool, err error) {
	if !strings.HasPrefix(line, "@") {
		fmt.Fprintln(k.w, line)
		return false, nil
	}
	words := strings.Fields(line)
	switch words[0] {
	case "@url":
		k.url = words[1]
	case "@activation": // number, id, code: through the pipe, not through arguments
		i, err := strconv.Atoi(words[1])
		if err != nil {
			return false, err
		}
		return false, k.startAgent(i, words[2], words[3])
	case "@running":
		if !k.agentKilled && k.planeLives == 1 {
			k.agentKilled, k.doomed = true, words[1]
			return false, k.killAgent(words[1])
		}
	case "@completed":
		if n, _ := strconv.Atoi(words[1]); n >= 1 && k.agentKilled && !k.planeKilled {
			k.planeKilled = true
			return false, k.killPlane(ctx)
		}
	case "@ended":
		return true, k.verify(words[1])
	}
	return false, nil
}

func (k *killer) startAgent(i int, id, code string) error {
	c, err := spawn("agent", bytes.NewBufferString(id+"\n"+code+"\n"), nil, agentDir(k.dir, i), k.url, filepath.Join(k.dir, "ca.pem"))
	if err != nil {
		return err
	}
	for len(k.agents) <= i {
		k.agents = append(k.agents, nil)
	}
	k.agents[i] = c
	return nil
}

// killAgent kills the agent of a node that is at work, with the script that it runs, and starts it again.
func (k *killer) killAgent(id string) error {
	for i, c := range k.agents {
		n, err := agent.Load(agentDir(k.dir, i))
		if err != nil || n.ID != id {
			continue
		}
		fmt.Fprintf(k.w, "           kill -9 agent %s (process %d), which is in mid-step\n", nodeName(i), c.Process.Pid)
		c.Process.Kill() //nolint:errcheck // it may have ended
		c.Wait()         //nolint:errcheck // it was killed
		fmt.Fprintf(k.w, "           agent %s is started again\n", nodeName(i))
		return k.startAgent(i, "", "")
	}
	return fault.New("quickstart", fault.InternalServerError, "no agent has the node id %s", id)
}

func (k *killer) killPlane(ctx context.Context) error {
	fmt.Fprintf(k.w, "           kill -9 control plane (process %d)\n", k.plane.Process.Pid)
	k.plane.Process.Kill() //nolint:errcheck // it may have ended
	for range k.lines {    // what it said before
	}
	k.plane.Wait() //nolint:errcheck // it was killed
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
	}
	fmt.Fprintf(k.w, "           control plane is started again\n")
	return k.startPlane()
}

// verify looks at what really happened on the machines.
func (k *killer) verify(status string) error {
	b, err := os.ReadFile(filepath.Join(k.dir, "starts"))
	if err != nil {
		return err
	}
	starts := map[string]int{}
	for _, id := range strings.Fields(string(b)) {
		starts[id]++
	}
	for id, n := range starts {
		if n > 1 {
			return fault.New("quickstart", fault.InternalServerError, "node %s started the script %d times", id, n)
		}
	}
	fmt.Fprintf(k.w, "\n%d machines left a line in a file when they started the script, %d lines in all: nothing ran twice, nothing was lost.\n", len(starts), len(strings.Fields(string(b))))
	fmt.Fprintf(k.w, "The step that its agent's death cut off is Interrupted: whether it ran to its end nobody can know, so it is said and not guessed.\n")
	// The killed agent's script may not have come to its first line.
	missing := k.nodes - len(starts)
	if starts[k.doomed] == 0 {
		missing--
	}
	if missing > 0 || !k.agentKilled || !k.planeKilled {
		return fault.New("quickstart", fault.InternalServerError, "%d of %d machines ran; status %s", len(starts), k.nodes, status)
	}
	return nil
}

func (k *killer) end() {
	var alive []*exec.Cmd
	for _, c := range k.agents {
		if c != nil {
			alive = append(alive, c)
		}
	}
	stopAgents(alive)
	if k.plane != nil {
		k.plane.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		if k.lines != nil {
			for range k.lines {
			}
		}
		k.plane.Wait() //nolint:errcheck // it was told to
	}
}

// runPlane is the control plane as a process of its own. At the first start it makes activations and sends a command; at the next it goes on with that command.
func runPlane(ctx context.Context, dir, listen, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	f, err := open(ctx, dir, listen)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the process ends
	executing, _, err := f.Commands.List(ctx, command.ListRequest{Executing: true})
	if err != nil {
		return err
	}
	fmt.Printf("@url %s\n", f.URL())
	if len(executing) == 0 {
		if err := sendKill(ctx, f, dir, n); err != nil {
			return err
		}
		executing, _, err = f.Commands.List(ctx, command.ListRequest{Limit: 1})
		if err != nil || len(executing) == 0 {
			return err
		}
	}
	names, err := everybody(ctx, f)
	if err != nil {
		return err
	}
	last := 0
	c, err := watch(ctx, f, executing[0].ID, names, os.Stdout, func(u command.Update) {
		for _, ch := range u.Changes {
			if ch.Detail == message.DetailInProgress && ch.Step > 0 {
				fmt.Printf("@running %s\n", ch.Node)
			}
		}
		if u.Command.Completed > last {
			last = u.Command.Completed
			fmt.Printf("@completed %d\n", last)
		}
	})
	if err != nil {
		return err
	}
	if err := results(ctx, f, c, names, os.Stdout); err != nil {
		return err
	}
	fmt.Printf("@ended %s\n", c.StatusDetails)
	<-ctx.Done()
	return nil
}

func sendKill(ctx context.Context, f *fleetwright.Fleet, dir string, n int) error {
	began := time.Now()
	fmt.Printf("Control plane (a process of its own): store in %s, nodes at %s\n", shorten(dir), f.URL())
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), f.CA(), 0o600); err != nil {
		return err
	}
	for i := range n {
		act, err := f.Nodes.CreateActivation(ctx, node.ActivationRequest{DefaultName: nodeName(i), Tags: map[string]string{"Role": role(i), "Env": "kill"}})
		if err != nil {
			return err
		}
		fmt.Printf("@activation %d %s %s\n", i, act.ID, act.Code.Reveal())
	}
	if err := present(ctx, f, n, began); err != nil {
		return err
	}
	fmt.Printf("%d agents registered and connected\n\nA document that leaves a line in a file for each start, 2 machines at a time\n", n)
	_, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "kill", Content: builtin("kill"), MaxConcurrency: "2", MaxErrors: "100%",
		Targets: []target.Target{{Key: "tag:Env", Values: []string{"kill"}}}, Parameters: map[string][]string{"file": {filepath.Join(dir, "starts")}}})
	return err
}

// everybody returns all nodes by id.
func everybody(ctx context.Context, f *fleetwright.Fleet) (map[string]node.Info, error) {
	out := map[string]node.Info{}
	list, _, err := f.Nodes.List(ctx, nil, &node.Page{MaxResults: 1000})
	for _, n := range list {
		out[n.ID] = n
	}
	return out, err
}

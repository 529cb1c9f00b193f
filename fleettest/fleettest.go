// Package fleettest is a whole fleet in memory, for the tests of programs that embed fleetwright: the real control plane over a store in memory, and as many real
// agents as a test wants, joined by a network in memory. What scripts do is a function of the test's; everything else is what production runs.
//
//	fleet := fleettest.New(t, 100)
//	fleet.Script = func(node, script string) (string, int) { return "deployed", 0 }
//	c, err := fleet.Commands.Send(t.Context(), command.SendRequest{DocumentName: "AWS-RunShellScript", Targets: fleet.All(), …})
//
// fleettest/sim is for the other question, what both sides do when everything fails at once.
package fleettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

// Fleet is a control plane with its agents. It ends with the test.
type Fleet struct {
	*fleetwright.Fleet
	// Script is what every aws:runShellScript and aws:runPowerShellScript step does: it gets the node's name and the script, and returns what the script writes to stdout and its
	// exit code. It runs on the agents' goroutines, many at once. Set it before sending; nil writes nothing and returns 0.
	Script func(node, script string) (stdout string, exit int)
	Net    *memtransport.Network // to partition, disconnect and disturb

	t     testing.TB
	ctx   context.Context
	nodes []*Node
}

// Node is one machine of a Fleet.
type Node struct {
	ID, Name string
	fleet    *Fleet
	me       *agent.Node
	journal  *journal
	conn     *memtransport.Node
	stop     func()
}

// Options of NewWith.
type Options struct {
	Config fleetwright.Config            // changes the control plane; Store, Blobs, Keys, Authorizer and Transports are filled in where they are empty
	Net    memtransport.Options          // faults of the network
	Tags   func(i int) map[string]string // of node i, from 0; nil is Fleet=test
}

// New starts a fleet of n nodes, all connected when it returns, named node-1 to node-n and tagged Fleet=test.
func New(t testing.TB, n int) *Fleet {
	t.Helper()
	return NewWith(t, n, Options{})
}

// NewWith is New with options.
func NewWith(t testing.TB, n int, o Options) *Fleet {
	t.Helper()
	net := memtransport.New(&o.Net)
	return start(t, n, o, net, net.Controller())
}

// NewOver is New over a network of the test's, with an end of the control plane's that the test may have put something around.
func NewOver(t testing.TB, n int, net *memtransport.Network, controller transport.Transport) *Fleet {
	t.Helper()
	return start(t, n, Options{}, net, controller)
}

func start(t testing.TB, n int, o Options, net *memtransport.Network, controller transport.Transport) *Fleet {
	t.Helper()
	f := &Fleet{t: t, Net: net}
	cfg := o.Config
	if cfg.Store == nil {
		cfg.Store, cfg.Exclusive = memstore.New(), true
	}
	if cfg.Blobs == nil {
		cfg.Blobs = memblob.New()
	}
	if cfg.Keys == nil {
		keys, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
		f.must(err)
		cfg.Keys = keys
	}
	if cfg.Authorizer == nil {
		cfg.Authorizer = access.AllowAll{}
	}
	cfg.Transports = append([]transport.Transport{controller}, cfg.Transports...)
	var err error
	f.Fleet, err = fleetwright.New(cfg)
	f.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	f.ctx = ctx
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		for _, nd := range f.nodes {
			nd.Stop()
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("fleettest: the control plane ended: %v", err)
		}
	})
	if o.Tags == nil {
		o.Tags = func(int) map[string]string { return map[string]string{"Fleet": "test"} }
	}
	dir := t.TempDir()
	for i := range n {
		f.add(filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("node-%d", i+1), o.Tags(i))
	}
	f.Online(n)
	return f
}

func (f *Fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("fleettest: %v", err)
	}
}

func (f *Fleet) add(dir, name string, tags map[string]string) {
	f.t.Helper()
	act, err := f.Nodes.CreateActivation(f.ctx, node.ActivationRequest{DefaultName: name, Tags: tags})
	f.must(err)
	me, err := agent.Register(f.ctx, agent.RegistrarFunc(f.Nodes.Register), dir, act.ID, act.Code, nil)
	f.must(err)
	nd := &Node{ID: me.ID, Name: name, fleet: f, me: me, journal: &journal{entries: map[message.Ref]agent.Entry{}}}
	f.nodes = append(f.nodes, nd)
	nd.Start()
}

// All returns targets that match every node.
func (f *Fleet) All() []target.Target {
	return []target.Target{{Key: target.InstanceIDs, Values: []string{target.All}}}
}

// Node returns a node by its number, from 0.
func (f *Fleet) Node(i int) *Node { return f.nodes[i] }

// Len returns the number of nodes.
func (f *Fleet) Len() int { return len(f.nodes) }

// Online waits until n nodes are connected and heard of.
func (f *Fleet) Online(n int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	for {
		count, token := 0, ""
		for {
			list, next, err := f.Nodes.List(ctx, []node.Filter{{Key: "PingStatus", Values: []string{"Online"}}}, &node.Page{MaxResults: 1000, NextToken: token})
			f.must(err)
			count += len(list)
			if token = next; next == "" {
				break
			}
		}
		if count >= n {
			return
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("fleettest: %d of %d nodes came online", count, n)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Start starts the node's agent; it does nothing while one runs. What an earlier one journalled is there.
func (n *Node) Start() {
	if n.stop != nil {
		return
	}
	f := n.fleet
	set, err := fleetwright.Actions(script{f, n.Name, "aws:runShellScript"}, script{f, n.Name, "aws:runPowerShellScript"})
	f.must(err)
	conn := f.Net.Node(transport.Address{Tenant: n.me.Tenant, Name: n.ID})
	a, err := agent.New(agent.Config{Node: n.me, Transport: conn, Actions: set, Store: n.journal, MinFree: -1})
	f.must(err)
	ctx, cancel := context.WithCancel(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil && ctx.Err() == nil {
			f.t.Errorf("fleettest: agent of %s ended: %v", n.Name, err)
		}
	})
	n.conn = conn
	n.stop = func() {
		cancel()
		wg.Wait()
		conn.Close() //nolint:errcheck // in memory
	}
}

// Stop stops the node's agent, as a machine that is shut down does; Start brings it back.
func (n *Node) Stop() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// script is an action whose scripts are the test's function.
type script struct {
	f    *Fleet
	node string
	name string
}

func (s script) Name() string { return s.name }

func (s script) Run(_ context.Context, c *action.Call) action.Result {
	text := ""
	for _, l := range action.Lines(c.Inputs, "runCommand") {
		text += l + "\n"
	}
	out, exit := "", 0
	if s.f.Script != nil {
		out, exit = s.f.Script(s.node, text)
	}
	io.WriteString(c.Stdout, out) //nolint:errcheck // it never fails
	if exit != 0 {
		return action.Result{Status: message.Failed, ExitCode: exit}
	}
	return action.Result{Status: message.Success}
}

// journal is an agent's journal that outlives the agent, in memory.
type journal struct {
	mu      sync.Mutex
	entries map[message.Ref]agent.Entry
}

func (j *journal) Load() ([]agent.Entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []agent.Entry
	for _, e := range j.entries {
		e.Steps = slices.Clone(e.Steps)
		all = append(all, e)
	}
	return all, nil
}

func (j *journal) Put(e *agent.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := *e
	c.Steps = slices.Clone(e.Steps)
	j.entries[e.Ref] = c
	return nil
}

func (j *journal) Delete(ref message.Ref) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.entries, ref)
	return nil
}

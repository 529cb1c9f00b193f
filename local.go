package fleetwright

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/transport"
)

// LocalAgent is an agent that runs in the control plane's own process: for programs that manage the machine they run on, for examples and tests.
type LocalAgent struct {
	ID     string // of its node
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	agent  *agent.Agent
}

// RotateKeys gives the agent's node new keys; see agent.Agent.RotateKeys.
func (a *LocalAgent) RotateKeys(ctx context.Context) error { return a.agent.RotateKeys(ctx) }

// Gauges returns how the agent stands; see agent.Agent.Gauges.
func (a *LocalAgent) Gauges() observe.NodeGauges { return a.agent.Gauges() }

// enroller registers nodes and gives them new keys, as Fleet.Enroll does, within this process.
type enroller struct{ f *Fleet }

func (e enroller) Register(ctx context.Context, r message.RegisterRequest) (message.RegisterResponse, error) {
	return e.f.Nodes.Register(ctx, r)
}

func (e enroller) Rotate(ctx context.Context, r message.RotateRequest) (message.RotateResponse, error) {
	return e.f.RotateNodeKeys(ctx, r)
}

// Stop ends the agent and returns when it has ended, with the error that ended it earlier, if one did. Its node stays registered.
func (a *LocalAgent) Stop() error {
	a.cancel()
	<-a.done
	return a.err
}

// LocalOptions of StartAgent; nil is the zero value.
type LocalOptions struct {
	Tags    map[string]string // of the node when it is registered now
	Actions action.Set        // empty is Actions()

	Log      *slog.Logger     // the agent's; nil is the control plane's
	Observer observe.Observer // told what the agent does; nil tells nobody. That of the control plane may be told too
}

// StartAgent starts an agent in this process, of a Fleet that Open opened: the node of that name in the directory's "agents", registered through an activation of its own if it
// is not yet. It runs until Stop or Close. It needs ssm:CreateActivation for a new node.
func (f *Fleet) StartAgent(ctx context.Context, name string, o *LocalOptions) (*LocalAgent, error) {
	const op = "fleetwright.StartAgent"
	if f.local == nil {
		return nil, fault.New(op, fault.UnsupportedOperation, "this Fleet was made by New: start agents with the agent package and a transport of the host's")
	}
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil, fault.New(op, fault.Validation, "the name %q is no file name: use letters, digits, - and _", fault.Clean(name))
	}
	if o == nil {
		o = &LocalOptions{}
	}
	set := o.Actions
	if len(set.Names()) == 0 {
		var err error
		if set, err = Actions(); err != nil {
			return nil, fault.Wrap(op, err)
		}
	}
	dir := filepath.Join(f.dir, "agents", name)
	me, err := agent.Load(dir)
	if fault.CodeOf(err) == fault.DoesNotExist {
		act, aerr := f.Nodes.CreateActivation(ctx, node.ActivationRequest{DefaultName: name, Tags: o.Tags})
		if aerr != nil {
			return nil, fault.Wrap(op, aerr)
		}
		me, err = agent.Register(ctx, enroller{f}, dir, act.ID, act.Code, nil)
	}
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	conn := f.local.Node(transport.Address{Tenant: me.Tenant, Name: me.ID})
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set, Rotator: enroller{f}, Log: cmp.Or(o.Log, f.cfg.Log), Now: f.cfg.Now, Observer: o.Observer})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &LocalAgent{ID: me.ID, cancel: cancel, done: make(chan struct{}), agent: a}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop == nil {
		cancel()
		return nil, fault.New(op, fault.ServiceUnavailable, "the Fleet is closed")
	}
	f.agents = append(f.agents, l)
	go func() {
		defer close(l.done)
		l.err = a.Run(run)
		conn.Close() //nolint:errcheck // in memory
	}()
	return l, nil
}

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/transport"
)

// Config is what New needs. Node, Transport and Actions are required; every other field has a useful zero value.
type Config struct {
	Node      *Node               // who this agent is: from Register or Load
	Transport transport.Transport // the node's end; its owner closes it after Run returned
	Actions   action.Set          // what documents may do here

	Spawner action.Spawner // starts processes; nil is action.System
	Log     *slog.Logger   // nil: nothing is logged
	Now     func() time.Time
	// Facts describe the machine; nil is GatherFacts. It is asked again every hour.
	Facts func() message.Facts
	// BootID returns what changes with each start of the machine; nil is the function BootID.
	BootID func() string
	// Reboot restarts the machine when a step demands it; nil refuses, and the step then fails. SystemReboot is one that does it.
	Reboot func(context.Context) error
	Region string // what scripts find in AWS_SSM_REGION_NAME

	// Rotator lets RotateKeys, and a rotation that an earlier life left unanswered, reach the control plane. Without it the node's keys stay as they are.
	Rotator Rotator

	Store    Store            // the journal; nil is files below Node.Dir
	Observer observe.Observer // told of steps, runs, the journal and connections as they happen; nil tells nobody

	SpoolLimit int64 // bytes of output that all commands on the node together may keep here until the control plane has it; more is counted and not kept. Default 1 GiB, negative: no limit
	MinFree    int64 // bytes of disk below which nothing new starts and no more output is kept; default 32 MiB, negative: never mind

	// Engine holds the engine's options. Node, Session, Platform, Capabilities, Actions, Facts, Epoch, Floor and Unsigned are filled in by New, Capabilities and Actions where they are empty.
	Engine EngineConfig
}

// features are what this agent knows beyond its actions, as documents' needs name it (rule R-10).
var features = [...]string{"feature:ENV_VAR", "feature:preconditions"}

// Agent runs commands on this machine. New makes one, Run lets it work.
type Agent struct {
	cfg    Config
	log    *slog.Logger
	health atomic.Pointer[Health]
	ran    atomic.Bool

	ring      *keyring
	rotations chan chan error
	asking    chan Event // Asking and AskOver, for the loop
	waiting   waiting
	over      chan struct{} // closed when Run returns
}

// New returns an agent that does nothing yet. Errors are ValidationException: something required is missing.
func New(cfg Config) (*Agent, error) {
	const op = "agent.New"
	switch {
	case cfg.Node == nil || cfg.Node.Codec == nil:
		return nil, fault.New(op, fault.Validation, "Node is missing: use Register, or Load for a machine that is registered")
	case !message.ValidName(cfg.Node.ID) || !message.ValidName(cfg.Node.Tenant):
		return nil, fault.New(op, fault.Validation, "the node has no valid tenant or id")
	case cfg.Node.Dir == "":
		return nil, fault.New(op, fault.Validation, "the node has no directory")
	case cfg.Transport == nil:
		return nil, fault.New(op, fault.Validation, "Transport is missing")
	case len(cfg.Actions.Names()) == 0:
		return nil, fault.New(op, fault.Validation, "Actions are missing: an agent without any can do nothing; begin with shell.New(nil)")
	}
	if cfg.Spawner == nil {
		cfg.Spawner = action.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Facts == nil {
		cfg.Facts = GatherFacts
	}
	if cfg.BootID == nil {
		cfg.BootID = BootID
	}
	cfg.MinFree = cmp.Or(cfg.MinFree, 32<<20)
	cfg.SpoolLimit = cmp.Or(cfg.SpoolLimit, 1<<30)
	e := &cfg.Engine
	e.Node, e.Platform = cfg.Node.ID, cmp.Or(e.Platform, platform())
	_, e.Unsigned = cfg.Node.Codec.(message.Plain)
	if e.Capabilities == nil {
		e.Capabilities = append(cfg.Actions.Capabilities(), features[:]...)
	}
	e.Capabilities = slices.Clone(e.Capabilities)
	slices.Sort(e.Capabilities)
	if e.Actions == nil {
		e.Actions = known(cfg.Actions)
	}
	a := &Agent{cfg: cfg, log: cfg.Log.With("node", cfg.Node.ID), ring: cfg.Node.ring, rotations: make(chan chan error), asking: make(chan Event), over: make(chan struct{})}
	if a.ring == nil {
		a.ring = newKeyring(cfg.Node)
	}
	a.health.Store(&Health{})
	return a, nil
}

// known returns AWS's actions and the host's own besides, which may stand in every Command document.
func known(set action.Set) *document.Actions {
	t := document.Builtin()
	for _, name := range set.Names() {
		if t.Get(name) == nil {
			t = t.With(document.ActionSpec{Name: name, Schemas: []string{"1.2", "2.0", "2.2"}})
		}
	}
	return t
}

// Health returns how the agent was after its last event. It may be called at any time.
func (a *Agent) Health() Health { return *a.health.Load() }

func (a *Agent) facts() message.Facts {
	f := a.cfg.Facts()
	f.Capabilities = a.cfg.Engine.Capabilities
	f.BootID = a.cfg.BootID()
	return f
}

// Run works until ctx ends; then it stops the steps that still run, which end as Interrupted, tells the control plane as far as that is possible, and returns nil. It returns an
// error when the directory is another agent's, the journal cannot be read, or the transport refuses this node for good. An agent runs once.
func (a *Agent) Run(ctx context.Context) error {
	const op = "agent.Run"
	if a.ran.Swap(true) {
		return fault.New(op, fault.Validation, "this agent has run already: make another")
	}
	defer close(a.over)
	if a.ring.pending() && a.cfg.Rotator == nil {
		return fault.New(op, fault.Validation, "%w", errNoRotator)
	}
	d, err := openDir(a.cfg.Node.Dir)
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "the agent's directory cannot be used: %w", err)
	}
	defer d.root.Close() //nolint:errcheck // every write was synced
	held, err := lock(d.root)
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "%w", err)
	}
	defer held.Close() //nolint:errcheck // it holds nothing
	l := &loop{Agent: a, dir: d, events: make(chan Event), outgoing: make(chan Effect, 64), running: map[message.Ref]*worker{}, orphans: map[message.Ref]int{}, spools: newBudget(a.cfg.SpoolLimit)}
	if l.work, err = openRoot(filepath.Join(a.cfg.Node.Dir, "work")); err != nil {
		return fault.New(op, fault.ServiceUnavailable, "the agent's directory cannot be used: %w", err)
	}
	defer l.work.Close() //nolint:errcheck // nothing is promised about outputs
	l.store = a.cfg.Store
	if l.store == nil {
		fs, err := OpenFileStore(filepath.Join(a.cfg.Node.Dir, "journal"))
		if err != nil {
			return fault.New(op, fault.ServiceUnavailable, "the journal cannot be used: %w", err)
		}
		defer fs.Close() //nolint:errcheck // every write was synced
		l.store = fs
	}
	entries, err := l.store.Load()
	if err != nil {
		return fault.New(op, fault.DataCorrupt, "the journal cannot be read, and without it a command could run twice: %w", err)
	}
	if fs, ok := l.store.(*FileStore); ok && fs.Damaged() > 0 {
		a.log.Error("the journal has files that cannot be read; what they were about will not start", "files", fs.Damaged())
	}
	epoch, err := readEpoch(d)
	if err != nil {
		return fault.New(op, fault.DataCorrupt, "%w", err)
	}
	l.told = newTeller(&a.cfg, a.log, entries)
	cfg := a.cfg.Engine
	cfg.Session = message.NewID(nil)
	_, pinned := a.ring.pinned()
	cfg.Epoch = max(epoch, pinned)
	if cfg.Floor, err = readFloor(d); err != nil {
		return fault.New(op, fault.DataCorrupt, "%w", err)
	}
	cfg.Facts = a.facts()
	l.engine = NewEngine(cfg, entries)
	err = l.run(ctx, entries)
	if err != nil {
		return fault.Wrap(op, err)
	}
	return nil
}

// transportEnded tells whether a transport's error is the end of it.
func transportEnded(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if errors.Is(err, transport.ErrRefused) {
		return fault.New("agent.Run", fault.AccessDenied, "the control plane does not take this node any more: register it anew. %w", err)
	}
	return fmt.Errorf("the transport ended: %w", err)
}

// SystemReboot restarts the machine by the system's own command. It needs the right to, and returns while the machine goes down.
func SystemReboot(ctx context.Context) error {
	var errs []error
	for _, argv := range rebootCommands {
		path, err := lookPath(argv[0])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p := &action.Process{Path: path, Args: argv, Dir: os.TempDir(), Env: []string{"PATH=" + action.DefaultPath}}
		exit, err := action.System{}.Spawn(ctx, p)
		if err == nil && exit.Code == 0 {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: exit code %d: %w", argv[0], exit.Code, cmp.Or(err, errors.New("failed"))))
	}
	return errors.Join(errs...)
}

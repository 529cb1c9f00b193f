// Package fleetwright makes any program a fleet manager: what AWS Systems Manager does as a service, over a store, a transport and a key service of the host's choice.
//
// [Open] is the default in one call: everything in one directory, an embedded store, keys of its own, and an HTTPS endpoint for nodes if it is asked for.
//
//	f, err := fleetwright.Open(ctx, "data", nil)
//	defer f.Close()
//	c, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript",
//		Parameters: map[string][]string{"commands": {"uptime"}}, Targets: []target.Target{{Key: "tag:Role", Values: []string{"web"}}}})
//	c, err = f.Commands.Wait(ctx, c.ID)
//
// [New] takes every part from the host. Either way the services are packages of their own (command, node, library, audit, …) that this one only puts together; a
// host may leave it out and do the same.
//
// Who calls is in the context (see package access). With [Open] everybody is allowed everything, as in a program of one user, until Options.Authorizer says otherwise.
package fleetwright

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/observed"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

// Config is what a Fleet is made of. Store, Blobs, Keys and Authorizer are required; without a transport it reaches no node.
type Config struct {
	Store          store.Store
	Codec          *record.Codec // frames records; nil is checksums only
	Blobs          blob.Store
	Keys           seal.Wrapper // wraps the control plane's own keys
	Authorizer     access.Authorizer
	Transports     []transport.Transport // the control plane's ends; a message takes the first on which the node is connected
	Actions        *document.Actions     // what may stand in a step; nil is document.Builtin()
	Parameters     document.Resolver     // answers {{ssm:name}} in documents; nil is the fleet's own Parameter Store, asked as who sends
	ParameterStore parameter.Config      // options of the Parameter Store; its Store, Codec, Authorizer, Box, Audit, Leases, Now, Rand and Log are set by New
	PatchCatalog   patchstore.Catalog    // what could be installed, for DescribeAvailablePatches; nil knows of no patch
	Runbooks       Runbooks              // options of the automations
	NodeOps        map[string]NodeOp     // what nodes may ask for beside what the services answer, by the operation's name; not to be changed later

	Name      string        // of this control plane, for people: in leases and the audit log; "" is "control-plane"
	Exclusive bool          // no other process uses the store, as with an embedded file: ownership is taken over at once after a restart
	LeaseTTL  time.Duration // within which other control planes on the store take over the work of one that died; 0 is 15 s

	Heartbeat   time.Duration // how often nodes are asked to say that they are there; 0 is 30 s
	LostAfter   time.Duration // silence after which a node is ConnectionLost; 0 is 5 min
	Skew        time.Duration // how far a node's clock may be off for its messages to be taken; 0 is 5 min
	Timing      command.Timing
	Retention   command.Retention
	OutputLimit int64 // see command.Config
	RefuseRaw   bool  // refuse documents that paste parameters into scripts; recommended for new fleets

	Observer observe.Observer // told what happens, as it happens; nil tells nobody and costs nothing. See package observe, and [Fleet.Gauges]

	Now  func() time.Time // nil is time.Now
	Rand io.Reader        // nil is crypto/rand
	Log  *slog.Logger     // nil discards
}

// Fleet is a control plane. Its services are safe for concurrent use. Nothing is dispatched, received or renewed unless [Fleet.Run] runs (Open runs it).
type Fleet struct {
	Nodes       *node.Service
	Documents   *library.Service
	Commands    *command.Service
	Automations *automation.Service
	Parameters  *parameter.Service
	Patches     *patchstore.Service
	Inventory   *fleet.Service
	Compliance  *compliance.Service
	Audit       *audit.Log
	Leases      *lease.Leases

	cfg    Config
	keys   *controllerKeys
	hub    *hub
	beats  *beats
	places *node.Places // nil when there is no other control plane
	clock  *sharedClock // likewise

	// Of Open.
	dir     string
	mu      sync.Mutex
	stop    func() // ends Run and waits for it
	done    chan struct{}
	closing []func() error // what was opened, in the order of closing
	local   *memtransport.Network
	end     *endpoint
	agents  []*LocalAgent
}

// New puts a Fleet together. It does no I/O and starts nothing.
func New(cfg Config) (*Fleet, error) {
	const op = "fleetwright.New"
	switch {
	case cfg.Store == nil:
		return nil, fault.New(op, fault.Validation, "Config.Store is required")
	case cfg.Blobs == nil:
		return nil, fault.New(op, fault.Validation, "Config.Blobs is required")
	case cfg.Keys == nil:
		return nil, fault.New(op, fault.Validation, "Config.Keys is required: the control plane's own keys are never stored in the clear")
	case cfg.Authorizer == nil:
		return nil, fault.New(op, fault.Validation, "Config.Authorizer is required: give access.AllowAll{} if everybody may do everything")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = "control-plane"
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	if cfg.Actions == nil {
		cfg.Actions = document.Builtin()
	}
	cfg.Store = observed.New(cfg.Store, cfg.Observer, cfg.Now)
	live := &beats{now: cfg.Now, all: map[string]sign{}}
	f := &Fleet{beats: live, Leases: lease.New(cfg.Store, cfg.Codec, lease.Config{Beat: live.of("leases"), Owner: cfg.Name, TTL: cfg.LeaseTTL, Exclusive: cfg.Exclusive, Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log})}
	if !cfg.Exclusive {
		f.clock = newClock(&cfg, f.Leases)
		cfg.Now = f.clock.now
	}
	f.cfg = cfg
	f.keys = newControllerKeys(cfg.Store, cfg.Codec, seal.NewBox(cfg.Keys, nil), cfg.Rand, cfg.Now)
	f.Audit = audit.New(audit.Config{Beat: live.of("audit"), Store: cfg.Store, Codec: cfg.Codec, Writer: cfg.Name, Now: cfg.Now, Authorize: cfg.Authorizer, Log: cfg.Log,
		Signer: f.keys.signAudit, Verifier: f.keys.verifyAudit})
	var err error
	f.Nodes, err = node.New(node.Config{Beat: live.of("nodes"), Gone: f.gone, Store: cfg.Store, Codec: cfg.Codec, Authorizer: cfg.Authorizer, Audit: f.Audit, Controller: f.keys.public,
		LostAfter: cfg.LostAfter, Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	f.Documents = library.New(library.Config{Store: cfg.Store, Codec: cfg.Codec, Authorizer: cfg.Authorizer, Audit: f.Audit, Actions: cfg.Actions,
		Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log})
	f.Compliance, err = compliance.New(compliance.Config{Store: cfg.Store, Codec: cfg.Codec, Authorizer: cfg.Authorizer, Audit: f.Audit, Nodes: Registry{f.Nodes}, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	f.Patches, err = patchstore.New(patchstore.Config{Store: cfg.Store, Codec: cfg.Codec, Authorizer: cfg.Authorizer, Audit: f.Audit, Nodes: Registry{f.Nodes}, Catalog: cfg.PatchCatalog,
		Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	f.Inventory = fleet.New(fleet.Config{Store: cfg.Store, Codec: cfg.Codec, Leases: f.Leases, Authorizer: nodeSelf{cfg.Authorizer}, Audit: f.Audit, Nodes: Registry{f.Nodes},
		Order: inventory.VersionOrder(patch.CompareDeb, patch.CompareRPM), Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log})
	pc := cfg.ParameterStore
	pc.Store, pc.Codec, pc.Authorizer, pc.Box, pc.Audit, pc.Leases = cfg.Store, cfg.Codec, cfg.Authorizer, seal.NewBox(cfg.Keys, nil), f.Audit, f.Leases
	pc.Now, pc.Rand, pc.Log, pc.Beat = cfg.Now, cfg.Rand, cfg.Log, live.of("parameters")
	f.Parameters = parameter.New(pc)
	if cfg.Parameters == nil {
		cfg.Parameters = f.Parameters
	}
	f.hub = newHub(f, cfg.Transports)
	var planes command.Planes
	if !cfg.Exclusive {
		f.places = node.NewPlaces(node.PlacesConfig{Store: cfg.Store, Codec: cfg.Codec, Planes: f.Leases, Now: cfg.Now, Log: cfg.Log,
			Moved: func(tenant, node string) { f.Commands.Heard(tenant, node, true) }})
		planes = f.places
	}
	f.Commands, err = command.New(command.Config{Beat: live.of("commands"), Store: cfg.Store, Codec: cfg.Codec, Blobs: cfg.Blobs, Nodes: f.Nodes, Documents: f.Documents, Sender: f.hub, Planes: planes,
		Authorizer: cfg.Authorizer, Audit: f.Audit, Leases: f.Leases, Actions: cfg.Actions, Parameters: cfg.Parameters, Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log,
		Timing: cfg.Timing, Observer: cfg.Observer, RefuseRaw: cfg.RefuseRaw, OutputLimit: cfg.OutputLimit, Retention: cfg.Retention})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	if f.Automations, err = f.automations(&cfg); err != nil {
		return nil, fault.Wrap(op, err)
	}
	return f, nil
}

// pruneEvery is how often Run applies the retention.
const pruneEvery = time.Hour

// Run does the control plane's work until ctx ends: it receives from nodes, owns and dispatches commands, renews leases, writes presence and audit records, and removes what
// the retention no longer keeps in the default tenant. When it returns, everything that it started has ended. One Run at a time.
func (f *Fleet) Run(ctx context.Context) error {
	// Commands stop first, so that their leases can be given back.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	front, abort := context.WithCancel(ctx)
	defer abort()
	work := func(ctx context.Context, name string, run func(context.Context) error) {
		wg.Go(func() {
			err := run(ctx)
			f.beats.end(name)
			if err == nil || ctx.Err() != nil {
				return
			}
			f.cfg.Log.Error("a part of the control plane ended", "part", name, "error", err)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, fault.Wrap("fleetwright.Run", err))
			abort()
		})
	}
	work(background, "audit", f.Audit.Run)
	work(background, "leases", f.Leases.Run)
	work(background, "nodes", f.Nodes.Run)
	if f.places != nil {
		work(background, "connections", f.places.Run)
		for _, t := range f.cfg.Transports {
			if _, knows := t.(transport.Presence); knows {
				work(background, "presence", func(ctx context.Context) error { return f.hub.watch(ctx, t) })
			}
		}
	}
	for _, t := range f.cfg.Transports {
		work(background, "transport", func(ctx context.Context) error {
			err := t.Receive(ctx, func(ctx context.Context, m transport.Message) { f.hub.receive(ctx, t, m) })
			if errors.Is(err, transport.ErrClosed) {
				return nil // its owner, the host, has closed it
			}
			return err
		})
	}
	if f.clock != nil {
		settled := make(chan struct{})
		work(background, "clock", func(ctx context.Context) error { return f.clock.run(ctx, func() { close(settled) }) })
		select { // nothing is owned before it is known whether this clock is right
		case <-settled:
		case <-front.Done():
		}
	}
	work(front, "retention", f.prune)
	work(front, "retention of runbooks", f.pruneRunbooks)
	work(front, "parameters", f.Parameters.Run)
	work(front, "inventory", f.Inventory.Run)
	work(front, "automations", f.Automations.Run)
	err := f.Commands.Run(front)
	abort()
	stop()
	wg.Wait()
	f.hub.desk.wg.Wait()
	if failed != nil {
		return failed
	}
	return err
}

func (f *Fleet) prune(ctx context.Context) error {
	if f.cfg.Retention == (command.Retention{}) {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		if n, err := f.Commands.Prune(ctx, access.DefaultTenant); err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("old commands were not all removed", "error", err)
		} else if n > 0 {
			f.cfg.Log.Info("old commands removed", "commands", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

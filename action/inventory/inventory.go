// Package inventory holds the action aws:softwareInventory: it gathers the machine's inventory and reports what changed to the control plane.
//
//	set, err := action.NewSet(shell.New(nil), inventory.New(inventory.Options{Journal: gather.FileJournal(path)}))
//
// Its inputs are AWS's: applications, awsComponents, networkConfig, windowsUpdates, instanceDetailedInformation, services, windowsRoles, customInventory and billingInfo are on when they
// say Enabled, and off when they say anything else or nothing; files and windowsRegistry are lists of filters in JSON; customInventoryDirectory is a folder.
//
// What could be gathered is reported even if a part could not; the step fails then and names the part. (AWS's agent reports nothing then.)
package inventory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
)

// Name is what documents call the action.
const Name = "aws:softwareInventory"

// Op is the operation that reports travel as when Options.Reporter is nil.
const Op = "PutInventory"

// mostAsked is how many bytes of content go into one question to the control plane: a question has 160 KiB at most when it is compressed, and inventory shrinks to a fifth.
const mostAsked = 384 << 10

// Options are what a host may choose. The zero value gathers this machine and reports to the control plane of the call, in full each time.
type Options struct {
	// Gather says what is gathered from. Node, Facts and Platform are the call's when they are empty; programs run as the action's processes, so that they end with the step, when Run is nil.
	Gather gather.Config
	// Reporter takes reports; nil asks the control plane (Call.Plane) to do PutInventory.
	Reporter gather.Reporter
	// Journal remembers what the control plane accepted; nil remembers nothing.
	Journal gather.Journal
	// Whole sends a type that changed in full, as AWS's agent does.
	Whole bool
	// Instance gathers AWS:InstanceInformation as well, which no input of AWS's names.
	Instance bool
}

// Action is aws:softwareInventory. It is safe for concurrent use; steps that run at the same time gather at the same time and report one after the other.
type Action struct {
	o    Options
	send sync.Mutex
}

// New returns the action.
func New(o Options) *Action { return &Action{o: o} }

// Name implements action.Action.
func (a *Action) Name() string { return Name }

// Run implements action.Action.
func (a *Action) Run(ctx context.Context, c *action.Call) action.Result {
	plan, err := Plan(c.Inputs)
	if err != nil {
		return action.Failed(fault.MessageOf(err))
	}
	plan.InstanceInformation = a.o.Instance
	reporter := a.o.Reporter
	if reporter == nil {
		if c.Plane == nil {
			return action.Failed("this agent has no way to report inventory to its control plane")
		}
		reporter = PlaneReporter(c.Plane)
	}
	found := gather.New(a.config(c)).Gather(ctx, plan)
	for _, f := range found.Failures {
		fmt.Fprintf(c.Stderr, "%s: %s\n", f.TypeName, fault.Clean(f.Err.Error())) //nolint:errcheck // never fails
	}
	var sent gather.Sent
	if len(found.Items) > 0 {
		maxItem, maxCall := 0, 0
		if a.o.Reporter == nil {
			maxItem, maxCall = mostAsked, mostAsked
		}
		s := gather.Sender{MaxItem: maxItem, MaxCall: maxCall, Node: cmp.Or(a.o.Gather.Node, c.Node), Reporter: reporter, Journal: a.o.Journal, Whole: a.o.Whole, Limits: a.o.Gather.Limits}
		a.send.Lock()
		sent, err = s.Send(ctx, found.Items)
		a.send.Unlock()
	}
	switch {
	case err != nil:
		c.Log.Warn("inventory was not reported", "command", c.Command, "error", err)
		return action.Failed("the inventory was not reported: " + fault.MessageOf(err))
	case len(found.Items) == 0:
		fmt.Fprintln(c.Stdout, "There was no inventory to report.") //nolint:errcheck // never fails
	default:
		fmt.Fprintf(c.Stdout, "Reported %d types with %d entries: %d in full, %d as changes (%d entries), %d unchanged.\n", //nolint:errcheck // never fails
			len(found.Items), sent.Entries, sent.Full, sent.Changed, sent.ChangedNumber, sent.Hashed)
	}
	for _, f := range found.Failures {
		if !f.Partial {
			return action.Failed("not all inventory was gathered: " + f.TypeName + ": " + fault.MessageOf(f.Err))
		}
	}
	return action.Succeeded()
}

// Plan reads the inputs of a step. Error: ValidationException for filters that are none.
func Plan(inputs map[string]any) (p gather.Plan, err error) {
	for name, on := range map[string]*bool{
		"applications": &p.Applications, "awsComponents": &p.AWSComponents, "networkConfig": &p.Network, "windowsUpdates": &p.WindowsUpdates,
		"instanceDetailedInformation": &p.InstanceDetailedInformation, "services": &p.Services, "windowsRoles": &p.WindowsRoles, "customInventory": &p.Custom, "billingInfo": &p.BillingInfo,
	} {
		s, err := action.Text(inputs, name)
		if err != nil {
			return gather.Plan{}, fault.New("inventory.Plan", fault.Validation, "%w", err)
		}
		*on = s == "Enabled"
	}
	if p.CustomDir, err = action.Text(inputs, "customInventoryDirectory"); err != nil {
		return gather.Plan{}, fault.New("inventory.Plan", fault.Validation, "%w", err)
	}
	files, err := filters(inputs, "files")
	if err == nil {
		p.Files, err = gather.ParseFileFilters(files)
	}
	if err != nil {
		return gather.Plan{}, err
	}
	registry, err := filters(inputs, "windowsRegistry")
	if err == nil {
		p.Registry, err = gather.ParseRegistryFilters(registry)
	}
	if err != nil {
		return gather.Plan{}, err
	}
	return p, nil
}

// filters returns an input that is JSON text, or already the list that such text would be, as text.
func filters(inputs map[string]any, name string) (string, error) {
	v, ok := action.Input(inputs, name)
	if !ok {
		return "", nil
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case []any:
		b, err := json.Marshal(v)
		if err == nil {
			return string(b), nil
		}
	}
	return "", fault.New("inventory.Plan", fault.Validation, "input %s is neither a text nor a list of filters", name)
}

// config completes the host's configuration by what the call says.
func (a *Action) config(c *action.Call) gather.Config {
	g := a.o.Gather
	g.Node = cmp.Or(g.Node, c.Node)
	g.Platform = cmp.Or(g.Platform, c.Platform)
	if g.Facts.PlatformName == "" && g.Facts.AgentName == "" {
		g.Facts = c.Facts
	}
	if g.Run == nil && c.Spawner != nil {
		g.Run = runner(c)
	}
	if g.Log == nil {
		g.Log = c.Log
	}
	return g
}

// runner runs programs as processes of the step: they carry its marker and end with it.
func runner(c *action.Call) gather.Runner {
	return func(ctx context.Context, program string, args ...string) ([]byte, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			return nil, err
		}
		out, errs := &buffer{left: maxOutput}, &buffer{left: 4 << 10}
		p := &action.Process{Path: path, Args: append([]string{program}, args...), Dir: cmp.Or(c.Dir, filepath.VolumeName(path)+string(filepath.Separator)),
			Env: c.Environ(nil, map[string]string{"LC_ALL": "C.UTF-8"}), Stdout: out, Stderr: errs, Started: c.Started}
		exit, err := c.Spawner.Spawn(ctx, p)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s did not start: %w", program, err)
		case exit.Killed:
			return nil, cmp.Or(context.Cause(ctx), context.Canceled)
		case exit.Code != 0:
			return nil, fault.New("inventory.Run", fault.InternalServerError, "%s ended with code %d: %s", program, exit.Code, fault.Clean(string(bytes.TrimSpace(errs.Bytes()))))
		case out.over:
			return nil, fault.New("inventory.Run", fault.InternalServerError, "%s wrote more than %d bytes", program, maxOutput)
		}
		return out.Bytes(), nil
	}
}

const maxOutput = 64 << 20

// buffer keeps the first bytes.
type buffer struct {
	bytes.Buffer
	left int
	over bool
}

func (b *buffer) Write(p []byte) (int, error) {
	n := len(p)
	if n > b.left {
		p, b.over = p[:b.left], true
	}
	b.left -= len(p)
	b.Buffer.Write(p)
	return n, nil
}

// PlaneReporter returns a Reporter that asks the control plane to do PutInventory, with AWS's JSON as input and output.
func PlaneReporter(p action.Plane) gather.Reporter { return planeReporter{p} }

type planeReporter struct{ plane action.Plane }

// PutInventory implements gather.Reporter.
func (r planeReporter) PutInventory(ctx context.Context, report inventory.Report) (inventory.Ack, error) {
	const op = "inventory.PutInventory"
	input, err := json.Marshal(report)
	if err != nil {
		return inventory.Ack{}, fault.New(op, fault.Validation, "the report cannot be written as JSON: %w", err)
	}
	out, err := r.plane.Ask(ctx, Op, input)
	if err != nil {
		return inventory.Ack{}, fault.Wrap(op, err)
	}
	var ack inventory.Ack
	if len(out) > 0 {
		if err := json.Unmarshal(out, &ack); err != nil {
			return inventory.Ack{}, fault.New(op, fault.InternalServerError, "the control plane's answer is no JSON object")
		}
	}
	return ack, nil
}

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/ssmops"
)

//go:embed runbooks/patch-web-node.yaml
var demoText []byte

// demo patches a node of the small fleet.
func (a *app) demo(ctx context.Context, p *parsed) error {
	if err := p.arg(); err != nil {
		return err
	}
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		return err
	}
	release := "2.5.0"
	if p.on("fail") {
		release = "2.5.0-faulty"
	}
	params := map[string][]string{"Node": {"web-2"}, "Release": {release}, "Machines": {filepath.Join(dir, "fleet", "machines")}}
	own, err := readParameters(p)
	if err != nil {
		return err
	}
	maps.Copy(params, own)
	rb, err := automation.ParseRunbook(demoText, nil)
	if err != nil {
		return err
	}
	if _, err := rb.Preview(automation.Start{Parameters: params}, a.now()); err != nil {
		return bad("%s", fault.MessageOf(err))
	}
	n := note{Document: "patch-web-node", Fleet: true, Created: a.now().UTC()}
	return a.start(ctx, p, n, automation.Request{DocumentName: n.Document, Parameters: params})
}

// machines of the small fleet, each a folder, with an agent that works in it.
var machines = [...]string{"lb-1", "web-1", "web-2", "web-3"}

// fleet is a control plane with its agents, in this process.
type fleet struct{ *fleetwright.Fleet }

// openFleet opens the small fleet and starts its agents.
func openFleet(ctx context.Context, dir string, w io.Writer) (*fleet, error) {
	dir = filepath.Join(dir, "fleet")
	for _, m := range machines {
		if err := prepare(filepath.Join(dir, "machines", m)); err != nil {
			return nil, err
		}
	}
	f, err := fleetwright.Open(ctx, filepath.Join(dir, "plane"), nil)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		role, _, _ := strings.Cut(m, "-")
		if _, err := f.StartAgent(ctx, m, &fleetwright.LocalOptions{Tags: map[string]string{"Name": m, "Role": role}}); err != nil {
			f.Close() //nolint:errcheck // the first error is told
			return nil, err
		}
	}
	fmt.Fprintf(w, "Fleet of %d agents: %s\n", len(machines), strings.Join(machines[:], ", "))
	return &fleet{f}, nil
}

func (f *fleet) close() {
	f.Close() //nolint:errcheck // what was acknowledged is on the disk
}

// prepare makes a machine's folder when there is none.
func prepare(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name, text := "release", "2.4.0\n"
	if strings.HasPrefix(filepath.Base(dir), "lb-") {
		name, text = "backends", strings.Join(slices.DeleteFunc(slices.Clone(machines[:]), func(m string) bool { return !strings.HasPrefix(m, "web-") }), "\n")+"\n"
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}

// runCommand is aws:runCommand on the small fleet, which is opened after the service is made.
func (d *desk) runCommand(ctx context.Context, c automation.Call) (any, error) {
	return fleetwright.CommandRunner(d.fleet.Commands, d.wanted).Run(ctx, c)
}

// callFleet calls operations of Systems Manager: those of the small fleet, unless -fake says something of them.
func (d *desk) callFleet(ctx context.Context, service, operation string, inputs map[string]any) (map[string]any, error) {
	if d.fakes != nil && d.fakes.knows(service+":"+operation) {
		return d.fakes.Call(ctx, service, operation, inputs)
	}
	f := d.fleet
	ops := ssmops.New(ssmops.Services{Commands: f.Commands, Nodes: f.Nodes, Documents: f.Documents, Parameters: f.Parameters, Patches: f.Patches, Inventory: f.Inventory, Compliance: f.Compliance, Audit: f.Audit}, nil)
	return ssmops.RunbookCaller{API: ops}.Call(ctx, service, operation, inputs)
}

// wanted reports whether a step still waits for its command: when this program ends, the command is let run, and found again by who goes on with the execution.
func (d *desk) wanted(ctx context.Context, c automation.Call) bool {
	x, _, err := d.Get(as(ctx, ""), c.Execution)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(x.Steps, func(s automation.Step) bool {
		return s.ID == c.StepID && s.Status == automation.InProgress && s.Attempt == c.Attempt && !x.Status.Done()
	})
}

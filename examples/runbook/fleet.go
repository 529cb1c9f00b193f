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
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
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

// runCommand is aws:runCommand on the small fleet. The command has the step's token, so that a step which is repeated after a kill finds the command that it sent.
func (d *desk) runCommand(ctx context.Context, c automation.Call) (any, error) {
	req := command.SendRequest{ClientToken: c.Token, Comment: cut(c.Execution+" "+c.Step, 100), Parameters: map[string][]string{}}
	req.DocumentName, _ = c.Inputs["DocumentName"].(string)
	req.DocumentVersion, _ = c.Inputs["DocumentVersion"].(string)
	req.InstanceIDs = list(c.Inputs["InstanceIds"])
	if params, ok := c.Inputs["Parameters"].(map[string]any); ok {
		for k, v := range params {
			req.Parameters[k] = list(v)
		}
	}
	targets, _ := c.Inputs["Targets"].([]any)
	for _, it := range targets {
		m, _ := it.(map[string]any)
		k, _ := m["Key"].(string)
		req.Targets = append(req.Targets, target.Target{Key: k, Values: list(m["Values"])})
	}
	sent, err := d.fleet.Commands.Send(ctx, req)
	if err != nil {
		return nil, err
	}
	if sent, err = d.fleet.Commands.Wait(ctx, sent.ID); err != nil {
		if ctx.Err() != nil { // the step's time is over, or it was cancelled
			d.fleet.Commands.Cancel(context.WithoutCancel(ctx), sent.ID) //nolint:errcheck // it may have ended
		}
		return nil, err
	}
	results, _, err := d.fleet.Commands.Invocations(ctx, command.ListRequest{Command: sent.ID})
	if err != nil {
		return nil, err
	}
	var lines []string
	code := 0
	for i := range results {
		if line := text(results[i].Steps); line != "" {
			lines = append(lines, line)
		}
		code = max(code, results[i].ExitCode)
	}
	out := map[string]any{"CommandId": sent.ID, "Status": string(sent.Status), "ResponseCode": int64(code), "Output": strings.Join(lines, "\n")}
	if sent.Status == message.Success {
		return out, nil
	}
	why := fmt.Sprintf("the command ended %s: %s", sent.StatusDetails, command.Line(steps(results)))
	for i := range results {
		if results[i].Detail == message.DetailInterrupted {
			why = fmt.Sprintf("the command was cut off on %s: nobody knows how far it came", results[i].Name)
		}
	}
	return out, &automation.CallError{Failure: automation.Failure{Stage: automation.Invocation, Type: automation.ActionFailure, Message: why, Details: map[string][]string{"CommandId": {sent.ID}}}}
}

func list(v any) []string {
	if v == nil {
		return nil
	}
	return automation.Strings(v)
}

func steps(results []command.Result) (out []message.StepReport) {
	for i := range results {
		out = append(out, results[i].Steps...)
	}
	return out
}

// text is what steps wrote.
func text(steps []message.StepReport) string {
	var b strings.Builder
	for i := range steps {
		b.WriteString(steps[i].Stdout.Head)
		b.WriteString(steps[i].Stderr.Head)
	}
	return strings.TrimSpace(b.String())
}

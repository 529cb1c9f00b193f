package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/target"
)

//go:embed documents
var documents embed.FS

func builtin(name string) []byte {
	b, err := documents.ReadFile("documents/" + name + ".yaml")
	if err != nil {
		panic(err) // embedded
	}
	return b
}

// tour runs three documents, each of which shows something.
func tour(ctx context.Context, f *fleet, w io.Writer) error {
	names, err := online(ctx, f.Fleet)
	if err != nil {
		return err
	}
	all := []target.Target{{Key: "tag:Env", Values: []string{"quickstart"}}}

	fmt.Fprintf(w, "\n1. A document in steps, with preconditions, on all machines, 2 at a time\n")
	c, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "checkup", Content: builtin("checkup"), Targets: all, MaxConcurrency: "2",
		Parameters: map[string][]string{"greeting": {"ready; rm -rf is only text here"}}})
	if err != nil {
		return err
	}
	if c, err = watch(ctx, f.Fleet, c.ID, names, w, nil); err != nil {
		return err
	}
	if err := results(ctx, f.Fleet, c, names, w); err != nil {
		return err
	}
	if c.StatusDetails != message.DetailSuccess {
		return fault.New("quickstart", fault.InternalServerError, "the first document ended as %s, not as Success", c.StatusDetails)
	}

	fmt.Fprintf(w, "\n2. A deployment that fails on one machine: MaxErrors is 0, so the rest is not touched\n")
	web := []target.Target{{Key: "tag:Role", Values: []string{"web"}}}
	ids, _, err := f.Nodes.Resolve(ctx, "default", web, "", 100)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	bad := ids[min(1, len(ids)-1)]
	c, err = f.Commands.Send(ctx, command.SendRequest{DocumentName: "deploy", Content: builtin("deploy"), Targets: web, MaxConcurrency: "1",
		Parameters: map[string][]string{"fullDisk": {bad}}})
	if err != nil {
		return err
	}
	if c, err = watch(ctx, f.Fleet, c.ID, names, w, nil); err != nil {
		return err
	}
	if err := results(ctx, f.Fleet, c, names, w); err != nil {
		return err
	}
	if c.StatusDetails != message.DetailFailed {
		return fault.New("quickstart", fault.InternalServerError, "the second document ended as %s, not as Failed", c.StatusDetails)
	}

	fmt.Fprintf(w, "\n3. A long one, cancelled half-way\n")
	c, err = f.Commands.Send(ctx, command.SendRequest{DocumentName: "slow", Content: builtin("slow"), Targets: all, MaxConcurrency: "2", NoRamp: true})
	if err != nil {
		return err
	}
	id, asked := c.ID, false
	c, err = watch(ctx, f.Fleet, id, names, w, func(u command.Update) {
		working := slices.ContainsFunc(u.Changes, func(ch command.Change) bool { return ch.Detail == message.DetailInProgress && ch.Step > 0 })
		if !asked && working && u.Command.Completed >= min(2, u.Command.Targets-1) {
			asked = true
			if !terminal(w) {
				fmt.Fprintln(w, "           cancelling")
			}
			if err := f.Commands.Cancel(ctx, id); err != nil {
				fmt.Fprintln(w, "cancel:", fault.MessageOf(err))
			}
		}
	})
	if err != nil {
		return err
	}
	if err := results(ctx, f.Fleet, c, names, w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nRun a document of your own:  go run ./examples/quickstart -document FILE -parameters name=value -targets Key=tag:Role,Values=web\n")
	return nil
}

// own runs the user's document.
func own(ctx context.Context, o options, f *fleet, w io.Writer) error {
	names, err := online(ctx, f.Fleet)
	if err != nil {
		return err
	}
	c, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: filepath.Base(o.document), Content: o.content, Parameters: o.parameters, Targets: o.targets, MaxConcurrency: o.rate})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s on %d machines, %s at a time\n", fault.Clean(filepath.Base(o.document)), c.TargetCount, o.rate)
	if c, err = watch(ctx, f.Fleet, c.ID, names, w, nil); err != nil {
		return err
	}
	if err := results(ctx, f.Fleet, c, names, w); err != nil {
		return err
	}
	if err := outputs(ctx, f, c, names, w); err != nil {
		return err
	}
	if c.StatusDetails != message.DetailSuccess {
		return errFailed
	}
	return nil
}

// outputs prints what the first machine that ran wrote, whole.
func outputs(ctx context.Context, f *fleet, c command.Command, names map[string]node.Info, w io.Writer) error {
	page, _, err := f.Commands.Invocations(ctx, command.ListRequest{Command: c.ID})
	if err != nil {
		return err
	}
	for _, r := range page {
		if len(r.Steps) == 0 {
			continue
		}
		for _, st := range r.Steps {
			fmt.Fprintf(w, "\n%s (%s), step %s: %s\n", name(names, r.Node), r.Node, fault.Clean(st.Name), st.Status)
			if st.Reason != "" {
				fmt.Fprintf(w, "  (%s)\n", fault.Clean(st.Reason))
			}
			for _, stderr := range []bool{false, true} {
				if err := output(ctx, f, c.ID, r.Node, st.Name, stderr, w); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return nil
}

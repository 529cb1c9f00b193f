// Command quickstart shows fleetwright at work in a few seconds: a control plane on an embedded store, an HTTPS endpoint on loopback, and five agents as
// processes of their own, which register through activations. It needs no root and no set-up.
//
//	go run ./examples/quickstart                  three documents: one in steps, one that fails on a machine, one that is cancelled
//	go run ./examples/quickstart -document my.yaml -parameters 'who=you' -targets Key=tag:Role,Values=web
//	go run ./examples/quickstart -keep ./fleet    keeps everything; the next run lists the history
//	go run ./examples/quickstart -kill            kills an agent and the control plane in mid-command
//
// The exit code is 0 when everything ended as it should, 1 when a command of yours failed or something went wrong, 2 for bad arguments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/target"
)

// options are the flags.
type options struct {
	nodes      int
	keep       string
	kill       bool
	document   string
	content    []byte
	parameters map[string][]string
	targets    []target.Target
	rate       string // MaxConcurrency
}

func main() {
	if role := os.Getenv(roleVar); role != "" { // a child of ours
		os.Exit(child(role))
	}
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		report(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		if !errors.Is(err, errFailed) {
			report(os.Stderr, err)
		}
		os.Exit(1)
	}
}

// report prints an error, one line for each finding of a document.
func report(w io.Writer, err error) {
	var fs document.Findings
	if errors.As(err, &fs) {
		for _, f := range fs {
			fmt.Fprintln(w, f)
		}
		return
	}
	fmt.Fprintln(w, "quickstart:", fault.MessageOf(err))
}

// errFailed: a command of the user's did not succeed; everything was said.
var errFailed = errors.New("the command did not succeed")

func parse(args []string, w io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	fs.SetOutput(w)
	fs.IntVar(&o.nodes, "nodes", 5, "how many agents, 1 to 50")
	fs.StringVar(&o.keep, "keep", "", "keep the fleet in this `directory`")
	fs.BoolVar(&o.kill, "kill", false, "kill an agent and the control plane in mid-command")
	fs.StringVar(&o.document, "document", "", "run the document in this `file` (JSON or YAML)")
	parameters := fs.String("parameters", "", "its parameters, as `name=value,…` or JSON")
	targets := fs.String("targets", "", "where to run it, as `Key=tag:Role,Values=web` (default: everywhere)")
	fs.StringVar(&o.rate, "max-concurrency", "2", "how many agents at a time, a number or a percentage")
	fs.Usage = func() {
		fmt.Fprint(w, "Usage: quickstart [flags]\n\nStarts a fleet on this machine and runs documents on it.\n\n")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	bad := func(format string, args ...any) (options, error) {
		return o, fault.New("quickstart", fault.Validation, format, args...)
	}
	switch {
	case fs.NArg() > 0:
		return bad("unexpected argument %q; see -help", fs.Arg(0))
	case o.nodes < 1 || o.nodes > 50:
		return bad("-nodes is %d; give 1 to 50", o.nodes)
	case o.document == "" && (*parameters != "" || *targets != ""):
		return bad("-parameters and -targets belong to a -document")
	case o.document != "" && o.kill:
		return bad("-kill has a document of its own: leave -document out")
	}
	if _, err := target.ParseConcurrency(o.rate); err != nil {
		return o, err
	}
	if o.document == "" {
		return o, nil
	}
	if o.content, err = os.ReadFile(o.document); err != nil {
		return bad("-document: %v", err)
	}
	doc, err := document.Parse(o.content, &document.Options{File: o.document})
	if err != nil {
		return o, err
	}
	if doc.Kind != document.Command {
		return bad("%s is a document of type %s; agents run Command documents", o.document, doc.Kind)
	}
	if o.parameters, err = command.ParseParameters(*parameters); err != nil {
		return o, err
	}
	if _, err := doc.Bind(o.parameters, nil); err != nil {
		return o, err
	}
	if *targets == "" {
		*targets = "Key=InstanceIds,Values=*"
	}
	if o.targets, err = target.Parse(*targets); err != nil {
		return o, err
	}
	return o, target.Validate(o.targets, nil)
}

// run starts a fleet, does what was asked for, and leaves nothing behind unless it was told to.
func run(ctx context.Context, o options, w io.Writer) error {
	dir := o.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "fleetwright-quickstart-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if o.kill {
		return killing(ctx, o, dir, w)
	}
	f, err := startFleet(ctx, o, dir, w)
	if err != nil {
		return err
	}
	defer f.close()
	if o.document != "" {
		err = own(ctx, o, f, w)
	} else {
		err = tour(ctx, f, w)
	}
	if o.keep != "" {
		fmt.Fprintf(w, "\nKept in %s; run again with -keep to go on.\n", o.keep)
	}
	return err
}

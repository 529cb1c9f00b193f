// Runbook runs Automation documents (schema 0.3) on this machine, without a server: every execution is kept in a file of its own, so that one which was stopped, killed or
// left waiting goes on where it was.
//
//	go run ./examples/runbook                                        # patches a web node of a small fleet: drain, patch, check, ask, put back
//	go run ./examples/runbook -fail                                  # the same with a faulty release: it is rolled back
//	go run ./examples/runbook run restart.yaml -parameters InstanceId=i-1 -fake answers.json
//	go run ./examples/runbook plan restart.yaml -parameters InstanceId=i-1
//	go run ./examples/runbook explore restart.yaml
//	go run ./examples/runbook graph restart.yaml -svg restart.svg
//	go run ./examples/runbook list
//	go run ./examples/runbook resume 3f2a                            # after Ctrl-C or a kill; the beginning of an id will do
//	go run ./examples/runbook approve 3f2a ask                       # or reject
//	go run ./examples/runbook history 3f2a
//	go run ./examples/runbook fork 3f2a -from patch -set Release=2.5.1
//	go run ./examples/runbook stop 3f2a
//
// Executions are kept in -dir, $RUNBOOK_DIR or ./runbook-data. Runbooks that a runbook starts are looked for beside it. Scripts (aws:executeScript) run in namespaces of their
// own, without a network, and see nothing of -dir; where the machine cannot do that they fail and say so. No step calls AWS: -fake FILE says what its operations answer,
//
//	{"ec2:DescribeInstances": [{"Reservations": []}, {"$error": "Throttling: slow down"}], "aws:runCommand": {"Status": "Success"}, "step:look": {"Id": "i-1"}, "*": "expected"}
//
// one answer a call, the last of a list for all further calls; the answer "expected" is what the runbook's own selectors look for, and "*": "expected" says so of all the rest, scripts excepted. With -fleet
// aws:runCommand and the operations of the service ssm are those of the small fleet of the default example.
//
// Approvals are asked for in the terminal, or answered by -yes and -no; otherwise the program ends and says how to approve. Exit codes: 0 the execution is a Success; 3 it is
// not, or not yet; 1 something could not be done; 2 bad arguments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// The exit codes.
const (
	exitOK        = 0
	exitRefused   = 1
	exitArguments = 2
	exitNot       = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, terminal: isTerminal(os.Stdin), now: time.Now}
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(a.main(ctx, os.Args[1:]))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// app is one invocation.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stdin is one
	now            func() time.Time
	lines          chan string // of stdin, once it is read
}

// usage is an error in the arguments.
type usage struct{ text string }

func (u usage) Error() string { return u.text }

func bad(format string, args ...any) error { return usage{fmt.Sprintf(format, args...)} }

// errNot means that the execution is no Success, and that everything was told.
var errNot = errors.New("the execution is no success")

// verb is a subcommand.
type verb struct {
	name, args, summary string
	run                 func(a *app, ctx context.Context, p *parsed) error
	flags               func(fs *flag.FlagSet) // its own flags; may be nil
}

func verbs() []verb {
	answers := func(fs *flag.FlagSet) {
		fs.Bool("yes", false, "approve what is asked, and go on at pauses")
		fs.Bool("no", false, "reject what is asked")
		fs.String("as", "", "approve as this `name` instead of as the first approver who has not decided")
	}
	start := func(fs *flag.FlagSet) {
		answers(fs)
		fs.String("parameters", "", "as `name=value,…` or JSON")
		fs.String("fake", "", "a `file` with what operations answer")
		fs.Bool("fleet", false, "aws:runCommand and the service ssm are the small fleet of the default example")
		fs.Bool("interactive", false, "ask before every step (Mode Interactive)")
	}
	return []verb{
		{name: "demo", summary: "patch a web node of a small fleet (this is the default)", flags: func(fs *flag.FlagSet) {
			answers(fs)
			fs.Bool("fail", false, "with a release that is faulty: the way back is shown")
			fs.String("parameters", "", "others than the usual ones, as `name=value,…` or JSON")
		}, run: (*app).demo},
		{name: "run", args: "FILE", summary: "run a runbook and follow it", flags: start, run: (*app).runFile},
		{name: "plan", args: "FILE", summary: "say what every step would do, without doing it", flags: func(fs *flag.FlagSet) {
			fs.String("parameters", "", "as `name=value,…` or JSON")
		}, run: (*app).plan},
		{name: "explore", args: "FILE", summary: "try every outcome of every step, and say what is wrong with the ways to an end", flags: func(fs *flag.FlagSet) {
			fs.Bool("cancel", false, "try a stop at every step, too")
			fs.Int("states", 0, "how many states are looked at (default 5000)")
		}, run: (*app).explore},
		{name: "graph", args: "FILE|ID", summary: "draw a runbook, or an execution with its statuses, as Mermaid", flags: func(fs *flag.FlagSet) {
			fs.String("svg", "", "write SVG to this `file` instead")
		}, run: (*app).graph},
		{name: "list", summary: "list executions, the newest first", run: (*app).list},
		{name: "history", args: "ID [CHILD]", summary: "say all that happened to an execution, or to one that it started; it is decided again, so that a change would be found", run: (*app).history},
		{name: "resume", args: "ID [STEP]", summary: "go on with an execution; with STEP its pause ends, or it is started (interactive)", flags: answers, run: (*app).resume},
		{name: "approve", args: "ID STEP", summary: "approve what a step asks, and go on", flags: decide, run: (*app).approve},
		{name: "reject", args: "ID STEP", summary: "reject it, and go on", flags: decide, run: (*app).reject},
		{name: "fork", args: "ID", summary: "begin again at a step, with other inputs, what came before being kept", flags: func(fs *flag.FlagSet) {
			answers(fs)
			fs.String("from", "", "the `step`, or its number in the order of steps begun")
			fs.Var(&pairs{}, "set", "an input of that step, as `name=value`; may be given again")
		}, run: (*app).fork},
		{name: "stop", args: "ID", summary: "cancel an execution: its onCancel steps run", flags: func(fs *flag.FlagSet) {
			fs.Bool("complete", false, "let the step at work finish instead")
		}, run: (*app).stop},
	}
}

func decide(fs *flag.FlagSet) {
	fs.String("comment", "", "what to say with it")
	fs.String("as", "", "as this `name` instead of as the first approver who has not decided")
	fs.Bool("yes", false, "approve what is asked later, too")
}

// pairs is a flag that may be given again.
type pairs struct{ of []string }

func (p *pairs) String() string { return strings.Join(p.of, ",") }
func (p *pairs) Set(s string) error {
	if k, _, ok := strings.Cut(s, "="); !ok || k == "" {
		return errors.New("it is name=value")
	}
	p.of = append(p.of, s)
	return nil
}

// main runs a subcommand and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	err := a.dispatch(ctx, args)
	var u usage
	var findings document.Findings
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errNot):
		return exitNot
	case errors.As(err, &u):
		fmt.Fprintln(a.stderr, "runbook:", u.text)
		return exitArguments
	case errors.As(err, &findings):
		for _, f := range findings {
			fmt.Fprintln(a.stderr, f)
		}
		return exitRefused
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "runbook: interrupted")
		return exitRefused
	}
	fmt.Fprintln(a.stderr, "runbook:", reason(err))
	return exitRefused
}

// reason is an error for a person.
func reason(err error) string {
	if msg := fault.MessageOf(err); msg != "" {
		return msg
	}
	return err.Error()
}

// parsed are a subcommand's arguments.
type parsed struct {
	fs   *flag.FlagSet
	args []string // those that are no flags
	dir  string
}

func (p *parsed) str(name string) string {
	if f := p.fs.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}
func (p *parsed) on(name string) bool { return p.str(name) == "true" }

// arg checks the number of arguments: those whose name is in brackets need not be there.
func (p *parsed) arg(names ...string) error {
	for i, n := range names {
		if i >= len(p.args) && !strings.HasPrefix(n, "[") {
			return bad("%s is missing", n)
		}
	}
	if len(p.args) > len(names) {
		return bad("argument %q is one too many", fault.Clean(p.args[len(names)]))
	}
	return nil
}

// dispatch finds the verb; without one it is the default example.
func (a *app) dispatch(ctx context.Context, args []string) error {
	vs := verbs()
	v := &vs[0]
	at := 0
	for at < len(args) && (strings.HasPrefix(args[at], "-dir=") || strings.HasPrefix(args[at], "--dir=")) {
		at++
	}
	if at+1 < len(args) && (args[at] == "-dir" || args[at] == "--dir") {
		at += 2
	}
	if at < len(args) && !strings.HasPrefix(args[at], "-") {
		n := slices.IndexFunc(vs, func(v verb) bool { return v.name == args[at] })
		switch {
		case args[at] == "help":
			return a.help(vs)
		case n < 0:
			return bad("%q is none of %s", fault.Clean(args[at]), names(vs))
		}
		v = &vs[n]
		args = slices.Delete(slices.Clone(args), at, at+1)
	}
	if v == &vs[0] && slices.ContainsFunc(args, func(s string) bool { return s == "-h" || s == "-help" || s == "--help" }) {
		return a.help(vs)
	}
	p := &parsed{fs: flag.NewFlagSet(v.name, flag.ContinueOnError)}
	p.fs.SetOutput(io.Discard)
	p.fs.StringVar(&p.dir, "dir", "", "where executions are kept (default $RUNBOOK_DIR, else ./runbook-data)")
	if v.flags != nil {
		v.flags(p.fs)
	}
	for {
		if err := p.fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprintf(a.stderr, "runbook %s %s\n    %s\n", v.name, v.args, v.summary)
				p.fs.SetOutput(a.stderr)
				p.fs.PrintDefaults()
				return err
			}
			return bad("%s: %v", v.name, err)
		}
		if p.fs.NArg() == 0 {
			break
		}
		p.args, args = append(p.args, p.fs.Arg(0)), p.fs.Args()[1:]
	}
	if p.dir == "" {
		if p.dir = os.Getenv("RUNBOOK_DIR"); p.dir == "" {
			p.dir = "runbook-data"
		}
	}
	if p.on("yes") && p.on("no") {
		return bad("%s: -yes and -no exclude each other", v.name)
	}
	err := v.run(a, ctx, p)
	var u usage
	if errors.As(err, &u) {
		return bad("%s: %s", v.name, u.text)
	}
	return err
}

func names(vs []verb) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		s[i] = v.name
	}
	return strings.Join(s, ", ")
}

func (a *app) help(vs []verb) error {
	fmt.Fprintln(a.stderr, "Runs Automation documents on this machine. Without a verb: the demo.")
	for _, v := range vs {
		fmt.Fprintf(a.stderr, "  %-20s %s\n", strings.TrimSpace(v.name+" "+v.args), v.summary)
	}
	fmt.Fprintln(a.stderr, "\nFlags of a verb: runbook VERB -help. Executions are kept in -dir, $RUNBOOK_DIR or ./runbook-data.")
	return flag.ErrHelp
}

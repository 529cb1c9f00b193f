// Fleetctl talks to a control plane: it runs commands on nodes, follows them, and looks after nodes, documents, groups, inventory,
// patches, compliance and parameters.
//
// On the machine of a control plane that was started with its defaults (go run ./examples/controlplane) it needs no flags:
//
//	go run ./examples/fleetctl nodes
//	go run ./examples/fleetctl run -targets Key=tag:Role,Values=web -- uptime
//	go run ./examples/fleetctl run -targets Key=tag:Role,Values=web -document Restart-Web -parameters service=nginx
//	go run ./examples/fleetctl plan -targets Key=tag:Role,Values=web -max-concurrency 10% -- systemctl restart nginx
//	go run ./examples/fleetctl activations create -limit 10 -tags Role=web -code-file web.code
//	go run ./examples/fleetctl documents create Restart-Web restart.yaml
//	go run ./examples/fleetctl list
//	go run ./examples/fleetctl output COMMAND-ID NODE
//	go run ./examples/fleetctl inventory gather -targets Key=InstanceIds,Values=*
//	go run ./examples/fleetctl inventory find 'AWS:Application.Name=openssl' 'AWS:Application.Version<3.0.15'
//	go run ./examples/fleetctl patches scan -targets Key=tag:Role,Values=web
//	go run ./examples/fleetctl patches list NODE -state Missing
//	go run ./examples/fleetctl compliance nodes -status NON_COMPLIANT
//	go run ./examples/fleetctl parameters put /web/db/password -type SecureString < password
//
// For who is woken by it at night, and for who wants to sleep:
//
//	go run ./examples/fleetctl doctor                      # how the control plane stands
//	go run ./examples/fleetctl doctor COMMAND-ID NODE      # why this waits, on one screen
//	go run ./examples/fleetctl backup fleet.backup         # while it runs; or -dir data when it is stopped
//	go run ./examples/fleetctl restore fleet.backup -dir data -keys keys.json
//	go run ./examples/fleetctl fsck -repair
//	go run ./examples/fleetctl compact -dir data
//
// Elsewhere say where and who: -server URL -token-file FILE -ca FILE (or -cert FILE -key FILE for a client certificate), or -profile FILE with these as
// JSON: {"server": "https://plane:8443", "tokenFile": "/path/token", "caFile": "/path/ca.pem"}. Without flags the profile is the first that exists of $FLEETCTL_PROFILE,
// ./data/fleetctl.json, ~/.config/fleetwright/fleetctl.json and /var/lib/fleetwright/fleetctl.json. Profiles and token files must belong to you (or root) and nobody else may write them.
//
// Targets and parameters are written as the AWS CLI has them. Output is a table, or JSON with -o json. Exit codes: 0 all went well; 1 the control plane refused
// or could not be reached, or fsck or doctor found something wrong; 2 bad arguments; 3 the command did not succeed on every node (run, watch, get).
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

	"github.com/fleetwright/fleetwright/fault"
)

// The exit codes.
const (
	exitOK        = 0
	exitRefused   = 1
	exitArguments = 2
	exitFailed    = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, terminal: isTerminal(os.Stderr)}
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(a.main(ctx, os.Args[1:]))
}

// app is one invocation of fleetctl.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stderr is one

	conn connection
}

// usage is an error in the arguments.
type usage struct{ text string }

func (u usage) Error() string { return u.text }

func bad(format string, args ...any) error { return usage{fmt.Sprintf(format, args...)} }

// errFailed means that everything was told already, and that the command did not succeed.
var errFailed = errors.New("the command did not succeed")

// verb is a subcommand.
type verb struct {
	name, args, summary string
	more                string // what its help says besides; may be empty
	run                 func(a *app, ctx context.Context, p *parsed) error
	flags               func(fs *flag.FlagSet) // its own flags; may be nil
	subs                []verb
}

func verbs() []verb {
	return append([]verb{
		{name: "run", args: "-targets … (-- SHELL COMMAND | -document NAME | -content FILE)", summary: "run something on nodes, follow it, and show a table", flags: sendFlags, run: (*app).runCommand},
		{name: "send", args: "as run", summary: "as run, but only print the command's id", flags: sendFlags, run: (*app).send},
		{name: "plan", args: "as run", summary: "say what run would do, without doing it", flags: sendFlags, run: (*app).plan},
		{name: "watch", args: "COMMAND", summary: "follow a command until it ends", flags: func(fs *flag.FlagSet) { fs.Bool("q", false, "no progress, only the table") }, run: (*app).watch},
		{name: "output", args: "COMMAND NODE", summary: "print all that a step wrote", flags: outputFlags, run: (*app).output},
		{name: "cancel", args: "COMMAND [NODE…]", summary: "ask for a command's end", run: (*app).cancel},
		{name: "list", args: "", summary: "list commands, the newest first", flags: listFlags, run: (*app).list},
		{name: "get", args: "COMMAND [NODE]", summary: "show a command, or how it went on one node", run: (*app).get},
		{name: "nodes", args: "", summary: "list nodes", flags: nodesFlags, run: (*app).nodes, subs: []verb{
			{name: "rename", args: "NODE NAME", summary: "change the name under which a node is shown", run: (*app).renameNode},
			{name: "delete", args: "NODE", summary: "remove a node", run: (*app).deleteNode},
		}},
		{name: "activations", summary: "codes with which machines register", subs: []verb{
			{name: "create", summary: "make one", flags: activationFlags, run: (*app).createActivation},
			{name: "list", summary: "list them", run: (*app).listActivations},
			{name: "delete", args: "ACTIVATION", summary: "delete one; its nodes stay", run: (*app).deleteActivation},
		}},
		{name: "documents", summary: "what can be run", subs: []verb{
			{name: "create", args: "NAME FILE", summary: "store a new one", flags: documentFlags, run: (*app).createDocument},
			{name: "update", args: "NAME FILE", summary: "store a new version, and make it the default", flags: updateFlags, run: (*app).updateDocument},
			{name: "get", args: "NAME", summary: "print its text", flags: versionFlag, run: (*app).getDocument},
			{name: "list", summary: "list them", flags: func(fs *flag.FlagSet) { fs.Bool("own", false, "without the built-in ones") }, run: (*app).listDocuments},
			{name: "versions", args: "NAME", summary: "list its versions", run: (*app).documentVersions},
			{name: "default", args: "NAME VERSION", summary: "choose the default version", run: (*app).defaultVersion},
			{name: "delete", args: "NAME", summary: "delete it, or one version", flags: versionFlag, run: (*app).deleteDocument},
		}},
		{name: "inventory", summary: "what is on nodes: packages, services, networks, your own", subs: inventoryVerbs()},
		{name: "patches", summary: "what nodes lack, and what they are to have", subs: patchVerbs()},
		{name: "compliance", summary: "how far nodes are as they should be, by type", run: (*app).compliance, subs: complianceVerbs()},
		{name: "parameters", summary: "configuration and secrets by name", subs: parameterVerbs()},
		{name: "tags", summary: "tags of nodes, documents, parameters and patch baselines", subs: []verb{
			{name: "list", args: "RESOURCE", summary: "show them", flags: typeFlag, run: (*app).listTags},
			{name: "set", args: "RESOURCE NAME=VALUE…", summary: "set some", flags: typeFlag, run: (*app).setTags},
			{name: "remove", args: "RESOURCE NAME…", summary: "remove some", flags: typeFlag, run: (*app).removeTags},
		}},
		{name: "groups", summary: "resource groups: nodes by a query over tags", subs: []verb{
			{name: "create", args: "NAME", summary: "make one", flags: groupFlags, run: (*app).createGroup},
			{name: "list", summary: "list them", run: (*app).listGroups},
			{name: "get", args: "NAME", summary: "show its query", run: (*app).getGroup},
			{name: "nodes", args: "NAME", summary: "list its nodes", run: (*app).groupNodes},
			{name: "update", args: "NAME", summary: "replace its query", flags: groupFlags, run: (*app).updateGroup},
			{name: "delete", args: "NAME", summary: "delete it; its nodes stay", run: (*app).deleteGroup},
		}},
		{name: "audit", summary: "the record of calls, the newest first", flags: auditFlags, run: (*app).audit},
	}, operateVerbs()...)
}

// main runs a subcommand and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	err := a.dispatch(ctx, args)
	var u usage
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.Is(err, errWrong):
		return exitRefused
	case errors.As(err, &u):
		fmt.Fprintln(a.stderr, "fleetctl:", u.text)
		return exitArguments
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "fleetctl: interrupted")
		return exitRefused
	}
	fmt.Fprintln(a.stderr, "fleetctl:", reason(err))
	return exitRefused
}

// reason is an error for a person: the control plane's code and text.
func reason(err error) string {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if msg := fault.MessageOf(err); msg != "" {
		return string(fault.CodeOf(err)) + ": " + msg
	}
	return string(fault.CodeOf(err))
}

func (a *app) dispatch(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("fleetctl", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	a.conn.flags(fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			a.help("fleetctl", verbs(), nil, nil)
			return err
		}
		return bad("%v", err)
	}
	return a.choose(ctx, "fleetctl", verbs(), nil, fs.Args())
}

// choose finds the subcommand among vs; self is the verb that has them.
func (a *app) choose(ctx context.Context, path string, vs []verb, self *verb, args []string) error {
	if len(args) > 0 {
		if i := slices.IndexFunc(vs, func(v verb) bool { return v.name == args[0] }); i >= 0 {
			return a.choose(ctx, path+" "+vs[i].name, vs[i].subs, &vs[i], args[1:])
		}
	}
	if self != nil && self.run != nil {
		return a.invoke(ctx, path, self, args)
	}
	if len(args) == 0 || isHelp(args[0]) {
		a.help(path, vs, self, nil)
		if len(args) == 0 {
			return bad("say what to do: %s", names(vs))
		}
		return nil
	}
	return bad("%s%q is none of %s", prefix(path), fault.Clean(args[0]), names(vs))
}

func names(vs []verb) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		s[i] = v.name
	}
	return strings.Join(s, ", ")
}

func isHelp(s string) bool { return s == "-h" || s == "-help" || s == "--help" || s == "help" }

func (a *app) help(path string, vs []verb, self *verb, fs *flag.FlagSet) {
	w := a.stderr
	if self != nil && self.run != nil {
		fmt.Fprintf(w, "%s\n    %s\n", strings.TrimSpace(path+" "+self.args), self.summary)
		for line := range strings.Lines(self.more) {
			fmt.Fprintf(w, "    %s", line)
		}
	}
	for _, v := range vs {
		fmt.Fprintf(w, "  %-12s %s\n", v.name, v.summary)
	}
	if fs != nil {
		fs.SetOutput(w)
		fs.PrintDefaults()
	}
}

// prefix names the subcommand in an error.
func prefix(path string) string {
	if p := strings.TrimPrefix(path, "fleetctl"); p != "" {
		return p[1:] + ": "
	}
	return ""
}

// parsed are a subcommand's arguments.
type parsed struct {
	fs   *flag.FlagSet
	args []string // those that are no flags
	rest []string // behind --, nil when there is none
}

func (p *parsed) str(name string) string { return p.fs.Lookup(name).Value.String() }
func (p *parsed) on(name string) bool    { return p.str(name) == "true" }
func (p *parsed) num(name string) int {
	n, _ := p.fs.Lookup(name).Value.(flag.Getter).Get().(int)
	return n
}

// arg checks the number of arguments and returns those that are named.
func (p *parsed) arg(names ...string) ([]string, error) {
	for i, n := range names {
		if i >= len(p.args) {
			return nil, bad("%s is missing", n)
		}
	}
	if len(p.args) > len(names) {
		return nil, bad("argument %q is one too many", fault.Clean(p.args[len(names)]))
	}
	if p.rest != nil {
		return nil, bad("nothing is expected behind --")
	}
	return p.args, nil
}

// invoke parses the arguments, flags and others in any order, and runs the verb.
func (a *app) invoke(ctx context.Context, path string, v *verb, args []string) error {
	p := &parsed{fs: flag.NewFlagSet(path, flag.ContinueOnError)}
	p.fs.SetOutput(io.Discard)
	a.conn.flags(p.fs)
	if v.flags != nil {
		v.flags(p.fs)
	}
	if i := slices.Index(args, "--"); i >= 0 {
		args, p.rest = args[:i], args[i+1:]
		if p.rest == nil {
			p.rest = []string{}
		}
	}
	for {
		if err := p.fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				a.help(path, v.subs, v, p.fs)
				return err
			}
			return bad("%s%v", prefix(path), err)
		}
		if p.fs.NArg() == 0 {
			break
		}
		p.args, args = append(p.args, p.fs.Arg(0)), p.fs.Args()[1:]
	}
	if f := a.conn.format; f != "table" && f != "json" {
		return bad("-o %q: table or json", fault.Clean(f))
	}
	err := v.run(a, ctx, p)
	var u usage
	if errors.As(err, &u) {
		return usage{prefix(path) + u.text}
	}
	return err
}

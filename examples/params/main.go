// Params keeps configuration and secrets by name, as Parameter Store does: in a directory of its own, or in a PostgreSQL database that several machines share.
//
//	go run ./examples/params init                                 # the store, and the key file without which no secret is ever read again
//	go run ./examples/params put /web/db/host db1.internal
//	go run ./examples/params put -secret /web/db/password         # asks for the value, or reads it from a pipe
//	go run ./examples/params get /web/db/password
//	go run ./examples/params list /web
//	go run ./examples/params label /web/db/host:2 prod
//	go run ./examples/params exec /web/db -- ./server             # HOST and PASSWORD in its environment
//	go run ./examples/params rotate-key
//	go run ./examples/params who /web/db/password                 # who read it
//
// The directory is -dir, $PARAMS_DIR or ./params-data; the database is -postgres or $PARAMS_POSTGRES, whose password comes from PGPASSWORD or ~/.pgpass. The key file is -keys, $PARAMS_KEYS, or keys.json
// in the directory: keep a copy of it elsewhere. A passphrase of the key file is asked for when a secret is read or written; a service takes it from -key-passphrase-file or the systemd credential params.
//
// Secrets come from a prompt or standard input, never from arguments, which every user of a machine can see. Output is for people, or JSON with -o json; get prints the bare value. Exit codes: 0 all went
// well; 1 refused or failed; 2 bad arguments. Exec ends with the program's own code, or as a shell does with 126 or 127 when it cannot be started.
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

	"github.com/fleetwright/fleetwright/fault"
)

// The exit codes.
const (
	exitOK        = 0
	exitRefused   = 1
	exitArguments = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, environ: os.Environ, now: time.Now, terminal: openTerminal, become: become}
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(a.main(ctx, os.Args[1:]))
}

// app is one invocation.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	environ        func() []string
	now            func() time.Time
	terminal       func() (terminal, error)
	become         func(ctx context.Context, program string, argv, env []string) error // starts the program of exec

	where  where
	format string
	rounds int // of deriving keys from passphrases; 0 is what the packages hold for safe
}

// usage is an error in the arguments.
type usage struct{ text string }

func (u usage) Error() string { return u.text }

func bad(format string, args ...any) error { return usage{fmt.Sprintf(format, args...)} }

// exit is an exit code of which everything was told already.
type exit int

func (e exit) Error() string { return fmt.Sprint("exit code ", int(e)) }

// verb is a subcommand.
type verb struct {
	name, args, summary string
	run                 func(a *app, ctx context.Context, p *parsed) error
	flags               func(fs *flag.FlagSet) // its own flags; may be nil
}

func verbs() []verb {
	return []verb{
		{name: "init", summary: "make the store and its key file", flags: initFlags, run: (*app).init},
		{name: "put", args: "NAME [VALUE]", summary: "make a parameter, or a new version with -overwrite; without VALUE it is asked for or read from standard input", flags: putFlags, run: (*app).put},
		{name: "get", args: "NAME[:VERSION|:LABEL]", summary: "print a value, as it is", flags: getFlags, run: (*app).get},
		{name: "list", args: "[PATH]", summary: "show the tree of parameters", flags: listFlags, run: (*app).list},
		{name: "history", args: "NAME", summary: "show the versions of a parameter", flags: historyFlags, run: (*app).history},
		{name: "diff", args: "PATH [PATH]", summary: "compare two paths, or one at two times", flags: diffFlags, run: (*app).diff},
		{name: "label", args: "NAME[:VERSION] LABEL…", summary: "give a version labels, taking them from the version that has them", run: (*app).label},
		{name: "unlabel", args: "NAME:VERSION LABEL…", summary: "take labels from a version", run: (*app).unlabel},
		{name: "tags", args: "NAME [set KEY=VALUE… | remove KEY…]", summary: "show or change the tags of a parameter", run: (*app).tags},
		{name: "delete", args: "NAME… | -r PATH", summary: "delete parameters with their history", flags: deleteFlags, run: (*app).delete},
		{name: "exec", args: "PATH… -- PROGRAM [ARGUMENT…]", summary: "run a program with the parameters below the paths as environment variables", flags: execFlags, run: (*app).exec},
		{name: "export", args: "[PATH]", summary: "write parameters to a file; secrets only with -secrets, encrypted", flags: exportFlags, run: (*app).export},
		{name: "import", args: "FILE|-", summary: "make parameters of an export, of the AWS CLI's output, or of a dotenv file", flags: importFlags, run: (*app).importFile},
		{name: "watch", args: "[PATH]", summary: "follow changes", flags: watchFlags, run: (*app).watch},
		{name: "who", args: "[NAME|PATH]", summary: "who read what, the newest first: from the audit log", flags: whoFlags, run: (*app).who},
		{name: "verify", summary: "check that the audit log is whole", run: (*app).verify},
		{name: "keys", summary: "show the keys of the key file", run: (*app).keys},
		{name: "rotate-key", summary: "make a new key and give it to every secret", flags: rotateFlags, run: (*app).rotateKey},
	}
}

// main runs a subcommand and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	err := a.dispatch(ctx, args)
	var u usage
	var e exit
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &e):
		return int(e)
	case errors.As(err, &u):
		fmt.Fprintln(a.stderr, "params:", u.text)
		return exitArguments
	case ctx.Err() != nil:
		fmt.Fprintln(a.stderr, "params: interrupted")
		return exitRefused
	}
	fmt.Fprintln(a.stderr, "params:", reason(err))
	return exitRefused
}

// told is an error of this program's own: its text is what a person should read, whatever services wrap around it.
type told struct {
	code fault.Code
	text string
}

func tell(code fault.Code, format string, args ...any) error {
	return &told{code, fmt.Sprintf(format, args...)}
}

func (t *told) Error() string         { return t.text }
func (t *told) FaultCode() fault.Code { return t.code }

// reason is an error for a person: its code and text.
func reason(err error) string {
	var t *told
	if errors.As(err, &t) {
		return string(t.code) + ": " + t.text
	}
	return string(fault.CodeOf(err)) + ": " + message(err)
}

// message is what an error says, without codes and operations.
func message(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return fault.MessageOf(e)
	}
	return err.Error()
}

func (a *app) dispatch(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("params", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	a.flags(fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			a.help(fs)
			return err
		}
		return bad("%v", err)
	}
	args = fs.Args()
	if len(args) == 0 {
		a.help(fs)
		return bad("say what to do")
	}
	if i := slices.IndexFunc(verbs(), func(v verb) bool { return v.name == args[0] }); i >= 0 {
		return a.invoke(ctx, &verbs()[i], args[1:])
	}
	if args[0] == "help" {
		a.help(fs)
		return nil
	}
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	return bad("\"%s\" is none of %s", fault.Clean(args[0]), strings.Join(names, ", "))
}

func (a *app) help(fs *flag.FlagSet) {
	fmt.Fprintln(a.stderr, "params [flags] VERB …   (params VERB -h tells more)")
	for _, v := range verbs() {
		fmt.Fprintf(a.stderr, "  %-10s  %s\n", v.name, v.summary)
	}
	fmt.Fprintln(a.stderr, "flags of every verb:")
	fs.SetOutput(a.stderr)
	fs.PrintDefaults()
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

// given reports whether a flag was set.
func (p *parsed) given(name string) bool {
	found := false
	p.fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// arg checks the number of arguments, of which the first need are required.
func (p *parsed) arg(need int, names ...string) ([]string, error) {
	if len(p.args) < need {
		return nil, bad("%s is missing", names[len(p.args)])
	}
	if len(p.args) > len(names) {
		return nil, bad("there are %d arguments and at most %d are taken: %s", len(p.args), len(names), strings.Join(names, " "))
	}
	for i, s := range p.args[:need] {
		if s == "" {
			return nil, bad("%s is empty", names[i])
		}
	}
	return p.args, nil
}

// pairs is a flag KEY=VALUE that may be given several times.
type pairs []string

func (p *pairs) String() string { return strings.Join(*p, " ") }
func (p *pairs) Set(s string) error {
	if k, _, ok := strings.Cut(s, "="); !ok || k == "" {
		return errors.New("it is not KEY=VALUE")
	}
	*p = append(*p, s)
	return nil
}

// invoke parses the arguments, flags and others in any order, and runs the verb.
func (a *app) invoke(ctx context.Context, v *verb, args []string) error {
	p := &parsed{fs: flag.NewFlagSet(v.name, flag.ContinueOnError)}
	p.fs.SetOutput(io.Discard)
	a.flags(p.fs)
	own := flag.NewFlagSet(v.name, flag.ContinueOnError)
	if v.flags != nil {
		v.flags(p.fs)
		v.flags(own)
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
				fmt.Fprintf(a.stderr, "params %s %s\n    %s\n", v.name, v.args, v.summary)
				own.SetOutput(a.stderr)
				own.PrintDefaults()
				fmt.Fprintln(a.stderr, "params -h shows the flags of every verb")
				return err
			}
			return bad("%s: %v", v.name, err)
		}
		if p.fs.NArg() == 0 {
			break
		}
		p.args, args = append(p.args, p.fs.Arg(0)), p.fs.Args()[1:]
	}
	if v.name != "exec" && p.rest != nil { // behind it stand arguments that begin with a dash
		p.args, p.rest = append(p.args, p.rest...), nil
	}
	if a.format != "table" && a.format != "json" {
		return bad("-o \"%s\": table or json", fault.Clean(a.format))
	}
	err := v.run(a, ctx, p)
	var u usage
	if errors.As(err, &u) {
		return usage{v.name + ": " + u.text}
	}
	return err
}

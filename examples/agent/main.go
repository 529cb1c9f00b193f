// Agent is a node's program as a host would really deploy it: it registers with an activation at its first start, then obeys its control plane until it is stopped.
//
// With a control plane that runs on this machine (go run ./examples/controlplane):
//
//	go run ./examples/fleetctl activations create -tags Role=web -code-file web.code    # prints the ID
//	go run ./examples/agent -server https://127.0.0.1:8443 -ca data/tls/ca.pem -activation ID -code-file web.code -dir node1
//
// After that the directory is enough: the code is needed once, and the node's keys never leave the directory.
//
//	go run ./examples/agent -server https://127.0.0.1:8443 -ca data/tls/ca.pem -dir node1
//
// The code comes from -code-file, from standard input (-code-file -), or from FLEETWRIGHT_ACTIVATION_CODE; never from the command line, which everybody on the machine can read.
//
// It gathers inventory when a document with aws:softwareInventory says so (AWS-GatherSoftwareInventory), and remembers in its directory what it reported, so that only what
// changed travels; it patches the machine when one says so (AWS-RunPatchBaseline), which needs root for Install. JSON files in inventory/custom below its directory (-custom-inventory) are reported as types of the owner's own.
//
// Where several control planes share a store, -server names them all, comma separated: the first is tried first, the next one when it fails.
//
// Every flag can stand in a file of lines name=value (-config FILE) or in the environment (FLEETWRIGHT_SERVER for -server); the command line goes before
// the environment, and that before the file. SIGTERM and SIGINT stop gracefully: what runs is told to end and the control plane is told how it ended. The agent reconnects for ever.
//
// On a server: fleetwright-agent.service beside this file is the systemd unit, /etc/fleetwright/agent.conf its config file.
//
//	go build -o /usr/local/bin/fleetwright-agent ./examples/agent
//	cp examples/agent/fleetwright-agent.service /etc/systemd/system/
//	systemctl enable --now fleetwright-agent
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/download"
	softwareinventory "github.com/fleetwright/fleetwright/action/inventory"
	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/action/rundocument"
	"github.com/fleetwright/fleetwright/action/shell"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory/gather"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	servers                     []string
	ca, pin, dir, name          string
	activation, codeFile        string
	log, shell, runAs, region   string
	customDir, downloads        string
	allow                       []netip.Prefix // of downloads
	strict, poll, reboot, proxy bool
	newKeys                     bool
}

// codeVariable is the environment's way to hand the activation code over.
const codeVariable = "FLEETWRIGHT_ACTIVATION_CODE"

func parse(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	server := fs.String("server", "", "`URL` of the control plane, https://HOST:PORT; comma separated, where there are several: the next is tried when one fails")
	fs.StringVar(&o.ca, "ca", "", "`file` (PEM) of the authority to trust instead of the system's; read again for each connection")
	fs.StringVar(&o.pin, "pin", "", "SHA-256 (`hex`) of a certificate to trust instead")
	fs.StringVar(&o.dir, "dir", "agent", "`directory` of the node's keys, journal and files; this agent's alone")
	fs.StringVar(&o.activation, "activation", "", "activation `id`, for the first start")
	fs.StringVar(&o.codeFile, "code-file", "", "`file` of the activation's code, - for standard input; otherwise "+codeVariable)
	fs.StringVar(&o.name, "name", "", "the `name` of the computer that the control plane shows (default the host's)")
	fs.StringVar(&o.log, "log", "text", "text or json, on standard error")
	fs.StringVar(&o.shell, "shell", "", "`program` that runs scripts without a #! line (default sh)")
	fs.BoolVar(&o.strict, "strict", false, "scripts end at their first failing command")
	fs.StringVar(&o.runAs, "run-as", "", "`user` whom scripts run as; the agent must be root")
	fs.StringVar(&o.region, "region", "", "what scripts find in AWS_SSM_REGION_NAME")
	fs.StringVar(&o.customDir, "custom-inventory", "", "`directory` of custom inventory, JSON files of the machine's owner (default inventory/custom in -dir)")
	fs.StringVar(&o.downloads, "download-from", "", "comma separated `networks` that documents may download from besides public addresses: private, loopback, or as 10.1.0.0/16; for labs")
	fs.BoolVar(&o.reboot, "allow-reboot", false, "let steps restart the machine (exit code 194)")
	fs.BoolVar(&o.poll, "long-poll", false, "do not try websockets")
	fs.BoolVar(&o.newKeys, "new-keys", false, "give the node new keys before it starts")
	fs.BoolVar(&o.proxy, "proxy-from-env", false, "connect through HTTPS_PROXY")
	if err := settings(fs, args, os.Environ()); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stderr)
			fs.PrintDefaults()
		}
		return nil, err
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("argument %q: flags only", fs.Arg(0))
	case strings.Trim(*server, ", ") == "":
		return nil, errors.New("-server is missing: say where the control plane is, as -server https://plane:8443")
	case o.log != "text" && o.log != "json":
		return nil, fmt.Errorf("-log %q: text or json", o.log)
	case o.codeFile != "" && o.activation == "":
		return nil, errors.New("-activation is missing: -code-file is the code of which activation?")
	}
	for u := range strings.SplitSeq(*server, ",") {
		u = strings.TrimRight(strings.TrimSpace(u), "/")
		if u == "" {
			continue
		}
		o.servers = append(o.servers, strings.TrimSuffix(u, "/v1/node")+"/v1/node/")
	}
	var err error
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	if o.customDir == "" {
		o.customDir = filepath.Join(o.dir, "inventory", "custom")
	} else if o.customDir, err = filepath.Abs(o.customDir); err != nil {
		return nil, fmt.Errorf("-custom-inventory: %w", err)
	}
	if o.allow, err = networks(o.downloads); err != nil {
		return nil, err
	}
	return o, nil
}

// networks reads -download-from.
func networks(s string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, n := range strings.Split(s, ",") {
		list := []string{strings.TrimSpace(n)}
		switch list[0] {
		case "":
			continue
		case "private":
			list = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
		case "loopback":
			list = []string{"127.0.0.0/8", "::1/128"}
		}
		for _, text := range list {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("-download-from %q: private, loopback, or a network such as 10.1.0.0/16", text)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// run is main with everything that it touches: it returns the exit code, 0 after a graceful stop, 2 for bad arguments, 1 for everything else.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	lean()
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "agent:", err)
		return 2
	}
	if err := serve(ctx, o, stdin, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "agent:", err)
		return 1
	}
	return 0
}

// lean makes the program small: an agent does little, on machines that are there for something else. GOGC and GOMEMLIMIT go before it.
func lean() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(128 << 20)
	}
}

func serve(ctx context.Context, o *options, stdin io.Reader, stdout, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if o.log == "json" {
		log = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	conn := httptransport.ClientConfig{URL: o.servers[0], Alternates: o.servers[1:], CAFile: o.ca, ForcePoll: o.poll, Logger: log}
	if o.pin != "" {
		conn.Pins = []string{o.pin}
	}
	if o.proxy {
		conn.Proxy = http.ProxyFromEnvironment
	}
	facts := func() message.Facts {
		f := agent.GatherFacts()
		if o.name != "" {
			f.ComputerName = o.name
		}
		return f
	}
	node, err := agent.Load(o.dir)
	if fault.CodeOf(err) == fault.DoesNotExist {
		node, err = register(ctx, o, conn, facts(), stdin, log)
	}
	if err != nil {
		return err
	}
	enroll := agent.RegisterOver(enrolment(conn, log))
	if o.newKeys {
		if err := agent.Rotate(ctx, enroll, o.dir, nil); err != nil {
			return err
		}
		if node, err = agent.Load(o.dir); err != nil {
			return err
		}
		log.Info("the node has new keys", "node", node.ID)
	}
	scripts := &shell.Options{Strict: o.strict, RunAs: o.runAs}
	if o.shell != "" {
		scripts.Interpreter = strings.Fields(o.shell)
	}
	guard := download.Guard{Allow: o.allow}
	actions, err := action.NewSet(shell.New(scripts), shell.NewPowerShell(&shell.Options{Strict: o.strict, RunAs: o.runAs}), rundocument.New(nil),
		download.New(&download.Options{Guard: guard}),
		patchbaseline.New(&patchbaseline.Options{Guard: guard, State: filepath.Join(o.dir, "patches.json")}),
		softwareinventory.New(softwareinventory.Options{Instance: true, Journal: gather.FileJournal(filepath.Join(o.dir, "inventory", "reported.json")), Gather: gather.Config{CustomDir: o.customDir}}))
	if err != nil {
		return err
	}
	conn.Address = transport.Address{Tenant: node.Tenant, Name: node.ID}
	conn.Key = node.Signer()
	link, err := httptransport.NewClient(conn)
	if err != nil {
		return err
	}
	defer link.Close()
	cfg := agent.Config{Node: node, Transport: link, Actions: actions, Log: log, Region: o.region, Facts: facts, Rotator: enroll}
	if o.reboot {
		cfg.Reboot = agent.SystemReboot
	}
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "node %s obeys %s\n", node.ID, strings.Join(o.servers, ","))
	notify("READY=1")
	err = a.Run(ctx)
	notify("STOPPING=1")
	log.Info("stopped", "node", node.ID)
	return err
}

// register makes the machine a node.
func register(ctx context.Context, o *options, conn httptransport.ClientConfig, facts message.Facts, stdin io.Reader, log *slog.Logger) (*agent.Node, error) {
	if o.activation == "" {
		return nil, fmt.Errorf("no node lives in %s yet: give -activation and -code-file for its first start", o.dir)
	}
	code, err := readCode(o, stdin)
	if err != nil {
		return nil, err
	}
	defer code.Wipe()
	log.Info("registering", "server", strings.Join(o.servers, ","), "activation", o.activation)
	ask := agent.RegisterOver(enrolment(conn, log))
	node, err := agent.Register(ctx, ask, o.dir, o.activation, code, &agent.RegisterOptions{Facts: facts})
	if err == nil {
		log.Info("registered", "node", node.ID)
	}
	return node, err
}

// enrolment asks a control plane for an enrolment, the next one if it cannot be reached. A try that failed is logged: the agent tries again for ever, and a wrong -ca or -server would be invisible.
func enrolment(conn httptransport.ClientConfig, log *slog.Logger) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, body []byte) ([]byte, error) {
		var answer []byte
		var err error
		for _, url := range append([]string{conn.URL}, conn.Alternates...) {
			one := conn
			one.URL, one.Alternates = url, nil
			if answer, err = httptransport.Enroll(ctx, one, body); err == nil {
				return answer, nil
			}
			log.Warn("the control plane did not take the enrolment", "server", url, "error", err)
			if code := fault.CodeOf(err); code != fault.ServiceUnavailable && code != fault.Throttling {
				break // another would say the same
			}
		}
		return nil, err
	}
}

// readCode returns the activation code.
func readCode(o *options, stdin io.Reader) (secret.Value, error) {
	var b []byte
	var err error
	switch o.codeFile {
	case "":
		if b = []byte(os.Getenv(codeVariable)); len(b) == 0 {
			return secret.Value{}, errors.New("-code-file is missing: the activation's code comes from a file, from - (standard input), or from " + codeVariable)
		}
		os.Unsetenv(codeVariable) //nolint:errcheck // so that no script inherits it
	case "-":
		b, err = io.ReadAll(io.LimitReader(stdin, 1024))
	default:
		b, err = os.ReadFile(o.codeFile)
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("-code-file: %w", err)
	}
	defer clear(b)
	return secret.New(bytes.TrimSpace(b)), nil
}

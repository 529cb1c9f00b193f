// Controlplane is a control plane as a host would really deploy it: everything in one directory, HTTPS for nodes and callers, tokens or client certificates, a systemd unit.
//
// Start it, and it says what to do next:
//
//	go run ./examples/controlplane
//	go run ./examples/fleetctl nodes
//
// The first start makes, in -dir (./data): the store, an authority and a certificate for -hosts (tls/ca.pem is what agents and callers trust), the callers file with one caller
// named admin, its token in admin.token (mode 0600; it is printed nowhere), and fleetctl.json, with which fleetctl on this machine needs no flags.
//
// It answers for commands, documents, nodes, groups, parameters, patch baselines, inventory and compliance: what ssmops.Operations lists, and what the verbs of fleetctl ask for.
//
// More callers, each with a token of its own or a client certificate signed by -client-ca:
//
//	go run ./examples/controlplane -add-caller ci -grants 'ssm:SendCommand,ssm:List*,ssm:Get*' -token-out ci.token
//	go run ./examples/controlplane -client-ca people.pem   # and lines such as: alice cert ssm:*
//
// Every flag can stand in a file of lines name=value (-config FILE) or in the environment (FLEETWRIGHT_LISTEN for -listen); the command line
// goes before the environment, and that before the file. SIGHUP reads callers and certificates again, SIGTERM and SIGINT stop gracefully.
//
// GET /healthz says whether the process is worth keeping, GET /readyz whether it can take work, with a line for each check. fleetctl backup, fsck and doctor ask it as a caller with the rights
// fleetwright:Backup, fleetwright:Fsck and fleetwright:Doctor.
//
// On a server: fleetwright-controlplane.service beside this file is the systemd unit.
//
//	go build -o /usr/local/bin/fleetwright-controlplane ./examples/controlplane
//	cp examples/controlplane/fleetwright-controlplane.service /etc/systemd/system/
//	systemctl enable --now fleetwright-controlplane
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	dir, listen, hosts, cert, key, clientCA, callers string
	log                                              string
	refuseRaw, debug                                 bool
	drain                                            time.Duration
	keep                                             time.Duration
	keepCount                                        int

	addCaller, grants, tenant, tokenOut string
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.dir, "dir", "data", "`directory` of everything that is kept")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8443", "`address` to listen on; :8443 is every interface")
	fs.StringVar(&o.hosts, "hosts", "", "comma separated `names` and addresses in the certificate that is made (default localhost, 127.0.0.1, ::1)")
	fs.StringVar(&o.cert, "cert", "", "certificate `file` (PEM) instead of one that is made; read again when it changes")
	fs.StringVar(&o.key, "key", "", "key `file` (PEM) of -cert")
	fs.StringVar(&o.clientCA, "client-ca", "", "`file` (PEM) of the authorities of client certificates; callers with cert in the callers file need it")
	fs.StringVar(&o.callers, "callers", "", "callers `file`: lines NAME TOKEN-SHA256 GRANTS [TENANT] (default callers in -dir)")
	fs.StringVar(&o.log, "log", "text", "text or json, on standard error")
	fs.BoolVar(&o.debug, "debug", false, "log every message that is not taken, too")
	fs.DurationVar(&o.drain, "drain", 0, "how long to go on after SIGTERM with /readyz already saying no, so that a load balancer notices")
	fs.BoolVar(&o.refuseRaw, "refuse-raw", false, "refuse documents that paste parameters into scripts (recommended for new fleets)")
	fs.DurationVar(&o.keep, "keep", 30*24*time.Hour, "how long ended commands and their output are kept; 0 is for ever")
	fs.IntVar(&o.keepCount, "keep-count", 0, "how many ended commands are kept; 0 is all")
	fs.StringVar(&o.addCaller, "add-caller", "", "add a caller of this `name` to the callers file, write its token to -token-out, and exit")
	fs.StringVar(&o.grants, "grants", "*", "with -add-caller: comma separated `actions` it may perform, such as ssm:SendCommand,ssm:List*")
	fs.StringVar(&o.tenant, "tenant", "", "with -add-caller: its tenant (default default)")
	fs.StringVar(&o.tokenOut, "token-out", "", "with -add-caller: `file` for the token, mode 0600 (default NAME.token in -dir)")
	if err := settings(fs, args, os.Environ()); err != nil {
		return nil, err
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("argument %q: flags only", fs.Arg(0))
	case (o.cert == "") != (o.key == ""):
		return nil, errors.New("-cert and -key belong together")
	case o.log != "text" && o.log != "json":
		return nil, fmt.Errorf("-log %q: text or json", o.log)
	case o.drain < 0:
		return nil, errors.New("-drain cannot be negative")
	case o.keep < 0 || o.keepCount < 0:
		return nil, errors.New("-keep and -keep-count cannot be negative")
	}
	var err error
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	if o.callers == "" {
		o.callers = filepath.Join(o.dir, "callers")
	}
	return o, nil
}

// run is main with everything that it touches: it returns the exit code, 0 after a graceful stop, 2 for bad arguments, 1 for everything else.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "controlplane:", err)
		return 2
	}
	if o.addCaller != "" {
		err = addCaller(o, stdout)
	} else {
		err = serve(ctx, o, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "controlplane:", err)
		return 1
	}
	return 0
}

func logger(o *options, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{}
	if o.debug {
		opts.Level = slog.LevelDebug
	}
	if o.log == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// operations are the API over a fleet's services.
func operations(f *fleetwright.Fleet, log *slog.Logger) *ssmops.API {
	return ssmops.New(ssmops.Services{Commands: f.Commands, Nodes: f.Nodes, Documents: f.Documents, Parameters: f.Parameters, Patches: f.Patches, Inventory: f.Inventory, Compliance: f.Compliance,
		Automations: f.Automations, Audit: f.Audit}, &ssmops.Options{Log: log})
}

func serve(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	log := logger(o, stderr)
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	who := &late{}
	opts := &fleetwright.Options{Listen: o.listen, CertFile: o.cert, KeyFile: o.key, Authorizer: who, Log: log,
		Config: fleetwright.Config{RefuseRaw: o.refuseRaw, Retention: command.Retention{Age: o.keep, Count: o.keepCount}}}
	if o.hosts != "" {
		opts.Hosts = strings.Split(o.hosts, ",")
	}
	if o.clientCA != "" {
		pem, err := os.ReadFile(o.clientCA)
		if err != nil {
			return fmt.Errorf("-client-ca: %w", err)
		}
		opts.ClientCAs = x509.NewCertPool()
		if !opts.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("-client-ca %s: no PEM certificate in it", o.clientCA)
		}
	}
	stopping := make(chan struct{})
	adm := newAdmin(log)
	var callers *ssmops.Callers
	var firstErr error
	opts.Mount = func(mux *http.ServeMux, f *fleetwright.Fleet) {
		// Here the directory is this process's alone: two first starts at once make one admin.
		if callers, firstErr = firstCaller(o); firstErr != nil {
			return
		}
		who.Store(callers)
		auth := callers.Bearer()
		if opts.ClientCAs != nil {
			auth = ssmops.Either(auth, callers.Certificates())
		}
		adm.mount(mux, f, auth)
		ops := operations(f, log)
		mux.Handle("/", ops.Handler(auth, &ssmops.HandlerOptions{Stop: stopping}))
	}
	// Runbooks that call the service ssm reach this control plane's own operations.
	opts.Config.Runbooks.Services = func(f *fleetwright.Fleet) api.Caller {
		return api.Mux{Services: map[string]api.Caller{"ssm": ssmops.RunbookCaller{API: operations(f, log)}}}
	}
	f, err := fleetwright.Open(ctx, o.dir, opts)
	if err != nil {
		return err
	}
	if firstErr != nil {
		return errors.Join(firstErr, f.Close())
	}
	profile, err := writeProfile(o, f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	base := strings.TrimSuffix(f.URL(), fleetwright.NodePath)
	log.Info("the control plane is up", "url", base, "dir", o.dir)
	host, _, _ := net.SplitHostPort(o.listen)
	if ip := net.ParseIP(host); o.cert == "" && o.hosts == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		log.Warn("the certificate is for this machine only: name it as others do, with -hosts plane.example.com")
	}
	ctl := "fleetctl"
	if wd, err := os.Getwd(); err != nil || o.dir != filepath.Join(wd, "data") {
		ctl += " -profile " + profile // there fleetctl finds it by itself
	}
	fmt.Fprintf(stdout, "control plane at %s, everything in %s; the token of the caller admin is in %s\n", base, o.dir, filepath.Join(o.dir, "admin.token"))
	fmt.Fprintf(stdout, "add a node:     %s activations create -tags Role=web -code-file web.code; agent -server %s -ca %s -activation ID -code-file web.code\n", ctl, base, filepath.Join(o.dir, "tls", "ca.pem"))
	fmt.Fprintf(stdout, "run something:  %s run -targets Key=tag:Role,Values=web -- uptime\n", ctl)
	notify("READY=1")

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	for {
		select {
		case <-daily.C: // a certificate of our own is made anew in time, and the endpoint follows
			if o.cert == "" {
				if _, err := httptransport.SelfSigned(filepath.Join(o.dir, "tls"), opts.Hosts...); err != nil {
					log.Error("the certificate was not renewed", "error", err)
				}
			}
			continue
		case <-hup:
			if err := callers.Reload(); err != nil {
				log.Error("the callers file stays as it was", "error", err)
			} else {
				log.Info("the callers file was read again", "callers", len(callers.List()))
			}
			continue
		case <-ctx.Done():
		}
		break
	}
	log.Info("stopping", "drain", o.drain)
	notify("STOPPING=1")
	adm.draining.Store(true)
	if o.drain > 0 {
		time.Sleep(o.drain)
	}
	close(stopping)
	err = f.Close()
	log.Info("stopped")
	return err
}

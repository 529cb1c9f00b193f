//go:build unix

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
)

// codeVariable hands the activation code over; never the command line, which everybody on the machine can read.
const codeVariable = "FLEETWRIGHT_ACTIVATION_CODE"

// agentOptions are the flags of the verb agent.
type agentOptions struct {
	servers                              []string
	ca, dir, name, activation, code, log string
	nats                                 natsOptions
	backoff                              time.Duration
}

func agentFlags(args []string) (*agentOptions, error) {
	o := &agentOptions{}
	fs := flag.NewFlagSet("ha agent", flag.ContinueOnError)
	servers := fs.String("server", "", "`URLs` of the control planes, comma separated: the first is tried first, the others when it fails; may be left out with -nats")
	fs.StringVar(&o.ca, "ca", "", "`file` (PEM) of the authority to trust instead of the system's")
	natsFlags(fs, &o.nats)
	fs.StringVar(&o.dir, "dir", "node", "`directory` of this node")
	fs.StringVar(&o.name, "name", "", "the node's `name` instead of the machine's")
	fs.StringVar(&o.activation, "activation", "", "`id` of the activation, for the first start")
	fs.StringVar(&o.code, "code-file", "", "`file` with the activation's code (default $"+codeVariable+")")
	fs.StringVar(&o.log, "log", "text", "text or json, on standard error")
	fs.DurationVar(&o.backoff, "backoff", 10*time.Second, "the longest wait between two tries to connect")
	if err := parse(fs, args); err != nil {
		return nil, err
	}
	for _, s := range list(*servers) {
		o.servers = append(o.servers, strings.TrimRight(s, "/")+fleetwright.NodePath)
	}
	switch {
	case len(o.servers) == 0 && o.nats.urls == "":
		return nil, usage("-server is missing: say where the control planes are, as -server https://a:8443,https://b:8443")
	case o.log != "text" && o.log != "json":
		return nil, usage("-log %q: text or json", o.log)
	}
	return o, nil
}

// agentVerb is the verb agent: it registers if it must, connects, and obeys until it is told to stop.
func agentVerb(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	agent.Lean()
	o, err := agentFlags(args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if o.log == "json" {
		log = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	client := httptransport.ClientConfig{CAFile: o.ca, Logger: log, BackoffBase: 100 * time.Millisecond, BackoffCap: o.backoff,
		Handshake: min(max(2*o.backoff, 2*time.Second), 15*time.Second)} // a frozen control plane takes connections and says nothing
	enroll := agent.RegisterOver(func(ctx context.Context, body []byte) (answer []byte, err error) {
		if len(o.servers) == 0 {
			answer, err = natstransport.Enroll(ctx, o.nats.brokers(o.backoff), "", body)
		}
		for _, url := range o.servers {
			one := client
			one.URL = url
			if answer, err = httptransport.Enroll(ctx, one, body); err == nil || fault.CodeOf(err) != fault.ServiceUnavailable {
				break
			}
		}
		if err != nil {
			log.Warn("no control plane took the enrolment", "error", err)
		}
		return answer, err
	})
	me, err := agent.Load(o.dir)
	if fault.CodeOf(err) == fault.DoesNotExist {
		me, err = register(ctx, o, enroll)
	}
	if err != nil {
		return err
	}
	link, how, err := o.link(client, me, log)
	if err != nil {
		return err
	}
	defer link.Close() //nolint:errcheck // the process ends
	actions, err := fleetwright.Actions()
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{Node: me, Transport: link, Actions: actions, Log: log, Rotator: enroll})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "node %s obeys %s\n", me.ID, how)
	return a.Run(ctx)
}

func register(ctx context.Context, o *agentOptions, enroll agent.Registrar) (*agent.Node, error) {
	code := []byte(os.Getenv(codeVariable))
	os.Unsetenv(codeVariable) //nolint:errcheck // so that no script inherits it
	if o.code != "" {
		var err error
		if code, err = os.ReadFile(o.code); err != nil {
			return nil, fmt.Errorf("-code-file: %w", err)
		}
	}
	if o.activation == "" || len(code) == 0 {
		return nil, usage("no node lives in %s yet: its first start needs -activation, and -code-file or $%s", o.dir, codeVariable)
	}
	facts := agent.GatherFacts()
	if o.name != "" {
		facts.ComputerName = o.name
	}
	return agent.Register(ctx, enroll, o.dir, o.activation, secret.New(bytes.TrimSpace(code)), &agent.RegisterOptions{Facts: facts})
}

// link connects the node to the control planes: by NATS if it is named, else over HTTPS.
func (o *agentOptions) link(client httptransport.ClientConfig, me *agent.Node, log *slog.Logger) (link interface {
	transport.Transport
	Close() error
}, how string, err error) {
	if o.nats.urls != "" {
		n, err := o.natsLink(me, log)
		return n, o.nats.urls, err
	}
	client.URL, client.Alternates = o.servers[0], o.servers[1:]
	client.Address, client.Key = transport.Address{Tenant: me.Tenant, Name: me.ID}, me.Signer()
	c, err := httptransport.NewClient(client)
	return c, strings.Join(o.servers, ","), err
}

//go:build unix

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
)

// What init makes for NATS: a secret of the control planes, and what brokers are told of it, as a file to include and for the verb broker.
const (
	natsKeyFile   = "nats.key"
	natsConfFile  = "nats.conf"
	natsTrustFile = "nats-trust.json"
)

// initNATS makes them, unless they are there.
func initNATS(dir string) error {
	path := filepath.Join(dir, natsKeyFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, 32)
		rand.Read(raw) //nolint:errcheck // it never fails
		if err := os.WriteFile(path, []byte(hex.EncodeToString(raw)+"\n"), 0o600); err != nil {
			return err
		}
	}
	keys, err := natsKeys(path)
	if err != nil {
		return err
	}
	trust, err := json.MarshalIndent(keys.Trust(), "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, natsConfFile), []byte(keys.Trust().Config()), 0o600), os.WriteFile(filepath.Join(dir, natsTrustFile), append(trust, '\n'), 0o600))
}

func natsKeys(path string) (natstransport.Keys, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return natstransport.Keys{}, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return natstransport.Keys{}, fmt.Errorf("%s is no key: ha init makes one", path)
	}
	return natstransport.NewKeys(secret.New(raw))
}

// natsOptions are the flags that planes and agents have for NATS.
type natsOptions struct{ urls, ca string }

func natsFlags(fs *flag.FlagSet, o *natsOptions) {
	fs.StringVar(&o.urls, "nats", "", "`URLs` of NATS servers, comma separated, as tls://broker.example:4222: nodes may come by these too")
	fs.StringVar(&o.ca, "nats-ca", "", "`file` (PEM) of the authority of their certificates instead of the system's")
}

func (o *natsOptions) brokers(most time.Duration) natstransport.Brokers {
	return natstransport.Brokers{URLs: list(o.urls), CAFile: o.ca, BackoffBase: 100 * time.Millisecond, BackoffCap: most}
}

// onNATS is a control plane's end on the brokers.
type onNATS struct{ *natstransport.Controller }

func (n onNATS) connected() int { return n.Stats().Connected }

// brokers connects the control plane with the brokers that it was told of.
func (p *plane) brokers() ([]presence, error) {
	if p.o.nats.urls == "" {
		return nil, nil
	}
	keys, err := natsKeys(p.o.natsKey)
	if err != nil {
		return nil, fmt.Errorf("-nats-key: %w", err)
	}
	c, err := natstransport.NewController(natstransport.ControllerConfig{Brokers: p.o.nats.brokers(min(p.o.lease, 5*time.Second)), Keys: keys, Logger: p.log,
		Beat: min(max(p.o.lease/3, 300*time.Millisecond), 15*time.Second), Roll: min(p.o.lease, 10*time.Second),
		Key: func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
			return p.fleet.NodeKey(ctx, a)
		},
		Enroll: func(ctx context.Context, remote string, b []byte) ([]byte, error) {
			return p.fleet.Enroll(ctx, remote, b)
		}})
	if err != nil {
		return nil, err
	}
	return []presence{onNATS{c}}, nil
}

// natsLink connects a node with the brokers.
func (o *agentOptions) natsLink(me *agent.Node, log *slog.Logger) (*natstransport.Node, error) {
	return natstransport.NewNode(natstransport.NodeConfig{Brokers: o.nats.brokers(o.backoff), Address: transport.Address{Tenant: me.Tenant, Name: me.ID}, Key: me.Signer(), Logger: log,
		Doubt: min(max(o.backoff, 500*time.Millisecond), 3*time.Second)})
}

// brokerVerb is the verb broker: a NATS server for a small fleet. It keeps nothing on disk.
func brokerVerb(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("ha broker", flag.ContinueOnError)
	dir := fs.String("dir", "ha-data", "`directory` that init made")
	listen := fs.String("listen", ":4222", "`address` to listen on")
	trustFile := fs.String("trust", "", "`file` with the public keys of the control planes (default "+natsTrustFile+" in -dir)")
	cert := fs.String("cert", "", "certificate `file` (PEM), read again when it changes (default tls in -dir)")
	key := fs.String("key", "", "key `file` of -cert")
	ping := fs.Duration("ping", 10*time.Second, "how often those who are silent are asked")
	if err := parse(fs, args); err != nil {
		return err
	}
	if (*cert == "") != (*key == "") {
		return usage("-cert and -key belong together")
	}
	if *trustFile == "" {
		*trustFile = filepath.Join(*dir, natsTrustFile)
	}
	if *cert == "" {
		files, err := httptransport.SelfSigned(filepath.Join(*dir, tlsDir)) // what init made stays
		if err != nil {
			return err
		}
		*cert, *key = files.CertFile, files.KeyFile
	}
	var trust natstransport.Trust
	b, err := os.ReadFile(*trustFile)
	if err == nil {
		err = json.Unmarshal(b, &trust)
	}
	if err != nil {
		return fmt.Errorf("-trust: %w", err)
	}
	get, err := httptransport.ReloadingCertificate(*cert, *key)
	if err != nil {
		return err
	}
	s, err := broker.Start(broker.Config{Trust: trust, Listen: *listen, Certificate: get, Ping: *ping, Logger: slog.New(slog.NewTextHandler(stderr, nil))})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "broker at %s\n", s.URL())
	<-ctx.Done()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err = <-closed:
	case <-time.After(time.Second): // it may wait for a control plane that is gone, and has nothing to lose
	}
	return err
}

// natsArgs are the flags of planes and agents for the brokers of this run; nil without any.
func (h *house) natsArgs() []string {
	if h.nats == "" {
		return nil
	}
	args := []string{"-nats", h.nats}
	if h.broker != nil {
		args = append(args, "-nats-ca", filepath.Join(h.conf(), tlsDir, "ca.pem"))
	}
	return args
}

// startBroker starts a broker, unless there is one, or there is to be none.
func (h *house) startBroker(ctx context.Context, say func(string, ...any)) error {
	switch h.o.nats {
	case "":
	case "off":
		return nil
	default:
		h.nats = h.o.nats
		return nil
	}
	listen, err := freeAddress()
	if err != nil {
		return err
	}
	h.nats = "tls://" + listen
	h.broker = &process{name: "broker", log: h.log("broker"), args: []string{"broker", "-dir", h.conf(), "-listen", listen, "-ping", max(h.o.lease/3, 300*time.Millisecond).String()}}
	if err := h.broker.start(); err != nil {
		return err
	}
	if err := h.until(ctx, h.o.patience, "the broker takes connections", func() bool { return reachable(listen) }); err != nil {
		return err
	}
	say("a NATS broker is up: %s", h.nats)
	return nil
}

func reachable(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	c.Close() //nolint:errcheck // it was only asked whether it is there
	return true
}

// freeAddress returns an address of this machine on which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

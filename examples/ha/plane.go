//go:build unix

package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/blob/storeblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// planeOptions are the flags of the verb plane.
type planeOptions struct {
	dir, name, listen, postgres, schema, store string
	keys, callers, cert, key, log              string
	natsKey                                    string
	nats                                       natsOptions
	lease, heartbeat, keep                     time.Duration
}

func planeFlags(args []string) (*planeOptions, error) {
	o := &planeOptions{}
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("ha plane", flag.ContinueOnError)
	fs.StringVar(&o.dir, "dir", "ha-data", "`directory` that init made, the same for all control planes")
	fs.StringVar(&o.name, "name", host, "`name` of this control plane; no other has it")
	fs.StringVar(&o.listen, "listen", ":8443", "`address` to listen on for nodes and callers")
	fs.StringVar(&o.postgres, "postgres", "", "`URL` of the database, the same for all; a password belongs into $FLEETWRIGHT_POSTGRES or ~/.pgpass")
	fs.StringVar(&o.schema, "schema", "", "the database's `schema` (default fleetwright)")
	fs.StringVar(&o.store, "store", "main", "`name` of the store in the database")
	natsFlags(fs, &o.nats)
	fs.StringVar(&o.natsKey, "nats-key", "", "`file` with the secret of the control planes for NATS, the same for all (default nats.key in -dir)")
	fs.StringVar(&o.keys, "keys", "", "key `file`, the same for all (default keys.json in -dir)")
	fs.StringVar(&o.callers, "callers", "", "callers `file` (default callers in -dir)")
	fs.StringVar(&o.cert, "cert", "", "certificate `file` (PEM), read again when it changes (default tls in -dir)")
	fs.StringVar(&o.key, "key", "", "key `file` of -cert")
	fs.StringVar(&o.log, "log", "text", "text or json, on standard error")
	fs.DurationVar(&o.lease, "lease", 15*time.Second, "how long after this one's death others take its work over, 500ms at least; the same for all")
	fs.DurationVar(&o.heartbeat, "heartbeat", 30*time.Second, "how often nodes say that they are there")
	fs.DurationVar(&o.keep, "keep-commands", 30*24*time.Hour, "how long ended commands are kept; 0 is for ever")
	if err := parse(fs, args); err != nil {
		return nil, err
	}
	switch {
	case o.postgres == "":
		return nil, usage("-postgres is missing: say where the database is, as postgres://fleet@db.example/fleet")
	case hasPassword(o.postgres) && os.Getenv("FLEETWRIGHT_POSTGRES") != o.postgres:
		return nil, usage("-postgres has a password, which every user of this machine can see: put the URL into FLEETWRIGHT_POSTGRES, or the password into ~/.pgpass")
	case (o.cert == "") != (o.key == ""):
		return nil, usage("-cert and -key belong together")
	case o.log != "text" && o.log != "json":
		return nil, usage("-log %q: text or json", o.log)
	case o.lease < 500*time.Millisecond:
		return nil, usage("-lease %v: 500ms at least", o.lease)
	case o.name == "":
		return nil, usage("-name is missing")
	}
	or := func(s *string, name string) {
		if *s == "" {
			*s = filepath.Join(o.dir, name)
		}
	}
	or(&o.keys, keysFile)
	or(&o.callers, callersFile)
	or(&o.natsKey, natsKeyFile)
	if o.cert == "" {
		files, err := httptransport.SelfSigned(filepath.Join(o.dir, tlsDir)) // what init made stays
		if err != nil {
			return nil, err
		}
		o.cert, o.key = files.CertFile, files.KeyFile
	}
	return o, nil
}

var passwordWord = regexp.MustCompile(`(?i)(^|[\s?&])(ssl)?password\s*=`)

func hasPassword(dsn string) bool {
	u, err := url.Parse(dsn)
	if err == nil && u.User != nil {
		if _, set := u.User.Password(); set {
			return true
		}
	}
	return passwordWord.MatchString(dsn)
}

// plane is one control plane.
type plane struct {
	o     *planeOptions
	log   *slog.Logger
	store *fencedStore
	codec *record.Codec
	blobs *storeblob.Store
	nodes *httptransport.Server
	more  []presence // of further transports
	fleet *fleetwright.Fleet
	name  *membership

	front    atomic.Pointer[http.Handler] // of nodes and callers, once everything is there
	missing  atomic.Pointer[string]       // what it waits for; nil when it is ready
	draining chan struct{}                // closed when it is told to stop
}

func (p *plane) wait(what string) {
	p.missing.Store(&what)
	p.log.Info("not ready: " + what)
}

// planeVerb is the verb plane: it runs a control plane until it is told to stop.
func planeVerb(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := planeFlags(args)
	if err != nil {
		return err
	}
	p := &plane{o: o, draining: make(chan struct{})}
	p.log = slog.New(slog.NewTextHandler(stderr, nil))
	if o.log == "json" {
		p.log = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	p.log = p.log.With("plane", o.name)
	keys, err := localkeys.Open(o.keys, nil)
	if err != nil {
		return fmt.Errorf("-keys: %w (ha init makes one; all control planes have a copy of the same)", err)
	}
	callers, err := ssmops.ReadCallers(o.callers)
	if err != nil {
		return fmt.Errorf("-callers: %w", err)
	}

	// The endpoint first: who asks how it is gets an answer from the beginning, and nodes and callers are told to come again.
	p.wait("the endpoint is not open yet")
	stop, err := p.listen()
	if err != nil {
		return err
	}
	defer stop()
	p.wait("the store does not answer yet")
	pool, st, err := p.openStore(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	defer st.Close()
	if err := p.build(ctx, keys, callers); err != nil {
		return err
	}
	p.wait("the name " + o.name + " is another's, or of an earlier life that is not forgotten yet")
	p.name = &membership{store: p.store, records: record.NewTable[member](p.codec), fleet: p.fleet, name: o.name, ttl: o.lease, log: p.log}
	if err := p.name.take(ctx); err != nil {
		return err
	}
	return p.serve(ctx, callers, stdout)
}

// openStore connects to the database, trying for as long as it takes.
func (p *plane) openStore(ctx context.Context) (*pgxpool.Pool, *pgstore.Store, error) {
	cfg, err := pgxpool.ParseConfig(p.o.postgres)
	if err != nil {
		return nil, nil, usage("-postgres cannot be read: write postgres://user@host:5432/database") // the cause may quote a password
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	for {
		st, err := pgstore.Open(ctx, pool, p.o.store, &pgstore.Options{Schema: p.o.schema, Hold: hold(p.o.lease), Logger: p.log})
		if err == nil {
			p.store = &fencedStore{Store: st}
			return pool, st, nil
		}
		if ctx.Err() != nil {
			pool.Close()
			return nil, nil, ctx.Err()
		}
		p.log.Warn("the database does not answer; trying again", "error", fault.MessageOf(err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// hold is how long one who is frozen in the middle of a commit may keep the others from theirs: not so long that it costs them their leases.
func hold(lease time.Duration) time.Duration {
	return min(max(lease/2, store.MaxUpdate+100*time.Millisecond), pgstore.DefaultHold)
}

// build puts the control plane together.
func (p *plane) build(ctx context.Context, keys *localkeys.Keys, callers *ssmops.Callers) error {
	var err error
	p.codec, err = fleetwright.RecordCodec(ctx, p.store, keys)
	if err != nil {
		return fmt.Errorf("the store was made with another key file than %s, copy that one here: %w", p.o.keys, err)
	}
	alive := max(p.o.lease/3, 200*time.Millisecond)
	p.nodes = httptransport.NewServer(httptransport.ServerConfig{Logger: p.log, KeepAlive: min(alive, 30*time.Second),
		Key: func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) {
			return p.fleet.NodeKey(ctx, a)
		},
		Enroll: func(ctx context.Context, remote string, b []byte) ([]byte, error) {
			return p.fleet.Enroll(ctx, remote, b)
		}})
	transports := []transport.Transport{p.nodes}
	further, err := p.brokers()
	if err != nil {
		return err
	}
	for _, t := range further {
		transports = append(transports, t)
	}
	p.more = further
	p.blobs = storeblob.New(p.store, p.codec, nil)
	p.fleet, err = fleetwright.New(fleetwright.Config{Store: p.store, Codec: p.codec, Blobs: p.blobs, Keys: keys, Authorizer: callers, Transports: transports,
		Name: p.o.name, LeaseTTL: p.o.lease, Heartbeat: p.o.heartbeat, Retention: command.Retention{Age: p.o.keep}, Log: p.log})
	return err
}

// serve runs it until ctx ends, then lets go in order: not ready, nodes sent elsewhere, work given back.
func (p *plane) serve(ctx context.Context, callers *ssmops.Callers, stdout io.Writer) error {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	ended := make(chan error, 1)
	wg.Go(func() { ended <- p.fleet.Run(run) })
	live, leave := context.WithCancel(run)
	defer leave()
	var member sync.WaitGroup
	member.Go(func() { p.name.run(live) })
	wg.Go(func() { p.sweep(live) })
	api := ssmops.New(ssmops.Services{Commands: p.fleet.Commands, Nodes: p.fleet.Nodes, Documents: p.fleet.Documents, Parameters: p.fleet.Parameters, Patches: p.fleet.Patches,
		Inventory: p.fleet.Inventory, Compliance: p.fleet.Compliance, Automations: p.fleet.Automations, Audit: p.fleet.Audit}, &ssmops.Options{Log: p.log})
	mux := http.NewServeMux()
	mux.Handle(fleetwright.NodePath, p.nodes.Handler())
	mux.Handle("GET /status", p.statusHandler(callers))
	mux.Handle("/", api.Handler(callers.Bearer(), &ssmops.HandlerOptions{Stop: p.draining}))
	front := http.Handler(mux)
	p.front.Store(&front)
	p.missing.Store(nil)
	p.log.Info("ready", "listen", p.o.listen)
	fmt.Fprintf(stdout, "control plane %s listens on %s\n", p.o.name, p.o.listen)
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	p.wait("it is stopping")
	close(p.draining)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	p.nodes.Shutdown(bye) //nolint:errcheck // what is left is cut
	for _, t := range p.more {
		t.Close() //nolint:errcheck // likewise
	}
	leave()
	member.Wait()
	err = errors.Join(err, p.name.leave(bye))
	stop()
	wg.Wait()
	p.log.Info("stopped")
	return err
}

// sweep clears away the output of removed commands.
func (p *plane) sweep(ctx context.Context) {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if _, err := p.blobs.Sweep(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("old output was not cleared away; trying again in an hour", "error", err)
		}
	}
}

// listen opens the HTTPS endpoint, which answers about its health at once and lets nodes and callers in when everything is there.
func (p *plane) listen() (stop func(), err error) {
	get, err := httptransport.ReloadingCertificate(p.o.cert, p.o.key)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", p.o.listen)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	p.o.listen = l.Addr().String()
	srv := &http.Server{Handler: p.handler(), TLSConfig: httptransport.ServerTLS(get), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("the HTTPS endpoint ended", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond) // of those who are idle nobody is waited for
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close() //nolint:errcheck // the process ends
		}
		<-done
	}, nil
}

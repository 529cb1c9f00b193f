package fleetwright

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

// Options of Open. nil and the zero value are good defaults: no network, everybody may do everything.
type Options struct {
	// Listen is the address of the HTTPS endpoint for nodes, "127.0.0.1:0" or ":8443"; "" opens none. Its certificate is made by an authority of the
	// directory's own, for Hosts, unless CertFile and KeyFile name one; files that change are read again.
	Listen            string
	Hosts             []string
	CertFile, KeyFile string
	// Mount adds the host's own handlers to that endpoint; "/v1/node/" is taken.
	Mount func(mux *http.ServeMux, f *Fleet)
	// ClientCAs are the authorities whose client certificates the endpoint accepts, for handlers that Mount added to look at; nil asks for none.
	ClientCAs *x509.CertPool
	// Server changes the node endpoint's limits; Key, Enroll and Logger are set by Open.
	Server httptransport.ServerConfig

	Passphrase secret.Value      // protects the key file; empty leaves it to the file's mode
	Authorizer access.Authorizer // nil is access.AllowAll{}
	Config     Config            // its Store, Codec, Blobs, Keys, Authorizer, and Exclusive are set by Open; its Transports are used besides
	Log        *slog.Logger      // nil discards
}

// endpoint is the HTTPS server of Open.
type endpoint struct {
	addr   string
	ca     []byte
	nodes  *httptransport.Server
	server *http.Server
	done   chan struct{}
}

// Open opens the fleet that lives in the directory, making it when there is none, and runs it until Close: the store (store.db), output (blobs), keys (keys.json),
// certificates (tls). One process has it at a time. Nodes reach it over HTTPS when Options.Listen is set, and in this process through StartAgent.
func Open(ctx context.Context, dir string, o *Options) (_ *Fleet, err error) {
	const op = "fleetwright.Open"
	if o == nil {
		o = &Options{}
	}
	cfg := o.Config
	cfg.Exclusive, cfg.Authorizer = true, o.Authorizer
	if cfg.Authorizer == nil {
		cfg.Authorizer = access.AllowAll{}
	}
	if cfg.Log = o.Log; cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var closing []func() error
	defer func() {
		if err != nil {
			for _, c := range closing {
				c() //nolint:errcheck // the first error is told
			}
		}
	}()
	opened := func(c func() error) { closing = append([]func() error{c}, closing...) }

	p, err := openParts(ctx, dir, o.Passphrase, cfg.Log)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	opened(p.close)
	cfg.Store, cfg.Blobs, cfg.Keys, cfg.Codec = p.store, p.blobs, p.keys, p.codec
	local := memtransport.New(nil)
	cfg.Transports = append([]transport.Transport{local.Controller()}, o.Config.Transports...)

	// The endpoint asks the fleet about its nodes, and the fleet reaches them through the endpoint: it serves once both are there.
	var f *Fleet
	var end *endpoint
	if o.Listen != "" {
		sc := o.Server
		sc.Logger = cfg.Log
		sc.Key = func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) { return f.NodeKey(ctx, a) }
		sc.Enroll = func(ctx context.Context, remote string, body []byte) ([]byte, error) {
			return f.Enroll(ctx, remote, body)
		}
		end = &endpoint{nodes: httptransport.NewServer(sc)}
		cfg.Transports = append(cfg.Transports, end.nodes)
	}
	if f, err = New(cfg); err != nil {
		return nil, err
	}
	f.dir, f.local, f.end = dir, local, end
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = func() {
		cancel()
		<-f.done
	}
	f.done = make(chan struct{})
	if end != nil {
		if err := end.listen(dir, o, f); err != nil {
			cancel()
			return nil, fault.Wrap(op, err)
		}
	}
	f.closing = closing
	go func() {
		defer close(f.done)
		if err := f.Run(run); err != nil && run.Err() == nil {
			cfg.Log.Error("the control plane ended", "error", err)
		}
	}()
	return f, nil
}

// openKeys opens the key file, making it at the first start.
func openKeys(path string, passphrase secret.Value) (*localkeys.Keys, error) {
	o := &localkeys.Options{Passphrase: passphrase}
	keys, err := localkeys.Open(path, o)
	if errors.Is(err, fs.ErrNotExist) {
		return localkeys.Create(path, o)
	}
	return keys, err
}

// macTable is how the key is stored that authenticates all other records.
func macTable() record.Table[[]byte] { return record.NewTable[[]byte](nil) }

// RecordCodec returns the codec that authenticates the store's records (Config.Codec), under a key that lies in the store, wrapped by keys. It is made at the first call; all control
// planes on one store get the same one. It fails when the key was wrapped by other keys than these.
func RecordCodec(ctx context.Context, s store.Store, keys seal.Wrapper) (*record.Codec, error) {
	box := seal.NewBox(keys, nil)
	t, at := macTable(), macAt()
	binding := macBinding()
	var sealed []byte
	read := func(ctx context.Context, r store.Reader) (err error) {
		sealed, err = t.Get(ctx, r, at)
		return err
	}
	err := s.View(ctx, read)
	if errors.Is(err, store.ErrNotFound) {
		fresh := make([]byte, 32)
		if _, err := rand.Read(fresh); err != nil {
			return nil, err
		}
		sealer, err := box.Prepare(ctx, "", binding)
		if err != nil {
			return nil, err
		}
		err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := read(ctx, tx); !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if sealed, err = sealer.Seal(secret.New(fresh)); err != nil {
				return err
			}
			return t.Put(tx, at, sealed)
		})
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return openMAC(ctx, box, sealed)
}

// listen opens the endpoint and serves it on a goroutine that close ends.
func (e *endpoint) listen(dir string, o *Options, f *Fleet) error {
	cert, certKey := o.CertFile, o.KeyFile
	if cert == "" {
		files, err := httptransport.SelfSigned(filepath.Join(dir, "tls"), o.Hosts...)
		if err != nil {
			return err
		}
		cert, certKey, e.ca = files.CertFile, files.KeyFile, files.CA
	}
	get, err := httptransport.ReloadingCertificate(cert, certKey)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fault.New("net.Listen", fault.ServiceUnavailable, "cannot listen on %s: %w", o.Listen, err)
	}
	mux := http.NewServeMux()
	mux.Handle(NodePath, e.nodes.Handler())
	if o.Mount != nil {
		o.Mount(mux, f)
	}
	e.addr = l.Addr().String()
	e.server = &http.Server{Handler: mux, TLSConfig: httptransport.ServerTLS(get), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(f.cfg.Log.Handler(), slog.LevelDebug)}
	if o.ClientCAs != nil {
		e.server.TLSConfig.ClientCAs, e.server.TLSConfig.ClientAuth = o.ClientCAs, tls.VerifyClientCertIfGiven
	}
	e.done = make(chan struct{})
	go func() {
		defer close(e.done)
		if err := e.server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			f.cfg.Log.Error("the HTTPS endpoint ended", "error", err)
		}
	}()
	return nil
}

// goodbye is how long Close waits for nodes and callers to be told.
const goodbye = 5 * time.Second

func (e *endpoint) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	e.nodes.Shutdown(ctx) //nolint:errcheck // what is left is cut
	err := e.server.Shutdown(ctx)
	if err != nil {
		err = e.server.Close()
	}
	<-e.done
	return err
}

// NodePath is where the endpoint of Open takes nodes.
const NodePath = "/v1/node/"

// URL returns where nodes of other processes and machines reach the fleet that Open opened, "" without Options.Listen. A wildcard address is shown as localhost.
func (f *Fleet) URL() string {
	if f.end == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(f.end.addr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, port) + NodePath
}

// CA returns the PEM of the authority that signed the endpoint's certificate, for nodes to trust; nil without Options.Listen and when Options.CertFile is set.
func (f *Fleet) CA() []byte {
	if f.end == nil {
		return nil
	}
	return f.end.ca
}

// Close ends what Open started: nodes are told to reconnect elsewhere, running transactions end, everything is closed. What was accepted goes on when the directory is
// opened again. A second Close does nothing. It must not be called for a Fleet that New made.
func (f *Fleet) Close() error {
	f.mu.Lock()
	stop, closing, agents := f.stop, f.closing, f.agents
	f.stop, f.closing, f.agents = nil, nil, nil
	f.mu.Unlock()
	if stop == nil {
		return nil
	}
	for _, a := range agents {
		a.Stop() //nolint:errcheck // it was logged
	}
	var errs []error
	if f.end != nil {
		errs = append(errs, f.end.close())
	}
	stop()
	for _, c := range closing {
		errs = append(errs, c())
	}
	return fault.Wrap("fleetwright.Close", errors.Join(errs...))
}

package httptransport_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

var plane = transport.Address{Tenant: "default", Name: message.Controller}

func addr(i int) transport.Address {
	return transport.Address{Tenant: "default", Name: fmt.Sprintf("mi-%05d", i)}
}

// keyOf is the node's private key, made of its address.
func keyOf(a transport.Address) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, a.String())
	return ed25519.NewKeyFromSeed(seed)
}

// world is a control plane on a real socket with TLS, and the nodes that it knows.
type world struct {
	t     testing.TB
	srv   *httptransport.Server
	files *httptransport.SelfSignedFiles
	http  *http.Server
	url   string
	host  string // host:port

	inner   http.Handler
	instead atomic.Pointer[http.Handler]

	mu    sync.Mutex
	known map[transport.Address]ed25519.PublicKey
}

// certificates makes one set of files for the whole test binary's use by a test.
func certificates(t testing.TB) *httptransport.SelfSignedFiles {
	f, err := httptransport.SelfSigned(t.TempDir())
	require.NoError(t, err)
	return f
}

func newWorld(t testing.TB, change func(*httptransport.ServerConfig)) *world {
	return newWorldHost(t, change, nil)
}

func newWorldHost(t testing.TB, change func(*httptransport.ServerConfig), host func(*http.Server)) *world {
	w := &world{t: t, files: certificates(t), known: make(map[transport.Address]ed25519.PublicKey)}
	cfg := httptransport.ServerConfig{Key: w.key, Poll: 2 * time.Second}
	if change != nil {
		change(&cfg)
	}
	w.srv = httptransport.NewServer(cfg)
	get, err := httptransport.ReloadingCertificate(w.files.CertFile, w.files.KeyFile)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/v1/node/", w.srv.Handler())
	w.http = &http.Server{Handler: mux, TLSConfig: httptransport.ServerTLS(get), ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet()}
	if host != nil {
		host(w.http)
	}
	inner := w.http.Handler
	w.http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if h := w.instead.Load(); h != nil {
			(*h).ServeHTTP(rw, r)
			return
		}
		inner.ServeHTTP(rw, r)
	})
	w.inner = inner
	served := make(chan struct{})
	go func() { defer close(served); w.http.ServeTLS(l, "", "") }()
	w.host = l.Addr().String()
	w.url = "https://" + w.host + "/v1/node/"
	t.Cleanup(func() {
		w.srv.Close()
		w.http.Close()
		<-served
	})
	return w
}

// setHandler puts a handler before the server's own.
func (w *world) setHandler(h http.Handler) { w.instead.Store(&h) }

func (w *world) know(a transport.Address) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[a] = keyOf(a).Public().(ed25519.PublicKey)
}

func (w *world) forget(a transport.Address) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, a)
}

func (w *world) key(_ context.Context, a transport.Address) (ed25519.PublicKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.known[a]
	if !ok {
		return nil, fault.New("test.Key", fault.InvalidInstanceID, "no such node")
	}
	return k, nil
}

// config is a known node's configuration, quick to come back.
func (w *world) config(a transport.Address) httptransport.ClientConfig {
	w.know(a)
	return httptransport.ClientConfig{URL: w.url, Address: a, Key: keyOf(a), RootCAs: w.files.CA, BackoffBase: 5 * time.Millisecond, BackoffCap: 50 * time.Millisecond}
}

// dial connects a known node.
func (w *world) dial(a transport.Address, change func(*httptransport.ClientConfig)) *httptransport.Client {
	cfg := w.config(a)
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := httptransport.Dial(ctx, cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

func poll(c *httptransport.ClientConfig) { c.ForcePoll = true }

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// eventually waits for a condition that no event tells.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 2*time.Millisecond, what)
}

// inbox is a Receive that is running.
type inbox struct {
	got   chan transport.Message
	ended chan error
	stop  context.CancelFunc
}

func receive(t testing.TB, tr transport.Transport) *inbox {
	ctx, stop := context.WithCancel(context.Background())
	b := &inbox{got: make(chan transport.Message, 10_000), ended: make(chan error, 1), stop: stop}
	go func() {
		b.ended <- tr.Receive(ctx, func(_ context.Context, m transport.Message) { b.got <- m })
	}()
	t.Cleanup(func() {
		stop()
		<-b.ended
		b.ended <- nil
	})
	return b
}

func (b *inbox) next(t testing.TB) transport.Message {
	t.Helper()
	select {
	case m := <-b.got:
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
		return transport.Message{}
	}
}

// sendAll sends until it is taken.
func send(t testing.TB, tr transport.Transport, to transport.Address, data []byte) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := tr.Send(context.Background(), to, data)
		if err == nil {
			return
		}
		if !errors.Is(err, transport.ErrBusy) && !errors.Is(err, transport.ErrNotConnected) || time.Now().After(end) {
			require.NoError(t, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// quick makes keep-alives short, so that a test need not wait for what they find out.
func quick(c *httptransport.ServerConfig) {
	c.KeepAlive = 100 * time.Millisecond
	c.Poll = 200 * time.Millisecond
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, data, 0o600))
}

func dirOf(file string) string { return filepath.Dir(file) }

// renew damages a file.
func renew(t testing.TB, file string) { write(t, file, []byte("no certificate")) }

// changing is a signer whose key changes.
type changing struct {
	mu  sync.Mutex
	key ed25519.PrivateKey
}

func (c *changing) set(k ed25519.PrivateKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = k
}

func (c *changing) now() ed25519.PrivateKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.key
}

func (c *changing) Public() crypto.PublicKey { return c.now().Public() }

func (c *changing) Sign(r io.Reader, b []byte, o crypto.SignerOpts) ([]byte, error) {
	return c.now().Sign(r, b, o)
}

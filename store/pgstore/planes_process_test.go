package pgstore_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/storeblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// planeEnv makes the test binary a control plane.
const planeEnv = "FLEETWRIGHT_PGSTORE_PLANE"

type planeOptions struct {
	DSN, Store, Name, Dir, Listen string
	TTL                           time.Duration
}

// planeState is what a control plane says of itself.
type planeState struct {
	Connected []string
	Owned     []int
	Refused   int64 // writes that were refused because a lease was another's
}

type activated struct{ ID, Code string }

// process is a control plane as the test that started it has it.
type process struct {
	t    testing.TB
	name string
	url  string
	web  *http.Client
	cmd  *exec.Cmd
	hand io.Closer
	done chan struct{}
}

func startProcess(t testing.TB, o *planeOptions, url string, web *http.Client) *process {
	arg, err := json.Marshal(o)
	require.NoError(t, err)
	p := &process{t: t, name: o.Name, url: url, web: web, cmd: exec.Command(os.Args[0]), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), planeEnv+"="+string(arg))
	p.cmd.Stderr = os.Stderr
	p.hand, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait() //nolint:errcheck // it was ended
		close(p.done)
	}()
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	require.Eventually(t, func() bool { return p.call("/state", nil, &planeState{}) == nil }, 30*time.Second, 20*time.Millisecond, "%s answers", o.Name)
	return p
}

func (p *process) signal(s os.Signal) { p.cmd.Process.Signal(s) } //nolint:errcheck // it may have ended

// end ends it with a signal, and returns when it has ended.
func (p *process) end(s os.Signal) {
	p.signal(s)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s did not end", p.name)
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

func (p *process) state() (s planeState) {
	p.call("/state", nil, &s) //nolint:errcheck // nothing then
	return s
}

// call asks it something; an answer that takes long is an error.
func (p *process) call(path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := p.web.Post(p.url+path, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	b, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// fenced counts what leases are there for: writes of a control plane that is no longer the owner, and does not know.
type fenced struct {
	*pgstore.Store
	refused atomic.Int64
}

func (s *fenced) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	if errors.Is(err, lease.ErrLost) {
		s.refused.Add(1)
	}
	return err
}

// planeChild is a control plane, until it is told to stop or its parent is gone.
func planeChild(arg string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
		os.Exit(1)
	}()
	if err := planeMain(ctx, arg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func planeMain(ctx context.Context, arg string) error {
	var o planeOptions
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FLEETWRIGHT_PGSTORE_PLANE_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("plane", o.Name)
	}
	keys, err := localkeys.Open(filepath.Join(o.Dir, "keys.json"), nil)
	if err != nil {
		return err
	}
	p, err := pgxpool.New(ctx, o.DSN)
	if err != nil {
		return err
	}
	s, err := pgstore.Open(ctx, p, o.Store, &pgstore.Options{Hold: store.MaxUpdate + 100*time.Millisecond, Logger: log})
	if err != nil {
		return err
	}
	st := &fenced{Store: s}
	codec, err := fleetwright.RecordCodec(ctx, st, keys)
	if err != nil {
		return err
	}
	var f *fleetwright.Fleet
	nodes := httptransport.NewServer(httptransport.ServerConfig{Logger: log, KeepAlive: o.TTL / 3,
		Key: func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) { return f.NodeKey(ctx, a) },
		Enroll: func(ctx context.Context, remote string, b []byte) ([]byte, error) {
			return f.Enroll(ctx, remote, b)
		}})
	f, err = fleetwright.New(fleetwright.Config{Store: st, Codec: codec, Blobs: storeblob.New(st, codec, nil), Keys: keys, Authorizer: access.AllowAll{},
		Transports: []transport.Transport{nodes}, Name: o.Name, LeaseTTL: o.TTL, Heartbeat: o.TTL / 2, Log: log})
	if err != nil {
		return err
	}
	get, err := httptransport.ReloadingCertificate(filepath.Join(o.Dir, "server.pem"), filepath.Join(o.Dir, "server-key.pem"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(fleetwright.NodePath, nodes.Handler())
	control(mux, f, nodes, st)
	web := &http.Server{Handler: mux, TLSConfig: httptransport.ServerTLS(get), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go web.ServeTLS(l, "", "") //nolint:errcheck // ends with Close
	run, end := context.WithCancel(context.Background())
	defer end()
	var wg sync.WaitGroup
	ended := make(chan error, 1)
	wg.Go(func() { ended <- f.Run(run) })
	wg.Go(func() { probe(run, f, st, o.Name) })
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	bye, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	nodes.Shutdown(bye) //nolint:errcheck // what is left is cut
	end()
	wg.Wait()
	web.Close() //nolint:errcheck // the process ends
	s.Close()
	p.Close()
	return err
}

// control is how the test speaks with a control plane.
func control(mux *http.ServeMux, f *fleetwright.Fleet, nodes *httptransport.Server, st *fenced) {
	handle := func(path string, fn func(r *http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := fn(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			json.NewEncoder(w).Encode(v) //nolint:errcheck // who asked is gone
		})
	}
	handle("/state", func(r *http.Request) (any, error) {
		s := planeState{Owned: f.Commands.Owned(), Refused: st.refused.Load()}
		all, _, err := f.Nodes.List(r.Context(), nil, nil)
		for i := range all {
			if nodes.Connected(transport.Address{Tenant: access.DefaultTenant, Name: all[i].ID}) {
				s.Connected = append(s.Connected, all[i].ID)
			}
		}
		return s, err
	})
	handle("/activate", func(r *http.Request) (any, error) {
		a, err := f.Nodes.CreateActivation(r.Context(), node.ActivationRequest{RegistrationLimit: 100})
		return activated{a.ID, string(a.Code.Reveal())}, err
	})
	handle("/send", func(r *http.Request) (any, error) {
		var req command.SendRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			return nil, err
		}
		return f.Commands.Send(r.Context(), req)
	})
	handle("/get", func(r *http.Request) (any, error) { return f.Commands.Get(r.Context(), r.FormValue("id")) })
}

// probeLease is what a control plane's probe writes under.
func probeLease(plane string) string { return "probe/" + plane }

// probe writes again and again under a lease that it took once, as who was frozen between taking it and writing does, and takes it anew when it is refused.
func probe(ctx context.Context, f *fleetwright.Fleet, st store.Store, name string) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	var held lease.Held
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if held.Epoch == 0 {
			held, _ = f.Leases.Acquire(ctx, "", probeLease(name))
			continue
		}
		err := st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := held.Check(ctx, tx); err != nil {
				return err
			}
			return tx.Put([]byte("probe/"+name), []byte(time.Now().String()))
		})
		if errors.Is(err, lease.ErrLost) {
			held = lease.Held{}
		}
	}
}

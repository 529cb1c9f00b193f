//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
)

// house is everything that runs on this machine, and the hands on it.
type house struct {
	o      *options
	dir    string // of the run
	db     *database
	planes []*process
	urls   []string // of the planes
	broker *process // nil without one of its own
	nats   string   // URLs of the brokers; "" is none
	agents []*process
	byNATS int // how many of the agents

	token   secret.Value
	web     *http.Client // for health and status
	clients []*ssmops.Client
	next    atomic.Int64 // the client that is tried first

	mu    sync.Mutex
	views []view // of the planes
}

// view is what was last heard of a plane.
type view struct {
	status
	at time.Time // zero: nothing, or not lately
}

func newHouse(o *options, dir string) *house { return &house{o: o, dir: dir} }

func (h *house) conf() string {
	if h.o.conf != "" {
		return h.o.conf
	}
	return filepath.Join(h.dir, "conf")
}

func (h *house) log(name string) string { return filepath.Join(h.dir, "logs", name+".log") }

// open starts everything and returns when all nodes are connected.
func (h *house) open(ctx context.Context, say func(format string, args ...any)) (err error) {
	if err := initDir(h.conf(), nil); err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(h.conf(), tokenFile))
	if err != nil {
		return err
	}
	h.token = secret.New(bytes.TrimSpace(token))
	ca, err := os.ReadFile(filepath.Join(h.conf(), tlsDir, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	h.web = &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 2}}
	if h.db, err = startDatabase(h.o.postgres); err != nil {
		return err
	}
	if h.db.server != nil {
		say("PostgreSQL is up, in a directory of its own")
	}
	if err := h.startBroker(ctx, say); err != nil {
		return err
	}
	for i := range planeCount {
		if err := h.startPlane(i, ca); err != nil {
			return err
		}
	}
	for i := range h.planes {
		if err := h.ready(ctx, i, time.Minute); err != nil {
			return err
		}
	}
	say("%d control planes are ready: %s", planeCount, strings.Join(h.urls, ", "))
	return h.startAgents(ctx, say)
}

const planeCount = 3

func (h *house) startPlane(i int, ca []byte) error {
	listen, err := freeAddress()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("plane-%d", i+1)
	args := []string{"plane", "-name", name, "-listen", listen, "-dir", h.conf(), "-schema", h.db.schema, "-lease", h.o.lease.String(), "-heartbeat", max(h.o.lease, time.Second).String()}
	args = append(args, h.natsArgs()...)
	p := &process{name: name, log: h.log(name), args: args, env: []string{"FLEETWRIGHT_POSTGRES=" + h.db.dsn}}
	url := "https://" + listen
	c, err := ssmops.NewClient(url, &ssmops.ClientOptions{Token: h.token, CA: ca, Timeout: 3 * time.Second})
	if err != nil {
		return err
	}
	prof, err := json.MarshalIndent(map[string]string{"server": url, "tokenFile": filepath.Join(h.conf(), tokenFile), "caFile": filepath.Join(h.conf(), tlsDir, "ca.pem")}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.dir, name+".json"), prof, 0o600); err != nil {
		return err
	}
	h.planes, h.urls, h.clients, h.views = append(h.planes, p), append(h.urls, url), append(h.clients, c), append(h.views, view{})
	return p.start()
}

// ready waits until a plane says that it is.
func (h *house) ready(ctx context.Context, i int, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := "it does not answer"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.urls[i]+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := h.web.Do(req); err == nil {
			var b bytes.Buffer
			b.ReadFrom(resp.Body) //nolint:errcheck // a short one
			resp.Body.Close()     //nolint:errcheck // read only
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			last = strings.TrimSpace(b.String())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %s; its log is %s", h.planes[i].name, last, h.planes[i].log)
		case <-h.planes[i].done:
			return fmt.Errorf("%s ended; its log is %s", h.planes[i].name, h.planes[i].log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *house) startAgents(ctx context.Context, say func(string, ...any)) error {
	var act ssmops.CreateActivationResult
	err := h.call(ctx, "CreateActivation", ssmops.CreateActivationRequest{RegistrationLimit: h.o.nodes, Tags: []ssmops.Tag{{Key: "Fleet", Value: "ha"}}}, &act)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range h.o.nodes {
		name := fmt.Sprintf("node-%02d", i+1)
		servers := append(append([]string{}, h.urls[i%planeCount:]...), h.urls[:i%planeCount]...)
		args := []string{"agent", "-server", strings.Join(servers, ","), "-ca", filepath.Join(h.conf(), tlsDir, "ca.pem"), "-dir", filepath.Join(h.dir, "nodes", name), "-name", name,
			"-activation", act.ActivationID, "-backoff", max(h.o.lease/3, 300*time.Millisecond).String()}
		if i%2 == 1 && len(h.natsArgs()) > 0 {
			args = append(args, h.natsArgs()...)
			h.byNATS++
		}
		p := &process{name: name, log: h.log(name), args: args, env: []string{codeVariable + "=" + act.ActivationCode}}
		if err := os.MkdirAll(filepath.Join(h.dir, "nodes"), 0o700); err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
		h.agents = append(h.agents, p)
	}
	if err := h.until(ctx, time.Minute, "all nodes are connected", func() bool { return h.connected() >= h.o.nodes }); err != nil {
		return err
	}
	how := fmt.Sprintf("%d over HTTPS, spread over the planes", h.o.nodes-h.byNATS)
	if h.byNATS > 0 {
		how += fmt.Sprintf(", %d by NATS", h.byNATS)
	}
	say("%d nodes, each a process, registered and connected in %s: %s", h.o.nodes, secs(time.Since(began)), how)
	return nil
}

// connected counts the nodes that are connected somewhere.
func (h *house) connected() int {
	h.look(context.Background())
	https, nats := 0, 0
	for _, v := range h.seen() {
		https += v.HTTPS
		nats = max(nats, v.NATS) // every plane sees all of these
	}
	return https + nats
}

// look asks every plane how it is.
func (h *house) look(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range h.planes {
		wg.Go(func() {
			v, err := h.ask(ctx, i)
			h.mu.Lock()
			defer h.mu.Unlock()
			if err == nil {
				h.views[i] = view{v, time.Now()}
			} else {
				h.views[i].at = time.Time{}
			}
		})
	}
	wg.Wait()
}

func (h *house) ask(ctx context.Context, i int) (s status, err error) {
	if st := h.planes[i].is(); st != running {
		return s, errors.New(string(st))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.urls[i]+"/status", nil)
	if err != nil {
		return s, err
	}
	req.Header.Set("Authorization", "Bearer "+string(h.token.Reveal()))
	resp, err := h.web.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		return s, errors.New(resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// seen returns what the planes that answer said last; a plane that does not is a zero view with its name.
func (h *house) seen() []view {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]view, len(h.views))
	for i, v := range h.views {
		if v.at.IsZero() {
			v = view{status: status{Name: h.planes[i].name}}
		}
		out[i] = v
	}
	return out
}

// until looks at the planes again and again until the condition holds.
func (h *house) until(ctx context.Context, patience time.Duration, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("this was not so within %v: %s", patience, what)
			}
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return nil
}

// call calls an operation of some plane: when one does not answer, the next is asked, until ctx ends. For what may be repeated.
func (h *house) call(ctx context.Context, op string, in, out any) error {
	for {
		var err error
		for range h.clients {
			n := h.next.Load()
			err = h.clients[int(n)%len(h.clients)].Call(ctx, op, in, out)
			code := fault.CodeOf(err)
			if err == nil || code != fault.ServiceUnavailable && code != fault.Throttling && code != fault.InternalServerError && code != fault.OutcomeUnknown {
				return err
			}
			h.next.CompareAndSwap(n, n+1)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// close ends everything.
func (h *house) close() error {
	patience := time.After(10 * time.Second)
	var wg sync.WaitGroup
	for _, p := range h.agents {
		wg.Go(func() { p.end(patience) })
	}
	wg.Wait()
	for _, p := range h.planes {
		wg.Go(func() { p.end(patience) })
	}
	wg.Wait()
	if h.broker != nil {
		h.broker.end(patience)
	}
	if h.db == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return h.db.close(ctx)
}

// secs shows a duration in seconds to a tenth.
func secs(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

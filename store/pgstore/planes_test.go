package pgstore_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

const (
	unionPlanes = 3
	unionNodes  = 12
	unionOpen   = 3 // commands under way at once
)

// Three control planes, each a process, on one PostgreSQL; twelve nodes that are connected to them over HTTPS and go to another when theirs fails; commands all the time. One control
// plane after the other is killed, stopped with SIGSTOP for three lease periods, or ended in order. Every command ends, and no node starts one twice or never.
func TestF10_ControlPlanesThatAreKilledAndFrozen(t *testing.T) {
	u := newUnion(t)
	rounds := testenv.Count(t, "FLEETWRIGHT_PLANE_KILLS", times(2, 20))
	for i := range unionPlanes {
		u.start(i)
	}
	u.share(unionPlanes)
	for range unionNodes {
		u.node()
	}
	require.Eventually(t, func() bool {
		n := 0
		for i := range unionPlanes {
			n += len(u.planes[i].state().Connected)
		}
		return n == unionNodes
	}, 30*time.Second, 50*time.Millisecond, "all nodes are connected")
	u.across()
	stop := u.load()
	figures := map[string]int{}
	var worst time.Duration
	for round := range rounds {
		i := round % unionPlanes
		time.Sleep(unionTTL() / 4) // the commands are somewhere in their lives
		switch []string{"kill", "freeze", "end"}[(round+round/6)%3] {
		case "kill":
			figures["control planes killed (kill -9) under running commands"]++
			u.planes[i].end(syscall.SIGKILL)
			worst = max(worst, u.handOver(i, "killed"))
			u.start(i)
		case "freeze":
			figures["control planes stopped (SIGSTOP) for three lease periods under running commands"]++
			u.freeze(i)
		case "end":
			figures["control planes ended and started again under running commands"]++
			u.planes[i].end(syscall.SIGTERM)
			u.handOver(i, "ended in order")
			u.start(i)
		}
	}
	stop()
	lost, doubled := u.audit()
	t.Logf("%d commands on %d nodes each; the work of a killed control plane was taken over within %v at worst (a lease period is %v)", len(u.sent), unionNodes, worst.Round(time.Millisecond), unionTTL())
	wrong := min(1, len(lost)+len(doubled))
	if t.Failed() {
		wrong = 1
	}
	for what, n := range figures {
		testenv.Figure(t, what, n, wrong)
	}
	testenv.Figure(t, "commands sent while control planes were killed, stopped and ended", len(u.sent), len(lost)+len(doubled))
	require.Empty(t, lost, "each node ran each command")
	require.Empty(t, doubled, "and once")
}

// unionTTL is the lease period of the processes.
func unionTTL() time.Duration { return time.Duration(times(1, 2)) * time.Second }

// processes are the control planes and the nodes of a test.
type processes struct {
	t      *testing.T
	dsn    string
	store  string
	dir    string
	ca     []byte
	web    *http.Client
	leases *lease.Leases // of the test, which looks at the others'
	planes [unionPlanes]*process
	urls   []string
	code   secret.Value
	act    string
	nodes  []string
	acts   action.Set

	mu   sync.Mutex
	sent []string // commands
}

func newUnion(t *testing.T) *processes {
	if testing.Short() {
		t.Skip("SKIPPED: starts control planes as processes; run without -short")
	}
	srv := server(t)
	t.Parallel()
	u := &processes{t: t, dsn: srv.DSN("fleet"), store: fresh(), dir: t.TempDir()}
	_, err := localkeys.Create(filepath.Join(u.dir, "keys.json"), nil)
	require.NoError(t, err)
	files, err := httptransport.SelfSigned(u.dir)
	require.NoError(t, err)
	u.ca, err = os.ReadFile(files.CAFile)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(u.ca))
	u.web = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 2 * time.Second}
	t.Cleanup(u.web.CloseIdleConnections)
	for range unionPlanes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		u.urls = append(u.urls, "https://"+l.Addr().String())
		require.NoError(t, l.Close())
	}
	st := openOn(t, pool(t), u.store, nil)
	keys, err := localkeys.Open(filepath.Join(u.dir, "keys.json"), nil)
	require.NoError(t, err)
	codec, err := fleetwright.RecordCodec(t.Context(), st, keys)
	require.NoError(t, err)
	u.leases = lease.New(st, codec, lease.Config{Owner: "test", TTL: unionTTL()})
	u.acts, err = fleetwright.Actions(leavesLine{"aws:runShellScript", u.starts()}, leavesLine{"aws:runPowerShellScript", u.starts()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { u.leases.Run(ctx) }) //nolint:errcheck // ends with ctx
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
	return u
}

// starts is the file where nodes leave their lines.
func (u *processes) starts() string { return filepath.Join(u.dir, "starts") }

// leavesLine is a step that leaves a line in a file before it does anything else, and takes its time.
type leavesLine struct{ name, file string }

func (s leavesLine) Name() string { return s.name }

func (s leavesLine) Run(ctx context.Context, c *action.Call) action.Result {
	f, err := os.OpenFile(s.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, c.Command, c.Node)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return action.Result{Status: message.Failed, ExitCode: 1}
	}
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return action.Result{Status: message.Cancelled, ExitCode: 1}
	}
	return action.Result{Status: message.Success}
}

// start starts a control plane, or starts it again, and waits until it answers.
func (u *processes) start(i int) {
	o := planeOptions{DSN: u.dsn, Store: u.store, Name: fmt.Sprint("plane-", i), Dir: u.dir, Listen: strings.TrimPrefix(u.urls[i], "https://"), TTL: unionTTL()}
	u.planes[i] = startProcess(u.t, &o, u.urls[i], u.web)
}

// node registers a node and connects it: to one control plane, and to the next when that fails.
func (u *processes) node() {
	i := len(u.nodes)
	if u.act == "" {
		var a activated
		require.NoError(u.t, u.planes[0].call("/activate", nil, &a))
		u.act, u.code = a.ID, secret.New([]byte(a.Code))
	}
	at := func(k int) string { return u.urls[(i+k)%unionPlanes] + fleetwright.NodePath }
	cfg := httptransport.ClientConfig{URL: at(0), Alternates: []string{at(1), at(2)}, RootCAs: u.ca, BackoffBase: 50 * time.Millisecond, BackoffCap: unionTTL() / 4}
	me, err := agent.Register(u.t.Context(), agent.RegisterOver(func(ctx context.Context, body []byte) ([]byte, error) { return httptransport.Enroll(ctx, cfg, body) }),
		filepath.Join(u.dir, fmt.Sprint("node-", i)), u.act, u.code, nil)
	require.NoError(u.t, err)
	cfg.Address, cfg.Key = transport.Address{Tenant: me.Tenant, Name: me.ID}, me.Signer()
	link, err := httptransport.NewClient(cfg)
	require.NoError(u.t, err)
	a, err := agent.New(agent.Config{Node: me, Transport: link, Actions: u.acts, MinFree: -1})
	require.NoError(u.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(u.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) }) //nolint:errcheck // ends with ctx
	u.t.Cleanup(func() {
		cancel()
		wg.Wait()
		link.Close() //nolint:errcheck // the test is over
	})
	u.nodes = append(u.nodes, me.ID)
}

func request(nodes ...string) command.SendRequest {
	req := command.SendRequest{DocumentName: "hello", Content: []byte(hello), MaxConcurrency: "100%", MaxErrors: "100%", NoRamp: true, InstanceIDs: nodes}
	if nodes == nil {
		req.Targets = []target.Target{{Key: target.InstanceIDs, Values: []string{target.All}}}
	}
	return req
}

// across has each control plane accept a command for nodes that are connected to another one only.
func (u *processes) across() {
	for i := range unionPlanes {
		nodes := u.planes[(i+1)%unionPlanes].state().Connected
		require.NotEmpty(u.t, nodes)
		req := request(nodes...)
		req.ClientToken = fmt.Sprint("across-", i)
		var c command.Command
		require.NoError(u.t, u.planes[i].call("/send", &req, &c))
		require.Equal(u.t, message.Success, u.wait(c.ID).Status)
	}
}

// load sends commands to the control planes in turn, whoever lives, until stop is called, which waits until all have ended.
func (u *processes) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(u.t.Context()))
	var wg sync.WaitGroup
	for worker := range unionOpen {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				req := request()
				req.ClientToken = fmt.Sprintf("load-%d-%d", worker, n) // makes one command of all tries
				var c command.Command
				if !u.any(worker+n, "/send", &req, &c) {
					u.t.Error("a command was not accepted by any control plane")
					return
				}
				u.mu.Lock()
				u.sent = append(u.sent, c.ID)
				u.mu.Unlock()
				got := u.wait(c.ID)
				if got.Status != message.Success || got.Counts[message.DetailSuccess] != unionNodes {
					u.t.Errorf("command %s: %s, %v", c.ID, got.StatusDetails, got.Counts)
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// any calls one control plane after the other until one answers.
func (u *processes) any(first int, path string, in, out any) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); first++ {
		if u.planes[first%unionPlanes].call(path, in, out) == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// wait waits for a command's end.
func (u *processes) wait(id string) (c command.Command) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if u.any(0, "/get?id="+id, nil, &c) && c.StatusDetails.Terminal() {
			return c
		}
	}
	u.t.Errorf("command %s has not ended within a minute: %s, %v", id, c.StatusDetails, c.Counts)
	return c
}

// owned counts the parts of the commands whose record names a control plane, a look at the store.
func (u *processes) owned(name string) (n int) {
	for s := range command.Shards {
		h, err := u.leases.Who(u.t.Context(), "", fmt.Sprint("command/", s))
		if err != nil || h.Owner == name {
			n++
		}
	}
	return n
}

// share waits until everybody has a share of the commands.
func (u *processes) share(members int) {
	require.Eventually(u.t, func() bool {
		for i := range members {
			if n := u.owned(fmt.Sprint("plane-", i)); n == 0 || n > (command.Shards+members-1)/members {
				return false
			}
		}
		return true
	}, 20*unionTTL(), 20*time.Millisecond)
}

// handOver waits until nothing belongs to a control plane any more and measures it.
func (u *processes) handOver(i int, what string) time.Duration {
	name, began := fmt.Sprint("plane-", i), time.Now()
	had := u.owned(name)
	require.Eventually(u.t, func() bool { return u.owned(name) == 0 }, 20*unionTTL(), 10*time.Millisecond, "%s was %s", name, what)
	d := time.Since(began)
	u.t.Logf("%s was %s: its %d parts of the commands were taken over within %v", name, what, had, d.Round(time.Millisecond))
	return d
}

// freeze stops a control plane for three lease periods. When it goes on it believes to own what is others' now: it is refused.
func (u *processes) freeze(i int) {
	p := u.planes[i]
	before := p.state().Refused
	p.signal(syscall.SIGSTOP)
	began := time.Now()
	u.handOver(i, "stopped")
	require.Eventually(u.t, func() bool { // somebody takes what the probe writes under
		held, err := u.leases.Acquire(u.t.Context(), "", probeLease(p.name))
		if err != nil {
			return false
		}
		return held.Release(u.t.Context()) == nil
	}, 20*unionTTL(), 20*time.Millisecond)
	time.Sleep(time.Until(began.Add(3 * unionTTL())))
	p.signal(syscall.SIGCONT)
	require.Eventually(u.t, func() bool { return p.state().Refused > before }, 20*unionTTL(), 20*time.Millisecond, "a stale write of %s was refused", p.name)
	u.t.Logf("%s went on: %d of its stale writes were refused", p.name, p.state().Refused-before)
	require.Eventually(u.t, func() bool { return len(p.state().Owned) > 0 }, 20*unionTTL(), 20*time.Millisecond, "%s gets its share again", p.name)
}

// audit compares what the nodes did with what was sent.
func (u *processes) audit() (lost, doubled []string) {
	b, err := os.ReadFile(u.starts())
	require.NoError(u.t, err)
	starts := map[string]int{}
	for line := range strings.Lines(string(b)) {
		starts[strings.TrimSpace(line)]++
	}
	for k, n := range starts {
		if n > 1 {
			doubled = append(doubled, k)
		}
	}
	for _, c := range u.sent {
		for _, n := range u.nodes {
			if k := c + " " + n; starts[k] == 0 {
				lost = append(lost, k)
			}
		}
	}
	slices.SortFunc(lost, cmp.Compare)
	return lost, doubled
}

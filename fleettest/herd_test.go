//go:build unix

package fleettest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// pasture is a control plane over a file store, which can be restarted, with its nodes in other processes.
type pasture struct {
	t     *testing.T
	store store.Store
	keys  *localkeys.Keys
	files *httptransport.SelfSignedFiles
	addr  string

	fleet *fleetwright.Fleet
	srv   *httptransport.Server
	stop  func()
}

// open starts the control plane, which admits so many.
func (p *pasture) open(rate float64, burst int) {
	require.Nil(p.t, p.stop)
	get, err := httptransport.ReloadingCertificate(p.files.CertFile, p.files.KeyFile)
	require.NoError(p.t, err)
	var f *fleetwright.Fleet
	srv := httptransport.NewServer(httptransport.ServerConfig{Admit: rate, AdmitBurst: burst, Key: func(ctx context.Context, a transport.Address) (ed25519.PublicKey, error) { return f.NodeKey(ctx, a) }})
	f, err = fleetwright.New(fleetwright.Config{Store: p.store, Exclusive: true, Blobs: memblob.New(), Keys: p.keys, Authorizer: access.AllowAll{}, Transports: []transport.Transport{srv}, Name: "plane"})
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f.Run(ctx) }) //nolint:errcheck // ends with ctx
	l, err := net.Listen("tcp", p.addr)
	require.NoError(p.t, err)
	p.addr = l.Addr().String()
	hs := &http.Server{Handler: srv.Handler(), TLSConfig: httptransport.ServerTLS(get), ReadHeaderTimeout: 20 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	wg.Go(func() { hs.ServeTLS(l, "", "") }) //nolint:errcheck // ends with Close
	p.fleet, p.srv = f, srv
	p.stop = func() {
		l.Close()
		srv.Close()
		hs.Close()
		cancel()
		wg.Wait()
		p.stop = nil
	}
}

// enrol registers n nodes.
func (p *pasture) enrol(n int) (order herdOrder) {
	order = herdOrder{URL: "https://" + p.addr + "/", CA: p.files.CA, Nodes: make([]herdNode, n)}
	var acts []node.NewActivation
	for range (n + 999) / 1000 {
		a, err := p.fleet.Nodes.CreateActivation(p.t.Context(), node.ActivationRequest{RegistrationLimit: 1000, Tags: map[string]string{"Role": "web"}})
		require.NoError(p.t, err)
		acts = append(acts, a)
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range next {
				id, err := message.NewIdentity("pending", "pending", nil)
				if err != nil {
					p.t.Error(err)
					continue
				}
				pub, act := id.Public(), acts[i/1000]
				res, err := p.fleet.Nodes.Register(p.t.Context(), message.RegisterRequest{ActivationID: act.ID, ActivationCode: string(act.Code.Reveal()), SignKey: pub.SignKey, SealKey: pub.SealKey,
					Token: message.NewID(nil), Facts: message.Facts{PlatformType: "Linux", Capabilities: []string{"aws:runShellScript", "feature:ENV_VAR", "feature:preconditions"}}})
				if err != nil {
					p.t.Error(err)
					continue
				}
				order.Nodes[i] = herdNode{res.Node, id.Seed().Reveal()}
				if i == 0 {
					order.Plane, order.Epoch = message.Peer{Tenant: res.Tenant, Name: message.Controller, SignKey: res.SignKey, SealKey: res.SealKey}, res.Epoch
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return order
}

// nodes starts a process that is those nodes. What it returns ends it.
func (p *pasture) nodes(order herdOrder) (end func() herdTale) {
	exe, err := os.Executable()
	require.NoError(p.t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), herdEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(p.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	require.NoError(p.t, json.NewEncoder(in).Encode(&order))
	var once sync.Once
	end = func() (tale herdTale) {
		once.Do(func() {
			in.Close()
			err := json.NewDecoder(out).Decode(&tale)
			if werr := cmd.Wait(); err != nil || werr != nil {
				p.t.Errorf("a process of nodes: %v, %v", err, werr)
			}
		})
		return tale
	}
	p.t.Cleanup(func() { end() })
	return end
}

// sample is what the server had admitted at a time.
type sample struct {
	before, after time.Time
	st            httptransport.ServerStats
}

// gather waits until n nodes are in. It returns how long that took, and how often more came in than the limit allows.
func (p *pasture) gather(n int, rate float64, burst int) (took time.Duration, over int) {
	start := time.Now()
	var all []sample
	for {
		s := sample{before: time.Now()}
		s.st = p.srv.Stats()
		s.after = time.Now()
		all = append(all, s)
		if s.st.Connected >= n {
			break
		}
		require.Less(p.t, time.Since(start), 10*time.Minute, "%+v", s.st)
		time.Sleep(20 * time.Millisecond)
	}
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			came := float64(all[j].st.Accepted - all[i].st.Accepted)
			if came > float64(burst)+rate*all[j].after.Sub(all[i].before).Seconds()+float64(all[i].st.Pending)+1 {
				over++
			}
		}
	}
	return time.Since(start), over
}

// descriptors raises the limit of files, and skips where that is not allowed.
func descriptors(t *testing.T, want uint64) {
	var l syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l))
	if l.Cur >= want {
		return
	}
	if l.Max < want {
		l.Max = want
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Skipf("SKIPPED: %d open files are not allowed here: %v", want, err)
	}
}

// F12 over real sockets: TLS, websockets and signed messages; the nodes are in processes of their own, the control plane is whole. It is restarted while a command runs everywhere: all nodes
// come back at once, under the limit, and the command succeeds on each of them, started once.
func TestHerdOfRealConnections(t *testing.T) {
	n, processes, work := 200, 2, 2*time.Second
	rate, burst := 200.0, 20
	switch {
	case testenv.Long():
		n, processes, work = testenv.Count(t, "FLEETWRIGHT_SOCKETS", 10_000), 4, 20*time.Second
		rate, burst = 1000, 500 // the server's defaults
	case testing.Short():
		n = 60
	}
	descriptors(t, uint64(n)+1000)
	dir := t.TempDir()
	st, err := boltstore.Open(t.Context(), filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	defer st.Close() //nolint:errcheck // the test ends
	keys, err := localkeys.Create(filepath.Join(dir, "keys.json"), nil)
	require.NoError(t, err)
	files, err := httptransport.SelfSigned(dir)
	require.NoError(t, err)
	p := &pasture{t: t, store: st, keys: keys, files: files, addr: "127.0.0.1:0"}
	p.open(rate, burst)
	defer func() { p.stop() }()
	start := time.Now()
	order := p.enrol(n)
	require.False(t, t.Failed())
	order.Work = work
	enrolled := time.Since(start)
	memory, goroutines := usage()
	var ends []func() herdTale
	for i := range processes {
		part := order
		part.Nodes = order.Nodes[i*n/processes : (i+1)*n/processes]
		ends = append(ends, p.nodes(part))
	}
	first, over1 := p.gather(n, rate, burst)
	sent := p.srv.Stats().Throttled
	t.Logf("%d nodes: registered in %v; %d processes of them are in after %v, %d were sent away until later", n, enrolled, processes, first, sent)
	if !raceEnabled {
		settle(goroutines + n + n/20 + 20)
		m, g := usage()
		kib, per := (m-memory)/1024/float64(n), float64(g-goroutines)/float64(n)
		t.Logf("an idle connection with all that the control plane remembers of its node: %.1f KiB, %.2f goroutines", kib, per)
		if n >= 1000 { // of fewer, what all share is too large a part
			require.LessOrEqual(t, kib, 40.0)
		}
		require.LessOrEqual(t, per, 2.05)
	}

	c, err := p.fleet.Commands.Send(t.Context(), command.SendRequest{DocumentName: "AWS-RunShellScript", Parameters: map[string][]string{"commands": {"uptime"}},
		Targets: []target.Target{{Key: "tag:Role", Values: []string{"web"}}}, MaxConcurrency: "100%"})
	require.NoError(t, err)
	running := 0
	for end := time.Now().Add(5 * time.Minute); running < n/2; time.Sleep(10 * time.Millisecond) {
		got, err := p.fleet.Commands.Get(t.Context(), c.ID)
		require.NoError(t, err)
		require.Less(t, got.CompletedCount, n, "it ended before the restart: make the work longer")
		require.True(t, time.Now().Before(end))
		running = got.Running
	}
	p.stop()
	p.open(rate, burst)
	again, over2 := p.gather(n, rate, burst)
	stats := p.srv.Stats()
	c, err = p.fleet.Commands.Wait(t.Context(), c.ID)
	require.NoError(t, err)
	failed := n - c.Counts[message.DetailSuccess]
	var sum herdTale
	for _, end := range ends {
		tale := end()
		sum.Starts, sum.Twice, sum.Connects = sum.Starts+tale.Starts, sum.Twice+tale.Twice, sum.Connects+tale.Connects
	}
	t.Logf("after a restart with %d of them at work: all in after %v; the limit of %.0f a second allows %.1f s; %d were sent away until later; the command: %v", running, again, rate, float64(n-burst)/rate, stats.Throttled, c.Counts)
	testenv.Figure(t, fmt.Sprintf("herd: real connections (TLS, websocket) of %d processes, twice; invocations failed or started twice, moments over the limit", processes), 2*n, failed+sum.Twice+over1+over2)
	require.Zero(t, failed)
	require.Zero(t, over1+over2)
	require.Zero(t, sum.Twice)
	require.Equal(t, n, sum.Starts)
}

func usage() (bytes float64, goroutines int) {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()
}

// settle waits until there are no more goroutines than so many, or some seconds have passed without that: what is left then is measured.
func settle(most int) {
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > most && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

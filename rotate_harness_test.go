package fleetwright_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

// keyFleet is a control plane with agents whose keys a test looks at.
type keyFleet struct {
	*fleetwright.Fleet
	t      *testing.T
	dir    string
	net    *memtransport.Network
	end    transport.Transport // the control plane's, or what the test put around it
	store  store.Store
	keys   *localkeys.Keys
	offset atomic.Int64 // of everybody's clock
	halt   func()
	script func(node string)
}

func newKeyFleet(t *testing.T, net memtransport.Options, around func(transport.Transport) transport.Transport) *keyFleet {
	keys, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	f := &keyFleet{t: t, dir: t.TempDir(), net: memtransport.New(&net), store: memstore.New(), keys: keys}
	f.end = f.net.Controller()
	if around != nil {
		f.end = around(f.end)
	}
	f.open()
	t.Cleanup(func() { f.halt() })
	return f
}

func (f *keyFleet) now() time.Time { return time.Now().Add(time.Duration(f.offset.Load())) }

func (f *keyFleet) open() {
	var err error
	f.Fleet, err = fleetwright.New(fleetwright.Config{Store: f.store, Exclusive: true, Blobs: memblob.New(), Keys: f.keys, Authorizer: access.AllowAll{}, Now: f.now,
		Transports: []transport.Transport{f.end}, Heartbeat: time.Second, Timing: command.Timing{Resend: 50 * time.Millisecond, Delay: 20 * time.Second}})
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }() //nolint:errcheck // ends with the test
	f.halt = func() { cancel(); <-done }
}

// Rotate and Register are the enrolment path without a network.
func (f *keyFleet) Rotate(ctx context.Context, r message.RotateRequest) (resp message.RotateResponse, err error) {
	return resp, f.ask(ctx, r, &resp)
}

func (f *keyFleet) Register(ctx context.Context, r message.RegisterRequest) (resp message.RegisterResponse, err error) {
	return resp, f.ask(ctx, r, &resp)
}

func (f *keyFleet) ask(ctx context.Context, r, resp any) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	answer, err := f.Enroll(ctx, "", body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, resp)
}

type keyNode struct {
	f    *keyFleet
	dir  string
	me   *agent.Node
	a    *agent.Agent
	stop func()
}

func (f *keyFleet) add(name string) *keyNode {
	act, err := f.Nodes.CreateActivation(f.t.Context(), node.ActivationRequest{DefaultName: name})
	require.NoError(f.t, err)
	n := &keyNode{f: f, dir: filepath.Join(f.dir, name)}
	_, err = agent.Register(f.t.Context(), f, n.dir, act.ID, act.Code, nil)
	require.NoError(f.t, err)
	n.start()
	f.t.Cleanup(func() { n.stop() })
	return n
}

type keyScript struct{ f *keyFleet }

func (keyScript) Name() string { return "aws:runShellScript" }

func (s keyScript) Run(_ context.Context, c *action.Call) action.Result {
	if s.f.script != nil {
		s.f.script(c.Node)
	}
	io.WriteString(c.Stdout, "done") //nolint:errcheck // it never fails
	return action.Result{Status: message.Success}
}

// start starts the node from what its directory holds.
func (n *keyNode) start() {
	f := n.f
	set, err := fleetwright.Actions(keyScript{f})
	require.NoError(f.t, err)
	n.me, err = agent.Load(n.dir)
	require.NoError(f.t, err)
	conn := f.net.Node(transport.Address{Tenant: n.me.Tenant, Name: n.me.ID})
	n.a, err = agent.New(agent.Config{Node: n.me, Transport: conn, Actions: set, Rotator: f, Now: f.now, MinFree: -1})
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.a.Run(ctx); err != nil {
			f.t.Errorf("an agent ended: %v", err)
		}
	}()
	n.stop = func() {
		cancel()
		<-done
		conn.Close() //nolint:errcheck // in memory
		n.stop = func() {}
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 10*time.Millisecond, what)
}

func (n *keyNode) obeys(epoch uint64) {
	n.f.t.Helper()
	eventually(n.f.t, fmt.Sprintf("the node obeys epoch %d", epoch), func() bool { return n.a.Health().Epoch == epoch })
}

// works runs a command on the nodes.
func (f *keyFleet) works(nodes ...*keyNode) {
	f.t.Helper()
	req := shell("true")
	for _, n := range nodes {
		req.InstanceIDs = append(req.InstanceIDs, n.me.ID)
	}
	c, err := f.Commands.Send(f.t.Context(), req)
	require.NoError(f.t, err)
	c, err = f.Commands.Wait(f.t.Context(), c.ID)
	require.NoError(f.t, err)
	require.Equal(f.t, message.Success, c.Status)
}

// load keeps commands running on all nodes until the returned function is called, which returns how many there were: each node ran each exactly once.
func (f *keyFleet) load(nodes ...*keyNode) func() int {
	var mu sync.Mutex
	ran := map[string]int{}
	f.script = func(node string) {
		mu.Lock()
		ran[node]++
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan int)
	go func() {
		sent := 0
		for ctx.Err() == nil {
			req := shell("true")
			req.Targets = []target.Target{{Key: target.InstanceIDs, Values: []string{target.All}}}
			c, err := f.Commands.Send(context.Background(), req)
			if err == nil {
				c, err = f.Commands.Wait(context.Background(), c.ID)
			}
			if err != nil || c.Status != message.Success {
				f.t.Errorf("a command under the load ended as %s: %v", c.Status, err)
			}
			sent++
		}
		done <- sent
	}()
	return func() int {
		cancel()
		sent := <-done
		mu.Lock()
		defer mu.Unlock()
		for _, n := range nodes {
			require.Equal(f.t, sent, ran[n.me.ID], "each command started once (law 4)")
		}
		return sent
	}
}

func signKey(t *testing.T, n *agent.Node) []byte {
	id := n.Identity()
	require.NotNil(t, id)
	return id.Public().SignKey
}

// stored returns a record of the control plane's keys as it is.
func (f *keyFleet) stored(parts ...string) (raw string) {
	at := key.New(access.DefaultTenant).Str("controller")
	for _, p := range parts {
		at = at.Str(p)
	}
	err := f.store.View(f.t.Context(), func(ctx context.Context, r store.Reader) error {
		b, err := r.Get(ctx, at)
		raw = string(b)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		require.NoError(f.t, err)
	}
	return raw
}

func (f *keyFleet) inForce(n *keyNode) []byte {
	k, err := f.NodeKey(f.t.Context(), transport.Address{Tenant: n.me.Tenant, Name: n.me.ID})
	require.NoError(f.t, err)
	return k
}

func (f *keyFleet) audited(action string) (ok, refused int) {
	require.NoError(f.t, f.Audit.Flush(f.t.Context()))
	page := &audit.Page{}
	for {
		list, next, err := f.Audit.List(f.t.Context(), audit.Filter{}, page)
		require.NoError(f.t, err)
		for _, e := range list {
			switch {
			case e.Action != action:
			case e.Outcome == audit.Success:
				ok++
			default:
				refused++
			}
		}
		if next == "" {
			break
		}
		page.NextToken = next
	}
	return ok, refused
}

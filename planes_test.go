package fleetwright_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

const planeTTL = 4 * time.Second

// union is several control planes over one store, each with a network of its own that only it reaches, as with HTTPS, and nodes that move between them.
type union struct {
	t      testing.TB
	store  store.Store
	blobs  blob.Store
	keys   seal.Wrapper
	planes []*unionPlane
	nodes  []*unionNode
}

type unionPlane struct {
	*fleetwright.Fleet
	gate *unionGate
	net  *memtransport.Network
	stop func()
}

type unionNode struct {
	me     *agent.Node
	acts   action.Set
	log    *entries
	starts atomic.Int64
	leave  func()
}

// entries is an agent's journal that outlives its connections.
type entries struct {
	mu sync.Mutex
	m  map[message.Ref]agent.Entry
}

func (j *entries) Load() (out []agent.Entry, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.m {
		out = append(out, e)
	}
	return out, nil
}

func (j *entries) Put(e *agent.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.m[e.Ref] = *e
	return nil
}

func (j *entries) Delete(ref message.Ref) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.m, ref)
	return nil
}

// unionGate is the way to the store: while it is closed every call fails, as when a plane is split from it.
type unionGate struct {
	store.Store
	mu     sync.Mutex
	closed bool
}

func (g *unionGate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

func (g *unionGate) pass() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errSplit
	}
	return nil
}

var errSplit = errors.New("the store cannot be reached")

func (g *unionGate) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.Store.View(ctx, fn)
}

func (g *unionGate) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.Store.Update(ctx, fn)
}

func (g *unionGate) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	return store.Watch(ctx, g.Store, prefix)
}

func newUnion(t testing.TB, planes, nodes int, change func(i int, cfg *fleetwright.Config)) *union {
	keys, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	u := &union{t: t, store: memstore.New(), blobs: memblob.New(), keys: keys}
	for i := range planes {
		u.plane(i, change)
	}
	time.Sleep(3 * planeTTL)
	for i := range nodes {
		u.node(i)
	}
	return u
}

func (u *union) plane(i int, change func(i int, cfg *fleetwright.Config)) *unionPlane {
	p := &unionPlane{gate: &unionGate{Store: u.store}, net: memtransport.New(nil)}
	cfg := fleetwright.Config{Store: p.gate, Blobs: u.blobs, Keys: u.keys, Authorizer: access.AllowAll{}, Transports: []transport.Transport{p.net.Controller()},
		Name: fmt.Sprint("plane-", i), LeaseTTL: planeTTL}
	if change != nil {
		change(i, &cfg)
	}
	f, err := fleetwright.New(cfg)
	require.NoError(u.t, err)
	p.Fleet = f
	ctx, cancel := context.WithCancel(context.WithoutCancel(u.t.Context()))
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		p.gate.set(false)
		cancel()
		<-done
	})
	u.planes = append(u.planes, p)
	return p
}

func (u *union) node(i int) *unionNode {
	f := u.planes[0]
	act, err := f.Nodes.CreateActivation(u.t.Context(), node.ActivationRequest{DefaultName: fmt.Sprint("node-", i)})
	require.NoError(u.t, err)
	me, err := agent.Register(u.t.Context(), agent.RegistrarFunc(f.Nodes.Register), u.t.TempDir(), act.ID, act.Code, nil)
	require.NoError(u.t, err)
	nd := &unionNode{me: me, log: &entries{m: map[message.Ref]agent.Entry{}}}
	nd.acts, err = fleetwright.Actions(sleeper{"aws:runShellScript", &nd.starts}, sleeper{"aws:runPowerShellScript", &nd.starts})
	require.NoError(u.t, err)
	u.nodes = append(u.nodes, nd)
	return nd
}

// sleeper is a step that takes two seconds.
type sleeper struct {
	name   string
	starts *atomic.Int64
}

func (s sleeper) Name() string { return s.name }

func (s sleeper) Run(ctx context.Context, _ *action.Call) action.Result {
	s.starts.Add(1)
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return action.Result{Status: message.Cancelled, ExitCode: 1}
	}
	return action.Result{Status: message.Success}
}

// move connects a node to a plane; nil to none.
func (u *union) move(nd *unionNode, p *unionPlane) {
	if nd.leave != nil {
		nd.leave()
		nd.leave = nil
	}
	if p == nil {
		return
	}
	conn := p.net.Node(transport.Address{Tenant: nd.me.Tenant, Name: nd.me.ID})
	a, err := agent.New(agent.Config{Node: nd.me, Transport: conn, Actions: nd.acts, Store: nd.log, MinFree: -1})
	require.NoError(u.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(u.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) }) //nolint:errcheck // ends with ctx
	nd.leave = func() {
		cancel()
		wg.Wait()
		conn.Close() //nolint:errcheck // in memory
	}
}

func (u *union) close() {
	for _, nd := range u.nodes {
		u.move(nd, nil)
	}
	for _, p := range u.planes {
		p.stop()
	}
}

func (u *union) send(p *unionPlane) command.Command {
	req := shell("true")
	req.Targets = []target.Target{{Key: target.InstanceIDs, Values: []string{target.All}}}
	req.MaxConcurrency = "100%"
	c, err := p.Commands.Send(u.t.Context(), req)
	require.NoError(u.t, err)
	return c
}

func (u *union) ends(p *unionPlane, c command.Command) command.Command {
	got, err := p.Commands.Wait(u.t.Context(), c.ID)
	require.NoError(u.t, err)
	require.Equal(u.t, message.Success, got.Status, "%v", got.Counts)
	require.Equal(u.t, len(u.nodes), got.Counts[message.DetailSuccess])
	return got
}

func (u *union) started(times int64) {
	for _, nd := range u.nodes {
		require.Equal(u.t, times, nd.starts.Load(), "starts on %s", nd.me.ID)
	}
}

// A command that any plane accepts reaches nodes wherever they are connected, at once: no resend is waited for.
func TestF10_ACommandReachesNodesOfEveryPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnion(t, 3, 6, nil)
		defer u.close()
		for i, nd := range u.nodes {
			u.move(nd, u.planes[i%3])
		}
		time.Sleep(2 * time.Second)
		for i := range 6 {
			began := time.Now()
			c := u.send(u.planes[i%3])
			u.ends(u.planes[(i+1)%3], c)
			require.Less(t, time.Since(began), 10*time.Second)
		}
		u.started(6)
	})
}

// A node that was away when its turn came is asked within two seconds of its return, whichever plane it returns to.
func TestF10_ADelayedNodeThatReturnsToAnotherPlaneIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnion(t, 3, 3, nil)
		defer u.close()
		for round := range 3 {
			c := u.send(u.planes[round])
			time.Sleep(4 * time.Minute) // the engine's own tries are far apart by now
			began := time.Now()
			for i, nd := range u.nodes {
				u.move(nd, u.planes[(i+round)%3])
			}
			u.ends(u.planes[0], c)
			require.Less(t, time.Since(began), 10*time.Second)
			for _, nd := range u.nodes {
				u.move(nd, nil)
			}
			time.Sleep(time.Second)
		}
		u.started(3)
	})
}

// A cancellation reaches what runs on a node of another plane.
func TestF10_ACancellationReachesNodesOfEveryPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnion(t, 3, 3, nil)
		defer u.close()
		for i, nd := range u.nodes {
			u.move(nd, u.planes[i])
		}
		time.Sleep(2 * time.Second)
		c := u.send(u.planes[0])
		for u.nodes[0].starts.Load()+u.nodes[1].starts.Load()+u.nodes[2].starts.Load() < 3 {
			time.Sleep(50 * time.Millisecond)
		}
		require.NoError(t, u.planes[1].Commands.Cancel(t.Context(), c.ID))
		began := time.Now()
		got, err := u.planes[2].Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Less(t, time.Since(began), 5*time.Second)
		require.Equal(t, message.Cancelled, got.Status)
	})
}

// Planes are split from the store for three lease periods in turn, in the middle of commands, their nodes go elsewhere: everything ends, and nothing starts twice.
func TestF10_PlanesThatAreSplitFromTheStoreForThreeLeasePeriods(t *testing.T) {
	stops := testenv.Count(t, "FLEETWRIGHT_KILLS", 6)
	synctest.Test(t, func(t *testing.T) {
		u := newUnion(t, 3, 6, nil)
		defer u.close()
		for i, nd := range u.nodes {
			u.move(nd, u.planes[i%3])
		}
		time.Sleep(2 * time.Second)
		for i := range stops {
			c := u.send(u.planes[(i+1)%3])
			time.Sleep(time.Duration(i%7) * 500 * time.Millisecond)
			u.planes[i%3].gate.set(true)
			for j, nd := range u.nodes {
				if j%3 == i%3 {
					u.move(nd, u.planes[(i+1+j/3%2)%3])
				}
			}
			time.Sleep(3 * planeTTL)
			u.planes[i%3].gate.set(false)
			u.endsSomehow(c)
			for j, nd := range u.nodes {
				u.move(nd, u.planes[j%3])
			}
			time.Sleep(2 * planeTTL)
		}
		for _, nd := range u.nodes {
			require.LessOrEqual(t, nd.starts.Load(), int64(stops), "no node starts a command twice")
		}
	})
	testenv.Figure(t, "planes split from the store for three lease periods in the middle of a command (in memory)", stops, 0)
}

// endsSomehow waits for the end: an agent that is ended in the middle of a step reports Interrupted.
func (u *union) endsSomehow(c command.Command) {
	began := time.Now()
	got, err := u.planes[0].Commands.Wait(u.t.Context(), c.ID)
	require.NoError(u.t, err)
	require.Less(u.t, time.Since(began), time.Minute)
	total := 0
	for _, n := range got.Counts {
		total += n
	}
	require.Equal(u.t, len(u.nodes), total)
}

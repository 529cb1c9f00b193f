package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

// site is a store, nodes with journals of their own as agents have them, and any number of control planes over it. It lives in a bubble of virtual time.
type site struct {
	t     testing.TB
	store store.Store
	blobs blob.Store
	nodes []target.Node
	byID  map[string]int
	work  time.Duration
	end   func(node string) message.Detail // how a node's work ends; nil is Success
	ttl   time.Duration                    // of leases; 0 is 3 s
	carry func(message.Envelope)           // takes what nodes say on its way; nil hands it over at once

	mu       sync.Mutex
	home     *Service // the control plane that the nodes are connected to
	execs    map[execKey]*exec
	working  map[string]int // nodes at work, by command
	peak     map[string]int
	sent     map[message.Kind]int
	sentTo   map[string]int  // by tenant
	deaf     map[string]bool // nodes that get nothing
	closing  chan struct{}
	messages sync.WaitGroup
}

type execKey struct{ command, node string }

// exec is one entry of a node's journal.
type exec struct {
	starts int
	seq    uint64
	detail message.Detail
	stop   chan struct{}
	acked  bool
}

func newSite(t testing.TB, n int) *site {
	w := &site{t: t, store: memstore.New(), blobs: memblob.New(), byID: map[string]int{}, work: time.Second, execs: map[execKey]*exec{}, working: map[string]int{}, peak: map[string]int{},
		sent: map[message.Kind]int{}, sentTo: map[string]int{}, deaf: map[string]bool{}, closing: make(chan struct{})}
	for i := range n {
		id := fmt.Sprintf("mi-%017x", i)
		w.byID[id] = i
		w.nodes = append(w.nodes, target.Node{Tenant: "default", ID: id, Platform: "Linux", Assurance: target.Signed, Tags: map[string]string{"Role": "web"},
			Capabilities: []string{"aws:runShellScript"}})
	}
	return w
}

// close ends the nodes' work; the planes are to be stopped before.
func (w *site) close() {
	close(w.closing)
	w.messages.Wait()
}

// plane is one control plane of a site.
type plane struct {
	*Service
	gate *gate
	stop func() // in order: leases are released
}

// start begins a control plane whose leases last for three seconds of silence.
func (w *site) start(name string, change func(*Config)) *plane {
	p := &plane{gate: &gate{Store: w.store}}
	leases := lease.New(p.gate, nil, lease.Config{Owner: name, TTL: cmp.Or(w.ttl, 3*time.Second)})
	cfg := Config{Store: p.gate, Blobs: w.blobs, Nodes: w, Documents: w, Sender: gatedSender{w, p.gate}, Authorizer: access.AllowAll{}, Leases: leases}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	require.NoError(w.t, err)
	p.Service = s
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	own, let := context.WithCancel(context.Background())
	wg.Go(func() { leases.Run(own) }) //nolint:errcheck // ends with ctx
	wg.Go(func() {
		s.Run(ctx) //nolint:errcheck // ends with ctx
		let()
	})
	p.stop = func() { p.gate.open(); cancel(); wg.Wait() }
	w.mu.Lock()
	if w.home == nil {
		w.home = s
	}
	w.mu.Unlock()
	return p
}

// connect moves the nodes to another control plane.
func (w *site) connect(p *plane) {
	w.mu.Lock()
	w.home = p.Service
	w.mu.Unlock()
	for _, n := range w.nodes {
		p.Heard(n.Tenant, n.ID, true)
	}
}

// works says how long a step takes from now on.
func (w *site) works(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work = d
}

func (w *site) Resolve(_ context.Context, tenant string, ts []target.Target, after string, limit int) (ids []string, next string, err error) {
	for _, n := range w.nodes {
		if n.Tenant == tenant && n.ID > after && target.Match(n, ts, nil) {
			if len(ids) == limit {
				return ids, ids[len(ids)-1], nil
			}
			ids = append(ids, n.ID)
		}
	}
	return ids, "", nil
}

func (w *site) Nodes(_ context.Context, tenant string, ids []string) (out []target.Node, err error) {
	for _, id := range ids {
		if i, ok := w.byID[id]; ok && w.nodes[i].Tenant == tenant {
			out = append(out, w.nodes[i])
		}
	}
	return out, nil
}

func (w *site) Fetch(context.Context, string, string, string) ([]byte, string, string, string, error) {
	doc, err := document.Parse([]byte(hello), nil)
	if err != nil {
		return nil, "", "", "", err
	}
	return []byte(hello), "", "1", doc.Hash(), nil
}

func (w *site) Connected(string, string) bool { return true }

func (w *site) Send(_ context.Context, tenant, node string, kind message.Kind, ref message.Ref, _ time.Time, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[kind]++
	w.sentTo[tenant]++
	select {
	case <-w.closing:
		return errors.New("the site closes")
	default:
	}
	if w.deaf[node] {
		return nil
	}
	w.messages.Go(func() {
		if w.pause(time.Millisecond) {
			w.receive(tenant, node, kind, ref, body)
		}
	})
	return nil
}

// pause waits, and returns false when the site closes.
func (w *site) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.closing:
		return false
	}
}

// receive is what an agent does, in short.
func (w *site) receive(tenant, node string, kind message.Kind, ref message.Ref, body []byte) {
	k := execKey{ref.Command, node}
	w.mu.Lock()
	x := w.execs[k]
	w.mu.Unlock()
	switch {
	case kind == message.KindOffer && x == nil:
		w.say(tenant, node, message.KindReady, message.Ready{Ref: ref})
	case kind == message.KindOffer || kind == message.KindRun && x != nil: // it is in the journal
		w.report(tenant, node, ref, x)
	case kind == message.KindRun:
		w.execute(tenant, node, ref)
	case kind == message.KindCancel:
		w.mu.Lock()
		if x == nil {
			x = &exec{seq: 1, detail: message.DetailCancelled, stop: make(chan struct{})}
			w.execs[k] = x
		}
		select {
		case <-x.stop:
		default:
			close(x.stop)
		}
		w.mu.Unlock()
		w.report(tenant, node, ref, x)
	case kind == message.KindAck && x != nil:
		ack, err := message.Unmarshal[message.Ack](message.Envelope{Kind: kind, Body: body})
		require.NoError(w.t, err)
		w.mu.Lock()
		x.acked = x.acked || ack.Final
		w.mu.Unlock()
	}
}

// execute works, and reports until the end is acknowledged.
func (w *site) execute(tenant, node string, ref message.Ref) {
	k := execKey{ref.Command, node}
	w.mu.Lock()
	if w.execs[k] != nil {
		w.mu.Unlock()
		return
	}
	x := &exec{starts: 1, seq: 1, detail: message.DetailInProgress, stop: make(chan struct{})}
	w.execs[k] = x
	w.working[ref.Command]++
	w.peak[ref.Command] = max(w.peak[ref.Command], w.working[ref.Command])
	work := w.work
	w.mu.Unlock()
	w.report(tenant, node, ref, x)
	detail := message.DetailSuccess
	if w.end != nil {
		detail = w.end(node)
	}
	select {
	case <-time.After(work):
	case <-x.stop:
		detail = message.DetailCancelled
	case <-w.closing:
	}
	w.mu.Lock()
	x.seq, x.detail = x.seq+1, detail
	w.working[ref.Command]--
	w.mu.Unlock()
	for range 200 {
		w.report(tenant, node, ref, x)
		if !w.pause(2 * time.Second) {
			return
		}
		w.mu.Lock()
		acked := x.acked
		w.mu.Unlock()
		if acked {
			return
		}
	}
}

func (w *site) report(tenant, node string, ref message.Ref, x *exec) {
	w.mu.Lock()
	r := message.Report{Ref: ref, Seq: x.seq, Detail: x.detail, ExitCode: -1, Steps: []message.StepReport{{Name: "greet", Action: "aws:runShellScript", Status: message.InProgress, ExitCode: -1}}}
	if x.detail.Terminal() {
		r.ExitCode, r.Steps[0].Status = 0, message.Success
	}
	w.mu.Unlock()
	w.say(tenant, node, message.KindReport, r)
}

// say hands a message of a node to the control plane that it is connected to. That it is not taken is no news: it is sent again.
func (w *site) say(tenant, node string, kind message.Kind, body any) {
	b, err := message.Marshal(kind, body)
	require.NoError(w.t, err)
	if w.carry != nil {
		w.carry(message.Envelope{Tenant: tenant, From: node, Kind: kind, Body: b})
		return
	}
	w.mu.Lock()
	home := w.home
	w.mu.Unlock()
	home.Handle(context.Background(), tenant, node, message.Envelope{Tenant: tenant, From: node, Kind: kind, Body: b}) //nolint:errcheck // as said
}

// deafen keeps messages from a node.
func (w *site) deafen(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf[node] = true
}

// most returns how many nodes worked on a command at once.
func (w *site) most(command string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peak[command]
}

// checkStarts says that no node started anything twice.
func (w *site) checkStarts() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, x := range w.execs {
		require.LessOrEqual(w.t, x.starts, 1, "%v", k)
	}
}

// dump returns what the store holds under the first elements of keys, so that two states can be compared byte by byte.
func dump(t testing.TB, s store.Store, rng store.Range) string {
	var b bytes.Buffer
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		b.Reset()
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q = %q\n", it.Key, it.Value)
		}
		return nil
	}))
	return b.String()
}

// same says that two dumps are equal, or what differs first.
func same(t testing.TB, before, after, why string) {
	t.Helper()
	if before == after {
		return
	}
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			require.Failf(t, why, "before: %s\nafter:  %s", a[i], b[i])
		}
	}
	require.Failf(t, why, "%d records before, %d after", len(a), len(b))
}

// gate lets nothing through while it is closed, as if the process had been stopped.
type gate struct {
	store.Store
	mu     sync.Mutex
	closed chan struct{}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed != nil
}

func (g *gate) pass(ctx context.Context) {
	for {
		g.mu.Lock()
		c := g.closed
		g.mu.Unlock()
		if c == nil {
			return
		}
		<-c
	}
}

func (g *gate) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	g.pass(ctx)
	return g.Store.View(ctx, fn)
}

func (g *gate) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	g.pass(ctx)
	return g.Store.Update(ctx, fn)
}

type gatedSender struct {
	*site
	gate *gate
}

func (g gatedSender) Send(ctx context.Context, tenant, node string, kind message.Kind, ref message.Ref, until time.Time, body []byte) error {
	g.gate.pass(ctx)
	return g.site.Send(ctx, tenant, node, kind, ref, until, body)
}

// faulty is a store that fails as stores may fail, until it is healed.
type faulty struct {
	store.Store
	mu   sync.Mutex
	rng  *rand.Rand
	rate float64
}

func (f *faulty) draw() (failure int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(5), f.rng.Float64() < f.rate
}

func (f *faulty) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = 0
}

var errIO = errors.New("input/output error")

func (f *faulty) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if _, bad := f.draw(); bad {
		return errIO
	}
	return f.Store.View(ctx, fn)
}

func (f *faulty) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	failure, bad := f.draw()
	if !bad {
		return f.Store.Update(ctx, fn)
	}
	switch failure {
	case 0:
		return store.ErrConflict
	case 1:
		return store.ErrReadOnly
	case 2: // committed, and nobody knows
		if err := f.Store.Update(ctx, fn); err != nil {
			return err
		}
		return store.ErrCommitUnknown
	case 3: // not committed, and nobody knows
		f.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { //nolint:errcheck // it must fail
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return errIO
		})
		return store.ErrCommitUnknown
	}
	return errIO
}

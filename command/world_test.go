package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

// world is a service with nodes that answer as told, in one bubble of virtual time.
type world struct {
	t     *testing.T
	s     *Service
	store store.Store
	nodes []target.Node
	docs  map[string]string

	mu      sync.Mutex
	answers map[string]func(w *world, node string, kind message.Kind, body []byte) // by node; "" is the default
	running map[string]int
	peak    int
	runs    map[string]int
	offline map[string]bool
	acks    map[string]int
	wg      sync.WaitGroup
}

const hello = `{"schemaVersion":"2.2","description":"d","parameters":{"who":{"type":"String","default":"world","allowedPattern":"^[a-z]+$"}},
"mainSteps":[{"action":"aws:runShellScript","name":"greet","inputs":{"runCommand":["echo {{who}}"]}}]}`

func newWorld(t *testing.T, n int, change func(*Config)) *world {
	w := &world{t: t, store: memstore.New(), docs: map[string]string{"Hello": hello}, answers: map[string]func(*world, string, message.Kind, []byte){},
		running: map[string]int{}, runs: map[string]int{}, offline: map[string]bool{}, acks: map[string]int{}}
	for i := range n {
		w.nodes = append(w.nodes, target.Node{Tenant: "default", ID: fmt.Sprintf("mi-%017x", i), Platform: "Linux", Assurance: target.Signed,
			Tags: map[string]string{"Role": "web"}, Capabilities: []string{"aws:runShellScript"}})
	}
	w.answers[""] = succeed
	w.start(change)
	return w
}

// start makes a service over the world's store, as a restarted control plane would.
func (w *world) start(change func(*Config)) {
	cfg := Config{Store: w.store, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{},
		Leases: lease.New(w.store, nil, lease.Config{Owner: "test", Exclusive: true})}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	require.NoError(w.t, err)
	w.s = s
}

// run lets the service own commands until the test, or the returned function, ends it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.s.Run(ctx) //nolint:errcheck // ends with ctx
	}()
	return func() { cancel(); <-done }
}

// serve is run for a whole test: the end waits for the nodes too.
func (w *world) serve() func() {
	stop := w.run()
	return func() { stop(); w.wg.Wait() }
}

func (w *world) Resolve(_ context.Context, _ string, ts []target.Target, after string, limit int) (ids []string, next string, err error) {
	for _, n := range w.nodes {
		if n.ID > after && target.Match(n, ts, nil) {
			if len(ids) == limit {
				return ids, ids[len(ids)-1], nil
			}
			ids = append(ids, n.ID)
		}
	}
	return ids, "", nil
}

func (w *world) Nodes(_ context.Context, _ string, ids []string) (out []target.Node, err error) {
	for _, n := range w.nodes {
		if slices.Contains(ids, n.ID) {
			out = append(out, n)
		}
	}
	return out, nil
}

func (w *world) Fetch(_ context.Context, _, name, _ string) ([]byte, string, string, string, error) {
	d, ok := w.docs[name]
	if !ok {
		return nil, "", "", "", fault.New("world", fault.InvalidDocument, "no document %s", name)
	}
	doc, err := document.Parse([]byte(d), nil)
	if err != nil {
		return nil, "", "", "", err
	}
	return []byte(d), "", "1", doc.Hash(), nil
}

func (w *world) Connected(_, node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.offline[node]
}

func (w *world) Send(_ context.Context, _, node string, kind message.Kind, _ message.Ref, _ time.Time, body []byte) error {
	w.mu.Lock()
	f := w.answers[node]
	if f == nil {
		f = w.answers[""]
	}
	if w.offline[node] {
		w.mu.Unlock()
		return errors.New("offline")
	}
	if kind == message.KindAck {
		w.acks[node]++
	}
	w.mu.Unlock()
	w.wg.Go(func() { f(w, node, kind, body) })
	return nil
}

func (w *world) ran(node string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[node]
}

func (w *world) acked(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acks[node] > 0
}

func (w *world) most() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peak
}

func (w *world) goes(node string, offline bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offline[node] = offline
}

// say hands a message of a node to the service.
func (w *world) say(node string, kind message.Kind, body any) {
	b, err := message.Marshal(kind, body)
	require.NoError(w.t, err)
	w.s.Handle(context.Background(), "default", node, message.Envelope{Tenant: "default", From: node, Kind: kind, Body: b}) //nolint:errcheck // it would send again
}

func ref[T any](w *world, kind message.Kind, body []byte) T {
	v, err := message.Unmarshal[T](message.Envelope{Kind: kind, Body: body})
	require.NoError(w.t, err)
	return v
}

// end returns a node that runs for d and ends so.
func end(d time.Duration, detail message.Detail, code int, out string) func(*world, string, message.Kind, []byte) {
	return func(w *world, node string, kind message.Kind, body []byte) {
		switch kind {
		case message.KindOffer:
			w.say(node, message.KindReady, message.Ready{Ref: ref[message.Offer](w, kind, body).Ref})
		case message.KindRun:
			r := ref[message.Run](w, kind, body)
			w.mu.Lock()
			w.runs[node]++
			again := w.runs[node] > 1
			if !again {
				w.running[node]++
				w.peak = max(w.peak, len(w.running))
			}
			w.mu.Unlock()
			if again {
				return
			}
			start := time.Now()
			time.Sleep(d)
			w.mu.Lock()
			delete(w.running, node)
			w.mu.Unlock()
			st := message.Success
			if detail != message.DetailSuccess {
				st = message.Failed
			}
			for range 50 { // repeated until acknowledged
				w.say(node, message.KindReport, message.Report{Ref: r.Ref, Seq: 2, Detail: detail, ExitCode: code, Started: start, Ended: start.Add(d),
					Steps: []message.StepReport{{Name: "greet", Action: "aws:runShellScript", Status: st, ExitCode: code, Stdout: message.Stream{Head: out, Size: int64(len(out))}}}})
				time.Sleep(time.Second)
				if w.acked(node) {
					return
				}
			}
		}
	}
}

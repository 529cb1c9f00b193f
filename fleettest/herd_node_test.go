package fleettest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// herdEnv makes the test binary a process of many nodes: it reads a herdOrder from its standard input, is those nodes until the input ends, and prints a herdTale.
const herdEnv = "FLEETWRIGHT_TEST_HERD_NODES"

func TestMain(m *testing.M) {
	if os.Getenv(herdEnv) != "" {
		if err := beNodes(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type herdOrder struct {
	URL   string
	CA    []byte
	Plane message.Peer
	Epoch uint64
	Work  time.Duration // of a command
	Nodes []herdNode
}

type herdNode struct {
	ID   string
	Seed []byte
}

type herdTale struct {
	Starts, Twice, Connects int
}

// nodes are those of this process. Each has the keys, the journal and the reports of an agent; there are too many for agents.
type nodes struct {
	order herdOrder
	wg    sync.WaitGroup
	over  chan struct{}

	mu   sync.Mutex
	tale herdTale
}

func beNodes() error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	ns := &nodes{over: make(chan struct{})}
	if err := json.Unmarshal(line, &ns.order); err != nil {
		return err
	}
	var clients []*httptransport.Client
	for _, o := range ns.order.Nodes {
		c, err := ns.start(o)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	in.ReadByte() //nolint:errcheck // it is the end that is waited for
	close(ns.over)
	for _, c := range clients {
		ns.wg.Go(func() { c.Close() })
	}
	ns.wg.Wait()
	return json.NewEncoder(os.Stdout).Encode(&ns.tale)
}

// one is a node.
type one struct {
	*nodes
	id     *message.Identity
	client *httptransport.Client

	mu    sync.Mutex
	hello message.Hello
	jobs  map[message.Ref]*message.Report // its journal
	acked map[message.Ref]bool
}

func (ns *nodes) start(o herdNode) (*httptransport.Client, error) {
	id, err := message.IdentityFromSeed("default", o.ID, secret.New(o.Seed))
	if err != nil {
		return nil, err
	}
	n := &one{nodes: ns, id: id, hello: message.Hello{Session: message.NewID(nil)}, jobs: map[message.Ref]*message.Report{}, acked: map[message.Ref]bool{}}
	ready := make(chan struct{})
	n.client, err = httptransport.NewClient(httptransport.ClientConfig{URL: ns.order.URL, RootCAs: ns.order.CA, Address: transport.Address{Tenant: "default", Name: o.ID}, Key: id.Signer(),
		Handshake: time.Minute, OnState: func(up bool) {
			if up {
				<-ready
				n.greet()
			}
		}})
	close(ready)
	if err != nil {
		return nil, err
	}
	ns.wg.Go(func() {
		n.client.Receive(context.Background(), func(_ context.Context, m transport.Message) { n.receive(m.Data) }) //nolint:errcheck // ends with the client
	})
	return n.client, nil
}

func (n *one) greet() {
	n.mu.Lock()
	n.hello.Seq++
	n.hello.Sent, n.hello.First = time.Now(), true
	h := n.hello
	n.mu.Unlock()
	n.nodes.mu.Lock()
	n.tale.Connects++
	n.nodes.mu.Unlock()
	n.say(message.KindHello, 0, h)
}

func (n *one) say(k message.Kind, attempt int, body any) {
	b, err := message.Marshal(k, body)
	if err != nil {
		panic(err) // ours
	}
	now := time.Now()
	data, err := n.id.Seal(n.order.Plane, message.Envelope{Kind: k, ID: message.NewID(nil), Attempt: attempt, Epoch: n.order.Epoch, NotBefore: now, NotAfter: now.Add(time.Hour), Body: b})
	if err != nil {
		panic(err) // likewise
	}
	n.client.Send(context.Background(), transport.Address{Tenant: "default", Name: message.Controller}, data) //nolint:errcheck // it is sent again
}

func (n *one) receive(data []byte) {
	e, err := n.id.Open(data, func(string) (message.Peer, error) { return n.order.Plane, nil }, time.Now(), 0)
	if err != nil {
		return
	}
	switch e.Kind {
	case message.KindOffer:
		if o, err := message.Unmarshal[message.Offer](e); err == nil && !n.report(o.Ref) {
			n.say(message.KindReady, o.Attempt, message.Ready{Ref: o.Ref})
		}
	case message.KindRun:
		if r, err := message.Unmarshal[message.Run](e); err == nil && !n.report(r.Ref) {
			n.run(r.Ref)
		}
	case message.KindAck:
		if a, err := message.Unmarshal[message.Ack](e); err == nil && a.Final {
			n.mu.Lock()
			n.acked[a.Ref] = true
			n.mu.Unlock()
		}
	}
}

// report sends what is known of a command; false if that is nothing.
func (n *one) report(ref message.Ref) bool {
	n.mu.Lock()
	r := n.jobs[ref]
	var c message.Report
	if r != nil {
		c = *r
	}
	n.mu.Unlock()
	if r != nil {
		n.say(message.KindReport, ref.Attempt, c)
	}
	return r != nil
}

// run works, and reports until that is acknowledged.
func (n *one) run(ref message.Ref) {
	n.mu.Lock()
	n.nodes.mu.Lock()
	n.tale.Starts++
	if n.jobs[ref] != nil {
		n.tale.Twice++
	}
	n.nodes.mu.Unlock()
	n.jobs[ref] = &message.Report{Ref: ref, Seq: 1, Detail: message.DetailInProgress, ExitCode: -1, Started: time.Now()}
	n.mu.Unlock()
	n.wg.Go(func() {
		n.report(ref)
		for wait := n.order.Work; n.pause(wait); wait = min(2*wait, 10*time.Second) {
			n.mu.Lock()
			if n.acked[ref] {
				n.mu.Unlock()
				return
			}
			r := *n.jobs[ref]
			if r.Detail == message.DetailInProgress {
				r.Seq, r.Detail, r.ExitCode, r.Ended = 2, message.DetailSuccess, 0, time.Now()
				wait = time.Second
			}
			n.jobs[ref] = &r
			n.mu.Unlock()
			n.report(ref)
		}
	})
}

func (n *one) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.over:
		return false
	}
}

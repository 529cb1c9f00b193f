// Package memtransport is the in-process transport: a whole fleet's network in memory, with faults by seed. Examples, tests and hosts that run their
// agents in the same process use it.
//
//	n := memtransport.New(nil)
//	plane := n.Controller()                                               // a transport.Transport with presence
//	node := n.Node(transport.Address{Tenant: "default", Name: "mi-1"})    // connected at once
//	node.Disconnect(); node.Connect(); n.Partition(node.Address()); n.Heal()
//
// Without faults delivery is prompt, ordered per sender and complete as long as the receiver is connected. [Options] adds loss, repetition, delay and reordering, each decided by
// a generator per link and direction, made of Seed and the address: the n-th message of a link meets the same fate in every run. [Network.Calm] ends all faults.
//
// It works inside a testing/synctest bubble: it waits on channels and timers only, and never while it holds a mutex. Nothing runs for an idle link: a goroutine lives for as
// long as a link has messages to hand over. An end without Receive costs about 1.4 KiB, so 100,000 nodes fit in 140 MiB; a node that calls Receive keeps the
// goroutine that it calls it on (some 3 KiB more), one that uses [Node.Handle] keeps none.
package memtransport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// Options are the network's. The zero value is a network without faults.
type Options struct {
	Seed uint64 // of every random decision

	Loss    float64 // probability that a message is lost; 0 to 1
	Repeat  float64 // probability that a message arrives once more
	Reorder float64 // probability that a message is held back, by up to ReorderBy, while later ones pass

	ReorderBy          time.Duration // default 50 ms
	MinDelay, MaxDelay time.Duration // each message takes a time between them; the order stays but for Reorder

	// Detect is how long a partition of both directions lasts until presence notices it; 0 means never. Healing a noticed one is a new connection.
	Detect time.Duration

	Queue      int // messages that a link and direction holds before Send answers ErrBusy; default 1,024
	QueueBytes int // bytes that it holds; default 16 MiB

	Now       func() time.Time            // default time.Now
	AfterFunc func(time.Duration, func()) // calls the function after the duration, never before it returned; default time.AfterFunc
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.ReorderBy <= 0 {
		c.ReorderBy = 50 * time.Millisecond
	}
	if c.Queue <= 0 {
		c.Queue = 1024
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 16 << 20
	}
	if c.MinDelay < 0 {
		c.MinDelay = 0
	}
	if c.MaxDelay < c.MinDelay {
		c.MaxDelay = c.MinDelay
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.AfterFunc == nil {
		c.AfterFunc = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	}
	return c
}

// Stats counts messages since New. The numbers are read one by one, so that they agree only on a quiet network.
type Stats struct {
	Sent      uint64 // taken by a Send
	Delivered uint64 // handed to a Receive, repetitions included
	Lost      uint64 // by chance, by a partition, or with a connection
	Repeated  uint64 // additional copies made
	Delayed   uint64 // held on a timer
}

// Network is a network of one control plane and any number of nodes. All methods are safe for concurrent use. It has nothing to close: what is no longer referred to is collected.
type Network struct {
	opts  Options
	calm  atomic.Bool
	board end.Board
	plane Controller

	mu    sync.RWMutex
	ports map[transport.Address]*port

	sent, delivered, lost, repeated, delayed atomic.Uint64
}

// port is what the network knows of one address. It outlives the node's ends, so that messages of a replaced end and of the new one take turns.
type port struct {
	addr transport.Address
	up   lane // to the control plane

	mu     sync.Mutex // guards what follows; taken before a lane's and a board's
	node   *Node      // the present end; nil until there is one
	cut    Direction
	cuts   uint64 // counts changes of cut, for Detect
	missed bool   // the cut was noticed
}

// New returns a network with a control plane and no node.
func New(o *Options) *Network {
	n := &Network{opts: o.withDefaults(), ports: make(map[transport.Address]*port)}
	n.plane.net = n
	return n
}

// Controller returns the control plane's end, the same at each call: it reaches every node of every tenant and has presence.
func (n *Network) Controller() *Controller { return &n.plane }

// Node makes a node's end for the address and connects it. An end that the address had before is replaced: it is disconnected for good, its Receive ends with
// ErrClosed, what was under way is lost, and presence says gone, then connected. The name message.Controller is no node's: such an end answers ErrRefused.
func (n *Network) Node(a transport.Address) *Node {
	nd := &Node{net: n, addr: a}
	nd.down.init(n, transport.Address{Tenant: a.Tenant, Name: message.Controller}, a, &nd.gate, down)
	if a.Name == message.Controller || a.Name == "" {
		nd.gate.Kill(fmt.Errorf("memtransport: %q cannot be a node's name: %w", a.Name, transport.ErrRefused))
		return nd
	}
	p := n.portOf(a)
	nd.port = p
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.node; old != nil {
		old.want = false
		n.settle(p)
		old.gate.Kill(fmt.Errorf("memtransport: replaced by a newer end of %v: %w", a, transport.ErrClosed))
	}
	p.node = nd
	nd.want = true
	n.settle(p)
	return nd
}

// portOf returns the address's port, made if there is none.
func (n *Network) portOf(a transport.Address) *port {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.ports[a]
	if p == nil {
		p = &port{addr: a}
		p.up.init(n, a, a, &n.plane.gate, up)
		n.ports[a] = p
	}
	return p
}

// settle brings the lanes and the boards to what the port's state says; the port's mutex is held.
func (n *Network) settle(p *port) {
	nd := p.node
	p.up.sever(p.cut&ToController != 0)
	if nd == nil {
		return
	}
	nd.down.sever(p.cut&ToNode != 0)
	connected := nd.want && !p.missed
	nd.down.connect(connected)
	p.up.connect(connected)
	nd.board.Set(nd.controller(), connected)
	n.board.Set(p.addr, connected)
}

// port returns the address's port, or nil.
func (n *Network) port(a transport.Address) *port {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.ports[a]
}

// Calm ends all faults of Options for good: messages sent from now on are not lost, repeated, delayed or reordered. Partitions stay until they are healed.
func (n *Network) Calm() { n.calm.Store(true) }

// Stats returns the counts so far.
func (n *Network) Stats() Stats {
	return Stats{n.sent.Load(), n.delivered.Load(), n.lost.Load(), n.repeated.Load(), n.delayed.Load()}
}

// Controller is the control plane's end. It implements transport.Transport and transport.Presence.
type Controller struct {
	net  *Network
	gate end.Gate
}

var (
	_ transport.Presence = (*Controller)(nil)
	_ transport.Presence = (*Node)(nil)
)

// Send is transport.Transport's. It never waits.
func (c *Controller) Send(ctx context.Context, to transport.Address, data []byte) error {
	if err := sendable(ctx, &c.gate, data); err != nil {
		return err
	}
	p := c.net.port(to)
	if p == nil {
		return notConnected(to)
	}
	p.mu.Lock()
	nd := p.node
	p.mu.Unlock()
	if nd == nil {
		return notConnected(to)
	}
	return nd.down.send(data)
}

// Receive is transport.Transport's.
func (c *Controller) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	return c.gate.Receive(ctx, handle)
}

// Connected is transport.Presence's.
func (c *Controller) Connected(a transport.Address) bool { return c.net.board.Connected(a) }

// Watch is transport.Presence's.
func (c *Controller) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	return c.net.board.Watch(ctx, f)
}

// Len returns how many nodes are connected.
func (c *Controller) Len() int { return c.net.board.Len() }

// Close closes the control plane's end: Send and Receive answer ErrClosed from now on.
func (c *Controller) Close() error {
	c.gate.Kill(transport.ErrClosed)
	return nil
}

func sendable(ctx context.Context, g *end.Gate, data []byte) error {
	if err := g.Dead(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > transport.MaxMessage {
		return fmt.Errorf("memtransport: %d bytes, at most %d: %w", len(data), transport.MaxMessage, transport.ErrTooLarge)
	}
	return nil
}

func notConnected(a transport.Address) error {
	return fmt.Errorf("memtransport: %q: %w", a.String(), transport.ErrNotConnected)
}

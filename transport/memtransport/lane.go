package memtransport

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// Direction is a way through the network.
type Direction uint8

// The directions. Both is their sum.
const (
	ToNode       Direction = 1 << iota // from the control plane to the node
	ToController                       // from the node to the control plane
	Both         = ToNode | ToController
)

const (
	down = ToNode
	up   = ToController
)

// lane is one direction of one link: a queue that a goroutine empties while it has something in it.
type lane struct {
	net    *Network
	from   transport.Address // as Message.From
	node   transport.Address
	gate   *end.Gate
	way    Direction
	mu     sync.Mutex
	dice   *rand.PCG // made at the first fault that may happen
	ready  [][]byte  // in order of delivery
	held   []held    // on a timer, by due, then as they were sent
	bytes  int       // of ready and held
	last   time.Time // due time of the last message that keeps its order
	seq    uint64
	up     bool // connected
	cut    bool // partitioned
	busy   bool // a goroutine runs
	parked bool // the gate will wake the lane
}

type held struct {
	due  time.Time
	seq  uint64
	data []byte
}

func (l *lane) init(n *Network, from, node transport.Address, g *end.Gate, way Direction) {
	l.net, l.from, l.node, l.gate, l.way = n, from, node, g, way
}

// connect sets whether the link is up. Going down loses what is under way.
func (l *lane) connect(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
	if !up {
		l.net.lost.Add(uint64(len(l.ready) + len(l.held)))
		l.ready, l.held, l.bytes = nil, nil, 0
		l.last = time.Time{}
	}
}

// sever sets whether the lane is partitioned.
func (l *lane) sever(cut bool) {
	l.mu.Lock()
	l.cut = cut
	l.mu.Unlock()
}

// send takes a message, or says why not.
func (l *lane) send(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return notConnected(l.node)
	}
	if len(l.ready)+len(l.held) >= l.net.opts.Queue || l.bytes+len(data) > l.net.opts.QueueBytes {
		return transport.ErrBusy
	}
	l.net.sent.Add(1)
	if l.cut {
		l.net.lost.Add(1)
		return nil
	}
	if l.net.calm.Load() || !l.net.opts.faulty() {
		if len(l.held) == 0 {
			l.push(slices.Clone(data))
		} else {
			l.hold(slices.Clone(data), 0, true) // behind those on their way
		}
		return nil
	}
	o := &l.net.opts
	if l.chance(o.Loss) {
		l.net.lost.Add(1)
		return nil
	}
	l.travel(slices.Clone(data))
	if l.chance(o.Repeat) {
		l.net.repeated.Add(1)
		l.travel(slices.Clone(data))
	}
	return nil
}

// travel gives one copy its way through the faults.
func (l *lane) travel(data []byte) {
	o := &l.net.opts
	d := o.MinDelay
	if span := o.MaxDelay - o.MinDelay; span > 0 {
		d += time.Duration(l.roll() * float64(span))
	}
	if l.chance(o.Reorder) {
		l.hold(data, d+1+time.Duration(l.roll()*float64(o.ReorderBy)), false)
		return
	}
	if d == 0 && (len(l.held) == 0 || o.MaxDelay == 0) {
		l.push(data)
		return
	}
	l.hold(data, d, true)
}

// hold puts a message on a timer. An ordered one is due no sooner than the ordered one before it.
func (l *lane) hold(data []byte, d time.Duration, ordered bool) {
	now := l.net.opts.Now()
	due := now.Add(d)
	if ordered {
		if due.Before(l.last) {
			due = l.last
		}
		l.last = due
	}
	l.seq++
	h := held{due, l.seq, data}
	i, _ := slices.BinarySearchFunc(l.held, h, func(a, b held) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return int(int64(a.seq - b.seq))
	})
	l.held = slices.Insert(l.held, i, h)
	l.bytes += len(data)
	l.net.delayed.Add(1)
	l.net.opts.AfterFunc(due.Sub(now), l.release)
}

// release moves what is due by the clock to the queue. It does no harm when the message that it was timed for has gone.
func (l *lane) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.net.opts.Now()
	n := 0
	for n < len(l.held) && !l.held[n].due.After(now) {
		data := l.held[n].data
		l.bytes -= len(data)
		if l.cut {
			l.net.lost.Add(1)
		} else {
			l.push(data)
		}
		n++
	}
	l.held = slices.Delete(l.held, 0, n)
}

// push queues a message for delivery now and sees that somebody delivers it.
func (l *lane) push(data []byte) {
	l.ready = append(l.ready, data)
	l.bytes += len(data)
	l.start()
}

func (l *lane) start() {
	if !l.busy && !l.parked && len(l.ready) > 0 {
		l.busy = true
		go l.run()
	}
}

// run delivers until the queue is empty or nobody receives.
func (l *lane) run() {
	whole := false
	defer func() {
		if !whole { // a handler left by runtime.Goexit, as a test that fails does
			l.mu.Lock()
			l.busy = false
			l.start()
			l.mu.Unlock()
		}
	}()
	l.mu.Lock()
	for {
		if len(l.ready) == 0 {
			l.ready = nil
			break
		}
		handle, ctx, ok := l.gate.Enter(l)
		if !ok {
			l.parked = true
			break
		}
		data := l.ready[0]
		l.ready[0] = nil
		l.ready = l.ready[1:]
		l.bytes -= len(data)
		l.mu.Unlock()
		l.net.delivered.Add(1)
		l.turn(func() { handle(ctx, transport.Message{From: l.from, Data: data}) })
		l.mu.Lock()
	}
	l.busy, whole = false, true
	l.mu.Unlock()
}

// turn runs f and leaves the gate, whatever f does.
func (l *lane) turn(f func()) {
	defer l.gate.Leave()
	f()
}

// Wake is end.Waker's: a Receive began.
func (l *lane) Wake() {
	l.mu.Lock()
	l.parked = false
	l.start()
	l.mu.Unlock()
}

func (l *lane) chance(p float64) bool { return p > 0 && l.roll() < p }

// roll returns a number in [0, 1) that depends on the seed, the link, the direction and how many were rolled before.
func (l *lane) roll() float64 {
	if l.dice == nil {
		l.dice = rand.NewPCG(l.net.opts.Seed, hash(l.node)^uint64(l.way))
	}
	return float64(l.dice.Uint64()>>11) / (1 << 53)
}

// hash is FNV-1a of the address.
func hash(a transport.Address) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [2]string{a.Tenant, a.Name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return h
}

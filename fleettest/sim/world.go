package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// world is everything there is.
type world struct {
	cfg     Config
	rng     *rand.Rand
	now     time.Duration // since dawn
	queue   queue
	n       uint64
	hash    uint64
	disk    *disk
	planes  []*plane
	nodes   []*machine
	byID    map[string]*machine
	clients []*client
	check   *checker
	res     Result

	lastFault time.Duration // until when some control plane was away, or could not reach the store
}

func newWorld(c Config) *world {
	w := &world{cfg: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), hash: 0xcbf29ce484222325, byID: map[string]*machine{}}
	w.res.Ended = map[string]int{}
	w.disk = newDisk(w)
	w.check = newChecker(w)
	for i := range c.Planes {
		w.planes = append(w.planes, newPlane(w, i))
	}
	for i := range c.Nodes {
		m := newMachine(w, i)
		w.nodes = append(w.nodes, m)
		w.byID[m.id] = m
	}
	for i := range c.Commands {
		w.clients = append(w.clients, newClient(w, i))
	}
	w.faults()
	return w
}

// draw returns a time from 0 to most.
func (w *world) draw(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(most)))
}

// faults plans what happens at times of its own.
func (w *world) faults() {
	c := &w.cfg
	for range c.Partitions {
		m := w.nodes[w.rng.IntN(len(w.nodes))]
		cut := uint8(w.rng.IntN(1<<c.Planes)) | 1<<w.rng.IntN(c.Planes)
		if w.rng.IntN(2) == 0 {
			cut = 0xff
		}
		w.after(w.draw(c.Calm), label{kind: "partition", node: m.i, plane: -1, cmd: -1, n: int64(cut)}, func() { m.partition(cut, w.draw(10*time.Minute)) })
	}
	for range c.Moves {
		m := w.nodes[w.rng.IntN(len(w.nodes))]
		w.after(w.draw(c.Calm), label{kind: "moves", node: m.i, plane: -1, cmd: -1}, func() { m.leave(); m.reconnect() })
	}
	for range c.Pauses {
		p := w.planes[w.rng.IntN(len(w.planes))]
		w.after(w.draw(c.Calm), p.label("is stopped"), func() { p.pause(w.draw(5*c.TTL) + time.Second) })
	}
	for range c.StoreCuts {
		p := w.planes[w.rng.IntN(len(w.planes))]
		w.after(w.draw(c.Calm), p.label("loses the store"), func() { p.cut(w.draw(2 * time.Minute)) })
	}
	for range c.Jumps {
		m, by := w.nodes[w.rng.IntN(len(w.nodes))], w.draw(2*time.Hour)-time.Hour
		w.after(w.draw(c.Calm), label{kind: "clock jumps", node: m.i, plane: -1, cmd: -1, n: int64(by)}, func() { m.jump(by) })
	}
	for range c.PlaneJumps {
		p, by := w.planes[w.rng.IntN(len(w.planes))], w.draw(2*time.Hour)-time.Hour
		w.after(w.draw(c.Calm), p.label("clock jumps"), func() { p.jump(by) })
	}
}

// label says what an event is: of whom and of what. -1 is nobody and nothing.
type label struct {
	kind             string
	node, plane, cmd int
	n                int64
}

// entry is a line of the log.
type entry struct {
	at time.Duration
	label
}

// String returns the line as a person reads it.
func (e *entry) String() string {
	s := fmt.Sprintf("%14v %s", e.at.Round(time.Millisecond), e.kind)
	if e.plane >= 0 {
		s += fmt.Sprint(" plane=", e.plane)
	}
	if e.node >= 0 {
		s += fmt.Sprint(" node=", e.node)
	}
	if e.cmd >= 0 {
		s += fmt.Sprint(" command=", e.cmd)
	}
	if e.n != 0 {
		s += fmt.Sprint(" ", e.n)
	}
	return s
}

// note makes what happens part of the hash of everything that happened.
func (w *world) note(l label) {
	h := w.hash
	mix := func(v uint64) {
		for range 8 {
			h = (h ^ v&0xff) * 0x100000001b3
			v >>= 8
		}
	}
	mix(uint64(w.now))
	for i := range len(l.kind) {
		h = (h ^ uint64(l.kind[i])) * 0x100000001b3
	}
	mix(uint64(uint8(l.node)) | uint64(uint8(l.plane))<<8 | uint64(uint8(l.cmd))<<16)
	mix(uint64(l.n))
	w.hash = h
	if w.cfg.trace {
		w.res.log = append(w.res.log, entry{w.now, l})
	}
}

func (w *world) after(d time.Duration, l label, do func()) {
	w.n++
	w.queue.push(event{at: w.now + max(0, d), n: w.n, label: l, do: do})
}

// violated notes that a rule was broken, of the command and on the node given; -1 is none.
func (w *world) violated(node, cmd int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l := label{kind: "VIOLATED " + text, node: node, plane: -1, cmd: cmd}
	w.note(l)
	w.res.bad = append(w.res.bad, l)
	w.res.Violations = append(w.res.Violations, fmt.Sprintf("seed %d at %v: %s", w.cfg.Seed, w.now, text))
}

// chance draws whether a fault happens; there are none after the calm began.
func (w *world) chance(p float64) bool {
	return p > 0 && w.rng.Float64() < p && w.now < w.cfg.Calm
}

// carry sends a message between a control plane and a node on its way: it may be lost, come twice, and be overtaken.
func (w *world) carry(l label, m *machine, p *plane, deliver func()) {
	w.res.Messages++
	copies := 1
	if w.chance(w.cfg.Repeat) {
		copies = 2
	}
	for range copies {
		if w.chance(w.cfg.Loss) {
			w.res.Lost++
			w.note(label{kind: "lost", node: l.node, plane: l.plane, cmd: l.cmd})
			continue
		}
		d := time.Millisecond
		if w.cfg.Delay > 0 && w.now < w.cfg.Calm {
			d += w.draw(w.cfg.Delay)
		}
		w.after(d, l, func() {
			if m.cuts>>p.i&1 != 0 {
				w.note(label{kind: "cut off", node: l.node, plane: l.plane, cmd: l.cmd})
				return
			}
			deliver()
		})
	}
}

func envelope(from, to string, k message.Kind, attempt int, notBefore, notAfter time.Time, body []byte) message.Envelope {
	return message.Envelope{Tenant: "default", From: from, To: to, Kind: k, Attempt: attempt, Epoch: 1, NotBefore: notBefore, NotAfter: notAfter, Body: body}
}

func marshal(k message.Kind, body any) []byte {
	b, err := message.Marshal(k, body)
	if err != nil {
		panic(err) // a body of ours
	}
	return b
}

// event is something that will happen.
type event struct {
	at    time.Duration
	n     uint64 // breaks ties in the order in which they were planned
	label label
	do    func()
}

// queue is a heap of what will happen.
type queue []event

func (q queue) less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}

func (q *queue) push(e event) {
	*q = append(*q, e)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(i, up) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *queue) pop() event {
	h := *q
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h.less(c, least) {
				least = c
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*q = h
	return top
}

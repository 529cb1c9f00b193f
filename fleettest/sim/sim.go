// Package sim plays control planes and their nodes through faults, on one goroutine, over virtual time: a seed replays bit for bit.
//
// What is played is real: the engines of package command and package agent decide everything, and package lease says which control plane owns a command. What is simulated is around
// them: the network (loss, repetition, delay and with it reordering, partitions), the store that the control planes share (serializable; a plane can be cut off from it, a commit may
// stay without an answer), the nodes' disks (what was journalled survives, what need not be durable may not), the clocks (each is off, drifts and jumps), the crashes of either side at
// any point (before a commit, between a commit and the messages that follow it, between any two effects of a node), and control planes that are stopped for several lease periods and
// then go on with what they had in hand.
//
//	r := sim.Run(sim.Draw(seed))
//	if len(r.Violations) > 0 { fmt.Println(sim.Story(sim.Draw(seed))) } // it happens again, and is told
//
// Checked all along, from what clients were answered and saw and from what the nodes really did, not from the store (check.go): a command that was accepted is there for ever, and one
// command comes of one token; nothing starts twice; no more nodes are at work than MaxConcurrency; a target that was seen not to have had its turn when the errors were over MaxErrors
// or the command was cancelled never starts; what was seen only goes forward, and what ended stays so; everything ends in time; a result that came too late is kept. Besides, where the
// store is written: who lost a lease is refused, and nothing that ended changes.
package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Config is one play. Draw makes one from a seed; the zero value has no faults.
type Config struct {
	Seed         uint64
	Planes       int           // 1 to 5; default 1
	Nodes        int           // default 5
	Commands     int           // sent one after another; default 2
	Loss, Repeat float64       // of messages, 0 to 1
	Delay        time.Duration // the longest that a message travels; what overtakes what is drawn from it
	Replays      float64       // of messages to nodes, those of which a copy comes much later
	TTL          time.Duration // of a control plane's leases; default 6 s
	Poll         time.Duration // how often a control plane looks for work; default 2 s
	PlaneCrashes float64       // per commit
	Pauses       int           // how often a control plane stands still, for up to five TTLs, and goes on
	Stalls       float64       // of commits: the control plane stands still between deciding and writing
	StoreCuts    int           // how often a control plane does not reach the store for a while
	StoreFaults  float64       // of transactions: conflicts, failures, commits without an answer
	NodeCrashes  float64       // per effect of a node
	PowerCuts    float64       // of node crashes, those in which the machine restarts too
	DiskFaults   float64       // of a node's journal writes
	Partitions   int           // how many, each of a node from some or all control planes for some time
	Moves        int           // how often a node connects to another control plane without need
	Skew         time.Duration // how far a node's clock is off at most
	PlaneSkew    time.Duration // how far a control plane's clock is off at most
	Jumps        int           // of nodes' clocks, by up to an hour either way
	PlaneJumps   int           // of control planes' clocks, likewise
	Drift        float64       // how much faster or slower a clock runs at most
	Failing      float64       // of executions, those that fail
	Reboots      float64       // of executions, those that ask for a reboot first
	Hanging      float64       // of executions, those that end by their timeout only
	Cancels      float64       // of commands, those that are cancelled
	Calm         time.Duration // after it there are no faults any more; default 20 min
	trace        bool
	plant        plant
}

// Draw returns the play of a seed: one to five control planes, loss and repetition of 0 to 30 %, and everything else likewise.
func Draw(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	some := func(most float64) float64 {
		if r.IntN(4) == 0 {
			return 0
		}
		return r.Float64() * most
	}
	c := Config{Seed: seed, Planes: 1 + r.IntN(5), Nodes: 1 + r.IntN(12), Commands: 1 + r.IntN(3), Loss: some(0.3), Repeat: some(0.3), Delay: time.Duration(some(float64(8 * time.Second))),
		Replays: some(0.02), TTL: time.Duration(3+r.IntN(15)) * time.Second, Poll: time.Duration(1+r.IntN(5)) * time.Second,
		PlaneCrashes: some(0.03), Pauses: r.IntN(6), Stalls: some(0.01), StoreCuts: r.IntN(4), StoreFaults: some(0.05), NodeCrashes: some(0.02), PowerCuts: r.Float64(), DiskFaults: some(0.01),
		Partitions: r.IntN(6), Moves: r.IntN(12), Skew: time.Duration(some(float64(48 * time.Hour))), Drift: some(0.001), Failing: some(0.4), Reboots: some(0.2), Hanging: some(0.1),
		Cancels: some(0.5), Calm: time.Duration(5+r.IntN(20)) * time.Minute}
	switch r.IntN(3) {
	case 0:
		c.PlaneSkew = time.Duration(r.Int64N(int64(2 * time.Minute)))
	case 1:
		c.PlaneSkew = time.Duration(r.Int64N(int64(time.Hour)))
	}
	if r.IntN(2) == 0 {
		c.Jumps, c.PlaneJumps = r.IntN(6), r.IntN(3)
	}
	return c
}

// Result is what a play came to.
type Result struct {
	Events       int // steps of the simulation
	Messages     int // sent
	Lost         int // of them
	PlaneCrashes int
	Pauses       int
	StoreCuts    int
	Jumps        int // of clocks
	NodeCrashes  int
	Commits      int
	Unknown      int // commits without an answer
	Fenced       int // writes refused because another control plane has the lease by now
	Takeovers    int // leases taken from a control plane that was silent
	Routed       int // messages that went through the store to the control plane whose they are
	Late         int // results that came after the end, and were kept
	Starts       int // of steps, on all nodes
	Doubles      int // of them, those of what had been started
	Invocations  int
	Ended        map[string]int // invocations by how they ended
	Hash         uint64         // of everything that happened, in order
	Violations   []string
	Log          []string // of a traced run
	log          []entry
	bad          []label
}

// Add adds what another play came to; of its log nothing.
func (r *Result) Add(o *Result) {
	r.Events += o.Events
	r.Messages += o.Messages
	r.Lost += o.Lost
	r.PlaneCrashes += o.PlaneCrashes
	r.Pauses += o.Pauses
	r.StoreCuts += o.StoreCuts
	r.Jumps += o.Jumps
	r.NodeCrashes += o.NodeCrashes
	r.Commits += o.Commits
	r.Unknown += o.Unknown
	r.Fenced += o.Fenced
	r.Takeovers += o.Takeovers
	r.Routed += o.Routed
	r.Late += o.Late
	r.Starts += o.Starts
	r.Doubles += o.Doubles
	r.Invocations += o.Invocations
	if r.Ended == nil {
		r.Ended = map[string]int{}
	}
	for d, n := range o.Ended {
		r.Ended[d] += n
	}
	r.Hash = r.Hash*0x100000001b3 ^ o.Hash
	r.Violations = append(r.Violations, o.Violations...)
}

// Trace is Run, with every event in Result.Log.
func Trace(c Config) Result {
	c.trace = true
	return Run(c)
}

// Story plays c again and tells what went wrong and the last things that happened to the command and the node that it happened to, in few lines. It is empty when nothing went wrong.
func Story(c Config) string {
	c.trace = true
	r := Run(c)
	if len(r.Violations) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nwith %d planes, %d nodes, TTL %v, calm after %v\n", strings.Join(r.Violations, "\n"), c.Planes, c.Nodes, c.TTL, c.Calm)
	bad := r.bad[0]
	var lines []string
	for i := len(r.log) - 1; i >= 0 && len(lines) < 60; i-- {
		e := &r.log[i]
		switch l := e.label; {
		case l.kind == "tick" || l.kind == "plane tick" || l.kind == "poll" || l.kind == "look":
		case l.node >= 0 && bad.node >= 0 && l.node != bad.node, l.cmd >= 0 && bad.cmd >= 0 && l.cmd != bad.cmd, l.node < 0 && l.cmd < 0 && l.plane < 0:
		default:
			lines = append(lines, e.String())
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		b.WriteString(lines[i] + "\n")
	}
	fmt.Fprintf(&b, "again: FLEETWRIGHT_SEED=%d FLEETWRIGHT_SEEDS=1 go test ./fleettest/sim -run 'TestSeeds$' -v\n", c.Seed)
	return b.String()
}

// Run plays c to its end.
func Run(c Config) Result {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.Planes, 1)
	def(&c.Nodes, 5)
	def(&c.Commands, 2)
	for _, d := range []struct {
		d *time.Duration
		v time.Duration
	}{{&c.Calm, 20 * time.Minute}, {&c.TTL, 6 * time.Second}, {&c.Poll, 2 * time.Second}} {
		if *d.d <= 0 {
			*d.d = d.v
		}
	}
	w := newWorld(c)
	for len(w.queue) > 0 && len(w.res.Violations) == 0 && w.now < horizon && !w.done() {
		ev := w.queue.pop()
		w.now = ev.at
		w.res.Events++
		w.note(ev.label)
		ev.do()
		if w.res.Events == mostEvents {
			w.violated(-1, -1, "nothing comes to rest: %d events", mostEvents)
		}
	}
	w.judge()
	w.res.Hash = w.hash
	for i := range w.res.log {
		w.res.Log = append(w.res.Log, w.res.log[i].String())
	}
	return w.res
}

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// mostEvents is far more than a play has: one with more is a storm of messages that answer each other.
const mostEvents = 500_000

// horizon is when everything must have ended, whatever happened: the longest deadline and its grace, by the slowest clock.
const horizon = 9 * time.Hour

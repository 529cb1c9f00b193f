// Package sim plays a control plane and its nodes through faults, on one goroutine, over virtual time: a seed replays bit for bit.
//
// What is played is real: the engines of package command and package agent decide everything. What is simulated is around them: the network (loss, repetition, delay and
// with it reordering, partitions), the disks (what was committed or journalled survives, nothing else), the clocks (each node's is off and drifts), and the crashes of either side,
// at any point: before a commit, between a commit and the messages that follow it, between any two effects of a node.
//
//	r := sim.Run(sim.Draw(seed))
//	if len(r.Violations) > 0 { … } // sim.Run(sim.Draw(seed)) shows the same again
//
// Checked all along: an invocation ends once, and ends so for ever; nothing starts twice; no more nodes are at work than MaxConcurrency; nothing new is offered once more
// errors than MaxErrors are committed; what a node was told to forget is in the store; and in the end, that everything ended in time.
package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Config is one play. Draw makes one from a seed; the zero value has no faults.
type Config struct {
	Seed         uint64
	Nodes        int           // default 5
	Commands     int           // sent one after another; default 2
	Loss, Repeat float64       // of messages, 0 to 1
	Delay        time.Duration // the longest that a message travels; what overtakes what is drawn from it
	PlaneCrashes float64       // per commit
	NodeCrashes  float64       // per effect of a node
	PowerCuts    float64       // of node crashes, those in which the machine restarts too
	Partitions   int           // how many, each of a node for some time
	Skew         time.Duration // how far a node's clock is off at most
	Drift        float64       // how much faster or slower it runs at most
	Failing      float64       // of executions, those that fail
	Reboots      float64       // of executions, those that ask for a reboot first
	Hanging      float64       // of executions, those that end by their timeout only
	Cancels      float64       // of commands, those that are cancelled
	Calm         time.Duration // after it there are no faults any more; default 20 min
	trace        bool
}

// Draw returns the play of a seed: loss and repetition of 0 to 30 %, and everything else likewise.
func Draw(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	some := func(most float64) float64 {
		if r.IntN(4) == 0 {
			return 0
		}
		return r.Float64() * most
	}
	return Config{Seed: seed, Nodes: 1 + r.IntN(12), Commands: 1 + r.IntN(3), Loss: some(0.3), Repeat: some(0.3), Delay: time.Duration(some(float64(8 * time.Second))),
		PlaneCrashes: some(0.05), NodeCrashes: some(0.02), PowerCuts: r.Float64(), Partitions: r.IntN(5), Skew: time.Duration(some(float64(48 * time.Hour))),
		Drift: some(0.001), Failing: some(0.4), Reboots: some(0.2), Hanging: some(0.1), Cancels: some(0.5), Calm: time.Duration(5+r.IntN(20)) * time.Minute}
}

// Result is what a play came to.
type Result struct {
	Events       int // steps of the simulation
	Messages     int // sent
	Lost         int // of them
	PlaneCrashes int
	NodeCrashes  int
	Starts       int // of steps, on all nodes
	Invocations  int
	Ended        map[string]int // invocations by how they ended
	Hash         uint64         // of everything that happened, in order
	Violations   []string
	Log          []string // of a traced run
}

// Trace is Run, with every event in Result.Log.
func Trace(c Config) Result {
	c.trace = true
	return Run(c)
}

// Run plays c to its end.
func Run(c Config) Result {
	if c.Nodes <= 0 {
		c.Nodes = 5
	}
	if c.Commands <= 0 {
		c.Commands = 2
	}
	if c.Calm <= 0 {
		c.Calm = 20 * time.Minute
	}
	w := &world{cfg: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), now: dawn, hash: fnv.New64a(), starts: map[startKey]int{}}
	w.res.Ended = map[string]int{}
	w.plane = newPlane(w)
	for i := range c.Nodes {
		w.nodes = append(w.nodes, newMachine(w, i))
	}
	for i := range c.Commands {
		w.after(time.Duration(w.rng.Int64N(int64(2*time.Minute))), fmt.Sprint("send ", i), func() { w.plane.send(i) })
	}
	for range c.Partitions {
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		w.after(time.Duration(w.rng.Int64N(int64(c.Calm))), "partition "+n.id, func() { w.partition(n) })
	}
	for len(w.queue) > 0 && len(w.res.Violations) == 0 && w.now.Before(dawn.Add(horizon)) && !w.done() {
		ev := heap.Pop(&w.queue).(*event)
		w.now = ev.at
		w.res.Events++
		w.note(ev.what)
		ev.do()
	}
	w.judge()
	w.res.Hash = w.hash.Sum64()
	return w.res
}

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// horizon is when everything must have ended, whatever happened: the longest deadline and its grace.
const horizon = 6 * time.Hour

// event is something that will happen.
type event struct {
	at   time.Time
	n    uint64 // breaks ties in the order in which they were planned
	what string
	do   func()
}

type queue []*event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].n < q[j].n
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *queue) Pop() any     { o := *q; e := o[len(o)-1]; *q = o[:len(o)-1]; return e }

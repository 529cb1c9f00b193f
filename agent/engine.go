package agent

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/message"
)

// EngineConfig is what an Engine needs to know. Zero fields take the defaults.
type EngineConfig struct {
	Node         string            // this node's id
	Session      string            // random for each start of the agent; ids of messages begin with it
	Platform     string            // Linux, Windows or MacOS; default Linux
	Capabilities []string          // what Offer.Needs may ask for, besides the actions below
	Actions      *document.Actions // the actions that documents may name; nil is document.Builtin
	Facts        message.Facts
	Epoch        uint64    // the highest epoch of the control plane that this node has seen
	Floor        time.Time // the latest deadline of what this node has forgotten, by the control plane's clock: see Floor
	Unsigned     bool      // messages are neither signed nor sealed: offers that demand it are refused

	Slots       int           // commands that run at once; default 5
	Queue       int           // commands that wait for a slot, at most; default 1000
	MaxReboots  int           // reboots that one step may ask for; default 5
	OutputLimit int64         // bytes of each stream that are kept when Run does not say; default 64 MiB
	Skew        time.Duration // how far clocks may differ; default message.DefaultSkew
	Heartbeat   time.Duration // between hellos until the control plane says otherwise; default 1 minute
	StopGrace   time.Duration // how long a step may take to end after KillStep before it is given up; default 1 minute
}

func (c EngineConfig) withDefaults() EngineConfig {
	c.Platform = cmp.Or(c.Platform, "Linux")
	c.Slots = cmp.Or(max(c.Slots, 0), 5)
	c.Queue = cmp.Or(max(c.Queue, 0), 1000)
	c.MaxReboots = cmp.Or(max(c.MaxReboots, 0), 5)
	c.OutputLimit = cmp.Or(max(c.OutputLimit, 0), 64<<20)
	c.Skew = cmp.Or(max(c.Skew, 0), message.DefaultSkew)
	c.Heartbeat = cmp.Or(max(c.Heartbeat, 0), time.Minute)
	c.StopGrace = cmp.Or(max(c.StopGrace, 0), time.Minute)
	if c.Actions == nil {
		c.Actions = document.Builtin()
	}
	c.Capabilities = slices.Clone(c.Capabilities)
	slices.Sort(c.Capabilities)
	return c
}

// The intervals that are not options.
const (
	firstResend   = 2 * time.Second
	lastResend    = 5 * time.Minute
	firstLive     = time.Second // between reports of a running step's output
	lastLive      = 15 * time.Second
	pieceEvery    = time.Second // between pieces of a running step's stream
	slowAnswer    = 10 * time.Second
	saveEvery     = 4 << 20 // bytes of a stream between two durable notes of what the control plane has
	window        = 4       // pieces of a stream that may be under way
	retryJournal  = 10 * time.Second
	giveUpOutput  = 24 * time.Hour      // after the command's deadline
	longestRun    = 33 * 24 * time.Hour // no Run is valid for longer: 30 days of delivery timeout and 48 hours of execution
	seqPerRestart = 1 << 20             // more reports than one life of an agent sends of one attempt
	startupReboot = 3                   // how often a reboot is asked of a machine that does not do it
)

// Engine decides what an agent does. It is pure: state, event and time give new state and effects; there is no I/O, no goroutine and no clock in it, so that
// a simulator can step it and the same events at the same times give the same effects. It is not safe for concurrent use.
//
// The host feeds it what happens through Step, carries the effects out in their order, and calls Step with a Tick when Next says so. now is the node's clock; it
// may be wrong, for deadlines are judged by what the control plane's messages tell of its own.
type Engine struct {
	cfg    EngineConfig
	booted bool
	bootID string
	epoch  uint64
	floor  time.Time
	clock  clock

	commands []*command // alive ones, in the order of their arrival
	byRef    map[message.Ref]*command
	stones   map[message.Ref]*command // tombstones
	sweepAt  time.Time                // when a tombstone can next be dropped

	connected, stopping, noRoom bool
	broken                      time.Time // until when the journal is taken to be unwritable
	wrote                       bool      // the last Step had Journal effects

	pinnedAt   time.Time // when the control plane was last told which of its keys are obeyed
	pinnedTold uint64

	asks []*asking // questions without an answer, in the order of their asking

	rebooting bool // the Reboot effect was given
	ids       uint64

	hello hello

	out effects
}

// hello is the state of saying hello.
type hello struct {
	seq      uint64
	sent     map[uint64]time.Time // hellos without a welcome
	due      time.Time
	backoff  time.Duration
	first    bool // the next one is the first since connecting
	facts    bool // the next one carries the facts
	factsSeq uint64
	firstSeq uint64
	every    time.Duration
}

// effects are collected by kind and handed out in an order that is safe: what must be durable before what depends on it.
type effects struct {
	remember []Effect
	journal  []*command
	kill     []Effect
	start    []Effect
	send     []Effect
	floor    []Effect
	drop     []Effect
	reboot   bool
}

// command is an Entry with what only a living engine needs.
type command struct {
	Entry
	plan    *action.Plan
	running int // index of the step that runs, -1 when none does

	cause    error     // why the running step was told to stop
	stepDue  time.Time // when its own time is over
	giveUp   time.Time // when it is given up after having been told to stop
	durable  bool      // the journal has the reference
	dirty    bool      // the journal has not the newest state
	listed   bool      // in effects.journal
	journal  time.Time // not before this time again, after a failure
	acked    uint64    // newest report that the control plane has
	reportAt time.Time // when to send a report, if it must be sent
	backoff  time.Duration
	sends    int // of reports, for jitter
	live     time.Duration
	liveAt   time.Time
	grew     bool // a running step's output has grown since the last report
	streams  map[int]*upload
}

// NewEngine returns an engine that knows what the journal holds. Entries are taken over. Its first event must be Booted.
func NewEngine(cfg EngineConfig, journal []Entry) *Engine {
	e := &Engine{cfg: cfg.withDefaults(), epoch: cfg.Epoch, floor: cfg.Floor, byRef: map[message.Ref]*command{}, stones: map[message.Ref]*command{}}
	e.hello = hello{sent: map[uint64]time.Time{}, every: e.cfg.Heartbeat, facts: true}
	journal = slices.Clone(journal)
	slices.SortStableFunc(journal, func(a, b Entry) int {
		return cmp.Or(a.Arrived.Compare(b.Arrived), compareRefs(a.Ref, b.Ref))
	})
	for _, en := range journal {
		c := &command{Entry: en, running: -1, durable: true}
		if en.Run == nil && en.Final && en.terminal() {
			e.stones[en.Ref] = c
			continue
		}
		e.add(c)
	}
	return e
}

func (e *Engine) add(c *command) {
	e.commands = append(e.commands, c)
	e.byRef[c.Ref] = c
}

// remove takes a command out of the living ones.
func (e *Engine) remove(c *command) {
	e.commands = slices.DeleteFunc(e.commands, func(o *command) bool { return o == c })
	delete(e.byRef, c.Ref)
}

// Step applies one event and returns what is to be done.
func (e *Engine) Step(now time.Time, ev Event) []Effect {
	if b, ok := ev.(Booted); ok && !e.booted {
		e.boot(now, b)
	} else if !e.booted {
		return nil
	}
	failed, isFailure := ev.(JournalFailed)
	if !isFailure && e.wrote {
		e.broken = time.Time{}
	}
	e.wrote = false
	switch ev := ev.(type) {
	case Received:
		e.receive(now, &ev.Envelope)
	case Connected:
		e.connect(now)
	case Disconnected:
		e.connected = false
	case StepEnded:
		e.stepEnded(now, &ev)
	case OutputGrew:
		if c := e.byRef[ev.Ref]; c != nil && c.running == ev.Step {
			c.grow(ev.Step, ev.Stdout, ev.Stderr)
			c.grew = true
		}
	case JournalFailed:
		e.journalFailed(now, failed)
	case RebootFailed:
		e.rebootFailed(now, ev.Reason)
	case FactsChanged:
		e.cfg.Facts, e.hello.facts, e.hello.due = ev.Facts, true, now
	case Room:
		e.noRoom = !ev.OK
	case KeysPinned:
		e.pinned(now, ev.Epoch)
	case Asking:
		e.ask(now, ev.Ask)
	case AskOver:
		e.asks = slices.DeleteFunc(e.asks, func(q *asking) bool { return q.ID == ev.ID })
	case Stopping:
		e.stopping = true
	}
	e.advance(now)
	return e.flush()
}

// advance does everything that the state and the time demand. It is level-triggered: it asks what is the case, not what has just happened.
func (e *Engine) advance(now time.Time) {
	if !now.Before(e.broken) {
		e.broken = time.Time{}
	}
	if e.clock.slept(now) {
		e.clock.synced, e.hello.due = false, now
	}
	for _, c := range e.commands {
		if !c.terminal() {
			e.deadlines(now, c)
		}
	}
	e.startQueued(now)
	for _, c := range e.commands {
		if !c.terminal() && c.begun() {
			e.proceed(now, c)
		}
	}
	e.rebootIfQuiet()
	for _, c := range slices.Clone(e.commands) {
		e.retire(now, c)
		if c.dirty && !c.listed && !now.Before(c.journal) {
			c.listed = true
			e.out.journal = append(e.out.journal, c)
		}
	}
	if e.connected {
		e.sayHello(now)
		for _, c := range e.commands {
			e.sendReport(now, c)
			e.sendOutput(now, c)
		}
		e.sendAsks(now)
	}
	e.sweep(now)
}

// flush hands the collected effects out: first what must be durable, then what depends on it.
func (e *Engine) flush() []Effect {
	o := e.out
	e.out = effects{}
	var all []Effect
	all = append(all, o.remember...)
	for _, c := range o.journal {
		c.dirty, c.listed, c.durable = false, false, true
		all = append(all, Journal{c.stored()})
		e.wrote = true
	}
	all = append(all, o.kill...)
	all = append(all, o.start...)
	all = append(all, o.send...)
	all = append(all, o.floor...)
	all = append(all, o.drop...)
	if o.reboot {
		all = append(all, Reboot{})
	}
	return all
}

// Next returns when Step wants a Tick. ok is false when only other events can change anything.
func (e *Engine) Next() (t time.Time, ok bool) {
	add := func(at time.Time) {
		if !at.IsZero() && (!ok || at.Before(t)) {
			t, ok = at, true
		}
	}
	if !e.booted {
		return t, false
	}
	for _, c := range e.commands {
		if c.dirty {
			add(c.journal)
		}
		if !c.terminal() {
			if c.cause == nil {
				add(e.deadline(c))
				add(c.stepDue)
			}
			add(c.giveUp)
		}
		if e.connected {
			if c.wantsReport() {
				add(c.reportAt)
			} else if c.grew && !c.terminal() && c.acked >= c.Seq {
				add(c.liveAt)
			}
			for _, u := range c.streams {
				add(u.next())
			}
		}
		if c.terminal() && c.Final {
			add(e.localTime(c.Expires.Add(giveUpOutput))) // output that nobody confirms
		}
	}
	if e.connected {
		add(e.hello.due)
		if e.clock.synced {
			for _, q := range e.asks {
				add(q.due)
			}
		}
	}
	add(e.sweepAt)
	return t, ok
}

// deadline returns when, by the node's clock, a command's deadline passes; zero while the control plane's clock is not known.
func (e *Engine) deadline(c *command) time.Time {
	if e.clock.plane.IsZero() || c.Expires.IsZero() {
		return time.Time{}
	}
	return e.clock.local.Add(c.Expires.Sub(e.clock.plane) - e.clock.rtt)
}

// expired reports whether nothing of the command may start any more.
func (e *Engine) expired(now time.Time, c *command) bool {
	at := e.deadline(c)
	return !at.IsZero() && !now.Before(at)
}

// localTime returns when the node's clock shows the control plane's time t, at the latest.
func (e *Engine) localTime(t time.Time) time.Time {
	if e.clock.plane.IsZero() {
		return time.Time{}
	}
	return e.clock.local.Add(t.Sub(e.clock.plane))
}

// Entries returns the state of every command that the engine knows, tombstones too, in order of their references.
func (e *Engine) Entries() []Entry {
	var all []Entry
	for _, c := range e.commands {
		all = append(all, c.clone())
	}
	for _, c := range e.stones {
		all = append(all, c.clone())
	}
	slices.SortFunc(all, func(a, b Entry) int { return compareRefs(a.Ref, b.Ref) })
	return all
}

// Health tells how an engine is.
type Health struct {
	Connected, Synced bool // the transport is connected; the control plane's clock is known
	JournalFails      bool // the journal could not be written: nothing new starts
	Running, Queued   int
	Unacknowledged    int // commands with a report that the control plane has not confirmed
	Tombstones        int
	Spooled           int64 // bytes of output that are kept until the control plane has them
	Epoch             uint64
}

// Health returns how the engine is.
func (e *Engine) Health() Health {
	h := Health{Connected: e.connected, Synced: e.clock.synced, JournalFails: !e.broken.IsZero(), Tombstones: len(e.stones), Epoch: e.epoch}
	for _, c := range e.commands {
		switch {
		case c.terminal():
		case c.begun():
			h.Running++
		default:
			h.Queued++
		}
		if !c.Final {
			h.Unacknowledged++
		}
		for i := range c.Steps {
			h.Spooled += c.Steps[i].Stdout.Size + c.Steps[i].Stderr.Size
		}
	}
	return h
}

// id returns a new message id.
func (e *Engine) id() string {
	e.ids++
	return e.cfg.Session + "-" + strconv.FormatUint(e.ids, 10)
}

// send collects a message. It is valid for as long as clocks may differ, and a little more.
func (e *Engine) send(now time.Time, kind message.Kind, attempt int, body any) {
	from, to := e.validity(now)
	e.out.send = append(e.out.send, Send{Kind: kind, ID: e.id(), Attempt: attempt, Body: body, NotBefore: from, NotAfter: to})
}

func (e *Engine) validity(now time.Time) (from, to time.Time) {
	from = e.clock.earliest(now).Round(0)
	return from, e.clock.latest(now).Round(0).Add(2 * e.cfg.Skew)
}

// jitter spreads d by a quarter either way, always the same for the same words.
func (e *Engine) jitter(d time.Duration, n uint64, words ...string) time.Duration {
	h := fnv.New64a()
	for _, w := range append(words, e.cfg.Node, e.cfg.Session) {
		h.Write([]byte(w)) //nolint:errcheck // a hash never fails
		h.Write([]byte{0}) //nolint:errcheck // a hash never fails
	}
	var b [8]byte
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	h.Write(b[:]) //nolint:errcheck // a hash never fails
	return d*3/4 + time.Duration(h.Sum64()%uint64(max(d/2, 1)))
}

// interrupted is the reason of a step that an agent's end cut off.
const (
	reasonInterrupted = "the agent or the machine went down in mid-step: whether the step ran to its end is not known, and it will not run again"
	reasonStopping    = "the agent was stopped in mid-step"
	reasonPowerCut    = "the machine restarted in mid-command without having been asked to"
	reasonDeadline    = "the command's deadline passed"
	reasonJournal     = "the node could not write its journal (is its disk full?), so nothing was started"
	reasonGivenUp     = "the step did not end after it was told to stop"
)

package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
)

// world is a node of one engine, whose journal, processes and messages outlive the engine's crashes. Everything that may happen to it does, in an order that pick
// chooses: replays of any message ever sent, lost and late ones, crashes between any two effects, journals that cannot be written, reboots, clocks that jump.
type world struct {
	pick    func(n int) int
	engine  *Engine
	now     time.Time // the control plane's clock
	skew    time.Duration
	boot    int
	life    int
	journal map[message.Ref]Entry
	pending []message.Envelope // all that was ever sent to the node
	expires map[message.Ref]time.Time
	running map[message.Ref]StartStep

	starts   map[string]int
	terminal map[message.Ref]message.Detail // as the journal had it first
	seq      map[message.Ref]uint64
	final    map[message.Ref]bool // the plane confirmed a terminal report
	stuck    map[message.Ref]bool // told to stop, and perhaps still there
	told     map[message.Ref]bool // the plane sent a final Ack
	hello    message.Hello
}

type startKey struct {
	ref           message.Ref
	step, reboots int
}

var worldDocs = []string{
	"schemaVersion: '2.2'\nmainSteps:\n- {action: aws:runShellScript, name: a, inputs: {runCommand: [x], timeoutSeconds: 30}}\n",
	"schemaVersion: '2.2'\nmainSteps:\n- {action: aws:runShellScript, name: a, inputs: {runCommand: [x], onFailure: exit}}\n- {action: aws:runShellScript, name: b, inputs: {runCommand: [x]}}\n- {action: aws:runShellScript, name: c, inputs: {runCommand: [x], finallyStep: true}}\n",
	"not a document",
}

func newWorld(pick func(int) int) *world {
	w := &world{pick: pick, now: dawn, journal: map[message.Ref]Entry{}, expires: map[message.Ref]time.Time{}, running: map[message.Ref]StartStep{}, starts: map[string]int{},
		terminal: map[message.Ref]message.Detail{}, seq: map[message.Ref]uint64{}, final: map[message.Ref]bool{}, told: map[message.Ref]bool{}, stuck: map[message.Ref]bool{}}
	w.deliver(message.KindCancel, 1, message.Cancel{}) // a message about nothing
	return w
}

func (w *world) local() time.Time { return w.now.Add(w.skew) }

// start begins a life of the agent.
func (w *world) start() error {
	w.life++
	var entries []Entry
	var refs []message.Ref
	for r := range w.journal {
		refs = append(refs, r)
	}
	sortRefs(refs)
	ev := Booted{BootID: fmt.Sprint("boot", w.boot)}
	for _, r := range refs {
		b, err := json.Marshal(w.journal[r])
		if err != nil {
			return err
		}
		var e Entry
		if err := json.Unmarshal(b, &e); err != nil {
			return err
		}
		entries = append(entries, e)
		if s, ok := w.running[r]; ok {
			ev.Alive = append(ev.Alive, Child{Ref: r, Step: s.Step})
		}
	}
	for r := range w.seq {
		if _, ok := w.journal[r]; !ok {
			delete(w.seq, r) // what never was durable is told from its beginning
		}
	}
	w.running, w.stuck = map[message.Ref]StartStep{}, map[message.Ref]bool{}
	w.engine = NewEngine(EngineConfig{Node: "mi-1", Session: fmt.Sprint("life", w.life), Slots: 2, MaxReboots: 2, Capabilities: []string{"aws:runShellScript"}}, entries)
	if err := w.step(ev); err != nil || w.pick(4) == 0 {
		return err
	}
	if err := w.step(Connected{}); err != nil || w.pick(4) == 0 {
		return err
	}
	return w.step(Received{w.pending[len(w.pending)-1]}) // most often the welcome
}

var errCrash = errors.New("crash")

// step feeds the engine; the agent may crash between any two effects.
func (w *world) step(ev Event) error {
	queue := []Event{ev}
	for len(queue) > 0 {
		ev, queue = queue[0], queue[1:]
		var failed []*JournalFailed
		find := func(r message.Ref) *JournalFailed {
			i := slices.IndexFunc(failed, func(f *JournalFailed) bool { return f.Ref == r })
			if i < 0 {
				return nil
			}
			return failed[i]
		}
		for _, eff := range w.engine.Step(w.local(), ev) {
			if w.pick(150) == 1 {
				return errCrash
			}
			switch x := eff.(type) {
			case Journal:
				if w.pick(25) == 1 {
					failed = append(failed, &JournalFailed{Ref: x.Entry.Ref})
					if w.pick(2) == 0 {
						continue
					} // else it happened, and its answer was lost
				}
				if err := w.wrote(&x.Entry); err != nil {
					return err
				}
			case Forget:
				if e, ok := w.journal[x.Ref]; ok && (!w.told[x.Ref] || !w.now.After(e.Expires)) {
					return fmt.Errorf("%v was forgotten at %v, before %v or its confirmation (R-08)", x.Ref, w.now, e.Expires)
				}
				delete(w.journal, x.Ref)
				delete(w.terminal, x.Ref)
				delete(w.final, x.Ref)
				delete(w.seq, x.Ref)
			case StartStep:
				if f := find(x.Ref); f != nil {
					f.NotStarted = true
					continue
				}
				if err := w.started(x); err != nil {
					return err
				}
			case KillStep:
				w.stuck[x.Ref] = !x.Orphan // unless it ends now
				if !x.Orphan && w.pick(4) > 0 {
					if s, ok := w.running[x.Ref]; ok {
						delete(w.running, x.Ref)
						queue = append(queue, StepEnded{Ref: x.Ref, Step: s.Step, Reboots: s.Reboots, Result: action.Result{Status: message.Failed, ExitCode: 143}})
					}
				}
			case Send:
				if find(refOf(x)) != nil {
					continue
				}
				if err := w.sent(x); err != nil {
					return err
				}
			case Reboot:
				for r := range w.running {
					if !w.stuck[r] {
						return fmt.Errorf("a reboot while a step of %v runs", r)
					}
				}
				switch w.pick(4) {
				case 0:
					queue = append(queue, RebootFailed{Reason: "no"})
				case 1: // nothing happens
				default:
					w.boot++
					return errCrash
				}
			}
		}
		for _, f := range failed {
			queue = append(queue, *f)
		}
	}
	return nil
}

func (w *world) wrote(e *Entry) error {
	if old, ok := w.journal[e.Ref]; ok && old.Seq > e.Seq {
		return fmt.Errorf("%v: the journal went back from report %d to %d", e.Ref, old.Seq, e.Seq)
	}
	if d, ok := w.terminal[e.Ref]; ok && d != e.Detail && w.final[e.Ref] {
		return fmt.Errorf("%v was %s and is %s", e.Ref, d, e.Detail)
	}
	if e.terminal() {
		w.terminal[e.Ref] = e.Detail
	}
	w.journal[e.Ref] = e.clone()
	return nil
}

func (w *world) started(x StartStep) error {
	key := fmt.Sprint(startKey{x.Ref, x.Step, x.Reboots})
	w.starts[key]++
	e, ok := w.journal[x.Ref]
	switch {
	case w.starts[key] > 1:
		return fmt.Errorf("%s started %d times (law 4)", key, w.starts[key])
	case !ok || e.Steps[x.Step].Status != message.InProgress || e.Reboot:
		return fmt.Errorf("%s started before the journal knew", key)
	case w.now.After(w.expires[x.Ref]):
		return fmt.Errorf("%s started at %v, after the deadline %v", key, w.now, w.expires[x.Ref])
	case w.running[x.Ref].Command != "" && !w.stuck[x.Ref]:
		return fmt.Errorf("%s started beside another step of the command", key)
	case len(w.running) >= 2+len(w.stuck):
		return fmt.Errorf("%s started beside two others", key)
	case e.Cancel:
		return fmt.Errorf("%s started although it was cancelled", key)
	}
	w.running[x.Ref] = x
	delete(w.stuck, x.Ref)
	return nil
}

func (w *world) sent(x Send) error {
	switch b := x.Body.(type) {
	case message.Hello:
		w.hello = b
		if w.pick(4) > 0 {
			w.deliver(message.KindWelcome, 0, message.Welcome{Session: b.Session, Seq: b.Seq, Time: w.now})
		}
	case message.Report:
		if !b.Detail.Terminal() { // an end may be told that the journal could not take
			if b.Seq < w.seq[b.Ref] {
				return fmt.Errorf("%v: report %d after %d", b.Ref, b.Seq, w.seq[b.Ref])
			}
			w.seq[b.Ref] = b.Seq
		}
		for _, s := range b.Steps {
			if b.Detail.Terminal() && !s.Status.Terminal() {
				return fmt.Errorf("%v is %s with a step %s", b.Ref, b.Detail, s.Status)
			}
		}
		if w.pick(3) > 0 {
			if b.Detail.Terminal() {
				w.told[b.Ref] = true
				if d, ok := w.terminal[b.Ref]; ok && w.final[b.Ref] && d != b.Detail {
					return fmt.Errorf("%v was confirmed as %s and is reported as %s", b.Ref, d, b.Detail)
				}
				// One that the journal could not take is told nevertheless; the control plane keeps to it whatever comes later.
				w.final[b.Ref] = w.final[b.Ref] || w.journal[b.Ref].Detail == b.Detail
			}
			w.deliver(message.KindAck, b.Attempt, message.Ack{Ref: b.Ref, Seq: b.Seq, Final: b.Detail.Terminal()})
		}
	}
	return nil
}

// deliver puts a message among those that may arrive, any time and any number of times.
func (w *world) deliver(kind message.Kind, attempt int, body any) {
	b, err := message.Marshal(kind, body)
	if err != nil {
		panic(err)
	}
	w.pending = append(w.pending, message.Envelope{Tenant: "default", From: message.Controller, To: "mi-1", Kind: kind, ID: fmt.Sprint(len(w.pending)), Attempt: attempt, NotBefore: w.now, NotAfter: w.now.Add(time.Minute), Body: b})
}

// live lets everything happen for a while.
func (w *world) live(events int) error {
	err := w.start()
	for range events {
		if err == nil {
			err = w.event()
		}
		if err == nil {
			err = w.tick()
		}
		for err == errCrash {
			err = w.start()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) event() error {
	ref := message.Ref{Command: fmt.Sprint("c", w.pick(4)), Attempt: 1 + w.pick(2)}
	switch what := w.pick(26); {
	case what < 6 && len(w.pending) > 0: // one of the newest
		i := len(w.pending) - 1 - w.pick(min(len(w.pending), 6))
		return w.step(Received{w.pending[i]})
	case what < 8 && len(w.pending) > 0: // any: a replay
		return w.step(Received{w.pending[w.pick(len(w.pending))]})
	case what < 11:
		if _, ok := w.expires[ref]; ok {
			return nil
		}
		doc := worldDocs[w.pick(len(worldDocs))]
		sum := sha256.Sum256([]byte(doc))
		w.expires[ref] = w.now.Add(time.Duration(w.pick(7200)) * time.Second)
		w.deliver(message.KindRun, ref.Attempt, message.Run{Ref: ref, Document: []byte(doc), DocumentHash: hex.EncodeToString(sum[:]), Format: "YAML", ExpiresAt: w.expires[ref]})
	case what < 12:
		w.deliver(message.KindCancel, ref.Attempt, message.Cancel{Ref: ref})
	case what < 17:
		for _, r := range w.refs() {
			s := w.running[r]
			if w.pick(2) == 0 {
				continue
			}
			delete(w.running, r)
			res := []action.Result{{Status: message.Success}, {Status: message.Failed, ExitCode: 1}, {Status: message.Success, Flow: action.Reboot, ExitCode: 194}, {Status: message.Success, Flow: action.SkipRest}}[w.pick(4)]
			return w.step(StepEnded{Ref: r, Step: s.Step, Reboots: s.Reboots, Result: res})
		}
	case what < 18:
		return w.step(Connected{})
	case what < 19:
		return w.step(Disconnected{})
	case what < 21:
		w.now = w.now.Add(time.Duration(w.pick(120)) * time.Second)
	case what < 22:
		w.now = w.now.Add(time.Duration(w.pick(7200)) * time.Second)
	case what < 23:
		if w.pick(4) == 0 {
			w.skew = []time.Duration{0, time.Hour, -time.Hour, 8760 * time.Hour, -8760 * time.Hour}[w.pick(5)]
			return errCrash // a jump is seen across a restart; in one life the monotonic clock hides it
		}
	case what < 24:
		if w.pick(3) == 0 {
			w.boot++ // power cut
			w.running = map[message.Ref]StartStep{}
			return errCrash
		}
	case what < 25:
		if w.pick(10) == 0 {
			return w.step(Stopping{})
		}
	}
	return nil
}

func (w *world) refs() []message.Ref {
	var all []message.Ref
	for r := range w.running {
		all = append(all, r)
	}
	sortRefs(all)
	return all
}

// tick serves the engine's timers; after that nothing may be due.
func (w *world) tick() error {
	for n := 0; ; n++ {
		next, ok := w.engine.Next()
		if !ok || next.After(w.local()) {
			return nil
		}
		if n > 20 {
			return fmt.Errorf("the engine wants ticks without end: now %v, due %v", w.local(), next)
		}
		if err := w.step(Tick{}); err != nil {
			return err
		}
	}
}

func TestAtMostOneStart(t *testing.T) { // law 4, R-03, R-07, R-08, F9
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(func(n int) int { return rapid.IntRange(0, max(n-1, 0)).Draw(t, "pick") })
		if err := w.live(60); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAtMostOneStartAtRandom(t *testing.T) {
	t.Parallel()
	seeds := 10000
	switch {
	case testing.Short():
		seeds = 1500
	case testenv.Long():
		seeds = 40000
	}
	starts := 0
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		w := newWorld(func(n int) int { return rng.IntN(max(n, 1)) })
		require.NoError(t, w.live(150), "seed %d", seed)
		starts += len(w.starts)
	}
	t.Logf("%d schedules, %d starts", seeds, starts)
	require.Greater(t, starts, seeds/2, "schedules in which nothing happens show nothing")
}

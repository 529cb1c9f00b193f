package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// The intervals of the loop.
const (
	lookAtOutput = time.Second
	lookAtFacts  = time.Hour
	sendTimeout  = 5 * time.Second
	stopTimeout  = 30 * time.Second // for steps to end and messages to leave after the context ended
	rebootWait   = 5 * time.Minute  // for a machine to go down
	restAfter    = 3 * time.Second  // idle for so long, memory goes back to the system
	redial       = 2 * time.Second  // between looks at a transport without presence
)

// anyTime makes Open leave the judgement of times to the engine, which knows more about clocks.
const anyTime = 250 * 365 * 24 * time.Hour

// loop is a running agent: one goroutine owns the engine, the journal and the directories; others receive, send and run steps.
type loop struct {
	*Agent
	dir     *dirDisk
	work    *os.Root
	store   Store
	engine  *Engine
	running map[message.Ref]*worker
	roomy   bool
	told    *teller
	spools  *budget
	orphans map[message.Ref]int // leaders of the sessions of interrupted steps that still live

	events   chan Event
	outgoing chan Effect
	done     context.Context // ends when the loop takes no more events
	steps    sync.WaitGroup
}

// post hands an event to the loop, unless that has ended.
func (l *loop) post(ev Event) {
	select {
	case l.events <- ev:
	case <-l.done.Done():
	}
}

func (l *loop) run(ctx context.Context, entries []Entry) error {
	// What must go on for a while after ctx ended has a context of its own.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	l.done = life
	var helpers sync.WaitGroup
	failed := make(chan error, 1)
	abandoned := false // steps that do not end although they were told to
	defer func() {
		end()
		helpers.Wait()
		if !abandoned {
			l.steps.Wait()
		}
	}()
	l.roomy = true
	l.step(life, l.booted(entries))
	helpers.Go(func() { l.sender(life) })
	helpers.Go(func() {
		if err := transportEnded(l.cfg.Transport.Receive(life, l.receive)); err != nil {
			failed <- err
		}
	})
	helpers.Go(func() { l.presence(life) })
	helpers.Go(func() { l.rotator(life) })

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	output := time.NewTicker(lookAtOutput)
	output.Stop()
	defer output.Stop()
	facts := time.NewTicker(lookAtFacts)
	defer facts.Stop()
	rest := time.NewTimer(restAfter)
	defer rest.Stop()
	stopping := ctx.Done()
	var over <-chan time.Time
	var result error
	stop := func() {
		if stopping != nil {
			stopping = nil
			over = time.After(stopTimeout)
			l.step(life, Stopping{})
		}
	}
	for {
		if over != nil && len(l.running) == 0 {
			l.flush(over, l.events)
			return result
		}
		wait := time.Hour
		if next, ok := l.engine.Next(); ok {
			wait = min(wait, max(0, next.Sub(l.cfg.Now())))
		}
		timer.Reset(wait)
		busy := len(l.running) > 0
		select {
		case ev := <-l.events:
			l.step(life, ev)
		case ev := <-l.asking:
			l.step(life, ev)
		case <-timer.C:
			l.step(life, Tick{})
		case <-output.C:
			for ref, w := range l.running {
				if out, err, grew := w.grew(); grew {
					l.step(life, OutputGrew{Ref: ref, Step: w.step, Stdout: out, Stderr: err})
				}
			}
		case <-facts.C:
			if f := l.facts(); !sameFacts(f, l.engine.cfg.Facts) {
				l.step(life, FactsChanged{f})
			}
		case <-rest.C:
			if !busy {
				debug.FreeOSMemory()
				trim()
			}
		case err := <-failed:
			l.log.Error("the transport ended", "error", err)
			result = err
			stop()
		case <-stopping:
			stop()
		case <-over:
			l.log.Error("steps did not end although they were told to: their actions ignore their contexts", "running", len(l.running))
			abandoned = true
			return result
		}
		switch now := len(l.running) > 0; {
		case now && !busy:
			output.Reset(lookAtOutput)
			rest.Stop()
		case busy && !now:
			output.Stop()
			rest.Reset(restAfter)
		}
	}
}

// flush waits until what was to be sent is with the transport. What comes from ignored is.
func (l *loop) flush(over <-chan time.Time, ignored <-chan Event) {
	sent := make(chan struct{})
	queue := l.outgoing
	for {
		select {
		case queue <- flushed{sent}:
			queue = nil
		case <-sent:
			return
		case <-ignored:
		case <-over:
			return
		}
	}
}

// flushed is a mark in the queue of messages.
type flushed struct{ done chan struct{} }

func (flushed) effect() {}

// step feeds the engine and carries its effects out.
func (l *loop) step(ctx context.Context, ev Event) {
	queue := []Event{ev}
	if r, ok := ev.(Received); ok && (r.Envelope.Kind == message.KindOffer || r.Envelope.Kind == message.KindRun) {
		if ok := l.room(); ok != l.roomy {
			l.roomy = ok
			l.log.Warn("disk space", "enough", ok)
			queue = []Event{Room{OK: ok}, ev}
		}
	}
	for len(queue) > 0 {
		ev, queue = queue[0], queue[1:]
		if e, ok := ev.(ended); ok {
			if l.running[e.Ref] == e.w {
				delete(l.running, e.Ref)
			}
			ev = e.StepEnded
		}
		failed := map[message.Ref]*JournalFailed{}
		var order []*JournalFailed
		keep := false
		for _, eff := range l.engine.Step(l.cfg.Now(), ev) {
			if f := failed[refOf(eff)]; f != nil {
				if _, ok := eff.(StartStep); ok {
					f.NotStarted = true
				}
				continue
			}
			switch eff.(type) {
			case Floor:
				if err := l.carryOut(ctx, eff); err != nil {
					l.log.Warn("old records of the journal stay: what they guard against could not be noted", "error", err)
					keep = true
				}
				continue
			case Forget:
				if keep {
					continue
				}
			}
			if err := l.carryOut(ctx, eff); err != nil {
				ref := refOf(eff)
				l.log.Error("the journal could not be written", "command", ref.Command, "attempt", ref.Attempt, "error", err)
				f := &JournalFailed{Ref: ref, Damaged: errors.Is(err, ErrDamaged)}
				failed[ref] = f
				order = append(order, f)
			}
		}
		for _, f := range order {
			queue = append(queue, *f)
		}
	}
	h := l.engine.Health()
	l.told.connected(ctx, h.Connected)
	l.health.Store(&h)
}

// refOf returns the reference that an effect concerns; the zero Ref when it concerns none.
func refOf(eff Effect) message.Ref {
	switch eff := eff.(type) {
	case Journal:
		return eff.Entry.Ref
	case StartStep:
		return eff.Ref
	case KillStep:
		return eff.Ref
	case SendOutput:
		return eff.Ref
	case DropOutput:
		return eff.Ref
	case Send:
		switch b := eff.Body.(type) {
		case message.Report:
			return b.Ref
		case message.Ready:
			return b.Ref
		}
	}
	return message.Ref{}
}

// carryOut does what an effect says. Only what must be durable returns errors.
func (l *loop) carryOut(ctx context.Context, eff Effect) error {
	switch eff := eff.(type) {
	case Remember:
		if err := writeFile(l.dir, epochFile, strconv.AppendUint(nil, eff.Epoch, 10)); err != nil {
			// The epoch is known until the agent ends, and learnt again then.
			l.log.Error("the control plane's epoch could not be stored", "error", err)
		}
	case Journal:
		return l.told.journal(ctx, l.store, &eff.Entry)
	case Floor:
		return l.rememberFloor(eff.At)
	case Forget:
		if err := l.store.Delete(eff.Ref); err != nil {
			l.log.Warn("a record of the journal could not be removed", "command", eff.Command, "error", err)
		}
		l.drop(eff.Ref)
	case DropOutput:
		l.drop(eff.Ref)
	case StartStep:
		l.start(ctx, eff)
	case KillStep:
		l.kill(eff)
	case Send, SendOutput:
		select {
		case l.outgoing <- eff:
		default: // as good as lost on the way: the engine sends it again
		}
	case Answered:
		l.waiting.answered(eff.Answer)
	case Reboot:
		l.reboot(ctx)
	}
	return nil
}

// rememberFloor makes the floor durable in the agent's directory.
func (l *loop) rememberFloor(at time.Time) error {
	b := strconv.AppendInt(nil, at.UnixMilli()+1, 10) // a deadline has milliseconds: rounded up, so that it stays below
	return writeFile(l.dir, floorFile, fmt.Appendf(b, " %08x", crc32.Checksum(b, castagnoli)))
}

// drop removes a command's directory.
func (l *loop) drop(ref message.Ref) {
	if l.running[ref] != nil {
		return
	}
	if err := l.work.RemoveAll(refHash(ref)); err != nil {
		l.log.Warn("a command's directory could not be removed", "command", ref.Command, "error", err)
		return
	}
	l.spools.free(refHash(ref))
}

// room reports whether the disk has room for more.
func (l *loop) room() bool {
	if l.cfg.MinFree < 0 {
		return true
	}
	n := free(l.cfg.Node.Dir)
	return n < 0 || n >= l.cfg.MinFree
}

// reboot restarts the machine, after what is to be sent has left.
func (l *loop) reboot(ctx context.Context) {
	l.log.Warn("a step demands a reboot")
	do := l.cfg.Reboot
	l.steps.Go(func() {
		l.flush(time.After(sendTimeout), nil)
		err := errors.New("this agent may not restart the machine: its host gave it no way to (Config.Reboot)")
		if do != nil {
			err = do(ctx)
		}
		if err == nil {
			t := time.NewTimer(rebootWait)
			defer t.Stop()
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				err = errors.New("it was told to restart, and did not")
			}
		}
		l.post(RebootFailed{Reason: err.Error()})
	})
}

// receive verifies a message and hands it to the engine.
func (l *loop) receive(ctx context.Context, m transport.Message) {
	env, err := l.ring.open(m.Data, l.cfg.Now())
	switch {
	case errors.Is(err, errFormer): // the confirmation was lost
		_, epoch := l.ring.pinned()
		l.post(KeysPinned{epoch})
	case err != nil:
		l.log.Warn("a message was refused", "error", err)
		l.told.refused(ctx, err)
	case env.Kind == message.KindKeys:
		l.follow(env)
	default:
		l.post(Received{env})
	}
}

// presence tells the engine of the transport's connections. Where the transport knows of none, a hello from time to time finds out.
func (l *loop) presence(ctx context.Context) {
	plane := l.plane()
	err := transport.Watch(ctx, l.cfg.Transport, func(a transport.Address, connected bool) {
		switch {
		case a != plane:
		case connected:
			l.post(Connected{})
		default:
			l.post(Disconnected{})
		}
	})
	if !errors.Is(err, transport.ErrNoPresence) {
		return
	}
	for {
		l.post(Connected{})
		select {
		case <-ctx.Done():
			return
		case <-time.After(redial):
		}
	}
}

func (l *loop) plane() transport.Address {
	return transport.Address{Tenant: l.cfg.Node.Tenant, Name: message.Controller}
}

// sender seals and sends messages one after another, so that a slow transport holds up nothing else.
func (l *loop) sender(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case eff := <-l.outgoing:
			l.send(ctx, eff)
		}
	}
}

func (l *loop) send(ctx context.Context, eff Effect) {
	var env message.Envelope
	var err error
	switch eff := eff.(type) {
	case flushed:
		close(eff.done)
		return
	case Send:
		env = message.Envelope{Kind: eff.Kind, ID: eff.ID, Attempt: eff.Attempt, NotBefore: eff.NotBefore, NotAfter: eff.NotAfter}
		env.Body, err = message.Marshal(eff.Kind, eff.Body)
	case SendOutput:
		env = message.Envelope{Kind: message.KindOutput, ID: eff.ID, Attempt: eff.Attempt, NotBefore: eff.NotBefore, NotAfter: eff.NotAfter}
		out := message.Output{Ref: eff.Ref, Step: eff.Step, Stderr: eff.Stderr, Offset: eff.Offset}
		if out.Data, err = l.piece(eff); err == nil {
			env.Body, err = message.Marshal(message.KindOutput, out)
		}
	}
	if err != nil {
		l.log.Warn("a message could not be made", "kind", env.Kind, "error", err)
		return
	}
	env.Epoch = l.Health().Epoch
	data, err := l.ring.seal(env)
	if err != nil {
		l.log.Error("a message could not be sealed", "kind", env.Kind, "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	switch err := l.cfg.Transport.Send(ctx, l.plane(), data); {
	case err == nil:
	case errors.Is(err, transport.ErrNotConnected):
		if _, ok := l.cfg.Transport.(transport.Presence); !ok {
			l.post(Disconnected{})
		}
	default:
		l.log.Debug("a message was not taken", "kind", env.Kind, "error", err)
	}
}

func (l *loop) piece(eff SendOutput) ([]byte, error) {
	dir, err := l.work.OpenRoot(refHash(eff.Ref))
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // read only
	which := 0
	if eff.Stderr {
		which = 1
	}
	return piece(dir, eff.Step, which, eff.Offset, eff.Length)
}

// commandDir returns the absolute path of a command's directory.
func (l *loop) commandDir(ref message.Ref) (string, error) {
	return filepath.Abs(filepath.Join(l.cfg.Node.Dir, "work", refHash(ref)))
}

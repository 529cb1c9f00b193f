package sim

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/message"
)

// machine is a node: its disk, its clock, its agent, and what runs on it.
type machine struct {
	w      *world
	i      int
	id     string
	offset time.Duration // of its clock
	jumped time.Duration // what its wall clock was set by since the agent began
	drift  float64
	cuts   uint8  // a bit for each control plane: no message passes
	line   *plane // that it is connected to
	lines  int    // generation of line

	boot      int
	life      int
	engine    *agent.Engine
	timer     int
	journal   map[message.Ref]agent.Entry
	before    map[message.Ref]*agent.Entry // what the journal had before its last write, which a plant loses
	forgot    map[message.Ref]agent.Entry  // what was deleted: that need not be durable
	unwritten map[message.Ref]bool         // its journal failed once
	epoch     uint64
	floor     time.Time
	spools    map[spoolKey]int64
	running   []*running
}

type spoolKey struct {
	ref  message.Ref
	step int
}

// running is a step that executes.
type running struct {
	ref     message.Ref
	step    int
	reboots int
	dead    bool
}

func newMachine(w *world, i int) *machine {
	m := &machine{w: w, i: i, id: fmt.Sprintf("mi-%017x", i), journal: map[message.Ref]agent.Entry{}, before: map[message.Ref]*agent.Entry{}, forgot: map[message.Ref]agent.Entry{},
		unwritten: map[message.Ref]bool{}, spools: map[spoolKey]int64{}, epoch: 1}
	if w.cfg.Skew > 0 {
		m.offset = w.draw(2*w.cfg.Skew) - w.cfg.Skew
	}
	m.drift = (2*w.rng.Float64() - 1) * w.cfg.Drift
	w.after(w.draw(10*time.Second), m.label("agent begins on"), m.start)
	return m
}

func (m *machine) label(kind string) label { return label{kind: kind, node: m.i, plane: -1, cmd: -1} }

// local is what the node's clock shows.
func (m *machine) local() time.Time {
	return dawn.Add(m.w.now + m.offset + time.Duration(float64(m.w.now)*m.drift))
}

// jump sets the node's wall clock. An agent that runs goes by its monotonic clock, which the times it is given have and these cannot: it sees the jump when it starts anew.
func (m *machine) jump(by time.Duration) {
	m.jumped += by
	m.w.res.Jumps++
}

// start starts the agent from its disk.
func (m *machine) start() {
	if m.engine != nil {
		return
	}
	m.life++
	m.offset, m.jumped = m.offset+m.jumped, 0
	var entries []agent.Entry
	var outs []agent.OutputOnDisk
	for _, c := range m.w.disk.commands {
		kept, ok := m.journal[message.Ref{Command: c.id, Attempt: 1}]
		if !ok {
			continue
		}
		e := m.read(kept)
		if m.w.cfg.plant == plantWallClockMemory && m.local().Sub(e.Arrived) > 30*time.Minute {
			delete(m.journal, e.Ref)
			continue
		}
		if m.w.cfg.plant == plantRetryInterrupted && !e.Reboot {
			for s := range e.Steps {
				if e.Steps[s].Status == message.InProgress {
					e.Steps[s].Status = message.Pending
				}
			}
		}
		entries = append(entries, e)
		for s := range e.Steps {
			if n := m.spools[spoolKey{e.Ref, s}]; n > 0 {
				outs = append(outs, agent.OutputOnDisk{Ref: e.Ref, Step: s, Stdout: output(n)})
			}
		}
	}
	m.engine = agent.NewEngine(agent.EngineConfig{Node: m.id, Session: fmt.Sprintf("%s-life%d", m.id, m.life), Capabilities: []string{"aws:runShellScript"}, Epoch: m.epoch, Floor: m.floor, Unsigned: true}, entries)
	m.do(agent.Booted{BootID: fmt.Sprint("boot", m.boot), Outputs: outs})
	m.reconnect()
}

// read returns an entry as it is read from a disk: through its bytes.
func (m *machine) read(kept agent.Entry) (e agent.Entry) {
	b, err := json.Marshal(&kept)
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	if err != nil {
		panic(err) // an entry of the engine's
	}
	return e
}

var zeros [agent.HeadStdout]byte

func output(n int64) agent.Output {
	return agent.Output{Head: zeros[:min(n, agent.HeadStdout)], Size: n}
}

// reconnect connects the agent to a control plane that it reaches, after a moment; it goes on trying.
func (m *machine) reconnect() {
	m.lines++
	gen := m.lines
	m.w.after(m.w.draw(3*time.Second), m.label("connects"), func() {
		if m.engine == nil || m.lines != gen {
			return
		}
		p := m.w.planes[m.w.rng.IntN(len(m.w.planes))]
		if !p.up || p.stopped || m.cuts>>p.i&1 != 0 {
			m.reconnect()
			return
		}
		m.line = p
		m.do(agent.Disconnected{})
		m.do(agent.Connected{})
	})
}

// leave ends the node's connection, if it has one. Its control plane notices at once, or after a while if no message passes.
func (m *machine) leave() {
	p := m.line
	m.line = nil
	m.lines++
	if m.engine != nil {
		m.do(agent.Disconnected{})
	}
	if p == nil {
		return
	}
	d := time.Millisecond
	if m.cuts>>p.i&1 != 0 {
		d = 20 * time.Second
	}
	p.after(d, label{kind: "notices that it lost", node: m.i, plane: p.i, cmd: -1}, func() {
		if m.line != p {
			p.misses(m.i)
		}
	})
}

// lineBreaks says that the connection to a control plane will be found dead after d.
func (m *machine) lineBreaks(p *plane, d time.Duration) {
	if m.line != p {
		return
	}
	gen := m.lines
	m.w.after(d, label{kind: "loses its connection", node: m.i, plane: p.i, cmd: -1}, func() {
		if m.lines == gen {
			m.leave()
			m.reconnect()
		}
	})
}

// partition cuts the node off from some control planes for a while.
func (m *machine) partition(cut uint8, d time.Duration) {
	if m.cuts != 0 {
		return
	}
	m.cuts = cut
	if p := m.line; p != nil && cut>>p.i&1 != 0 {
		m.lineBreaks(p, 20*time.Second+m.w.draw(10*time.Second))
	}
	m.w.after(d, m.label("heals"), func() { m.cuts = 0 })
}

func (m *machine) receive(env message.Envelope) {
	if m.engine == nil {
		return
	}
	if env.Kind == message.KindAck {
		m.w.check.acked(m, env)
	}
	m.do(agent.Received{Envelope: env})
}

// do steps the engine and carries its effects out; the agent may die before any of them, and its disk may fail.
func (m *machine) do(ev agent.Event) {
	if m.engine == nil {
		return
	}
	effects := m.engine.Step(m.local(), ev)
	var failed []agent.JournalFailed
	for _, ef := range effects {
		if m.w.chance(m.w.cfg.NodeCrashes) {
			m.crash()
			return
		}
		if len(failed) > 0 && m.dropped(failed, ef) {
			continue
		}
		if j, ok := ef.(agent.Journal); ok && m.w.chance(m.w.cfg.DiskFaults) {
			if m.w.rng.IntN(2) == 0 { // either the old or the new one is there
				m.journal[j.Entry.Ref] = j.Entry
			}
			failed = append(failed, agent.JournalFailed{Ref: j.Entry.Ref})
			m.unwritten[j.Entry.Ref] = true
			continue
		}
		m.carryOut(ef)
		if m.engine == nil {
			return
		}
	}
	for _, f := range failed {
		m.do(f)
	}
	if m.engine != nil {
		m.plan()
	}
}

// dropped reports whether an effect is not carried out because the journal has not what it depends on, as in package agent.
func (m *machine) dropped(failed []agent.JournalFailed, ef agent.Effect) bool {
	var ref message.Ref
	start := false
	switch ef := ef.(type) {
	case agent.Journal:
		ref = ef.Entry.Ref
	case agent.StartStep:
		ref, start = ef.Ref, true
	case agent.KillStep:
		ref = ef.Ref
	case agent.SendOutput:
		ref = ef.Ref
	case agent.DropOutput:
		ref = ef.Ref
	case agent.Send:
		switch b := ef.Body.(type) {
		case message.Report:
			ref = b.Ref
		case message.Ready:
			ref = b.Ref
		}
	}
	for i := range failed {
		if failed[i].Ref == ref {
			failed[i].NotStarted = failed[i].NotStarted || start
			return true
		}
	}
	return false
}

func (m *machine) carryOut(ef agent.Effect) {
	switch ef := ef.(type) {
	case agent.Remember:
		m.epoch = ef.Epoch
	case agent.Floor:
		m.floor = ef.At
	case agent.Journal:
		if was, ok := m.journal[ef.Entry.Ref]; ok {
			m.before[ef.Entry.Ref] = &was
		} else {
			m.before[ef.Entry.Ref] = nil
		}
		m.journal[ef.Entry.Ref] = ef.Entry
	case agent.Forget:
		m.forgot[ef.Ref] = m.journal[ef.Ref]
		delete(m.journal, ef.Ref)
	case agent.StartStep:
		m.startStep(ef)
	case agent.KillStep:
		for _, r := range m.running {
			if r.ref == ef.Ref && r.step == ef.Step && !r.dead {
				r.dead = true
				m.w.after(m.w.draw(4*time.Second), m.label("killed on"), func() { m.ended(r, action.Result{Status: message.Failed, ExitCode: -1}) })
			}
		}
	case agent.Send:
		m.post(&sent{ef.Kind, ef.Attempt, ef.NotBefore, ef.NotAfter, ef.Body})
	case agent.SendOutput:
		stream := 2 * ef.Step
		if ef.Stderr {
			stream++
		}
		m.post(&sent{message.KindOutput, ef.Attempt, ef.NotBefore, ef.NotAfter, piece{ef.Ref, stream, message.StreamID(ef.Step, ef.Stderr), ef.Offset, ef.Length}})
	case agent.DropOutput:
		for k := range m.spools {
			if k.ref == ef.Ref {
				delete(m.spools, k)
			}
		}
	case agent.Reboot:
		m.boot++
		m.crash()
	}
}

func (m *machine) post(s *sent) {
	p := m.line
	if p == nil {
		return
	}
	m.w.carry(label{kind: kinds[s.kind], node: m.i, plane: p.i, cmd: -1}, m, p, func() {
		if p.up {
			p.after(0, label{kind: "takes it of", node: m.i, plane: p.i, cmd: -1}, func() { p.receive(m, s) })
		}
	})
}

// startStep is the side effect itself: what happens here happened.
func (m *machine) startStep(ef agent.StartStep) {
	r := &running{ref: ef.Ref, step: ef.Step, reboots: ef.Reboots}
	m.running = append(m.running, r)
	_, written := m.journal[ef.Ref]
	m.w.check.started(m, r, written)
	res := action.Result{Status: message.Success}
	took := m.w.draw(time.Minute)
	switch x := m.w.rng.Float64(); {
	case x < m.w.cfg.Hanging:
		return
	case x < m.w.cfg.Hanging+m.w.cfg.Failing:
		res = action.Result{Status: message.Failed, ExitCode: 3}
	case x < m.w.cfg.Hanging+m.w.cfg.Failing+m.w.cfg.Reboots:
		res = action.Result{Flow: action.Reboot, ExitCode: 194}
	}
	switch m.w.rng.IntN(8) {
	case 0:
		m.spools[spoolKey{ef.Ref, ef.Step}] = m.w.rng.Int64N(200_000)
	case 1, 2:
		m.spools[spoolKey{ef.Ref, ef.Step}] = m.w.rng.Int64N(5_000)
	}
	m.w.after(took, m.label("step ends on"), func() { m.ended(r, res) })
}

func (m *machine) ended(r *running, res action.Result) {
	for i := range m.running {
		if m.running[i] != r {
			continue
		}
		m.running = append(m.running[:i], m.running[i+1:]...)
		m.w.check.stopped(m, r)
		m.do(agent.StepEnded{Ref: r.ref, Step: r.step, Reboots: r.reboots, Result: res, Stdout: output(m.spools[spoolKey{r.ref, r.step}])})
		return
	}
}

// crash kills the agent and, as a kill takes its children or a power cut does, what it ran.
func (m *machine) crash() {
	w := m.w
	w.res.NodeCrashes++
	w.note(m.label("agent dies on"))
	for _, r := range m.running {
		w.check.stopped(m, r)
	}
	m.engine, m.running = nil, nil
	m.timer++
	m.leave()
	if w.rng.Float64() < w.cfg.PowerCuts {
		m.boot++
		m.powerCut()
	}
	w.after(w.draw(2*time.Minute), m.label("agent begins on"), m.start)
}

// powerCut takes what was not synced: what was deleted may be there again, and outputs may be shorter.
func (m *machine) powerCut() {
	for _, c := range m.w.disk.commands {
		ref := message.Ref{Command: c.id, Attempt: 1}
		if e, ok := m.forgot[ref]; ok && m.w.rng.IntN(2) == 0 {
			m.journal[ref] = e
		}
		if was, ok := m.before[ref]; ok && m.w.cfg.plant == plantNoSync {
			if was == nil {
				delete(m.journal, ref)
			} else {
				m.journal[ref] = *was
			}
		}
		for s := range 2 {
			if k := (spoolKey{ref, s}); m.spools[k] > 0 && m.w.rng.IntN(2) == 0 {
				m.spools[k] = m.w.rng.Int64N(m.spools[k] + 1)
			}
		}
	}
	clear(m.forgot)
	clear(m.before)
}

func (m *machine) plan() {
	m.timer++
	gen := m.timer
	t, ok := m.engine.Next()
	if !ok {
		return
	}
	d := max(time.Duration(float64(t.Sub(m.local()))*(1-m.drift)), 0) + time.Microsecond
	m.w.after(d, m.label("tick"), func() {
		if gen == m.timer && m.engine != nil {
			m.do(agent.Tick{})
		}
	})
}

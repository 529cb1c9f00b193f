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
	w       *world
	id      string
	offset  time.Duration // of its clock
	drift   float64
	cut     bool // no message passes
	present bool // the control plane takes it for connected

	boot    int
	life    int
	engine  *agent.Engine
	timer   int
	journal map[message.Ref][]byte
	epoch   uint64
	spools  map[spoolKey]int64
	running []*running
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
	life    int
	dead    bool
}

func newMachine(w *world, i int) *machine {
	m := &machine{w: w, id: fmt.Sprintf("mi-%017x", i), journal: map[message.Ref][]byte{}, spools: map[spoolKey]int64{}, epoch: 1}
	if w.cfg.Skew > 0 {
		m.offset = time.Duration(w.rng.Int64N(int64(2*w.cfg.Skew))) - w.cfg.Skew
	}
	m.drift = (2*w.rng.Float64() - 1) * w.cfg.Drift
	w.after(time.Duration(w.rng.Int64N(int64(10*time.Second))), "start "+m.id, m.start)
	return m
}

// local is what the node's clock shows.
func (m *machine) local() time.Time {
	el := m.w.now.Sub(dawn)
	return m.w.now.Add(m.offset + time.Duration(float64(el)*m.drift))
}

// start starts the agent from its disk.
func (m *machine) start() {
	if m.engine != nil {
		return
	}
	m.life++
	var entries []agent.Entry
	var outs []agent.OutputOnDisk
	for _, id := range m.w.plane.order {
		b, ok := m.journal[message.Ref{Command: id, Attempt: 1}]
		if !ok {
			continue
		}
		var e agent.Entry
		if err := json.Unmarshal(b, &e); err != nil {
			panic(err)
		}
		entries = append(entries, e)
		for s := range e.Steps {
			if n := m.spools[spoolKey{e.Ref, s}]; n > 0 {
				outs = append(outs, agent.OutputOnDisk{Ref: e.Ref, Step: s, Stdout: output(n)})
			}
		}
	}
	m.engine = agent.NewEngine(agent.EngineConfig{Node: m.id, Session: fmt.Sprintf("%s-life%d", m.id, m.life), Capabilities: []string{"aws:runShellScript"}, Epoch: m.epoch, Unsigned: true}, entries)
	m.do(agent.Booted{BootID: fmt.Sprint("boot", m.boot), Outputs: outs})
	m.reconnect()
}

func output(n int64) agent.Output {
	return agent.Output{Head: make([]byte, min(n, agent.HeadStdout)), Size: n}
}

// reconnect is what a transport does after the line or the control plane was away.
func (m *machine) reconnect() {
	if m.engine == nil {
		return
	}
	m.w.after(time.Duration(m.w.rng.Int64N(int64(3*time.Second))), "connect "+m.id, func() {
		if m.engine != nil && !m.cut && m.w.plane.up {
			m.do(agent.Disconnected{})
			m.do(agent.Connected{})
		}
	})
}

func (m *machine) receive(env message.Envelope) {
	if m.engine == nil {
		return
	}
	if env.Kind == message.KindAck {
		m.checkAck(env)
	}
	m.do(agent.Received{Envelope: env})
}

// checkAck: what a node is told to forget must be safe.
func (m *machine) checkAck(env message.Envelope) {
	a := must[message.Ack](env)
	if d := m.w.plane.disk[a.Command]; a.Final && !d.invs[m.id].Detail.Terminal() {
		m.w.violated("%s was told to forget %s, which is stored as %s", m.id, a.Command, d.invs[m.id].Detail)
	}
}

// do steps the engine and carries its effects out; the agent may die before any of them.
func (m *machine) do(ev agent.Event) {
	if m.engine == nil {
		return
	}
	for _, ef := range m.engine.Step(m.local(), ev) {
		if m.w.chance(m.w.cfg.NodeCrashes) {
			m.crash()
			return
		}
		m.carryOut(ef)
		if m.engine == nil {
			return
		}
	}
	m.plan()
}

func (m *machine) carryOut(ef agent.Effect) {
	switch ef := ef.(type) {
	case agent.Remember:
		m.epoch = ef.Epoch
	case agent.Journal:
		b, err := json.Marshal(ef.Entry)
		if err != nil {
			panic(err)
		}
		m.journal[ef.Entry.Ref] = b
	case agent.Forget:
		delete(m.journal, ef.Ref)
	case agent.StartStep:
		m.startStep(ef)
	case agent.KillStep:
		for _, r := range m.running {
			if r.ref == ef.Ref && r.step == ef.Step && !r.dead {
				r.dead = true
				m.w.after(time.Duration(m.w.rng.Int64N(int64(4*time.Second))), "killed on "+m.id, func() {
					m.ended(r, action.Result{Status: message.Failed, ExitCode: -1})
				})
			}
		}
	case agent.Send:
		m.post(ef.Kind, ef.Attempt, ef.NotBefore, ef.NotAfter, ef.Body)
	case agent.SendOutput:
		m.post(message.KindOutput, ef.Attempt, ef.NotBefore, ef.NotAfter, message.Output{Ref: ef.Ref, Step: ef.Step, Stderr: ef.Stderr, Offset: ef.Offset, Data: make([]byte, ef.Length)})
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

func (m *machine) post(k message.Kind, attempt int, from, to time.Time, body any) {
	env := envelope(m.id, message.Controller, k, attempt, m.epoch, from, to, body)
	m.w.carry(fmt.Sprintf("%s from %s", k, m.id), m, func() {
		// The receiver refuses what is out of its time, with five minutes for clocks that differ.
		if m.w.now.Add(message.DefaultSkew).Before(env.NotBefore) || m.w.now.Add(-message.DefaultSkew).After(env.NotAfter) {
			m.w.note("out of time")
			return
		}
		m.w.plane.receive(m, env)
	})
}

// startStep is the side effect itself: what happens here happened.
func (m *machine) startStep(ef agent.StartStep) {
	m.w.res.Starts++
	k := startKey{ef.Command, m.id, ef.Step, ef.Reboots}
	m.w.starts[k]++
	if n := m.w.starts[k]; n > 1 {
		m.w.violated("step %d of %s started %d times on %s", ef.Step, ef.Command, n, m.id)
	}
	if _, ok := m.journal[ef.Ref]; !ok {
		m.w.violated("step %d of %s started on %s without a journal", ef.Step, ef.Command, m.id)
	}
	r := &running{ref: ef.Ref, step: ef.Step, reboots: ef.Reboots, life: m.life}
	m.running = append(m.running, r)
	if n, c := m.w.atWork(ef.Command), m.w.plane.disk[ef.Command].state.Concurrency; n > c {
		m.w.violated("%d nodes are at work on %s with MaxConcurrency %d", n, ef.Command, c)
	}
	res := action.Result{Status: message.Success}
	took := time.Duration(m.w.rng.Int64N(int64(time.Minute)))
	switch x := m.w.rng.Float64(); {
	case x < m.w.cfg.Hanging:
		return
	case x < m.w.cfg.Hanging+m.w.cfg.Failing:
		res = action.Result{Status: message.Failed, ExitCode: 3}
	case x < m.w.cfg.Hanging+m.w.cfg.Failing+m.w.cfg.Reboots:
		res = action.Result{Flow: action.Reboot, ExitCode: 194}
	}
	if m.w.rng.IntN(3) == 0 {
		m.spools[spoolKey{ef.Ref, ef.Step}] = m.w.rng.Int64N(200_000)
	}
	m.w.after(took, "step ends on "+m.id, func() { m.ended(r, res) })
}

func (m *machine) ended(r *running, res action.Result) {
	at := -1
	for i := range m.running {
		if m.running[i] == r {
			at = i
		}
	}
	if at < 0 {
		return
	}
	m.running = append(m.running[:at], m.running[at+1:]...)
	m.do(agent.StepEnded{Ref: r.ref, Step: r.step, Reboots: r.reboots, Result: res, Stdout: output(m.spools[spoolKey{r.ref, r.step}])})
}

// crash kills the agent and, as a kill takes its children or a power cut does, what it ran.
func (m *machine) crash() {
	m.w.res.NodeCrashes++
	m.w.note("agent dies on " + m.id)
	m.engine, m.running = nil, nil
	m.timer++
	if m.w.rng.Float64() < m.w.cfg.PowerCuts {
		m.boot++
	}
	m.w.after(time.Duration(m.w.rng.Int64N(int64(2*time.Minute))), "start "+m.id, m.start)
}

func (m *machine) plan() {
	m.timer++
	gen := m.timer
	t, ok := m.engine.Next()
	if !ok {
		return
	}
	d := max(time.Duration(float64(t.Sub(m.local()))*(1-m.drift)), 0) + time.Microsecond
	m.w.after(d, "tick "+m.id, func() {
		if gen == m.timer && m.engine != nil {
			m.do(agent.Tick{})
		}
	})
}

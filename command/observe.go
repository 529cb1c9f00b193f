package command

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
)

// What is told to Config.Observer: nothing before it is durable, and nothing under the ownership of a command but a few numbers.

// standing is how a command stands, for who asks from outside its actor.
type standing struct {
	pending, offered, delayed, running atomic.Int64
	oldest                             atomic.Int64 // Unix nanoseconds; 0 when nothing waits
	troubled                           atomic.Bool  // its last commit failed
}

// set takes the engine's numbers.
func (st *standing) set(e *Engine) {
	pending := 0
	if e.Closing == "" {
		pending = e.N - e.Turn - e.ahead()
	}
	st.pending.Store(int64(pending))
	st.offered.Store(int64(e.Offered))
	st.delayed.Store(int64(e.Delayed))
	st.running.Store(int64(e.Running))
	at := int64(0)
	if since, ok := e.Oldest(); ok {
		at = since.UnixNano()
	}
	st.oldest.Store(at)
}

// Gauge adds how the commands that are owned here stand to g, from what their owners noted last: it waits for nothing. Without Config.Observer only Commands is counted.
func (s *Service) Gauge(g *observe.Gauges) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	for _, sh := range s.owned {
		g.Foreign += len(sh.foreign)
	}
	for k, a := range s.actors {
		st := &a.stands
		g.Commands++
		g.Pending += int(st.pending.Load())
		g.Outbox += int(st.offered.Load() + st.delayed.Load())
		g.Delayed += int(st.delayed.Load())
		g.Running += int(st.running.Load())
		if st.troubled.Load() {
			g.Unwritten++
		}
		if at := st.oldest.Load(); at != 0 {
			if age := now.Sub(time.Unix(0, at)); age > g.Oldest || g.OldestIn == "" {
				g.Oldest, g.OldestIn = max(0, age), k.id
			}
		}
	}
}

func (s *Service) tellSend(ctx context.Context, start time.Time, c *Command, err error) {
	e := observe.Event{Kind: observe.Send, Label: "ok", Start: start, End: s.cfg.Now(), Err: err, Tenant: access.Tenant(ctx)}
	if err != nil {
		e.Label = fault.KindOf(err).String()
	} else {
		e.Command, e.N = c.ID, c.TargetCount
	}
	s.cfg.Observer.Observe(ctx, e)
}

func (a *actor) event(k observe.Kind, node string, attempt int, start, end time.Time) observe.Event {
	return observe.Event{Kind: k, Start: start, End: end, Tenant: a.key.tenant, Command: a.key.id, Node: node, Attempt: attempt}
}

// tellHeard collects the nodes that answered.
func (a *actor) tellHeard(to *[]observe.Event) {
	for _, d := range a.engine.heard {
		*to = append(*to, a.event(observe.Deliver, d.node, d.attempt, d.from, d.at))
	}
}

// tellEnd collects an invocation that ended. One that was cancelled before its turn began when it ended.
func (a *actor) tellEnd(to *[]observe.Event, inv *Invocation) {
	start := inv.OfferedAt
	if start.IsZero() {
		start = inv.DoneAt
	}
	e := a.event(observe.Invocation, inv.Node, inv.Attempt, start, inv.DoneAt)
	e.Label = string(inv.Detail)
	*to = append(*to, e)
}

// tellOver collects the end of the command.
func (a *actor) tellOver(to *[]observe.Event, st *State) {
	e := a.event(observe.Command, "", 0, st.RequestedAt, st.EndedAt)
	e.Label, e.N = string(st.Detail()), st.N
	*to = append(*to, e)
}

// told tells what became durable.
func (a *actor) told(ctx context.Context, f *flush) {
	if len(f.sends) > 0 && !a.dispatched {
		a.dispatched = true
		a.s.cfg.Observer.Observe(ctx, a.event(observe.Dispatch, "", 0, f.state.RequestedAt, a.s.cfg.Now()))
	}
	for i := range f.tell {
		a.s.cfg.Observer.Observe(ctx, f.tell[i])
	}
}

// tellSent tells of a message that was handed over, or was not.
func (a *actor) tellSent(ctx context.Context, m *Send, err error) {
	a.s.tellMessage(ctx, a.key.tenant, a.key.id, m.Node, m.Kind, err)
}

func (s *Service) tellMessage(ctx context.Context, tenant, id, node string, k message.Kind, err error) {
	s.cfg.Observer.Observe(ctx, observe.Event{Kind: observe.Message, Label: string(k), Err: err, Tenant: tenant, Command: id, Node: node})
}

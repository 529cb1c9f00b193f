package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
)

// Gauges returns how the agent was after its last event, and how its disk is now. It may be called at any time and waits for nothing.
func (a *Agent) Gauges() observe.NodeGauges {
	h := a.Health()
	return observe.NodeGauges{Connected: h.Connected, Synced: h.Synced, JournalFails: h.JournalFails, Running: h.Running, Queued: h.Queued, Unacknowledged: h.Unacknowledged,
		Tombstones: h.Tombstones, SpoolBytes: h.Spooled, DiskFree: free(a.cfg.Node.Dir), Epoch: h.Epoch}
}

// teller tells Config.Observer and the log what the journal has: a step or a document has ended once that is durable. It belongs to the loop, but for refused.
type teller struct {
	o            observe.Observer // never nil
	log          *slog.Logger
	now          func() time.Time
	tenant, node string
	here         bool
	known        map[message.Ref]*progress
}

// progress is what was told of a command.
type progress struct {
	steps  int // how many from the first on
	ended  bool
	report bool
}

// newTeller returns the teller of an agent whose journal has the entries; what they have of ends was told by an earlier life, or is lost.
func newTeller(cfg *Config, log *slog.Logger, entries []Entry) *teller {
	t := &teller{o: cfg.Observer, log: log, now: cfg.Now, tenant: cfg.Node.Tenant, node: cfg.Node.ID, known: map[message.Ref]*progress{}}
	if t.o == nil {
		t.o = silent{}
	}
	for i := range entries {
		e := &entries[i]
		if e.Run == nil {
			continue
		}
		p := &progress{ended: e.terminal(), report: e.Final}
		for p.steps < len(e.Steps) && e.Steps[p.steps].Status.Terminal() {
			p.steps++
		}
		t.known[e.Ref] = p
	}
	return t
}

// silent tells nobody.
type silent struct{}

func (silent) Observe(context.Context, observe.Event) {}

// say writes a line of a command's story into the log.
func (t *teller) say(ctx context.Context, e *Entry, text string, attrs ...slog.Attr) {
	t.log.LogAttrs(ctx, slog.LevelInfo, text, append([]slog.Attr{slog.String("command", e.Command), slog.Int("attempt", e.Attempt)}, attrs...)...)
}

func (t *teller) event(k observe.Kind, ref message.Ref, label string, start, end time.Time) observe.Event {
	return observe.Event{Kind: k, Label: label, Start: start, End: end, Tenant: t.tenant, Command: ref.Command, Node: t.node, Attempt: ref.Attempt}
}

// journal puts an entry into the journal and tells of it, and of what it has that is new.
func (t *teller) journal(ctx context.Context, s Store, e *Entry) error {
	start := t.now()
	err := s.Put(e)
	ev := t.event(observe.Journal, e.Ref, "", start, t.now())
	ev.Err = err
	t.o.Observe(ctx, ev)
	if err == nil {
		t.tell(ctx, e)
	}
	return err
}

func (t *teller) tell(ctx context.Context, e *Entry) {
	p := t.known[e.Ref]
	switch {
	case p != nil:
	case e.Run == nil:
		return // it was cancelled before it came, or is long over
	default:
		p = &progress{}
		t.known[e.Ref] = p
		t.say(ctx, e, "command accepted", slog.String("document", fault.Clean(e.Run.DocumentName)), slog.Int("steps", len(e.Steps)))
	}
	for ; p.steps < len(e.Steps) && e.Steps[p.steps].Status.Terminal(); p.steps++ {
		if s := &e.Steps[p.steps]; !s.Started.IsZero() && !s.Ended.IsZero() {
			ev := t.event(observe.Step, e.Ref, string(s.Status), s.Started, s.Ended)
			ev.Step, ev.Name = p.steps, s.Name
			t.o.Observe(ctx, ev)
		}
	}
	if e.terminal() && !p.ended {
		p.ended = true
		t.say(ctx, e, "command ended", slog.String("details", string(e.Detail)), slog.Int("exitCode", e.ExitCode))
		start := e.Started
		if start.IsZero() { // it never began
			start = e.Ended
		}
		t.o.Observe(ctx, t.event(observe.Run, e.Ref, string(e.Detail), start, e.Ended))
	}
	if e.Final && !p.report {
		p.report = true
		t.say(ctx, e, "command reported: the control plane has the result")
		t.o.Observe(ctx, t.event(observe.Report, e.Ref, "", e.Ended, t.now()))
	}
	if e.Run == nil {
		delete(t.known, e.Ref)
	}
}

// connected tells when the connection came or went.
func (t *teller) connected(ctx context.Context, here bool) {
	if t.here == here {
		return
	}
	t.here = here
	label := "disconnected"
	if here {
		label = "connected"
	}
	t.o.Observe(ctx, observe.Event{Kind: observe.Connect, Label: label, Tenant: t.tenant, Node: t.node})
}

// refused tells of a message that was not for this node, or not by the control plane. It may be called at any time.
func (t *teller) refused(ctx context.Context, err error) {
	t.o.Observe(ctx, observe.Event{Kind: observe.Refuse, Err: err, Tenant: t.tenant, Node: t.node})
}

package command

import (
	"context"
	"log/slog"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// What the log has of a command, so that one who greps for its id can read how it went. At Info a bounded number of lines, however many nodes it has: accepted, the first nodes asked, how far it
// is (at most every tenth of its nodes and every followEvery), why nothing more starts, ended. At Debug a line for each step that an invocation takes, with its node. Nothing that a
// request, a document or a node wrote is among it but names.

// followEvery is how far apart lines about progress are at least.
const followEvery = 10 * time.Second

// line is one about an invocation.
type line struct {
	node   string
	phase  Phase
	detail message.Detail
	seq    uint64
}

func lineOf(inv *Invocation) line { return line{inv.Node, inv.Phase, inv.Detail, inv.Seq} }

func (l *line) text() string {
	switch l.phase {
	case PhaseOffered:
		return "the node is asked"
	case PhaseDelayed:
		return "the node does not answer"
	case PhaseDelivered:
		if l.seq == 0 {
			return "the node takes the command"
		}
		return "the node reports"
	}
	return "invocation ended"
}

// followed is what was said of a command.
type followed struct {
	began, closing bool
	tenth          int
	at             time.Time
}

// accepted says that a command is durable.
func (s *Service) accepted(ctx context.Context, tenant string, r *record, st *State) {
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "command accepted", slog.String("command", r.ID), slog.String("tenant", tenant), slog.String("document", fault.Clean(r.Request.DocumentName)),
		slog.Int("targets", st.N), slog.Int("concurrency", st.Concurrency), slog.Int("maxErrors", st.ErrorLimit), slog.Time("expires", st.ExpiresAt))
}

// follow says what became durable.
func (a *actor) follow(ctx context.Context, f *flush) {
	st, said := &f.state, &a.followed
	if !f.commit || st.ID == "" {
		return
	}
	now := a.s.cfg.Now()
	if said.at.IsZero() { // what an owner before this one has said is not said again
		said.began, said.closing, said.tenth, said.at = a.dispatchedBefore, false, 10*st.Counts.Done()/max(1, st.N), now
	}
	if !said.began && st.Turn > 0 {
		said.began = true
		a.log.Info("command began: the first nodes are asked", "turn", st.Turn, "targets", st.N)
	}
	for i := range f.lines {
		l := &f.lines[i]
		a.log.LogAttrs(ctx, slog.LevelDebug, l.text(), slog.String("node", l.node), slog.String("details", string(l.detail)))
	}
	if st.Closing != "" && !said.closing {
		said.closing = true
		a.log.Info("command closes: nothing more starts", "why", st.Closing, "errors", st.Counts.Errors(), "maxErrors", st.ErrorLimit, "ended", st.Counts.Done(), "running", st.Running)
	}
	if tenth := 10 * st.Counts.Done() / max(1, st.N); tenth > said.tenth && !f.ended && now.Sub(said.at) >= followEvery {
		said.tenth, said.at = tenth, now
		a.log.Info("command goes on", "ended", st.Counts.Done(), "targets", st.N, "running", st.Running, "delayed", st.Delayed, "errors", st.Counts.Errors())
	}
	if f.ended {
		d := st.Detail()
		a.log.Info("command ended", "status", d.Status(), "details", d, "targets", st.N, "errors", st.Counts.Errors())
	}
}

package command

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Update is one step of a command's story: what changed in one transaction, or a part of it when that is much.
type Update struct {
	Cursor  uint64    // Events goes on after it
	At      time.Time // by the control plane's clock
	Command Progress  // after the change
	Changes []Change  // of invocations; those that ended without ever being offered the command are only counted in Command, and a first offer is no change: it was Pending and is
}

// Progress is what a command had come to.
type Progress struct {
	Status    message.Status `json:"status"`
	Detail    message.Detail `json:"detail"`
	Targets   int            `json:"targets"`
	Completed int            `json:"completed"`
	Errors    int            `json:"errors"`
	Running   int            `json:"running"`
	Delayed   int            `json:"delayed,omitempty"`
	Done      bool           `json:"done,omitempty"` // every invocation has ended: this is the last update
}

// Change is what became of one invocation.
type Change struct {
	Node     string         `json:"node"`
	Detail   message.Detail `json:"detail"`
	Reason   string         `json:"reason,omitempty"`
	ExitCode int            `json:"exitCode"`
	Step     int            `json:"step,omitempty"`     // the step that runs or ran last, from 1; 0 before the first
	Steps    int            `json:"steps,omitempty"`    // how many there are
	StepName string         `json:"stepName,omitempty"` // of Step
	Elapsed  time.Duration  `json:"elapsed,omitempty"`  // by the node's clock, once it ended
	Line     string         `json:"line,omitempty"`     // first line of output, once it ended
}

const (
	eventKind = "command"
	// eventBytes is about how large an event becomes; the changes of a large transaction are told in several.
	eventBytes = 24 << 10
	// eventPage is how many events one look reads.
	eventPage = 64
)

type eventData struct {
	Command Progress `json:"command"`
	Changes []Change `json:"changes,omitempty"`
}

func topic(tenant, id string) key.K { return space(tenant, "event").Str(id) }

func progress(st *State) Progress {
	d := st.Detail()
	return Progress{Status: d.Status(), Detail: d, Targets: st.N, Completed: st.Counts.Done(), Errors: st.Counts.Errors(), Running: st.Running, Delayed: st.Delayed, Done: st.Done()}
}

func change(inv *Invocation) Change {
	c := Change{Node: inv.Node, Detail: inv.Detail, Reason: cut(inv.Reason, 200), ExitCode: inv.ExitCode, Steps: len(inv.Steps)}
	for i := range inv.Steps {
		if st := &inv.Steps[i]; st.Status != message.Pending && st.Status != "" {
			c.Step, c.StepName = i+1, cut(st.Name, maxStepName)
		}
	}
	if inv.Phase == PhaseDone {
		c.Line = Line(inv.Steps)
		if !inv.Started.IsZero() && !inv.Ended.IsZero() {
			c.Elapsed = max(0, inv.Ended.Sub(inv.Started))
		}
	}
	return c
}

// Line returns the line of output that says most: of the first step that failed its first line of stderr, else of stdout; when none failed, or it wrote nothing, the
// first line of stdout of the first step that wrote any, else of stderr.
func Line(steps []message.StepReport) string {
	for i := range steps {
		if st := steps[i].Status; st == message.Failed || st == message.TimedOut {
			if l := firstLine(steps[i].Stderr.Head); l != "" {
				return l
			}
			if l := firstLine(steps[i].Stdout.Head); l != "" {
				return l
			}
			break
		}
	}
	for i := range steps {
		if l := firstLine(steps[i].Stdout.Head); l != "" {
			return l
		}
	}
	for i := range steps {
		if l := firstLine(steps[i].Stderr.Head); l != "" {
			return l
		}
	}
	return ""
}

// teller makes the events of a change, few of them, however many invocations changed together.
type teller struct {
	now   time.Time
	parts [][]byte // lists of changes, without what the command has come to, which is known at the end
	buf   encoder
}

func (t *teller) add(inv *Invocation) {
	if inv.Phase == PhaseOffered && inv.AskedAt.Equal(inv.OfferedAt) {
		return // it was Pending and is
	}
	if t.buf.b == nil {
		t.buf.b = make([]byte, 0, eventBytes+2<<10)
	}
	if len(t.buf.b) > 0 {
		t.buf.b = append(t.buf.b, ',')
	}
	c := change(inv)
	t.buf.change(&c)
	if len(t.buf.b) > eventBytes {
		t.parts, t.buf.b = append(t.parts, t.buf.b), nil
	}
}

// end returns the events. The last one alone says that the command is done.
func (t *teller) end(st *State) []feed.Event {
	if len(t.buf.b) > 0 || len(t.parts) == 0 {
		t.parts = append(t.parts, t.buf.b)
	}
	p := progress(st)
	last, err := json.Marshal(p)
	if err != nil {
		return nil // a Progress always has its JSON
	}
	p.Done = false
	others, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	events := make([]feed.Event, len(t.parts))
	for i, changes := range t.parts {
		head := others
		if i == len(t.parts)-1 {
			head = last
		}
		b := make([]byte, 0, len(head)+len(changes)+32)
		b = append(append(b, `{"command":`...), head...)
		if len(changes) > 0 {
			b = append(append(append(b, `,"changes":[`...), changes...), ']')
		}
		events[i] = feed.Event{Time: t.now, Kind: eventKind, Data: append(b, '}')}
	}
	return events
}

// Events yields a command's story from behind the cursor (0 is the beginning), live, until the command ended, the caller stops, or ctx ends (one error). Nothing is missed and
// nothing comes twice; a slow caller holds up nobody. It needs ssm:ListCommandInvocations. Error: InvalidCommandId, also when the command is removed meanwhile.
func (s *Service) Events(ctx context.Context, id string, cursor uint64) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		const op = "command.Events"
		if err := s.may(ctx, op, "ssm:ListCommandInvocations", id); err != nil {
			yield(Update{}, err)
			return
		}
		tenant := access.Tenant(ctx)
		var events []feed.Event
		for ended, err := range s.watch(ctx, op, tenant, id, func(ctx context.Context, r store.Reader) (more bool, err error) {
			events, err = s.feed.Read(ctx, r, topic(tenant, id), cursor, eventPage)
			return len(events) > 0, err
		}) {
			if err != nil {
				yield(Update{}, err)
				return
			}
			for _, e := range events {
				var d eventData
				if err := json.Unmarshal(e.Data, &d); err != nil {
					yield(Update{}, fault.New(op, fault.DataCorrupt, "event %d of command %s cannot be read: %w", e.Seq, id, err))
					return
				}
				if !yield(Update{Cursor: e.Seq, At: e.Time, Command: d.Command, Changes: d.Changes}, nil) || d.Command.Done {
					return
				}
				cursor = e.Seq
			}
			if ended && len(events) == 0 {
				return
			}
		}
	}
}

// watch looks at a command whenever its story goes on, with a View of its own each time, and yields whether it has ended. look runs inside the View; while it returns more, the next look
// follows at once. After an error nothing follows.
func (s *Service) watch(ctx context.Context, op, tenant, id string, look func(ctx context.Context, r store.Reader) (more bool, err error)) iter.Seq2[bool, error] {
	return func(yield func(bool, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		changed, err := store.Watch(ctx, s.cfg.Store, topic(tenant, id)) // before the first look, so that nothing falls between
		if err != nil {
			yield(false, wrap(op, err))
			return
		}
		for {
			var more, ended bool
			err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
				st, err := s.states.Get(ctx, r, stateKey(tenant, id))
				if errors.Is(err, store.ErrNotFound) {
					return unknownCommand(op, id)
				}
				if err != nil {
					return err
				}
				ended = st.Done()
				more, err = look(ctx, r)
				return err
			})
			if err != nil {
				yield(false, wrap(op, err))
				return
			}
			if !yield(ended, nil) {
				return
			}
			if more {
				continue
			}
			select {
			case <-ctx.Done():
				yield(false, wrap(op, ctx.Err()))
				return
			case <-changed:
			}
		}
	}
}

// Wait returns the command when it has ended, or ctx's error. It needs the rights of Events and Get.
func (s *Service) Wait(ctx context.Context, id string) (Command, error) {
	const op = "command.Wait"
	for _, action := range []string{"ssm:ListCommandInvocations", "ssm:ListCommands"} {
		if err := s.may(ctx, op, action, id); err != nil {
			return Command{}, err
		}
	}
	for ended, err := range s.watch(ctx, op, access.Tenant(ctx), id, func(context.Context, store.Reader) (bool, error) { return false, nil }) {
		if err != nil {
			return Command{}, err
		}
		if ended {
			break
		}
	}
	return s.Get(ctx, id)
}

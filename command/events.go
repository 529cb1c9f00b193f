package command

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Update is one step of a command's story: what changed in one transaction.
type Update struct {
	Cursor  uint64    // Events goes on after it
	At      time.Time // by the control plane's clock
	Command Progress  // after the change
	Changes []Change  // of invocations; those that ended without ever being offered the command are only counted in Command
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
	eventKind       = "command"
	changesPerEvent = 64 // keeps an event below the feed's limit, however long reasons and lines are
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
			c.Step, c.StepName = i+1, cut(st.Name, 128)
		}
	}
	if inv.Phase == PhaseDone {
		c.Line = Line(inv.Steps)
		if !inv.Started.IsZero() && !inv.Ended.IsZero() {
			c.Elapsed = inv.Ended.Sub(inv.Started)
		}
	}
	return c
}

// Line returns the first line of output of the steps: stdout of the first step that wrote any, else stderr.
func Line(steps []message.StepReport) string {
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

// publish writes the story of a change into its transaction, in batches, so that a thousand invocations that changed together cost a few records.
func (s *Service) publish(ctx context.Context, tx store.Tx, tenant string, st *State, invs []Invocation) error {
	var events []feed.Event
	p := progress(st)
	for first := true; first || len(invs) > 0; first = false {
		n := min(len(invs), changesPerEvent)
		d := eventData{Command: p}
		d.Command.Done = p.Done && n == len(invs)
		for i := range invs[:n] {
			d.Changes = append(d.Changes, change(&invs[i]))
		}
		invs = invs[n:]
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		events = append(events, feed.Event{Time: s.cfg.Now(), Kind: eventKind, Data: b})
	}
	_, err := s.feed.Append(ctx, tx, topic(tenant, st.ID), events...)
	return err
}

// Events yields a command's story from behind the cursor (0 is the beginning), live, until the command ended, the caller stops, or ctx ends (one error). Nothing is missed and
// nothing comes twice. It needs ssm:ListCommandInvocations. Error: InvalidCommandId.
func (s *Service) Events(ctx context.Context, id string, cursor uint64) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		const op = "command.Events"
		if err := s.check(ctx, "ssm:ListCommandInvocations", "command/"+id); err != nil {
			yield(Update{}, unknownIfDenied(op, id, err))
			return
		}
		tenant := access.Tenant(ctx)
		done := false
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			_, st, err := s.read(ctx, r, op, tenant, id)
			if err != nil || !st.Done() {
				return err
			}
			last, err := s.feed.Last(ctx, r, topic(tenant, id))
			done = last <= cursor
			return err
		})
		if err != nil || done {
			if err != nil {
				yield(Update{}, fault.Wrap(op, err))
			}
			return
		}
		for e, err := range s.feed.Subscribe(ctx, s.cfg.Store, topic(tenant, id), cursor) {
			if err != nil {
				yield(Update{}, fault.Wrap(op, err))
				return
			}
			var d eventData
			if err := json.Unmarshal(e.Data, &d); err != nil {
				yield(Update{}, fault.New(op, fault.DataCorrupt, "event %d of command %s cannot be read: %w", e.Seq, id, err))
				return
			}
			if !yield(Update{Cursor: e.Seq, At: e.Time, Command: d.Command, Changes: d.Changes}, nil) || d.Command.Done {
				return
			}
		}
	}
}

// Wait returns the command when it has ended, or ctx's error. It needs the rights of Events and Get.
func (s *Service) Wait(ctx context.Context, id string) (Command, error) {
	for _, err := range s.Events(ctx, id, 0) {
		if err != nil {
			return Command{}, err
		}
	}
	return s.Get(ctx, id)
}

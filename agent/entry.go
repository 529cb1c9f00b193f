package agent

import (
	"bytes"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/message"
)

// Entry is what a node's journal holds of one attempt of one command: all that must outlive a crash. An entry without a Run is a tombstone: the
// reference ended, or was cancelled before it came, and must never start.
type Entry struct {
	message.Ref
	Run     *message.Run `json:"run,omitempty"`
	Arrived time.Time    `json:"arrived"` // by the node's clock
	Expires time.Time    `json:"expires"` // by the control plane's clock: Run.ExpiresAt; of a cancel for an unknown reference, when no Run can be valid any more

	Life time.Duration `json:"life,omitempty"` // how long Expires was away when it arrived; 0 in entries of a release that did not note it

	Seq      uint64         `json:"seq"` // of the newest report
	Detail   message.Detail `json:"detail"`
	Reason   string         `json:"reason,omitempty"`
	ExitCode int            `json:"exitCode"`
	Started  time.Time      `json:"started,omitzero"`
	Ended    time.Time      `json:"ended,omitzero"`
	Steps    []StepEntry    `json:"steps,omitempty"`

	Cancel bool   `json:"cancel,omitempty"` // a cancel came
	Final  bool   `json:"final,omitempty"`  // the control plane has the terminal report
	Boot   string `json:"boot,omitempty"`   // the machine's boot id when a step was last started, or when a reboot was asked for
	Reboot bool   `json:"reboot,omitempty"` // the step in progress asked for a reboot and waits for a new boot id
	Asked  int    `json:"asked,omitempty"`  // how often the agent asked the machine for this reboot
}

// StepEntry is one step of an Entry.
type StepEntry struct {
	message.StepReport
	Exit  bool     `json:"exit,omitempty"` // the step ended the document
	Acked [2]int64 `json:"acked,omitzero"` // bytes of stdout and stderr that the control plane has
}

// terminal reports whether the entry's last report is terminal.
func (e *Entry) terminal() bool { return e.Detail.Terminal() }

// begun reports whether any step ever started or was decided.
func (e *Entry) begun() bool { return len(e.Steps) > 0 && e.Steps[0].Status != message.Pending }

// uploaded reports whether the control plane has all output that travels in pieces.
func (e *Entry) uploaded() bool {
	for i := range e.Steps {
		for err := range 2 {
			if s := e.Steps[i].stream(err); s.InPieces && e.Steps[i].Acked[err] < s.Size {
				return false
			}
		}
	}
	return true
}

// tombstone returns the entry without what only a running command needs.
func (e *Entry) tombstone() Entry {
	t := e.stored()
	t.Run = nil
	return t
}

// stored returns the entry as the journal keeps it: without the heads of outputs, which lie in the spools.
func (e *Entry) stored() Entry {
	c := e.clone()
	for i := range c.Steps {
		c.Steps[i].Stdout.Head, c.Steps[i].Stderr.Head = "", ""
	}
	return c
}

// clone returns a copy that shares nothing that changes.
func (e *Entry) clone() Entry {
	c := *e
	c.Steps = slices.Clone(e.Steps)
	return c
}

// report returns the whole state as a report.
func (e *Entry) report() message.Report {
	r := message.Report{Ref: e.Ref, Seq: e.Seq, Detail: e.Detail, Reason: e.Reason, ExitCode: e.ExitCode, Started: e.Started, Ended: e.Ended}
	for i := range e.Steps {
		r.Steps = append(r.Steps, e.Steps[i].StepReport)
	}
	return r
}

// outcomes returns how the steps ended that have, in order.
func (e *Entry) outcomes() []action.Outcome {
	var out []action.Outcome
	for i := range e.Steps {
		s := &e.Steps[i]
		if !s.Status.Terminal() {
			break
		}
		out = append(out, action.Outcome{Status: s.Status, ExitCode: s.ExitCode, Exit: s.Exit, Reason: s.Reason})
	}
	return out
}

func (s *StepEntry) stream(err int) *message.Stream {
	if err == 1 {
		return &s.Stderr
	}
	return &s.Stdout
}

// compareRefs orders references.
func compareRefs(a, b message.Ref) int {
	if c := bytes.Compare([]byte(a.Command), []byte(b.Command)); c != 0 {
		return c
	}
	return a.Attempt - b.Attempt
}

func sortRefs(refs []message.Ref) { slices.SortFunc(refs, compareRefs) }

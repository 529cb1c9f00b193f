package command

import (
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// Phase is how far the delivery of an invocation is; it is finer than AWS's status.
type Phase string

// The phases.
const (
	PhaseOffered   Phase = "offered"   // asked whether it can take the command; holds a slot
	PhaseDelayed   Phase = "delayed"   // did not answer; holds no slot, and cannot start before it answers and a slot is free
	PhaseDelivered Phase = "delivered" // answered Ready: may run; holds a slot
	PhaseDone      Phase = "done"
)

// Invocation is one command on one node, as it is stored. It is made when the node's turn comes; until then it is Pending.
type Invocation struct {
	Node        string               `json:"node"`
	Attempt     int                  `json:"attempt"`
	Phase       Phase                `json:"phase"`
	Detail      message.Detail       `json:"detail"`
	Reason      string               `json:"reason,omitempty"`   // why it ended so, for a person
	ExitCode    int                  `json:"exitCode"`           // -1 before anything ended
	OfferedAt   time.Time            `json:"offeredAt,omitzero"` // when its turn came; the delivery timeout counts from here
	AskedAt     time.Time            `json:"askedAt,omitzero"`   // when it took the slot for the newest offer
	DeliveredAt time.Time            `json:"deliveredAt,omitzero"`
	Started     time.Time            `json:"started,omitzero"` // by the node's clock
	Ended       time.Time            `json:"ended,omitzero"`   // by the node's clock
	DoneAt      time.Time            `json:"doneAt,omitzero"`  // when this control plane recorded the end
	Seq         uint64               `json:"seq,omitempty"`    // of the newest report
	Cancelling  bool                 `json:"cancelling,omitempty"`
	Overdue     bool                 `json:"overdue,omitempty"` // it is Cancelling because the command's deadline passed
	Steps       []message.StepReport `json:"steps,omitempty"`
	StepsApart  bool                 `json:"stepsApart,omitempty"` // Steps has first lines only; the heads of the output lie in records of their own
	Late        *Late                `json:"late,omitempty"`

	apart []head // with StepsApart: what the records of their own are to hold, if it changed
}

// Late is a result that came after the invocation had ended: evidence, which changes no status.
type Late struct {
	At       time.Time      `json:"at"`
	Detail   message.Detail `json:"detail"`
	ExitCode int            `json:"exitCode"`
}

// head is the beginning of one step's output, when it is not in the invocation's record.
type head struct {
	Step   int    `json:"step"`
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
}

const (
	// inlineHeads is how many bytes of output an invocation's record holds itself; more lies in records of their own, so that lists stay quick and
	// who owns a command keeps little of its output in memory.
	inlineHeads = 2 << 10
	// lineBytes bounds the first line that is kept of output that lies apart, and lineTotal those of all steps together.
	lineBytes = 200
	lineTotal = 24 << 10
)

// take makes the steps of a report the invocation's.
func (inv *Invocation) take(steps []message.StepReport) {
	n := 0
	for i := range steps {
		n += len(steps[i].Stdout.Head) + len(steps[i].Stderr.Head)
	}
	inv.Steps, inv.StepsApart, inv.apart = steps, n > inlineHeads, nil
	if !inv.StepsApart {
		return
	}
	inv.Steps = make([]message.StepReport, len(steps))
	left := lineTotal
	line := func(text string) string {
		text = firstLine(text)
		if left -= quotedLen(text); left < 0 {
			return ""
		}
		return text
	}
	for i, st := range steps {
		if st.Stdout.Head != "" || st.Stderr.Head != "" {
			inv.apart = append(inv.apart, head{i, st.Stdout.Head, st.Stderr.Head})
		}
		st.Stdout.Head, st.Stderr.Head = line(st.Stdout.Head), line(st.Stderr.Head)
		inv.Steps[i] = st
	}
}

// firstLine returns the beginning of text up to its first line feed, at most lineBytes bytes of whole runes.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return cut(line, lineBytes)
}

// weight is how many bytes writing the invocation takes at most, with its key, what lies apart and its event.
func (inv *Invocation) weight() int {
	n := 900 + 3*len(inv.Node) + 2*quotedLen(inv.Reason)
	for i := range inv.Steps {
		n += stepLen(&inv.Steps[i])
	}
	for i := range inv.apart {
		n += 64 + quotedLen(inv.apart[i].Stdout) + quotedLen(inv.apart[i].Stderr)
	}
	return n
}

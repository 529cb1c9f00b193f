package automation

import (
	"time"
)

// Event is what happens to an execution. At most one field is set; the empty Event only lets time pass. Before an event is applied, everything that was due
// by then happens, so that an answer which comes after its step's deadline finds the step TimedOut.
type Event struct {
	Begin    bool      `json:"begin,omitempty"` // it may start: there is room
	Result   *Result   `json:"result,omitempty"`
	Resolved *Resolved `json:"resolved,omitempty"`
	Child    *ChildEnd `json:"child,omitempty"`
	Signal   *Signal   `json:"signal,omitempty"`
	Stop     *Stop     `json:"stop,omitempty"`
}

// Result is how a call ended. One of another attempt, or of a step that has ended, changes nothing.
type Result struct {
	StepID  string   `json:"stepId"`
	Attempt int      `json:"attempt"`
	Look    int      `json:"look,omitempty"`    // of aws:waitForAwsResourceProperty: as in the effect
	Output  any      `json:"output,omitempty"`  // what the action answered: a map from AWS's names
	Failure *Failure `json:"failure,omitempty"` // it did not succeed

	// Outputs are the step's outputs, read out of an answer that is too large to be kept.
	Outputs map[string]any `json:"outputs,omitempty"`
}

// Resolved answers a Resolve.
type Resolved struct {
	StepID   string     `json:"stepId,omitempty"`   // "" is the execution's own targets
	Values   []string   `json:"values,omitempty"`   // of the target parameter, one a child
	Accounts [][]string `json:"accounts,omitempty"` // for each location its accounts, organizational units resolved
	Failure  *Failure   `json:"failure,omitempty"`
}

// ChildEnd says that a child execution has ended.
type ChildEnd struct {
	StepID  string   `json:"stepId,omitempty"` // "" is a child of the execution's own targets
	ID      string   `json:"id"`
	Status  Status   `json:"status"`
	Outputs []string `json:"outputs,omitempty"` // what the child's document lists as outputs, one after the other (A11)
	Failure *Failure `json:"failure,omitempty"`
}

// SignalType is a signal (A16, shape SignalType).
type SignalType string

// The signals.
const (
	Approve   SignalType = "Approve"
	Reject    SignalType = "Reject"
	Resume    SignalType = "Resume"
	StartStep SignalType = "StartStep"
	StopStep  SignalType = "StopStep"
	Revoke    SignalType = "Revoke" // takes an approval back, while the step still waits
)

// Signal is a signal for an execution, from somebody who may send it.
type Signal struct {
	Type      SignalType          `json:"type"`
	By        string              `json:"by,omitempty"`        // who says it, as decisions show it
	As        []string            `json:"as,omitempty"`        // the other names the caller has: an ARN, a user name, roles, groups
	Comment   string              `json:"comment,omitempty"`   // Approve, Reject
	Step      string              `json:"step,omitempty"`      // StartStep; Approve, Reject, Resume: may say which step is meant
	StepID    string              `json:"stepId,omitempty"`    // StopStep
	Overrides map[string][]string `json:"overrides,omitempty"` // StartStep: inputs to replace (A25)
}

// Stop asks for the end of an execution (A17).
type Stop struct {
	Type StopType `json:"type"`
	By   string   `json:"by,omitempty"`
}

// EffectKind is what a host is to do.
type EffectKind string

// The kinds.
const (
	Invoke     EffectKind = "Invoke"     // run an action; answer with a Result
	Abandon    EffectKind = "Abandon"    // the call is of no use any more: end it if that is possible; nothing is awaited
	StartChild EffectKind = "StartChild" // start an execution; answer with a ChildEnd when it has ended, also when it cannot be started
	StopChild  EffectKind = "StopChild"  // stop one that was started
	Resolve    EffectKind = "Resolve"    // find out what targets are; answer with Resolved
	Ask        EffectKind = "Ask"        // tell the approvers that they are asked
)

// Effect is something to do in the world, after the state was made durable. It may be done again after a crash ([Runbook.Outstanding]): Token stays the
// same for the same attempt, so that who is asked can tell.
type Effect struct {
	Kind     EffectKind     `json:"kind"`
	StepID   string         `json:"stepId,omitempty"`
	Step     string         `json:"step,omitempty"`
	Action   string         `json:"action,omitempty"`
	Attempt  int            `json:"attempt,omitempty"`
	Look     int            `json:"look,omitempty"`
	Inputs   map[string]any `json:"inputs,omitempty"` // the step's, which must not be changed
	Deadline time.Time      `json:"deadline,omitzero"`
	Token    string         `json:"token,omitempty"`
	Role     string         `json:"role,omitempty"`
	Child    *Child         `json:"child,omitempty"`
	Spread   *Spread        `json:"spread,omitempty"`
}

// Child is an execution to be started or stopped.
type Child struct {
	ID              string              `json:"id"`
	Document        string              `json:"document,omitempty"`
	DocumentVersion string              `json:"documentVersion,omitempty"`
	Parameters      map[string][]string `json:"parameters,omitempty"`
	Tags            map[string]string   `json:"tags,omitempty"`
	Depth           int                 `json:"depth,omitempty"`
	Account         string              `json:"account,omitempty"` // of a location
	Region          string              `json:"region,omitempty"`
	Role            string              `json:"role,omitempty"`   // of a location, or what the parent runs as
	Spread          *Spread             `json:"spread,omitempty"` // targets that the child has itself, in its location
}

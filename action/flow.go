package action

import (
	"strings"

	"github.com/fleetwright/fleetwright/message"
)

// How the steps of a Command document follow each other: which run, which are skipped, when the document ends, and what its status is (spec P4 to P10). The rules
// are pure. The agent's engine uses them for a command's document, aws:runDocument for nested ones:
//
//	for {
//		d := action.Next(rules, outcomes)
//		if d.Do == action.DoEnd { break }
//		…
//		outcomes = append(outcomes, action.Finish(rules[d.Step], result))
//	}
//	detail, code := action.Status(outcomes)

// Do says what to do with a step.
type Do uint8

// What can be done.
const (
	DoRun  Do = iota // run it
	DoSkip           // it counts as a success with exit code 0 (P4)
	DoFail           // it fails without having run
	DoEnd            // there is no further step
)

// Rule is what the rules need to know of a step.
type Rule struct {
	Do        Do     // what the document and the platform say: DoRun, DoSkip or DoFail (P5)
	Reason    string // why, for DoSkip and DoFail
	OnFailure string // "exit" or "successAndExit", in any case; anything else means go on (P8)
	OnSuccess string // "exit"
	Finally   bool   // honoured on the last step only (P6)
}

// Outcome is how a step ended.
type Outcome struct {
	Status   message.Status // Success, Failed, TimedOut, Cancelled or Skipped
	ExitCode int
	Exit     bool // the remaining steps are skipped
	Reason   string
}

// Decision is what Next decides.
type Decision struct {
	Step   int // index of the step
	Do     Do
	Reason string
}

// Reasons of skipped steps.
const (
	ReasonEnded     = "an earlier step ended the document"
	ReasonCancelled = "the command was cancelled before this step"
)

// Next decides about the first step that has no outcome yet. After a cancelled step nothing runs any more, not even the last step with finallyStep.
func Next(steps []Rule, done []Outcome) Decision {
	i := len(done)
	if i >= len(steps) {
		return Decision{Step: i, Do: DoEnd}
	}
	s := &steps[i]
	for _, o := range done {
		switch {
		case o.Status == message.Cancelled:
			return Decision{i, DoSkip, ReasonCancelled}
		case o.Exit && !(s.Finally && i == len(steps)-1):
			return Decision{i, DoSkip, ReasonEnded}
		}
	}
	return Decision{i, s.Do, s.Reason}
}

// Finish applies a step's onFailure and onSuccess, and what its result demands, to the result (P6, P7). Asking about a result that demands a reboot makes no sense.
func Finish(s Rule, r Result) Outcome {
	o := Outcome{Status: r.Status, ExitCode: r.ExitCode, Reason: r.Reason, Exit: r.Flow == SkipRest}
	switch r.Status {
	case message.Success:
		o.Exit = o.Exit || strings.EqualFold(s.OnSuccess, "exit")
	case message.Failed, message.TimedOut:
		if o.ExitCode == 0 {
			o.ExitCode = 1 // P10
		}
		switch {
		case o.Exit: // 169 is stronger than onFailure
		case strings.EqualFold(s.OnFailure, "exit"):
			o.Exit = true
		case strings.EqualFold(s.OnFailure, "successAndExit"):
			o.Status, o.Exit = message.Success, true
			if o.Reason == "" {
				o.Reason = "failed, and onFailure is successAndExit"
			}
		}
	}
	return o
}

// Unrun returns the outcome of a step that Next says does not run.
func Unrun(s Rule, d Decision) Outcome {
	if d.Do == DoFail {
		return Finish(s, Failed(d.Reason))
	}
	return Outcome{Status: message.Skipped, Reason: d.Reason}
}

// Status derives a document's status and exit code from its steps (P9): Failed before TimedOut before Cancelled, else Success; the exit code is that of the first
// step of the status that won.
func Status(done []Outcome) (message.Detail, int) {
	for _, c := range [...]struct {
		status message.Status
		detail message.Detail
	}{{message.Failed, message.DetailFailed}, {message.TimedOut, message.DetailExecutionTimedOut}, {message.Cancelled, message.DetailCancelled}} {
		for _, o := range done {
			if o.Status == c.status {
				return c.detail, o.ExitCode
			}
		}
	}
	return message.DetailSuccess, 0
}

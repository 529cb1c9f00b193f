// Package observe is the hook through which a host looks into a control plane and its agents: what happens is told to an [Observer] as it happens, and how things
// stand is read, whenever the host likes, as [Gauges] (fleetwright.Fleet.Gauges) and [NodeGauges] (agent.Agent.Gauges).
//
// The library keeps no registry and imports no telemetry: module telemetry/prom makes metrics of an Observer, module telemetry/otel makes traces, and a host that has
// something else writes one method.
//
//	errors := observe.Func(func(ctx context.Context, e observe.Event) {
//		if e.Err != nil {
//			log.Warn("failed", "what", e.Kind, "command", e.Command, "error", e.Err)
//		}
//	})
//	f, err := fleetwright.Open(ctx, "data", &fleetwright.Options{Config: fleetwright.Config{Observer: observe.Tee(errors, metrics)}})
//
// An event holds ids, codes, times and counts: never a parameter, an output or a secret. Its ids are for traces and logs; of its texts only Kind and Label are from a
// list, and only these are fit to be labels of a metric.
//
// [TraceID] and [SpanID] derive the W3C ids of a command's trace from the command's id, so that every control plane and every agent, each by itself, arrives at one
// trace, and an operator who has the id in a log line has the trace.
package observe

import (
	"context"
	"time"
)

// Kind says what an Event is about.
type Kind uint8

// The kinds. Where Start and End are said to be there, End is never before Start.
const (
	// Commit: a transaction of the store that writes ended. Start, End: its duration, waiting for its turn included. Err: the store failed; an error of the function that ran
	// within is the caller's and not told. Label: "ok", "aborted" (the function returned an error), "failed".
	Commit Kind = iota + 1
	// View: a transaction of the store that reads ended. As Commit.
	View
	// Send: SendCommand ended. Start, End: its duration. Err: it was refused or failed. Label: the error's kind, "ok" without one. Command, N: its id, and how many targets
	// it has; none when it failed.
	Send
	// Dispatch: the first messages of a command were handed to the transport. Start: when it was accepted, End: now. Command.
	Dispatch
	// Deliver: a node answered an offer and was told to run. Start: when its turn came, End: now. Command, Node, Attempt.
	Deliver
	// Invocation: a command ended on a node. Start: when its turn came, End: now, by the control plane's clock. Label: its detail (message.Detail). Command, Node, Attempt.
	Invocation
	// Command: a command ended on all its targets. Start: when it was accepted, End: now. Label: its detail. Command, N: its targets.
	Command
	// Message: the control plane handed a message for a node to a transport. Label: its kind (message.Kind). Err: no transport took it; it is sent again. Node; Command.
	Message
	// Receive: the control plane took a message of a node. Label: its kind, "" when it could not be read. Start, End: how long that took. Err: it was not taken. Node.
	Receive
	// Step: a step ended on the node. Start, End by the node's clock. Label: its status (message.Status). Command, Node, Attempt, Step, Name.
	Step
	// Run: a document ended on the node. Start, End by the node's clock. Label: its detail. Command, Node, Attempt.
	Run
	// Report: the control plane confirmed that it has the end of a run. Start: when it ended, End: now, by the node's clock. Command, Node, Attempt.
	Report
	// Journal: the agent made a record of its journal durable. Start, End: how long that took. Err: it could not. Command, Node, Attempt.
	Journal
	// Connect: the agent's transport connected (Label "connected") or lost the control plane ("disconnected"). Node.
	Connect
	// Refuse: the agent refused a message: its signature, its addressee or its time. Err says why. Node.
	Refuse
	// Automation: an execution of a runbook began (Label "Started"; Start and End: when) or ended (Label: its status; Start: when it began, End: when it ended). Execution, Name: its runbook.
	Automation
	// AutomationStep: a step of a runbook ended in the control plane. Start, End: its time. Label: its status. Execution, Attempt, Name: of the step.
	AutomationStep
)

var kinds = [...]string{"", "Commit", "View", "Send", "Dispatch", "Deliver", "Invocation", "Command", "Message", "Receive", "Step", "Run", "Report", "Journal", "Connect", "Refuse", "Automation", "AutomationStep"}

// Kinds returns every kind.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kinds)-1)
	for k := range kinds[1:] {
		all = append(all, Kind(k+1))
	}
	return all
}

// String returns the kind's name, "Kind(n)"'s number not included: an unknown one is "Unknown".
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kinds) {
		return "Unknown"
	}
	return kinds[k]
}

// Event is something that happened. Which fields are set is said at its Kind; the others are zero. It shares nothing with who told it.
type Event struct {
	Kind       Kind
	Label      string // from a list, but for messages of nodes, whose kind a hostile node may invent
	Start, End time.Time
	N          int
	Err        error // for codes and kinds (package fault); its text is for people and may have ids in it

	Tenant, Command, Node string
	Attempt               int
	Step                  int    // index, from 0
	Name                  string // of the step, as its document calls it; of a runbook
	Execution             string // of a runbook: its id
}

// Took is how long it lasted, never negative.
func (e *Event) Took() time.Duration { return max(0, e.End.Sub(e.Start)) }

// Observer hears what happens. Where the library takes one, nil hears nothing and costs nothing.
//
// Observe is called from many goroutines at once, some of them on hot paths and under the ownership of a command: it must be quick and must not block, must not panic, and must not call the
// service that told it. ctx is that of the work; it may have ended. Kinds may be added in later releases: an Observer ignores what it does not know.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// Func is an Observer that is a function.
type Func func(ctx context.Context, e Event)

// Observe implements Observer.
func (f Func) Observe(ctx context.Context, e Event) { f(ctx, e) }

// Tee returns an Observer that tells each of those given that is not nil, in order. Of none it is nil, of one it is that one.
func Tee(os ...Observer) Observer {
	var t tee
	for _, o := range os {
		if o != nil {
			t = append(t, o)
		}
	}
	switch len(t) {
	case 0:
		return nil
	case 1:
		return t[0]
	}
	return t
}

type tee []Observer

func (t tee) Observe(ctx context.Context, e Event) {
	for _, o := range t {
		o.Observe(ctx, e)
	}
}

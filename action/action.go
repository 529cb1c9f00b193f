// Package action holds what a step of a Command document can do on a node: the [Action] seam, the [Set] of actions that an agent knows, and the
// [Spawner] seam through which actions start processes.
//
// An action is any value with a name and a Run method. A host adds its own by value; there is no registry:
//
//	set, err := action.NewSet(shell.New(nil), rundocument.New(nil), download.New(nil), myAction{})
//	a, err := agent.New(agent.Config{Actions: set, …})
//
// The built-in actions live below: action/shell (aws:runShellScript, aws:runPowerShellScript), action/rundocument (aws:runDocument) and
// action/download (aws:downloadContent).
//
// An action runs on a goroutine of the agent that owns it. It stops when its context ends; [Cause] then says why. The agent decides that a
// step timed out from its own clock, never from an exit code (trap T23).
package action

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// Action is one kind of step. Its value is shared by all steps of an agent, so both methods must be safe for concurrent use.
//
// Run executes the step and returns how it ended. It must return soon after ctx ended, having stopped what it started; what it returns then is
// kept, except that the agent turns Failed into TimedOut or Cancelled, whichever it asked for. A panic becomes a Failed result. Output goes to c.Stdout and
// c.Stderr, whose writes never fail and which cap themselves. Run is called at most once for each (command, attempt, step, reboot counter).
type Action interface {
	// Name is what documents write in a step's action, such as "aws:runShellScript".
	Name() string
	Run(ctx context.Context, c *Call) Result
}

// Capable is an optional ability of an Action: it says which capabilities it gives a node. An action without it gives its own name.
// One that cannot work on this machine (no interpreter) returns nothing and fails its steps with a reason.
type Capable interface {
	Capabilities() []string
}

// The causes for which a step's context ends.
var (
	// ErrTimeout: the step's own time, or the command's deadline, is over.
	ErrTimeout = errors.New("action: timed out")
	// ErrCancelled: somebody cancelled the command.
	ErrCancelled = errors.New("action: cancelled")
	// ErrStopping: the agent is shutting down.
	ErrStopping = errors.New("action: the agent is stopping")
)

// Call is one run of one step. It belongs to the action until Run returns; maps in it are the action's own copies.
type Call struct {
	Tenant, Node string
	Command      string // command id
	Attempt      int
	Step         int    // index in the command's own document; that of the aws:runDocument step for steps of a nested one
	Name         string // of the step
	Action       string // as the document wrote it
	Reboots      int    // how many reboots this step has asked for before this run

	Inputs  map[string]any    // after interpolation; keys as written (AWS matches them without regard to case: see Input)
	Env     map[string]string // variables that the document's ENV_VAR parameters ask for, such as SSM_name
	Timeout time.Duration     // of the step; 0 when the document does not say. The agent ends ctx by itself when it is over

	Stdout, Stderr io.Writer

	Dir       string // a directory of this command alone, mode 0700, which the agent named and will remove
	Downloads string // where relative paths of documents begin: below Dir, mode 0700
	Marker    string // unique for this run; processes carry it in their environment as Marker does, so that an agent finds what it left behind

	Documents map[string]message.Included // what aws:runDocument steps may name, pinned by hash
	RefuseRaw bool                        // refuse documents that paste parameters into scripts
	Depth     int                         // 1 for a step of the command's own document, more in nested ones

	Facts    message.Facts
	Platform string            // Linux, Windows or MacOS, as documents' preconditions have it
	Known    *document.Actions // what documents may name; nil is document.Builtin

	Plane   Plane  // the control plane, for what an action must ask of it; nil where there is no way to it
	Region  string // what AWS_SSM_REGION_NAME says; may be empty
	Actions Set    // for actions that run others
	Spawner Spawner
	Log     *slog.Logger // never nil

	// Started is told of each process that the action starts, for the agent's record of what to look for after a crash. It may be nil.
	Started func(Child)
}

// Plane is the control plane as an action sees it. It is safe for concurrent use.
type Plane interface {
	// Ask has the control plane do an operation for this node and returns its output. Operations are named as AWS's agents call them, such as PutInventory or
	// GetDeployablePatchSnapshotForInstance; inputs and outputs are JSON. The question is repeated until it is answered or ctx ends, so an operation may be done more than
	// once. A refusal is a fault with the control plane's code; input over 8 MiB, or 160 KiB compressed, is a ValidationException at once.
	Ask(ctx context.Context, op string, input []byte) (output []byte, err error)
}

// Result says how a step ended.
type Result struct {
	Status   message.Status // Success, Failed, TimedOut or Cancelled; anything else counts as Failed
	ExitCode int
	Reason   string // for a person; empty when the output says it all
	Flow     Flow
}

// Flow is what a step demands of the document (P7).
type Flow uint8

// The flows.
const (
	// Continue with the next step as the document says.
	Continue Flow = iota
	// SkipRest skips the remaining steps (exit codes 168 and 169).
	SkipRest
	// Reboot restarts the machine and then runs the same step again (exit code 194, 3010 on Windows). Only with Status Success.
	Reboot
)

// Succeeded returns a result of Success.
func Succeeded() Result { return Result{Status: message.Success} }

// Failed returns a result of Failed with exit code 1 and the reason, which is made safe to print.
func Failed(reason string) Result {
	return Result{Status: message.Failed, ExitCode: 1, Reason: fault.Clean(reason)}
}

// Cause returns the status that a step gets because its context ended: TimedOut for ErrTimeout and for a deadline, Cancelled otherwise. ok is false while ctx has not ended.
func Cause(ctx context.Context) (s message.Status, ok bool) {
	switch err := context.Cause(ctx); {
	case err == nil:
		return "", false
	case errors.Is(err, ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return message.TimedOut, true
	}
	return message.Cancelled, true
}

// Set is an immutable set of actions by name. The zero Set is empty. Sets are safe for concurrent use.
type Set struct{ byName map[string]Action }

// NewSet returns a set of the actions. Two of one name, or one without a name, are an error (ValidationException).
func NewSet(actions ...Action) (Set, error) { return Set{}.With(actions...) }

// With returns a set that has the actions of s and these too.
func (s Set) With(actions ...Action) (Set, error) {
	m := make(map[string]Action, len(s.byName)+len(actions))
	maps.Copy(m, s.byName)
	for _, a := range actions {
		if a == nil || a.Name() == "" {
			return Set{}, fault.New("action.NewSet", fault.Validation, "an action is nil or has no name: give it the name that documents use")
		}
		if _, ok := m[a.Name()]; ok {
			return Set{}, fault.New("action.NewSet", fault.Validation, "two actions have the name %q: leave one out", a.Name())
		}
		m[a.Name()] = a
	}
	return Set{m}, nil
}

// Replace returns a set in which each of the actions stands in the place of the one of its name, if there was one.
func (s Set) Replace(actions ...Action) (Set, error) {
	m := maps.Clone(s.byName)
	for _, a := range actions {
		if a != nil {
			delete(m, a.Name())
		}
	}
	return Set{m}.With(actions...)
}

// Get returns the action of the name.
func (s Set) Get(name string) (Action, bool) {
	a, ok := s.byName[name]
	return a, ok
}

// Names returns the names in order.
func (s Set) Names() []string { return slices.Sorted(maps.Keys(s.byName)) }

// Capabilities returns what the actions can do on this machine, in order and without repetition.
func (s Set) Capabilities() []string {
	var all []string
	for _, name := range s.Names() {
		if c, ok := s.byName[name].(Capable); ok {
			all = append(all, c.Capabilities()...)
		} else {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Run executes c with the action of its name from c.Actions, turning a panic into a Failed result (F17). An action that the set does not know fails.
func Run(ctx context.Context, c *Call) (r Result) {
	a, ok := c.Actions.Get(c.Action)
	if !ok {
		return Failed("this node does not know the action " + c.Action)
	}
	defer func() {
		if p := recover(); p != nil {
			c.Log.Error("an action panicked", "action", c.Action, "command", c.Command, "step", c.Name)
			r = Failed("the action " + c.Action + " broke down (panic): this is a defect of the action")
		}
	}()
	return Settle(ctx, a.Run(ctx, c))
}

// Settle gives a result the status that its context's end demands: what was stopped did not fail by itself. It also makes any unknown status Failed, and a
// failure with exit code 0 one with 1 (P10).
func Settle(ctx context.Context, r Result) Result {
	switch r.Status {
	case message.Success, message.Failed, message.TimedOut, message.Cancelled:
	default:
		r.Status = message.Failed
	}
	if s, ended := Cause(ctx); ended && r.Status == message.Failed {
		r.Status, r.Flow = s, Continue
	}
	if r.Status == message.Failed && r.ExitCode == 0 {
		r.ExitCode = 1
	}
	if r.Flow == Reboot && r.Status != message.Success {
		r.Flow = Continue
	}
	return r
}

package agent

import (
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/message"
)

// Event is something that happens to an Engine.
type Event interface{ event() }

// Booted must be an engine's first event: the agent has started.
type Booted struct {
	BootID  string         // changes when the machine restarts
	Alive   []Child        // steps of the journal whose processes still live although the agent that started them does not
	Outputs []OutputOnDisk // what lies in the spools of the journal's commands; a stream that is missing was lost
}

// Child names a step whose processes were found alive.
type Child struct {
	message.Ref
	Step int
}

// OutputOnDisk is the state of a step's streams.
type OutputOnDisk struct {
	message.Ref
	Step           int
	Stdout, Stderr Output
}

// Output sums up one stream. Head is the beginning as raw bytes, at most a message's head limit; the engine makes it valid UTF-8.
type Output struct {
	Head    []byte
	Size    int64 // bytes kept
	Dropped int64 // bytes not kept
}

// Received is a message whose signature, sender and receiver were verified. Its time is not: the engine judges that by what it knows of the control plane's clock.
type Received struct{ Envelope message.Envelope }

// Connected and Disconnected tell of the transport. An engine begins disconnected and sends nothing then.
type Connected struct{}

// Disconnected: see Connected.
type Disconnected struct{}

// StepEnded is the answer to StartStep: the step ended, or could not begin. Exactly one follows each StartStep that was carried out.
type StepEnded struct {
	message.Ref
	Step, Reboots  int // as in the StartStep
	Result         action.Result
	Stdout, Stderr Output
}

// OutputGrew tells that a running step wrote something. Hosts limit how often they say so.
type OutputGrew struct {
	message.Ref
	Step           int
	Stdout, Stderr Output
}

// JournalFailed: the Journal effect of this entry could not be carried out. The host has then dropped the later effects of the same Step that concern the reference.
type JournalFailed struct {
	message.Ref
	NotStarted bool // a StartStep was among those dropped
	Damaged    bool // the fault is of this entry alone (ErrDamaged); others can be written
}

// RebootFailed: the Reboot effect could not be carried out, or ended without a reboot.
type RebootFailed struct{ Reason string }

// FactsChanged: the machine's facts are new; the next hello carries them.
type FactsChanged struct{ Facts message.Facts }

// Room tells whether the disk has room for new commands. An engine assumes it has.
type Room struct{ OK bool }

// KeysPinned: the control plane's keys of the epoch are the ones that this node obeys, and the control plane does not know yet.
type KeysPinned struct{ Epoch uint64 }

// Stopping: the agent shuts down. Running steps are stopped and end as Interrupted; nothing else starts.
type Stopping struct{}

// Tick carries nothing: time has passed. Engine.Next says when one is due.
type Tick struct{}

func (Booted) event()        {}
func (Received) event()      {}
func (Connected) event()     {}
func (Disconnected) event()  {}
func (StepEnded) event()     {}
func (OutputGrew) event()    {}
func (JournalFailed) event() {}
func (RebootFailed) event()  {}
func (FactsChanged) event()  {}
func (Room) event()          {}
func (KeysPinned) event()    {}
func (Stopping) event()      {}
func (Tick) event()          {}

// Effect is something that an Engine wants done. Effects are carried out in order.
type Effect interface{ effect() }

// Remember makes the control plane's epoch durable before later effects: messages of a lower one are refused from now on, also after a restart.
type Remember struct{ Epoch uint64 }

// Floor makes durable, before later effects, that nothing starts any more whose deadline is At or before: what the journal is about to forget. A host that cannot leaves the
// Forgets of this Step undone, and their entries come back with the next start.
type Floor struct{ At time.Time }

// Journal makes the entry durable, file and directory, before later effects are carried out. If it cannot, the host drops the later effects of this Step that concern the
// reference and tells the engine with JournalFailed. The entry must not be changed.
type Journal struct{ Entry Entry }

// Forget removes the reference from the journal.
type Forget struct{ message.Ref }

// StartStep runs a step on a worker of its own. The host answers with StepEnded.
type StartStep struct {
	message.Ref
	Step, Reboots int
	Resolved      document.Resolved
	Run           *message.Run // for what the step may need of it; not to be changed
	OutputLimit   int64        // bytes that are kept of each stream
}

// KillStep stops a step: its context ends with the cause, and its process group and session are killed after a grace. With Orphan the step's processes are those of an earlier
// life of the agent, and no StepEnded follows.
type KillStep struct {
	message.Ref
	Step   int
	Cause  error // action.ErrTimeout, ErrCancelled or ErrStopping
	Orphan bool
}

// Send sends a message to the control plane. It may be lost.
type Send struct {
	Kind                message.Kind
	ID                  string
	Attempt             int
	Body                any // of Kind's type; not to be changed
	NotBefore, NotAfter time.Time
}

// SendOutput sends a piece of a step's output, Length bytes from Offset on, as message.Output. It may be lost.
type SendOutput struct {
	message.Ref
	Step                int
	Stderr              bool
	Offset              int64
	Length              int
	ID                  string
	NotBefore, NotAfter time.Time
}

// DropOutput removes the working directory and the spools of a command.
type DropOutput struct{ message.Ref }

// Reboot restarts the machine. Nothing runs any more when it is asked for.
type Reboot struct{}

func (Remember) effect()   {}
func (Floor) effect()      {}
func (Journal) effect()    {}
func (Forget) effect()     {}
func (StartStep) effect()  {}
func (KillStep) effect()   {}
func (Send) effect()       {}
func (SendOutput) effect() {}
func (DropOutput) effect() {}
func (Reboot) effect()     {}

package sim

// plant is a fault of ours that the checker must find.
type plant string

// The plants, each a mistake that a control plane or an agent could have.
const (
	plantNoFence          plant = "a control plane writes without asking whether it still has the lease"
	plantCheckBefore      plant = "a control plane asks for its lease before the transaction, not in it"
	plantAckFirst         plant = "a control plane confirms results before they are committed"
	plantRunFirst         plant = "a control plane tells nodes to run before that is committed"
	plantUnknownIsDone    plant = "a commit without an answer is taken for done"
	plantSlotsInMemory    plant = "the slots in use are forgotten with the control plane"
	plantTokenOutside     plant = "the token is looked up before the transaction, not in it"
	plantRetryUnknown     plant = "a send without an answer is sent again without its token"
	plantCancelForgotten  plant = "a cancellation is confirmed and only in memory"
	plantLateDropped      plant = "a result that comes late is confirmed and not kept"
	plantLateWins         plant = "a result that comes late changes how the invocation ended"
	plantRetryInterrupted plant = "an agent runs what was interrupted again"
	plantWallClockMemory  plant = "an agent forgets what it ran half an hour ago by its wall clock"
	plantNoSync           plant = "an agent's journal is not synced: a power cut takes its last write"
)

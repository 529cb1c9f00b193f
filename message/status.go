package message

// Status is the state of a command or of an invocation as AWS names it (shapes CommandStatus and CommandInvocationStatus).
type Status string

// The statuses. Delayed is of invocations only.
const (
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Delayed    Status = "Delayed"
	Success    Status = "Success"
	Cancelled  Status = "Cancelled"
	TimedOut   Status = "TimedOut"
	Failed     Status = "Failed"
	Cancelling Status = "Cancelling"
	// Skipped is of steps only: the precondition did not hold, the platform does not know the action, or an earlier step ended the document.
	Skipped Status = "Skipped"
)

// Terminal reports whether the status is final.
func (s Status) Terminal() bool {
	switch s {
	case Success, Cancelled, TimedOut, Failed, Skipped:
		return true
	}
	return false
}

// Detail is AWS's StatusDetails of an invocation or a command, and Interrupted, which is fleetwright's own.
type Detail string

// The details (user guide, "Understanding command statuses").
const (
	DetailPending           Detail = "Pending"
	DetailInProgress        Detail = "InProgress"
	DetailDelayed           Detail = "Delayed"
	DetailSuccess           Detail = "Success"
	DetailDeliveryTimedOut  Detail = "DeliveryTimedOut"
	DetailExecutionTimedOut Detail = "ExecutionTimedOut"
	DetailFailed            Detail = "Failed"
	DetailCancelled         Detail = "Cancelled"
	DetailCancelling        Detail = "Cancelling"
	DetailUndeliverable     Detail = "Undeliverable"
	DetailTerminated        Detail = "Terminated"
	DetailInvalidPlatform   Detail = "InvalidPlatform"
	DetailAccessDenied      Detail = "AccessDenied"
	// DetailInterrupted: the node's agent or machine died in mid-step and nobody can know whether the step ran. It counts as an error. An AWS face says Failed.
	DetailInterrupted Detail = "Interrupted"

	// Of commands only.
	DetailNoInstancesInTag Detail = "NoInstancesInTag"
	DetailIncomplete       Detail = "Incomplete"
	DetailRateExceeded     Detail = "RateExceeded"
)

// Status returns the status under which AWS shows the detail. Terminated is Cancelled: the system ended it, not the node. An unknown detail is Failed.
func (d Detail) Status() Status {
	switch d {
	case DetailPending:
		return Pending
	case DetailInProgress:
		return InProgress
	case DetailDelayed:
		return Delayed
	case DetailSuccess:
		return Success
	case DetailDeliveryTimedOut, DetailExecutionTimedOut:
		return TimedOut
	case DetailCancelled, DetailTerminated, DetailRateExceeded:
		return Cancelled
	case DetailCancelling:
		return Cancelling
	case DetailNoInstancesInTag:
		return Success
	}
	return Failed
}

// Terminal reports whether the detail is final.
func (d Detail) Terminal() bool { return d.Status().Terminal() }

// CountsAsError reports whether an invocation that ended so counts against MaxErrors: Failed, ExecutionTimedOut (spec R16) and Interrupted. Delivery
// failures, cancellation and platforms do not.
func (d Detail) CountsAsError() bool {
	return d == DetailFailed || d == DetailExecutionTimedOut || d == DetailInterrupted
}

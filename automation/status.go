package automation

import "github.com/fleetwright/fleetwright/fault"

// Status is the state of an execution or of one of its steps (A14, shape AutomationExecutionStatus).
type Status string

// The statuses. The second group only belongs to change requests: the engine knows them, so that what another writer stored can be read and shown.
const (
	Pending    Status = "Pending"    // not begun; a step that nothing led to stays so
	InProgress Status = "InProgress" //
	Waiting    Status = "Waiting"    // for a person: aws:approve, aws:pause, or the next StartStep of an interactive execution
	Success    Status = "Success"    //
	TimedOut   Status = "TimedOut"   //
	Cancelling Status = "Cancelling" // a Stop was asked for, the step's onCancel workflow or its children are ending
	Cancelled  Status = "Cancelled"  //
	Failed     Status = "Failed"     //

	PendingApproval      Status = "PendingApproval"
	Approved             Status = "Approved"
	Rejected             Status = "Rejected"
	Scheduled            Status = "Scheduled"
	RunbookInProgress    Status = "RunbookInProgress"
	PendingOverride      Status = "PendingChangeCalendarOverride"
	OverrideApproved     Status = "ChangeCalendarOverrideApproved"
	OverrideRejected     Status = "ChangeCalendarOverrideRejected"
	CompletedWithSuccess Status = "CompletedWithSuccess"
	CompletedWithFailure Status = "CompletedWithFailure"
	Exited               Status = "Exited"
)

// Done reports whether a status is final: nothing leaves it.
func (s Status) Done() bool {
	switch s {
	case Success, TimedOut, Cancelled, Failed, Rejected, OverrideRejected, CompletedWithSuccess, CompletedWithFailure, Exited:
		return true
	}
	return false
}

// Statuses returns every status, in the order of the API's shape. The slice is the caller's.
func Statuses() []Status {
	return []Status{Pending, InProgress, Waiting, Success, TimedOut, Cancelling, Cancelled, Failed, PendingApproval, Approved, Rejected, Scheduled, RunbookInProgress,
		PendingOverride, OverrideApproved, OverrideRejected, CompletedWithSuccess, CompletedWithFailure, Exited}
}

// Stage says when a step failed (A15, shape FailureDetails.FailureStage).
type Stage string

// The stages.
const (
	InputValidation  Stage = "InputValidation"  // its inputs could not be resolved, or are none: nothing was done
	PreVerification  Stage = "PreVerification"  // what must hold before does not: nothing was done
	Invocation       Stage = "Invocation"       // while it was done
	PostVerification Stage = "PostVerification" // it was done, and what came of it is not what was to come
)

// FailureType says why a step failed (A15, shape FailureDetails.FailureType).
type FailureType string

// The types.
const (
	ActionFailure       FailureType = "Action"
	PermissionFailure   FailureType = "Permission"
	ThrottlingFailure   FailureType = "Throttling"
	VerificationFailure FailureType = "Verification"
	InternalFailure     FailureType = "Internal"
)

// Failure is why a step or an execution failed (shape FailureDetails, with FailureMessage). Message and Details are shown to people: who makes one keeps
// secrets out of it.
type Failure struct {
	Stage   Stage               `json:"FailureStage"`
	Type    FailureType         `json:"FailureType"`
	Message string              `json:"FailureMessage,omitempty"`
	Details map[string][]string `json:"Details,omitempty"`
}

// Error codes of the API that only automations have.
const (
	DefinitionNotFound        fault.Code = "AutomationDefinitionNotFoundException"
	DefinitionVersionNotFound fault.Code = "AutomationDefinitionVersionNotFoundException"
	ExecutionNotFound         fault.Code = "AutomationExecutionNotFoundException"
	ExecutionLimitExceeded    fault.Code = "AutomationExecutionLimitExceededException"
	StepNotFound              fault.Code = "AutomationStepNotFoundException"
	InvalidSignal             fault.Code = "InvalidAutomationSignalException"
	InvalidStatusUpdate       fault.Code = "InvalidAutomationStatusUpdateException"
	InvalidExecutionParams    fault.Code = "InvalidAutomationExecutionParametersException"
)

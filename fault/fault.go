// Package fault is the one error type of fleetwright, and the one function that gives any error its code.
//
// An [Error] says which operation failed, which of AWS's error codes names the failure, what kind of failure it is (so
// that a program can decide what to do without knowing every code), which object it speaks of, and what caused it. Its
// message tells a person what to do; it never holds a secret or bytes of a stranger that were not escaped.
//
//	return fault.New("command.Send", fault.InvalidDocument, "document %q does not exist: create it, or check the name", name)
//
// Programs look at an error through [CodeOf] and [KindOf], which are total: they answer for every error, nil included.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind classes errors by what the caller can do about them.
type Kind uint8

// The kinds.
const (
	// OK is the kind of a nil error.
	OK Kind = iota
	// Invalid: the request can never succeed as it is; change it.
	Invalid
	// NotFound: the object does not exist, or the caller may not know that it does.
	NotFound
	// Exists: an object of that name exists already.
	Exists
	// Conflict: the object is in a state that forbids the request; look, then decide.
	Conflict
	// Denied: the caller is not allowed to do this.
	Denied
	// Unauthenticated: the caller did not say, or could not prove, who it is.
	Unauthenticated
	// Limit: a quota or a size is exceeded.
	Limit
	// Throttled: try again later, more slowly.
	Throttled
	// Unavailable: a part that the operation needs is away; try again.
	Unavailable
	// Unknown: the operation may or may not have happened; find out by reading.
	Unknown
	// Corrupt: stored bytes are not what was written.
	Corrupt
	// Canceled: the caller's context ended.
	Canceled
	// Internal: a defect of this library or of a driver.
	Internal
)

var kindNames = [...]string{"OK", "Invalid", "NotFound", "Exists", "Conflict", "Denied", "Unauthenticated", "Limit", "Throttled",
	"Unavailable", "Unknown", "Corrupt", "Canceled", "Internal"}

// String returns the name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind(" + fmt.Sprint(uint8(k)) + ")"
}

// Code is an error code as AWS Systems Manager spells it (the names of the exception shapes of the ssm API of 2014-11-06),
// or one of fleetwright's own where AWS has none; those are marked.
type Code string

// The codes that the packages of this module use. A host may use any other of AWS's; [Code.Kind] gives those Invalid.
const (
	AccessDenied                 Code = "AccessDeniedException"
	AlreadyExists                Code = "AlreadyExistsException"
	DocumentAlreadyExists        Code = "DocumentAlreadyExists"
	DocumentLimitExceeded        Code = "DocumentLimitExceeded"
	DocumentVersionLimitExceeded Code = "DocumentVersionLimitExceeded"
	DoesNotExist                 Code = "DoesNotExistException"
	DuplicateDocumentContent     Code = "DuplicateDocumentContent"
	DuplicateDocumentVersionName Code = "DuplicateDocumentVersionName"
	DuplicateInstanceID          Code = "DuplicateInstanceId"
	IdempotentParameterMismatch  Code = "IdempotentParameterMismatch"
	InternalServerError          Code = "InternalServerError"
	InvalidActivation            Code = "InvalidActivation"
	InvalidActivationID          Code = "InvalidActivationId"
	InvalidCommandID             Code = "InvalidCommandId"
	InvalidDocument              Code = "InvalidDocument"
	InvalidDocumentContent       Code = "InvalidDocumentContent"
	InvalidDocumentOperation     Code = "InvalidDocumentOperation"
	InvalidDocumentSchemaVersion Code = "InvalidDocumentSchemaVersion"
	InvalidDocumentType          Code = "InvalidDocumentType"
	InvalidDocumentVersion       Code = "InvalidDocumentVersion"
	InvalidFilter                Code = "InvalidFilter"
	InvalidFilterKey             Code = "InvalidFilterKey"
	InvalidFilterValue           Code = "InvalidFilterValue"
	InvalidInstanceID            Code = "InvalidInstanceId"
	InvalidNextToken             Code = "InvalidNextToken"
	InvalidOutputFolder          Code = "InvalidOutputFolder"
	InvalidParameters            Code = "InvalidParameters"
	InvalidPluginName            Code = "InvalidPluginName"
	InvalidResourceID            Code = "InvalidResourceId"
	InvalidResourceType          Code = "InvalidResourceType"
	InvalidTarget                Code = "InvalidTarget"
	InvocationDoesNotExist       Code = "InvocationDoesNotExist"
	MaxDocumentSizeExceeded      Code = "MaxDocumentSizeExceeded"
	TargetNotConnected           Code = "TargetNotConnected"
	Throttling                   Code = "ThrottlingException"
	TooManyTags                  Code = "TooManyTagsError"
	UnsupportedOperation         Code = "UnsupportedOperationException"
	UnsupportedPlatformType      Code = "UnsupportedPlatformType"
	Validation                   Code = "ValidationException"

	// Unauthorized is answered to a caller without valid credentials (AWS: UnrecognizedClientException).
	Unauthorized Code = "UnrecognizedClientException"
	// ServiceUnavailable is fleetwright's own: a store, a key service or a transport is away.
	ServiceUnavailable Code = "ServiceUnavailable"
	// OutcomeUnknown is fleetwright's own: a commit was sent and its answer lost.
	OutcomeUnknown Code = "OutcomeUnknown"
	// DataCorrupt is fleetwright's own: a stored record failed its checksum.
	DataCorrupt Code = "DataCorrupt"
	// RequestCanceled is fleetwright's own: the caller's context ended.
	RequestCanceled Code = "RequestCanceled"
	// UnsignedNode is fleetwright's own: a document demands assurance Signed and the node cannot give it.
	UnsignedNode Code = "AssuranceNotMet"
)

// Codes of Parameter Store, Patch Manager, Inventory, Compliance, Automation and State Manager.
const (
	AssociatedInstances                  Code = "AssociatedInstances"
	AssociationAlreadyExists             Code = "AssociationAlreadyExists"
	AssociationDoesNotExist              Code = "AssociationDoesNotExist"
	AssociationExecutionDoesNotExist     Code = "AssociationExecutionDoesNotExist"
	AutomationDefinitionNotFound         Code = "AutomationDefinitionNotFoundException"
	AutomationDefinitionVersionNotFound  Code = "AutomationDefinitionVersionNotFoundException"
	AutomationExecutionLimitExceeded     Code = "AutomationExecutionLimitExceededException"
	AutomationExecutionNotFound          Code = "AutomationExecutionNotFoundException"
	AutomationStepNotFound               Code = "AutomationStepNotFoundException"
	ComplianceTypeCountLimitExceeded     Code = "ComplianceTypeCountLimitExceededException"
	CustomSchemaCountLimitExceeded       Code = "CustomSchemaCountLimitExceededException"
	HierarchyLevelLimitExceeded          Code = "HierarchyLevelLimitExceededException"
	HierarchyTypeMismatch                Code = "HierarchyTypeMismatchException"
	IncompatiblePolicy                   Code = "IncompatiblePolicyException"
	InvalidAggregator                    Code = "InvalidAggregatorException"
	InvalidAllowedPattern                Code = "InvalidAllowedPatternException"
	InvalidAutomationExecutionParameters Code = "InvalidAutomationExecutionParametersException"
	InvalidAutomationSignal              Code = "InvalidAutomationSignalException"
	InvalidAutomationStatusUpdate        Code = "InvalidAutomationStatusUpdateException"
	InvalidDeleteInventoryParameters     Code = "InvalidDeleteInventoryParametersException"
	InvalidDeletionID                    Code = "InvalidDeletionIdException"
	InvalidFilterOption                  Code = "InvalidFilterOption"
	InvalidInventoryGroup                Code = "InvalidInventoryGroupException"
	InvalidInventoryItemContext          Code = "InvalidInventoryItemContextException"
	InvalidInventoryRequest              Code = "InvalidInventoryRequestException"
	InvalidItemContent                   Code = "InvalidItemContentException"
	InvalidKeyID                         Code = "InvalidKeyId"
	InvalidOption                        Code = "InvalidOptionException"
	InvalidPolicyAttribute               Code = "InvalidPolicyAttributeException"
	InvalidPolicyType                    Code = "InvalidPolicyTypeException"
	InvalidResultAttribute               Code = "InvalidResultAttributeException"
	InvalidRole                          Code = "InvalidRole"
	InvalidSchedule                      Code = "InvalidSchedule"
	InvalidTargetMaps                    Code = "InvalidTargetMaps"
	InvalidTypeName                      Code = "InvalidTypeNameException"
	InvalidUpdate                        Code = "InvalidUpdate"
	ItemContentMismatch                  Code = "ItemContentMismatchException"
	ItemSizeLimitExceeded                Code = "ItemSizeLimitExceededException"
	OpsItemAlreadyExists                 Code = "OpsItemAlreadyExistsException"
	OpsItemNotFound                      Code = "OpsItemNotFoundException"
	ParameterAlreadyExists               Code = "ParameterAlreadyExists"
	ParameterLimitExceeded               Code = "ParameterLimitExceeded"
	ParameterMaxVersionLimitExceeded     Code = "ParameterMaxVersionLimitExceeded"
	ParameterNotFound                    Code = "ParameterNotFound"
	ParameterPatternMismatch             Code = "ParameterPatternMismatchException"
	ParameterVersionLabelLimitExceeded   Code = "ParameterVersionLabelLimitExceeded"
	ParameterVersionMismatch             Code = "ParameterVersionMismatch"
	ParameterVersionNotFound             Code = "ParameterVersionNotFound"
	PoliciesLimitExceeded                Code = "PoliciesLimitExceededException"
	ResourceInUse                        Code = "ResourceInUseException"
	ResourceLimitExceeded                Code = "ResourceLimitExceededException"
	ResourceNotFound                     Code = "ResourceNotFoundException"
	ResourcePolicyConflict               Code = "ResourcePolicyConflictException"
	ResourcePolicyInvalidParameter       Code = "ResourcePolicyInvalidParameterException"
	ResourcePolicyLimitExceeded          Code = "ResourcePolicyLimitExceededException"
	ResourcePolicyNotFound               Code = "ResourcePolicyNotFoundException"
	SubTypeCountLimitExceeded            Code = "SubTypeCountLimitExceededException"
	TooManyUpdates                       Code = "TooManyUpdates"
	TotalSizeLimitExceeded               Code = "TotalSizeLimitExceededException"
	UnsupportedFeatureRequired           Code = "UnsupportedFeatureRequiredException"
	UnsupportedInventoryItemContext      Code = "UnsupportedInventoryItemContextException"
	UnsupportedInventorySchemaVersion    Code = "UnsupportedInventorySchemaVersionException"
	UnsupportedOperatingSystem           Code = "UnsupportedOperatingSystem"
	UnsupportedParameterType             Code = "UnsupportedParameterType"
)

// Kind returns the kind of errors of this code; Invalid for a code that this package does not know.
func (c Code) Kind() Kind {
	switch c {
	case "":
		return OK
	case AccessDenied:
		return Denied
	case Unauthorized:
		return Unauthenticated
	case AlreadyExists, DocumentAlreadyExists, DuplicateDocumentContent, DuplicateDocumentVersionName,
		AssociationAlreadyExists, OpsItemAlreadyExists, ParameterAlreadyExists:
		return Exists
	case DoesNotExist, InvalidCommandID, InvalidInstanceID, InvocationDoesNotExist, InvalidDocument, InvalidActivationID, InvalidResourceID,
		AssociationDoesNotExist, AssociationExecutionDoesNotExist, AutomationDefinitionNotFound, AutomationDefinitionVersionNotFound, AutomationExecutionNotFound, AutomationStepNotFound, InvalidDeletionID, OpsItemNotFound, ParameterNotFound, ParameterVersionNotFound, ResourceNotFound, ResourcePolicyNotFound:
		return NotFound
	case IdempotentParameterMismatch, TargetNotConnected, UnsignedNode,
		AssociatedInstances, InvalidAutomationStatusUpdate, ItemContentMismatch, ParameterVersionMismatch, ResourceInUse, ResourcePolicyConflict, TooManyUpdates:
		return Conflict
	case DocumentLimitExceeded, DocumentVersionLimitExceeded, MaxDocumentSizeExceeded, TooManyTags,
		AutomationExecutionLimitExceeded, ComplianceTypeCountLimitExceeded, CustomSchemaCountLimitExceeded, HierarchyLevelLimitExceeded, ItemSizeLimitExceeded, ParameterLimitExceeded, ParameterMaxVersionLimitExceeded, ParameterVersionLabelLimitExceeded, PoliciesLimitExceeded, ResourceLimitExceeded, ResourcePolicyLimitExceeded, SubTypeCountLimitExceeded, TotalSizeLimitExceeded:
		return Limit
	case Throttling:
		return Throttled
	case ServiceUnavailable:
		return Unavailable
	case OutcomeUnknown:
		return Unknown
	case DataCorrupt:
		return Corrupt
	case RequestCanceled:
		return Canceled
	case InternalServerError:
		return Internal
	}
	return Invalid
}

// Error is the error that every exported operation of fleetwright returns. It is immutable once returned.
type Error struct {
	Op   string // the operation, as "package.Method"
	Code Code   // AWS's code
	ID   string // the object it speaks of: a command id, a node id, a document name; may be empty
	Msg  string // what is wrong and what to do, for a person; may be empty
	Err  error  // the cause; may be nil
}

// New returns an Error with a message made by fmt.Sprintf. Arguments of kind error that are formatted with %w become the cause, all of them.
func New(op string, code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Op: op, Code: code, Msg: err.Error()}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		e.Err = u.Unwrap()
	case interface{ Unwrap() []error }:
		e.Err = err
	}
	return e
}

// Wrap gives err an operation; nil stays nil. The code is that of err.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Code: CodeOf(err), Err: err}
}

// About returns a copy of e that speaks of the object id.
func (e *Error) About(id string) *Error {
	c := *e
	c.ID = id
	return &c
}

// Error returns "op: code: message (id)". The cause's text is added unless the message has it already.
func (e *Error) Error() string {
	var b strings.Builder
	add := func(s string) {
		if s == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	add(e.Op)
	var inner *Error
	if e.Msg != "" || !errors.As(e.Err, &inner) {
		add(string(e.Code))
	}
	add(e.Msg)
	if e.Err != nil && !strings.Contains(e.Msg, e.Err.Error()) {
		add(e.Err.Error())
	}
	if e.ID != "" && !strings.Contains(e.Msg, e.ID) {
		b.WriteString(" (" + Clean(e.ID) + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same code with every other field empty, so that
// errors.Is(err, &fault.Error{Code: fault.InvalidDocument}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Op == "" && t.ID == "" && t.Msg == "" && t.Err == nil && t.Code == e.Code
}

// Kind returns the kind of e's code.
func (e *Error) Kind() Kind { return e.Code.Kind() }

// coder is what an error of another package implements to have a code of its own.
type coder interface{ FaultCode() Code }

// CodeOf returns the code of any error: "" for nil, the code of the first *Error in the chain or of the first error with a
// method FaultCode() Code, RequestCanceled for an ended context, else InternalServerError.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	var c coder
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.As(err, &c):
		return c.FaultCode()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return RequestCanceled
	}
	return InternalServerError
}

// KindOf returns the kind of any error.
func KindOf(err error) Kind { return CodeOf(err).Kind() }

// MessageOf returns what a person should read: the message of the outermost *Error that has one, else err's own text.
func MessageOf(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if f, ok := e.(*Error); ok && f.Msg != "" {
			return f.Msg
		}
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// Clean makes text of a stranger safe for logs, tables and terminals (rule R-11): control characters of C0 and C1, DEL, escape,
// the bidirectional controls and bytes that are no UTF-8 become \xNN or \u{NNNN}; everything else stays. Newlines and tabs are escaped too.
func Clean(s string) string {
	clean := true
	for _, r := range s {
		if unsafeRune(r) {
			clean = false
			break
		}
	}
	if clean && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unsafeRune(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u{%04x}`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}

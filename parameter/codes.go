package parameter

import "github.com/fleetwright/fleetwright/fault"

// AWS's codes of this service, beside those that package fault has.
const (
	CodeNotFound           fault.Code = "ParameterNotFound"
	CodeAlreadyExists      fault.Code = "ParameterAlreadyExists"
	CodeLimitExceeded      fault.Code = "ParameterLimitExceeded"
	CodeMaxVersion         fault.Code = "ParameterMaxVersionLimitExceeded" // T20
	CodePatternMismatch    fault.Code = "ParameterPatternMismatchException"
	CodeVersionNotFound    fault.Code = "ParameterVersionNotFound"
	CodeLabelLimit         fault.Code = "ParameterVersionLabelLimitExceeded"
	CodeLevelLimit         fault.Code = "HierarchyLevelLimitExceededException"
	CodeTypeMismatch       fault.Code = "HierarchyTypeMismatchException"
	CodeAllowedPattern     fault.Code = "InvalidAllowedPatternException"
	CodeFilterOption       fault.Code = "InvalidFilterOption"
	CodeKeyID              fault.Code = "InvalidKeyId"
	CodePolicyType         fault.Code = "InvalidPolicyTypeException"
	CodePolicyAttribute    fault.Code = "InvalidPolicyAttributeException"
	CodeIncompatiblePolicy fault.Code = "IncompatiblePolicyException"
	CodePoliciesLimit      fault.Code = "PoliciesLimitExceededException"
	CodeUnsupportedType    fault.Code = "UnsupportedParameterType"
	CodeTooManyUpdates     fault.Code = "TooManyUpdates"
	CodePolicyNotFound     fault.Code = "ResourcePolicyNotFoundException"
	CodePolicyConflict     fault.Code = "ResourcePolicyConflictException"
	CodePolicyInvalid      fault.Code = "ResourcePolicyInvalidParameterException"
	CodePolicyLimit        fault.Code = "ResourcePolicyLimitExceededException"
	CodeMalformedPolicy    fault.Code = "MalformedResourcePolicyDocumentException"
	CodeResourceNotFound   fault.Code = "ResourceNotFoundException"
	CodeVersionMismatch    fault.Code = "ParameterVersionMismatch" // own: a Put expected another version
)

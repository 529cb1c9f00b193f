package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// CodeOf returns AWS's error code of an error that a [Caller] returned: of an error of AWS's SDK, of package fault, else "".
func CodeOf(err error) string {
	var aws interface{ ErrorCode() string }
	var own *fault.Error
	switch {
	case errors.As(err, &aws):
		return aws.ErrorCode()
	case errors.As(err, &own):
		return string(own.Code)
	}
	if c := fault.CodeOf(err); err != nil && c != fault.InternalServerError {
		return string(c)
	}
	return ""
}

// messageOf is what the service said of the error.
func messageOf(err error) string {
	var aws interface{ ErrorMessage() string }
	if errors.As(err, &aws) && aws.ErrorMessage() != "" {
		return aws.ErrorMessage()
	}
	return fault.MessageOf(err)
}

// trouble classes an error by its code: what AWS's services call an answer that says no to who asks, one that says slower, and one that the service itself is to blame for.
func trouble(err error) automation.FailureType {
	switch fault.KindOf(err) {
	case fault.Denied, fault.Unauthenticated:
		return automation.PermissionFailure
	case fault.Throttled:
		return automation.ThrottlingFailure
	case fault.Unavailable:
		return automation.InternalFailure
	}
	code := strings.TrimPrefix(CodeOf(err), "Client.")
	switch code {
	case "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded",
		"PriorRequestNotComplete", "TransactionInProgressException", "EC2ThrottledException", "SlowDown", "ProvisionedThroughputExceededException":
		return automation.ThrottlingFailure
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure", "NotAuthorized", "NotAuthorizedException", "UnauthorizedException", "AuthorizationError", "AuthorizationErrorException", "Forbidden", "ForbiddenException",
		"UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"ExpiredToken", "ExpiredTokenException", "OptInRequired", "KMSAccessDeniedException", "EC2AccessDeniedException":
		return automation.PermissionFailure
	case "InternalError", "InternalFailure", "InternalServerError", "InternalServerException", "InternalServiceError", "InternalServiceException", "ServiceException", "ServiceUnavailable",
		"ServiceUnavailableException", "Unavailable", "RequestTimeout", "RequestTimeoutException", "EndpointConnectionError":
		return automation.InternalFailure
	}
	return automation.ActionFailure
}

// passing reports whether a question may be asked again because of this error.
func passing(err error) bool {
	t := trouble(err)
	return t == automation.ThrottlingFailure || t == automation.InternalFailure
}

// has reports whether an error has one of these codes.
func has(err error, codes ...string) bool {
	code := CodeOf(err)
	for _, c := range codes {
		if code == c {
			return true
		}
	}
	return false
}

// refused is the failure of a step whose request was refused. An ended context stays what it is.
func refused(ctx context.Context, api string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var known *automation.CallError
	if errors.As(err, &known) {
		return err
	}
	f := automation.Failure{Stage: automation.Invocation, Type: trouble(err)}
	code, text := CodeOf(err), fault.Clean(clipTo(messageOf(err), 2000))
	f.Message = "the operation " + api + " was refused: " + text
	if code != "" {
		code = fault.Clean(clip(code))
		f.Message = "an error occurred (" + code + ") when calling the " + api + " operation: " + text
		f.Details = map[string][]string{"ErrorCode": {code}, "Api": {api}}
	}
	return &automation.CallError{Failure: f}
}

// invalid is the failure of a step whose inputs are wrong: nothing was done.
func invalid(message string) error {
	return &automation.CallError{Failure: automation.Failure{Stage: automation.InputValidation, Type: automation.VerificationFailure, Message: message}}
}

// unexpected is the failure of a step that did what it was to do and found something else than what was to come of it.
func unexpected(message string, details map[string][]string) error {
	return &automation.CallError{Failure: automation.Failure{Stage: automation.PostVerification, Type: automation.VerificationFailure, Message: fault.Clean(clipTo(message, 2000)), Details: details}}
}

func clipTo(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// failed is the failure of a step that could not learn how things are; what passes stays for watch to judge.
func (a *actions) failed(ctx context.Context, err error) error {
	var q *question
	if passing(err) || !errors.As(err, &q) {
		return err
	}
	return refused(ctx, q.api, q.err)
}

// codeIs reports whether a step's failure is that an operation was refused with this code.
func codeIs(err error, code string) bool {
	var f *automation.CallError
	return errors.As(err, &f) && slices.Contains(f.Failure.Details["ErrorCode"], code)
}

// about adds to a failure what was made before, so that who cleans up knows.
func about(err error, name string, values ...any) error {
	var f *automation.CallError
	if !errors.As(err, &f) {
		return err
	}
	out := *f
	out.Failure.Details = map[string][]string{name: automation.Strings(values)}
	for k, v := range f.Failure.Details {
		out.Failure.Details[k] = v
	}
	return &out
}

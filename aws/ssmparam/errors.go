package ssmparam

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// failed gives an error of the SDK its code. ctx is the caller's: a deadline of ours is an outage, one of the caller's is the caller's. tells says that AWS's text may be shown.
func failed(ctx context.Context, op string, err error, tells bool) error {
	if cerr := ctx.Err(); cerr != nil {
		return fault.New(op, fault.RequestCanceled, "%w", cerr)
	}
	var params smithy.InvalidParamsError
	if errors.As(err, &params) {
		return fault.New(op, fault.Validation, "%s", said(params.Error()))
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fault.New(op, fault.ServiceUnavailable, "AWS %s", trouble(err))
	}
	code := codeOf(api, err)
	what := "AWS says " + said(api.ErrorCode())
	if m := api.ErrorMessage(); m != "" && (tells || tellsNoValue(code)) {
		what += ": " + said(m)
	}
	switch api.ErrorCode() {
	case "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidClientTokenId":
		what += "; AWS does not take the program's own credentials"
	case "ThrottlingException":
		what += "; the SDK's tries are used up"
	}
	return fault.New(op, code, "%s", what)
}

// tellsNoValue is the codes that AWS answers without looking at a value, or only at its place.
func tellsNoValue(c fault.Code) bool {
	switch c {
	case parameter.CodeAlreadyExists, parameter.CodeLimitExceeded, parameter.CodeMaxVersion, parameter.CodeLevelLimit, parameter.CodeTypeMismatch, parameter.CodeKeyID, parameter.CodeTooManyUpdates,
		fault.AccessDenied, fault.Throttling, fault.ServiceUnavailable, fault.InternalServerError:
		return true
	}
	return false
}

// codeOf returns AWS's code, spelled in one way.
func codeOf(api smithy.APIError, err error) fault.Code {
	code := api.ErrorCode()
	switch code {
	case "AccessDenied", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"InvalidClientTokenId", "OptInRequired", "NotAuthorized":
		return fault.AccessDenied
	case "Throttling", "ThrottledException", "RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "TooManyRequestsException", "BandwidthLimitExceeded", "SlowDown":
		return fault.Throttling
	case "InternalFailure", "InternalError", "InternalServerException":
		return fault.InternalServerError
	case "ServiceUnavailableException":
		return fault.ServiceUnavailable
	case "ValidationError", "InvalidParameterValue":
		return fault.Validation
	}
	if !word(code) || code == "UnknownError" { // not of AWS, but of a proxy before it
		return fault.ServiceUnavailable
	}
	if statusOf(err) >= http.StatusInternalServerError && fault.Code(code).Kind() == fault.Invalid {
		return fault.ServiceUnavailable
	}
	return fault.Code(code)
}

func word(s string) bool {
	return s != "" && len(s) <= 100 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == ""
}

func statusOf(err error) int {
	var r interface{ HTTPStatusCode() int }
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// trouble says why there was no answer, without what was read.
func trouble(err error) string {
	var unreadable *smithy.DeserializationError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled): // not as that error: nobody ended the caller's ctx
		return "did not answer in time"
	case errors.As(err, &unreadable):
		return "gave an answer that cannot be read"
	case neverSent(err):
		return "cannot be reached: check the network, the region and the endpoint"
	}
	var broken net.Error
	if errors.As(err, &broken) {
		return "did not answer: the connection broke"
	}
	return "cannot be asked: " + said(err.Error())
}

// said is a stranger's text, short and printable.
func said(s string) string {
	if s = strings.TrimSpace(s); len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return fault.Clean(s)
}

// answered reports whether an error tells what became of a write: AWS refused it, or it was never sent.
func answered(err error) bool {
	var params smithy.InvalidParamsError
	if errors.As(err, &params) || neverSent(err) {
		return true
	}
	status := statusOf(err)
	var api smithy.APIError
	if errors.As(err, &api) && (status < http.StatusInternalServerError || status == http.StatusServiceUnavailable || status == http.StatusNotImplemented) {
		return true
	}
	return status >= http.StatusBadRequest && status < http.StatusInternalServerError
}

// neverSent reports whether no connection was made, or what had to be known before one was not.
func neverSent(err error) bool {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return true
	}
	var sent *smithy.OperationError
	var request interface{ HTTPStatusCode() int }
	var send interface{ ConnectionError() bool } // *smithyhttp.RequestSendError
	return errors.As(err, &sent) && !errors.As(err, &request) && !errors.As(err, &send) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// unanswered is the error of a write that may have been done.
func unanswered(ctx context.Context, op string, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return fault.New(op, fault.OutcomeUnknown, "the call ended before AWS answered; look before you repeat it: %w", cerr)
	}
	return fault.New(op, fault.OutcomeUnknown, "AWS %s; look before you repeat it", trouble(err))
}

// quiet keeps bodies, which have values, out of the SDK's log.
func quiet(o *ssm.Options) {
	if o.ClientLogMode.IsRequestWithBody() {
		o.ClientLogMode.ClearRequestWithBody()
		o.ClientLogMode |= aws.LogRequest
	}
	if o.ClientLogMode.IsResponseWithBody() {
		o.ClientLogMode.ClearResponseWithBody()
		o.ClientLogMode |= aws.LogResponse
	}
}

// silent keeps what AWS says, which may quote values, out of it.
func silent(o *ssm.Options) { o.ClientLogMode.ClearRetries() }

// onceOnly lets the SDK try a write again only when the one before did nothing.
func onceOnly(o *ssm.Options) {
	if r, ok := retry.AddWithErrorCodes(o.Retryer).(aws.RetryerV2); ok {
		o.Retryer = once{r}
	}
}

// once is a retryer of writes.
type once struct{ aws.RetryerV2 }

// IsErrorRetryable reports whether to try again.
func (r once) IsErrorRetryable(err error) bool {
	return answered(err) && r.RetryerV2.IsErrorRetryable(err)
}

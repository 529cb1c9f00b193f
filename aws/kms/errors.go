package kms

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
)

// failed gives an error of KMS its code. ctx is the caller's: a deadline of ours is an outage, one of the caller's is the caller's.
func failed(ctx context.Context, op string, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return fault.New(op, fault.RequestCanceled, "%w", cerr)
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) { // not as that error: nobody ended the caller's ctx
			return fault.New(op, fault.ServiceUnavailable, "KMS did not answer in time")
		}
		return fault.New(op, fault.ServiceUnavailable, "KMS cannot be asked: %w", cleaned{err})
	}
	text := fault.Clean(strings.TrimSpace(api.ErrorCode() + " " + clip(api.ErrorMessage())))
	switch code := api.ErrorCode(); code {
	case "InvalidCiphertextException", "IncorrectKeyException":
		return fault.New(op, fault.DataCorrupt, "%w: KMS says %s", seal.ErrTampered, text)
	case "NotFoundException", "InvalidArnException":
		return fault.New(op, seal.InvalidKeyID, "%w: KMS says %s", seal.ErrKeyNotFound, text)
	case "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException", "InvalidGrantTokenException":
		return fault.New(op, seal.InvalidKeyID, "%w: KMS says %s", seal.ErrKeyDisabled, text)
	case "AccessDeniedException", "AccessDenied":
		return fault.New(op, fault.AccessDenied, "KMS says %s: the program's role needs the right, with the encryption context that the package comment of aws/kms describes", text)
	case "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "IncompleteSignature", "MissingAuthenticationToken", "InvalidClientTokenId":
		return fault.New(op, fault.AccessDenied, "KMS does not accept the program's own credentials: %s", text)
	case "ThrottlingException", "Throttling", "LimitExceededException", "RequestLimitExceeded", "TooManyRequestsException":
		return fault.New(op, fault.Throttling, "KMS says %s, after the SDK's tries", text)
	case "ValidationException":
		return fault.New(op, fault.Validation, "KMS says %s", text)
	}
	// KMSInternalException, DependencyTimeoutException, KeyUnavailableException, … : try again later.
	return fault.New(op, fault.ServiceUnavailable, "KMS says %s", text)
}

func clip(s string) string {
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

// cleaned is an error whose text can be shown.
type cleaned struct{ err error }

func (c cleaned) Error() string { return fault.Clean(clip(c.err.Error())) }
func (c cleaned) Unwrap() error { return c.err }

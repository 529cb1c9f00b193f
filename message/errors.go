package message

import (
	"fmt"

	"github.com/fleetwright/fleetwright/fault"
)

// The errors of opening and making messages. Those that are returned wrap them with what was found, so compare with errors.Is.
var (
	// ErrMalformed: the bytes are no message of this format, or the envelope breaks a limit (ValidationException).
	ErrMalformed error = &sentinel{"message: malformed", fault.Validation}
	// ErrNotForMe: the message is addressed to another node or another tenant (rule R-04; AccessDeniedException).
	ErrNotForMe error = &sentinel{"message: not addressed to this receiver", fault.AccessDenied}
	// ErrBadSignature: the seal or the signature does not hold: something was changed, or it was made with other keys (UnrecognizedClientException).
	ErrBadSignature error = &sentinel{"message: seal or signature does not hold", fault.Unauthorized}
	// ErrUnknownSender: the receiver has no keys for the sender that the message names, or could not look them up; the cause is wrapped (UnrecognizedClientException).
	ErrUnknownSender error = &sentinel{"message: unknown sender", fault.Unauthorized}
	// ErrExpired: the receiver's clock is before NotBefore or after NotAfter by more than the skew (ValidationException).
	ErrExpired error = &sentinel{"message: outside of its time", fault.Validation}
	// ErrReplayFull: a ReplayMemory has no room to remember another message and forgets none; try again later (ThrottlingException).
	ErrReplayFull error = &sentinel{"message: replay memory is full", fault.Throttling}
)

type sentinel struct {
	text string
	code fault.Code
}

func (s *sentinel) Error() string         { return s.text }
func (s *sentinel) FaultCode() fault.Code { return s.code }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

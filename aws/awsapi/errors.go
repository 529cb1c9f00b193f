package awsapi

import (
	"context"
	"errors"
	"strings"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"github.com/fleetwright/fleetwright/fault"
)

// failed gives an error of the SDK AWS's code and message. The message is cleaned, as a service may have put anything into it.
func failed(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var own *fault.Error
	var said smithy.APIError
	var bad smithy.InvalidParamsError
	var badPointer *smithy.InvalidParamsError
	var sign *v4.SigningError
	switch {
	case errors.As(err, &own):
		return fault.Wrap(op, err)
	case errors.As(err, &said):
		code := strings.TrimSpace(said.ErrorCode())
		if code == "" {
			code = "UnknownError"
		}
		text := said.ErrorMessage()
		if text == "" {
			text = "the service gives no reason"
		}
		return fault.New(op, fault.Code(fault.Clean(clip(code))), "%s", fault.Clean(cut(text)))
	case errors.As(err, &bad):
		return fault.New(op, fault.Validation, "%s", fault.Clean(cut(strings.Join(strings.Fields(bad.Error()), " "))))
	case errors.As(err, &badPointer):
		return fault.New(op, fault.Validation, "%s", fault.Clean(cut(strings.Join(strings.Fields(badPointer.Error()), " "))))
	case errors.As(err, &sign):
		return fault.New(op, fault.Unauthorized, "the call could not be signed: %s", fault.Clean(cut(sign.Error())))
	}
	return fault.New(op, fault.ServiceUnavailable, "the service could not be asked: %s", fault.Clean(cut(err.Error())))
}

func cut(s string) string {
	if len(s) > 2000 {
		return strings.ToValidUTF8(s[:2000], "") + "…"
	}
	return s
}

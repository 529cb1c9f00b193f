package kms

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
)

// Import opens the value of a SecureString that AWS's own Parameter Store encrypted, as GetParameter gives it WithDecryption false: base64 of what KMS's Encrypt
// returned (tier Standard, statement S26). The context is the parameter's ARN at AWS. The rights that it needs are kms:Decrypt with the key at AWS, no right to the parameter.
// keyID pins the key; "" takes the one that the ciphertext names.
//
// A value of tier Advanced is a message of the AWS Encryption SDK, which is opened too: both versions of the format with keys of 256 bits, signed or not. Errors: ErrTampered for a value that is not of that ARN or key,
// those of UnwrapKey otherwise.
func (w *Wrapper) Import(ctx context.Context, value, parameterARN, keyID string) (secret.Value, error) {
	const op = "kms.Import"
	blob, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(blob) == 0 {
		return secret.Value{}, fault.New(op, fault.Validation, "the value is not base64, so not that of a SecureString as AWS gives it without decryption")
	}
	if parameterARN == "" {
		return secret.Value{}, fault.New(op, fault.Validation, "the parameter's ARN at AWS is needed: it is the encryption context")
	}
	if isMessage(blob) {
		plain, err := w.openMessage(ctx, blob, parameterARN, keyID)
		if err != nil {
			var f *fault.Error
			if errors.As(err, &f) {
				return secret.Value{}, err
			}
			return secret.Value{}, fault.New(op, fault.DataCorrupt, "%w", err)
		}
		return secret.Take(plain), nil
	}
	if len(blob) > maxCiphertext {
		return secret.Value{}, fault.New(op, fault.DataCorrupt, "%w: it has %d bytes, more than KMS encrypts", seal.ErrTampered, len(blob))
	}
	plain, err := w.decrypt(ctx, op, keyID, blob, map[string]string{parameterKey: parameterARN})
	if err != nil {
		return secret.Value{}, err
	}
	return secret.Take(plain), nil
}

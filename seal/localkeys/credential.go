package localkeys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// maxCredential is the largest credential that systemd passes on.
const maxCredential = 1 << 20

// Credential reads a passphrase that the service manager hands to the program as a systemd credential: LoadCredential=NAME:… or LoadCredentialEncrypted=NAME:… in the unit, which may bind it to the
// machine's TPM. One line end at its end does not belong to it. directory is that of the credentials, which systemd names in the environment: os.Getenv("CREDENTIALS_DIRECTORY").
// Errors wrap fs.ErrNotExist when there is none of that name.
func Credential(directory, name string) (secret.Value, error) {
	const op = "localkeys.Credential"
	switch {
	case directory == "":
		return secret.Value{}, fault.New(op, fault.DoesNotExist, "the service manager passed no credentials (CREDENTIALS_DIRECTORY is not set): add LoadCredential=%s:… to the unit: %w", fault.Clean(name), fs.ErrNotExist)
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00"):
		return secret.Value{}, fault.New(op, fault.Validation, "%q is not the name of a credential", fault.Clean(name))
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return secret.Value{}, failed("opening the directory of credentials", err)
	}
	raw, err := func() (raw []byte, err error) {
		h, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, h.Close()) }()
		return io.ReadAll(io.LimitReader(h, maxCredential+1))
	}()
	if err = errors.Join(err, root.Close()); err != nil {
		clear(raw)
		return secret.Value{}, failed("reading the credential "+fault.Clean(name), err)
	}
	n := len(raw)
	switch {
	case n > maxCredential:
		clear(raw)
		return secret.Value{}, fault.New(op, fault.Validation, "the credential %s has more than %d bytes", fault.Clean(name), maxCredential)
	case n > 0 && raw[n-1] == '\n':
		n--
		if n > 0 && raw[n-1] == '\r' {
			n--
		}
	}
	if n == 0 {
		return secret.Value{}, fault.New(op, fault.Validation, "the credential %s is empty, which would be no protection", fault.Clean(name))
	}
	return secret.Take(raw[:n:n]), nil
}

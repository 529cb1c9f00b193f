package apt

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/internal/signed"
)

// A Verifier says which text a signed file speaks for. signature is a detached signature over signed (Release with Release.gpg); nil
// means that signed is a clear-signed file (InRelease), armour included. It returns the text that the signature covers and the
// fingerprints or key ids of the keys that made a good signature, at least one; otherwise an error. Nothing outside the text it returns may be
// trusted. A Verifier may be used by many goroutines.
//
// [Keyring] makes one of OpenPGP keys; a host that has gpgv makes one that runs it, as apt does.
type Verifier interface {
	Verify(signed, signature []byte) (text []byte, signers []string, err error)
}

// OpenInRelease reads an InRelease file, verifies its signature and parses the text that the signature covers, and only that.
// The file may have 64 MiB, or Limits.Total where that is less.
func OpenInRelease(file string, r io.Reader, v Verifier, lim *Limits) (*Release, error) {
	b, err := readSigned(file, r, lim)
	if err != nil {
		return nil, err
	}
	return openSigned(file, b, nil, v, lim)
}

// OpenRelease reads a Release file and its detached signature Release.gpg, and is otherwise like OpenInRelease.
func OpenRelease(file string, r, signature io.Reader, v Verifier, lim *Limits) (*Release, error) {
	b, err := readSigned(file, r, lim)
	if err != nil {
		return nil, err
	}
	sig, err := readSigned(file+".gpg", signature, lim)
	if err != nil {
		return nil, err
	}
	return openSigned(file, b, append(sig, '\n'), v, lim)
}

func openSigned(file string, b, sig []byte, v Verifier, lim *Limits) (*Release, error) {
	const op = "apt.OpenRelease"
	if v == nil {
		return nil, fault.New(op, fault.Validation, "%s: a Verifier is needed; use ParseRelease for an archive that is trusted without a signature", fault.Clean(file))
	}
	text, signers, err := v.Verify(b, sig)
	if err == nil && len(signers) == 0 {
		err = errors.New("no signature of a known key")
	}
	if err != nil {
		e := fault.New(op, fault.AccessDenied, "%s: the signature is not that of a trusted key", fault.Clean(file))
		e.Err = err
		return nil, e
	}
	rel, err := ParseRelease(file, bytes.NewReader(text), lim)
	if err != nil {
		return nil, err
	}
	rel.Signers = signers
	return rel, nil
}

func readSigned(file string, r io.Reader, lim *Limits) ([]byte, error) {
	const op = "apt.OpenRelease"
	l := lim.orDefault()
	most := min(l.Total, 64<<20)
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, wrap(op, file, 0, err)
	}
	if int64(len(b)) > most {
		return nil, tooBig(op, file, 0, "is longer than %d bytes", most)
	}
	return b, nil
}

// ClearText returns the text of a clear-signed file without looking at its signature, for archives that a source declares
// trusted ([trusted=yes]) and for lists that apt has verified itself. A file without armour is returned as it is.
func ClearText(file string, b []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(b, "\r\n"), []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return b, nil
	}
	text := signed.Text(b)
	if text == nil {
		return nil, bad("apt.ClearText", file, 1, "begins as a clear-signed file, but does not end as one")
	}
	return text, nil
}

// Keyring returns a Verifier that knows the keys of the given OpenPGP keyrings, each binary (.gpg) or armoured (.asc), several armoured blocks
// in one file included. now is when signatures and keys must be valid; nil is time.Now. A keyring that cannot be read, or holds
// no key, is an error. At most 16 MiB are read of each.
func Keyring(now func() time.Time, rings ...io.Reader) (Verifier, error) {
	k, err := signed.Keyring("apt.Keyring", now, rings...)
	if err != nil {
		return nil, err
	}
	return k, nil
}

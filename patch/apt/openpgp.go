package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/fleetwright/fleetwright/fault"
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
	block, _ := clearsign.Decode(b)
	if block == nil {
		return nil, bad("apt.ClearText", file, 1, "begins as a clear-signed file, but does not end as one")
	}
	return block.Plaintext, nil
}

// Keyring returns a Verifier that knows the keys of the given OpenPGP keyrings, each binary (.gpg) or armoured (.asc), several armoured blocks
// in one file included. now is when signatures and keys must be valid; nil is time.Now. A keyring that cannot be read, or holds
// no key, is an error. At most 16 MiB are read of each.
func Keyring(now func() time.Time, rings ...io.Reader) (Verifier, error) {
	const op = "apt.Keyring"
	if now == nil {
		now = time.Now
	}
	k := &keyring{now: now}
	for i, r := range rings {
		b, err := io.ReadAll(io.LimitReader(r, 16<<20+1))
		if err != nil {
			return nil, wrap(op, fmt.Sprintf("keyring %d", i+1), 0, err)
		}
		if len(b) > 16<<20 {
			return nil, tooBig(op, fmt.Sprintf("keyring %d", i+1), 0, "is longer than 16 MiB")
		}
		keys, err := readKeys(b)
		if err != nil {
			return nil, wrap(op, fmt.Sprintf("keyring %d", i+1), 0, err)
		}
		k.keys = append(k.keys, keys...)
	}
	if len(k.keys) == 0 {
		return nil, fault.New(op, fault.Validation, "the keyrings hold no key: name those of the archive, such as /usr/share/keyrings/debian-archive-keyring.gpg")
	}
	return k, nil
}

var armour = []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")

func readKeys(b []byte) (openpgp.EntityList, error) {
	if !bytes.Contains(b, armour) {
		if len(bytes.TrimSpace(b)) == 0 {
			return nil, nil
		}
		return openpgp.ReadKeyRing(bytes.NewReader(b))
	}
	var all openpgp.EntityList
	for {
		i := bytes.Index(b, armour)
		if i < 0 {
			return all, nil
		}
		next := bytes.Index(b[i+len(armour):], armour)
		block := b[i:]
		if next >= 0 {
			block = b[i : i+len(armour)+next]
		}
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(block))
		if err != nil {
			return nil, err
		}
		all, b = append(all, keys...), b[i+len(block):]
	}
}

type keyring struct {
	keys openpgp.EntityList
	now  func() time.Time
}

// Verify accepts a text with one good signature of a known key, whatever other signatures it carries, as gpgv under apt does.
func (k *keyring) Verify(signed, signature []byte) ([]byte, []string, error) {
	text := signed
	covered := signed
	if signature == nil {
		if !bytes.HasPrefix(bytes.TrimLeft(signed, "\r\n"), []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
			return nil, nil, errors.New("the file is not clear-signed")
		}
		block, rest := clearsign.Decode(signed)
		if block == nil {
			return nil, nil, errors.New("the clear-signed armour is damaged")
		}
		if len(bytes.TrimSpace(rest)) > 0 {
			return nil, nil, errors.New("there is text after the signature")
		}
		sig, err := io.ReadAll(block.ArmoredSignature.Body)
		if err != nil {
			return nil, nil, err
		}
		text, covered, signature = block.Plaintext, block.Bytes, sig
	} else if i := bytes.Index(signature, []byte("-----BEGIN PGP SIGNATURE-----")); i >= 0 {
		sig, err := unarmour(signature[i:])
		if err != nil {
			return nil, nil, err
		}
		signature = sig
	}
	config := &packet.Config{Time: k.now}
	var signers []string
	err := errors.New("there is no signature")
	// One signature at a time: the library stops at the first that it cannot check.
	for rest := bytes.NewReader(signature); rest.Len() > 0; {
		at := len(signature) - rest.Len()
		p, perr := packet.NewOpaqueReader(rest).Next()
		if perr != nil {
			break
		}
		if p.Tag != 2 {
			continue
		}
		one := signature[at : len(signature)-rest.Len()]
		signer, verr := openpgp.CheckDetachedSignature(k.keys, bytes.NewReader(covered), bytes.NewReader(one), config)
		if verr != nil {
			err = verr
			continue
		}
		signers = append(signers, fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint))
	}
	if len(signers) == 0 {
		return nil, nil, err
	}
	return text, signers, nil
}

func unarmour(b []byte) ([]byte, error) {
	block, err := armor.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(block.Body)
}

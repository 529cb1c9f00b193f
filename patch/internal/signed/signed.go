// Package signed verifies OpenPGP signatures of the metadata of package repositories over keys that are handed in.
package signed

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
	"github.com/fleetwright/fleetwright/patch/internal/packed"
)

// Text returns the text of a clear-signed file without looking at the signature, nil when b is none.
func Text(b []byte) []byte {
	block, _ := clearsign.Decode(b)
	if block == nil {
		return nil
	}
	return block.Plaintext
}

// Keyring returns a Ring that knows the keys of the given OpenPGP keyrings, each binary (.gpg) or armoured (.asc), several armoured blocks
// in one file included. now is when signatures and keys must be valid; nil is time.Now. A keyring that cannot be read, or holds
// no key, is an error. At most 16 MiB are read of each.
func Keyring(op string, now func() time.Time, rings ...io.Reader) (*Ring, error) {
	if now == nil {
		now = time.Now
	}
	k := &Ring{now: now}
	for i, r := range rings {
		b, err := io.ReadAll(io.LimitReader(r, 16<<20+1))
		if err != nil {
			return nil, packed.Wrap(op, fmt.Sprintf("keyring %d", i+1), err)
		}
		if len(b) > 16<<20 {
			return nil, fault.New(op, fault.MaxDocumentSizeExceeded, "keyring %d is longer than 16 MiB", i+1)
		}
		keys, err := readKeys(b)
		if err != nil {
			return nil, packed.Wrap(op, fmt.Sprintf("keyring %d", i+1), err)
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

// Ring is a set of keys. It may be used by many goroutines.
type Ring struct {
	keys openpgp.EntityList
	now  func() time.Time
}

// Verify accepts a text with one good signature of a known key, whatever other signatures it carries, as gpgv under apt does.
func (k *Ring) Verify(signed, signature []byte) ([]byte, []string, error) {
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

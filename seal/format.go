package seal

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

const (
	magic        = "fwc\x01"
	contextValue = "fleetwright/seal/v1/value\x00"
	contextKey   = "fleetwright/seal/v1/key\x00"

	nonceSize, tagSize = 12, 16

	// maxText is the longest field of a Binding in bytes, maxKeyID the longest key id, maxWrapped the longest wrapped data key.
	maxText, maxKeyID, maxWrapped = 2048, 512, 8192
)

// MaxPlaintext is the largest value that is sealed: with the longest header it still fits a store's value of 256 KiB.
const MaxPlaintext = 240 << 10

// Binding names the record that a ciphertext belongs to. A ciphertext opens with exactly the binding that it was sealed with.
type Binding struct {
	Tenant  string // required
	Kind    string // required: what holds the record, as "parameter"
	Name    string // required
	Version uint64
	Type    string // as "SecureString"
}

// Validate returns a ValidationException when a required field is empty or a field is over 2,048 bytes.
func (b Binding) Validate() error {
	for _, f := range [...]struct {
		name, value string
		optional    bool
	}{{"tenant", b.Tenant, false}, {"kind", b.Kind, false}, {"name", b.Name, false}, {"type", b.Type, true}} {
		switch {
		case f.value == "" && !f.optional:
			return fault.New("seal.Binding", fault.Validation, "the binding's %s is empty", f.name)
		case len(f.value) > maxText:
			return fault.New("seal.Binding", fault.Validation, "the binding's %s has %d bytes, more than %d", f.name, len(f.value), maxText)
		}
	}
	return nil
}

// String names the record for people: "kind name version 3 of tenant default".
func (b Binding) String() string {
	s := fault.Clean(b.Kind) + " " + fault.Clean(b.Name)
	if b.Version > 0 {
		s += " version " + strconv.FormatUint(b.Version, 10)
	}
	return s + " of tenant " + fault.Clean(b.Tenant)
}

// valueAAD is the associated data of the payload.
func (b Binding) valueAAD() []byte {
	a := make([]byte, 0, len(contextValue)+4*2+8+len(b.Tenant)+len(b.Kind)+len(b.Name)+len(b.Type))
	a = appendText(appendText(appendText(append(a, contextValue...), b.Tenant), b.Kind), b.Name)
	return appendText(binary.BigEndian.AppendUint64(a, b.Version), b.Type)
}

// keyAAD is the associated data of the data key. It lacks version and type, which may be settled in the transaction only; the payload binds those.
func (b Binding) keyAAD() []byte {
	a := make([]byte, 0, len(contextKey)+3*2+len(b.Tenant)+len(b.Kind)+len(b.Name))
	return appendText(appendText(appendText(append(a, contextKey...), b.Tenant), b.Kind), b.Name)
}

// BindingOf reads tenant, kind and name out of the associated data that a Box hands to its Wrapper, for a driver that shows them to its key service, as the
// encryption context of KMS. ok is false for any other bytes.
func BindingOf(aad []byte) (b Binding, ok bool) {
	rest, ok := strings.CutPrefix(string(aad), contextKey)
	if !ok {
		return Binding{}, false
	}
	for _, f := range []*string{&b.Tenant, &b.Kind, &b.Name} {
		if *f, rest, ok = cutText(rest, maxText); !ok {
			return Binding{}, false
		}
	}
	if rest != "" || b.Validate() != nil {
		return Binding{}, false
	}
	return b, true
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func cutText[T string | []byte](s T, limit int) (text, rest T, ok bool) {
	if len(s) < 2 {
		return text, rest, false
	}
	n := int(s[0])<<8 | int(s[1])
	if n > limit || n > len(s)-2 {
		return text, rest, false
	}
	return s[2 : 2+n], s[2+n:], true
}

// header makes the beginning of a ciphertext.
func header(w Wrapped) ([]byte, error) {
	switch {
	case w.KeyID == "" || len(w.KeyID) > maxKeyID:
		return nil, fmt.Errorf("seal: the key service gave a key id of %d bytes, not 1 to %d", len(w.KeyID), maxKeyID)
	case len(w.Data) == 0 || len(w.Data) > maxWrapped:
		return nil, fmt.Errorf("seal: the key service gave a wrapped key of %d bytes, not 1 to %d", len(w.Data), maxWrapped)
	}
	h := make([]byte, 0, len(magic)+4+len(w.KeyID)+len(w.Data))
	return appendText(appendText(append(h, magic...), w.KeyID), w.Data), nil
}

// parse splits a ciphertext into the wrapped data key and nonce with payload. Both share its bytes.
func parse(ciphertext []byte) (w Wrapped, sealed []byte, err error) {
	rest := ciphertext
	if len(rest) < len(magic) || string(rest[:len(magic)]) != magic {
		return w, nil, fmt.Errorf("%w: it does not begin as a ciphertext does", ErrTampered)
	}
	id, rest, ok := cutText(rest[len(magic):], maxKeyID)
	if !ok || len(id) == 0 {
		return w, nil, fmt.Errorf("%w: its key id is cut or too long", ErrTampered)
	}
	data, rest, ok := cutText(rest, maxWrapped)
	if !ok || len(data) == 0 {
		return w, nil, fmt.Errorf("%w: its data key is cut or too long", ErrTampered)
	}
	if len(rest) < nonceSize+tagSize || len(rest) > nonceSize+tagSize+MaxPlaintext {
		return w, nil, fmt.Errorf("%w: its payload is cut or too long", ErrTampered)
	}
	return Wrapped{KeyID: string(id), Data: data}, rest, nil
}

// KeyID tells which key-encryption key a ciphertext needs, without opening it. It is not verified before Open. Errors are ErrTampered.
func KeyID(ciphertext []byte) (string, error) {
	w, _, err := parse(ciphertext)
	if err != nil {
		return "", fault.New("seal.KeyID", fault.DataCorrupt, "%w", err)
	}
	return w.KeyID, nil
}

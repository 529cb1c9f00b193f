package localkeys

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
)

const (
	formatName   = "fleetwright/localkeys/v1"
	kdfName      = "PBKDF2-HMAC-SHA-256"
	contextCheck = "fleetwright/localkeys/v1/check\x00"
	contextFile  = "fleetwright/localkeys/v1/file\x00"
	contextGuard = "fleetwright/localkeys/v1/guard\x00"

	defaultIterations = 600_000
	minIterations     = 1_000
	maxIterations     = 10_000_000 // so that a file cannot hold up the start for hours
)

// generation is one key.
type generation struct {
	id      string
	created time.Time // in seconds
	key     secret.Value
	stored  secret.Value // as it is written: the key, or the key encrypted under the guard; made once, so that a file is rewritten with the same bytes
}

// state is what a file holds. States are values: a change makes a new one.
type state struct {
	guard   *guard // nil without a passphrase
	primary string
	keys    []generation // the oldest first
}

func (s state) with(g generation) state {
	return state{guard: s.guard, primary: g.id, keys: append(slices.Clone(s.keys), g)}
}

func (s state) without(id string) (state, error) {
	i := slices.IndexFunc(s.keys, func(g generation) bool { return g.id == id })
	switch {
	case i < 0:
		return s, fault.New("localkeys.Remove", seal.InvalidKeyID, "%w: the key file has no key %q", seal.ErrKeyNotFound, fault.Clean(id))
	case id == s.primary:
		return s, fault.New("localkeys.Remove", fault.Validation, "key %s is the primary key: rotate first", id)
	}
	return state{guard: s.guard, primary: s.primary, keys: slices.Delete(slices.Clone(s.keys), i, i+1)}, nil
}

// guard encrypts keys under a passphrase.
type guard struct {
	salt       []byte
	iterations int
	aead       cipher.AEAD
}

func newGuard(passphrase secret.Value, iterations int) (*guard, error) {
	if passphrase.IsZero() {
		return nil, nil
	}
	if iterations == 0 {
		iterations = defaultIterations
	}
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // crypto/rand.Read never fails
	return openGuard(passphrase, salt, iterations)
}

func openGuard(passphrase secret.Value, salt []byte, iterations int) (*guard, error) {
	if iterations < minIterations || iterations > maxIterations {
		return nil, fault.New("localkeys.Open", fault.Validation, "%d iterations are not between %d and %d", iterations, minIterations, maxIterations)
	}
	if len(salt) != 16 {
		return nil, fault.New("localkeys.Open", fault.Validation, "the salt has %d bytes, not 16", len(salt))
	}
	k, err := pbkdf2.Key(sha256.New, string(passphrase.Reveal()), salt, iterations, keySize)
	if err != nil {
		return nil, fmt.Errorf("localkeys: deriving the key of the passphrase: %w", err)
	}
	defer clear(k)
	a, err := newAEAD(k)
	if err != nil {
		return nil, err
	}
	return &guard{salt: salt, iterations: iterations, aead: a}, nil
}

func (g *guard) aad(k *generation) []byte {
	b := appendText(append([]byte(nil), contextGuard...), k.id)
	return binary.BigEndian.AppendUint64(b, uint64(k.created.Unix()))
}

// check is a value by which a key is recognised without being shown.
func (g *generation) check() []byte {
	m := hmac.New(sha256.New, g.key.Reveal())
	m.Write([]byte(contextCheck))
	m.Write(appendText(nil, g.id))
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(g.created.Unix())))
	return m.Sum(nil)[:16]
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// The JSON of a file.
type (
	fileJSON struct {
		Format     string     `json:"format"`
		Protection *guardJSON `json:"protection,omitempty"`
		Primary    string     `json:"primary"`
		Keys       []keyJSON  `json:"keys"`
		MAC        []byte     `json:"mac"`
	}
	guardJSON struct {
		KDF        string `json:"kdf"`
		Iterations int    `json:"iterations"`
		Salt       []byte `json:"salt"`
	}
	keyJSON struct {
		ID      string    `json:"id"`
		Created time.Time `json:"created"`
		Key     []byte    `json:"key"`
		Check   []byte    `json:"check"`
	}
)

// encode renders a state; the same state gives the same bytes.
func encode(s state) ([]byte, error) {
	f := fileJSON{Format: formatName, Primary: s.primary}
	if s.guard != nil {
		f.Protection = &guardJSON{KDF: kdfName, Iterations: s.guard.iterations, Salt: s.guard.salt}
	}
	for i := range s.keys {
		g := &s.keys[i]
		if g.stored.IsZero() {
			g.stored = g.key
			if s.guard != nil {
				g.stored = secret.Take(s.guard.aead.Seal(nil, nil, g.key.Reveal(), s.guard.aad(g)))
			}
		}
		f.Keys = append(f.Keys, keyJSON{ID: g.id, Created: g.created, Key: g.stored.Reveal(), Check: g.check()})
	}
	f.MAC = mac(s, f)
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("localkeys: %w", err)
	}
	return append(b, '\n'), nil
}

// mac is over everything else in the file, under the primary key.
func mac(s state, f fileJSON) []byte {
	for i := range s.keys {
		if s.keys[i].id == s.primary {
			f.MAC = nil
			b, err := json.Marshal(f)
			if err != nil {
				return nil
			}
			m := hmac.New(sha256.New, s.keys[i].key.Reveal())
			m.Write([]byte(contextFile))
			m.Write(b)
			return m.Sum(nil)
		}
	}
	return nil
}

// decode reads what encode rendered and nothing else.
func decode(raw []byte, passphrase secret.Value) (state, error) {
	return decodeBy(raw, func(g *guardJSON) (*guard, error) {
		switch {
		case g == nil && !passphrase.IsZero():
			return nil, errors.New("a passphrase was given and the file is not protected by one: either it is another file, or leave the passphrase out")
		case g == nil:
			return nil, nil
		case passphrase.IsZero():
			return nil, errors.New("it is protected by a passphrase and none was given")
		}
		return openGuard(passphrase, g.Salt, g.Iterations)
	})
}

// decodeAs is decode for a file that was open before: its protection must be the same still, since the passphrase is not kept.
func decodeAs(raw []byte, old *guard) (state, error) {
	return decodeBy(raw, func(g *guardJSON) (*guard, error) {
		if (g == nil) != (old == nil) || g != nil && (g.Iterations != old.iterations || !bytes.Equal(g.Salt, old.salt)) {
			return nil, errors.New("its protection was changed: open it again, with the passphrase that it has now")
		}
		return old, nil
	})
}

func decodeBy(raw []byte, protection func(g *guardJSON) (*guard, error)) (state, error) {
	var f fileJSON
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return state{}, fmt.Errorf("it is cut, damaged or no key file: %w", jsonError(err))
	}
	var s state
	switch {
	case f.Format != formatName:
		return s, fmt.Errorf("its format is %q, and this program reads %q", fault.Clean(f.Format), formatName)
	case len(f.Keys) == 0 || len(f.Keys) > maxKeys:
		return s, fmt.Errorf("it holds %d keys, not 1 to %d", len(f.Keys), maxKeys)
	case f.Protection != nil && f.Protection.KDF != kdfName:
		return s, fmt.Errorf("its key derivation is %q, and this program knows %q", fault.Clean(f.Protection.KDF), kdfName)
	}
	var err error
	if s.guard, err = protection(f.Protection); err != nil {
		return s, err
	}
	s.primary = f.Primary
	primary := false
	for i, kj := range f.Keys {
		g := generation{id: kj.ID, created: kj.Created, stored: secret.New(kj.Key)}
		if !validID(kj.ID) || slices.ContainsFunc(s.keys, func(o generation) bool { return o.id == kj.ID }) {
			return s, fmt.Errorf("the id of key %d is damaged", i+1)
		}
		key := kj.Key
		if s.guard != nil {
			var err error
			if key, err = s.guard.aead.Open(nil, nil, kj.Key, s.guard.aad(&g)); err != nil {
				return s, fmt.Errorf("key %s does not open: the passphrase is wrong, or the file is damaged", kj.ID)
			}
		}
		if len(key) != keySize {
			return s, fmt.Errorf("key %s has %d bytes, not %d", kj.ID, len(key), keySize)
		}
		g.key = secret.New(key)
		if !hmac.Equal(g.check(), kj.Check) {
			return s, fmt.Errorf("key %s does not match its check value: the file is damaged; restore it from a backup", kj.ID)
		}
		s.keys = append(s.keys, g)
		primary = primary || g.id == f.Primary
	}
	if !primary {
		return s, errors.New("it names a primary key that it does not hold")
	}
	again, err := encode(s)
	if err != nil {
		return s, err
	}
	if !hmac.Equal(again, raw) {
		return s, errors.New("it is not as this program wrote it: it was edited or damaged; restore it from a backup")
	}
	return s, nil
}

// validID reports whether id is "lk-" and 16 hex digits.
func validID(id string) bool {
	if len(id) != 19 || id[:3] != "lk-" {
		return false
	}
	for _, c := range id[3:] {
		if ('0' > c || c > '9') && ('a' > c || c > 'f') {
			return false
		}
	}
	return true
}

// jsonError keeps the place and drops the text, which may be of a key.
func jsonError(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("its JSON ends or breaks at byte %d", syntax.Offset)
	}
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) {
		return fmt.Errorf("its field %s is of the wrong type", typ.Field)
	}
	return errors.New("its JSON has unknown or damaged fields")
}

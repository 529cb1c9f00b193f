package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// InvalidKeyID is AWS's code for a key that cannot be used: unknown or disabled.
const InvalidKeyID fault.Code = "InvalidKeyId"

// BoxOptions are the choices of NewBox; nil is the zero value.
type BoxOptions struct {
	// CacheKeys is how many unwrapped data keys are remembered for decryption, so that reading again costs no call of the key service; 0 is 1,024, negative
	// is none. Encryption never uses a data key again.
	CacheKeys int
	// CacheFor is how long one is remembered at most; 0 is five minutes. A key that was disabled at the service may open values for that long: see Forget.
	CacheFor time.Duration
	// Now is the clock of the cache; nil is time.Now.
	Now func() time.Time
}

// Box seals and opens values by a key service. All methods are safe for concurrent use.
type Box struct {
	wrapper Wrapper
	cache   *cache
	random  io.Reader
}

// NewBox returns a box over the key service w. Without one (nil) every method fails: nothing is ever stored in the clear (rule R-16).
func NewBox(w Wrapper, o *BoxOptions) *Box {
	if o == nil {
		o = &BoxOptions{}
	}
	c := &cache{limit: o.CacheKeys, life: o.CacheFor, now: o.Now}
	if c.limit == 0 {
		c.limit = 1024
	}
	if c.life <= 0 {
		c.life = 5 * time.Minute
	}
	if c.now == nil {
		c.now = time.Now
	}
	return &Box{wrapper: w, cache: c, random: rand.Reader}
}

// Sealer seals the values of one record under a data key of its own, without I/O. It is made for one transaction with its reruns: drop it afterwards. All methods are safe for concurrent use.
type Sealer struct {
	aead    cipher.AEAD
	random  io.Reader
	header  []byte
	keyID   string
	binding Binding
}

// Format writes "seal.Box", whatever the verb: no formatter comes to data keys.
func (x *Box) Format(f fmt.State, _ rune) { io.WriteString(f, "seal.Box") } //nolint:errcheck // fmt.State never fails

// Format writes the record, whatever the verb: no formatter comes to the data key.
func (s *Sealer) Format(f fmt.State, _ rune) {
	io.WriteString(f, "seal.Sealer for "+s.binding.String())
} //nolint:errcheck // fmt.State never fails

// Prepare makes a data key, has it wrapped by the key of that id ("" is the service's primary key), and returns a Sealer for the record. It may use the network: call it before the
// transaction, not inside. Errors: ErrKeyNotFound, ErrKeyDisabled, ctx's, or whatever the key service gives.
func (x *Box) Prepare(ctx context.Context, keyID string, b Binding) (*Sealer, error) {
	if err := x.usable(b); err != nil {
		return nil, err
	}
	key, w, err := GenerateDataKey(ctx, x.wrapper, keyID, b.keyAAD())
	if err != nil {
		return nil, failed("seal.Prepare", b, err)
	}
	defer clear(key)
	h, err := header(w)
	if err != nil {
		return nil, failed("seal.Prepare", b, err)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, failed("seal.Prepare", b, err)
	}
	return &Sealer{aead: aead, random: x.random, header: h, keyID: w.KeyID, binding: b}, nil
}

// KeyID returns the id of the key-encryption key, also when "" was asked for.
func (s *Sealer) KeyID() string { return s.keyID }

// Seal returns the ciphertext of the value for the record that was prepared, each time with a new nonce. The only error is a value over MaxPlaintext.
func (s *Sealer) Seal(plaintext secret.Value) ([]byte, error) { return s.seal(s.binding, plaintext) }

// SealVersion is Seal for another version of the record, for when the version is settled in the transaction only.
func (s *Sealer) SealVersion(version uint64, plaintext secret.Value) ([]byte, error) {
	b := s.binding
	b.Version = version
	return s.seal(b, plaintext)
}

func (s *Sealer) seal(b Binding, plaintext secret.Value) ([]byte, error) {
	if plaintext.Len() > MaxPlaintext {
		return nil, fault.New("seal.Seal", fault.Validation, "the value of %s has %d bytes, more than %d", b, plaintext.Len(), MaxPlaintext)
	}
	n := len(s.header)
	out := make([]byte, n+nonceSize, n+nonceSize+plaintext.Len()+tagSize)
	copy(out, s.header)
	nonce := out[n:]
	if _, err := io.ReadFull(s.random, nonce); err != nil {
		return nil, fault.New("seal.Seal", fault.InternalServerError, "making a nonce: %w", err)
	}
	return s.aead.Seal(out, nonce, plaintext.Reveal(), b.valueAAD()), nil
}

// Open returns the value of a ciphertext of that record. Errors: ErrTampered when it is not what was sealed for exactly this record, ErrKeyNotFound, ErrKeyDisabled, ctx's, or
// whatever the key service gives. They name the record and never hold any of its bytes.
func (x *Box) Open(ctx context.Context, ciphertext []byte, b Binding) (secret.Value, error) {
	if err := x.usable(b); err != nil {
		return secret.Value{}, err
	}
	if err := ctx.Err(); err != nil {
		return secret.Value{}, failed("seal.Open", b, err)
	}
	w, sealed, err := parse(ciphertext)
	if err != nil {
		return secret.Value{}, failed("seal.Open", b, err)
	}
	aad := b.keyAAD()
	at := cacheKey(w, aad)
	aead, ok := x.cache.get(at)
	if !ok {
		key, err := x.unwrap(ctx, w, aad)
		if err != nil {
			return secret.Value{}, failed("seal.Open", b, err)
		}
		defer clear(key)
		if aead, err = newAEAD(key); err != nil {
			return secret.Value{}, failed("seal.Open", b, err)
		}
	}
	plain, err := open(aead, sealed, b)
	if err != nil {
		return secret.Value{}, failed("seal.Open", b, err)
	}
	if !ok {
		x.cache.put(at, aead)
	}
	return secret.Take(plain), nil
}

// Rewrap returns the ciphertext with its data key wrapped by the key of that id ("" is the service's primary key), its payload untouched. It opens the value before, and unwraps the new
// wrap after, so that what it returns can be opened as surely as what it got. A ciphertext that has that very key already comes back as it is, so that
// a rotation can be resumed.
func (x *Box) Rewrap(ctx context.Context, ciphertext []byte, keyID string, b Binding) ([]byte, error) {
	if err := x.usable(b); err != nil {
		return nil, err
	}
	out, err := x.rewrap(ctx, ciphertext, keyID, b)
	if err != nil {
		return nil, failed("seal.Rewrap", b, err)
	}
	return out, nil
}

func (x *Box) rewrap(ctx context.Context, ciphertext []byte, keyID string, b Binding) ([]byte, error) {
	old, sealed, err := parse(ciphertext)
	if err != nil {
		return nil, err
	}
	aad := b.keyAAD()
	key, err := x.unwrap(ctx, old, aad)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := open(aead, sealed, b)
	if err != nil {
		return nil, err
	}
	clear(plain)
	if old.KeyID == keyID {
		return bytes.Clone(ciphertext), nil
	}
	w, err := x.wrapper.WrapKey(ctx, keyID, key, aad)
	if err != nil {
		return nil, err
	}
	again, err := x.unwrap(ctx, w, aad)
	if err != nil {
		return nil, fmt.Errorf("the new wrap does not open, so the old one stays: %w", err)
	}
	defer clear(again)
	if subtle.ConstantTimeCompare(key, again) != 1 {
		return nil, errors.New("the new wrap opens to another key, so the old one stays: the key service is broken")
	}
	h, err := header(w)
	if err != nil {
		return nil, err
	}
	if w.KeyID == old.KeyID { // "" was that key already
		return bytes.Clone(ciphertext), nil
	}
	return append(h, sealed...), nil
}

// Forget drops every data key that is remembered for decryption: the next reading of each value asks the key service again.
func (x *Box) Forget() { x.cache.forget() }

// check is the record that MakeCheck binds to.
func check() Binding { return Binding{Tenant: "-", Kind: "key check", Name: "-"} }

// MakeCheck returns a check value: a ciphertext to be kept beside the data, by which VerifyCheck recognises at the next start a key service that has not the keys of this data.
func (x *Box) MakeCheck(ctx context.Context) ([]byte, error) {
	s, err := x.Prepare(ctx, "", check())
	if err != nil {
		return nil, err
	}
	return s.Seal(secret.String("fleetwright"))
}

// VerifyCheck returns nil when the key service can open what MakeCheck made.
func (x *Box) VerifyCheck(ctx context.Context, value []byte) error {
	_, err := x.Open(ctx, value, check())
	return err
}

func (x *Box) usable(b Binding) error {
	if x.wrapper == nil {
		return fault.New("seal.Box", InvalidKeyID, "no key service is configured, so no secret can be stored or read: configure one, such as a key file (seal/localkeys)")
	}
	return b.Validate()
}

func (x *Box) unwrap(ctx context.Context, w Wrapped, aad []byte) ([]byte, error) {
	key, err := x.wrapper.UnwrapKey(ctx, w, aad)
	if err != nil {
		return nil, err
	}
	if len(key) != dataKeySize {
		n := len(key)
		clear(key)
		return nil, fmt.Errorf("%w: the data key has %d bytes, not %d", ErrTampered, n, dataKeySize)
	}
	return key, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != dataKeySize {
		return nil, fmt.Errorf("the key service made a data key of %d bytes, not %d", len(key), dataKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func open(aead cipher.AEAD, sealed []byte, b Binding) ([]byte, error) {
	plain, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], b.valueAAD())
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed, or belongs to another record, version or type", ErrTampered)
	}
	return plain, nil
}

// failed gives an error its code and the name of the record.
func failed(op string, b Binding, err error) error {
	code := fault.CodeOf(err)
	switch {
	case errors.Is(err, ErrTampered):
		code = fault.DataCorrupt
	case errors.Is(err, ErrKeyNotFound), errors.Is(err, ErrKeyDisabled):
		code = InvalidKeyID
	case code == fault.InternalServerError:
		code = fault.ServiceUnavailable
	}
	return fault.New(op, code, "%s: %w", b, err)
}

package message

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"

	"github.com/fleetwright/fleetwright/secret"
)

// SeedSize is the size of an identity's seed in bytes: 32 for the Ed25519 key, 32 for the X25519 key.
const SeedSize = 64

// Identity is who signs and opens messages: the control plane for one tenant, or one node, with its private keys. All methods are safe for concurrent
// use. Printing one shows its name and never its keys.
type Identity struct {
	tenant, name string
	// own is a function because no formatter looks into one: fmt follows a pointer in a field that is not exported for some verbs.
	own func() *own
}

// own is what only the identity itself has.
type own struct {
	sign   ed25519.PrivateKey
	seal   *ecdh.PrivateKey
	sealer *sealer
	opened *shares // by the sender's ephemeral key
}

// NewIdentity makes an identity with new keys from rand, crypto/rand when it is nil. rand is not used afterwards: what sealing needs always comes from crypto/rand.
func NewIdentity(tenant, name string, random io.Reader) (*Identity, error) {
	if random == nil {
		random = rand.Reader
	}
	seed := make([]byte, SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("message: making the keys of %s: %w", show(name), err)
	}
	defer clear(seed)
	return newIdentity(tenant, name, seed)
}

// IdentityFromSeed makes the identity whose Seed was kept. Errors are ErrMalformed and do not hold the seed.
func IdentityFromSeed(tenant, name string, seed secret.Value) (*Identity, error) {
	return newIdentity(tenant, name, seed.Reveal())
}

func newIdentity(tenant, name string, seed []byte) (*Identity, error) {
	switch {
	case !ValidName(tenant):
		return nil, malformed("tenant %s is not a valid name", show(tenant))
	case !ValidName(name):
		return nil, malformed("name %s is not valid", show(name))
	case len(seed) != SeedSize:
		return nil, malformed("a seed has %d bytes, not %d", SeedSize, len(seed))
	}
	sealKey, err := ecdh.X25519().NewPrivateKey(seed[32:])
	if err != nil {
		return nil, malformed("the seed gives no X25519 key")
	}
	keys := &own{sign: ed25519.NewKeyFromSeed(seed[:32]), seal: sealKey, sealer: &sealer{random: rand.Reader}, opened: &shares{limit: maxOpened}}
	return &Identity{tenant: tenant, name: name, own: func() *own { return keys }}, nil
}

// Tenant returns the identity's tenant.
func (id *Identity) Tenant() string { return id.tenant }

// Name returns the identity's name, Controller or a node id.
func (id *Identity) Name() string { return id.name }

// Seed returns what IdentityFromSeed makes the same keys from. Keep it where only its owner reads (0600).
func (id *Identity) Seed() secret.Value {
	b := append(id.own().sign.Seed(), id.own().seal.Bytes()...)
	defer clear(b)
	return secret.New(b)
}

// Public returns what others need to know of the identity. The caller owns it.
func (id *Identity) Public() Peer {
	return Peer{Tenant: id.tenant, Name: id.name, SignKey: append([]byte(nil), id.own().sign[32:]...), SealKey: id.own().seal.PublicKey().Bytes()}
}

// Sign returns the Ed25519ctx signature (64 bytes) of msg under a context of 1 to 255 bytes, which keeps signatures of different purposes apart: use one
// that begins with the package's own name. For any other context it returns nil, which nobody accepts.
func (id *Identity) Sign(context string, msg []byte) []byte {
	if context == "" || len(context) > 255 {
		return nil
	}
	sig, err := id.own().sign.Sign(nil, msg, &ed25519.Options{Context: context})
	if err != nil {
		return nil
	}
	return sig
}

// Signer returns the Ed25519 key for protocols that sign by themselves, such as TLS with a client certificate. Signatures made so (pure Ed25519) never pass for those of
// Sign, nor the other way round.
func (id *Identity) Signer() crypto.Signer { return id.own().sign }

// String returns "tenant/name".
func (id Identity) String() string { return id.tenant + "/" + id.name }

// Format writes String, whatever the verb.
func (id Identity) Format(f fmt.State, _ rune) { io.WriteString(f, id.String()) } //nolint:errcheck // fmt.State never fails

// LogValue returns String.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// MarshalText returns String, so that no encoder meets the keys.
func (id Identity) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// Peer is the public half of an Identity: what a node pins of the control plane, and the control plane keeps of a node.
type Peer struct {
	Tenant  string `json:"tenant"`
	Name    string `json:"name"`
	SignKey []byte `json:"signKey"` // Ed25519 public key, 32 bytes
	SealKey []byte `json:"sealKey"` // X25519 public key, 32 bytes
}

// Validate reports what is wrong with p as an ErrMalformed: names, sizes (rule R-19), and keys of small order, with which anybody could sign or read. Call it before a key is stored.
func (p Peer) Validate() error {
	switch {
	case !ValidName(p.Tenant):
		return malformed("tenant %s is not a valid name", show(p.Tenant))
	case !ValidName(p.Name):
		return malformed("name %s is not valid", show(p.Name))
	case len(p.SignKey) != ed25519.PublicKeySize:
		return malformed("the sign key of %s has %d bytes, not %d", p.Name, len(p.SignKey), ed25519.PublicKeySize)
	case smallOrder(p.SignKey):
		return malformed("the sign key of %s is of small order", p.Name)
	}
	pub, err := ecdh.X25519().NewPublicKey(p.SealKey)
	if err != nil {
		return malformed("the seal key of %s has %d bytes, not 32", p.Name, len(p.SealKey))
	}
	probe, err := ecdh.X25519().NewPrivateKey(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		return malformed("the seal key of %s cannot be checked", p.Name)
	}
	if _, err := probe.ECDH(pub); err != nil {
		return malformed("the seal key of %s is of small order", p.Name)
	}
	return nil
}

// Verify reports whether sig is p's signature of msg under the context.
func (p Peer) Verify(context string, msg, sig []byte) bool {
	if context == "" || len(context) > 255 || len(p.SignKey) != ed25519.PublicKeySize || len(sig) != ed25519.SignatureSize {
		return false
	}
	return ed25519.VerifyWithOptions(p.SignKey, msg, sig, &ed25519.Options{Context: context}) == nil
}

// The y coordinates of the points of order 1, 2, 4 and 8 of edwards25519, little endian, and those encodings of them that are not reduced.
const (
	y0     = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // order 4
	y1     = "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // order 1
	y8a    = "\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05" // order 8
	y8b    = "\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a" // order 8
	pTail  = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
	pLess1 = "\xec" + pTail // p-1: order 2
	pZero  = "\xed" + pTail // p: 0 again
	pPlus1 = "\xee" + pTail // p+1: 1 again
)

// smallOrder reports whether an encoded Ed25519 point has an order of at most 8. The sign of x does not matter for that.
func smallOrder(key []byte) bool {
	y := [32]byte(key)
	y[31] &= 0x7f
	switch string(y[:]) {
	case y0, y1, y8a, y8b, pLess1, pZero, pPlus1:
		return true
	}
	return false
}

package natstransport

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// Keys are what the control planes of a fleet share and brokers and nodes do not have: the key that planes show to brokers, the one that they sign with what each node may do, and
// the one with which they end connections.
type Keys struct {
	issuer, plane, system nkeys.KeyPair
	trust                 Trust
}

// Trust is what a broker must be told of the planes' keys; nothing of it is secret. See [Trust.Config] for brokers that are configured by file, and package broker for the embedded one.
type Trust struct {
	Account string // the account that planes and nodes are in
	System  string // the system account
	Issuer  string // account nkey: signs what a node may do
	Plane   string // user nkey of the planes
	Kicker  string // user nkey of the planes in the system account
}

// NewKeys derives the keys from a secret of at least 32 random bytes, which every plane of the fleet is given.
func NewKeys(shared secret.Value) (Keys, error) {
	const op = "natstransport.NewKeys"
	if shared.Len() < 32 {
		return Keys{}, fault.New(op, fault.InvalidParameters, "the shared secret has %d bytes; give at least 32 random ones", shared.Len())
	}
	var k Keys
	for _, d := range []struct {
		what   string
		prefix nkeys.PrefixByte
		pair   *nkeys.KeyPair
		public *string
	}{
		{"issuer", nkeys.PrefixByteAccount, &k.issuer, &k.trust.Issuer},
		{"plane", nkeys.PrefixByteUser, &k.plane, &k.trust.Plane},
		{"kicker", nkeys.PrefixByteUser, &k.system, &k.trust.Kicker},
	} {
		seed, err := hkdf.Key(sha256.New, shared.Reveal(), nil, "fleetwright nats key v1: "+d.what, ed25519.SeedSize)
		if err != nil {
			return Keys{}, fault.Wrap(op, err)
		}
		if *d.pair, err = nkeys.FromRawSeed(d.prefix, seed); err != nil {
			return Keys{}, fault.Wrap(op, err)
		}
		if *d.public, err = (*d.pair).PublicKey(); err != nil {
			return Keys{}, fault.Wrap(op, err)
		}
	}
	k.trust.Account, k.trust.System = "FLEET", "SYS"
	return k, nil
}

// Trust returns the public part.
func (k Keys) Trust() Trust { return k.trust }

// String shows nothing of the keys.
func (Keys) String() string { return "natstransport.Keys(" + secret.Mask + ")" }

// GoString shows nothing of the keys.
func (k Keys) GoString() string { return k.String() }

// Config returns the part of a nats-server's configuration that makes it the fleet's broker: include it in the file of each server of the cluster. The rest of the file (listen, tls, cluster) is the
// operator's. auth_timeout is how long a plane may take to answer for a node; ping_interval makes a broker miss a plane that is stopped without a word.
func (t Trust) Config() string {
	return fmt.Sprintf(`accounts {
  %[1]s { users: [ { nkey: %[3]s } ] }
  %[2]s { users: [ { nkey: %[4]s } ] }
}
system_account: %[2]s
authorization {
  timeout: 10
  auth_callout { issuer: %[5]s, account: %[1]s, auth_users: [ %[3]s, %[4]s ] }
}
ping_interval: "10s"
ping_max: 2
`, t.Account, t.System, t.Plane, t.Kicker, t.Issuer)
}

// byNkey shows a key pair.
func byNkey(k nkeys.KeyPair, public string) nats.Option {
	return nats.Nkey(public, k.Sign)
}

// bySigner shows a node's key. It signs nothing but what can only be a broker's nonce: no other thing that the key signs anywhere consists of those characters alone (rule R-19).
func bySigner(key crypto.Signer) (nats.Option, error) {
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fault.New("natstransport.Node", fault.InvalidParameters, "Key is a %T; only Ed25519 is taken", key.Public())
	}
	user, err := nkeys.Encode(nkeys.PrefixByteUser, pub)
	if err != nil {
		return nil, err
	}
	return nats.Nkey(string(user), func(nonce []byte) ([]byte, error) {
		if !validNonce(nonce) {
			return nil, fault.New("natstransport.Node", fault.InvalidParameters, "the broker asked for a signature of something that is no nonce")
		}
		return key.Sign(nil, nonce, crypto.Hash(0))
	}), nil
}

// validNonce reports whether b can be a nonce of a nats-server: 11 to 64 characters of base64url.
func validNonce(b []byte) bool {
	if len(b) < 11 || len(b) > 64 {
		return false
	}
	for _, c := range b {
		if !plainByte(c) {
			return false
		}
	}
	return true
}

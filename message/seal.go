package message

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	contextKind = "fleetwright/message/v1/"
	contextSeal = "fleetwright/message/v1/seal\x00"

	keySize, nonceSize, tagSize = 32, 12, 16

	maxShares = 8192 // per generation: receivers that a sender remembers a share for
	maxOpened = 4096 // per generation: ephemeral keys that a receiver remembers a share for
)

// A sender's ephemeral key serves at most EphemeralUses messages, and messages whose NotBefore are at most EphemeralAge apart.
const (
	EphemeralUses = 1 << 16
	EphemeralAge  = 10 * time.Minute
)

// ephemeral is a sender's short-lived X25519 key with what it gave with each receiver.
type ephemeral struct {
	key    *ecdh.PrivateKey
	public []byte
	uses   int
	since  time.Time // NotBefore of its first message: the sender's clock without asking for one
	shares shares
}

type sealer struct {
	random io.Reader
	mu     sync.Mutex
	now    *ephemeral
}

// take returns the ephemeral key for a message of that NotBefore.
func (s *sealer) take(notBefore time.Time) (*ephemeral, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.now; e != nil && e.uses < EphemeralUses && notBefore.Sub(e.since).Abs() <= EphemeralAge {
		e.uses++
		return e, nil
	}
	b := make([]byte, 32)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return nil, fmt.Errorf("message: making an ephemeral key: %w", err)
	}
	defer clear(b)
	key, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("message: making an ephemeral key: %w", err)
	}
	s.now = &ephemeral{key: key, public: key.PublicKey().Bytes(), uses: 1, since: notBefore, shares: shares{limit: maxShares}}
	return s.now, nil
}

// Codec carries envelopes as bytes. An Identity is one that signs and seals; Plain is one that does neither, for channels that are authenticated otherwise
// (inside one process). Neither reads what the other wrote. Both are safe for concurrent use.
type Codec interface {
	// Seal fills in Tenant, From and To and returns the message for the peer.
	Seal(to Peer, e Envelope) ([]byte, error)
	// Open returns the envelope once everything about it was checked. from gives the keys of the sender that it names; skew 0 is DefaultSkew.
	Open(data []byte, from func(name string) (Peer, error), now time.Time, skew time.Duration) (Envelope, error)
}

// Seal sets e's Tenant, From and To from the identity and the peer, signs it, and seals it so that only the peer can open it. It does not keep or change e.Body.
// Errors are ErrMalformed: an envelope over its limits, a peer of another tenant or with keys of wrong size.
func (id *Identity) Seal(to Peer, e Envelope) ([]byte, error) {
	if to.Tenant != id.tenant {
		return nil, malformed("the receiver is of tenant %s, the sender of %s", show(to.Tenant), show(id.tenant))
	}
	if len(to.SealKey) != 32 {
		return nil, malformed("the seal key of %s has %d bytes, not 32", show(to.Name), len(to.SealKey))
	}
	e.Tenant, e.From, e.To = id.tenant, id.name, to.Name
	if err := e.Validate(); err != nil {
		return nil, err
	}
	eph, err := id.own().sealer.take(e.NotBefore)
	if err != nil {
		return nil, err
	}
	receiver := [32]byte(to.SealKey)
	z, ok := eph.shares.get(receiver)
	if !ok {
		if z, err = exchange(eph.key, to.SealKey); err != nil {
			return nil, malformed("the seal key of %s is of small order", show(to.Name))
		}
		eph.shares.add(receiver, z)
	}

	size := encodedSize(&e)
	header := make([]byte, 0, len(magicSealed)+2*2+len(e.Tenant)+len(e.To)+2*32+size+ed25519.SignatureSize+tagSize) // with room for all
	header = appendText(appendText(append(header, magicSealed...), e.Tenant), e.To)
	header = append(header, eph.public...)
	header = header[:len(header)+32]
	if _, err := io.ReadFull(id.own().sealer.random, header[len(header)-32:]); err != nil {
		return nil, fmt.Errorf("message: making a salt: %w", err)
	}
	plain := appendEnvelope(make([]byte, 0, size+ed25519.SignatureSize), &e)
	plain = append(plain, id.Sign(contextKind+string(e.Kind), plain)...)
	aead, nonce, err := derive(z, eph.public, to.SealKey, header)
	if err != nil {
		return nil, err
	}
	return aead.Seal(header, nonce, plain, header), nil
}

// Open opens a message that was sealed for this identity. It checks, in this order: the form and that it is addressed to this identity (ErrMalformed, ErrNotForMe), the seal
// (ErrBadSignature), that the envelope inside names the same address, is canonical and of a known kind that goes in this direction (ErrMalformed, ErrNotForMe), the sender
// (ErrUnknownSender), its signature (ErrBadSignature), and the time: NotBefore-skew <= now <= NotAfter+skew (ErrExpired). Whether it was seen before is not checked: see
// Replay. data is neither kept nor changed.
func (id *Identity) Open(data []byte, from func(name string) (Peer, error), now time.Time, skew time.Duration) (Envelope, error) {
	if len(data) > MaxEnvelope {
		return Envelope{}, malformed("%d bytes are more than %d", len(data), MaxEnvelope)
	}
	r := reader{b: data}
	r.magic(magicSealed)
	tenant, to := r.text(MaxName), r.text(MaxName)
	public := r.bytes(32)
	r.bytes(32) // salt
	if r.err != nil {
		return Envelope{}, r.err
	}
	if tenant != id.tenant || to != id.name {
		return Envelope{}, notForMe(tenant, to)
	}
	if len(r.b) < ed25519.SignatureSize+tagSize {
		return Envelope{}, malformed("it ends in the middle of a field")
	}
	header := data[:len(data)-len(r.b)]
	sender := [32]byte(public)
	z, known := id.own().opened.get(sender)
	if !known {
		var err error
		if z, err = exchange(id.own().seal, public); err != nil {
			return Envelope{}, fmt.Errorf("%w: the ephemeral key is of small order", ErrBadSignature)
		}
	}
	aead, nonce, err := derive(z, public, id.own().seal.PublicKey().Bytes(), header)
	if err != nil {
		return Envelope{}, err
	}
	plain, err := aead.Open(nil, nonce, r.b, header)
	if err != nil {
		return Envelope{}, fmt.Errorf("%w: it does not open: something was changed, or it was sealed for another key", ErrBadSignature)
	}
	if !known {
		id.own().opened.add(sender, z) // only now: what does not open must not push out what does
	}
	signed, sig := plain[:len(plain)-ed25519.SignatureSize], plain[len(plain)-ed25519.SignatureSize:]
	e, err := Decode(signed)
	if err != nil {
		return Envelope{}, err
	}
	if err := addressed(&e, id.tenant, id.name); err != nil {
		return Envelope{}, err
	}
	peer, unknown := resolve(&e, from)
	if unknown != nil {
		peer = Peer{SignKey: id.own().sign[32:]} // as much work as for a sender that is known, and as little success (rule R-15)
	}
	valid := peer.Verify(contextKind+string(e.Kind), signed, sig)
	switch {
	case unknown != nil:
		return Envelope{}, unknown
	case !valid:
		return Envelope{}, fmt.Errorf("%w: %s did not sign it", ErrBadSignature, show(e.From))
	}
	if err := inTime(&e, now, skew); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

func exchange(key *ecdh.PrivateKey, public []byte) (z [32]byte, err error) {
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return z, err
	}
	b, err := key.ECDH(p) // refuses points of small order
	if err != nil {
		return z, err
	}
	return [32]byte(b), nil
}

// derive makes the cipher and the nonce of one message. The header ends with the salt.
func derive(z [32]byte, public, receiver, header []byte) (cipher.AEAD, []byte, error) {
	k, err := keyAndNonce(z, public, receiver, header)
	if err != nil {
		return nil, nil, fmt.Errorf("message: deriving a key: %w", err)
	}
	defer clear(k[:keySize])
	block, err := aes.NewCipher(k[:keySize])
	if err != nil {
		return nil, nil, fmt.Errorf("message: deriving a key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("message: deriving a key: %w", err)
	}
	return aead, k[keySize:], nil
}

func keyAndNonce(z [32]byte, public, receiver, header []byte) ([]byte, error) {
	info := make([]byte, 0, len(contextSeal)+64+len(header))
	info = append(append(append(append(info, contextSeal...), public...), receiver...), header...)
	return hkdf.Key(sha256.New, z[:], header[len(header)-32:], string(info), keySize+nonceSize)
}

func notForMe(tenant, to string) error {
	return fmt.Errorf("%w: it is addressed to %s of tenant %s", ErrNotForMe, show(to), show(tenant))
}

// addressed checks what every codec checks of an envelope before it looks at the sender.
func addressed(e *Envelope, tenant, name string) error {
	switch {
	case e.Tenant != tenant || e.To != name:
		return notForMe(e.Tenant, e.To)
	case !e.Kind.Known():
		return malformed("kind %s is not known", show(string(e.Kind)))
	case e.Kind.fromController() != (e.From == Controller):
		return malformed("%s does not send messages of kind %s", show(e.From), e.Kind)
	}
	return nil
}

// resolve looks the sender up.
func resolve(e *Envelope, from func(string) (Peer, error)) (Peer, error) {
	if from == nil {
		return Peer{}, fmt.Errorf("%w: no senders are configured", ErrUnknownSender)
	}
	p, err := from(e.From)
	if err != nil {
		return Peer{}, fmt.Errorf("%w %s: %w", ErrUnknownSender, show(e.From), err)
	}
	if p.Tenant != e.Tenant || p.Name != e.From {
		return Peer{}, fmt.Errorf("%w: the keys found for %s are of %s in tenant %s", ErrUnknownSender, show(e.From), show(p.Name), show(p.Tenant))
	}
	return p, nil
}

func inTime(e *Envelope, now time.Time, skew time.Duration) error {
	if skew == 0 {
		skew = DefaultSkew
	}
	switch {
	case now.Before(e.NotBefore.Add(-skew)):
		return fmt.Errorf("%w: it holds from %s, and it is %s here: check both clocks", ErrExpired, stamp(e.NotBefore), stamp(now))
	case now.After(e.NotAfter.Add(skew)):
		return fmt.Errorf("%w: it held until %s, and it is %s here", ErrExpired, stamp(e.NotAfter), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

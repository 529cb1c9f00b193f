package message

import (
	"encoding/binary"
	"slices"
)

// RotationContext is the context of the signatures of a Rotation.
const RotationContext = "fleetwright node key rotation v1"

// RotatedContext is the context of the control plane's signature in a RotateResponse.
const RotatedContext = "fleetwright node key rotation answer v1"

// KeysContext is the context of the signatures of Keys.
const KeysContext = "fleetwright controller key rotation v1"

// Rotation gives a node new keys.
type Rotation struct {
	Tenant    string `json:"tenant"`
	Node      string `json:"node"`
	SignKey   []byte `json:"signKey"`   // the new ones
	SealKey   []byte `json:"sealKey"`   //
	Serial    uint64 `json:"serial"`    // of the new keys: one more than that of the present ones, which begin with 1
	Signature []byte `json:"signature"` // of Message, by the present key
	Proof     []byte `json:"proof"`     // of Message, by the new key
}

// Message returns what both signatures cover.
func (r Rotation) Message() []byte {
	return keysMessage(r.Serial, r.Tenant, r.Node, string(r.SignKey), string(r.SealKey))
}

// NewRotation returns a rotation from one identity of a node to the next, signed by both.
func NewRotation(old, next *Identity, serial uint64) Rotation {
	p := next.Public()
	r := Rotation{Tenant: old.Tenant(), Node: old.Name(), SignKey: p.SignKey, SealKey: p.SealKey, Serial: serial}
	r.Signature, r.Proof = old.Sign(RotationContext, r.Message()), next.Sign(RotationContext, r.Message())
	return r
}

// RotateRequest is what a node asks for over the enrolment path instead of a registration. A repeat gives the same answer (the first may have been lost).
type RotateRequest struct {
	Rotation *Rotation `json:"rotation"`
	Epoch    uint64    `json:"epoch"` // of the control plane's keys that the node pinned: whose signature it can check
}

// RotateResponse says that a Rotation is in force. It is signed, because a node that believed a lie here would be left with keys that nobody knows.
type RotateResponse struct {
	Signature []byte `json:"signature"` // of the Rotation's Message, by the control plane, under RotatedContext
}

// Keys are the control plane's next keys, vouched for by the present ones. They travel in a message that is sealed and signed with the present keys too.
type Keys struct {
	Tenant    string `json:"tenant"`
	Epoch     uint64 `json:"epoch"` // of the next keys, higher than that of the present ones
	SignKey   []byte `json:"signKey"`
	SealKey   []byte `json:"sealKey"`
	Signature []byte `json:"signature"` // of Message, by the present key
	Proof     []byte `json:"proof"`     // of Message, by the next key
}

// Message returns what both signatures cover.
func (k Keys) Message() []byte {
	return keysMessage(k.Epoch, k.Tenant, Controller, string(k.SignKey), string(k.SealKey))
}

// NewKeys returns the statement that next follows old as the control plane's identity, with the epoch.
func NewKeys(old, next *Identity, epoch uint64) Keys {
	p := next.Public()
	k := Keys{Tenant: old.Tenant(), Epoch: epoch, SignKey: p.SignKey, SealKey: p.SealKey}
	k.Signature, k.Proof = old.Sign(KeysContext, k.Message()), next.Sign(KeysContext, k.Message())
	return k
}

// Next returns the keys to pin in place of the present ones, which are of the epoch. Errors are ErrMalformed for keys of another tenant, of no use, or of an epoch that is not higher,
// and ErrBadSignature when not both keys signed.
func (k Keys) Next(present Peer, epoch uint64) (Peer, error) {
	next := Peer{Tenant: k.Tenant, Name: Controller, SignKey: slices.Clone(k.SignKey), SealKey: slices.Clone(k.SealKey)}
	if err := next.Validate(); err != nil {
		return Peer{}, err
	}
	switch {
	case k.Tenant != present.Tenant || present.Name != Controller:
		return Peer{}, malformed("the keys are of tenant %s, not %s", show(k.Tenant), show(present.Tenant))
	case k.Epoch <= epoch:
		return Peer{}, malformed("the keys are of epoch %d, and those of %d are known", k.Epoch, epoch)
	case !present.Verify(KeysContext, k.Message(), k.Signature) || !next.Verify(KeysContext, k.Message(), k.Proof):
		return Peer{}, ErrBadSignature
	}
	return next, nil
}

// Pinned tells that a node obeys the keys of the epoch from now on.
type Pinned struct {
	Epoch uint64 `json:"epoch"`
}

// keysMessage is each text as its length (4 bytes, big endian) and its bytes, then the number (8).
func keysMessage(number uint64, texts ...string) []byte {
	var b []byte
	for _, t := range texts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(t))), t...)
	}
	return binary.BigEndian.AppendUint64(b, number)
}

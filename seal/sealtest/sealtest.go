// Package sealtest checks that a seal.Wrapper keeps its contract, and that a box over it does.
//
//	func TestWrapper(t *testing.T) {
//		sealtest.RunWrapper(t, func(t testing.TB) sealtest.Keys { … })
//	}
//	func TestBox(t *testing.T) {
//		sealtest.RunBox(t, func(t testing.TB) sealtest.Subject { … sealtest.Of(seal.NewBox(keys, nil)) … })
//	}
//
// Each case has the name of the rule that it checks and fresh keys.
package sealtest

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/secret"
)

// T is what a case needs of a *testing.T.
type T interface{ rapid.TB }

// Keys is a wrapper under test with what the suite does to its keys.
type Keys struct {
	seal.Wrapper
	// IDs are two keys or more that can be used, the primary one among them.
	IDs []string
	// Rotate makes another key the primary one, new or not, and returns its id; nil skips the cases of rotation.
	Rotate func(ctx context.Context) (string, error)
	// Lose destroys a key that is not primary; nil skips the cases of loss.
	Lose func(ctx context.Context, id string) error
}

// Subject is a box under test with its keys.
type Subject struct {
	Box
	Keys Keys
}

// Box is what the suite needs of a seal.Box, so that wrong ones can be shown to fail.
type Box interface {
	// Seal prepares once and seals the plaintext so many times.
	Seal(ctx context.Context, keyID string, b seal.Binding, plaintext []byte, times int) ([][]byte, error)
	Open(ctx context.Context, ciphertext []byte, b seal.Binding) (secret.Value, error)
	Rewrap(ctx context.Context, ciphertext []byte, keyID string, b seal.Binding) ([]byte, error)
	Forget()
}

// Of makes a seal.Box testable.
func Of(b *seal.Box) Box { return box{b} }

type box struct{ *seal.Box }

func (x box) Seal(ctx context.Context, keyID string, b seal.Binding, plaintext []byte, times int) ([][]byte, error) {
	s, err := x.Prepare(ctx, keyID, b)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for range times {
		c, err := s.Seal(secret.New(plaintext))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// WrapperCase checks one rule of wrappers.
type WrapperCase struct {
	Rule string
	Text string // what the rule says
	Run  func(t T, k Keys)
}

// WrapperCases returns all cases for wrappers.
func WrapperCases() []WrapperCase {
	return []WrapperCase{
		{"W-ROUND", "what is wrapped unwraps, under a named key and the primary one", wrapRound},
		{"W-FRESH", "two wraps of the same key differ", wrapFresh},
		{"W-HIDE", "a wrap does not show the key", wrapHide},
		{"W-AAD", "other associated data is ErrTampered", wrapAAD},
		{"W-FLIP", "a wrap with any bit changed is ErrTampered", wrapFlip},
		{"W-LENGTH", "a wrap that was cut or lengthened is ErrTampered", wrapLength},
		{"W-KEYID", "another key id is ErrTampered or ErrKeyNotFound, an unknown one ErrKeyNotFound", wrapKeyID},
		{"W-CANCEL", "an ended ctx ends both methods", wrapCancel},
		{"W-ALIAS", "arguments are not changed, results belong to the caller", wrapAlias},
		{"W-RACE", "concurrent calls do not disturb each other", wrapRace},
		{"W-ROTATE", "a new primary key wraps, the old ones unwrap", wrapRotate},
		{"W-LOST", "a lost key is ErrKeyNotFound and takes no other along", wrapLost},
	}
}

// BoxCase checks one rule of boxes.
type BoxCase struct {
	Rule string
	Text string // what the rule says
	Run  func(t T, s Subject)
}

// BoxCases returns all cases for boxes.
func BoxCases() []BoxCase {
	return []BoxCase{
		{"S-ROUND", "values of any size come back", boxRound},
		{"S-FRESH", "sealing again gives another nonce, preparing again another data key", boxFresh},
		{"S-HIDE", "a ciphertext does not show the value", boxHide},
		{"S-BIND", "each field of the binding counts", boxBind},
		{"S-SWAP", "no ciphertext opens in the place of another (T-SWAP)", boxSwap},
		{"S-SPLICE", "header and payload of two ciphertexts do not combine", boxSplice},
		{"S-HEADER", "key id, wrapped data key and nonce of two records, generations or values cannot be exchanged", boxHeader},
		{"S-FLIP", "a ciphertext with any bit changed does not open", boxFlip},
		{"S-LENGTH", "a ciphertext that was cut or lengthened does not open", boxLength},
		{"S-KEYID", "the key id that is written is the key that was used", boxKeyID},
		{"S-REWRAP", "rewrapping changes the key and not the payload, and binds as before", boxRewrap},
		{"S-ROTATE", "after a rotation old values open, new ones have the new key, and rewrapped ones outlive the old key", boxRotate},
		{"S-CANCEL", "an ended ctx ends every method", boxCancel},
		{"S-LOST", "a lost key takes only its own values along", boxLost},
	}
}

// RunWrapper runs every case on fresh keys. The factory cleans up with t.Cleanup.
func RunWrapper(t *testing.T, factory func(t testing.TB) Keys) {
	for _, c := range WrapperCases() {
		t.Run(c.Rule, func(t *testing.T) { c.Run(t, factory(t)) })
	}
}

// RunBox runs every case on a fresh box.
func RunBox(t *testing.T, factory func(t testing.TB) Subject) {
	for _, c := range BoxCases() {
		t.Run(c.Rule, func(t *testing.T) { c.Run(t, factory(t)) })
	}
}

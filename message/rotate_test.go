package message_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/message"
)

func identity(t require.TestingT, tenant, name string) *message.Identity {
	id, err := message.NewIdentity(tenant, name, nil)
	require.NoError(t, err)
	return id
}

func TestKeysAreTakenFromThePresentKeysOnly(t *testing.T) {
	old, next, stranger := identity(t, "default", message.Controller), identity(t, "default", message.Controller), identity(t, "default", message.Controller)
	k := message.NewKeys(old, next, 2)
	peer, err := k.Next(old.Public(), 1)
	require.NoError(t, err)
	require.Equal(t, next.Public(), peer)

	refused := map[string]struct {
		keys  message.Keys
		peer  message.Peer
		epoch uint64
		want  error
	}{
		"signed by a stranger":     {message.NewKeys(stranger, next, 2), old.Public(), 1, message.ErrBadSignature},
		"replayed":                 {k, next.Public(), 2, message.ErrMalformed},
		"a lower epoch":            {k, old.Public(), 3, message.ErrMalformed},
		"for another tenant's":     {k, identity(t, "other", message.Controller).Public(), 1, message.ErrMalformed},
		"of a node":                {message.NewKeys(identity(t, "default", "mi-1"), next, 2), identity(t, "default", "mi-1").Public(), 1, message.ErrMalformed},
		"nothing at all":           {message.Keys{}, old.Public(), 1, message.ErrMalformed},
		"signed by the next alone": {message.NewKeys(next, next, 2), old.Public(), 1, message.ErrBadSignature},
	}
	for name, c := range refused {
		_, err := c.keys.Next(c.peer, c.epoch)
		require.ErrorIs(t, err, c.want, name)
	}
	// Without the next key's own signature somebody's public key could be put there.
	k.Proof = old.Sign(message.KeysContext, k.Message())
	_, err = k.Next(old.Public(), 1)
	require.ErrorIs(t, err, message.ErrBadSignature)
}

func TestNothingOfKeysCanBeChanged(t *testing.T) {
	old, next := identity(t, "default", message.Controller), identity(t, "default", message.Controller)
	rapid.Check(t, func(t *rapid.T) {
		k := message.NewKeys(old, next, 2)
		field := rapid.SampledFrom([]*[]byte{&k.SignKey, &k.SealKey, &k.Signature, &k.Proof, nil}).Draw(t, "field")
		if field == nil {
			k.Epoch += rapid.Uint64Range(1, 1<<40).Draw(t, "epoch")
		} else {
			i := rapid.IntRange(0, len(*field)*8-1).Draw(t, "bit")
			changed := append([]byte(nil), *field...)
			changed[i/8] ^= 1 << (i % 8)
			*field = changed
		}
		_, err := k.Next(old.Public(), 1)
		require.Error(t, err)
	})
}

// A signature made for one purpose is none for another, although both cover the same fields.
func TestR04RotationsOfNodesAndKeysOfTheControllerAreTwoThings(t *testing.T) {
	old, next := identity(t, "default", message.Controller), identity(t, "default", message.Controller)
	r := message.NewRotation(old, next, 2)
	k := message.NewKeys(old, next, 2)
	require.Equal(t, r.Message(), k.Message())
	k.Signature, k.Proof = r.Signature, r.Proof
	_, err := k.Next(old.Public(), 1)
	require.ErrorIs(t, err, message.ErrBadSignature)
}

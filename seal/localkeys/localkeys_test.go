package localkeys_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/seal/sealtest"
	"github.com/fleetwright/fleetwright/secret"
)

// three makes a key file with three generations.
func three(t testing.TB, o *localkeys.Options) (*localkeys.Keys, sealtest.Keys) {
	t.Helper()
	k, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), o)
	require.NoError(t, err)
	s := sealtest.Keys{Wrapper: k, IDs: []string{k.Primary()}, Rotate: k.Rotate, Lose: k.Remove}
	for range 2 {
		id, err := k.Rotate(context.Background())
		require.NoError(t, err)
		s.IDs = append(s.IDs, id)
	}
	return k, s
}

func TestWrapperContract(t *testing.T) {
	for name, o := range map[string]*localkeys.Options{"plain": nil, "passphrase": {Passphrase: secret.String("correct horse"), Iterations: 1000}} {
		t.Run(name, func(t *testing.T) {
			sealtest.RunWrapper(t, func(t testing.TB) sealtest.Keys {
				_, s := three(t, o)
				return s
			})
		})
	}
}

func TestBoxContract(t *testing.T) {
	for name, o := range map[string]*seal.BoxOptions{"cache": nil, "no cache": {CacheKeys: -1}, "cache of one": {CacheKeys: 1}} {
		t.Run(name, func(t *testing.T) {
			sealtest.RunBox(t, func(t testing.TB) sealtest.Subject {
				k, s := three(t, nil)
				return sealtest.Subject{Box: sealtest.Of(seal.NewBox(k, o)), Keys: s}
			})
		})
	}
}

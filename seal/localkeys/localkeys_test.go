package localkeys_test

import (
	"context"
	"path/filepath"
	"strconv"
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

// TestSwapEveryPair (T-SWAP): each of many ciphertexts opens in its own place and in no other.
func TestSwapEveryPair(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 60
	}
	k, s := three(t, nil)
	box := seal.NewBox(k, nil)
	var records []seal.Binding
	var values [][]byte
	for i := range n {
		b := seal.Binding{Tenant: []string{"a", "b"}[i%2], Kind: []string{"parameter", "key"}[i/2%2], Name: "/x" + strconv.Itoa(i/16), Version: uint64(i / 4 % 4), Type: []string{"String", "SecureString"}[i/8%2]}
		p, err := box.Prepare(t.Context(), s.IDs[i%3], b)
		require.NoError(t, err)
		c, err := p.Seal(secret.String("value"))
		require.NoError(t, err)
		records, values = append(records, b), append(values, c)
	}
	refused := 0
	for i, b := range records {
		for j, c := range values {
			v, err := box.Open(t.Context(), c, b)
			if records[j] == b {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, seal.ErrTampered, "%v as %v", records[j], records[i])
			require.True(t, v.IsZero())
			refused++
		}
	}
	require.Greater(t, refused, n*(n-2))
}

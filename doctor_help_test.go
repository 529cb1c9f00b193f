package fleetwright_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
)

func replaceFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }

func fullFleet(t *testing.T, s store.Store) *fleetwright.Fleet {
	t.Helper()
	keys, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	f, err := fleetwright.New(fleetwright.Config{Store: s, Blobs: memblob.New(), Keys: keys, Authorizer: access.AllowAll{}, Exclusive: true})
	require.NoError(t, err)
	_, err = f.Nodes.Nodes(t.Context(), "default", nil)
	require.NoError(t, err)
	f.Checks(t.Context(), time.Second) // makes the keys while there is room
	return f
}

// fillUp writes until the store refuses.
func fillUp(t *testing.T, s store.Store) {
	t.Helper()
	for i := range 1000 {
		err := s.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
			return tx.Put(fmt.Appendf(nil, "ballast %d", i), make([]byte, 100<<10))
		})
		if err != nil {
			require.ErrorIs(t, err, store.ErrReadOnly)
			return
		}
	}
	t.Fatal("it does not become full")
}

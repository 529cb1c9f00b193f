package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// F4: a full file system is a typed error; reads go on, and writes too as soon as there is space.
func TestAFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("SKIPPED: needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	s, err := boltstore.Open(t.Context(), filepath.Join(dir, "store.db"), &boltstore.Options{RetryEvery: 10 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	require.Less(t, s.Stats().DiskFree, int64(2<<20))
	put := func(i int) error {
		return s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			return tx.Put(fmt.Appendf(nil, "%03d", i), make([]byte, 60<<10))
		})
	}
	n := 0
	for ; n < 100; n++ {
		if err = put(n); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Greater(t, n, 3)
	require.Len(t, all(t, s), n, "all that was acknowledged, and nothing else")
	require.NoError(t, os.Remove(ballast)) // the operator makes room
	deadline := time.After(time.Minute)
	for {
		if err = put(n); err == nil {
			break
		}
		require.ErrorIs(t, err, store.ErrReadOnly)
		select {
		case <-deadline:
			require.NoError(t, err, "no recovery")
		case <-time.After(5 * time.Millisecond):
		}
	}
	require.Len(t, all(t, s), n+1)
	require.NoError(t, s.Check(t.Context()))

	// A store can be opened and read on a file system that is full.
	require.NoError(t, s.Close())
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		require.NoError(t, err)
	}
	s, err = boltstore.Open(t.Context(), filepath.Join(dir, "store.db"), nil)
	require.NoError(t, err)
	defer s.Close()
	require.Len(t, all(t, s), n+1)
}

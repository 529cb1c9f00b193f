package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

func fill(t testing.TB, s *boltstore.Store, n, size int) {
	t.Helper()
	for i := 0; i < n; i += 500 {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for j := i; j < min(i+500, n); j++ {
				if err := tx.Put(fmt.Appendf(nil, "k%06d", j), make([]byte, size)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// An export is of one moment, while Updates go on; what it hands out is a copy; its function's error is returned as it is.
func TestExportIsOfOneMoment(t *testing.T) {
	s, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 3000, 10)
	var keys [][]byte
	consistent, err := store.Export(t.Context(), s, func(k, v []byte) error {
		if len(keys) == 1000 {
			require.NoError(t, s.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
				return errors.Join(tx.Put([]byte("k999999"), nil), tx.Delete([]byte("k002999")))
			}))
		}
		keys = append(keys, k)
		clear(v)
		return nil
	})
	require.NoError(t, err)
	require.True(t, consistent)
	require.Len(t, keys, 3000)
	require.Equal(t, "k002999", string(keys[2999]))
	require.NoError(t, s.Check(t.Context()))

	stop := errors.New("enough")
	_, err = store.Export(t.Context(), s, func([]byte, []byte) error { return stop })
	require.Equal(t, stop, err)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err = store.Export(ctx, s, func([]byte, []byte) error { n++; cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, n, 2999)
}

// Compact gives the free pages back and changes nothing else; a store in use, a damaged one and one that is not there are left alone.
func TestCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := boltstore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	fill(t, s, 4000, 1000)
	require.NoError(t, s.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
		for i := range 3900 {
			if err := tx.Delete(fmt.Appendf(nil, "k%06d", i)); err != nil {
				return err
			}
		}
		return nil
	}))
	_, _, err = boltstore.Compact(t.Context(), path, &boltstore.Options{LockWait: time.Millisecond})
	require.ErrorContains(t, err, "is in use by")
	want := all(t, s)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(path+".compact", []byte("left behind by a crash"), 0o600))
	before, after, err := boltstore.Compact(t.Context(), path, nil)
	require.NoError(t, err)
	require.Less(t, after*4, before)
	require.NoFileExists(t, path+".compact")
	s, err = boltstore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	require.Equal(t, want, all(t, s))
	fill(t, s, 10, 10) // it can be written
	require.NoError(t, s.Check(t.Context()))
	require.NoError(t, s.Close())

	_, _, err = boltstore.Compact(t.Context(), filepath.Join(t.TempDir(), "store.db"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, int64(len(whole)/2)))
	_, _, err = boltstore.Compact(t.Context(), path, nil)
	var damaged *boltstore.DamagedError
	require.ErrorAs(t, err, &damaged)
	require.NoFileExists(t, path+".compact")
}

// compactEnv makes the test binary compact a file, to be killed while it does.
const compactEnv = "BOLTSTORE_COMPACT"

func TestCompactOfAKilledProcess(t *testing.T) {
	if path := os.Getenv(compactEnv); path != "" {
		boltstore.Compact(context.Background(), path, nil) //nolint:errcheck // it is killed
		os.Exit(0)
	}
	kills := testenv.Count(t, "FLEETWRIGHT_COMPACT_KILLS", 6)
	if testenv.Long() {
		kills = testenv.Count(t, "FLEETWRIGHT_COMPACT_KILLS", 60)
	}
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := boltstore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	fill(t, s, 3000, 2000)
	want := all(t, s)
	require.NoError(t, s.Close())
	exe, err := os.Executable()
	require.NoError(t, err)
	for i := range kills {
		cmd := exec.Command(exe, "-test.run=^TestCompactOfAKilledProcess$")
		cmd.Env = append(os.Environ(), compactEnv+"="+path)
		require.NoError(t, cmd.Start())
		done := make(chan struct{})
		go func() { defer close(done); cmd.Wait() }() //nolint:errcheck // it is killed
		// Between the first byte of the copy and the end; the moment differs each time.
		ready := time.NewTicker(time.Millisecond)
		for {
			info, err := os.Stat(path + ".compact")
			gone := false
			select {
			case <-done:
				gone = true
			case <-ready.C:
			}
			if gone || err == nil && info.Size() > int64(i)*400_000 {
				break
			}
		}
		ready.Stop()
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-done
		s, err := boltstore.Open(t.Context(), path, nil)
		require.NoError(t, err)
		require.Equal(t, want, all(t, s))
		require.NoError(t, s.Check(t.Context()))
		require.NoError(t, s.Close())
	}
	testenv.Figure(t, "kill -9 during compact of the file store", kills, 0)
}

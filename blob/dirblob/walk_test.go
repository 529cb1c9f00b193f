package dirblob_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was put is listed under its key, whatever its letters; what is no blob is not; fn's error ends it.
func TestWalkListsWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir, nil)
	keys := []string{"a", "a/b", "Upper/Case-X.y", "output/default/c/mi-1/0.out/0000-00ff"}
	for _, k := range keys {
		_, err := s.Put(t.Context(), k, strings.NewReader(k))
		require.NoError(t, err)
	}
	_, err := s.Put(t.Context(), strings.Repeat("X", 120), strings.NewReader("its name is a hash"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "stranger"), nil, 0o600))
	var got []string
	require.NoError(t, s.Walk(t.Context(), func(k string, n int64, at time.Time) error {
		require.Equal(t, int64(len(k)), n)
		require.False(t, at.IsZero())
		got = append(got, k)
		return nil
	}))
	slices.Sort(got)
	slices.Sort(keys)
	require.Equal(t, keys, got)
	stop := errors.New("stop")
	require.Equal(t, stop, s.Walk(t.Context(), func(string, int64, time.Time) error { return stop }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Walk(ctx, func(string, int64, time.Time) error { return nil }), context.Canceled)
}

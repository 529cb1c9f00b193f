//go:build unix && !solaris && !aix

package localkeys

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneProcessChangesAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	k, err := Create(path, nil)
	require.NoError(t, err)
	root, err := os.OpenRoot(filepath.Dir(path))
	require.NoError(t, err)
	defer root.Close() //nolint:errcheck // it was only read
	unlock, err := lock(root)
	require.NoError(t, err)
	_, err = k.Rotate(t.Context())
	require.ErrorContains(t, err, "another process may be changing it")
	require.Len(t, k.Generations(), 1)
	require.NoError(t, unlock())
	_, err = k.Rotate(t.Context())
	require.NoError(t, err)
}

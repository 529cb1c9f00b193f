package dirblob_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/blobtest"
	"github.com/fleetwright/fleetwright/blob/dirblob"
)

func open(t testing.TB, dir string, o *dirblob.Options) *dirblob.Store {
	t.Helper()
	s, err := dirblob.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestContract(t *testing.T) {
	blobtest.Run(t, func(t testing.TB) blob.Store {
		return open(t, filepath.Join(t.TempDir(), "blobs"), &dirblob.Options{NoSync: true})
	})
}

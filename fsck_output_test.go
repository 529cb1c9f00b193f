package fleetwright_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
)

// F6: output that a disk has damaged is found by fsck, named, and told by a backup, which has everything else.
func TestFsckNamesDamagedOutput(t *testing.T) {
	p := makePast(t)
	var files []string
	require.NoError(t, filepath.WalkDir(filepath.Join(p.dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}))
	require.NotEmpty(t, files)
	look := func() (rep *fleetwright.FsckReport, m fleetwright.Manifest) {
		f, err := fleetwright.Inspect(t.Context(), p.dir, nil)
		require.NoError(t, err)
		defer f.Close() //nolint:errcheck // it was only read
		rep, err = f.Fsck(t.Context(), nil)
		require.NoError(t, err)
		m, err = f.Backup(t.Context(), &bytes.Buffer{}, nil)
		require.NoError(t, err)
		return rep, m
	}
	rep, m := look()
	require.Empty(t, rep.Problems)
	require.Zero(t, m.Corrupt)
	for _, file := range files {
		good, err := os.ReadFile(file)
		require.NoError(t, err)
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 4
		for what, b := range map[string][]byte{"a flipped bit": flipped, "a cut": good[:len(good)-1], "nothing left": {}, "a byte more": append(bytes.Clone(good), 0)} {
			require.NoError(t, os.WriteFile(file, b, 0o600))
			rep, m := look()
			require.Len(t, rep.Problems, 1, what)
			pr := rep.Problems[0]
			require.Equal(t, "corrupt", pr.Kind, what)
			require.False(t, pr.Safe)
			require.Contains(t, pr.Where, p.large)
			require.Contains(t, pr.Meaning, "node "+p.node)
			require.True(t, strings.Contains(pr.Meaning, "stdout, offset "), pr.Meaning)
			require.Equal(t, 1, m.Corrupt, what)
		}
		require.NoError(t, os.Remove(file))
		rep, m := look()
		require.Len(t, rep.Problems, 1)
		require.Equal(t, "missing", rep.Problems[0].Kind)
		require.Len(t, m.Listed, 1)
		require.NoError(t, os.WriteFile(file, good, 0o600))
	}
}

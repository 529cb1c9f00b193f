package fleetwright_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/storeblob"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// inStore restores a backup into one store that has the blobs too.
func (p past) inStore(t *testing.T, backup []byte, own bool) (*fleetwright.Fleet, store.Store, *storeblob.Store) {
	t.Helper()
	keys, err := localkeys.Open(filepath.Join(p.dir, "keys.json"), nil)
	require.NoError(t, err)
	s, codec := memstore.New(), &record.Codec{}
	if !own {
		codec, err = fleetwright.RecordCodec(t.Context(), s, keys)
		require.NoError(t, err)
	}
	blobs := storeblob.New(s, codec, nil)
	rep, err := fleetwright.Restore(t.Context(), bytes.NewReader(backup), fleetwright.RestoreConfig{Store: s, Blobs: blobs, Keys: keys, Codec: codec})
	require.NoError(t, err)
	require.Zero(t, rep.Lost)
	f, err := fleetwright.New(fleetwright.Config{Store: s, Codec: codec, Blobs: blobs, Keys: keys, Authorizer: access.AllowAll{}})
	require.NoError(t, err)
	return f, s, blobs
}

func records(t *testing.T, s store.Store, kind string) (all [][]byte) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, key.New("").Str("blob").Str(kind).Range()) {
			if err != nil {
				return err
			}
			all = append(all, bytes.Clone(it.Key))
		}
		return nil
	}))
	return all
}

// Blobs that lie in the store are in a backup once, as blobs: from files into a store and back into files, nothing is lost, and no record of the one kind is left in the other.
func TestBlobsInTheStoreAreBackedUpOnce(t *testing.T) {
	p := makePast(t)
	b, _ := p.backup(t, nil)
	for what, own := range map[string]bool{"a codec of the host's": true, "the codec of the store's own key": false} {
		t.Run(what, func(t *testing.T) {
			f, s, blobs := p.inStore(t, b, own)
			p.has(t, f)
			healthy(t, f)
			pkg := bytes.Repeat([]byte("package "), 100_000) // what no command's record names
			for name, content := range map[string][]byte{"packages/one": pkg, "packages/gone": pkg, "packages/none": {}} {
				_, err := blobs.Put(t.Context(), name, bytes.NewReader(content))
				require.NoError(t, err)
			}
			require.NoError(t, blobs.Delete(t.Context(), "packages/gone"))
			require.NotEmpty(t, records(t, s, "dead"))
			require.NotEmpty(t, records(t, s, "data"))

			var again bytes.Buffer
			m, err := f.Backup(t.Context(), &again, nil)
			require.NoError(t, err)
			require.Empty(t, m.Listed)
			require.Equal(t, int64(len(p.content)+len(pkg)), m.BlobBytes)
			require.Less(t, again.Len(), len(b)+len(pkg)+len(pkg)/2, "each blob is in it once")

			to := filepath.Join(t.TempDir(), "files")
			restore(t, again.Bytes(), to, filepath.Join(p.dir, "keys.json"))
			g, err := fleetwright.Inspect(t.Context(), to, nil)
			require.NoError(t, err)
			defer g.Close() //nolint:errcheck // it was only read
			p.has(t, g)
			healthy(t, g)
			rep, err := g.Fsck(t.Context(), nil)
			require.NoError(t, err)
			for kind := range rep.Kinds {
				require.NotContains(t, kind, "blob/")
			}

			// And once more into a store.
			var third bytes.Buffer
			_, err = g.Backup(t.Context(), &third, nil)
			require.NoError(t, err)
			h, _, _ := p.inStore(t, third.Bytes(), own)
			p.has(t, h)
			healthy(t, h)
			h, _, more := p.inStore(t, again.Bytes(), own)
			p.has(t, h)
			r, err := more.Open(t.Context(), "packages/one")
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, pkg, got)
			_, err = more.Open(t.Context(), "packages/gone")
			require.ErrorIs(t, err, blob.ErrNotFound)
		})
	}
}

// A piece in the store that is damaged or missing is counted, named and left out; the rest is backed up and can be restored.
func TestADamagedBlobInTheStoreIsNamedAndTheRestIsRestored(t *testing.T) {
	p := makePast(t)
	b, _ := p.backup(t, nil)
	for what, bend := range map[string]func(tx store.Tx, k []byte) error{
		"damaged": func(tx store.Tx, k []byte) error { return tx.Put(k, []byte{0, 1, 2, 3, 4, 5}) },
		"missing": func(tx store.Tx, k []byte) error { return tx.Delete(k) },
	} {
		t.Run(what, func(t *testing.T) {
			f, s, blobs := p.inStore(t, b, true)
			_, err := blobs.Put(t.Context(), "packages/one", bytes.NewReader(make([]byte, 1000)))
			require.NoError(t, err)
			all := records(t, s, "data")
			require.NoError(t, s.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
				for _, k := range all {
					if err := bend(tx, k); err != nil {
						return err
					}
				}
				return nil
			}))
			var again bytes.Buffer
			m, err := f.Backup(t.Context(), &again, nil)
			require.NoError(t, err)
			require.Contains(t, m.Listed, "packages/one")
			require.Equal(t, len(m.Listed), m.Corrupt)
			require.Equal(t, m.Corrupt, m.CorruptBlobs)
			to := filepath.Join(t.TempDir(), "files")
			rep := restore(t, again.Bytes(), to, filepath.Join(p.dir, "keys.json"))
			require.Equal(t, len(m.Listed), rep.Lost)
		})
	}
}

// Output that is damaged on the disk is copied as it is, and does not make the backup useless.
func TestABackupWithDamagedOutputIsRestored(t *testing.T) {
	p := makePast(t)
	n := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(p.dir, "blobs"), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || n > 0 {
			return err
		}
		n++
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		whole[0] ^= 1
		return os.WriteFile(path, whole, 0o600)
	}))
	require.Equal(t, 1, n)
	b, m := p.backup(t, nil)
	require.Equal(t, 1, m.CorruptBlobs)
	to := filepath.Join(t.TempDir(), "new")
	restore(t, b, to, filepath.Join(p.dir, "keys.json"))
	f, err := fleetwright.Inspect(t.Context(), to, nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // it was only read
	rep, err := f.Fsck(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 1, rep.Found, "fsck names it there too")
}

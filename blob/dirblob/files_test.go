package dirblob_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/dirblob"
	"github.com/fleetwright/fleetwright/fault"
)

func put(t testing.TB, s blob.Store, key, value string) {
	t.Helper()
	_, err := s.Put(t.Context(), key, strings.NewReader(value))
	require.NoError(t, err)
}

func get(t testing.TB, s blob.Store, key string) string {
	t.Helper()
	r, err := s.Open(t.Context(), key)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return string(b)
}

// files lists everything below dir but the temporary directory itself.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); rel != "." && rel != ",tmp" {
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	}))
	return out
}

func TestR05ADirectoryThatOthersMayWriteToIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no file modes")
	}
	dir := t.TempDir()
	for mode, good := range map[fs.FileMode]bool{0o777: false, 0o770: false, 0o702: false, 0o755: true, 0o700: true} {
		require.NoError(t, os.Chmod(dir, mode))
		s, err := dirblob.Open(dir, nil)
		require.Equal(t, good, err == nil, "%04o: %v", mode, err)
		if good {
			require.NoError(t, s.Close())
		} else {
			require.ErrorContains(t, err, "chmod 0700")
		}
	}
}

func TestR02NoSymbolicLinkLeadsOut(t *testing.T) {
	outside, dir := t.TempDir(), filepath.Join(t.TempDir(), "blobs")
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret="), []byte("secret"), 0o600))
	s := open(t, dir, nil)
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skipf("SKIPPED: no symbolic links here: %v", err)
	}
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret="), filepath.Join(dir, "file=")))
	for _, k := range []string{"link/secret", "file"} {
		_, err := s.Open(t.Context(), k)
		require.Error(t, err, k)
	}
	_, err := s.Put(t.Context(), "link/new", strings.NewReader("x"))
	require.Error(t, err)
	put(t, s, "file", "ours") // the link is replaced, not followed
	require.Equal(t, "ours", get(t, s, "file"))
	require.NoError(t, s.Delete(t.Context(), "link"))
	b, err := os.ReadFile(filepath.Join(outside, "secret="))
	require.NoError(t, err)
	require.Equal(t, "secret", string(b))
	require.Len(t, files(t, outside), 1)
}

func TestLeftoversAreRemovedByOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	put(t, open(t, dir, nil), "kept", "x")
	leave := func() {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ",tmp", "half"), []byte("ha"), 0o600))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, ",tmp", "tree", "deep"), 0o700))
	}
	leave()
	s := open(t, dir, nil)
	require.Equal(t, []string{"kept="}, files(t, dir))
	require.Equal(t, "x", get(t, s, "kept"))

	leave()
	open(t, dir, &dirblob.Options{Shared: true})
	require.Len(t, files(t, dir), 4, "another process may be writing them")
	open(t, dir, &dirblob.Options{Shared: true, Now: func() time.Time { return time.Now().Add(25 * time.Hour) }})
	require.Equal(t, []string{"kept="}, files(t, dir))
}

func TestAFailedPutLeavesNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir, nil)
	bad := errors.New("no more")
	_, err := s.Put(t.Context(), "a/b", io.MultiReader(strings.NewReader("half"), fails{bad}))
	require.ErrorIs(t, err, bad)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	require.Empty(t, files(t, dir))
}

type fails struct{ err error }

func (f fails) Read([]byte) (int, error) { return 0, f.err }

func TestDeleteLeavesNoEmptyDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir, nil)
	put(t, s, "a/b/c/d", "x")
	put(t, s, "a/b/c", "x")
	put(t, s, "a/x", "x")
	require.NoError(t, s.Delete(t.Context(), "a/b/c"))
	require.Equal(t, []string{"a", "a/x="}, files(t, dir))
	require.NoError(t, s.Delete(t.Context(), "a/x"))
	require.Empty(t, files(t, dir))
}

func TestKeysThatDifferInCaseHaveNamesThatDifferInMore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir, nil)
	for _, k := range []string{"readme", "Readme", "README", "D/x", "d/x", strings.Repeat("A", 128), strings.Repeat("a", 128), strings.Repeat("A", 127) + "B"} {
		put(t, s, k, k)
	}
	folded := map[string]bool{}
	for _, f := range files(t, dir) {
		folded[strings.ToLower(f)] = true
	}
	require.Len(t, folded, 10)
}

// TestPutAndDeleteGetAlong: a Put into a tree that is deleted over and over may lose its blob to the Delete, but neither fails.
func TestPutAndDeleteGetAlong(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "blobs"), &dirblob.Options{NoSync: true})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for range 400 {
				if _, err := s.Put(context.Background(), "d/e/"+string(rune('a'+w)), strings.NewReader("x")); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				if w == 0 {
					if err := s.Delete(context.Background(), "d/e"); err != nil {
						t.Errorf("Delete: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	put(t, s, "d/e/a", "last")
	require.Equal(t, "last", get(t, s, "d/e/a"))
}

// TestFileNamesHaveNoCase: two keys never share a file, also where "A" and "a" are one name.
func TestFileNamesHaveNoCase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir, &dirblob.Options{NoSync: true})
	segment := rapid.StringMatching(`[ABab_.-]{1,6}|[A-Z]{128}|[a-z]{128}`).Filter(func(s string) bool { return s != "." && s != ".." })
	key := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "segments"), "/") })
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfNDistinct(key, 1, 4, rapid.ID).Draw(rt, "keys")
		for _, k := range keys {
			put(t, s, k, k)
		}
		folded := map[string]bool{}
		for _, f := range files(t, dir) {
			require.False(t, folded[strings.ToLower(f)], "%s", f)
			folded[strings.ToLower(f)] = true
			for _, part := range strings.Split(f, "/") {
				require.LessOrEqual(t, len(part), 255)
			}
		}
		for _, k := range keys {
			require.Equal(t, k, get(t, s, k))
		}
		for _, k := range keys {
			require.NoError(t, s.Delete(t.Context(), k))
		}
		require.Empty(t, files(t, dir))
	})
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	_, err := dirblob.Open(filepath.Join(t.TempDir(), "no", "such"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = dirblob.Open(file, nil)
	require.Error(t, err)
}

func TestAClosedStoreFails(t *testing.T) {
	s, err := dirblob.Open(filepath.Join(t.TempDir(), "blobs"), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = s.Put(t.Context(), "a", strings.NewReader("x"))
	require.Error(t, err)
	_, err = s.Open(t.Context(), "a")
	require.Error(t, err)
	require.NotErrorIs(t, err, blob.ErrNotFound)
	require.Error(t, s.Delete(t.Context(), "a"))
}

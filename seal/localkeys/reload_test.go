package localkeys_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
)

// TestARotationByAnotherProcessIsNoticed: an operator's tool rotates and removes while the control plane runs.
func TestARotationByAnotherProcessIsNoticed(t *testing.T) {
	for name, o := range map[string]*localkeys.Options{"plain": nil, "passphrase": options("correct horse")} {
		t.Run(name, func(t *testing.T) {
			path, k := create(t, o)
			first := k.Primary()
			old := wrap(t, k)
			tool, err := localkeys.Open(path, o)
			require.NoError(t, err)
			second, err := tool.Rotate(t.Context())
			require.NoError(t, err)

			unwraps(t, k, wrap(t, tool)) // of a key that k has not seen
			w := wrap(t, k)
			require.Equal(t, second, w.KeyID, "what is new is wrapped by the new key")
			require.Equal(t, second, k.Primary())
			unwraps(t, k, old)

			third, err := k.Rotate(t.Context())
			require.NoError(t, err)
			fourth, err := tool.Rotate(t.Context())
			require.NoError(t, err, "what another process did is taken in before")
			require.NoError(t, k.Reload(t.Context()))
			var ids []string
			for _, g := range k.Generations() {
				ids = append(ids, g.ID)
			}
			require.Equal(t, []string{first, second, third, fourth}, ids)

			require.NoError(t, tool.Remove(t.Context(), first))
			require.NoError(t, k.Reload(t.Context()))
			_, err = k.UnwrapKey(t.Context(), old, []byte("aad"))
			require.ErrorIs(t, err, seal.ErrKeyNotFound)
			unwraps(t, k, w)
			again, err := localkeys.Open(path, o)
			require.NoError(t, err)
			require.Equal(t, k.Generations(), again.Generations())
		})
	}
}

// TestAFileThatIsNoSuccessor: nothing is wrapped that could not be read after the next start, and everything that was wrapped is still read.
func TestAFileThatIsNoSuccessor(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		code   fault.Code
	}{
		"gone":    {os.Remove, fault.ServiceUnavailable},
		"damaged": {func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) }, fault.DataCorrupt},
		"another": {func(path string) error {
			_, err := localkeys.Create(path+"2", options("correct horse"))
			if err == nil {
				err = os.Rename(path+"2", path)
			}
			return err
		}, fault.DataCorrupt},
		"another, unprotected": {func(path string) error {
			_, err := localkeys.Create(path+"2", nil)
			if err == nil {
				err = os.Rename(path+"2", path)
			}
			return err
		}, fault.DataCorrupt},
		"readable by others": {func(path string) error { return os.Chmod(path, 0o644) }, fault.ServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			path, k := create(t, options("correct horse"))
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			old := wrap(t, k)
			require.NoError(t, c.change(path))
			_, err = k.WrapKey(t.Context(), "", make([]byte, 32), nil)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			_, err = k.Rotate(t.Context())
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			require.Error(t, k.Remove(t.Context(), "lk-0123456789abcdef"))
			require.Error(t, k.Reload(t.Context()))
			unwraps(t, k, old)
			_, err = k.UnwrapKey(t.Context(), seal.Wrapped{KeyID: "lk-0123456789abcdef", Data: old.Data}, nil)
			require.ErrorIs(t, err, seal.ErrKeyNotFound)

			require.NoError(t, os.WriteFile(path+"3", kept, 0o600)) // restored from a backup
			require.NoError(t, os.Rename(path+"3", path))
			unwraps(t, k, wrap(t, k))
		})
	}
}

// TestAnotherFileOfTheSameProtection: the keys decide whose successor a file is, not its salt.
func TestAnotherFileOfTheSameProtection(t *testing.T) {
	path, k := create(t, nil)
	other, _ := create(t, nil)
	require.NoError(t, os.Rename(other, path))
	_, err := k.WrapKey(t.Context(), "", make([]byte, 32), nil)
	require.ErrorContains(t, err, "no key in common")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, k.Reload(ctx), context.Canceled)
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o400))
	}
	for content, want := range map[string]string{"correct horse": "correct horse", "correct horse\n": "correct horse", "x\r\n": "x", "x\n\n": "x\n", " x ": " x ", "\x00\xff": "\x00\xff"} {
		write("keys", content)
		v, err := localkeys.Credential(dir, "keys")
		require.NoError(t, err)
		require.Equal(t, want, string(v.Reveal()))
		require.NoError(t, os.Remove(filepath.Join(dir, "keys")))
	}
	write("empty", "")
	write("line", "\n")
	write("long", strings.Repeat("x", 1<<20+1))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "outside"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink(filepath.Join("..", "outside"), filepath.Join(dir, "link")))
	for _, name := range []string{"", ".", "..", "a/b", "../outside", `a\b`, "a\x00", "empty", "line", "long", "link"} {
		_, err := localkeys.Credential(dir, name)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, fs.ErrNotExist, name)
	}
	for _, c := range [][2]string{{dir, "none"}, {"", "keys"}, {filepath.Join(dir, "none"), "keys"}} {
		_, err := localkeys.Credential(c[0], c[1])
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
	}
	write("good", "correct horse\n")
	v, err := localkeys.Credential(dir, "good")
	require.NoError(t, err)
	path, _ := create(t, options("correct horse"))
	_, err = localkeys.Open(path, &localkeys.Options{Passphrase: v})
	require.NoError(t, err)
	_, err = localkeys.Open(path, &localkeys.Options{Passphrase: secret.String("correct horse\n")})
	require.Error(t, err)
}

package localkeys_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/secret"
)

var born = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func options(passphrase string) *localkeys.Options {
	return &localkeys.Options{Passphrase: secret.String(passphrase), Iterations: 1000, Now: func() time.Time { return born }}
}

func create(t testing.TB, o *localkeys.Options) (string, *localkeys.Keys) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	k, err := localkeys.Create(path, o)
	require.NoError(t, err)
	return path, k
}

func wrap(t testing.TB, k *localkeys.Keys) seal.Wrapped {
	t.Helper()
	w, err := k.WrapKey(context.Background(), "", make([]byte, 32), []byte("aad"))
	require.NoError(t, err)
	return w
}

func unwraps(t testing.TB, k *localkeys.Keys, w seal.Wrapped) {
	t.Helper()
	key, err := k.UnwrapKey(context.Background(), w, []byte("aad"))
	require.NoError(t, err)
	require.Equal(t, make([]byte, 32), key)
}

func TestKeysSurviveTheProcess(t *testing.T) {
	for _, pass := range []string{"", "correct horse"} {
		path, k := create(t, options(pass))
		first := wrap(t, k)
		require.Equal(t, []localkeys.Generation{{ID: k.Primary(), Created: born, Primary: true}}, k.Generations())
		id, err := k.Rotate(t.Context())
		require.NoError(t, err)
		second := wrap(t, k)
		require.Equal(t, id, second.KeyID)

		again, err := localkeys.Open(path, options(pass))
		require.NoError(t, err)
		require.Equal(t, id, again.Primary())
		require.Equal(t, k.Generations(), again.Generations())
		require.Len(t, again.Generations(), 2)
		unwraps(t, again, first)
		unwraps(t, again, second)

		require.NoError(t, again.Remove(t.Context(), first.KeyID))
		last, err := localkeys.Open(path, options(pass))
		require.NoError(t, err)
		unwraps(t, last, second)
		_, err = last.UnwrapKey(t.Context(), first, []byte("aad"))
		require.ErrorIs(t, err, seal.ErrKeyNotFound)
		require.Equal(t, seal.InvalidKeyID, fault.CodeOf(err))
	}
}

func TestCreateNeverReplaces(t *testing.T) {
	path, _ := create(t, nil)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = localkeys.Create(path, nil)
	require.ErrorIs(t, err, fs.ErrExist)
	require.Equal(t, fault.Exists, fault.KindOf(err))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Len(t, names(t, path), 1, "no temporary file is left")
}

func names(t testing.TB, path string) []string {
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestAMissingFileIsSaidToBeMissing(t *testing.T) {
	_, err := localkeys.Open(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = localkeys.Open(filepath.Join(t.TempDir(), "no", "keys.json"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = localkeys.Create(filepath.Join(t.TempDir(), "no", "keys.json"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestPassphrases(t *testing.T) {
	path, k := create(t, options("correct horse"))
	w := wrap(t, k)
	for pass, want := range map[string]string{"wrong horse": "passphrase is wrong", "": "none was given", "correct horse ": "passphrase is wrong"} {
		_, err := localkeys.Open(path, options(pass))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "horse")
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	}
	k, err := localkeys.Open(path, options("correct horse"))
	require.NoError(t, err)
	unwraps(t, k, w)
	path, _ = create(t, nil)
	_, err = localkeys.Open(path, options("needless"))
	require.ErrorContains(t, err, "not protected")
	for _, n := range []int{-1, 1, 999, 10_000_001} {
		_, err = localkeys.Create(filepath.Join(t.TempDir(), "k"), &localkeys.Options{Passphrase: secret.String("x"), Iterations: n})
		require.ErrorContains(t, err, "iterations")
	}
}

func TestADefaultPassphraseIsDear(t *testing.T) {
	path, _ := create(t, &localkeys.Options{Passphrase: secret.String("x")})
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"iterations": 600000`)
}

// keysIn reads the keys out of an unprotected file.
func keysIn(t testing.TB, path string) (out [][]byte) {
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var f struct{ Keys []struct{ Key []byte } }
	require.NoError(t, json.Unmarshal(raw, &f))
	for _, k := range f.Keys {
		out = append(out, k.Key)
	}
	return out
}

func TestR12KeysAreNeverShown(t *testing.T) {
	path, k := create(t, nil)
	_, err := k.Rotate(t.Context())
	require.NoError(t, err)
	keys := keysIn(t, path)
	require.Len(t, keys, 2)
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&shown, verb, k)
		fmt.Fprintf(&shown, verb, struct{ unexported *localkeys.Keys }{k})
	}
	// Damage of every line: errors do not quote keys.
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := bytes.Split(raw, []byte("\n"))
	for i := range lines {
		for _, with := range []string{"x", `"`, "{", ""} {
			damaged := append([]byte(nil), bytes.Join(append(append(append([][]byte{}, lines[:i]...), append([]byte(with), lines[i][min(3, len(lines[i])):]...)), lines[i+1:]...), []byte("\n"))...)
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			if _, err := localkeys.Open(path, nil); err != nil {
				shown.WriteString(err.Error())
			}
		}
	}
	for _, key := range keys {
		dec := strings.Trim(fmt.Sprint(key), "[]")
		for _, e := range []string{string(key[:8]), hex.EncodeToString(key)[:12], base64.StdEncoding.EncodeToString(key)[:12], dec[:20], strings.ReplaceAll(dec, " ", ", ")[:20]} {
			require.NotContains(t, shown.String(), e)
		}
	}
	p, kp := create(t, options("correct horse"))
	w := wrap(t, kp)
	raw, err = os.ReadFile(p)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "horse")
	unwraps(t, kp, w)
}

// TestEveryBitOfTheFileCounts: a damaged file is refused at the start, whatever was damaged.
func TestEveryBitOfTheFileCounts(t *testing.T) {
	for _, pass := range []string{"", "correct horse"} {
		path, k := create(t, options(pass))
		_, err := k.Rotate(t.Context())
		require.NoError(t, err)
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		step := 1
		if pass != "" || testing.Short() {
			step = 7
		}
		if pass != "" && testing.Short() {
			step = 31
		}
		for i := 0; i < len(raw)*8; i += step {
			if pass != "" && bytes.Contains(raw[max(0, i/8-12):min(len(raw), i/8+20)], []byte("1000,")) {
				continue // more iterations are tried, and take long
			}
			damaged := bytes.Clone(raw)
			damaged[i/8] ^= 1 << (i % 8)
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			_, err := localkeys.Open(path, options(pass))
			require.Error(t, err, "bit %d: %q", i, damaged)
			require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
			require.ErrorContains(t, err, path)
		}
		for n := 0; n < len(raw); n += 1 + len(raw)/100 {
			require.NoError(t, os.WriteFile(path, raw[:n], 0o600))
			_, err := localkeys.Open(path, options(pass))
			require.Error(t, err, "cut at %d", n)
		}
		require.NoError(t, os.WriteFile(path, append(bytes.Clone(raw), raw...), 0o600))
		_, err = localkeys.Open(path, options(pass))
		require.Error(t, err, "twice")
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		_, err = localkeys.Open(path, options(pass))
		require.NoError(t, err, "as it was")
	}
}

func TestADamagedKeyIsNamed(t *testing.T) {
	path, k := create(t, nil)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	key := base64.StdEncoding.EncodeToString(keysIn(t, path)[0])
	require.NoError(t, os.WriteFile(path, bytes.Replace(raw, []byte(key), []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 1), 0o600))
	_, err = localkeys.Open(path, nil)
	require.ErrorContains(t, err, k.Primary()+" does not match its check value")
}

func TestHostileFilesAreRefusedQuickly(t *testing.T) {
	path, _ := create(t, options("x"))
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for what, raw := range map[string]string{
		"empty":            "",
		"null":             "null",
		"a list":           "[]",
		"another format":   `{"format":"fleetwright/localkeys/v2","primary":"","keys":null,"mac":null}`,
		"no keys":          `{"format":"fleetwright/localkeys/v1","primary":"","keys":[],"mac":null}`,
		"unknown fields":   strings.Replace(string(good), `"format"`, `"surprise": 1, "format"`, 1),
		"a wrong type":     strings.Replace(string(good), `"keys": [`, `"keys": "x", "x": [`, 1),
		"endless work":     strings.Replace(string(good), `"iterations": 1000`, `"iterations": 2000000000`, 1),
		"no work":          strings.Replace(string(good), `"iterations": 1000`, `"iterations": 1`, 1),
		"another kdf":      strings.Replace(string(good), "PBKDF2-HMAC-SHA-256", "none", 1),
		"no salt":          strings.Replace(string(good), `"salt": "`, `"salt": "", "x": "`, 1),
		"a short salt":     `{"format":"fleetwright/localkeys/v1","protection":{"kdf":"PBKDF2-HMAC-SHA-256","iterations":1000,"salt":"AAAA"},"primary":"lk-0011223344556677","keys":[{"id":"lk-0011223344556677","created":"2026-11-24T09:00:00Z","key":"","check":""}],"mac":null}`,
		"bad ids":          `{"format":"fleetwright/localkeys/v1","protection":{"kdf":"PBKDF2-HMAC-SHA-256","iterations":1000,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="},"primary":"x","keys":[{"id":"\u001b[2J","created":"2026-11-24T09:00:00Z","key":"","check":""}],"mac":null}`,
		"far too long":     strings.Repeat(" ", 1<<20+1),
		"deep":             strings.Repeat("[", 100_000),
		"a person's edits": strings.Replace(string(good), "  ", "\t", 1),
	} {
		require.NoError(t, os.WriteFile(path, []byte(raw), 0o600))
		_, err := localkeys.Open(path, options("x"))
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), what)
		require.NotContains(t, err.Error(), "\x1b")
	}
	path, k := create(t, nil)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	for what, edited := range map[string]string{
		"short key":       strings.Replace(string(raw), `"key": "`, `"key": "AAAA", "x": "`, 1),
		"another primary": strings.Replace(string(raw), `"primary": "`+k.Primary(), `"primary": "lk-0011223344556677`, 1),
	} {
		require.NoError(t, os.WriteFile(path, []byte(edited), 0o600))
		_, err = localkeys.Open(path, nil)
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), what)
	}
}

func TestR05OthersMayNotTouchTheFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no file modes")
	}
	path, k := create(t, nil)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o602, 0o644, 0o610} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := localkeys.Open(path, nil)
		require.ErrorContains(t, err, "other users", "%04o", mode)
		_, err = k.Rotate(t.Context())
		require.ErrorContains(t, err, "other users", "%04o", mode)
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = localkeys.Open(path, nil)
		require.NoError(t, err)
	}
	dir := filepath.Dir(path)
	for _, mode := range []fs.FileMode{0o777, 0o770, 0o702} {
		require.NoError(t, os.Chmod(dir, mode))
		_, err = localkeys.Open(path, nil)
		require.ErrorContains(t, err, "could replace the keys", "%04o", mode)
		_, err = localkeys.Create(path+"2", nil)
		require.Error(t, err)
	}
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	_, err = localkeys.Open(path, nil)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o700))
}

func TestR05SymbolicLinksAreNotFollowed(t *testing.T) {
	path, k := create(t, nil)
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Skipf("SKIPPED: no symbolic links here: %v", err)
	}
	_, err := localkeys.Open(link, nil)
	require.ErrorContains(t, err, "symbolic links")
	_, err = localkeys.Create(link, nil)
	require.Error(t, err)
	require.NoError(t, os.Rename(path, path+".moved"))
	require.NoError(t, os.Symlink(path+".moved", path))
	_, err = k.Rotate(t.Context())
	require.ErrorContains(t, err, "symbolic links")
	_, err = localkeys.Open(filepath.Dir(path), nil)
	require.Error(t, err, "a directory")
}

// TestManyRotateAtOnce: whatever wins, no key that was promised is lost.
func TestManyRotateAtOnce(t *testing.T) {
	path, _ := create(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var promised []string
	for range 8 {
		wg.Go(func() {
			for range 10 {
				k, err := localkeys.Open(path, nil)
				if err != nil {
					t.Errorf("opening: %v", err)
					return
				}
				if id, err := k.Rotate(context.Background()); err == nil {
					mu.Lock()
					promised = append(promised, id)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	k, err := localkeys.Open(path, nil)
	require.NoError(t, err)
	have := map[string]bool{}
	for _, g := range k.Generations() {
		have[g.ID] = true
	}
	require.NotEmpty(t, promised)
	for _, id := range promised {
		require.True(t, have[id], "%s was promised and is gone", id)
	}
	require.Len(t, k.Generations(), len(promised)+1)
	require.Len(t, names(t, path), 1)
}

func TestWhatACrashLeftIsRemoved(t *testing.T) {
	path, k := create(t, nil)
	left := filepath.Join(filepath.Dir(path), ".keys.json.abc.tmp")
	require.NoError(t, os.WriteFile(left, []byte("half a key file"), 0o600))
	kept := filepath.Join(filepath.Dir(path), ".other.json.abc.tmp")
	require.NoError(t, os.WriteFile(kept, nil, 0o600))
	_, err := k.Rotate(t.Context())
	require.NoError(t, err)
	require.NoFileExists(t, left)
	require.FileExists(t, kept)
}

func TestRemoveKeepsThePrimaryKey(t *testing.T) {
	_, k := create(t, nil)
	require.ErrorContains(t, k.Remove(t.Context(), k.Primary()), "rotate first")
	require.ErrorIs(t, k.Remove(t.Context(), "lk-0000000000000000"), seal.ErrKeyNotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.Rotate(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, k.Generations(), 1)
}

func TestWrappedKeysAreOfThisFormat(t *testing.T) {
	_, k := create(t, nil)
	w := wrap(t, k)
	require.Len(t, w.Data, 1+12+32+16)
	require.Equal(t, byte(1), w.Data[0])
	w.Data[0] = 2
	_, err := k.UnwrapKey(t.Context(), w, []byte("aad"))
	require.ErrorIs(t, err, seal.ErrTampered)
	_, err = k.UnwrapKey(t.Context(), seal.Wrapped{KeyID: "\x1b" + strings.Repeat("x", 200), Data: w.Data}, nil)
	require.ErrorIs(t, err, seal.ErrKeyNotFound)
	require.NotContains(t, err.Error(), "\x1b")
	require.Less(t, len(err.Error()), 300)
}

// TestAnotherKeyFileIsToldAtTheStart is what a host does with the check value.
func TestAnotherKeyFileIsToldAtTheStart(t *testing.T) {
	_, mine := create(t, nil)
	_, theirs := create(t, nil)
	value, err := seal.NewBox(mine, nil).MakeCheck(t.Context())
	require.NoError(t, err)
	require.NoError(t, seal.NewBox(mine, nil).VerifyCheck(t.Context(), value))
	err = seal.NewBox(theirs, nil).VerifyCheck(t.Context(), value)
	require.ErrorIs(t, err, seal.ErrKeyNotFound)
	require.ErrorContains(t, err, "is it the file of this store")
}

func FuzzOpen(f *testing.F) {
	path, _ := create(f, nil)
	raw, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(raw)
	f.Add(bytes.Replace(raw, []byte(`"primary"`), []byte(`"Primary"`), 1))
	f.Add([]byte(`{"format":"fleetwright/localkeys/v1","primary":"lk-0011223344556677","keys":[{"id":"lk-0011223344556677","created":"2026-11-24T09:00:00Z","key":"","check":""}],"mac":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := filepath.Join(t.TempDir(), "k")
		require.NoError(t, os.WriteFile(p, data, 0o600))
		k, err := localkeys.Open(p, nil)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
			}
			return
		}
		unwraps(t, k, wrap(t, k)) // whatever opens is a whole key file
		_, err = k.Rotate(t.Context())
		require.NoError(t, err)
	})
}

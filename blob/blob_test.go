package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/fault"
)

func Example() {
	ctx := context.Background()
	blobs := memblob.New()
	n, _ := blobs.Put(ctx, "default/command/c-1/0/stdout", strings.NewReader("hello, fleet\n"))
	r, _ := blob.OpenAt(ctx, blobs, "default/command/c-1/0/stdout", 7)
	rest, _ := io.ReadAll(r)
	r.Close()
	fmt.Printf("%d bytes, from the seventh on: %s", n, rest)

	blobs.Delete(ctx, "default/command/c-1") // everything of the command
	_, err := blobs.Open(ctx, "default/command/c-1/0/stdout")
	fmt.Println(errors.Is(err, blob.ErrNotFound))
	// Output:
	// 13 bytes, from the seventh on: fleet
	// true
}

func TestBadKeysSayWhatIsWrong(t *testing.T) {
	for key, want := range map[string]string{
		"":                              "1 to 512 bytes",
		strings.Repeat("a", 513):        "1 to 512 bytes",
		"a//b":                          "empty segment",
		"/a":                            "empty segment",
		"a/":                            "empty segment",
		"a/../b":                        `".."`,
		".":                             `"."`,
		"a/" + strings.Repeat("b", 129): "128 bytes",
		"a\x1b[31m/b":                   `\x1b`,
		"a b":                           "[A-Za-z0-9_.-]",
	} {
		err := blob.CheckKey(key)
		require.ErrorIs(t, err, blob.ErrBadKey, "%q", key)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
		require.NotContains(t, err.Error(), "\x1b")
		require.Less(t, len(err.Error()), 300)
	}
}

func FuzzCheckKey(f *testing.F) {
	grammar := regexp.MustCompile(`\A[A-Za-z0-9_.-]{1,128}(/[A-Za-z0-9_.-]{1,128})*\z`)
	for _, s := range []string{"a", "a/b", "..", "a/../b", "a/...", "", "/", strings.Repeat("a", 129), strings.Repeat("abcdefg/", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		good := len(key) <= blob.MaxKey && grammar.MatchString(key)
		for _, s := range strings.Split(key, "/") {
			good = good && s != "." && s != ".."
		}
		if err := blob.CheckKey(key); (err == nil) != good {
			t.Fatalf("CheckKey(%q) = %v, want good: %v", key, err, good)
		}
	})
}

// unseekable hides that memblob's readers seek.
type unseekable struct{ blob.Store }

func (u unseekable) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := u.Store.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	return struct{ io.ReadCloser }{r}, nil
}

func TestOpenAtStartsAtTheOffset(t *testing.T) {
	m := memblob.New()
	_, err := m.Put(t.Context(), "k", strings.NewReader("0123456789"))
	require.NoError(t, err)
	for _, s := range []blob.Store{m, unseekable{m}} {
		for offset, want := range map[int64]string{0: "0123456789", 1: "123456789", 9: "9", 10: "", 11: "", 1 << 40: ""} {
			r, err := blob.OpenAt(t.Context(), s, "k", offset)
			require.NoError(t, err)
			b, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.Equal(t, want, string(b))
		}
		_, err := blob.OpenAt(t.Context(), s, "none", 3)
		require.ErrorIs(t, err, blob.ErrNotFound)
		_, err = blob.OpenAt(t.Context(), s, "k", -1)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
}

// broken readers fail in the middle.
type broken struct{ blob.Store }

var errRead = errors.New("disk on fire")

func (b broken) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader([]byte("01")), errorReader{})), nil
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errRead }

func TestOpenAtReportsFailures(t *testing.T) {
	_, err := blob.OpenAt(t.Context(), broken{}, "k", 5)
	require.ErrorIs(t, err, errRead)
}

package blobtest

import (
	"bytes"
	"io"
	"strings"

	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/blob"
)

// model runs random calls on few keys, so that they meet, beside a map.
func model(t T, s blob.Store) {
	names := []string{"a", "a/b", "a/b/c", "a/bc", "ab", "A", "A/b", "a.b", "b/c/d/e"}
	rapid.Check(t, func(t *rapid.T) {
		want := map[string][]byte{}
		for _, k := range names { // the same store serves all runs
			if err := s.Delete(background(), k); err != nil {
				t.Fatalf("Delete(%q): %v", k, err)
			}
		}
		key := rapid.SampledFrom(names)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "value")
				n, err := s.Put(background(), k, bytes.NewReader(v))
				if err != nil || n != int64(len(v)) {
					t.Fatalf("Put(%q) = %d, %v", k, n, err)
				}
				want[k] = v
			},
			"put that fails": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if _, err := s.Put(background(), k, &tap{first: []byte("x"), do: func() error { return errReader }}); err == nil {
					t.Fatalf("Put(%q) of a reader that fails gives no error", k)
				}
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if err := s.Delete(background(), k); err != nil {
					t.Fatalf("Delete(%q): %v", k, err)
				}
				for n := range want {
					if n == k || strings.HasPrefix(n, k+"/") {
						delete(want, n)
					}
				}
			},
			"": func(t *rapid.T) {
				for _, k := range names {
					r, err := s.Open(background(), k)
					v, exists := want[k]
					if (err == nil) != exists {
						t.Fatalf("Open(%q) = %v, exists: %v", k, err, exists)
					}
					if err != nil {
						continue
					}
					got, err := io.ReadAll(r)
					r.Close()
					if err != nil || !bytes.Equal(got, v) {
						t.Fatalf("%q holds %q (%v), want %q", k, got, err, v)
					}
				}
			},
		})
	})
}

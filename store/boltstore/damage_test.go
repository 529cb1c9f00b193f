package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/record"
)

// victim returns the bytes of a store with 1,500 framed records on several levels of pages, free pages and a large value.
func victim(t *testing.T) ([]byte, map[string]string) {
	path := fileOf(t)
	s, err := boltstore.Open(t.Context(), path, nil)
	require.NoError(t, err)
	var codec *record.Codec
	want := map[string]string{}
	for round := range 3 {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := range 1500 {
				k := fmt.Sprintf("node/%05d", i)
				v := strings.Repeat(fmt.Sprintf("%d.%d ", i, round), 12)
				if i == 700 {
					v = strings.Repeat("large", 3000)
				}
				want[k] = v
				if err := tx.Put([]byte(k), codec.Seal([]byte(k), []byte(v))); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(t, s.Check(t.Context()))
	require.NoError(t, s.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	return b[:(end+4095)/4096*4096], want
}

// toll counts what became of damaged stores.
type toll struct{ refused, readErr, corrupt, hidden, old, unharmed, updateErr int }

// survive opens damaged bytes and uses the store. Nothing that it returns may be what was not written; nothing may crash or hang.
func survive(t *testing.T, dir string, b []byte, want map[string]string, what string, n *toll) {
	path := filepath.Join(dir, "damaged.db")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	var warnings bytes.Buffer
	s, err := boltstore.Open(t.Context(), path, &boltstore.Options{Logger: slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		if !strings.Contains(err.Error(), "newer release") { // the number of the format was hit
			require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "%s: %v", what, err)
		}
		n.refused++
		return
	}
	defer s.Close()
	require.False(t, strings.HasPrefix(what, "cut"), "a file that lacks its end opened: %s", what)
	var codec *record.Codec
	seen, before, old := 0, *n, false
	check := func(k, v []byte) {
		p, err := codec.Open(k, v)
		if err != nil {
			n.corrupt++
			return
		}
		w, ok := want[string(k)]
		require.True(t, ok, "%s: a key %q that was never written opens", what, k)
		if w != string(p) {
			// A bit of a leaf's own table can point into the page of an older commit. Nothing in the record tells; Check does.
			require.Regexp(t, `^(\d+\.\d )+$`, string(p), what)
			require.True(t, strings.HasPrefix(string(p), w[:strings.Index(w, ".")+1]), "%s: %q has the value of another key", what, k)
			old = true
		}
		seen++
	}
	for _, reverse := range []bool{false, true} {
		seen = 0
		err = s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			for it, err := range r.Scan(ctx, store.Range{Reverse: reverse}) {
				if err != nil {
					return err
				}
				check(it.Key, it.Value)
				if seen > len(want) {
					return errors.New("the scan goes in circles")
				}
			}
			return nil
		})
		if err != nil {
			require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "%s: %v", what, err)
			n.readErr++
		}
	}
	harmed := n.readErr+n.corrupt > before.readErr+before.corrupt
	// One bad record does not stop the others.
	seen = 0
	for i := range 15 {
		k := fmt.Appendf(nil, "node/%05d", i*100+3)
		err := s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			v, err := r.Get(ctx, k)
			if err == nil {
				check(k, v)
			}
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "%s: %v", what, err)
		}
	}
	if strings.HasPrefix(what, "flip") {
		require.GreaterOrEqual(t, seen, 1, "%s: all of 15 records far apart are gone", what)
	}
	if old { // or the last commit's first page is gone, and the one before is served, with a warning
		if !strings.Contains(warnings.String(), "first pages") {
			require.Error(t, s.Check(t.Context()), what)
		}
		n.old++
	}
	err = s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, k := range []string{"node/00003", "node/00750", "node/01499", "zz"} {
			if err := tx.Put([]byte(k), codec.Seal([]byte(k), []byte(want[k]))); err != nil {
				return err
			}
		}
		return tx.Delete([]byte("node/01000"))
	})
	if err != nil {
		n.updateErr++
	}
	checkErr := s.Check(t.Context())
	switch {
	case harmed:
	case seen == 15 && checkErr == nil:
		n.unharmed++
	default:
		n.hidden++
	}
}

// F6, R-26: detected, named, never served.
func TestDamageIsNeverServed(t *testing.T) {
	good, want := victim(t)
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(7, 7))
	flips := 120
	if !testing.Short() {
		flips = 3000
	}
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_FLIPS")); err == nil {
		flips = n
	}
	var n toll
	for i := range flips {
		b := bytes.Clone(good)
		at := rnd.IntN(len(b))
		if i%2 == 0 { // structure is rare among bytes: half of the flips go to the heads of pages
			at = at/4096*4096 + rnd.IntN(300)
		}
		bit := rnd.IntN(8)
		b[at] ^= 1 << bit
		survive(t, dir, b, want, fmt.Sprintf("flip of bit %d at %d (page %d + %d)", bit, at, at/4096, at%4096), &n)
	}
	t.Logf("%d flips: %+v", flips, n)
	n = toll{}
	pages := len(good) / 4096
	for p := range pages {
		if testing.Short() && p%13 != 0 {
			continue
		}
		survive(t, dir, good[:p*4096], want, fmt.Sprintf("cut after page %d", p), &n)
		b := bytes.Clone(good)
		clear(b[p*4096 : (p+1)*4096])
		survive(t, dir, b, want, fmt.Sprintf("page %d is zero", p), &n)
		other := rnd.IntN(pages)
		b = bytes.Clone(good)
		copy(b[p*4096:(p+1)*4096], good[other*4096:])
		survive(t, dir, b, want, fmt.Sprintf("page %d is that of %d", p, other), &n)
	}
	t.Logf("pages cut, zeroed and exchanged: %+v", n)
}

func TestAFileThatIsCutWhileItIsOpen(t *testing.T) {
	path := fileOf(t)
	b, _ := victim(t)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	s := mustOpen(t, path, nil)
	require.NoError(t, os.Truncate(path, 4*4096)) // reading the rest of the mapping is a fault of the process
	err := s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for _, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, "restore it from a backup")
	require.Error(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("node/00003"), nil) }))
}

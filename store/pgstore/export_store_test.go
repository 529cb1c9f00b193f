package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/pgstore"
)

func pairs(n int, value string) func(ctx context.Context, tx store.Tx) error {
	return func(_ context.Context, tx store.Tx) error {
		for i := range n {
			if err := tx.Put(fmt.Appendf(nil, "k%06d", i), []byte(value)); err != nil {
				return err
			}
		}
		return nil
	}
}

// What Export shows is of one moment, whatever is written and removed while it goes on, by this control plane and by another; and nobody waits for it.
func TestExportIsOfOneMoment(t *testing.T) {
	p, name := pool(t), fresh()
	s, other := openOn(t, p, name, nil), openOn(t, p, name, nil)
	const n = 3000
	require.NoError(t, s.Update(t.Context(), pairs(n, "before")))
	got, last := 0, []byte(nil)
	err := s.Export(t.Context(), func(k, v []byte) error {
		require.Equal(t, "before", string(v), "%s", k)
		require.Negative(t, bytes.Compare(last, k), "in order, each once")
		last = bytes.Clone(k)
		if got++; got == 10 || got == n/2 {
			for _, by := range []*pgstore.Store{s, other} {
				require.NoError(t, by.Update(t.Context(), pairs(n, "after")))
				require.NoError(t, by.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
					return errors.Join(tx.Put([]byte("new"), nil), tx.Delete([]byte("k002999")))
				}))
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, n, got)
	consistent, err := store.Export(t.Context(), other, func(k, v []byte) error { got--; return nil })
	require.NoError(t, err)
	require.True(t, consistent)
	require.Zero(t, got, "afterwards: one removed, one new")
}

// Values of every size come whole, empty ones as empty, and the end of a page is no end.
func TestExportOfEverySize(t *testing.T) {
	s := openOn(t, pool(t), fresh(), nil)
	require.NoError(t, s.Export(t.Context(), func(_, _ []byte) error { return errors.New("there is nothing") }))
	want := map[string]int{"\x00": 0, "\x00\x00": 1, "\xff\xff": 7, string(bytes.Repeat([]byte{0xff}, store.MaxKey)): 3}
	for i := range 32 {
		want[fmt.Sprintf("at%d", i)] = i * 7000
	}
	want["large"] = store.MaxValue
	for k, n := range want {
		require.NoError(t, s.Update(t.Context(), func(_ context.Context, tx store.Tx) error { return tx.Put([]byte(k), make([]byte, n)) }))
	}
	got := map[string]int{}
	require.NoError(t, s.Export(t.Context(), func(k, v []byte) error {
		require.NotNil(t, v)
		got[string(k)] = len(v)
		return nil
	}))
	require.Equal(t, want, got)
}

// An error of the function, the end of the caller, a broken connection and a closed store end it and are told; the store works on.
func TestExportEnds(t *testing.T) {
	s := openOn(t, pool(t), fresh(), nil)
	require.NoError(t, s.Update(t.Context(), pairs(2000, "v")))
	own := errors.New("the caller's own")
	require.ErrorIs(t, s.Export(t.Context(), func(_, _ []byte) error { return own }), own)
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, s.Export(ctx, func(_, _ []byte) error { cancel(); return nil }), context.Canceled)
	require.NoError(t, s.Update(t.Context(), pairs(1, "w")))
	n := 0
	require.NoError(t, s.Export(t.Context(), func(_, _ []byte) error { n++; return nil }))
	require.Equal(t, 2000, n)
	s.Close()
	require.ErrorIs(t, s.Export(t.Context(), func(_, _ []byte) error { return nil }), store.ErrClosed)
}

// A store moves from a file into the database and back, and is the same.
func TestExportMovesAStore(t *testing.T) {
	file := func() *boltstore.Store {
		s, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"), nil)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	all := func(s store.Store) (out [][2]string) {
		consistent, err := store.Export(t.Context(), s, func(k, v []byte) error { out = append(out, [2]string{string(k), string(v)}); return nil })
		require.NoError(t, err)
		require.True(t, consistent)
		return out
	}
	move := func(from, to store.Store) {
		var items []store.Item
		_, err := store.Export(t.Context(), from, func(k, v []byte) error {
			items = append(items, store.Item{Key: bytes.Clone(k), Value: bytes.Clone(v)})
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, to.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
			for _, it := range items {
				if err := tx.Put(it.Key, it.Value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	a, b, c := file(), openOn(t, pool(t), fresh(), nil), file()
	require.NoError(t, a.Update(t.Context(), pairs(1500, time.Unix(0, 0).UTC().String())))
	move(a, b)
	move(b, c)
	require.Equal(t, all(a), all(b))
	require.Equal(t, all(a), all(c))
}

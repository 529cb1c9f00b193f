package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// anatomy is a store's file with the places of its parts.
type anatomy struct {
	b          []byte
	free, root int // pages: the free list, the root of the keys (a branch)
	size       int // of a page
}

func dissect(t *testing.T) anatomy {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path, nil)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := range 800 {
				if err := tx.Put(fmt.Appendf(nil, "%05d", i), bytes.Repeat([]byte("x"), 100)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	a := anatomy{size: s.eng.db.Info().PageSize}
	require.NoError(t, s.eng.db.View(func(tx *bolt.Tx) error {
		a.root = int(tx.Bucket(bucketData).Root())
		_, free, err := meta(s.eng.file, uint64(tx.ID()), a.size)
		a.free = int(free)
		return err
	}))
	require.NoError(t, s.Close())
	a.b, err = os.ReadFile(path)
	require.NoError(t, err)
	require.EqualValues(t, flagBranch, order.Uint16(a.page(a.root)[8:]))
	require.Positive(t, order.Uint16(a.page(a.free)[10:]), "there are free pages")
	return a
}

func (a anatomy) page(id int) []byte { return a.b[id*a.size : (id+1)*a.size] }

// kid returns the page of a branch's element.
func (a anatomy) kid(i int) int { return int(order.Uint64(a.page(a.root)[pageHeader+16*i+8:])) }

func (a anatomy) setKid(i, to int) { order.PutUint64(a.page(a.root)[pageHeader+16*i+8:], uint64(to)) }

// opened opens the changed file and returns the error of Open and that of Check.
func (a anatomy) opened(t *testing.T, logged *bytes.Buffer) (open, check error) {
	path := filepath.Join(t.TempDir(), "changed.db")
	require.NoError(t, os.WriteFile(path, a.b, 0o600))
	s, err := Open(t.Context(), path, &Options{Logger: slog.New(slog.NewTextHandler(logged, nil))})
	if err != nil {
		return err, nil
	}
	defer s.Close()
	return nil, s.Check(t.Context())
}

func TestDamagedStructureIsFound(t *testing.T) {
	whole := dissect(t)
	for name, k := range map[string]struct {
		change func(a anatomy)
		says   string
		atOpen bool // by Open, so that no write makes it worse; else by Check
	}{
		"nothing":                         {func(anatomy) {}, "", false},
		"a branch that leads to itself":   {func(a anatomy) { a.setKid(1, a.root) }, "used twice", true},
		"two ways to a leaf":              {func(a anatomy) { a.setKid(1, a.kid(0)) }, "used twice", true},
		"a branch that leads out":         {func(a anatomy) { a.setKid(1, 1<<40) }, "outside of the file", true},
		"a branch that leads to page one": {func(a anatomy) { a.setKid(1, 1) }, "outside of the file", true},
		"a branch whose key leads out":    {func(a anatomy) { order.PutUint32(a.page(a.root)[pageHeader:], 1<<30) }, "not within the page", true},
		"a branch with too many elements": {func(a anatomy) { order.PutUint16(a.page(a.root)[10:], 5000) }, "", true},
		"a branch that is nothing":        {func(a anatomy) { order.PutUint16(a.page(a.root)[8:], 0) }, "", true},
		"a branch under another number":   {func(a anatomy) { order.PutUint64(a.page(a.root), 7) }, "", true},
		"a free page that is used": {func(a anatomy) {
			order.PutUint64(a.page(a.free)[pageHeader:], uint64(a.kid(3)))
		}, "free and used", true},
		"a free page twice": {func(a anatomy) {
			copy(a.page(a.free)[pageHeader+8:pageHeader+16], a.page(a.free)[pageHeader:])
		}, "free twice", true},
		"a free page that is none": {func(a anatomy) { order.PutUint64(a.page(a.free)[pageHeader:], 1<<33) }, "outside of the file", true},
		"too many free pages":      {func(a anatomy) { order.PutUint16(a.page(a.free)[10:], 9000) }, "", true},
		"a leaf's element that leads out": {func(a anatomy) {
			order.PutUint32(a.page(a.kid(2))[pageHeader+4:], 1<<20)
		}, "not within the page", false},
		"a leaf's value that is too long": {func(a anatomy) {
			order.PutUint32(a.page(a.kid(2))[pageHeader+12:], 1<<20)
		}, "not within the page", false},
		"leaves that changed places": {func(a anatomy) {
			one, two := a.kid(1), a.kid(2)
			a.setKid(1, two)
			a.setKid(2, one)
		}, "out of order", false},
		"a leaf's element that says it is a bucket": {func(a anatomy) {
			order.PutUint32(a.page(a.kid(2))[pageHeader:], 1)
		}, "wrong kind", false},
		"a leaf that is nothing": {func(a anatomy) { order.PutUint16(a.page(a.kid(2))[8:], 0) }, "should be a leaf", false},
		"a leaf with too many elements": {func(a anatomy) {
			order.PutUint16(a.page(a.kid(2))[10:], 60000)
		}, "not within the page", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := whole
			a.b = bytes.Clone(whole.b)
			k.change(a)
			var logged bytes.Buffer
			open, check := a.opened(t, &logged)
			switch {
			case name == "nothing":
				require.NoError(t, open)
				require.NoError(t, check)
				require.Empty(t, logged.String())
			case k.atOpen:
				require.Equal(t, fault.DataCorrupt, fault.CodeOf(open), "%v", open)
				require.ErrorContains(t, open, k.says)
			default:
				require.NoError(t, open, "one bad page of a leaf does not close the store")
				require.Equal(t, fault.DataCorrupt, fault.CodeOf(check), "%v", check)
				require.ErrorContains(t, check, k.says)
			}
		})
	}
}

func TestADamagedFirstPageIsSaidAloud(t *testing.T) {
	for page := range 2 {
		a := dissect(t)
		a.page(page)[pageHeader+20] ^= 4
		var logged bytes.Buffer
		open, check := a.opened(t, &logged)
		require.NoError(t, open)
		require.NoError(t, check)
		require.Contains(t, logged.String(), "two first pages")
	}
	a := dissect(t)
	a.page(0)[pageHeader+20] ^= 4
	a.page(1)[pageHeader+20] ^= 4
	open, _ := a.opened(t, new(bytes.Buffer))
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(open), "%v", open)
}

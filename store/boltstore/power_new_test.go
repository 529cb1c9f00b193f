//go:build linux

package boltstore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/powercut"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// powerCreate is a process that makes one new store after another, each when it is told to, and writes one record into each.
func powerCreate(dir string) {
	told := bufio.NewScanner(os.Stdin)
	for i := 0; told.Scan(); i++ {
		at := filepath.Join(dir, fmt.Sprint(i))
		fatal(os.Mkdir(at, 0o700))
		s, err := boltstore.Open(context.Background(), filepath.Join(at, "store.db"), nil)
		fatal(err)
		fatal(s.Update(context.Background(), func(_ context.Context, tx store.Tx) error { return tx.Put([]byte("first"), fmt.Append(nil, i)) }))
		powercut.Ack("%d", i)
	}
}

// F5: a store that was made a moment before the power went, and that has acknowledged one record, is there under its name and has the record.
func TestPowerCutOfANewStore(t *testing.T) {
	if powercut.Role() == "creator" {
		powerCreate(powercut.Args()[0])
		return
	}
	n := cuts(t)
	if testenv.Long() {
		n = max(n/5, 6)
	}
	if !powercut.Enter(t) {
		return
	}
	rig := powercut.NewRig(t)
	for _, kind := range []string{"ext4", "ext4-5s", "xfs"} {
		share, failures := (n+2)/3, 0
		disk := rig.Disk(kind)
		w := powercut.Start(t, "creator", disk.Dir)
		for i := range share {
			w.Tell("")
			require.True(t, w.Await(i+1), "the writer died")
			cut := disk.Cut(w)
			cut.Inspect(func(dir string) {
				path := filepath.Join(dir, fmt.Sprint(i), "store.db")
				_, err := os.Stat(path) // opening it would make it
				var s *boltstore.Store
				if err == nil {
					s, err = boltstore.Open(t.Context(), path, nil)
				}
				if err == nil {
					err = s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
						v, err := r.Get(ctx, []byte("first"))
						if err == nil && string(v) != fmt.Sprint(i) {
							err = fmt.Errorf("it is %q", v)
						}
						return err
					})
					require.NoError(t, s.Close())
				}
				if err != nil {
					failures++
					t.Errorf("%s: the store made before cut %d: %v", kind, i, err)
				}
			})
		}
		w.Kill()
		testenv.Figure(t, "power cuts just after a file store was made, on "+kind, share, failures)
	}
}

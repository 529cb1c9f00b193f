//go:build linux

package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/powercut"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// powerWrite is a process of several writers, each Update of which writes a record of its own and one that all share.
func powerWrite(dir string, o *boltstore.Options) {
	s, err := boltstore.Open(context.Background(), filepath.Join(dir, "store.db"), o)
	fatal(err)
	for w := range writers {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d/%06d", w, i)
				fatal(s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
					n, err := tx.Get(ctx, []byte("count"))
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					count, _ := strconv.Atoi(string(n))
					return errors.Join(tx.Put([]byte("r/"+id), []byte(strings.Repeat(id, 1+i%200))), tx.Put([]byte("count"), []byte(strconv.Itoa(count+1))))
				}))
				powercut.Ack("%s", id)
			}
		}()
	}
	select {}
}

// powerLost opens what a cut left and returns what is wrong with it.
func powerLost(ctx context.Context, dir string, acked []string) error {
	path := filepath.Join(dir, "store.db")
	if _, err := os.Stat(path); err != nil && len(acked) == 0 {
		return nil
	}
	s, err := boltstore.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // its contents were looked at
	if err := s.Check(ctx); err != nil {
		return err
	}
	err = s.View(ctx, func(ctx context.Context, r store.Reader) error {
		there, lost := map[string]bool{}, 0
		for it, err := range r.Scan(ctx, store.Range{Start: []byte("r/"), End: []byte("r0")}) {
			if err != nil {
				return err
			}
			id := string(it.Key[2:])
			if i, _ := strconv.Atoi(id[2:]); string(it.Value) != strings.Repeat(id, 1+i%200) {
				return fmt.Errorf("%s is not what was written", id)
			}
			there[id] = true
		}
		for _, id := range acked {
			if !there[id] {
				lost++
			}
		}
		if lost > 0 {
			return fmt.Errorf("%d of %d acknowledged records are lost", lost, len(acked))
		}
		n, err := r.Get(ctx, []byte("count"))
		if errors.Is(err, store.ErrNotFound) && len(there) == 0 {
			return nil
		}
		if err == nil && string(n) != strconv.Itoa(len(there)) {
			err = fmt.Errorf("%d records and a count of %s: an Update is there in part", len(there), n)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("after"), nil) })
}

// cuts returns how many times the power is cut.
func cuts(t *testing.T) int {
	if testenv.Long() {
		return testenv.Count(t, "FLEETWRIGHT_CUTS", 300)
	}
	if testing.Short() {
		t.Skip("SKIPPED: power is cut in full runs only")
	}
	return 6
}

// F5, G3: what was acknowledged is on the disk when the power goes, on three file systems; what was not is there whole or not at all.
func TestPowerCut(t *testing.T) {
	switch powercut.Role() {
	case "writer":
		powerWrite(powercut.Args()[0], nil)
	case "liar":
		o := &boltstore.Options{}
		boltstore.NoSync(o)
		powerWrite(powercut.Args()[0], o)
	}
	n := cuts(t)
	if !powercut.Enter(t) {
		return
	}
	rig := powercut.NewRig(t)
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	run := func(disk *powercut.Disk, role string, n int) (failures, acked int) {
		const life = 6 // cuts of one store: what it holds has to be read after each
		var w *powercut.Writer
		var name string
		for i := range n {
			if i%life == 0 {
				if w != nil {
					w.Kill()
					require.NoError(t, os.RemoveAll(filepath.Join(disk.Dir, name)))
				}
				name = fmt.Sprint(role, i)
				require.NoError(t, os.Mkdir(filepath.Join(disk.Dir, name), 0o700))
				w = powercut.Start(t, role, filepath.Join(disk.Dir, name))
				require.True(t, w.Await(1), "the writer died")
			}
			time.Sleep(time.Duration(rng.IntN(15_000)) * time.Microsecond) // the instant of the cut
			cut := disk.Cut(w)
			wake := w.Rest()
			cut.Inspect(func(dir string) {
				if err := powerLost(t.Context(), filepath.Join(dir, name), cut.Acked); err != nil {
					failures++
					if role == "writer" {
						t.Errorf("cut %d of %s: %v", i, name, err)
					}
				}
				acked += len(cut.Acked)
			})
			wake()
		}
		if w != nil {
			w.Kill()
		}
		return failures, acked
	}
	for _, kind := range []string{"ext4", "ext4-5s", "xfs"} {
		start := time.Now()
		share := (n + 2) / 3
		disk := rig.Disk(kind)
		failures, acked := run(disk, "writer", share)
		testenv.Figure(t, "power cuts of the file store on "+kind, share, failures)
		t.Logf("%s: %d cuts in %v, %d acknowledged records looked for", kind, share, time.Since(start), acked)
		// The test bites: a store that does not sync is caught (G17).
		lies := max(3, share/20)
		caught, _ := run(disk, "liar", lies)
		require.Positive(t, caught, "a store that lies about what is durable must be caught on %s", kind) // not always: a slow machine may write it all in time
		testenv.Figure(t, "power cuts of a store that does not sync, not caught, on "+kind, lies, lies-caught)
	}
}

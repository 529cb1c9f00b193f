package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
)

// hold begins an Update that keeps the committer busy until release is called, which returns the Update's error.
func hold(t *testing.T, s *Store) (release func() error) {
	began, leave, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
			close(began)
			<-leave
			return nil
		})
	}()
	<-began
	return sync.OnceValue(func() error { close(leave); return <-ended })
}

func waitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	eventually(t, func() bool { return s.Stats().Queued == n }, fmt.Sprintf("%d Updates should be queued", n))
}

func TestWhatWaitsGoesIntoOneCommit(t *testing.T) {
	var commits atomic.Int64
	var updates atomic.Int64
	s := openT(t, &Options{Observe: func(c Commit) { commits.Add(1); updates.Add(int64(c.Updates)) }})
	release := hold(t, s)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() { require.NoError(t, put(t.Context(), s, fmt.Sprint(i), "x")) })
	}
	waitQueued(t, s, 64)
	require.NoError(t, release())
	wg.Wait()
	require.EqualValues(t, 1, commits.Load())
	require.EqualValues(t, 64, updates.Load())
	st := s.Stats()
	require.Equal(t, Stats{Commits: 1, Updates: 64, Writes: 64, Bytes: st.Bytes, Waited: st.Waited, Ran: st.Ran, Synced: st.Synced, FileSize: st.FileSize, DiskFree: st.DiskFree}, st)
	require.Positive(t, st.FileSize)
	require.Positive(t, st.Bytes)
	require.Positive(t, st.Synced)
}

func TestAnUpdateThatWritesNothingCommitsNothing(t *testing.T) {
	s := openT(t, nil)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return nil }))
	require.Zero(t, s.Stats().Commits)
}

// The functions of a batch see each other's writes as if they had been committed one by one, scans over pages that a neighbour emptied included.
func TestFunctionsOfABatchSeeEachOther(t *testing.T) {
	for seed := range 12 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 1))
		s := openT(t, nil)
		model := map[string]string{}
		first := strings.Repeat("first ", 12) // some sixty to a page
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := range 900 {
				k := fmt.Sprintf("%05d", i)
				model[k] = first
				if err := tx.Put([]byte(k), []byte(first)); err != nil {
					return err
				}
			}
			return nil
		}))
		release := hold(t, s)
		var wg sync.WaitGroup
		for n := range 6 {
			wg.Go(func() {
				require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
					from := rnd.IntN(900) // one after another: the committer gives one turn at a time
					for i := from; i < min(from+rnd.IntN(450), 900); i++ {
						k := fmt.Sprintf("%05d", i)
						if rnd.IntN(40) == 0 {
							model[k] = fmt.Sprint(n)
							if err := tx.Put([]byte(k), fmt.Append(nil, n)); err != nil {
								return err
							}
						} else {
							delete(model, k)
							if err := tx.Delete([]byte(k)); err != nil {
								return err
							}
						}
					}
					for range 6 {
						a, b := fmt.Sprintf("%05d", rnd.IntN(950)), fmt.Sprintf("%05d", rnd.IntN(950))
						rng := store.Range{Start: []byte(a), End: []byte(b), Reverse: rnd.IntN(2) == 0}
						if rnd.IntN(4) == 0 {
							rng.Start = nil
						}
						if rnd.IntN(4) == 0 {
							rng.End = nil
						}
						if want, got := modelScan(model, rng), scanAll(ctx, t, tx, rng); !slices.Equal(want, got) {
							return fmt.Errorf("the scan of %+v gives %d items, want %d", rng, len(got), len(want))
						}
					}
					return nil
				}))
			})
			waitQueued(t, s, n+1)
		}
		require.NoError(t, release())
		wg.Wait()
		require.Less(t, s.Stats().Commits, int64(7), "a slow machine may divide the batch")
		require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			require.Equal(t, modelScan(model, store.Range{}), scanAll(ctx, t, r, store.Range{}))
			require.Equal(t, modelScan(model, store.Range{Reverse: true}), scanAll(ctx, t, r, store.Range{Reverse: true}))
			return nil
		}))
		require.NoError(t, s.Check(t.Context()))
	}
}

func modelScan(m map[string]string, rng store.Range) []string {
	out := []string{}
	for k, v := range m {
		if k >= string(rng.Start) && (rng.End == nil || k < string(rng.End)) {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	if rng.Reverse {
		slices.Reverse(out)
	}
	return out
}

func scanAll(ctx context.Context, t *testing.T, r store.Reader, rng store.Range) []string {
	out := []string{}
	for it, err := range r.Scan(ctx, rng) {
		require.NoError(t, err)
		out = append(out, string(it.Key)+"="+string(it.Value))
	}
	return out
}

func TestAFunctionThatNeverReturnsHoldsTheOthersForASecondOnly(t *testing.T) {
	s := openT(t, nil)
	began, leave := make(chan struct{}), make(chan struct{})
	stuck := make(chan error, 1)
	var latePut, lateGet error
	go func() {
		stuck <- s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
			_ = tx.Put([]byte("stuck"), nil)
			close(began)
			<-leave
			latePut = tx.Put([]byte("stuck"), nil)
			_, lateGet = tx.Get(ctx, []byte("other"))
			return nil
		})
	}()
	<-began
	require.NoError(t, put(t.Context(), s, "other", "1"), "the others go on while it is still stuck")
	require.NoError(t, put(t.Context(), s, "other", "2"))
	close(leave)
	require.ErrorIs(t, <-stuck, store.ErrTooLong)
	require.ErrorIs(t, latePut, store.ErrTooLong)
	require.ErrorIs(t, lateGet, store.ErrTooLong)
	require.Equal(t, "-", read(t, s, "stuck"))
	require.Equal(t, "2", read(t, s, "other"))
}

func TestAViewThatNeverReturnsHoldsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: waits for the limit of a View, five seconds; run without -short")
	}
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), nil)
	require.NoError(t, err)
	require.NoError(t, put(t.Context(), s, "k", "1"))
	began, leave := make(chan struct{}), make(chan struct{})
	stuck := make(chan error, 1)
	go func() {
		stuck <- s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
			v, err := r.Get(ctx, []byte("k"))
			close(began)
			<-leave
			return errors.Join(err, map[bool]error{true: nil, false: errors.New("the value changed")}[string(v) == "1"])
		})
	}()
	<-began
	require.NoError(t, s.Close(), "Close ends though a function still runs")
	close(leave)
	require.NoError(t, <-stuck, "what it read is its own")
}

func TestAnUpdateThatHasToMapMoreWaitsForViewsAndNoLonger(t *testing.T) {
	s := openT(t, &Options{mapAhead: 1 << 20})
	big := string(bytes.Repeat([]byte("x"), 200<<10))
	viewing, leave := make(chan struct{}), make(chan struct{})
	view := make(chan error, 1)
	go func() {
		view <- s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
			close(viewing)
			<-leave
			_, err := r.GetMany(ctx, [][]byte{[]byte("k")})
			return err
		})
	}()
	<-viewing
	grown := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 40 && err == nil; i++ { // 8 MiB
			err = put(context.Background(), s, fmt.Sprint(i), big)
		}
		grown <- err
	}()
	for range 100 {
		runtime.Gosched()
	}
	close(leave)
	require.NoError(t, <-view)
	require.NoError(t, <-grown)
	require.Equal(t, big, read(t, s, "39"))
}

func TestManyViewsBesideAGrowingFile(t *testing.T) {
	s := openT(t, &Options{mapAhead: 1 << 20})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				require.NoError(t, s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
					for it, err := range r.Scan(ctx, store.Range{Limit: 50}) {
						if err != nil || len(it.Value) != 50<<10 {
							return fmt.Errorf("%d bytes, %w", len(it.Value), err)
						}
					}
					return nil
				}))
			}
		})
	}
	big := string(bytes.Repeat([]byte("x"), 50<<10))
	for i := range 80 {
		require.NoError(t, put(t.Context(), s, fmt.Sprintf("%03d", i), big))
	}
	stop.Store(true)
	wg.Wait()
}

func TestCancelledWhileQueuedNeverRuns(t *testing.T) {
	s := openT(t, nil)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var ran atomic.Bool
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() {
			errs <- s.Update(ctx, func(context.Context, store.Tx) error { ran.Store(true); return nil })
		}()
	}
	waitQueued(t, s, cap(errs))
	cancel()
	for range cap(errs) {
		require.ErrorIs(t, <-errs, context.Canceled, "at once, while the other still runs")
	}
	require.NoError(t, release())
	require.NoError(t, put(t.Context(), s, "k", "1"))
	require.False(t, ran.Load())
}

func TestASlowBatchDoesNotTakeTheWholeQueue(t *testing.T) {
	var sizes []int
	var mu sync.Mutex
	s := openT(t, &Options{Observe: func(c Commit) { mu.Lock(); sizes = append(sizes, c.Updates); mu.Unlock() }})
	release := hold(t, s)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			require.NoError(t, s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
				time.Sleep(maxRun / 4)
				return tx.Put(fmt.Append(nil, i), nil)
			}))
		})
	}
	waitQueued(t, s, 12)
	require.NoError(t, release())
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.Greater(t, len(sizes), 1, "what waited behind slow functions went into several commits: %v", sizes)
}

func TestALargeBatchIsDivided(t *testing.T) {
	var most int64
	var mu sync.Mutex
	s := openT(t, &Options{Observe: func(c Commit) { mu.Lock(); most = max(most, c.Bytes); mu.Unlock() }})
	release := hold(t, s)
	v := bytes.Repeat([]byte("x"), store.MaxValue)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			require.NoError(t, s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
				for j := range 30 {
					if err := tx.Put(fmt.Appendf(nil, "%d/%d", i, j), v); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	}
	waitQueued(t, s, 6)
	require.NoError(t, release())
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.LessOrEqual(t, most, int64(maxBytes+store.MaxTxBytes))
}

// The engine's own cursor never returns from Last in a transaction that has emptied a tree.
func TestABatchThatEmptiesTheStoreCanBeScannedBackwards(t *testing.T) {
	s := openT(t, nil)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for i := range 900 {
			if err := tx.Put(fmt.Appendf(nil, "%05d", i), bytes.Repeat([]byte("x"), 80)); err != nil {
				return err
			}
		}
		return nil
	}))
	release := hold(t, s)
	errs := make(chan error, 2)
	go func() {
		errs <- s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := range 900 {
				if err := tx.Delete(fmt.Appendf(nil, "%05d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	waitQueued(t, s, 1)
	go func() {
		errs <- s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for _, rng := range []store.Range{{}, {Reverse: true}, {Reverse: true, End: []byte("00500")}, {Start: []byte("00500")}} {
				for it, err := range tx.Scan(ctx, rng) {
					return fmt.Errorf("the scan of %+v gives %q, %w", rng, it.Key, err)
				}
			}
			return tx.Put([]byte("only"), nil)
		})
	}()
	waitQueued(t, s, 2)
	require.NoError(t, release())
	require.NoError(t, errors.Join(<-errs, <-errs))
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		require.Equal(t, []string{"only="}, scanAll(ctx, t, r, store.Range{Reverse: true}))
		return nil
	}))
}

func TestLengthsThatCannotBeAreDamage(t *testing.T) {
	v, err := keep(make([]byte, store.MaxValue))
	require.NoError(t, err)
	require.Len(t, v, store.MaxValue)
	_, err = keep(make([]byte, store.MaxValue+1))
	var damaged *DamagedError
	require.ErrorAs(t, err, &damaged)
}

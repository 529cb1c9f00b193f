package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
)

func openT(t *testing.T, opts *Options) *Store {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func put(ctx context.Context, s *Store, k, v string) error {
	return s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte(k), []byte(v)) })
}

func read(t *testing.T, s *Store, k string) string {
	var out string
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		v, err := r.Get(ctx, []byte(k))
		if errors.Is(err, store.ErrNotFound) {
			v, err = []byte("-"), nil
		}
		out = string(v)
		return err
	}))
	return out
}

// script makes commits fail by a plan; it is used by the committer alone once set.
type script struct {
	mu   sync.Mutex
	plan []func(tx *bolt.Tx) error // one a commit; then all succeed
}

func (p *script) commit(tx *bolt.Tx) error {
	p.mu.Lock()
	var next func(tx *bolt.Tx) error
	if len(p.plan) > 0 {
		next, p.plan = p.plan[0], p.plan[1:]
	}
	p.mu.Unlock()
	if next == nil {
		return commit(tx)
	}
	return next(tx)
}

func (p *script) then(plan ...func(tx *bolt.Tx) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

func lost(tx *bolt.Tx) error { rollback(tx); return syscall.EIO }

// fsyncOfTheLastPage is a commit whose writes reached the cache and whose last fsync failed.
func fsyncOfTheLastPage(tx *bolt.Tx) error {
	if err := commit(tx); err != nil {
		return err
	}
	return syscall.EIO
}

// eventually waits for cond by the wall clock, as nothing else tells of a recovery.
func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			require.Fail(t, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func scripted(t *testing.T, opts Options) (*Store, *script) {
	p := &script{}
	opts.failNext = p.commit
	if opts.RetryEvery == 0 {
		opts.RetryEvery = 20 * time.Millisecond
	}
	return openT(t, &opts), p
}

// F4: the call fails with a typed error, nothing is acknowledged, the process stays up and recovers by itself.
func TestAFailedCommitIsReadOnlyUntilItRecovers(t *testing.T) {
	var mu sync.Mutex
	var seen []Commit
	s, p := scripted(t, Options{Observe: func(c Commit) { mu.Lock(); seen = append(seen, c); mu.Unlock() }})
	ctx := t.Context()
	require.NoError(t, put(ctx, s, "k", "1"))
	p.then(lost, lost, lost, lost) // the commit and three trials
	before := s.eng
	err := put(ctx, s, "k", "2")
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.ErrorIs(t, err, syscall.EIO, "the cause is told")
	require.Equal(t, "1", read(t, s, "k"), "reads go on, and see nothing of it")
	eventually(t, func() bool { return s.Err() == nil }, "the store did not recover")
	require.NoError(t, put(ctx, s, "k", "3"))
	require.Equal(t, "3", read(t, s, "k"))
	require.NotSame(t, before, s.eng, "the engine was opened anew")
	mu.Lock()
	defer mu.Unlock()
	require.ErrorIs(t, seen[1].Err, store.ErrReadOnly, "the observer learns of it")
	st := s.Stats()
	require.Equal(t, [2]int64{2, 1}, [2]int64{st.Commits, st.Failed})
}

func TestWhileItCannotWriteUpdatesFailAtOnce(t *testing.T) {
	s, p := scripted(t, Options{RetryEvery: time.Hour})
	p.then(lost, lost)
	require.ErrorIs(t, put(t.Context(), s, "k", "1"), store.ErrReadOnly)
	eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.plan) == 0 }, "no trial at once")
	for range 3 {
		ran := false
		err := s.Update(t.Context(), func(context.Context, store.Tx) error { ran = true; return nil })
		require.ErrorIs(t, err, store.ErrReadOnly)
		require.False(t, ran)
	}
	require.ErrorIs(t, s.Err(), store.ErrReadOnly)
	require.ErrorIs(t, s.Stats().Err, store.ErrReadOnly)
	require.Equal(t, "-", read(t, s, "k"))
}

func TestACommitThatIsInTheFileAfterItsFsyncFailedIsUnknown(t *testing.T) {
	s, p := scripted(t, Options{})
	p.then(fsyncOfTheLastPage)
	err := put(t.Context(), s, "k", "1")
	require.ErrorIs(t, err, store.ErrCommitUnknown)
	require.NotErrorIs(t, err, store.ErrReadOnly)
	eventually(t, func() bool { return s.Err() == nil }, "the store did not recover")
	require.Equal(t, "1", read(t, s, "k"), "it is settled by reading")
}

func TestAnEngineWhoseFileIsGoneIsReplaced(t *testing.T) {
	s, _ := scripted(t, Options{})
	ctx := t.Context()
	require.NoError(t, put(ctx, s, "k", "1"))
	require.NoError(t, s.eng.file.Close()) // every later write through it fails, as on a disk that went away
	err := put(ctx, s, "k", "2")
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.Equal(t, "1", read(t, s, "k"))
	eventually(t, func() bool { return s.Err() == nil }, "the store did not recover")
	require.NoError(t, put(ctx, s, "k", "3"))
	require.Equal(t, "3", read(t, s, "k"))
	require.NoError(t, s.Check(ctx))
}

func TestAViewKeepsItsStateThroughAFailureAndDelaysTheRecovery(t *testing.T) {
	s, p := scripted(t, Options{})
	ctx := t.Context()
	for i := range 500 {
		require.NoError(t, s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			for j := range 20 {
				if err := tx.Put(fmt.Appendf(nil, "%02d", j), fmt.Append(nil, i)); err != nil {
					return err
				}
			}
			return nil
		}))
		if i == 20 {
			break
		}
	}
	require.NoError(t, s.View(ctx, func(vctx context.Context, r store.Reader) error {
		p.then(lost)
		require.ErrorIs(t, put(ctx, s, "00", "lost"), store.ErrReadOnly)
		for range 10 { // the other Updates would overwrite what this View still reads
			require.ErrorIs(t, put(ctx, s, "00", "no"), store.ErrReadOnly)
			require.Equal(t, "20", read(t, s, "00"), "a new View")
			for j := range 20 {
				v, err := r.Get(vctx, fmt.Appendf(nil, "%02d", j))
				require.NoError(t, err)
				require.Equal(t, "20", string(v), "the old View")
			}
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	}))
	eventually(t, func() bool { return s.Err() == nil }, "the store did not recover after the View")
	require.NoError(t, put(ctx, s, "00", "again"))
}

func TestABackupStopsWhenACommitFails(t *testing.T) {
	s, p := scripted(t, Options{})
	ctx := t.Context()
	require.NoError(t, put(ctx, s, "k", "1"))
	p.then(lost)
	writes := 0
	err := s.Backup(ctx, writeFunc(func(b []byte) (int, error) {
		if writes++; writes == 1 {
			require.ErrorIs(t, put(ctx, s, "k", "2"), store.ErrReadOnly)
		}
		return len(b), nil
	}))
	require.ErrorIs(t, err, store.ErrReadOnly)
	eventually(t, func() bool { return s.Err() == nil }, "the store did not recover after the Backup")
}

type writeFunc func(b []byte) (int, error)

func (f writeFunc) Write(b []byte) (int, error) { return f(b) }

func TestEveryoneInABatchLearnsOfItsFailure(t *testing.T) {
	s, p := scripted(t, Options{})
	ctx := t.Context()
	release := hold(t, s)
	p.then(lost)
	errs := make(chan error, 32)
	refused := errors.New("refused by what it read")
	for range cap(errs) {
		go func() {
			errs <- s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				if _, err := tx.Get(ctx, []byte("mark")); err == nil {
					return refused // it has seen what will never be committed
				}
				return tx.Put([]byte("mark"), nil)
			})
		}()
	}
	waitQueued(t, s, cap(errs))
	require.NoError(t, release())
	for range cap(errs) {
		err := <-errs
		require.ErrorIs(t, err, store.ErrReadOnly, "R-27: no answer rests on a commit that failed, an error neither")
	}
}

// A full disk: the cap of the file.
func TestAFullStoreCanStillDelete(t *testing.T) {
	s := openT(t, &Options{MaxSize: 24 << 20, RetryEvery: 10 * time.Millisecond})
	ctx := t.Context()
	value := string(bytes.Repeat([]byte("v"), 100<<10))
	n := 0
	for ; n < 1000; n += 10 { // a million bytes at once, so that what is left at the end may be much, but not enough
		if err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			for i := range 10 {
				if err := tx.Put(fmt.Appendf(nil, "%04d", n+i), []byte(value)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			require.ErrorIs(t, err, store.ErrReadOnly)
			break
		}
	}
	require.Less(t, n, 1000, "MaxSize has no effect")
	require.Greater(t, n, 20)
	require.Equal(t, value, read(t, s, fmt.Sprintf("%04d", n-1)), "all that was acknowledged is there")
	require.Equal(t, "-", read(t, s, fmt.Sprintf("%04d", n)))
	eventually(t, func() bool {
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			for i := range n / 2 {
				if err := tx.Delete(fmt.Appendf(nil, "%04d", i)); err != nil {
					return err
				}
			}
			return nil
		}) == nil
	}, "a full store must let go")
	eventually(t, func() bool { return put(ctx, s, "again", value) == nil }, "no writes after room was made")
	require.Equal(t, value, read(t, s, "again"))
	require.NoError(t, s.Check(ctx))
}

package boltstore_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func fileOf(t *testing.T) string { return filepath.Join(t.TempDir(), "store.db") }

func mustOpen(t *testing.T, path string, opts *boltstore.Options) *boltstore.Store {
	s, err := boltstore.Open(t.Context(), path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func put(t *testing.T, s store.Store, kv ...string) {
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for i := 0; i < len(kv); i += 2 {
			if err := tx.Put([]byte(kv[i]), []byte(kv[i+1])); err != nil {
				return err
			}
		}
		return nil
	}))
}

func all(t *testing.T, s store.Store) (out []string) {
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		out = nil
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			out = append(out, string(it.Key)+"="+string(it.Value))
		}
		return nil
	}))
	return out
}

func TestModel(t *testing.T) { storetest.Model(t, open) }

func TestContractOfAHarshStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return storetest.Harsh(open(t)) })
}

func TestDurable(t *testing.T) {
	path := fileOf(t)
	var last *boltstore.Store
	storetest.Durable(t, func(t *testing.T) store.Store {
		if last != nil {
			require.NoError(t, last.Close())
		}
		s, err := boltstore.Open(t.Context(), path, nil)
		require.NoError(t, err)
		last = s
		return s
	})
	require.NoError(t, last.Close())
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	path := fileOf(t)
	s := mustOpen(t, path, nil)
	require.Equal(t, path, s.Path())
	for _, f := range []string{path, path + ".lock"} {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f)
	}
	require.NoError(t, s.Close())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing else is left")

	require.NoError(t, os.Chmod(path, 0o644))
	mustOpen(t, path, nil)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "a mode that a copy left too wide is tightened")
}

func TestBadPathsSayWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	notOurs := filepath.Join(dir, "other.db")
	db, err := bolt.Open(notOurs, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("this is no database, but it is long enough to look at"), 0o600))
	newer := filepath.Join(dir, "newer.db")
	db, err = bolt.Open(newer, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("kv"))
		own, err2 := tx.CreateBucket([]byte("boltstore"))
		return errors.Join(err, err2, own.Put([]byte("format"), []byte("2")))
	}))
	require.NoError(t, db.Close())
	for name, k := range map[string]struct{ path, says string }{
		"empty":             {"", "the path is empty"},
		"no directory":      {filepath.Join(dir, "missing", "store.db"), "no such file or directory"},
		"a directory":       {dir, "no regular file"},
		"another program's": {notOurs, "not one of fleetwright's"},
		"no database":       {text, "damaged"},
		"a newer release's": {newer, "newer release"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := boltstore.Open(t.Context(), k.path, nil)
			require.Nil(t, s)
			require.ErrorContains(t, err, k.says)
		})
	}
}

func TestTheSecondOpenerLearnsWhoHasTheFile(t *testing.T) {
	path := fileOf(t)
	s := mustOpen(t, path, nil)
	_, err := boltstore.Open(t.Context(), path, &boltstore.Options{LockWait: 60 * time.Millisecond})
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
	require.ErrorContains(t, err, path)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	_, err = boltstore.Open(ctx, path, &boltstore.Options{LockWait: time.Minute})
	require.ErrorIs(t, err, context.Canceled)

	opened := make(chan error, 1)
	go func() { // waits for the first to end
		s2, err := boltstore.Open(context.Background(), path, &boltstore.Options{LockWait: time.Minute})
		if err == nil {
			err = s2.Close()
		}
		opened <- err
	}()
	require.NoError(t, s.Close())
	require.NoError(t, <-opened)
}

func TestCreationIsWholeOrNotAtAll(t *testing.T) {
	path := fileOf(t)
	require.NoError(t, os.WriteFile(path+".new", []byte("half written"), 0o600)) // left by a crash
	s := mustOpen(t, path, nil)
	put(t, s, "k", "v")
	require.Equal(t, []string{"k=v"}, all(t, s))
	require.NoFileExists(t, path+".new")

	require.NoError(t, s.Close())
	require.NoError(t, os.Truncate(path, 0))
	_, err := boltstore.Open(t.Context(), path, nil)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err), "a store that lost everything is no new store: %v", err)
}

func TestClose(t *testing.T) {
	s := mustOpen(t, fileOf(t), nil)
	ctx := t.Context()
	inView, inUpdate, leave := make(chan struct{}), make(chan struct{}), make(chan struct{})
	view, update, queued, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1), make(chan error, 2)
	go func() {
		view <- s.View(ctx, func(ctx context.Context, r store.Reader) error {
			close(inView)
			<-leave
			_, err := r.GetMany(ctx, nil)
			return err
		})
	}()
	go func() {
		update <- s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			close(inUpdate)
			<-leave
			return tx.Put([]byte("k"), nil)
		})
	}()
	<-inView
	<-inUpdate
	go func() { queued <- s.Update(ctx, func(context.Context, store.Tx) error { return nil }) }()
	for s.Stats().Queued == 0 {
		time.Sleep(time.Millisecond)
	}
	go func() { closed <- s.Close() }()
	go func() { closed <- s.Close() }()
	for s.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	require.ErrorIs(t, s.View(ctx, func(context.Context, store.Reader) error { return nil }), store.ErrClosed)
	require.ErrorIs(t, s.Update(ctx, func(context.Context, store.Tx) error { return nil }), store.ErrClosed)
	require.ErrorIs(t, s.Backup(ctx, io.Discard), store.ErrClosed)
	_, err := s.Watch(ctx, nil)
	require.ErrorIs(t, err, store.ErrClosed)
	require.Empty(t, closed, "Close waits for what runs")
	close(leave)
	require.NoError(t, <-view, "a View that ran goes on to its end")
	require.NoError(t, <-update, "an Update that ran is committed")
	require.NoError(t, <-closed)
	require.NoError(t, <-closed)
	if err := <-queued; err != nil { // it may have joined the last batch
		require.ErrorIs(t, err, store.ErrClosed)
	}
}

func TestABackupIsOneCommitAndOpens(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, filepath.Join(dir, "store.db"), nil)
	put(t, s, "left", "0", "right", "0")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // writes beside the backup
		defer close(done)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
				return errors.Join(tx.Put([]byte("left"), fmt.Append(nil, i)), tx.Put([]byte("right"), fmt.Append(nil, i)),
					tx.Put(fmt.Appendf(nil, "x%06d", i), bytes.Repeat([]byte("x"), 3000)))
			}) != nil {
				return
			}
		}
	}()
	for i := range 5 {
		var buf bytes.Buffer
		require.NoError(t, s.Backup(t.Context(), &buf))
		copied := filepath.Join(dir, fmt.Sprint("copy", i))
		require.NoError(t, os.WriteFile(copied, buf.Bytes(), 0o600))
		c := mustOpen(t, copied, nil)
		require.NoError(t, c.Check(t.Context()))
		require.NoError(t, c.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			vs, err := r.GetMany(ctx, [][]byte{[]byte("left"), []byte("right")})
			require.Equal(t, string(vs[0]), string(vs[1]))
			return err
		}))
		put(t, c, "more", "writes")
	}
	for range 20 {
		require.NoError(t, s.Check(t.Context()), "beside commits")
	}
	close(stop)
	<-done
	require.NoError(t, s.Check(t.Context()))

	full := errors.New("the tape is full")
	require.ErrorIs(t, s.Backup(t.Context(), failingWriter{full}), full)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Backup(ctx, io.Discard), context.Canceled)
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// A file that the first release wrote opens for ever.
func TestOldFilesOpenForEver(t *testing.T) {
	f, err := os.Open("testdata/store-v1.db.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	path := fileOf(t)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	s := mustOpen(t, path, nil)
	require.NoError(t, s.Check(t.Context()))
	got := all(t, s)
	require.Len(t, got, 303)
	require.Equal(t, "empty=", got[0])
	require.Equal(t, "key/0299="+strings.Repeat("value 299 ", 10), got[300])
	require.Equal(t, []string{"large=" + strings.Repeat("L", 9000), "\xff\x00=binary \x00\xff"}, got[301:])
	put(t, s, "key/0000", "changed")
	require.Equal(t, "key/0000=changed", all(t, s)[1])
}

package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func TestOpenRefusesBadInput(t *testing.T) {
	ctx := t.Context()
	_, err := pgstore.Open(ctx, nil, "main", nil)
	require.ErrorContains(t, err, "pool is nil")
	p := pool(t)
	for _, name := range []string{"", "A", "a-b", "1a", "a b", `a"; drop table x; --`, strings.Repeat("a", 41), "é"} {
		_, err := pgstore.Open(ctx, p, name, nil)
		require.Equal(t, fault.Validation, fault.CodeOf(err), "name %q", name)
		_, err = pgstore.Open(ctx, p, "main", &pgstore.Options{Schema: name + "!"})
		require.Equal(t, fault.Validation, fault.CodeOf(err), "schema %q", name)
	}
	_, err = pgstore.Open(ctx, p, "main", &pgstore.Options{Hold: store.MaxUpdate})
	require.ErrorContains(t, err, "Options.Hold")
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = pgstore.Open(gone, p, fresh(), nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestManyOpenAtOnceAndMigrateOnce(t *testing.T) {
	p := pool(t)
	schema, name := "x"+fresh(), "main"
	errs := make(chan error, 6)
	for range cap(errs) {
		go func() {
			s, err := pgstore.Open(context.Background(), p, name, &pgstore.Options{Schema: schema})
			if err == nil {
				s.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	var version, tables int
	require.NoError(t, p.QueryRow(t.Context(), "select version from "+schema+".stores where name = $1", name).Scan(&version))
	require.NoError(t, p.QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = $1", schema).Scan(&tables))
	require.Equal(t, []int{1, 3}, []int{version, tables})

	_, err := p.Exec(t.Context(), "update "+schema+".stores set version = 99")
	require.NoError(t, err)
	_, err = pgstore.Open(t.Context(), p, name, &pgstore.Options{Schema: schema})
	require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err))
	require.ErrorContains(t, err, "99")
}

func put(s store.Store, key, value string) error {
	return s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte(key), []byte(value)) })
}

func get(t *testing.T, s store.Store, key string) (out string) {
	t.Helper()
	require.NoError(t, s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
		v, err := r.Get(ctx, []byte(key))
		out = string(v)
		if errors.Is(err, store.ErrNotFound) {
			out, err = "-", nil
		}
		return err
	}))
	return out
}

func TestStoresOfOneDatabaseHaveNothingInCommon(t *testing.T) {
	p := pool(t)
	a, b := openOn(t, p, fresh(), nil), openOn(t, p, fresh(), nil)
	c := openOn(t, p, "main", &pgstore.Options{Schema: "x" + fresh()})
	require.NoError(t, put(a, "k", "a"))
	require.Equal(t, []string{"a", "-", "-"}, []string{get(t, a, "k"), get(t, b, "k"), get(t, c, "k")})
	require.NotEqual(t, pgstore.LockKey(a), pgstore.LockKey(b))
}

func TestDurable(t *testing.T) {
	p, name := pool(t), fresh()
	var s *pgstore.Store
	storetest.Durable(t, func(t *testing.T) store.Store {
		if s != nil {
			s.Close()
		}
		s = openOn(t, p, name, nil)
		return s
	})
}

func TestCloseGivesEverythingBack(t *testing.T) {
	before := runtime.NumGoroutine()
	p := server(t).Pool(t, "fleet")
	s := openOn(t, p, fresh(), nil)
	ch, err := s.Watch(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, put(s, "k", "v"))
	require.Equal(t, "v", get(t, s, "k"))
	s.Close()
	s.Close()
	for range ch { // it ends
	}
	require.ErrorIs(t, put(s, "k", "v"), store.ErrClosed)
	_, err = s.Watch(t.Context(), nil)
	require.ErrorIs(t, err, store.ErrClosed)
	require.Zero(t, p.Stat().AcquiredConns())
	var n int
	require.NoError(t, p.QueryRow(t.Context(), "select 1").Scan(&n), "the pool is the caller's")
	p.Close()
	for until := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(until); {
		runtime.Gosched()
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func TestWhatWaitsGoesIntoOneCommit(t *testing.T) {
	var most atomic.Int64
	s := openOn(t, pool(t), fresh(), &pgstore.Options{Observe: func(c pgstore.Commit) { most.Store(max(most.Load(), int64(c.Updates))) }})
	require.NoError(t, put(s, "0", ""))
	errs := make(chan error, 64)
	for i := range cap(errs) {
		go func() { errs <- put(s, fmt.Sprint(i), "x") }()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.Greater(t, most.Load(), int64(1))
	st := s.Stats()
	require.Equal(t, int64(65), st.Updates)
	require.Less(t, st.Commits, int64(65))
	require.Zero(t, st.Queued)
}

func TestWatchHearsOtherPlanes(t *testing.T) {
	for _, noListen := range []bool{false, true} {
		t.Run(fmt.Sprint("polling ", noListen), func(t *testing.T) {
			t.Parallel()
			name := fresh()
			a, b := openOn(t, pool(t), name, &pgstore.Options{NoListen: noListen}), openOn(t, pool(t), name, nil)
			mine, err := a.Watch(t.Context(), []byte("mine/"))
			require.NoError(t, err)
			long, err := a.Watch(t.Context(), []byte("many/"+strings.Repeat("x", 100)))
			require.NoError(t, err)
			require.Eventually(t, func() bool { // the first signal: it listens
				select {
				case <-mine:
					return true
				default:
					return false
				}
			}, 20*time.Second, time.Millisecond)
			require.NoError(t, put(b, "mine/1", "x"))
			<-mine
			require.NoError(t, b.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
				for i := range 2000 { // more than a notification holds
					if err := tx.Put(fmt.Appendf(nil, "many/%s%d", strings.Repeat("x", 100), i), nil); err != nil {
						return err
					}
				}
				return nil
			}))
			select {
			case <-long:
			default:
				<-long
			}
			if noListen {
				return
			}
			drain := func() {
				for {
					select {
					case <-mine:
					default:
						return
					}
				}
			}
			drain()
			require.NoError(t, put(b, "others/1", "x"))
			require.NoError(t, put(b, "many/"+strings.Repeat("x", 100), "x"))
			<-long // so the one before has been heard
			require.Empty(t, mine, "what others write elsewhere is not signalled")
		})
	}
}

func TestLostTablesAreNamed(t *testing.T) {
	p, name := pool(t), fresh()
	s := openOn(t, p, name, nil)
	require.NoError(t, put(s, "k", "v"))
	_, err := p.Exec(t.Context(), "drop table fleetwright.commits_"+name)
	require.NoError(t, err)
	err = put(s, "k", "w")
	require.ErrorContains(t, err, "dropped")
	require.Equal(t, "v", get(t, s, "k"), "reads go on")
}

// TestARunThatTheDatabaseSpoilsDoesNotCount: what the function makes of a lost connection, an error or a panic, is not the outcome.
func TestARunThatTheDatabaseSpoilsDoesNotCount(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds; run without -short")
	}
	for _, how := range []string{"error", "panic", "nil"} {
		for spoiled := 1; spoiled <= 2; spoiled++ { // the first run, and the one under the lock
			t.Run(fmt.Sprintf("%s in run %d", how, spoiled), func(t *testing.T) {
				t.Parallel()
				name, admin := fresh(), pool(t)
				cfg, err := pgxpool.ParseConfig(server(t).DSN("fleet") + " application_name=" + name)
				require.NoError(t, err)
				p, err := pgxpool.NewWithConfig(t.Context(), cfg)
				require.NoError(t, err)
				t.Cleanup(p.Close)
				s := openOn(t, p, name, nil)
				require.NoError(t, put(s, "k", "1"))
				runs := 0
				require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
					runs++
					if _, err := tx.Get(ctx, []byte("k")); err != nil {
						return err
					}
					if runs == spoiled {
						_, err := admin.Exec(context.Background(), "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = $1", name)
						require.NoError(t, err)
					}
					_, err := tx.Get(ctx, fmt.Appendf(nil, "other%d", runs)) // another in every run: it must ask the database
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						require.Equal(t, spoiled, runs)
						switch how {
						case "panic":
							panic(err)
						case "error":
							return err
						}
					}
					return tx.Put([]byte("k"), []byte("2"))
				}))
				require.Greater(t, runs, spoiled)
				require.Equal(t, "2", get(t, s, "k"))
			})
		}
	}
}

package pgstore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
)

// times is how often a fault happens: few in a plain test, many with FLEETWRIGHT_LONG.
func times(few, many int) int {
	if os.Getenv("FLEETWRIGHT_LONG") != "" {
		return many
	}
	return few
}

// patient are options for stores whose server comes and goes.
func patient() *pgstore.Options {
	return &pgstore.Options{Hold: 1100 * time.Millisecond, Answer: 2 * time.Second, Patience: time.Minute}
}

// twoOn opens one store for two control planes.
func twoOn(t *testing.T, srv *pgtest.Server) (a, b *pgstore.Store) {
	name := fresh()
	return openOn(t, srv.Pool(t, "fleet"), name, patient()), openOn(t, srv.Pool(t, "fleet"), name, patient())
}

func TestServerKilled(t *testing.T) {
	srv := ownServer(t)
	o := patient()
	o.Answer = 30 * time.Second // longer than a restart
	name := fresh()
	a, b := openOn(t, srv.Pool(t, "fleet"), name, o), openOn(t, srv.Pool(t, "fleet"), name, o)
	l := startLoad(12, a, b)
	for range times(1, 50) {
		l.until(t, 40)
		srv.Kill()
		require.NoError(t, srv.Restart())
	}
	l.until(t, 40)
	l.verify(t, b)
	require.Empty(t, l.unknown, "the server came back: every outcome could be found out")
}

func TestServerPaused(t *testing.T) {
	srv := ownServer(t)
	a, b := twoOn(t, srv)
	l := startLoad(12, a, b)
	for i := range times(1, 10) {
		l.until(t, 40)
		srv.Pause()
		time.Sleep([]time.Duration{300 * time.Millisecond, 4 * time.Second}[i%2]) // shorter and longer than an answer may take
		srv.Resume()
	}
	l.until(t, 40)
	l.verify(t, a)
}

func TestConnectionsTerminated(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds; run without -short")
	}
	resetPools(t)
	p := pool(t)
	name := fresh()
	a, b := openOn(t, pool(t), name, patient()), openOn(t, pool(t), name, patient())
	l := startLoad(12, a, b)
	for range times(10, 300) {
		l.until(t, 10)
		_, err := p.Exec(context.Background(), "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and datname = 'fleet' and pid <> pg_backend_pid() order by random() limit 3")
		if err != nil {
			p.Reset()
		}
	}
	l.until(t, 40)
	l.verify(t, a)
	require.Empty(t, l.unknown)
}

func TestConnectionCutAroundCommit(t *testing.T) {
	srv := server(t)
	for _, harm := range []string{"drop", "swallow", "late"} {
		t.Run(harm, func(t *testing.T) {
			if testing.Short() {
				t.Skip("SKIPPED: takes seconds; run without -short")
			}
			t.Parallel()
			px := newProxy(t, srv, 0)
			name := fresh()
			direct := openOn(t, pool(t), name, patient())
			cut := openOn(t, px.pool(t, srv, "fleet"), name, patient())
			px.harm = func(n int64) string {
				if n%5 == 0 {
					return harm
				}
				return ""
			}
			l := startLoad(8, direct, cut)
			want := int64(times(4, 200))
			require.Eventually(t, func() bool { return px.harmed.Load() >= want }, 5*time.Minute, time.Millisecond)
			l.verify(t, direct)
			require.Empty(t, l.unknown, "the database was there all the time")
			require.Empty(t, l.refused)
		})
	}
}

// TestACommitThatArrivesLateChangesNothing: the message of a commit is held up on its way until its sender, who thought it lost, has committed again and
// another has overwritten that.
func TestACommitThatArrivesLateChangesNothing(t *testing.T) {
	srv := server(t)
	t.Parallel()
	px := newProxy(t, srv, 0)
	px.release = make(chan struct{})
	name := fresh()
	direct, slow := openOn(t, pool(t), name, patient()), openOn(t, px.pool(t, srv, "fleet"), name, patient())
	put := func(s store.Store, v string) {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), []byte(v)) }))
	}
	put(slow, "first")
	var armed atomic.Bool
	px.harm = func(int64) string {
		if armed.CompareAndSwap(true, false) {
			return "late"
		}
		return ""
	}
	for i := range int64(times(1, 50)) {
		armed.Store(true)
		put(slow, "old")
		put(direct, "new")
		px.release <- struct{}{}
		require.Eventually(t, func() bool { return px.delivered.Load() == i+1 }, 20*time.Second, time.Millisecond)
		require.NoError(t, direct.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			v, err := r.Get(ctx, []byte("k"))
			require.Equal(t, "new", string(v))
			return err
		}))
	}
}

// TestOutcomeThatCannotBeLearnt: the server dies with the answer and stays away.
func TestOutcomeThatCannotBeLearnt(t *testing.T) {
	srv := ownServer(t)
	px := newProxy(t, srv, 0)
	name := fresh()
	require.NoError(t, srv.Create(t.Context(), "fleet"))
	s := openOn(t, px.pool(t, srv, "fleet"), name, &pgstore.Options{Answer: 300 * time.Millisecond, Patience: 300 * time.Millisecond})
	put := func(key string) error {
		return s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte(key), []byte("x")) })
	}
	require.NoError(t, put("before"))
	var armed atomic.Bool
	px.harm = func(int64) string {
		if armed.CompareAndSwap(true, false) {
			return "swallow"
		}
		return ""
	}
	px.after = srv.Kill
	armed.Store(true)
	require.ErrorIs(t, put("unknown"), store.ErrCommitUnknown)
	var away *pgstore.UnavailableError
	require.ErrorAs(t, put("refused"), &away)
	require.ErrorAs(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, []byte("before"))
		return err
	}), &away)
	require.NoError(t, srv.Restart())
	require.Eventually(t, func() bool { return put("after") == nil }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		vs, err := r.GetMany(ctx, [][]byte{[]byte("before"), []byte("refused"), []byte("after")})
		require.NoError(t, err)
		require.Equal(t, [][]byte{[]byte("x"), nil, []byte("x")}, vs)
		return nil
	}))
}

// TestFailover: the server ends under load, and a copy of its data takes its place under another address.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: needs servers of its own; run without -short")
	}
	t.Parallel()
	srv := pgtest.StartWith(t, &pgtest.Options{Fsync: times(0, 1) == 1})
	var host atomic.Pointer[string]
	at := func(s *pgtest.Server) {
		dir := strings.TrimSuffix(s.Socket(), "/.s.PGSQL.5432")
		host.Store(&dir)
	}
	at(srv)
	require.NoError(t, srv.Create(t.Context(), "fleet"))
	pool := func() *pgxpool.Pool {
		cfg, err := pgxpool.ParseConfig(srv.DSN("fleet"))
		require.NoError(t, err)
		cfg.MaxConns = 16
		cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { c.Host = *host.Load(); return nil }
		p, err := pgxpool.NewWithConfig(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		return p
	}
	o := patient()
	o.Answer = 30 * time.Second // longer than a copy takes
	a, b := openOn(t, pool(), "main", o), openOn(t, pool(), "main", o)
	l := startLoad(12, a, b)
	for range times(1, 10) {
		l.until(t, 60)
		srv.Stop()
		next := pgtest.StartWith(t, &pgtest.Options{From: srv.Data()})
		at(next)
		srv = next
	}
	l.until(t, 60)
	l.verify(t, a)
	require.Empty(t, l.unknown)
}

// childEnv makes the test binary a control plane of its own that is going to be frozen.
const childEnv = "FLEETWRIGHT_PGSTORE_CHILD"

// child raises a counter in an endless loop, and says when its function runs under the lock.
func child(dsn string) {
	ctx := context.Background()
	p, err := pgxpool.New(ctx, dsn)
	if err != nil {
		panic(err)
	}
	s, err := pgstore.Open(ctx, p, "main", patient())
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		runs := 0
		err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if _, err := tx.Get(ctx, []byte("nothing")); err != nil && i < 0 {
				return err
			}
			if runs++; runs == 2 {
				fmt.Println("locked")
				time.Sleep(500 * time.Millisecond)
			}
			return tx.Put(fmt.Appendf(nil, "child/%d", i), []byte("x"))
		})
		fmt.Println("done", i, err)
	}
}

func TestFrozenPlaneStopsNobodyForLong(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts a process; run without -short")
	}
	t.Parallel()
	srv := server(t)
	require.NoError(t, srv.Create(t.Context(), "frozen"))
	s := openOn(t, srv.Pool(t, "frozen"), "main", patient())
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+srv.DSN("frozen"))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	expect := func(prefix string) string {
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), prefix) {
				return lines.Text()
			}
		}
		require.Fail(t, "the child ended")
		return ""
	}
	for i := range times(1, 10) {
		expect("locked")
		require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
		start := time.Now()
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			return tx.Put(fmt.Appendf(nil, "mine/%d", i), []byte("x"))
		}))
		t.Logf("the others waited %v for a frozen plane", time.Since(start).Round(time.Millisecond))
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		require.NotContains(t, expect("done"), "unknown", "the frozen Update runs again")
		require.Contains(t, expect("done"), "<nil>")
	}
}

// TestAHolderThatTheServerDoesNotLimitIsEnded: a session of which nothing but the lock is known, and that does not move.
func TestAHolderThatTheServerDoesNotLimitIsEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: waits for limits of time; run without -short")
	}
	t.Parallel()
	name := fresh()
	s := openOn(t, pool(t), name, patient())
	key := pgstore.LockKey(s)
	c, err := pgx.Connect(t.Context(), server(t).DSN("fleet"))
	require.NoError(t, err)
	defer c.Close(context.Background())
	_, err = c.Exec(t.Context(), fmt.Sprintf("begin; select pg_advisory_xact_lock(%d)", key))
	require.NoError(t, err)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), nil) }))
	_, err = c.Exec(t.Context(), "commit")
	require.Error(t, err, "its session was ended")
}

package pgtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
)

func TestServerSurvivesItsFaults(t *testing.T) {
	srv := pgtest.Start(t)
	pool := srv.Pool(t, "life")
	_, err := pool.Exec(t.Context(), "create table t (n int)")
	require.NoError(t, err)
	count := func() (n int) {
		p := srv.Pool(t, "life")
		require.NoError(t, p.QueryRow(t.Context(), "select count(*) from t").Scan(&n))
		return n
	}
	require.Zero(t, count(), "a second pool is of the same database")
	_, err = pool.Exec(t.Context(), "insert into t values (1)")
	require.NoError(t, err)

	srv.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = pool.Exec(ctx, "select 1")
	require.ErrorIs(t, err, context.DeadlineExceeded, "a paused server answers nobody")
	srv.Resume()
	require.Equal(t, 1, count())

	srv.Kill()
	_, err = pool.Exec(t.Context(), "select 1")
	require.Error(t, err)
	require.NoError(t, srv.Restart())
	require.NoError(t, srv.Restart(), "of one that runs does nothing")
	require.Equal(t, 1, count())

	srv.Stop()
	copied := pgtest.StartWith(t, &pgtest.Options{From: srv.Data()})
	var n int
	require.NoError(t, copied.Pool(t, "life").QueryRow(t.Context(), "select count(*) from t").Scan(&n))
	require.Equal(t, 1, n)
}

func TestNamesOfDatabasesArePlain(t *testing.T) {
	var srv pgtest.Server // no name gets as far as a server
	for _, name := range []string{"", "A", "x y", `x"; drop database postgres; --`} {
		require.ErrorContains(t, srv.Create(t.Context(), name), "plain name", "%q", name)
	}
}

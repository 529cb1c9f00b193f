package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
)

// shared is the server of all tests that do it no harm.
var shared struct {
	once sync.Once
	srv  *pgtest.Server
	err  error
	n    atomic.Int64
}

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		child(dsn)
	}
	if arg := os.Getenv(claimEnv); arg != "" {
		claimChild(arg)
	}
	code := m.Run()
	if shared.srv != nil {
		shared.srv.Close()
	}
	os.Exit(code)
}

func server(tb testing.TB) *pgtest.Server {
	tb.Helper()
	shared.once.Do(func() {
		shared.srv, shared.err = pgtest.New(nil)
		if shared.err == nil {
			shared.err = shared.srv.Create(context.Background(), "fleet")
		}
	})
	if errors.Is(shared.err, pgtest.ErrNone) {
		tb.Skip("SKIPPED: " + shared.err.Error())
	}
	require.NoError(tb, shared.err)
	return shared.srv
}

// pool returns a pool on the shared server.
func pool(tb testing.TB) *pgxpool.Pool { return server(tb).Pool(tb, "fleet") }

// fresh returns a name that no store has yet.
func fresh() string { return fmt.Sprintf("s%d", shared.n.Add(1)) }

func openOn(tb testing.TB, p *pgxpool.Pool, name string, opts *pgstore.Options) *pgstore.Store {
	tb.Helper()
	s, err := pgstore.Open(context.Background(), p, name, opts)
	require.NoError(tb, err)
	tb.Cleanup(s.Close)
	return s
}

func open(t *testing.T) store.Store { return openOn(t, pool(t), fresh(), nil) }

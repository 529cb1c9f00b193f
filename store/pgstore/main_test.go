package pgstore_test

import (
	"context"
	"errors"
	"flag"
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

	mu    sync.Mutex
	pools []*pgxpool.Pool
	next  int
}

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		child(dsn)
	}
	if arg := os.Getenv(claimEnv); arg != "" {
		claimChild(arg)
	}
	if arg := os.Getenv(planeEnv); arg != "" {
		planeChild(arg)
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue { // most tests wait for the server, or for a limit of time
		f.Value.Set("8") //nolint:errcheck // it is a number
	}
	code := m.Run()
	for _, p := range shared.pools {
		p.Close()
	}
	if harmed.srv != nil {
		harmed.srv.Close()
	}
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

// pool returns one of a few pools on the shared server, another each time. They last as long as the tests.
func pool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	srv := server(tb)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.next++; len(shared.pools) < 4 {
		cfg, err := pgxpool.ParseConfig(srv.DSN("fleet"))
		require.NoError(tb, err)
		cfg.MaxConns = 16
		p, err := pgxpool.NewWithConfig(context.Background(), cfg)
		require.NoError(tb, err)
		shared.pools = append(shared.pools, p)
		return p
	}
	return shared.pools[shared.next%len(shared.pools)]
}

// resetPools replaces the connections of all pools after the test, which ends some.
func resetPools(tb testing.TB) {
	tb.Cleanup(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		for _, p := range shared.pools {
			p.Reset()
		}
	})
}

// harmed is the server of the tests that harm it. Each leaves it running.
var harmed struct {
	once sync.Once
	srv  *pgtest.Server
	err  error
	mu   sync.Mutex // held by the test that harms it
}

// ownServer returns, one test after the other, a server that may be killed, paused and restarted. What it promised it keeps as long as the machine runs; in the long run it syncs, too.
func ownServer(t *testing.T) *pgtest.Server {
	if testing.Short() {
		t.Skip("SKIPPED: needs a server of its own; run without -short")
	}
	harmed.once.Do(func() {
		harmed.srv, harmed.err = pgtest.New(&pgtest.Options{Fsync: times(0, 1) == 1})
	})
	if errors.Is(harmed.err, pgtest.ErrNone) {
		t.Skip("SKIPPED: " + harmed.err.Error())
	}
	require.NoError(t, harmed.err)
	t.Parallel()
	harmed.mu.Lock()
	t.Cleanup(harmed.mu.Unlock)
	return harmed.srv
}

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

package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func benchServer(b *testing.B) *pgtest.Server {
	srv := pgtest.StartWith(b, &pgtest.Options{Fsync: true})
	require.NoError(b, srv.Create(b.Context(), "fleet"))
	return srv
}

// rawTable is the table by hand: one statement an operation.
func rawTable(b *testing.B, srv *pgtest.Server) storetest.Raw {
	cfg, err := pgxpool.ParseConfig(srv.DSN("fleet"))
	require.NoError(b, err)
	cfg.MaxConns = 64
	p, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(b, err)
	b.Cleanup(p.Close)
	ctx := context.Background()
	_, err = p.Exec(ctx, "drop table if exists raw; create table raw (key bytea primary key, value bytea not null) with (fillfactor = 80)")
	require.NoError(b, err)
	_, err = p.Exec(ctx, "insert into raw select convert_to('bench/' || lpad(i::text, 8, '0'), 'UTF8'), $1 from generate_series(0, 19999) i", bytes.Repeat([]byte("v"), 300))
	require.NoError(b, err)
	_, err = p.Exec(ctx, "analyze raw")
	require.NoError(b, err)
	return storetest.Raw{
		Commit: func(key, value []byte) error {
			_, err := p.Exec(ctx, "insert into raw values ($1, $2) on conflict (key) do update set value = excluded.value", key, value)
			return err
		},
		Get: func(key []byte) error {
			var v []byte
			return p.QueryRow(ctx, "select value from raw where key = $1", key).Scan(&v)
		},
		Scan: func(start, end []byte) (int, error) {
			rows, err := p.Query(ctx, "select key, value from raw where key >= $1 and key < $2 order by key", start, end)
			if err != nil {
				return 0, err
			}
			all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[store.Item])
			return len(all), err
		},
	}
}

func Benchmark(b *testing.B) {
	srv := benchServer(b)
	storetest.Bench(b, func(b *testing.B) store.Store { return openOn(b, srv.Pool(b, "fleet"), fresh(), nil) },
		func(b *testing.B) storetest.Raw { return rawTable(b, srv) })
}

// BenchmarkReadModifyWrite is 64 callers in one process, each reading and writing a key of its own, or all the same, against as many single statements of the server
// that do the same by hand.
func BenchmarkReadModifyWrite(b *testing.B) {
	srv := benchServer(b)
	for _, k := range []struct {
		name  string
		key   func(i int) []byte
		delay time.Duration
	}{
		{"own", func(i int) []byte { return fmt.Appendf(nil, "bench/%08d", i*7919%20000) }, 0},
		{"hot", func(int) []byte { return []byte("bench/hot") }, 0},
		{"own-1ms", func(i int) []byte { return fmt.Appendf(nil, "bench/%08d", i*7919%20000) }, 500 * time.Microsecond},
	} {
		b.Run(k.name, func(b *testing.B) {
			pool := srv.Pool(b, "fleet")
			if k.delay > 0 {
				pool = newProxy(b, srv, k.delay).pool(b, srv, "fleet")
			}
			s, raw := openOn(b, pool, fresh(), nil), rawTable(b, srv)
			value := bytes.Repeat([]byte("v"), 300)
			run := func(n int, op func(i int) error) float64 {
				var next atomic.Int64
				var wg sync.WaitGroup
				start := time.Now()
				for range 64 {
					wg.Go(func() {
						for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
							if err := op(i); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				return float64(n) / time.Since(start).Seconds()
			}
			before := s.Stats()
			b.ResetTimer()
			rate := run(b.N, func(i int) error {
				return s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
					if _, err := tx.Get(ctx, k.key(i)); err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					return tx.Put(k.key(i), value)
				})
			})
			b.StopTimer()
			after := s.Stats()
			b.ReportMetric(rate, "commits/s")
			b.ReportMetric(float64(after.Updates-before.Updates)/float64(max(1, after.Commits-before.Commits)), "updates/batch")
			limit := run(min(b.N, 5000), func(i int) error { return raw.Commit(k.key(i), value) })
			b.ReportMetric(limit, "raw/s")
			b.ReportMetric(rate/limit, "ratio-raw")
		})
	}
}

package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
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

// claimEnv makes the test binary one of the processes of BenchmarkClaims.
const claimEnv = "FLEETWRIGHT_PGSTORE_CLAIM"

// claimAll is one process: 4 workers are handed what one claimer takes, k an Update, until nothing is due.
func claimAll(ctx context.Context, s store.Store, k int, who string) (n int, err error) {
	const workers = 4
	handed := make(chan string, 2*k)
	var wg sync.WaitGroup
	var done atomic.Int64
	for range workers {
		wg.Go(func() {
			for range handed {
				done.Add(1)
			}
		})
	}
	for {
		var got []string
		err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			got = nil
			var keys [][]byte
			for it, err := range tx.Scan(ctx, store.Range{Start: []byte("due/"), End: []byte("due0"), Limit: k}) {
				if err != nil {
					return err
				}
				keys = append(keys, bytes.Clone(it.Key))
			}
			for _, key := range keys {
				id := string(key[len("due/"):])
				got = append(got, id)
				if err := errors.Join(tx.Delete(key), tx.Put([]byte("lease/"+id), []byte(who))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(got) == 0 {
			break
		}
		for _, id := range got {
			handed <- id
		}
	}
	close(handed)
	wg.Wait()
	return int(done.Load()), err
}

// claimChild opens the store, waits for a line, claims, and prints how many.
func claimChild(arg string) {
	f := strings.SplitN(arg, "|", 4) // k, host, port, rest of the DSN
	k, _ := strconv.Atoi(f[0])
	p, err := pgxpool.New(context.Background(), fmt.Sprintf("%s host=%s port=%s", f[3], f[1], f[2]))
	if err != nil {
		panic(err)
	}
	s, err := pgstore.Open(context.Background(), p, "claims", nil)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	var b [1]byte
	_, _ = os.Stdin.Read(b[:])
	n, err := claimAll(context.Background(), s, k, fmt.Sprint(os.Getpid()))
	fmt.Println(n, err)
	os.Exit(0)
}

// BenchmarkClaims is two processes with four workers each, which claim what is due from one index, every piece of work once.
func BenchmarkClaims(b *testing.B) {
	srv := benchServer(b)
	exe, err := os.Executable()
	require.NoError(b, err)
	for _, c := range []struct {
		name  string
		k     int
		delay time.Duration
	}{{"socket/k=10", 10, 0}, {"socket/k=100", 100, 0}, {"1ms/k=10", 10, 500 * time.Microsecond}, {"1ms/k=100", 100, 500 * time.Microsecond}} {
		b.Run(c.name, func(b *testing.B) {
			s := openOn(b, srv.Pool(b, "fleet"), "claims", nil)
			total := max(b.N, 200)
			for from := 0; from < total; from += 1000 {
				require.NoError(b, s.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					for i := from; i < min(from+1000, total); i++ {
						if err := tx.Put(fmt.Appendf(nil, "due/%010d", i), bytes.Repeat([]byte("w"), 100)); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			host, port := strings.TrimSuffix(srv.Socket(), "/.s.PGSQL.5432"), "5432"
			if c.delay > 0 {
				px := newProxy(b, srv, c.delay)
				host, port, _ = strings.Cut(px.ln.Addr().String(), ":")
			}
			type proc struct {
				cmd *exec.Cmd
				in  interface{ Close() error }
				out *bytes.Buffer
			}
			var procs []proc
			for range 2 {
				cmd := exec.Command(exe)
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d|%s|%s|user=fleet dbname=fleet sslmode=disable", claimEnv, c.k, host, port))
				in, err := cmd.StdinPipe()
				require.NoError(b, err)
				out := &bytes.Buffer{}
				w := &syncWriter{buf: out, ready: make(chan struct{})}
				cmd.Stdout = w
				require.NoError(b, cmd.Start())
				<-w.ready
				procs = append(procs, proc{cmd, in, out})
			}
			b.ResetTimer()
			start := time.Now()
			for _, p := range procs {
				require.NoError(b, p.in.Close())
			}
			claimed := 0
			for _, p := range procs {
				require.NoError(b, p.cmd.Wait())
				lines := strings.Fields(p.out.String())
				n, err := strconv.Atoi(lines[1])
				require.NoError(b, err, p.out.String())
				claimed += n
			}
			took := time.Since(start)
			b.StopTimer()
			require.Equal(b, total, claimed, "each was claimed once")
			b.ReportMetric(float64(claimed)/took.Seconds(), "claims/s")
		})
	}
}

type syncWriter struct {
	buf   *bytes.Buffer
	ready chan struct{}
	once  sync.Once
}

func (w *syncWriter) Write(p []byte) (int, error) {
	defer w.once.Do(func() { close(w.ready) })
	return w.buf.Write(p)
}

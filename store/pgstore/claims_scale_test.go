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

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/pgstore"
)

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
	f := strings.SplitN(arg, "|", 3) // k, store, DSN
	k, _ := strconv.Atoi(f[0])
	p, err := pgxpool.New(context.Background(), f[2])
	if err != nil {
		panic(err)
	}
	s, err := pgstore.Open(context.Background(), p, f[1], nil)
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

// claimRaw is the best that the server does by itself: eight connections, each statement of which takes k rows that no other has locked, and commits.
func claimRaw(b *testing.B, p *pgxpool.Pool, total, k int) (perSecond float64) {
	ctx := context.Background()
	_, err := p.Exec(ctx, "drop table if exists claims; create table claims (key bytea primary key, value bytea not null)")
	require.NoError(b, err)
	_, err = p.Exec(ctx, "insert into claims select convert_to('due/' || lpad(i::text, 10, '0'), 'UTF8'), $1 from generate_series(1, $2) i", bytes.Repeat([]byte("w"), 100), total)
	require.NoError(b, err)
	_, err = p.Exec(ctx, "analyze claims")
	require.NoError(b, err)
	var claimed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range 8 {
		wg.Go(func() {
			for {
				tag, err := p.Exec(ctx, "with got as (select key from claims where key >= 'due/' and key < 'due0' order by key limit $1 for update skip locked), "+
					"gone as (delete from claims using got where claims.key = got.key returning claims.key) "+
					"insert into claims select 'lease/'::bytea || substr(key, 5), $2 from gone", k, []byte("worker"))
				if err != nil {
					b.Error(err)
					return
				}
				if tag.RowsAffected() == 0 {
					return
				}
				claimed.Add(tag.RowsAffected())
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	require.EqualValues(b, total, claimed.Load())
	return float64(total) / took.Seconds()
}

// BenchmarkClaims is two processes with four workers each, which claim what is due from one index, every piece of work once, k an Update, on a socket and with a millisecond more of round trip.
// The ratio is to statements that the server carries out by itself, FOR UPDATE SKIP LOCKED, of as many each, in the same run.
func BenchmarkClaims(b *testing.B) {
	srv := benchServer(b)
	exe, err := os.Executable()
	require.NoError(b, err)
	total := 5000
	if testenv.Long() {
		total = 50_000
	}
	for _, c := range []struct {
		name  string
		k     int
		delay time.Duration
	}{{"socket/k=10", 10, 0}, {"socket/k=100", 100, 0}, {"1ms/k=10", 10, 500 * time.Microsecond}, {"1ms/k=100", 100, 500 * time.Microsecond}} {
		b.Run(c.name, func(b *testing.B) {
			dsn, rawPool := srv.DSN("fleet"), srv.Pool(b, "fleet")
			if c.delay > 0 {
				px := newProxy(b, srv, c.delay)
				host, port, _ := strings.Cut(px.ln.Addr().String(), ":")
				dsn, rawPool = fmt.Sprintf("user=fleet dbname=fleet sslmode=disable host=%s port=%s", host, port), px.pool(b, srv, "fleet")
			}
			var took time.Duration
			for b.Loop() {
				b.StopTimer()
				name := fresh()
				fill(b, openOn(b, srv.Pool(b, "fleet"), name, nil), total)
				var procs []*claimer
				for range 2 {
					procs = append(procs, startClaimer(b, exe, fmt.Sprintf("%d|%s|%s", c.k, name, dsn)))
				}
				b.StartTimer()
				start := time.Now()
				claimed := 0
				for _, p := range procs {
					require.NoError(b, p.in.Close())
				}
				for _, p := range procs {
					claimed += p.end(b)
				}
				took += time.Since(start)
				b.StopTimer()
				require.Equal(b, total, claimed, "each was claimed once")
				b.StartTimer()
			}
			b.StopTimer()
			rate, raw := float64(total*b.N)/took.Seconds(), claimRaw(b, rawPool, total, c.k)
			b.ReportMetric(rate, "claims/s")
			b.ReportMetric(raw, "raw-claims/s")
			b.ReportMetric(rate/raw, "ratio-raw")
		})
	}
}

// fill makes so many pieces of work due.
func fill(b *testing.B, s store.Store, total int) {
	for from := 0; from < total; from += 1000 {
		require.NoError(b, s.Update(context.Background(), func(_ context.Context, tx store.Tx) error {
			for i := from; i < min(from+1000, total); i++ {
				if err := tx.Put(fmt.Appendf(nil, "due/%010d", i), bytes.Repeat([]byte("w"), 100)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// claimer is another process that claims once its input ends.
type claimer struct {
	cmd *exec.Cmd
	in  interface{ Close() error }
	out *bytes.Buffer
}

func startClaimer(b *testing.B, exe, arg string) *claimer {
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), claimEnv+"="+arg)
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out := &bytes.Buffer{}
	w := &syncWriter{buf: out, ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	require.NoError(b, cmd.Start())
	<-w.ready
	return &claimer{cmd, in, out}
}

// end waits for it, and returns how many it claimed.
func (c *claimer) end(b *testing.B) int {
	require.NoError(b, c.cmd.Wait())
	lines := strings.Fields(c.out.String())
	require.Len(b, lines, 3, c.out.String())
	n, err := strconv.Atoi(lines[1])
	require.NoError(b, err, c.out.String())
	return n
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

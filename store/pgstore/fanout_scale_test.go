package pgstore_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/pgstore"
	"github.com/fleetwright/fleetwright/target"
)

// What the fleet of a fan-out is asked to do, and how each node says that it did.
const (
	hello = `{"schemaVersion":"2.2","description":"d","mainSteps":[{"action":"aws:runShellScript","name":"greet","inputs":{"runCommand":["echo hello"]}}]}`
	ended = `"detail":"Success","exitCode":0,"started":"2026-03-01T12:00:00.123456789Z","ended":"2026-03-01T12:00:01.123456789Z","steps":[{"name":"greet","action":"aws:runShellScript",` +
		`"status":"Success","exitCode":0,"started":"2026-03-01T12:00:00.123456789Z","ended":"2026-03-01T12:00:01.123456789Z","stdout":{"head":"hello world\n","size":12}}]}`
)

// crowd is any number of nodes that answer at once, on two goroutines.
type crowd struct {
	ids     []string
	nodes   []target.Node
	byID    map[string]int
	hash    string
	service *command.Service
	queues  [2]chan said
	wg      sync.WaitGroup
}

type said struct {
	node string
	kind message.Kind
	ref  message.Ref
}

func newCrowd(tb testing.TB, n int) *crowd {
	doc, err := document.Parse([]byte(hello), nil)
	require.NoError(tb, err)
	c := &crowd{hash: doc.Hash(), byID: make(map[string]int, n)}
	for i := range n {
		id := fmt.Sprintf("mi-%017x", i)
		c.ids, c.byID[id] = append(c.ids, id), i
		c.nodes = append(c.nodes, target.Node{Tenant: "default", ID: id, Platform: "Linux", Assurance: target.Signed, Tags: map[string]string{"Role": "web"}, Capabilities: []string{"aws:runShellScript"}})
	}
	for i := range c.queues {
		c.queues[i] = make(chan said, n+1)
		c.wg.Go(func() { c.answer(c.queues[i]) })
	}
	return c
}

func (c *crowd) close() {
	for _, q := range c.queues {
		close(q)
	}
	c.wg.Wait()
}

func (c *crowd) Resolve(_ context.Context, _ string, _ []target.Target, after string, limit int) ([]string, string, error) {
	from := 0
	if at, ok := c.byID[after]; ok {
		from = at + 1
	}
	if ids := c.ids[from:]; len(ids) <= limit {
		return ids, "", nil
	}
	ids := c.ids[from : from+limit]
	return ids, ids[limit-1], nil
}

func (c *crowd) Nodes(_ context.Context, _ string, ids []string) ([]target.Node, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	from := c.byID[ids[0]]
	return c.nodes[from : from+len(ids)], nil
}

func (c *crowd) Fetch(context.Context, string, string, string) ([]byte, string, string, string, error) {
	return []byte(hello), "", "1", c.hash, nil
}

func (c *crowd) Connected(string, string) bool { return true }

func (c *crowd) Send(_ context.Context, _, node string, kind message.Kind, ref message.Ref, _ time.Time, _ []byte) error {
	if kind != message.KindAck {
		c.queues[int(node[len(node)-1])%len(c.queues)] <- said{node, kind, ref}
	}
	return nil
}

func (c *crowd) answer(q chan said) {
	for a := range q {
		e := message.Envelope{Tenant: "default", From: a.node}
		switch a.kind {
		case message.KindOffer:
			e.Kind, e.Body = message.KindReady, []byte(`{"command":"`+a.ref.Command+`","attempt":1}`)
		case message.KindRun:
			e.Kind, e.Body = message.KindReport, []byte(`{"command":"`+a.ref.Command+`","attempt":1,"seq":3,`+ended)
		default:
			continue
		}
		_ = c.service.Handle(context.Background(), "default", a.node, e) // it is sent again
	}
}

// tally counts what is written through a store.
type tally struct {
	store.Store
	records, bytes, commits atomic.Int64
}

func (c *tally) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	return store.Watch(ctx, c.Store, prefix)
}

func (c *tally) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	var tx tallyTx
	err := c.Store.Update(ctx, func(ctx context.Context, inner store.Tx) error {
		tx = tallyTx{Tx: inner}
		return fn(ctx, &tx)
	})
	if err == nil && tx.records > 0 {
		c.records.Add(tx.records)
		c.bytes.Add(tx.bytes)
		c.commits.Add(1)
	}
	return err
}

type tallyTx struct {
	store.Tx
	records, bytes int64
}

func (t *tallyTx) Put(key, value []byte) error {
	t.records, t.bytes = t.records+1, t.bytes+int64(len(key)+len(value))
	return t.Tx.Put(key, value)
}

// peak watches the heap and the goroutines until stop.
type peak struct {
	heap       uint64
	goroutines int
	stop       func()
}

func watchPeak() *peak {
	p := &peak{}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(10 * time.Millisecond)
		defer t.Stop()
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			metrics.Read(s)
			p.heap, p.goroutines = max(p.heap, s[0].Value.Uint64()), max(p.goroutines, runtime.NumGoroutine())
			select {
			case <-end:
				return
			case <-t.C:
			}
		}
	}()
	p.stop = func() { close(end); <-done }
	return p
}

// BenchmarkFanoutScale sends one command to 10,000 nodes at once, ramp-up on, and waits for its end; 100,000 with FLEETWRIGHT_LONG=1. The ratio is its time to that of writing the
// same number and size of records through Store.Update, a thousand adjacent keys a transaction, in the same run on the same server, which syncs.
func BenchmarkFanoutScale(b *testing.B) {
	srv := benchServer(b)
	n := 10_000
	if testenv.Long() {
		n = 100_000
	}
	b.Run(fmt.Sprint(n), func(b *testing.B) {
		var took, raw time.Duration
		var records, bytes, commits, rawRecords int64
		var p *peak
		var stats pgstore.Stats
		for b.Loop() {
			b.StopTimer()
			inner := openOn(b, srv.Pool(b, "fleet"), fresh(), nil)
			st := &tally{Store: inner}
			w := newCrowd(b, n)
			s, err := command.New(command.Config{Store: st, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: lease.New(st, nil, lease.Config{})})
			require.NoError(b, err)
			w.service = s
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); s.Run(ctx) }() //nolint:errcheck // ends with ctx
			for range 8 {                                 // what ends shows that the service owns its commands
				_, _, err := s.Execute(ctx, command.SendRequest{DocumentName: "Hello", InstanceIDs: w.ids[:1]})
				require.NoError(b, err)
			}
			runtime.GC()
			st.records.Store(0)
			st.bytes.Store(0)
			st.commits.Store(0)
			before := inner.Stats()
			p = watchPeak()
			b.StartTimer()
			start := time.Now()
			c, err := s.Send(ctx, command.SendRequest{DocumentName: "Hello", Targets: []target.Target{{Key: "tag:Role", Values: []string{"web"}}}, MaxConcurrency: "100%"})
			require.NoError(b, err)
			c, err = s.Wait(ctx, c.ID)
			require.NoError(b, err)
			took += time.Since(start)
			b.StopTimer()
			p.stop()
			stats = since(before, inner.Stats())
			require.Equal(b, n, c.Counts[message.DetailSuccess])
			records, bytes, commits = st.records.Load(), st.bytes.Load(), st.commits.Load()
			cancel()
			<-done
			w.close()
			var d time.Duration
			d, rawRecords = writeRaw(b, openOn(b, srv.Pool(b, "fleet"), fresh(), nil), records, bytes)
			raw += d
			b.StartTimer()
		}
		each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N) / float64(n) }
		b.ReportMetric(float64(took)/float64(raw), "ratio")
		b.ReportMetric(each(took), "ns/node")
		b.ReportMetric(each(raw), "raw-ns/node")
		b.ReportMetric(float64(records), "records")
		b.ReportMetric(float64(rawRecords), "raw-records")
		b.ReportMetric(float64(bytes)/float64(records), "bytes/record")
		b.ReportMetric(float64(commits), "commits")
		b.ReportMetric(float64(p.heap)/(1<<20), "MiB-peak")
		b.ReportMetric(float64(p.goroutines), "goroutines")
		b.Logf("of %v: locking and reading %v, running %v, writing and committing %v, in %d commits", took/time.Duration(b.N), stats.Locked, stats.Ran, stats.Synced, stats.Commits)
	})
}

func since(a, b pgstore.Stats) pgstore.Stats {
	b.Commits, b.Updates, b.Locked, b.Ran, b.Synced = b.Commits-a.Commits, b.Updates-a.Updates, b.Locked-a.Locked, b.Ran-a.Ran, b.Synced-a.Synced
	return b
}

// writeRaw writes as many records of the same mean size, a thousand adjacent keys a transaction, one transaction after another.
func writeRaw(b *testing.B, s store.Store, records, bytes int64) (took time.Duration, n int64) {
	prefix := key.New("default").Str("raw").Str("00000000-0000-4000-8000-000000000000")
	value := make([]byte, max(1, int(bytes/records)-len(prefix)-9))
	for i := range value {
		value[i] = byte(i)
	}
	runtime.GC()
	start := time.Now()
	for n < records {
		to := min(n+1000, records)
		require.NoError(b, s.Update(context.Background(), func(_ context.Context, tx store.Tx) error {
			for i := n; i < to; i++ {
				if err := tx.Put(prefix.Uint(uint64(i)), value); err != nil {
					return err
				}
			}
			return nil
		}))
		n = to
	}
	return time.Since(start), n
}

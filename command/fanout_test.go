package command

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

// counted counts what is written through a store.
type counted struct {
	store.Store
	records, bytes, commits atomic.Int64
}

func (c *counted) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	return store.Watch(ctx, c.Store, prefix)
}

func (c *counted) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	var tx countedTx
	err := c.Store.Update(ctx, func(ctx context.Context, inner store.Tx) error {
		tx = countedTx{Tx: inner}
		return fn(ctx, &tx)
	})
	if err == nil && tx.records > 0 {
		c.records.Add(tx.records)
		c.bytes.Add(tx.bytes)
		c.commits.Add(1)
	}
	return err
}

type countedTx struct {
	store.Tx
	records, bytes int64
}

func (t *countedTx) Put(key, value []byte) error {
	t.records, t.bytes = t.records+1, t.bytes+int64(len(key)+len(value))
	return t.Tx.Put(key, value)
}

// swarm is any number of nodes that answer at once, on a few goroutines: what they say was written before, as it would be elsewhere.
type swarm struct {
	ids     []string
	nodes   []target.Node
	doc     string
	fails   int           // one in so many nodes fails; 0 is none
	silent  int           // one in so many nodes never answers; 0 is none
	work    time.Duration // of a node, between the run and its report
	at      sync.WaitGroup
	service *Service
	answers []chan answerOf
	wg      sync.WaitGroup
	handled atomic.Int64
}

type answerOf struct {
	node string
	kind message.Kind
	ref  message.Ref
}

func newSwarm(n int) *swarm {
	doc, err := document.Parse([]byte(hello), nil)
	if err != nil {
		panic(err)
	}
	s := &swarm{doc: doc.Hash()}
	for i := range n {
		id := fmt.Sprintf("mi-%017x", i)
		s.ids = append(s.ids, id)
		s.nodes = append(s.nodes, target.Node{Tenant: "default", ID: id, Platform: "Linux", Assurance: target.Signed, Tags: map[string]string{"Role": "web"}, Capabilities: []string{"aws:runShellScript"}})
	}
	for range 2 {
		c := make(chan answerOf, n+1)
		s.answers = append(s.answers, c)
		s.wg.Go(func() { s.answer(c) })
	}
	return s
}

func (s *swarm) close() {
	s.at.Wait()
	for _, c := range s.answers {
		close(c)
	}
	s.wg.Wait()
}

func (s *swarm) Resolve(_ context.Context, _ string, _ []target.Target, after string, limit int) ([]string, string, error) {
	from := 0
	if after != "" {
		fmt.Sscanf(after, "mi-%x", &from) //nolint:errcheck // our own
		from++
	}
	ids := s.ids[from:min(len(s.ids), from+limit)]
	if from+limit >= len(s.ids) {
		return ids, "", nil
	}
	return ids, ids[len(ids)-1], nil
}

func (s *swarm) Nodes(_ context.Context, _ string, ids []string) ([]target.Node, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	from := 0
	fmt.Sscanf(ids[0], "mi-%x", &from) //nolint:errcheck // our own
	return s.nodes[from : from+len(ids)], nil
}

func (s *swarm) Fetch(context.Context, string, string, string) ([]byte, string, string, string, error) {
	return []byte(hello), "", "1", s.doc, nil
}

func (s *swarm) Connected(string, string) bool { return true }

func (s *swarm) Send(_ context.Context, _, node string, kind message.Kind, ref message.Ref, _ time.Time, _ []byte) error {
	if kind != message.KindAck && !s.is(node, s.silent, 37) {
		s.answers[int(node[len(node)-1])%len(s.answers)] <- answerOf{node, kind, ref}
	}
	return nil
}

func (s *swarm) answer(from chan answerOf) {
	ctx := context.Background()
	for a := range from {
		e := message.Envelope{Tenant: "default", From: a.node}
		switch a.kind {
		case message.KindOffer:
			e.Kind, e.Body = message.KindReady, []byte(`{"command":"`+a.ref.Command+`","attempt":1}`)
		case message.KindRun:
			detail := "Success"
			if s.is(a.node, s.fails, 0) {
				detail = "Failed"
			}
			e.Kind, e.Body = message.KindReport, []byte(`{"command":"`+a.ref.Command+`","attempt":1,"seq":3,"detail":"`+detail+`","exitCode":0,"started":"2026-03-01T12:00:00.123456789Z","ended":"2026-03-01T12:00:01.123456789Z",`+
				`"steps":[{"name":"greet","action":"aws:runShellScript","status":"Success","exitCode":0,"started":"2026-03-01T12:00:00.123456789Z","ended":"2026-03-01T12:00:01.123456789Z","stdout":{"head":"hello world\n","size":12}}]}`)
		default:
			continue
		}
		if a.kind == message.KindRun && s.work > 0 {
			s.at.Add(1)
			time.AfterFunc(s.work, func() { s.say(ctx, a.node, e); s.at.Done() })
			continue
		}
		s.say(ctx, a.node, e)
	}
}

// is reports whether a node is one in so many.
func (s *swarm) is(node string, in, which int) bool {
	at := 0
	if in > 0 {
		fmt.Sscanf(node, "mi-%x", &at) //nolint:errcheck // our own
	}
	return in > 0 && at%in == which
}

func (s *swarm) say(ctx context.Context, node string, e message.Envelope) {
	if err := s.service.Handle(ctx, "default", node, e); err == nil {
		s.handled.Add(1)
	}
}

// BenchmarkFanout sends one command to many nodes at once and waits for its end. The ratio is its time to that of writing the same number and size of records through
// Store.Update, a thousand adjacent keys a transaction, in the same run on the same driver; cpu-ratio is that of the processor time, the nodes' own included, which a machine that is
// busy with other things does not distort. The largest runs with FLEETWRIGHT_LONG=1.
func BenchmarkFanout(b *testing.B) {
	for _, driver := range []string{"memstore", "boltstore"} {
		for _, n := range []int{1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", driver, n), func(b *testing.B) {
				if n > 10_000 && !testenv.Long() {
					b.Skip("SKIPPED: set FLEETWRIGHT_LONG=1 for 100,000 nodes")
				}
				fanout(b, driver, n, SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "100%"}, 0, 1000, 0)
			})
		}
	}
}

// BenchmarkSlots is the same for a command that may be at fifty of ten thousand nodes at once, one of a hundred of which fails. Its transactions are small; the ratio is to as many of
// the same size. Where a node works for a while, nodes-ratio is to what fifty nodes at a time need, whatever the control plane does.
func BenchmarkSlots(b *testing.B) {
	for _, c := range []struct {
		name, driver string
		work         time.Duration
	}{{"memstore/10000", "memstore", 0}, {"boltstore/10000", "boltstore", 0}, {"boltstore/10000/10ms", "boltstore", 10 * time.Millisecond}} {
		b.Run(c.name, func(b *testing.B) {
			const n = 10_000
			took := fanout(b, c.driver, n, SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "50", MaxErrors: "2%"}, 100, 0, c.work)
			if c.work > 0 {
				b.ReportMetric(float64(took)/float64(c.work*n/50), "nodes-ratio")
			}
		})
	}
}

func openStore(b *testing.B, driver string) (store.Store, func()) {
	if driver == "memstore" {
		return memstore.New(), func() {}
	}
	st, err := boltstore.Open(b.Context(), filepath.Join(b.TempDir(), "store"), nil)
	require.NoError(b, err)
	return st, func() { require.NoError(b, st.Close()) }
}

// fanout measures a request on n nodes of which one in so many fails, against transactions of perTx records, or as many as it took when that is 0. It returns what the request took.
func fanout(b *testing.B, driver string, n int, req SendRequest, fails, perTx int, nodeWork time.Duration) time.Duration {
	var took, raw, work, rawWork time.Duration
	var records, bytes, commits int64
	var peak uint64
	goroutines := 0
	for b.Loop() {
		b.StopTimer()
		inner, end := openStore(b, driver)
		st := &counted{Store: inner}
		w := newSwarm(n)
		leases := lease.New(st, nil, lease.Config{Exclusive: true})
		s, err := New(Config{Store: st, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: leases})
		require.NoError(b, err)
		w.service, w.fails, w.work = s, fails, nodeWork
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) }) //nolint:errcheck // ends with ctx
		for len(s.mine()) < Shards {
			runtime.Gosched()
		}
		var mem runtime.MemStats
		watch := make(chan struct{})
		wg.Go(func() {
			for t := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case <-watch:
					t.Stop()
					return
				case <-t.C:
					runtime.ReadMemStats(&mem)
					peak, goroutines = max(peak, mem.HeapInuse), max(goroutines, runtime.NumGoroutine())
				}
			}
		})
		runtime.GC()
		st.records.Store(0)
		st.bytes.Store(0)
		st.commits.Store(0)
		b.StartTimer()
		begin, cpu := time.Now(), cpuTime()
		c, err := s.Send(ctx, req)
		require.NoError(b, err)
		c, err = s.Wait(ctx, c.ID)
		require.NoError(b, err)
		took, work = took+time.Since(begin), work+cpuTime()-cpu
		b.StopTimer()
		require.Equal(b, n, c.CompletedCount)
		require.Equal(b, n, c.Counts[message.DetailSuccess]+c.Counts[message.DetailFailed])
		close(watch)
		records, bytes, commits = st.records.Load(), st.bytes.Load(), st.commits.Load()
		cancel()
		wg.Wait()
		w.close()
		end()
		if perTx == 0 {
			perTx = int(records / commits)
		}
		r, rw := writeRaw(b, driver, records, bytes, perTx)
		raw, rawWork = raw+r, rawWork+rw
		b.StartTimer()
	}
	b.ReportMetric(float64(took)/float64(raw), "ratio")
	if rawWork > 0 {
		b.ReportMetric(float64(work)/float64(rawWork), "cpu-ratio")
		b.ReportMetric(float64(work.Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/node")
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/float64(n), "ns/node")
	b.ReportMetric(float64(raw.Nanoseconds())/float64(b.N)/float64(n), "raw-ns/node")
	b.ReportMetric(float64(records), "records")
	b.ReportMetric(float64(bytes)/float64(records), "bytes/record")
	b.ReportMetric(float64(commits), "commits")
	b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
	b.ReportMetric(float64(goroutines), "goroutines")
	return took / time.Duration(b.N)
}

// writeRaw writes as many records of the same mean size, with adjacent keys, one transaction after another.
func writeRaw(b *testing.B, driver string, records, bytes int64, perTx int) (took, work time.Duration) {
	st, end := openStore(b, driver)
	defer end()
	prefix := key.New("default").Str("raw").Str("00000000-0000-4000-8000-000000000000")
	value := make([]byte, max(1, int(bytes/records)-len(prefix)-9))
	for i := range value {
		value[i] = byte(i)
	}
	runtime.GC()
	begin, cpu := time.Now(), cpuTime()
	for at := int64(0); at < records; at += int64(perTx) {
		require.NoError(b, st.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := at; i < min(at+int64(perTx), records); i++ {
				if err := tx.Put(prefix.Uint(uint64(i)), value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return time.Since(begin), cpuTime() - cpu
}

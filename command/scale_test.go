package command

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/target"
)

// readsCounted counts what is read.
type readsCounted struct {
	store.Store
	items atomic.Int64
}

func (c *readsCounted) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	return c.Store.View(ctx, func(ctx context.Context, r store.Reader) error { return fn(ctx, countedReader{r, c}) })
}

type countedReader struct {
	store.Reader
	c *readsCounted
}

func (r countedReader) Scan(ctx context.Context, rng store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		for it, err := range r.Reader.Scan(ctx, rng) {
			r.c.items.Add(1)
			if !yield(it, err) {
				return
			}
		}
	}
}

func (r countedReader) Get(ctx context.Context, key []byte) ([]byte, error) {
	r.c.items.Add(1)
	return r.Reader.Get(ctx, key)
}

func (r countedReader) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	r.c.items.Add(int64(len(keys)))
	return r.Reader.GetMany(ctx, keys)
}

// What a control plane reads while nothing happens does not grow with the number of active commands.
func TestIdleActiveCommandsCostNoReads(t *testing.T) {
	cost := func(commands int) (n int64) {
		synctest.Test(t, func(t *testing.T) {
			w := newSite(t, 2)
			defer w.close()
			w.works(time.Hour)
			c := &readsCounted{Store: w.store}
			w.store = c
			p := w.start("plane", nil)
			defer p.stop()
			synctest.Wait()
			for range commands {
				_, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
				require.NoError(t, err)
			}
			time.Sleep(40 * time.Second) // all run
			before := c.items.Load()
			time.Sleep(30 * time.Second)
			n = c.items.Load() - before
		})
		return n
	}
	few, many := cost(2), cost(400)
	require.LessOrEqual(t, many, 2*few, "200 times as many commands")
}

// A fleet of which one in a hundred is connected and never answers, but shows signs of life: the others do not wait for those.
func TestNodesThatNeverAnswerDoNotHoldUpTheOthers(t *testing.T) {
	const n = 400
	run := func(silent int) (last time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			w := newSite(t, n)
			defer w.close()
			for i := range silent {
				w.deafen(w.nodes[i*n/silent+7].ID)
			}
			p := w.start("plane", nil)
			defer p.stop()
			synctest.Wait()
			c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "10", TimeoutSeconds: 600})
			require.NoError(t, err)
			begin := time.Now()
			for {
				time.Sleep(time.Second)
				for i := range silent {
					p.Heard("default", w.nodes[i*n/silent+7].ID, true) // more often than any agent does
				}
				got, err := p.Get(t.Context(), c.ID)
				require.NoError(t, err)
				if got.Counts[message.DetailSuccess] == n-silent {
					last = time.Since(begin)
					break
				}
				require.Less(t, time.Since(begin), 20*time.Minute)
			}
			got, err := p.Wait(t.Context(), c.ID)
			require.NoError(t, err)
			require.Equal(t, silent, got.Counts[message.DetailDeliveryTimedOut])
		})
		return last
	}
	without, with := run(0), run(4)
	// Each of them holds a slot of ten for fifteen seconds, once.
	require.LessOrEqual(t, with, without+4*15*time.Second/10+16*time.Second)
}

// Lists of many, large commands and of many targets come in pages whose Views are short, and hold everything once.
func TestListsComeInPages(t *testing.T) {
	st := memstore.New()
	w := newSwarm(30_000)
	defer w.close()
	now := t0
	s, err := New(Config{Store: st, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: lease.New(st, nil, lease.Config{}), Now: func() time.Time { now = now.Add(time.Second); return now }})
	require.NoError(t, err)
	big, err := s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
	require.NoError(t, err)
	var want []string
	for i := range 130 {
		c, err := s.Send(t.Context(), SendRequest{DocumentName: fmt.Sprintf("Doc%d", i%3), InstanceIDs: []string{w.ids[i%5]}, Comment: strings.Repeat("x", 90)})
		require.NoError(t, err)
		want = append(want, c.ID)
	}
	want = append([]string{big.ID}, want...)
	slices.Reverse(want)
	collect := func(q ListRequest) (ids []string, pages int) {
		for {
			page, next, err := s.List(t.Context(), q)
			require.NoError(t, err)
			for _, c := range page {
				ids = append(ids, c.ID)
			}
			if pages++; next == "" {
				return ids, pages
			}
			q.NextToken = next
		}
	}
	got, _ := collect(ListRequest{Limit: 7})
	require.Equal(t, want, got)
	got, _ = collect(ListRequest{Node: w.ids[3]})
	require.Len(t, got, 26+1)
	got, _ = collect(ListRequest{Node: w.ids[29_999], Limit: 1})
	require.Equal(t, []string{big.ID}, got)
	got, _ = collect(ListRequest{Node: "mi-nope"})
	require.Empty(t, got)
	got, _ = collect(ListRequest{DocumentName: "Doc1", InvokedAfter: t0, InvokedBefore: t0.AddDate(9000, 0, 0)})
	require.Len(t, got, 43)
	got, _ = collect(ListRequest{InvokedAfter: t0.AddDate(1, 0, 0), InvokedBefore: t0})
	require.Empty(t, got)
	got, _ = collect(ListRequest{Status: message.Success})
	require.Empty(t, got)

	var nodes []string
	q := ListRequest{Command: big.ID, Limit: 1000}
	for pages := 0; ; pages++ {
		page, next, err := s.Invocations(t.Context(), q)
		require.NoError(t, err)
		for _, r := range page {
			require.Equal(t, message.DetailPending, r.Detail)
			nodes = append(nodes, r.Node)
		}
		if q.NextToken = next; next == "" {
			require.Equal(t, 29, pages)
			break
		}
	}
	require.Equal(t, w.ids, nodes)
	page, next, err := s.Invocations(t.Context(), ListRequest{Command: big.ID, Status: message.Failed})
	require.NoError(t, err)
	require.Empty(t, page)
	require.NotEmpty(t, next, "it looked at some and found none: there is more")

	for name, token := range map[string]string{"no base64": "!", "another list": encodeToken(invsKey("default", "x").Str("y")), "another command": encodeToken(invsKey("default", want[1]).Str(w.ids[0])),
		"another tenant": encodeToken(invsKey("other", big.ID).Str(w.ids[0])), "the prefix alone": encodeToken(invsKey("default", big.ID)), "a number for a node": encodeToken(invsKey("default", big.ID).Uint(1)),
		"something behind": encodeToken(invsKey("default", big.ID).Str(w.ids[0]).Str("x")), "very long": strings.Repeat("A", 100_000)} {
		_, _, err := s.Invocations(t.Context(), ListRequest{Command: big.ID, NextToken: token})
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), name)
		_, _, err = s.List(t.Context(), ListRequest{NextToken: token})
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), name)
	}
	for _, limit := range []int{-1, 51} {
		_, _, err := s.List(t.Context(), ListRequest{Limit: limit})
		require.Equal(t, fault.Validation, fault.CodeOf(err))
	}
	_, _, err = s.Invocations(t.Context(), ListRequest{Command: big.ID, Limit: 1001})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

// Targets whose ids are longer than usual lie in more records; those that no transaction holds are refused with words.
func TestLongIDs(t *testing.T) {
	st := memstore.New()
	w := newSwarm(0)
	defer w.close()
	for i := range 60_000 {
		w.ids = append(w.ids, fmt.Sprintf("%s-%06d", strings.Repeat("n", 100), i))
	}
	s, err := New(Config{Store: st, Blobs: memblob.New(), Nodes: longNodes{w}, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: lease.New(st, nil, lease.Config{})})
	require.NoError(t, err)
	c, err := s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
	require.NoError(t, err)
	r, err := s.Invocation(t.Context(), c.ID, w.ids[59_999])
	require.NoError(t, err)
	require.Equal(t, message.DetailPending, r.Detail)
	page, _, err := s.Invocations(t.Context(), ListRequest{Command: c.ID, NextToken: encodeToken(invsKey("default", c.ID).Str(w.ids[40_000])), Limit: 2})
	require.NoError(t, err)
	require.Equal(t, w.ids[40_001], page[0].Node)
	for i := range 20_000 {
		w.ids = append(w.ids, fmt.Sprintf("%s-%06d", strings.Repeat("n", 100), 60_000+i))
	}
	_, err = s.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	require.ErrorContains(t, err, "several commands")
}

type longNodes struct{ *swarm }

func (n longNodes) Resolve(_ context.Context, _ string, _ []target.Target, after string, limit int) ([]string, string, error) {
	from, found := slices.BinarySearch(n.ids, after)
	if found {
		from++
	}
	to := min(len(n.ids), from+limit)
	if to == len(n.ids) {
		return n.ids[from:to], "", nil
	}
	return n.ids[from:to], n.ids[to-1], nil
}

// A plan of many nodes costs the same a node as one of few.
func BenchmarkPlan(b *testing.B) {
	cost := func(n int) time.Duration {
		st := memstore.New()
		w := newSwarm(n)
		defer w.close()
		s, err := New(Config{Store: st, Blobs: memblob.New(), Nodes: w, Documents: w, Sender: w, Authorizer: access.AllowAll{}, Leases: lease.New(st, nil, lease.Config{})})
		require.NoError(b, err)
		begin := time.Now()
		for at := 0; at < 100_000; at += n {
			p, err := s.Plan(b.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "10%"})
			require.NoError(b, err)
			require.Len(b, p.Nodes, n)
		}
		return time.Since(begin)
	}
	var few, many time.Duration
	for b.Loop() {
		few, many = few+cost(1000), many+cost(100_000)
	}
	b.ReportMetric(float64(many)/float64(few), "ratio")
	b.ReportMetric(float64(many.Nanoseconds())/float64(b.N)/100_000, "ns/node")
}

func (longNodes) Nodes(context.Context, string, []string) ([]target.Node, error) { return nil, nil }

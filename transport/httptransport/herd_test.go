package httptransport_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// herdSize is how many nodes come at once: more by FLEETWRIGHT_HERD. Each takes two descriptors of this process.
func herdSize(t *testing.T) int {
	if s := os.Getenv("FLEETWRIGHT_HERD"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	return 2000
}

// F12: a whole fleet comes at once over real sockets. Everybody gets in, and nobody asks much more often than needed. (That the limit holds at every moment is the admission's own test, on a clock.)
func TestAHerdIsAdmittedUnderTheLimit(t *testing.T) {
	n := herdSize(t)
	if raceEnabled && os.Getenv("FLEETWRIGHT_HERD") == "" {
		n = 300 // the race detector makes handshakes ten times as dear
	}
	rate, burst := float64(n)/2, n/4
	w := newWorld(t, func(c *httptransport.ServerConfig) { c.Admit, c.AdmitBurst, c.MaxPending = rate, burst, n })
	var connected atomic.Int64
	clients := make([]*httptransport.Client, n)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			cfg := w.config(addr(i))
			cfg.BackoffBase, cfg.BackoffCap, cfg.Handshake = 50*time.Millisecond, 2*time.Second, time.Minute
			cfg.OnState = func(up bool) {
				if up {
					connected.Add(1)
				}
			}
			c, err := httptransport.NewClient(cfg)
			if err == nil {
				clients[i] = c
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { c.Close() })
		}
		wg.Wait()
	})
	all := func() bool { return w.srv.Stats().Connected == n }
	require.Eventually(t, all, 3*time.Minute, 5*time.Millisecond)

	stats := w.srv.Stats()
	t.Logf("%d nodes in at %.0f a second; %d were sent away (%.2f a node)", n, rate, stats.Throttled, float64(stats.Throttled)/float64(n))
	if stats.Throttled == 0 {
		t.Log("this machine is slower than the limit: nobody was sent away")
	}
	require.LessOrEqual(t, float64(stats.Throttled), 4*float64(n), "nodes ask far more often than they were told to")

	// Every node is there, hears and is heard.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var heard sync.Map
	var count atomic.Int64
	done := make(chan struct{})
	go w.srv.Receive(ctx, func(_ context.Context, m transport.Message) {
		if _, twice := heard.LoadOrStore(m.From, true); !twice && count.Add(1) == int64(n) {
			close(done)
		}
	})
	for i, c := range clients {
		go c.Receive(ctx, func(ctx context.Context, m transport.Message) { c.Send(ctx, plane, m.Data) })
		send(t, w.srv, addr(i), fmt.Append(nil, i))
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%d of %d answered", count.Load(), n)
	}
}

// The budget: at most 2 goroutines and 40 KiB of the server's memory for an idle connection. The clients are in this process too and keep away from the measurement by being bare sockets' worth of the
// same code, measured by the difference to a run of clients against a server that only accepts.
func TestAnIdleConnectionIsCheap(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: memory and goroutines are not the program's own under the race detector")
	}
	n := 150
	if !testing.Short() {
		n = 2000
	}
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			w := newWorld(t, func(c *httptransport.ServerConfig) {
				c.Poll = 10 * time.Minute
				c.KeepAlive = time.Hour
				c.AdmitBurst = 10 * n
			})
			both := measure(t, n, func(i int) func() {
				c := w.dial(addr(i), m.change)
				return func() { c.Close() }
			}, func() { // idle is idle: the last poll has arrived
				eventually(t, "all connected", func() bool { return w.srv.Stats().Connected == n })
				quietly(t)
			})
			client := clientShare(t, n, m.change)
			t.Logf("%d idle connections by %s: server %.1f KiB and %.2f goroutines each, client %.1f KiB and %.2f goroutines", n, m.name,
				both.kib-client.kib, both.goroutines-client.goroutines, client.kib, client.goroutines)
			require.LessOrEqual(t, both.kib-client.kib, 40.0)
			require.LessOrEqual(t, both.goroutines-client.goroutines, 2.05)
		})
	}
}

type cost struct{ kib, goroutines float64 }

// measure returns what one of n things costs: heap and stacks in use, and goroutines.
func measure(t *testing.T, n int, one func(int) func(), settled func()) cost {
	usage := func() (uint64, int) {
		var s runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&s)
		return s.HeapAlloc + s.StackInuse, runtime.NumGoroutine()
	}
	b0, g0 := usage()
	closers := make([]func(), n)
	for i := range n {
		closers[i] = one(i)
	}
	settled()
	b1, g1 := usage()
	for _, c := range closers {
		c()
	}
	return cost{math.Max(0, float64(b1)-float64(b0)) / 1024 / float64(n), float64(g1-g0) / float64(n)}
}

// quietly waits until the number of goroutines no longer changes.
func quietly(t *testing.T) {
	last, same := 0, 0
	eventually(t, "quiet", func() bool {
		n := runtime.NumGoroutine()
		if n == last {
			same++
		} else {
			last, same = n, 0
		}
		return same > 20
	})
}

// clientShare measures the client alone: the server is another process, this test binary run again.
func clientShare(t *testing.T, n int, change func(*httptransport.ClientConfig)) cost {
	url, ca := otherProcess(t)
	return measure(t, n, func(i int) func() {
		cfg := httptransport.ClientConfig{URL: url, Address: addr(i), Key: keyOf(addr(i)), RootCAs: ca}
		change(&cfg)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := httptransport.Dial(ctx, cfg)
		require.NoError(t, err)
		return func() { c.Close() }
	}, func() { quietly(t) })
}

// No goroutine outlives what started it.
func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("life", func(t *testing.T) {
		w := newWorld(t, quick)
		p := newProxy(t, w.host)
		in := receive(t, w.srv)
		for i, m := range media {
			c := w.dial(addr(i), m.change)
			send(t, c, plane, []byte("hello"))
			in.next(t)
			w.dial(addr(i), m.change) // replaces
			w.dial(addr(10+i), func(cfg *httptransport.ClientConfig) { m.change(cfg); cfg.URL = p.url() })
			cfg := w.config(addr(20 + i))
			m.change(&cfg)
			w.forget(addr(20 + i))
			_, err := httptransport.Dial(t.Context(), cfg)
			require.ErrorIs(t, err, transport.ErrRefused)
		}
		conn, err := net.Dial("tcp", w.host) // one that says nothing
		require.NoError(t, err)
		defer conn.Close()
		p.cutAll()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, w.srv.Shutdown(ctx))
	})
	end := time.Now().Add(patience)
	for runtime.NumGoroutine() > before {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

package natstransport_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
)

// BenchmarkIdle: what a plane pays for a node that is there and says nothing. ratio is bytes against the 40 KiB that an idle connection may cost; goroutines are per node.
func BenchmarkIdle(b *testing.B) {
	nodes := 20_000
	if testenv.Long() {
		nodes = 100_000
	}
	w := newWorld(b, nil)
	for b.Loop() {
		c := w.plane(0, func(c *natstransport.ControllerConfig) { c.Beat = time.Hour })
		heap := func() float64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapInuse + m.StackInuse)
		}
		bytes, goroutines := heap(), runtime.NumGoroutine()
		for i := range nodes {
			c.Learn(addr(i))
		}
		each := (heap() - bytes) / float64(nodes)
		b.ReportMetric(each, "B/node")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/float64(nodes), "goroutines/node")
		b.ReportMetric(each/(40<<10), "ratio")
		require.Equal(b, nodes, c.Stats().Connected)
		require.Equal(b, nodes, c.Len())
		c.Close()
	}
}

const benchNodes = 8

// BenchmarkMessages: messages of 256 bytes from a plane to eight nodes, against raw nats.go over a bare server with the same number of clients and messages. ratio is raw's rate by ours.
func BenchmarkMessages(b *testing.B) {
	const n = 40_000
	data := make([]byte, 256)
	for b.Loop() {
		ours := sendOurs(b, n, data)
		raw := sendRaw(b, n, data)
		b.ReportMetric(float64(n)/ours.Seconds(), "msgs/s")
		b.ReportMetric(float64(n)/raw.Seconds(), "raw-msgs/s")
		b.ReportMetric(ours.Seconds()/raw.Seconds(), "ratio")
	}
}

func sendOurs(b *testing.B, n int, data []byte) time.Duration {
	w := newWorld(b, nil)
	c := w.plane(0, nil)
	var got atomic.Int64
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	defer func() { stop(); running.Wait() }()
	for i := range benchNodes {
		nd := w.node(0, addr(i), nil)
		running.Go(func() { nd.Receive(ctx, func(context.Context, transport.Message) { got.Add(1) }) })
		eventually(b, "it is there", func() bool { return c.Connected(addr(i)) })
	}
	begun := time.Now()
	for i := range n {
		for {
			err := c.Send(ctx, addr(i%benchNodes), data)
			if err == nil {
				break
			}
			if !errors.Is(err, transport.ErrBusy) {
				b.Fatal(err)
			}
			runtime.Gosched()
		}
	}
	eventually(b, "all arrived", func() bool { return got.Load() == int64(n) })
	return time.Since(begun)
}

func sendRaw(b *testing.B, n int, data []byte) time.Duration {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(b, err)
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	require.True(b, s.ReadyForConnections(patience))
	var got atomic.Int64
	for i := range benchNodes {
		nc, err := nats.Connect(s.ClientURL())
		require.NoError(b, err)
		defer nc.Close()
		_, err = nc.Subscribe(fmt.Sprintf("n.%d", i), func(*nats.Msg) { got.Add(1) })
		require.NoError(b, err)
		require.NoError(b, nc.Flush())
	}
	nc, err := nats.Connect(s.ClientURL())
	require.NoError(b, err)
	defer nc.Close()
	begun := time.Now()
	for i := range n {
		require.NoError(b, nc.Publish(fmt.Sprintf("n.%d", i%benchNodes), data))
	}
	require.NoError(b, nc.Flush())
	eventually(b, "all arrived", func() bool { return got.Load() == int64(n) })
	return time.Since(begun)
}

package memtransport_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
)

func addr(i int) transport.Address {
	return transport.Address{Tenant: "default", Name: fmt.Sprintf("mi-%05d", i)}
}

var controller = transport.Address{Tenant: "default", Name: message.Controller}

// sink collects what an end receives.
type sink struct {
	mu  sync.Mutex
	got []string
}

func (s *sink) handle(_ context.Context, m transport.Message) {
	s.mu.Lock()
	s.got = append(s.got, m.From.Name+":"+string(m.Data))
	s.mu.Unlock()
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// run sends 200 messages to a node over a network with o and returns what arrived, in order.
func run(t *testing.T, o *memtransport.Options) (got []string, stats memtransport.Stats) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(o)
		nd := n.Node(addr(1))
		var s sink
		stop, err := nd.Handle(t.Context(), s.handle)
		require.NoError(t, err)
		for i := range 200 {
			require.NoError(t, n.Controller().Send(t.Context(), addr(1), fmt.Append(nil, i)))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Hour)
		stop()
		got, stats = s.all(), n.Stats()
	})
	return got, stats
}

func TestWithoutFaultsAllArrivesAtOnceAndInOrder(t *testing.T) {
	got, stats := run(t, nil)
	require.Len(t, got, 200)
	for i, g := range got {
		require.Equal(t, fmt.Sprintf("controller:%d", i), g)
	}
	require.Equal(t, memtransport.Stats{Sent: 200, Delivered: 200}, stats)
}

func TestASeedReplaysEveryFateOfALink(t *testing.T) {
	o := memtransport.Options{Seed: 7, Loss: 0.2, Repeat: 0.2, Reorder: 0.3, MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond}
	first, stats := run(t, &o)
	require.Greater(t, stats.Lost, uint64(20))
	require.Less(t, stats.Lost, uint64(70))
	require.Greater(t, stats.Repeated, uint64(15))
	require.Equal(t, stats.Sent-stats.Lost+stats.Repeated, stats.Delivered)
	require.False(t, slices.IsSorted(first), "nothing was reordered")
	again, _ := run(t, &o)
	require.Equal(t, first, again)
	o.Seed = 8
	other, _ := run(t, &o)
	require.NotEqual(t, first, other)
}

func TestDelayKeepsTheOrder(t *testing.T) {
	got, stats := run(t, &memtransport.Options{MinDelay: 5 * time.Millisecond, MaxDelay: 500 * time.Millisecond})
	require.Len(t, got, 200)
	for i, g := range got {
		require.Equal(t, fmt.Sprintf("controller:%d", i), g)
	}
	require.Equal(t, uint64(200), stats.Delayed)
}

func TestCalmEndsTheFaultsAndOvertakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(&memtransport.Options{MinDelay: time.Second, MaxDelay: time.Second})
		nd := n.Node(addr(1))
		var s sink
		stop, err := nd.Handle(t.Context(), s.handle)
		require.NoError(t, err)
		defer stop()
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte("slow")))
		n.Calm()
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte("next")))
		synctest.Wait()
		require.Empty(t, s.all())
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"controller:slow", "controller:next"}, s.all())
	})
}

func TestPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(&memtransport.Options{Detect: 30 * time.Second})
		one, two := n.Node(addr(1)), n.Node(addr(2))
		var up, d1, d2 sink
		go n.Controller().Receive(t.Context(), up.handle)
		go one.Receive(t.Context(), d1.handle)
		go two.Receive(t.Context(), d2.handle)
		var events []string
		go n.Controller().Watch(t.Context(), func(a transport.Address, c bool) { events = append(events, fmt.Sprint(a.Name, c)) })
		synctest.Wait()
		events = nil
		send := func(msg string) {
			require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte(msg)))
			require.NoError(t, n.Controller().Send(t.Context(), addr(2), []byte(msg)))
			require.NoError(t, one.Send(t.Context(), controller, []byte(msg)))
			synctest.Wait()
		}
		n.Cut(memtransport.ToNode, addr(1))
		send("a") // one hears nothing, and is heard
		n.Cut(memtransport.ToController, addr(1))
		send("b") // nor is it heard
		n.Heal()
		send("c")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, events, "healed before it was noticed")
		require.Equal(t, []string{"controller:c"}, d1.all())
		require.Equal(t, []string{"controller:a", "controller:b", "controller:c"}, d2.all())
		require.Equal(t, []string{"mi-00001:a", "mi-00001:c"}, up.all())

		n.Partition(addr(1))
		time.Sleep(31 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"mi-00001false"}, events)
		require.ErrorIs(t, n.Controller().Send(t.Context(), addr(1), nil), transport.ErrNotConnected)
		require.ErrorIs(t, one.Send(t.Context(), controller, nil), transport.ErrNotConnected)
		require.False(t, one.Connected(controller))
		n.Heal(addr(1))
		synctest.Wait()
		require.Equal(t, []string{"mi-00001false", "mi-00001true"}, events)
		send("d")
		require.Contains(t, d1.all(), "controller:d")
	})
}

func TestAPartitionLosesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(&memtransport.Options{MinDelay: time.Second})
		nd := n.Node(addr(1))
		var s sink
		go nd.Receive(t.Context(), s.handle)
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte("lost")))
		n.Partition(addr(1))
		time.Sleep(2 * time.Second)
		n.Heal(addr(1))
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte("kept")))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"controller:kept"}, s.all())
		require.Equal(t, memtransport.Stats{Sent: 2, Delivered: 1, Lost: 1, Delayed: 2}, n.Stats())
	})
}

func TestAnAddressCanBeCutBeforeItConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(nil)
		n.Partition(addr(1))
		require.ErrorIs(t, n.Controller().Send(t.Context(), addr(1), nil), transport.ErrNotConnected)
		nd := n.Node(addr(1))
		var s sink
		go nd.Receive(t.Context(), s.handle)
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), nil))
		synctest.Wait()
		require.Empty(t, s.all())
	})
}

func TestANewEndReplacesTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(nil)
		old := n.Node(addr(1))
		ended := make(chan error, 1)
		go func() { ended <- old.Receive(t.Context(), func(context.Context, transport.Message) {}) }()
		var events []bool
		go n.Controller().Watch(t.Context(), func(_ transport.Address, c bool) { events = append(events, c) })
		synctest.Wait()
		nd := n.Node(addr(1))
		require.ErrorIs(t, <-ended, transport.ErrClosed)
		require.ErrorIs(t, old.Send(t.Context(), controller, nil), transport.ErrClosed)
		old.Connect() // too late
		old.Disconnect()
		synctest.Wait()
		require.Equal(t, []bool{true, false, true}, events)
		require.True(t, nd.Connected(controller))
		require.False(t, old.Connected(controller))
		require.NoError(t, nd.Send(t.Context(), controller, nil))
	})
}

func TestTheControlPlanesNameIsNoNodes(t *testing.T) {
	n := memtransport.New(nil)
	nd := n.Node(controller)
	require.ErrorIs(t, nd.Send(t.Context(), controller, nil), transport.ErrRefused)
	require.ErrorIs(t, nd.Receive(t.Context(), nil), transport.ErrRefused)
	nd.Connect()
	require.NoError(t, nd.Close())
	require.Zero(t, n.Controller().Len())
}

func TestDisconnectLosesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memtransport.New(&memtransport.Options{MinDelay: time.Second})
		nd := n.Node(addr(1))
		var s sink
		go nd.Receive(t.Context(), s.handle)
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte("lost")))
		nd.Disconnect()
		nd.Connect()
		require.NoError(t, n.Controller().Send(t.Context(), addr(1), []byte("kept")))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"controller:kept"}, s.all())
		require.Equal(t, uint64(1), n.Stats().Lost)
	})
}

func TestAHundredThousandNodes(t *testing.T) {
	count := 100_000
	if testing.Short() {
		count = 20_000
	}
	n := memtransport.New(nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	nodes := make([]*memtransport.Node, count)
	echo := func(nd *memtransport.Node) func(context.Context, transport.Message) {
		return func(ctx context.Context, m transport.Message) { nd.Send(ctx, controller, m.Data) }
	}
	for i := range nodes {
		nodes[i] = n.Node(addr(i))
		_, err := nodes[i].Handle(t.Context(), echo(nodes[i]))
		require.NoError(t, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / float64(count)
	t.Logf("%d nodes: %.0f bytes each", count, each)
	require.Less(t, each, 1500.0)
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
	require.Equal(t, count, n.Controller().Len())

	var mu sync.Mutex
	seen := make(map[uint32]bool, count)
	done := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go n.Controller().Receive(ctx, func(_ context.Context, m transport.Message) {
		mu.Lock()
		defer mu.Unlock()
		seen[binary.BigEndian.Uint32(m.Data)] = true
		if len(seen) == count {
			close(done)
		}
	})
	for i := range nodes {
		require.NoError(t, n.Controller().Send(ctx, addr(i), binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	<-done
	runtime.KeepAlive(nodes)
}

func BenchmarkEcho(b *testing.B) {
	n := memtransport.New(nil)
	nd := n.Node(addr(1))
	stop, err := nd.Handle(b.Context(), func(ctx context.Context, m transport.Message) { nd.Send(ctx, controller, m.Data) })
	require.NoError(b, err)
	defer stop()
	back := make(chan struct{}, 1)
	ctx, end := context.WithCancel(b.Context())
	defer end()
	go n.Controller().Receive(ctx, func(context.Context, transport.Message) { back <- struct{}{} })
	data := make([]byte, 128)
	perSecond := func(one func()) float64 {
		start, n := time.Now(), 0
		for time.Since(start) < time.Second/5 {
			one()
			n++
		}
		return float64(n) / time.Since(start).Seconds()
	}
	// The limit: the same two hand-overs to a fresh goroutine, and nothing else.
	limit := perSecond(func() {
		go func() { go func() { back <- struct{}{} }() }()
		<-back
	})
	for b.Loop() {
		n.Controller().Send(ctx, addr(1), data)
		<-back
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/limit, "ratio")
}

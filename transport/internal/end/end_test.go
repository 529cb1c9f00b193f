package end_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

func addr(i int) transport.Address {
	return transport.Address{Tenant: "t", Name: string(rune('a' + i))}
}

// Whatever happens while a watcher is slow: what it is told of each address alternates, begins with true, ends with the truth, and a connection that was replaced after it was told
// of it is told as gone and come.
func TestAWatcherIsToldNoNonsense(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type op struct {
			Kind string
			Addr int
		}
		ops := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) op {
			return op{rapid.SampledFrom([]string{"come", "go", "replace", "listen"}).Draw(rt, "kind"), rapid.IntRange(0, 2).Draw(rt, "addr")}
		}), 1, 30).Draw(rt, "ops")
		synctest.Test(t, func(t *testing.T) {
			var b end.Board
			hear := make(chan struct{})
			told := make(map[transport.Address][]bool)
			var mu sync.Mutex
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			listening := false
			go func() {
				ended <- b.Watch(ctx, func(a transport.Address, c bool) {
					<-hear // slow until it is let go
					mu.Lock()
					told[a] = append(told[a], c)
					mu.Unlock()
				})
			}()
			replaced := make(map[transport.Address]int)
			for _, o := range ops {
				a := addr(o.Addr)
				switch o.Kind {
				case "come":
					b.Set(a, true)
				case "go":
					b.Set(a, false)
				case "replace":
					b.Replace(a)
					if listening {
						synctest.Wait()
						replaced[a]++
					}
				case "listen":
					if !listening {
						close(hear)
						listening = true
					}
					synctest.Wait()
				}
			}
			if !listening {
				close(hear)
			}
			synctest.Wait()
			stop()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				rt.Fatalf("Watch ended with %v", err)
			}
			n := 0
			for i := range 3 {
				a := addr(i)
				ts := told[a]
				for k, c := range ts {
					if c != (k%2 == 0) {
						rt.Fatalf("told of %v: %v", a, ts)
					}
				}
				last := len(ts) > 0 && ts[len(ts)-1]
				if last != b.Connected(a) {
					rt.Fatalf("told of %v: %v, but connected is %v", a, ts, b.Connected(a))
				}
				if comes := (len(ts) + 1) / 2; comes < replaced[a] {
					rt.Fatalf("told of %v: %v, which hides some of %d replacements", a, ts, replaced[a])
				}
				if b.Connected(a) {
					n++
				}
			}
			if b.Len() != n {
				rt.Fatalf("Len is %d, want %d", b.Len(), n)
			}
		})
	})
}

func TestAGateIsOpenWhileAReceiveRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g end.Gate
		require.False(t, g.Deliver(transport.Message{}))
		opened := g.Opened()
		ctx, stop := context.WithCancel(t.Context())
		release := make(chan struct{})
		var handled atomic.Int32
		ended := make(chan error, 1)
		go func() {
			ended <- g.Receive(ctx, func(context.Context, transport.Message) { <-release; handled.Add(1) })
		}()
		<-opened
		<-g.Opened() // still
		go g.Deliver(transport.Message{})
		synctest.Wait()
		require.ErrorIs(t, g.Receive(t.Context(), nil), transport.ErrReceiving)
		stop()
		synctest.Wait()
		require.Empty(t, ended, "a handler is running")
		require.False(t, g.Deliver(transport.Message{}))
		close(release)
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Equal(t, int32(1), handled.Load())
	})
}

func TestAKilledGateStaysShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g end.Gate
		boom := errors.New("boom")
		opened := g.Opened()
		ended := make(chan error, 1)
		var ctxEnded atomic.Bool
		go func() {
			ended <- g.Receive(t.Context(), func(ctx context.Context, _ transport.Message) { <-ctx.Done(); ctxEnded.Store(true) })
		}()
		<-opened
		go g.Deliver(transport.Message{})
		synctest.Wait()
		g.Kill(boom)
		g.Kill(errors.New("second"))
		require.ErrorIs(t, <-ended, boom)
		require.True(t, ctxEnded.Load(), "a running handler's context ends")
		require.ErrorIs(t, g.Dead(), boom)
		require.ErrorIs(t, g.Receive(t.Context(), nil), boom)
		<-g.Opened() // nobody waits for what never comes
		_, _, ok := g.Enter(nil)
		require.False(t, ok)
	})
}

type waker struct{ woken chan struct{} }

func (w *waker) Wake() { w.woken <- struct{}{} }

func TestWhoeverWasTurnedAwayIsWokenOnce(t *testing.T) {
	var g end.Gate
	w := &waker{make(chan struct{}, 10)}
	for range 3 {
		_, _, ok := g.Enter(w)
		require.False(t, ok)
	}
	stop, _, err := g.Open(t.Context(), func(context.Context, transport.Message) {})
	require.NoError(t, err)
	require.Len(t, w.woken, 1)
	_, _, ok := g.Enter(w)
	require.True(t, ok)
	g.Leave()
	stop()
	stop2, _, err := g.Open(t.Context(), func(context.Context, transport.Message) {})
	require.NoError(t, err)
	stop2()
	require.Len(t, w.woken, 1)
}

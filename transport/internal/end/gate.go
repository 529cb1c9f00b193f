// Package end holds what every driver's end has: the gate that messages pass on their way into a running Receive, and the board that knows who is connected.
//
// Neither starts a goroutine, and neither holds its mutex while it waits, so that both work inside a testing/synctest bubble.
package end

import (
	"context"
	"sync"

	"github.com/fleetwright/fleetwright/transport"
)

// Handler is what Receive was given.
type Handler = func(context.Context, transport.Message)

// Waker is told that a Receive began, after Enter turned it away. Wake is called without a lock held.
type Waker interface{ Wake() }

// Gate lets messages into a running Receive. The zero value is a closed gate ready for use.
type Gate struct {
	mu      sync.Mutex
	open    bool
	handle  Handler
	ctx     context.Context
	running int
	drained chan struct{} // closed when a closing gate's last handler returned; nil unless somebody waits
	waiting map[Waker]struct{}
	dead    error         // why no Receive will ever begin again
	died    chan struct{} // closed with dead; made by the first Receive
	opened  chan struct{} // closed when the gate opens or dies; nil unless somebody waits
}

// Receive opens the gate for handle until ctx ends or the gate is killed, and returns after the last handler returned. It is the body of Transport.Receive.
func (g *Gate) Receive(ctx context.Context, handle Handler) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, died, err := g.Open(inner, handle)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-died:
		g.mu.Lock()
		err = g.dead
		g.mu.Unlock()
		cancel()
	}
	stop()
	return err
}

// Open opens the gate for handle without taking a goroutine. stop closes it and returns after the last running handler returned; it must be called once. died is closed
// when the gate is killed.
func (g *Gate) Open(ctx context.Context, handle Handler) (stop func(), died <-chan struct{}, err error) {
	g.mu.Lock()
	if g.dead != nil {
		defer g.mu.Unlock()
		return nil, nil, g.dead
	}
	if g.handle != nil {
		g.mu.Unlock()
		return nil, nil, transport.ErrReceiving
	}
	if g.died == nil {
		g.died = make(chan struct{})
	}
	died = g.died
	g.open, g.handle, g.ctx = true, handle, ctx
	waiting := g.waiting
	g.waiting = nil
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
	g.mu.Unlock()
	for w := range waiting {
		w.Wake()
	}
	return g.close, died, nil
}

// close ends the running Receive: nothing enters any more, and it returns when all have left.
func (g *Gate) close() {
	g.mu.Lock()
	g.open = false
	var drained chan struct{}
	if g.running > 0 {
		drained = make(chan struct{})
		g.drained = drained
	}
	g.mu.Unlock()
	if drained != nil {
		<-drained
	}
	g.mu.Lock()
	g.handle, g.ctx, g.drained = nil, nil, nil
	g.mu.Unlock()
}

// Enter asks for a turn in the running Receive. With true the caller calls handle with ctx and then Leave. With false no Receive runs: w, if not nil, is woken when
// one begins.
func (g *Gate) Enter(w Waker) (handle Handler, ctx context.Context, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open || g.dead != nil || g.ctx.Err() != nil {
		if w != nil && g.dead == nil {
			if g.waiting == nil {
				g.waiting = make(map[Waker]struct{})
			}
			g.waiting[w] = struct{}{}
		}
		return nil, nil, false
	}
	g.running++
	return g.handle, g.ctx, true
}

// Leave ends a turn.
func (g *Gate) Leave() {
	g.mu.Lock()
	g.running--
	if g.running == 0 && g.drained != nil {
		close(g.drained)
		g.drained = nil
	}
	g.mu.Unlock()
}

// Deliver gives one message its turn. It reports false when no Receive runs.
func (g *Gate) Deliver(m transport.Message) bool {
	handle, ctx, ok := g.Enter(nil)
	if !ok {
		return false
	}
	defer g.Leave()
	handle(ctx, m)
	return true
}

// Opened returns a channel that is closed once a Receive runs or the gate is dead.
func (g *Gate) Opened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open || g.dead != nil {
		c := make(chan struct{})
		close(c)
		return c
	}
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	return g.opened
}

// Kill ends the running Receive with err and lets no other begin. The first error stays.
func (g *Gate) Kill(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead != nil {
		return
	}
	g.dead = err
	g.waiting = nil
	if g.died == nil {
		g.died = make(chan struct{})
	}
	close(g.died)
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// Dead returns the error of Kill, or nil.
func (g *Gate) Dead() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dead
}

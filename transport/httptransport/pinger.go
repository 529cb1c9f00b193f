package httptransport

import (
	"context"
	"sync"
	"time"
)

// pinger calls ping about every interval, each at a random tenth of it sooner, so that a fleet's pings do not fall together. It has a timer and, for as long as a ping is under way, a goroutine.
type pinger struct {
	every time.Duration
	rand  func() float64
	ping  func(context.Context)

	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	timer  *time.Timer
	over   bool
	under  sync.WaitGroup // pings under way; Add only with mu held and over false
}

func (p *pinger) start(ctx context.Context) {
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.mu.Lock()
	p.timer = time.AfterFunc(p.next(), p.fire)
	p.mu.Unlock()
}

func (p *pinger) next() time.Duration {
	return p.every - time.Duration(p.rand()*float64(p.every)/10)
}

func (p *pinger) fire() {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return
	}
	p.under.Add(1)
	p.mu.Unlock()
	defer p.under.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.every*silence/2)
	p.ping(ctx)
	cancel()
	p.mu.Lock()
	if !p.over {
		p.timer.Reset(p.next())
	}
	p.mu.Unlock()
}

// stop returns when no ping is under way any more.
func (p *pinger) stop() {
	p.mu.Lock()
	p.over = true
	p.timer.Stop()
	p.mu.Unlock()
	p.cancel()
	p.under.Wait()
}

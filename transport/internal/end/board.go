package end

import (
	"context"
	"sync"

	"github.com/fleetwright/fleetwright/transport"
)

// Board knows who is connected and tells watchers. The zero value is an empty board. It is the body of transport.Presence.
type Board struct {
	mu       sync.Mutex
	here     map[transport.Address]struct{}
	watchers map[*watcher]struct{}
}

// watcher is one running Watch with what it was not yet told. Per address the untold changes alternate, so the first of them and whether their number
// is odd say all: an even number above two is told as two, an odd one as one.
type watcher struct {
	wake  chan struct{} // capacity 1
	order []transport.Address
	news  map[transport.Address]news
}

type news struct {
	first bool // the first untold change
	two   bool // its opposite follows
}

// Set records that a is connected or gone. What it is already changes nothing and tells nobody.
func (b *Board) Set(a transport.Address, connected bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, was := b.here[a]; was == connected {
		return
	}
	if connected {
		if b.here == nil {
			b.here = make(map[transport.Address]struct{})
		}
		b.here[a] = struct{}{}
	} else {
		delete(b.here, a)
	}
	for w := range b.watchers {
		w.add(a, connected)
	}
}

// Replace records that a, connected or not, has a new connection: watchers of a connected one are told false, then true.
func (b *Board) Replace(a transport.Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, was := b.here[a]
	if !was {
		if b.here == nil {
			b.here = make(map[transport.Address]struct{})
		}
		b.here[a] = struct{}{}
	}
	for w := range b.watchers {
		if was {
			w.add(a, false)
		}
		w.add(a, true)
	}
}

// add notes a change; the board's mutex is held.
func (w *watcher) add(a transport.Address, connected bool) {
	n, ok := w.news[a]
	switch {
	case !ok:
		w.order = append(w.order, a)
		n = news{first: connected}
	case n.two:
		n.two = false
	default:
		n.two = true
	}
	w.news[a] = n
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Connected reports whether a is connected.
func (b *Board) Connected(a transport.Address) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.here[a]
	return ok
}

// Len returns how many are connected.
func (b *Board) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.here)
}

// Watch is transport.Presence's Watch.
func (b *Board) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	w := &watcher{wake: make(chan struct{}, 1), news: make(map[transport.Address]news)}
	b.mu.Lock()
	for a := range b.here {
		w.add(a, true)
	}
	if b.watchers == nil {
		b.watchers = make(map[*watcher]struct{})
	}
	b.watchers[w] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.watchers, w)
		b.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		b.mu.Lock()
		order, all := w.order, w.news
		w.order, w.news = nil, make(map[transport.Address]news)
		b.mu.Unlock()
		for _, a := range order {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			n := all[a]
			f(a, n.first)
			if n.two {
				f(a, !n.first)
			}
		}
	}
}

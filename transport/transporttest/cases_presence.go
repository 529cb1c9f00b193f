package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/transport"
)

func presenceCases() []Case {
	return []Case{
		{"T-PRESENCE", "watch", "Watch tells of those connected already, of those who come, and ends with its context", needsPresence, checkWatch},
		{"T-PRESENCE", "goes", "who goes is told and not connected; who comes back is", needsPresenceAndBreaking, checkGoes},
		{"T-PRESENCE", "node", "a node's end with presence knows of the control plane's address", needsNothing, checkNodePresence},
		{"T-ABSENT", "gone", "once presence has noticed that a node went, Send to it is ErrNotConnected", needsPresenceAndBreaking, checkGone},
		{"T-RECONNECT", "again", "after a reconnect messages go both ways again", needsBreaking, checkReconnect},
	}
}

func needsNothing(Pair) string { return "" }

func needsPresence(p Pair) string {
	if _, ok := p.Controller.(transport.Presence); !ok {
		return "the control plane's end has no presence"
	}
	return ""
}

func needsBreaking(p Pair) string {
	if p.Disconnect == nil || p.Reconnect == nil {
		return "the pair cannot break connections"
	}
	return ""
}

func needsPresenceAndBreaking(p Pair) string {
	if why := needsPresence(p); why != "" {
		return why
	}
	return needsBreaking(p)
}

// watch is a Watch that runs and keeps what it is told.
type watch struct {
	b     *bench
	stop  context.CancelFunc
	ended chan error

	mu   sync.Mutex
	told map[transport.Address][]bool
}

func (b *bench) watch(p transport.Presence) *watch {
	ctx, stop := context.WithCancel(b.ctx)
	w := &watch{b: b, stop: stop, ended: make(chan error, 1), told: make(map[transport.Address][]bool)}
	b.go_(func() {
		w.ended <- p.Watch(ctx, func(a transport.Address, connected bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told[a] = append(w.told[a], connected)
		})
	})
	return w
}

func (w *watch) of(a transport.Address) []bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told[a])
}

// until waits until the last that was told of a is connected.
func (w *watch) until(a transport.Address, connected bool) error {
	return w.b.until(fmt.Sprintf("Watch tells that %v is connected: %v", a, connected), func() bool {
		told := w.of(a)
		return len(told) > 0 && told[len(told)-1] == connected
	})
}

// alternates checks everything that was told.
func (w *watch) alternates() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a, told := range w.told {
		for i, c := range told {
			if c != (i%2 == 0) {
				return fmt.Errorf("the Watch told of %v: %v; they must alternate and begin with true", a, told)
			}
		}
	}
	return nil
}

func checkWatch(b *bench) error {
	p := b.Controller.(transport.Presence)
	if p.Connected(node(1)) {
		return errors.New("a node is connected that never was")
	}
	for i := 1; i <= 3; i++ {
		if _, err := b.connect(node(i)); err != nil {
			return err
		}
	}
	if err := b.until("three nodes are connected", func() bool { return p.Connected(node(1)) && p.Connected(node(2)) && p.Connected(node(3)) }); err != nil {
		return err
	}
	w := b.watch(p)
	second := b.watch(p)
	for i := 1; i <= 3; i++ {
		if err := errors.Join(w.until(node(i), true), second.until(node(i), true)); err != nil {
			return err
		}
	}
	if _, err := b.connect(node(4)); err != nil {
		return err
	}
	if err := errors.Join(w.until(node(4), true), second.until(node(4), true)); err != nil {
		return err
	}
	time.Sleep(5 * time.Millisecond)
	if err := w.alternates(); err != nil {
		return err
	}
	if got := w.of(node(9)); got != nil {
		return fmt.Errorf("the Watch told of a node that never connected: %v", got)
	}
	w.stop()
	t := time.NewTimer(b.patience)
	defer t.Stop()
	select {
	case err := <-w.ended:
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the Watch returned %v, want context.Canceled", err)
		}
	case <-t.C:
		return errors.New("the Watch did not end with its context")
	}
	return nil
}

func checkGoes(b *bench) error {
	p := b.Controller.(transport.Presence)
	w := b.watch(p)
	for i := 1; i <= 2; i++ {
		if _, err := b.connect(node(i)); err != nil {
			return err
		}
		if err := w.until(node(i), true); err != nil {
			return err
		}
	}
	for range 3 {
		b.Disconnect(node(1))
		if err := w.until(node(1), false); err != nil {
			return err
		}
		if p.Connected(node(1)) {
			return errors.New("the Watch told that the node went, Connected says that it is there")
		}
		b.Reconnect(node(1))
		if err := w.until(node(1), true); err != nil {
			return err
		}
		if !p.Connected(node(1)) {
			return errors.New("the Watch told that the node came, Connected says that it is not there")
		}
	}
	if err := w.alternates(); err != nil {
		return err
	}
	if got := w.of(node(2)); len(got) != 1 {
		return fmt.Errorf("of a node that stayed, Watch told %v", got)
	}
	return nil
}

func checkNodePresence(b *bench) error {
	nd, err := b.connect(node(1))
	if err != nil {
		return err
	}
	p, ok := nd.(transport.Presence)
	if !ok {
		return nil
	}
	if err := b.until("the node knows that the control plane is connected", func() bool { return p.Connected(plane(node(1))) }); err != nil {
		return err
	}
	if p.Connected(node(2)) {
		return errors.New("a node's end says that another node is connected")
	}
	w := b.watch(p)
	if err := w.until(plane(node(1)), true); err != nil {
		return err
	}
	if b.Disconnect != nil {
		b.Disconnect(node(1))
		if err := w.until(plane(node(1)), false); err != nil {
			return err
		}
		b.Reconnect(node(1))
		if err := w.until(plane(node(1)), true); err != nil {
			return err
		}
	}
	return w.alternates()
}

func checkGone(b *bench) error {
	p := b.Controller.(transport.Presence)
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	if err := b.deliver(b.Controller, l.a, []byte("here"), l.down); err != nil {
		return err
	}
	b.Disconnect(l.a)
	if err := b.until("presence notices", func() bool { return !p.Connected(l.a) }); err != nil {
		return err
	}
	if err := b.Controller.Send(b.ctx, l.a, []byte("there?")); !errors.Is(err, transport.ErrNotConnected) {
		return fmt.Errorf("the Send to a node that has gone answered %v", err)
	}
	return nil
}

func checkReconnect(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	for i := range 4 {
		if err := b.ways(l, func(way string, from transport.Transport, to transport.Address, in *inbox) error {
			return in_(way, b.deliver(from, to, numbered("link", i), in))
		}); err != nil {
			return fmt.Errorf("after %d reconnects: %w", i, err)
		}
		b.Disconnect(l.a)
		b.Reconnect(l.a)
	}
	return nil
}

package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/transport"
)

// bench is a case at work.
type bench struct {
	Pair
	ctx      context.Context
	cancel   context.CancelFunc
	patience time.Duration
	cleanups []func()
	running  sync.WaitGroup
}

// cleanup ends everything that the case began.
func (b *bench) cleanup() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
	b.cancel()
	b.running.Wait()
}

// go_ runs f on a goroutine that cleanup waits for.
func (b *bench) go_(f func()) { b.running.Go(f) }

// until waits for f to be true.
func (b *bench) until(what string, f func() bool) error {
	start := time.Now()
	for !f() {
		if time.Since(start) > b.patience {
			return fmt.Errorf("waited %v for: %s", b.patience, what)
		}
		nap(start)
	}
	return nil
}

// nap waits before the next look: a millisecond at first, more when it takes long.
func nap(start time.Time) {
	time.Sleep(min(time.Millisecond+time.Since(start)/20, 50*time.Millisecond))
}

// got is a message as it arrived.
type got struct {
	from transport.Address
	data []byte // Receive's own
	copy []byte // as it was when it arrived
}

// inbox is a Receive that runs and keeps what it gets.
type inbox struct {
	b     *bench
	stop  context.CancelFunc
	ended chan error // buffered

	mu    sync.Mutex
	msgs  []got
	extra func(context.Context, transport.Message) // called for each besides
}

// receive starts a Receive on the end.
func (b *bench) receive(end transport.Transport) *inbox { return b.receiveWith(end, nil) }

// receiveWith starts a Receive that calls extra for each message after it was kept.
func (b *bench) receiveWith(end transport.Transport, extra func(context.Context, transport.Message)) *inbox {
	return b.start(end, &inbox{extra: extra})
}

// receiveAfter starts a Receive that follows old, which has ended, and keeps what old got.
func (b *bench) receiveAfter(end transport.Transport, old *inbox) *inbox {
	return b.start(end, &inbox{msgs: old.all()})
}

func (b *bench) start(end transport.Transport, in *inbox) *inbox {
	ctx, stop := context.WithCancel(b.ctx)
	in.b, in.stop, in.ended = b, stop, make(chan error, 1)
	b.go_(func() { in.ended <- end.Receive(ctx, in.handle) })
	return in
}

func (in *inbox) handle(ctx context.Context, m transport.Message) {
	in.mu.Lock()
	in.msgs = append(in.msgs, got{m.From, m.Data, bytes.Clone(m.Data)})
	in.mu.Unlock()
	if in.extra != nil {
		in.extra(ctx, m)
	}
}

func (in *inbox) all() []got {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.msgs)
}

// count returns how many messages arrived that are equal to data.
func (in *inbox) count(data []byte) int {
	n := 0
	for _, g := range in.all() {
		if bytes.Equal(g.copy, data) {
			n++
		}
	}
	return n
}

// end waits for the Receive to end after stop.
func (in *inbox) end() (error, bool) {
	in.stop()
	return in.wait()
}

// wait waits for the Receive to end.
func (in *inbox) wait() (error, bool) {
	t := time.NewTimer(in.b.patience)
	defer t.Stop()
	select {
	case err := <-in.ended:
		in.ended <- err
		return err, true
	case <-t.C:
		return nil, false
	}
}

// connect makes a node's end.
func (b *bench) connect(a transport.Address) (transport.Transport, error) {
	nd, err := b.Node(a)
	if err != nil {
		return nil, fmt.Errorf("the node %v could not be made: %w", a, err)
	}
	return nd, nil
}

// take sends once more and more until Send takes the message.
func (b *bench) take(from transport.Transport, to transport.Address, data []byte) error {
	start := time.Now()
	for {
		err := from.Send(b.ctx, to, data)
		ok, fatal := taken(err)
		if fatal != nil {
			return fatal
		}
		if ok {
			return nil
		}
		if time.Since(start) > b.patience {
			return fmt.Errorf("the Send to %v did not take the message for %v: %w", to, b.patience, err)
		}
		nap(start)
	}
}

// deliver sends data until it has arrived at in, at least once more than before.
func (b *bench) deliver(from transport.Transport, to transport.Address, data []byte, in *inbox) error {
	before := in.count(data)
	end := time.Now().Add(b.patience)
	resend := time.Duration(0)
	for {
		if err := b.take(from, to, data); err != nil {
			return err
		}
		resend = min(max(2*resend, 50*time.Millisecond), 2*time.Second)
		for sent := time.Now(); time.Since(sent) < resend; nap(sent) {
			if in.count(data) > before {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("a message of %d bytes to %v was taken again and again, and did not arrive within %v", len(data), to, b.patience)
		}
	}
}

// link is a node with both ways open.
type link struct {
	a        transport.Address
	end      transport.Transport
	up, down *inbox // at the control plane, at the node
}

// link connects a node and starts both Receives. up is shared by all links of a case.
func (b *bench) link(a transport.Address, up *inbox) (*link, error) {
	nd, err := b.connect(a)
	if err != nil {
		return nil, err
	}
	if up == nil {
		up = b.receive(b.Controller)
	}
	return &link{a, nd, up, b.receive(nd)}, nil
}

// ways calls f for both directions of a link.
func (b *bench) ways(l *link, f func(way string, from transport.Transport, to transport.Address, in *inbox) error) error {
	return errors.Join(
		f("to the node", b.Controller, l.a, l.down),
		f("to the control plane", l.end, plane(l.a), l.up),
	)
}

// in_ adds the direction to an error.
func in_(way string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", way, err)
	}
	return nil
}

// quote shows the beginning of a message.
func quote(data []byte) string {
	if len(data) > 32 {
		return fmt.Sprintf("%q... (%d bytes)", data[:32], len(data))
	}
	return fmt.Sprintf("%q", data)
}

// pattern is a message of n bytes that no cut, merge or shift of another one equals.
func pattern(n int, seed uint32) []byte {
	data := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range data {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		data[i] = byte(x)
	}
	return data
}

// numbered is the i-th message of a sender.
func numbered(who string, i int) []byte { return fmt.Appendf(nil, "%s #%d", who, i) }

// numbers returns the numbers of who's messages in order of arrival.
func (in *inbox) numbers(who string) (ns []int) {
	for _, g := range in.all() {
		var n int
		if rest, ok := strings.CutPrefix(string(g.copy), who+" #"); ok {
			if _, err := fmt.Sscanf(rest, "%d", &n); err == nil {
				ns = append(ns, n)
			}
		}
	}
	return ns
}

package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/transport"
)

func sendCases() []Case {
	return []Case{
		{"T-HANDOVER", "arrives", "what Send took arrives, with the sender's address; on a reliable transport each once", nil, checkArrives},
		{"T-HANDOVER", "concurrent", "concurrent Sends lose, mix and repeat nothing on a reliable transport", nil, checkConcurrent},
		{"T-ORDER", "order", "an ordered transport keeps the order of one sender's Sends", needsOrdered, checkOrder},
		{"T-ALIAS", "sender", "Send neither keeps nor changes the caller's bytes", nil, checkAliasSender},
		{"T-ALIAS", "receiver", "what a handler was given stays its own", nil, checkAliasReceiver},
		{"T-PRESSURE", "blocked-receiver", "Send does not wait for a receiver that is stuck, and ends with its context", nil, checkPressure},
		{"T-PRESSURE", "neighbour", "a stuck receiver does not hold up another node's messages", nil, checkNeighbour},
		{"T-ADDRESS", "nodes", "a message reaches the node that it is for and no other", nil, checkAddress},
		{"T-ADDRESS", "sideways", "what a node sends to another node reaches nobody but that", nil, checkSideways},
		{"T-WHOLE", "sizes", "messages arrive whole, and as they were cut", nil, checkWhole},
		{"T-SIZE", "limit", "MaxMessage bytes and none are messages, one byte more is ErrTooLarge", nil, checkSize},
		{"T-ABSENT", "stranger", "the control plane's Send to an address without a connection is ErrNotConnected", nil, checkAbsent},
	}
}

func needsOrdered(p Pair) string {
	if !p.Traits.Ordered {
		return "the transport does not promise order"
	}
	return ""
}

func checkArrives(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	return b.ways(l, func(way string, from transport.Transport, to transport.Address, in *inbox) error {
		want := l.a
		if to == l.a {
			want = plane(l.a)
		}
		if err := b.deliver(from, to, []byte("first"), in); err != nil {
			return in_(way, err)
		}
		for _, g := range in.all() {
			if g.from != want {
				return in_(way, fmt.Errorf("Message.From is %v, want %v", g.from, want))
			}
		}
		if !b.Traits.Reliable {
			return nil
		}
		return in_(way, b.exactly(from, to, in, "one", 40))
	})
}

// exactly sends n numbered messages and wants each once.
func (b *bench) exactly(from transport.Transport, to transport.Address, in *inbox, who string, n int) error {
	for i := range n {
		if err := b.take(from, to, numbered(who, i)); err != nil {
			return err
		}
	}
	return b.once(in, who, n)
}

// once waits until n numbered messages have arrived, and for repetitions as long as a further message needs.
func (b *bench) once(in *inbox, who string, n int) error {
	if err := b.until(fmt.Sprintf("%d messages that were taken", n), func() bool { return len(in.numbers(who)) >= n }); err != nil {
		return fmt.Errorf("%w; %d arrived", err, len(in.numbers(who)))
	}
	time.Sleep(5 * time.Millisecond) // a copy that is on its way should not escape
	ns := in.numbers(who)
	slices.Sort(ns)
	for i, m := range ns {
		if i != m {
			return fmt.Errorf("message %d of %d arrived %d times", min(i, m), n, count(ns, min(i, m)))
		}
	}
	return nil
}

func count(ns []int, n int) (c int) {
	for _, m := range ns {
		if m == n {
			c++
		}
	}
	return c
}

func checkConcurrent(b *bench) error {
	up := b.receive(b.Controller)
	var links []*link
	for i := range 4 {
		l, err := b.link(node(i), up)
		if err != nil {
			return err
		}
		links = append(links, l)
	}
	const senders, each = 4, 25
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, l := range links {
		for s := range senders {
			wg.Go(func() {
				who := fmt.Sprintf("%s/%d", l.a.Name, s)
				for i := range each {
					err := errors.Join(b.take(b.Controller, l.a, numbered(who, i)), b.take(l.end, plane(l.a), numbered(who, i)))
					if err != nil {
						mu.Lock()
						errs = append(errs, err)
						mu.Unlock()
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, l := range links {
		for s := range senders {
			who := fmt.Sprintf("%s/%d", l.a.Name, s)
			if b.Traits.Reliable {
				if err := errors.Join(b.once(l.down, who, each), b.once(up, who, each)); err != nil {
					return err
				}
			}
		}
		for _, g := range l.down.all() {
			if !bytes.HasPrefix(g.copy, []byte(l.a.Name)) {
				return fmt.Errorf("%v got %s", l.a, quote(g.copy))
			}
		}
	}
	for _, g := range up.all() {
		if !bytes.HasPrefix(g.copy, []byte(g.from.Name)) {
			return fmt.Errorf("a message of %v came as %s", g.from, quote(g.copy))
		}
	}
	return nil
}

func checkOrder(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	return b.ways(l, func(way string, from transport.Transport, to transport.Address, in *inbox) error {
		const n = 200
		for i := range n {
			if err := b.take(from, to, numbered("o", i)); err != nil {
				return in_(way, err)
			}
		}
		if err := b.deliver(from, to, []byte("fence"), in); err != nil {
			return in_(way, err)
		}
		ns := in.numbers("o")
		if !slices.IsSorted(ns) {
			return in_(way, fmt.Errorf("arrived as %v", ns))
		}
		return nil
	})
}

func checkAliasSender(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	return b.ways(l, func(way string, from transport.Transport, to transport.Address, in *inbox) error {
		for i := range 20 {
			data := numbered("sent", i)
			before := bytes.Clone(data)
			if err := b.take(from, to, data); err != nil {
				return in_(way, err)
			}
			if !bytes.Equal(data, before) {
				return in_(way, fmt.Errorf("the Send changed %s to %s", quote(before), quote(data)))
			}
			for j := range data {
				data[j] = '!' // the caller may do what it likes with its own
			}
		}
		if err := b.deliver(from, to, []byte("fence"), in); err != nil {
			return in_(way, err)
		}
		for _, g := range in.all() {
			if bytes.ContainsRune(g.copy, '!') {
				return in_(way, fmt.Errorf("a message changed after Send had returned: %s", quote(g.copy)))
			}
		}
		return nil
	})
}

func checkAliasReceiver(b *bench) error {
	var mu sync.Mutex
	scribble := func(_ context.Context, m transport.Message) {
		mu.Lock()
		defer mu.Unlock()
		for i := range m.Data {
			m.Data[i] = '?'
		}
	}
	nd, err := b.connect(node(1))
	if err != nil {
		return err
	}
	other, err := b.connect(node(2))
	if err != nil {
		return err
	}
	up := b.receive(b.Controller)
	one := &link{node(1), nd, up, b.receiveWith(nd, scribble)}
	two := &link{node(2), other, up, b.receive(other)}
	// The same bytes go to a handler that scribbles and to one that does not, again and again.
	data := pattern(200, 1)
	want := bytes.Clone(data)
	for range 10 {
		if err := errors.Join(b.deliver(b.Controller, one.a, data, one.down), b.deliver(b.Controller, two.a, data, two.down)); err != nil {
			return err
		}
		if !bytes.Equal(data, want) {
			return errors.New("a handler that changed its message changed the sender's bytes")
		}
	}
	// What was kept does not change when more comes.
	for i := range 10 {
		if err := errors.Join(b.deliver(two.end, plane(two.a), pattern(200, uint32(i+2)), up), b.deliver(b.Controller, two.a, pattern(200, uint32(i+2)), two.down)); err != nil {
			return err
		}
	}
	for _, in := range []*inbox{up, two.down} {
		for _, g := range in.all() {
			if !bytes.Equal(g.data, g.copy) {
				return errors.New("a message that a handler had kept changed when others came")
			}
		}
	}
	return nil
}

func checkPressure(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	l.down.stop()
	if _, ok := l.down.wait(); !ok {
		return errors.New("the Receive did not end")
	}
	release := make(chan struct{})
	b.cleanups = append(b.cleanups, func() { close(release) })
	stuck := func(context.Context, transport.Message) { <-release }
	b.receiveWith(l.end, stuck)
	// More than any queue and any socket takes: at some point there is no more room, and Send says so, or waits until its context ends.
	data := pattern(128<<10, 1)
	const most = 400
	for i := range most {
		ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
		answer := make(chan error, 1)
		b.go_(func() { answer <- b.Controller.Send(ctx, l.a, data) })
		t := time.NewTimer(b.patience)
		select {
		case err = <-answer:
			t.Stop()
		case <-t.C:
			cancel()
			return fmt.Errorf("the Send %d waits for a stuck receiver, %v after its context ended", i, b.patience-2*time.Second)
		}
		cancel()
		switch {
		case err == nil:
			continue
		case errors.Is(err, transport.ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, transport.ErrNotConnected):
			return nil
		}
		return fmt.Errorf("the Send %d to a stuck receiver answered %w", i, err)
	}
	return fmt.Errorf("the Send took %d MiB for a receiver that is stuck", most*len(data)>>20)
}

func checkNeighbour(b *bench) error {
	release := make(chan struct{})
	b.cleanups = append(b.cleanups, func() { close(release) })
	var stuck atomic.Bool
	up := b.receiveWith(b.Controller, func(_ context.Context, m transport.Message) {
		if m.From == node(1) {
			stuck.Store(true)
			<-release
		}
	})
	one, err := b.connect(node(1))
	if err != nil {
		return err
	}
	b.receiveWith(one, func(context.Context, transport.Message) { <-release })
	two, err := b.link(node(2), up)
	if err != nil {
		return err
	}
	if err := b.take(b.Controller, node(1), []byte("stick")); err != nil {
		return err
	}
	if err := b.until("the first node's message is being handled", func() bool {
		one.Send(b.ctx, plane(node(1)), []byte("stick"))
		return stuck.Load()
	}); err != nil {
		return err
	}
	for i := range 5 {
		if err := errors.Join(b.deliver(b.Controller, two.a, numbered("n", i), two.down), b.deliver(two.end, plane(two.a), numbered("n", i), up)); err != nil {
			return fmt.Errorf("beside a stuck node: %w", err)
		}
	}
	return nil
}

func checkAddress(b *bench) error {
	up := b.receive(b.Controller)
	// Names of which one begins another, and one name in two tenants.
	addrs := []transport.Address{{Tenant: "default", Name: "mi-1"}, {Tenant: "default", Name: "mi-11"}, {Tenant: "other", Name: "mi-1"}, {Tenant: "default", Name: "mi-2"}}
	var links []*link
	for _, a := range addrs {
		l, err := b.link(a, up)
		if err != nil {
			return err
		}
		links = append(links, l)
	}
	for i := range 5 {
		for _, l := range links {
			if err := errors.Join(b.deliver(b.Controller, l.a, numbered("for "+l.a.String(), i), l.down), b.deliver(l.end, plane(l.a), numbered("by "+l.a.String(), i), up)); err != nil {
				return err
			}
		}
	}
	for _, l := range links {
		for _, g := range l.down.all() {
			if want := "for " + l.a.String() + " #"; !bytes.HasPrefix(g.copy, []byte(want)) {
				return fmt.Errorf("%v got %s", l.a, quote(g.copy))
			}
		}
	}
	for _, g := range up.all() {
		if want := "by " + g.from.String() + " #"; !bytes.HasPrefix(g.copy, []byte(want)) {
			return fmt.Errorf("the control plane got from %v: %s", g.from, quote(g.copy))
		}
	}
	return nil
}

func checkSideways(b *bench) error {
	up := b.receive(b.Controller)
	one, err := b.link(node(1), up)
	if err != nil {
		return err
	}
	two, err := b.link(node(2), up)
	if err != nil {
		return err
	}
	other := transport.Address{Tenant: "other", Name: plane(node(1)).Name}
	for _, to := range []transport.Address{two.a, other} {
		err := one.end.Send(b.ctx, to, []byte("sideways to "+to.String()))
		if !contractual(err) {
			return fmt.Errorf("the Send to %v answered %w", to, err)
		}
	}
	for _, l := range []*link{one, two} {
		if err := errors.Join(b.deliver(l.end, plane(l.a), []byte("fence "+l.a.Name), up), b.deliver(b.Controller, l.a, []byte("fence"), l.down)); err != nil {
			return err
		}
	}
	for _, g := range append(up.all(), one.down.all()...) {
		if bytes.HasPrefix(g.copy, []byte("sideways")) {
			return fmt.Errorf("%s arrived with somebody else", quote(g.copy))
		}
	}
	for _, g := range two.down.all() {
		if bytes.HasPrefix(g.copy, []byte("sideways to other/")) {
			return fmt.Errorf("%s arrived with %v", quote(g.copy), two.a)
		}
	}
	return nil
}

func checkWhole(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	return b.ways(l, func(way string, from transport.Transport, to transport.Address, in *inbox) error {
		want := make(map[string]bool)
		for i, n := range []int{1, 2, 3, 100, 125, 126, 127, 128, 511, 512, 1023, 1024, 1025, 4095, 4096, 4097, 16 << 10, 16<<10 + 1, 32769, 65535, 65536, 65537, 100_000, 200_000} {
			data := pattern(n, uint32(i))
			want[string(data)] = true
			if err := b.deliver(from, to, data, in); err != nil {
				return in_(way, err)
			}
		}
		for _, g := range in.all() {
			if !want[string(g.copy)] {
				return in_(way, fmt.Errorf("a message arrived that nobody sent: %s", quote(g.copy)))
			}
		}
		return nil
	})
}

func checkSize(b *bench) error {
	l, err := b.link(node(1), nil)
	if err != nil {
		return err
	}
	return b.ways(l, func(way string, from transport.Transport, to transport.Address, in *inbox) error {
		over := pattern(transport.MaxMessage+1, 1)
		if err := from.Send(b.ctx, to, over); !errors.Is(err, transport.ErrTooLarge) {
			return in_(way, fmt.Errorf("the Send of MaxMessage+1 bytes answered %v, want ErrTooLarge", err))
		}
		if err := b.deliver(from, to, over[:transport.MaxMessage], in); err != nil {
			return in_(way, fmt.Errorf("MaxMessage bytes: %w", err))
		}
		for name, none := range map[string][]byte{"an empty message": {}, "a nil message": nil} {
			if err := b.deliver(from, to, none, in); err != nil {
				return in_(way, fmt.Errorf("%s: %w", name, err))
			}
		}
		for _, g := range in.all() {
			if len(g.copy) > transport.MaxMessage {
				return in_(way, errors.New("a message that Send refused arrived"))
			}
		}
		return nil
	})
}

func checkAbsent(b *bench) error {
	up := b.receive(b.Controller)
	l, err := b.link(node(1), up)
	if err != nil {
		return err
	}
	if err := b.deliver(b.Controller, l.a, []byte("here"), l.down); err != nil {
		return err
	}
	for _, a := range []transport.Address{node(99), {Tenant: "other", Name: node(1).Name}, plane(node(1)), {}} {
		if err := b.Controller.Send(b.ctx, a, []byte("anybody?")); !errors.Is(err, transport.ErrNotConnected) {
			return fmt.Errorf("the Send to %v, which never connected, answered %v", a, err)
		}
	}
	return nil
}

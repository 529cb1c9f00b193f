package transporttest_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
	"github.com/fleetwright/fleetwright/transport/transporttest"
)

// end is an end whose methods can be bent.
type end struct {
	real  transport.Transport
	inner transport.Presence
	send  func(ctx context.Context, to transport.Address, data []byte) error
	recv  func(ctx context.Context, handle func(context.Context, transport.Message)) error
	has   func(a transport.Address) bool
	see   func(ctx context.Context, f func(transport.Address, bool)) error
}

func (e *end) Send(ctx context.Context, to transport.Address, data []byte) error {
	if e.send != nil {
		return e.send(ctx, to, data)
	}
	return e.real.Send(ctx, to, data)
}

func (e *end) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	if e.recv != nil {
		return e.recv(ctx, handle)
	}
	return e.real.Receive(ctx, handle)
}

func (e *end) Connected(a transport.Address) bool {
	if e.has != nil {
		return e.has(a)
	}
	return e.inner.Connected(a)
}

func (e *end) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	if e.see != nil {
		return e.see(ctx, f)
	}
	return e.inner.Watch(ctx, f)
}

// network is a good in-process pair, each end of which goes through bend.
func network(bend func(n *memtransport.Network, e *end)) transporttest.Pair {
	n := memtransport.New(nil)
	nodes := make(map[transport.Address]*memtransport.Node)
	wrap := func(tr transport.Presence) *end {
		e := &end{real: tr.(transport.Transport), inner: tr}
		if bend != nil {
			bend(n, e)
		}
		return e
	}
	return transporttest.Pair{
		Controller: wrap(n.Controller()),
		Node: func(a transport.Address) (transport.Transport, error) {
			nodes[a] = n.Node(a)
			return wrap(nodes[a]), nil
		},
		Disconnect: func(a transport.Address) { nodes[a].Disconnect() },
		Reconnect:  func(a transport.Address) { nodes[a].Connect() },
		Close:      func(tr transport.Transport) error { return tr.(*end).real.(interface{ Close() error }).Close() },
		Traits:     transporttest.Traits{Reliable: true, Ordered: true},
	}
}

// isController reports whether e is the control plane's end.
func isController(n *memtransport.Network, e *end) bool {
	return e.real == transport.Transport(n.Controller())
}

var wrong = []struct {
	name string
	rule string
	bend func(n *memtransport.Network, e *end)
}{
	{"loses every fifth message", "T-HANDOVER", func(_ *memtransport.Network, e *end) {
		var n atomic.Int32
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if n.Add(1)%5 == 0 && len(data) <= transport.MaxMessage {
				if err := e.real.Send(ctx, transport.Address{Name: "-"}, nil); err != nil && ctx.Err() != nil || isClosed(err) {
					return err
				}
				if c, ok := e.inner.(*memtransport.Controller); ok && !c.Connected(to) {
					return transport.ErrNotConnected
				}
				return nil
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"delivers every third message twice", "T-HANDOVER", func(_ *memtransport.Network, e *end) {
		var n atomic.Int32
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			return e.real.Receive(ctx, func(ctx context.Context, m transport.Message) {
				again := bytes.Clone(m.Data)
				handle(ctx, m)
				if n.Add(1)%3 == 0 && ctx.Err() == nil {
					handle(ctx, transport.Message{From: m.From, Data: again})
				}
			})
		}
	}},
	{"does not say who sent it", "T-HANDOVER", func(n *memtransport.Network, e *end) {
		if isController(n, e) {
			return
		}
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			return e.real.Receive(ctx, func(ctx context.Context, m transport.Message) {
				m.From = transport.Address{}
				handle(ctx, m)
			})
		}
	}},
	{"swaps neighbours", "T-ORDER", func(_ *memtransport.Network, e *end) {
		var mu sync.Mutex
		queue := make(map[transport.Address][]byte)
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if !bytes.HasPrefix(data, []byte("o #")) {
				return e.real.Send(ctx, to, data)
			}
			mu.Lock()
			defer mu.Unlock()
			if first, ok := queue[to]; ok {
				delete(queue, to)
				if err := e.real.Send(ctx, to, data); err != nil {
					return err
				}
				return e.real.Send(ctx, to, first)
			}
			queue[to] = bytes.Clone(data)
			return nil
		}
	}},
	{"keeps the caller's bytes", "T-ALIAS", func(_ *memtransport.Network, e *end) {
		var mu sync.Mutex
		queue := make(map[transport.Address][][]byte)
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if !bytes.HasPrefix(data, []byte("sent #")) {
				mu.Lock()
				for _, d := range queue[to] {
					e.real.Send(ctx, to, d)
				}
				delete(queue, to)
				mu.Unlock()
				return e.real.Send(ctx, to, data)
			}
			mu.Lock()
			queue[to] = append(queue[to], data)
			mu.Unlock()
			return nil
		}
	}},
	{"changes the caller's bytes", "T-ALIAS", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			err := e.real.Send(ctx, to, data)
			if bytes.HasPrefix(data, []byte("sent #")) {
				data[0] ^= 0x20 // as one that masks in place would
			}
			return err
		}
	}},
	{"uses one buffer for all messages", "T-ALIAS", func(n *memtransport.Network, e *end) {
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			buf := make([]byte, transport.MaxMessage)
			var mu sync.Mutex
			return e.real.Receive(ctx, func(ctx context.Context, m transport.Message) {
				if len(m.Data) == 200 {
					mu.Lock()
					m.Data = buf[:copy(buf, m.Data)]
					mu.Unlock()
				}
				handle(ctx, m)
			})
		}
	}},
	{"waits for the receiver", "T-PRESSURE", func(n *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			err := e.real.Send(ctx, to, data)
			for i := 0; i < 100 && err == transport.ErrBusy; i++ {
				time.Sleep(time.Second)
				err = e.real.Send(context.WithoutCancel(ctx), to, data)
			}
			return err
		}
	}},
	{"queues without a bound", "T-PRESSURE", func(n *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			err := e.real.Send(ctx, to, data)
			if err == transport.ErrBusy {
				return nil // as good as kept: the case ends before anybody could miss it
			}
			return err
		}
	}},
	{"one queue for all nodes", "T-PRESSURE", func(n *memtransport.Network, e *end) {
		if !isController(n, e) {
			return
		}
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			turn := make(chan struct{}, 1)
			return e.real.Receive(ctx, func(ctx context.Context, m transport.Message) {
				turn <- struct{}{}
				defer func() { <-turn }()
				handle(ctx, m)
			})
		}
	}},
	{"ignores the tenant", "T-ADDRESS", func(n *memtransport.Network, e *end) {
		if !isController(n, e) {
			return
		}
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if to.Tenant == "other" && n.Controller().Connected(to) {
				to.Tenant = "default"
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"tells everybody", "T-ADDRESS", func(n *memtransport.Network, e *end) {
		if !isController(n, e) {
			return
		}
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if bytes.HasPrefix(data, []byte("for ")) {
				e.real.Send(ctx, transport.Address{Tenant: "default", Name: "mi-2"}, data)
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"gives the control plane what is for another node", "T-ADDRESS", func(n *memtransport.Network, e *end) {
		if isController(n, e) {
			return
		}
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			to.Name = message.Controller
			return e.real.Send(ctx, to, data)
		}
	}},
	{"cuts at 64 KiB", "T-WHOLE", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if len(data) > 64<<10 && len(data) < 110_000 {
				data = data[:64<<10]
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"sends in two parts", "T-WHOLE", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if len(data) == 4097 {
				if err := e.real.Send(ctx, to, data[:4096]); err != nil {
					return err
				}
				return e.real.Send(ctx, to, data[4096:])
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"adds a newline", "T-WHOLE", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if len(data) == 1023 {
				e.real.Send(ctx, to, append(bytes.Clone(data), '\n'))
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"takes one byte too many", "T-SIZE", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if len(data) == transport.MaxMessage+1 {
				return nil
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"refuses the largest message", "T-SIZE", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if len(data) == transport.MaxMessage {
				return transport.ErrTooLarge
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"loses empty messages", "T-SIZE", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if len(data) == 0 {
				return nil
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"takes messages for strangers", "T-ABSENT", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			err := e.real.Send(ctx, to, data)
			if transport.IsTemporary(err) && err != transport.ErrBusy {
				return nil
			}
			return err
		}
	}},
	{"Receive ends with nil", "T-END", func(_ *memtransport.Network, e *end) {
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			err := e.real.Receive(ctx, handle)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}},
	{"Receive does not wait for handlers", "T-END", func(_ *memtransport.Network, e *end) {
		left := make(chan chan error, 1) // of a Receive that was left behind
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			select {
			case before := <-left:
				<-before
			default:
			}
			answer := make(chan error, 1)
			go func() { answer <- e.real.Receive(ctx, handle) }()
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				left <- answer
				return ctx.Err()
			}
		}
	}},
	{"handles messages of one sender at once", "T-TURN", func(_ *memtransport.Network, e *end) {
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			var running sync.WaitGroup
			defer running.Wait()
			return e.real.Receive(ctx, func(ctx context.Context, m transport.Message) {
				if len(m.Data) == 4 && m.Data[1] == ' ' && m.Data[0] != 'o' && m.Data[0] != 'n' {
					running.Go(func() { handle(ctx, m) })
					return
				}
				handle(ctx, m)
			})
		}
	}},
	{"holds a lock while it calls a handler", "T-TURN", func(n *memtransport.Network, e *end) {
		if isController(n, e) {
			return
		}
		lock := make(chan struct{}, 1)
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if !bytes.HasPrefix(data, []byte("re: ")) {
				return e.real.Send(ctx, to, data)
			}
			select {
			case lock <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			defer func() { <-lock }()
			return e.real.Send(ctx, to, data)
		}
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			return e.real.Receive(ctx, func(ctx context.Context, m transport.Message) {
				lock <- struct{}{}
				defer func() { <-lock }()
				handle(ctx, m)
			})
		}
	}},
	{"lets two Receives run", "T-ONE", func(_ *memtransport.Network, e *end) {
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			err := e.real.Receive(ctx, handle)
			if err == transport.ErrReceiving {
				<-ctx.Done()
				return ctx.Err()
			}
			return err
		}
	}},
	{"receives once in its life", "T-ONE", func(_ *memtransport.Network, e *end) {
		var used atomic.Bool
		e.recv = func(ctx context.Context, handle func(context.Context, transport.Message)) error {
			if ctx.Err() == nil && used.Swap(true) {
				if err := e.real.Send(ctx, transport.Address{}, nil); isClosed(err) {
					return err
				}
				return transport.ErrReceiving
			}
			return e.real.Receive(ctx, handle)
		}
	}},
	{"never says that a node went", "T-PRESENCE", func(n *memtransport.Network, e *end) {
		e.see = func(ctx context.Context, f func(transport.Address, bool)) error {
			return e.inner.Watch(ctx, func(a transport.Address, connected bool) {
				if connected {
					f(a, true)
				}
			})
		}
	}},
	{"forgets those who are connected already", "T-PRESENCE", func(n *memtransport.Network, e *end) {
		e.see = func(ctx context.Context, f func(transport.Address, bool)) error {
			var began atomic.Bool
			time.AfterFunc(time.Nanosecond, func() { began.Store(true) })
			return e.inner.Watch(ctx, func(a transport.Address, connected bool) {
				if began.Load() {
					f(a, connected)
				}
			})
		}
	}},
	{"Watch ends with nil", "T-PRESENCE", func(n *memtransport.Network, e *end) {
		e.see = func(ctx context.Context, f func(transport.Address, bool)) error {
			e.inner.Watch(ctx, f)
			return nil
		}
	}},
	{"says twice that a node came", "T-PRESENCE", func(n *memtransport.Network, e *end) {
		e.see = func(ctx context.Context, f func(transport.Address, bool)) error {
			return e.inner.Watch(ctx, func(a transport.Address, connected bool) {
				f(a, connected)
				if connected {
					f(a, connected)
				}
			})
		}
	}},
	{"does not come back", "T-RECONNECT", func(n *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			if bytes.Equal(data, []byte("link #1")) {
				return transport.ErrNotConnected
			}
			return e.real.Send(ctx, to, data)
		}
	}},
	{"sends after it was closed", "T-CLOSED", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			err := e.real.Send(ctx, to, data)
			if isClosed(err) && bytes.Equal(data, []byte("after")) {
				return nil
			}
			return err
		}
	}},
	{"answers with an error of its own while it closes", "T-CLOSED", func(_ *memtransport.Network, e *end) {
		e.send = func(ctx context.Context, to transport.Address, data []byte) error {
			err := e.real.Send(ctx, to, data)
			if isClosed(err) && !bytes.Equal(data, []byte("after")) {
				return fmt.Errorf("write: broken pipe")
			}
			return err
		}
	}},
}

func isClosed(err error) bool {
	return err != nil && (err == transport.ErrClosed || fmt.Sprint(err) == fmt.Sprint(transport.ErrClosed))
}

// verdict runs the suite, or one rule of it, on one kind of pair, each case in a bubble of its own, and returns what failed by rule.
func verdict(t *testing.T, rule string, bend func(*memtransport.Network, *end)) map[string]error {
	failed := make(map[string]error)
	for _, c := range transporttest.Cases() {
		if rule != "" && c.Rule != rule {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			p := network(bend)
			if why := c.Skip(p); why != "" {
				t.Fatalf("%s/%s would be skipped: %s", c.Rule, c.Name, why)
			}
			if err := c.Check(p, &transporttest.Options{Patience: 3 * time.Second}); err != nil {
				failed[c.Rule] = err
			}
			time.Sleep(5 * time.Minute) // what a wrong one left behind comes to its end
		})
	}
	return failed
}

func TestARightTransportPasses(t *testing.T) {
	if failed := verdict(t, "", nil); len(failed) > 0 {
		t.Fatal(failed)
	}
}

func TestEachWrongTransportFailsItsRuleAndNoOther(t *testing.T) {
	for i, w := range wrong {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			rule := ""
			if testing.Short() && i%3 != 0 { // the whole suite for every third; all of it without -short
				rule = w.rule
			}
			failed := verdict(t, rule, w.bend)
			if failed[w.rule] == nil {
				t.Errorf("%s was not found", w.rule)
			} else {
				t.Log(failed[w.rule])
			}
			delete(failed, w.rule)
			for rule, err := range failed {
				t.Errorf("%s failed too: %v", rule, err)
			}
		})
	}
}

func TestSkipsAreExplained(t *testing.T) {
	for _, c := range transporttest.Cases() {
		p := transporttest.Pair{Controller: bare{}}
		if why := c.Skip(p); why != "" {
			t.Logf("%s/%s: %s", c.Rule, c.Name, why)
		}
	}
	for _, c := range transporttest.Cases() {
		if (c.Rule == "T-ORDER" || c.Rule == "T-CLOSED" || c.Rule == "T-RECONNECT") && c.Skip(transporttest.Pair{Controller: bare{}}) == "" {
			t.Errorf("%s/%s would run without what it needs", c.Rule, c.Name)
		}
	}
}

type bare struct{ transport.Transport }

package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/transport"
)

// Model runs random programs of sends, disconnections, reconnections and restarts of Receive on fresh pairs, and checks against what was sent: nothing arrives that was not sent to that end by
// that sender, whole; on an ordered transport in its order; on a reliable one everything that was sent over a connection that held. A failing program is shrunk.
func Model(t *testing.T, newPair func(t *testing.T) Pair) {
	n, failed := 0, false
	rapid.Check(t, func(r *rapid.T) {
		n++
		if testing.Short() && n > 15 && !failed { // rapid's own count is a flag of the whole process
			return
		}
		program := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(r, "program")
		var err error
		t.Run("", func(t *testing.T) {
			b := &bench{Pair: newPair(t), patience: 30 * time.Second}
			b.ctx, b.cancel = context.WithCancel(context.Background())
			err = b.model(program)
			b.cleanup()
		})
		if err != nil {
			failed = true
			r.Fatal(err)
		}
	})
}

const modelNodes = 3

type step struct {
	Op   string // "down", "up", "break", "mend", "deaf"
	Node int
	Size int
}

func drawStep(r *rapid.T) step {
	return step{
		Op:   rapid.SampledFrom([]string{"down", "up", "down", "up", "down", "up", "break", "mend", "deaf"}).Draw(r, "op"),
		Node: rapid.IntRange(0, modelNodes-1).Draw(r, "node"),
		Size: rapid.SampledFrom([]int{0, 0, 1, 100, 2000, 70_000}).Draw(r, "size"),
	}
}

// way is one direction of one link in the model.
type way struct {
	sent  [][]byte // that Send took
	sure  int      // of them, how many were sent after the last disturbance
	inbox *inbox
}

func (b *bench) model(program []step) error {
	up := b.receive(b.Controller)
	links := make([]*link, modelNodes)
	downs, ups := make([]way, modelNodes), make([]way, modelNodes)
	broken := make([]bool, modelNodes)
	for i := range links {
		l, err := b.link(node(i), up)
		if err != nil {
			return err
		}
		links[i] = l
		downs[i].inbox, ups[i].inbox = l.down, up
		// Until the first message passes a Receive may not have begun.
		if err := b.ways(l, func(w string, from transport.Transport, to transport.Address, in *inbox) error {
			return in_(w, b.deliver(from, to, []byte("begin "+l.a.Name), in))
		}); err != nil {
			return err
		}
	}
	for i, s := range program {
		l := links[s.Node]
		data := append(fmt.Appendf(nil, "%s %s #%d ", s.Op, l.a.Name, i), pattern(s.Size, uint32(i))...)
		switch s.Op {
		case "down", "up":
			w, from, to := &downs[s.Node], b.Controller, l.a
			if s.Op == "up" {
				w, from, to = &ups[s.Node], l.end, plane(l.a)
			}
			err := from.Send(b.ctx, to, data)
			if !contractual(err) {
				return fmt.Errorf("step %d: Send answered %w", i, err)
			}
			if err == nil {
				w.sent = append(w.sent, data)
				if !broken[s.Node] {
					w.sure++
				}
			}
		case "break":
			if b.Disconnect != nil && !broken[s.Node] {
				broken[s.Node] = true
				b.Disconnect(l.a)
				downs[s.Node].sure, ups[s.Node].sure = 0, 0
			}
		case "mend":
			if broken[s.Node] {
				broken[s.Node] = false
				b.Reconnect(l.a)
				if err := b.settle(l); err != nil {
					return fmt.Errorf("step %d: %w", i, err)
				}
				downs[s.Node].sure, ups[s.Node].sure = 0, 0
			}
		case "deaf":
			if _, ok := l.down.end(); !ok {
				return fmt.Errorf("step %d: Receive did not end", i)
			}
			l.down = b.receiveAfter(l.end, l.down)
			downs[s.Node].inbox = l.down
			downs[s.Node].sure = 0
			if !broken[s.Node] {
				if err := b.deliver(b.Controller, l.a, []byte("settle "+l.a.Name), l.down); err != nil {
					return fmt.Errorf("step %d: %w", i, err)
				}
			}
		}
	}
	for i, l := range links {
		if broken[i] {
			b.Reconnect(l.a)
		}
		if err := b.settle(l); err != nil {
			return err
		}
		if err := b.judge(&downs[i], plane(l.a)); err != nil {
			return fmt.Errorf("to %v: %w", l.a, err)
		}
		if err := b.judge(&ups[i], l.a); err != nil {
			return fmt.Errorf("from %v: %w", l.a, err)
		}
	}
	return nil
}

// settle sends a last message each way until it arrives.
func (b *bench) settle(l *link) error {
	return b.ways(l, func(w string, from transport.Transport, to transport.Address, in *inbox) error {
		return in_(w, b.deliver(from, to, []byte("settle "+l.a.Name), in))
	})
}

// judge compares what arrived from a sender with what was sent.
func (b *bench) judge(w *way, from transport.Address) error {
	sure := w.sent[len(w.sent)-w.sure:]
	arrived := func() (all [][]byte) {
		for _, g := range w.inbox.all() {
			if g.from == from && !bytes.HasPrefix(g.copy, []byte("settle ")) && !bytes.HasPrefix(g.copy, []byte("begin ")) {
				all = append(all, g.copy)
			}
		}
		return all
	}
	has := func(all [][]byte, data []byte) bool {
		return slices.ContainsFunc(all, func(d []byte) bool { return bytes.Equal(d, data) })
	}
	if b.Traits.Reliable {
		if err := b.until("what was sent over a connection that held", func() bool {
			all := arrived()
			return !slices.ContainsFunc(sure, func(d []byte) bool { return !has(all, d) })
		}); err != nil {
			return err
		}
	}
	at := 0
	all := arrived()
	for i, data := range all {
		k := slices.IndexFunc(w.sent, func(d []byte) bool { return bytes.Equal(d, data) })
		switch {
		case k < 0:
			return fmt.Errorf("a message arrived that was not sent, or not whole: %s", quote(data))
		case b.Traits.Ordered && k < at:
			return fmt.Errorf("message %d of %d, %s, arrived after a later one", i, len(all), quote(data))
		case b.Traits.Reliable && k >= len(w.sent)-w.sure && has(all[:i], data):
			return fmt.Errorf("%s arrived twice", quote(data))
		}
		at = k
	}
	return nil
}

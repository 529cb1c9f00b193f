package natstransport

import (
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// hold is how long messages that arrive before a Receive begins are kept for it.
const hold = 2 * time.Second

// lane hands the messages of one sender to Receive, one after another. A goroutine lives for as long as there are any.
type lane struct {
	from   transport.Address
	gate   *end.Gate
	over   <-chan struct{} // the end was closed
	count  *counts
	answer func(f *flow, ack []byte)
	most   limits
	run    func(func()) bool // starts the goroutine; false: the end was closed

	mu    sync.Mutex
	q     []item
	bytes int
	busy  bool
	deaf  bool // nobody received for hold: what comes is dropped at once until somebody does
}

type item struct {
	flow  *flow
	frame frame
}

// put queues a frame, which owns its bytes. It reports false when there is no room: an honest sender's window does not let that happen.
func (l *lane) put(f *flow, fr frame) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.q) >= l.most.count || l.bytes+len(fr.data) > l.most.bytes {
		return false
	}
	if !l.busy {
		if !l.run(l.drain) {
			return false
		}
		l.busy = true
	}
	l.q = append(l.q, item{f, fr})
	l.bytes += len(fr.data)
	return true
}

func (l *lane) drain() {
	for {
		l.mu.Lock()
		if len(l.q) == 0 {
			l.busy, l.q = false, nil
			l.mu.Unlock()
			return
		}
		it := l.q[0]
		l.q[0] = item{}
		l.q = l.q[1:]
		l.mu.Unlock()
		if data, whole := it.flow.take(&it.frame); whole {
			l.deliver(data)
		}
		if ack := it.flow.handled(&it.frame); ack != nil {
			l.answer(it.flow, ack)
		}
		l.mu.Lock()
		l.bytes -= len(it.frame.data)
		l.mu.Unlock()
	}
}

func (l *lane) deliver(data []byte) {
	select {
	case <-l.over:
		return
	default:
	}
	l.count.received.Add(1)
	m := transport.Message{From: l.from, Data: data}
	if l.gate.Deliver(m) {
		l.deaf = false
		return
	}
	if !l.deaf {
		t := time.NewTimer(hold)
		defer t.Stop()
		select {
		case <-l.gate.Opened():
			if l.gate.Deliver(m) {
				return
			}
		case <-l.over:
			return
		case <-t.C:
			l.deaf = true
		}
	}
	l.count.unheard.Add(1)
}

package httptransport

import (
	"slices"
	"sync"

	"github.com/fleetwright/fleetwright/transport"
)

// outbox is the bounded queue of one connection. While it has something in it, and only then, a goroutine hands it to write; without write, take is called by
// whoever wants what is in it, told by wake.
type outbox struct {
	maxCount, maxBytes int
	write              func(batch [][]byte) bool // false: the connection is broken, forget the rest
	wake               chan struct{}             // capacity 1; nil with write

	mu      sync.Mutex
	q       [][]byte
	bytes   int // of q and of the batch that is being written
	flying  int // messages of that batch
	busy    bool
	closed  bool
	stopped chan struct{} // made by close while the goroutine still runs
}

// put takes a copy of data.
func (o *outbox) put(data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return transport.ErrNotConnected
	}
	if len(o.q)+o.flying >= o.maxCount || o.bytes+len(data) > o.maxBytes {
		return transport.ErrBusy
	}
	o.q = append(o.q, slices.Clone(data))
	o.bytes += len(data)
	if o.wake != nil {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	} else if !o.busy {
		o.busy = true
		go o.drain()
	}
	return nil
}

// take removes up to a batch.
func (o *outbox) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch, size := o.cut()
	o.bytes -= size
	return batch
}

// cut removes a batch from q; the mutex is held.
func (o *outbox) cut() (batch [][]byte, size int) {
	n, framed := 0, 0
	for n < len(o.q) && (n == 0 || framed+4+len(o.q[n]) <= maxBatch) {
		framed += 4 + len(o.q[n])
		size += len(o.q[n])
		n++
	}
	batch = o.q[:n:n]
	o.q = o.q[n:]
	if len(o.q) == 0 {
		o.q = nil
	}
	return batch, size
}

func (o *outbox) drain() {
	for {
		o.mu.Lock()
		if len(o.q) == 0 || o.closed {
			o.busy = false
			if o.stopped != nil {
				close(o.stopped)
				o.stopped = nil
			}
			o.mu.Unlock()
			return
		}
		batch, size := o.cut()
		o.flying = len(batch)
		o.mu.Unlock()
		ok := o.write(batch)
		o.mu.Lock()
		o.flying = 0
		o.bytes -= size
		if !ok {
			o.closed = true
			o.q = nil
		}
		o.mu.Unlock()
	}
}

// close forgets what is queued; put answers ErrNotConnected from now on. The channel is closed when nothing is being written any more.
func (o *outbox) close() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.q = nil
	if o.stopped == nil {
		o.stopped = make(chan struct{})
		if !o.busy {
			close(o.stopped)
			defer func() { o.stopped = nil }()
		}
	}
	return o.stopped
}

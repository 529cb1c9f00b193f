package natstransport

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fleetwright/fleetwright/transport"
)

// line is one connection to a broker with a queue before it, because writing to a broker that does not read blocks everybody who wants to write. A line that broke is of no use any more.
type line struct {
	nc   *nats.Conn
	most int // bytes of data in a frame
	max  limits

	wake chan struct{} // capacity 1

	mu    sync.Mutex
	q     []posted
	bytes int // of q, and of what is being written
	dead  bool
}

type posted struct {
	subject, reply string
	data           []byte
}

func newLine(nc *nats.Conn, max limits) *line {
	return &line{nc: nc, most: int(nc.MaxPayload()) - lenHeader, max: max, wake: make(chan struct{}, 1)}
}

// put queues frames for a subject, all or none. It does not copy them. reply takes the broker's word that nobody is there.
func (l *line) put(subject, reply string, frames ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return transport.ErrNotConnected
	}
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	if len(l.q) > 0 && (len(l.q)+len(frames) > l.max.count || l.bytes+size > l.max.bytes) {
		return transport.ErrBusy
	}
	for _, f := range frames {
		l.q = append(l.q, posted{subject, reply, f})
	}
	l.bytes += size
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// write writes what is queued until the line is dead.
func (l *line) write() {
	for range l.wake { // closed by end
		for {
			l.mu.Lock()
			batch := l.q
			l.q = nil
			dead := l.dead
			l.mu.Unlock()
			if dead {
				return
			}
			if len(batch) == 0 {
				break
			}
			size := 0
			for _, p := range batch {
				size += len(p.data)
				// An error is that of the whole connection, whose end is noticed elsewhere; what is lost is sent again by those above.
				l.nc.PublishMsg(&nats.Msg{Subject: p.subject, Reply: p.reply, Data: p.data}) //nolint:errcheck
			}
			l.mu.Lock()
			l.bytes -= size
			l.mu.Unlock()
		}
	}
}

// end makes the line refuse everything and lets write return.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.dead = true
		l.q = nil
		close(l.wake)
	}
}

// drain waits until what is queued is written, or for the time.
func (l *line) drain(most time.Duration) {
	end := time.Now().Add(most)
	for time.Now().Before(end) {
		l.mu.Lock()
		done := l.dead || l.bytes == 0
		l.mu.Unlock()
		if done {
			break
		}
		time.Sleep(time.Millisecond)
	}
	l.nc.FlushTimeout(max(time.Millisecond, time.Until(end))) //nolint:errcheck // as far as it goes
}

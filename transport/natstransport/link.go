package natstransport

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// link keeps one end connected to some broker.
type link struct {
	d    *dialer
	max  limits // of the line's queue
	rand func() float64
	opts func() []nats.Option
	// listen subscribes, before anybody is told of the line.
	listen func(*nats.Conn) error
	up     func(*line)
	down   func(*line, error) // line is nil when an attempt failed
	again  func(error) bool   // whether to try again after that error; nil: always
}

// settled is how long a connection must have lasted to count as a success that forgets earlier failures.
const settled = 10 * time.Second

// run connects again and again until ctx ends.
func (l *link) run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		since, err := l.once(ctx)
		if ctx.Err() != nil || l.again != nil && !l.again(err) {
			return
		}
		if since >= settled {
			attempt = 0
		}
		t := time.NewTimer(backoff(attempt, l.d.BackoffBase, l.d.BackoffCap, l.rand()))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// once makes one connection and waits for its end.
func (l *link) once(ctx context.Context) (lived time.Duration, err error) {
	nc, closed, err := l.d.connect(ctx, l.opts()...)
	if err != nil {
		err = fmt.Errorf("natstransport: no connection to a broker: %w", err)
		l.down(nil, err)
		return 0, err
	}
	begun := time.Now()
	ln := newLine(nc, l.max)
	written := make(chan struct{})
	go func() { defer close(written); ln.write() }()
	if err = l.listen(nc); err == nil {
		err = nc.FlushTimeout(l.d.Handshake)
	}
	if err == nil {
		l.up(ln)
		select {
		case <-closed:
			if err = nc.LastError(); err == nil {
				err = nats.ErrConnectionClosed
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	ln.end()
	l.down(ln, err)
	// A write may be waiting for a broker that does not read: the socket is closed under it.
	l.d.drop()
	nc.Close()
	<-written
	<-closed
	return time.Since(begun), err
}

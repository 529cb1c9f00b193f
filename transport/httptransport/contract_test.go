package httptransport_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
	"github.com/fleetwright/fleetwright/transport/transporttest"
)

// cable is a client's way to the network: it can be pulled out.
type cable struct {
	mu    sync.Mutex
	out   bool
	conns map[net.Conn]struct{}
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	}
	if c.conns == nil {
		c.conns = make(map[net.Conn]struct{})
	}
	c.conns[conn] = struct{}{}
	return conn, nil
}

func (c *cable) pull(out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = out
	if out {
		for conn := range c.conns {
			conn.Close()
		}
		clear(c.conns)
	}
}

func TestContract(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, func(t *testing.T) transporttest.Pair {
				w := newWorld(t, func(c *httptransport.ServerConfig) {
					c.Poll = 200 * time.Millisecond
					if m.name == "poll" { // how soon a node that went is missed; a websocket's end is seen
						c.KeepAlive = 400 * time.Millisecond
					}
				})
				cables := make(map[transport.Address]*cable)
				return transporttest.Pair{
					Controller: w.srv,
					Node: func(a transport.Address) (transport.Transport, error) {
						cables[a] = &cable{}
						c := w.dial(a, func(cfg *httptransport.ClientConfig) {
							m.change(cfg)
							cfg.Dial = cables[a].dial
						})
						eventually(t, "the server knows it too", func() bool { return w.srv.Connected(a) })
						return c, nil
					},
					Disconnect: func(a transport.Address) { cables[a].pull(true) },
					Reconnect:  func(a transport.Address) { cables[a].pull(false) },
					Close:      func(end transport.Transport) error { return end.(interface{ Close() error }).Close() },
					Traits:     transporttest.Traits{Reliable: true, Ordered: true},
				}
			})
		})
	}
}

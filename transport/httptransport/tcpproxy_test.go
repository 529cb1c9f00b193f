package httptransport_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// tcpProxy forwards TCP connections to a target and can misbehave.
type tcpProxy struct {
	t      testing.TB
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	total  int                                  // connections accepted so far
	budget func(n int) int                      // bytes that the n-th connection carries, both directions together, until it is cut; nil: no limit
	gate   chan struct{}                        // while not nil, nothing is forwarded until it is closed: half-open
	first  func(client net.Conn, b []byte) bool // sees the first bytes of a connection; false: it is not forwarded
}

func newProxy(t testing.TB, target string) *tcpProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &tcpProxy{t: t, l: l, target: target}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(p.close)
	return p
}

func (p *tcpProxy) url() string { return "https://" + p.l.Addr().String() + "/v1/node/" }

func (p *tcpProxy) close() {
	p.l.Close()
	p.thaw()
	p.cutAll()
	p.wg.Wait()
}

func (p *tcpProxy) set(f func(*tcpProxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// freeze stops forwarding on all connections, without closing any.
func (p *tcpProxy) freeze() {
	p.set(func(p *tcpProxy) {
		if p.gate == nil {
			p.gate = make(chan struct{})
		}
	})
}

func (p *tcpProxy) thaw() {
	p.set(func(p *tcpProxy) {
		if p.gate != nil {
			close(p.gate)
			p.gate = nil
		}
	})
}

func (p *tcpProxy) cutAll() {
	p.set(func(p *tcpProxy) {
		for _, c := range p.conns {
			c.Close()
		}
		p.conns = nil
	})
}

func (p *tcpProxy) count() (n int) {
	p.set(func(p *tcpProxy) { n = p.total })
	return n
}

func (p *tcpProxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	left := -1
	var first func(net.Conn, []byte) bool
	p.set(func(p *tcpProxy) {
		p.conns = append(p.conns, client, server)
		if p.budget != nil {
			left = p.budget(p.total)
		}
		p.total++
		first = p.first
	})
	if first != nil {
		b := make([]byte, 16<<10)
		n, err := client.Read(b)
		if err != nil || !first(client, b[:n]) {
			return
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
	var mu sync.Mutex
	pay := func(n int) int { // how many of n bytes may pass
		mu.Lock()
		defer mu.Unlock()
		if left < 0 {
			return n
		}
		n = min(n, left)
		left -= n
		return n
	}
	var both sync.WaitGroup
	pipe := func(dst, src net.Conn) {
		defer dst.Close()
		defer src.Close()
		b := make([]byte, 4096)
		for {
			n, err := src.Read(b)
			var gate chan struct{}
			p.set(func(p *tcpProxy) { gate = p.gate })
			if gate != nil {
				<-gate
			}
			k := pay(n)
			if _, werr := dst.Write(b[:k]); werr != nil || err != nil || k < n {
				return
			}
		}
	}
	both.Go(func() { pipe(server, client) })
	both.Go(func() { pipe(client, server) })
	both.Wait()
	io.Copy(io.Discard, client)
}

package pgstore_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
)

// proxy stands between clients and a server. It can delay both ways, and can do harm to messages that commit.
type proxy struct {
	ln    net.Listener
	to    string
	delay time.Duration // each way

	commits atomic.Int64
	harm    func(n int64) string // what to do to the n-th commit: "", "drop", "swallow", "late"
	after   func()               // called after a "swallow", before the connection is cut
	harmed  atomic.Int64

	release   chan struct{} // lets a "late" message go on; nil: after a moment
	delivered atomic.Int64  // "late" messages that the server has dealt with
}

// commitMark is in every message that commits: the channel that it notifies.
var commitMark = []byte("fw_")

// readyForQuery ends the answer to a message.
var readyForQuery = []byte("Z\x00\x00\x00\x05")

func newProxy(tb testing.TB, srv *pgtest.Server, delay time.Duration) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	p := &proxy{ln: ln, to: srv.Socket(), delay: delay}
	tb.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

// pool returns a pool whose connections go through the proxy.
func (p *proxy) pool(tb testing.TB, srv *pgtest.Server, database string) *pgxpool.Pool {
	cfg, err := pgxpool.ParseConfig(srv.DSN(database))
	require.NoError(tb, err)
	cfg.ConnConfig.Host, cfg.ConnConfig.Port = "127.0.0.1", uint16(p.ln.Addr().(*net.TCPAddr).Port)
	cfg.ConnConfig.Fallbacks = []*pgconn.FallbackConfig{}
	cfg.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(pool.Close)
	return pool
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	var swallow, late atomic.Bool
	answered := make(chan struct{}, 1)
	go func() {
		defer client.Close()
		pump(p.delay, server, func(b []byte) error {
			if late.Load() {
				if bytes.Contains(b, readyForQuery) {
					answered <- struct{}{}
					return io.EOF
				}
				return nil
			}
			if swallow.Load() {
				return nil // the answer to a commit goes nowhere
			}
			_, err := client.Write(b)
			return err
		})
	}()
	pump(p.delay, client, func(b []byte) error {
		if p.harm != nil && bytes.Contains(b, commitMark) {
			switch p.harm(p.commits.Add(1)) {
			case "drop":
				p.harmed.Add(1)
				return io.EOF
			case "swallow":
				p.harmed.Add(1)
				swallow.Store(true)
				_, err := server.Write(b)
				time.Sleep(5 * time.Millisecond)
				if p.after != nil {
					p.after()
				}
				if err == nil {
					err = io.EOF
				}
				return err
			case "late":
				p.harmed.Add(1)
				late.Store(true)
				client.Close()
				if p.release == nil {
					time.Sleep(40 * time.Millisecond) // its sender has found out meanwhile what became of it
				} else {
					<-p.release
				}
				_, _ = server.Write(b)
				select {
				case <-answered:
				case <-time.After(10 * time.Second):
				}
				p.delivered.Add(1)
				return io.EOF
			}
		}
		_, err := server.Write(b)
		return err
	})
}

// pump reads pieces and hands them on in order, each delay later.
func pump(delay time.Duration, from net.Conn, hand func(b []byte) error) {
	type piece struct {
		due time.Time
		b   []byte
	}
	if delay == 0 {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 && hand(buf[:n]) != nil || err != nil {
				return
			}
		}
	}
	ch := make(chan piece, 1024)
	go func() {
		defer close(ch)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				ch <- piece{time.Now().Add(delay), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range ch {
		spinUntil(p.due)
		if hand(p.b) != nil {
			from.Close()
			for range ch {
			}
			return
		}
	}
}

// spinUntil waits more exactly than the runtime's timers do when the machine is idle.
func spinUntil(t time.Time) {
	for {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, 100*time.Microsecond))
	}
}

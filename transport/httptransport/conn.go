package httptransport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const bufferSize = 1 << 10 // of each direction of a hijacked connection; larger messages pass the buffers by

// timedConn gives each Read and Write a deadline of its own, so that a peer that is silent or does not read is found out without a timer or goroutine of ours.
type timedConn struct {
	net.Conn
	silent atomic.Int64 // how long a Read may wait, in ns; 0 leaves the deadline alone
	stuck  atomic.Int64 // how long a Write may wait, in ns; 0 leaves the deadline alone
}

func (c *timedConn) Read(p []byte) (int, error) {
	if d := c.silent.Load(); d > 0 {
		if err := c.SetReadDeadline(time.Now().Add(time.Duration(d))); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

func (c *timedConn) Write(p []byte) (int, error) {
	if d := c.stuck.Load(); d > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(time.Duration(d))); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// Close closes the connection without TLS's farewell, for which a connection that is stuck would wait five seconds; websockets have a farewell of their own.
func (c *timedConn) Close() error {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.NetConn().Close()
	}
	return c.Conn.Close()
}

// hijacker is a ResponseWriter whose Hijack gives a timedConn with small buffers in place of net/http's, and keeps hold of it.
type hijacker struct {
	http.ResponseWriter
	conn *timedConn
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &timedConn{Conn: conn}
	r := bufio.NewReaderSize(h.conn, bufferSize)
	if early, _ := brw.Reader.Peek(brw.Reader.Buffered()); len(early) > 0 {
		early = bytes.Clone(early)
		r = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), h.conn), max(bufferSize, len(early)))
		if _, err := r.Peek(len(early)); err != nil {
			conn.Close()
			return nil, nil, err
		}
	}
	return h.conn, bufio.NewReadWriter(r, bufio.NewWriterSize(h.conn, bufferSize)), nil
}

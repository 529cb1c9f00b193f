package httptransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// wsOnce connects by websocket and stays until the connection ends.
func (c *Client) wsOnce(base string) (e ended) {
	tr, err := c.cfg.transport()
	if err != nil {
		return ended{err: err}
	}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Handshake)
	defer cancel()
	var sent atomic.Bool
	var conn atomic.Pointer[timedConn]
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) { sent.Store(i.Err == nil) },
		GotConn: func(i httptrace.GotConnInfo) {
			under := i.Conn
			if t, ok := under.(*tls.Conn); ok {
				under = t.NetConn()
			}
			if tc, ok := under.(*timedConn); ok {
				conn.Store(tc)
			}
		},
	})
	ws, resp, err := websocket.Dial(traced, base+pathConnect, &websocket.DialOptions{HTTPClient: httpClient(tr), CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		e = ended{err: fmt.Errorf("httptransport: %w", err)}
		switch {
		case resp != nil && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(headerOurs) != "":
			e.awayFor = awayFor(resp.Header)
		case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols || resp != nil && resp.Header.Get(headerOurs) == "":
			e.noUpgrade = true
		case sent.Load():
			e.perhapsNot = true
		}
		return e
	}
	defer ws.CloseNow()
	ws.SetReadLimit(maxMessage)
	w, e, ok := c.introduce(ctx, ws, resp)
	if !ok {
		return e
	}
	return c.serveWS(ws, conn.Load(), w)
}

// introduce answers the server's challenge.
func (c *Client) introduce(ctx context.Context, ws *websocket.Conn, resp *http.Response) (w welcome, e ended, ok bool) {
	fail := func(err error) (welcome, ended, bool) {
		return welcome{}, ended{err: fmt.Errorf("httptransport: during the handshake: %w", err), perhapsNot: true}, false
	}
	_, body, err := ws.Read(ctx)
	if err != nil {
		return fail(err)
	}
	h, err := parseHello(body)
	if err != nil {
		return fail(err)
	}
	au, err := sign(c.cfg.Key, mediumWebsocket, c.cfg.Address, h, resp.TLS)
	if err != nil {
		return fail(err)
	}
	if err := ws.Write(ctx, websocket.MessageBinary, au.append(nil)); err != nil {
		return fail(err)
	}
	_, body, err = ws.Read(ctx)
	if err != nil {
		return fail(err)
	}
	w, err = parseWelcome(body, 0)
	if err != nil {
		return fail(err)
	}
	switch w.verdict {
	case refused:
		return w, ended{refused: true}, false
	case tryLater:
		return w, ended{err: errors.New("httptransport: the control plane cannot check this node's key at present")}, false
	}
	return w, ended{}, true
}

// serveWS is the life of a connection.
func (c *Client) serveWS(ws *websocket.Conn, conn *timedConn, w welcome) ended {
	start := time.Now()
	out := &outbox{maxCount: c.cfg.Queue, maxBytes: c.cfg.QueueBytes, write: func(batch [][]byte) bool {
		for _, data := range batch {
			if ws.Write(context.Background(), websocket.MessageBinary, data) != nil {
				conn.Close()
				return false
			}
		}
		return true
	}}
	conn.silent.Store(int64(w.keepAlive * silence / 2))
	stop := context.AfterFunc(c.ctx, func() { conn.Close() })
	defer stop()
	p := &pinger{every: w.keepAlive, rand: c.cfg.Rand, ping: func(ctx context.Context) {
		if ws.Ping(ctx) != nil {
			conn.Close()
		}
	}}
	p.start(c.ctx)
	c.up(out, mediumWebsocket)
	var deaf bool
	var err error
	for {
		var typ websocket.MessageType
		var data []byte
		typ, data, err = ws.Read(context.Background())
		if err != nil {
			break
		}
		if typ != websocket.MessageBinary {
			ws.Close(websocket.StatusUnsupportedData, "binary messages only")
			err = errShape
			break
		}
		c.deliver(&deaf, data)
	}
	conn.Close()
	ws.CloseNow()
	p.stop()
	return ended{err: fmt.Errorf("httptransport: the connection ended: %w", err), lived: max(time.Since(start), 1), goingAway: websocket.CloseStatus(err) == websocket.StatusGoingAway}
}

// awayFor reads when a server said to come back.
func awayFor(h http.Header) time.Duration {
	if ms, err := strconv.ParseUint(h.Get(headerRetry), 10, 31); err == nil {
		return max(time.Duration(ms)*time.Millisecond, time.Millisecond)
	}
	if s, err := strconv.ParseUint(h.Get("Retry-After"), 10, 20); err == nil {
		return max(time.Duration(s)*time.Second, time.Millisecond)
	}
	return time.Second
}

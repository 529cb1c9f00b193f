package httptransport

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// wsSession is the websocket half of a session.
type wsSession struct {
	ss   *session
	ws   *websocket.Conn
	conn *timedConn
}

// serveConnect takes a connection over. What follows runs on a goroutine of its own, so that net/http's part of the connection can be freed.
func (s *Server) serveConnect(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.enter(w)
	if !ok {
		return
	}
	var binding []byte
	h := hello{binding: bindNone}
	if r.TLS != nil && !s.cfg.NoBinding {
		h.binding = bindExporter
		var err error
		if binding, err = exporter(r.TLS); err != nil {
			leave()
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	hj := &hijacker{ResponseWriter: w}
	// A page of another origin that makes a browser connect gets no further than the challenge: it has no node's key.
	ws, err := websocket.Accept(hj, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		leave()
		return
	}
	rand.Read(h.challenge[:])
	go s.handshake(&wsSession{ws: ws, conn: hj.conn}, h, binding, leave)
}

// handshake lets the node show itself and starts its session.
func (s *Server) handshake(c *wsSession, h hello, binding []byte, leave func()) {
	ok := s.introduce(c, h, binding)
	leave()
	if !ok {
		c.ws.CloseNow()
		return
	}
	go s.read(c)
}

func (s *Server) introduce(c *wsSession, h hello, binding []byte) bool {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Handshake)
	defer cancel()
	c.ws.SetReadLimit(maxAuth)
	if c.ws.Write(ctx, websocket.MessageBinary, h.append(nil)) != nil {
		return false
	}
	typ, body, err := c.ws.Read(ctx)
	if err != nil {
		return false
	}
	if typ != websocket.MessageBinary {
		body = nil
	}
	addr, verdict := s.verify(ctx, mediumWebsocket, body, h.challenge, binding)
	if verdict != accepted {
		// The verdict goes before the close frame, so that it does not get lost with a reset.
		if c.ws.Write(ctx, websocket.MessageBinary, welcome{verdict: verdict}.append(nil)) == nil {
			c.ws.Close(websocket.StatusPolicyViolation, "")
		}
		return false
	}
	ss := s.newSession(addr)
	c.ss, ss.ws = ss, c
	ss.out.write = c.write
	c.ws.SetReadLimit(maxMessage)
	// The welcome goes first: once registered, the session's messages may be written at any time.
	if c.ws.Write(ctx, websocket.MessageBinary, welcome{verdict: accepted, keepAlive: s.cfg.KeepAlive}.append(nil)) != nil {
		return false
	}
	c.conn.stuck.Store(int64(s.cfg.Write))
	c.conn.silent.Store(int64(s.cfg.KeepAlive * silence / 2))
	return s.register(ss)
}

// read delivers what arrives until the connection ends. It is the one goroutine of an idle websocket.
func (s *Server) read(c *wsSession) {
	defer func() {
		c.ss.end(websocket.StatusNormalClosure, "")
		c.ws.CloseNow()
		c.ss.bye.Wait()
		s.unregister(c.ss)
	}()
	ctx := context.Background() // the connection's own deadlines and Close end it
	for {
		typ, data, err := c.ws.Read(ctx)
		if err != nil {
			return
		}
		if typ != websocket.MessageBinary {
			c.ss.end(websocket.StatusUnsupportedData, "binary messages only")
			return
		}
		if !c.ss.deliver(data) {
			// Somebody ended the session and is telling the node so; reading on lets its answer through.
			c.discard()
			return
		}
	}
}

// discard reads until the close handshake has ended or the connection was cut.
func (c *wsSession) discard() {
	ctx, cancel := context.WithTimeout(c.ss.s.ctx, time.Second)
	defer cancel()
	for {
		if _, _, err := c.ws.Read(ctx); err != nil {
			return
		}
	}
}

// write is the outbox's.
func (c *wsSession) write(batch [][]byte) bool {
	for _, data := range batch {
		if c.ws.Write(context.Background(), websocket.MessageBinary, data) != nil {
			c.conn.Close()
			return false
		}
	}
	return true
}

// closeWith tells the node why and closes. It is at an end after Write at the latest.
func (c *wsSession) closeWith(code websocket.StatusCode, text string) {
	if code == websocket.StatusNormalClosure {
		c.ws.CloseNow()
		return
	}
	t := time.AfterFunc(c.ss.s.cfg.Write, func() { c.conn.Close() })
	c.ws.Close(code, text)
	t.Stop()
}

package httptransport

import (
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/fleetwright/fleetwright/transport"
)

// session is one authenticated connection of one node, by either medium.
type session struct {
	s    *Server
	addr transport.Address
	out  outbox
	prev <-chan struct{} // closed when the connection before this one of the same node has handed over its last message; nil when there was none
	done chan struct{}   // closed when this one has

	once sync.Once
	over chan struct{}  // closed when the session is to end
	bye  sync.WaitGroup // a websocket's farewell
	code websocket.StatusCode
	text string
	deaf bool // no Receive was running for hold; used by the one who delivers
	ws   *wsSession
	poll *pollSession
}

// end ends the session with a reason that the node is told. It does not wait.
func (ss *session) end(code websocket.StatusCode, text string) {
	ss.once.Do(func() {
		ss.code, ss.text = code, text
		close(ss.over)
		ss.out.close()
		if ss.ws != nil {
			ss.bye.Go(func() { ss.ws.closeWith(code, text) })
		} else {
			go ss.poll.finish(ss)
		}
	})
}

func (ss *session) goAway() { ss.end(websocket.StatusGoingAway, "going away") }

// kill ends the session without a word.
func (ss *session) kill() {
	ss.end(websocket.StatusGoingAway, "going away")
	if ss.ws != nil {
		ss.ws.conn.Close()
	}
}

func (s *Server) newSession(a transport.Address) *session {
	return &session{s: s, addr: a, out: outbox{maxCount: s.cfg.Queue, maxBytes: s.cfg.QueueBytes}, done: make(chan struct{}), over: make(chan struct{})}
}

// register makes ss the node's connection, in place of the one before, which is ended. It fails when the server is leaving. unregister must follow.
func (s *Server) register(ss *session) bool {
	s.mu.Lock()
	if s.leaving {
		s.mu.Unlock()
		return false
	}
	old := s.sessions[ss.addr]
	s.sessions[ss.addr] = ss
	if ss.poll != nil {
		s.tokens[ss.poll.token] = ss
	}
	s.running.Add(1)
	if old != nil {
		ss.prev = old.done
	}
	s.board.Replace(ss.addr)
	s.mu.Unlock()
	s.count.accepted.Add(1)
	if old != nil {
		s.count.replaced.Add(1)
		old.end(codeReplaced, "replaced by a newer connection")
	}
	return true
}

// unregister takes ss, which is over, off the list, if it is still the node's connection there. It is called once, when the last message was delivered.
func (s *Server) unregister(ss *session) {
	s.mu.Lock()
	if s.sessions[ss.addr] == ss {
		delete(s.sessions, ss.addr)
		s.board.Set(ss.addr, false)
	}
	if ss.poll != nil {
		delete(s.tokens, ss.poll.token)
	}
	s.mu.Unlock()
	if ss.prev != nil {
		<-ss.prev // whoever waits for this one waits for that one too
	}
	close(ss.done)
	s.running.Done()
}

// deliver hands one message to Receive, after the last one of the connection before. It reports false when the session is over.
func (ss *session) deliver(data []byte) bool {
	if ss.prev != nil {
		select {
		case <-ss.prev:
			ss.prev = nil
		case <-ss.over:
			return false
		}
	}
	select {
	case <-ss.over:
		return false
	default:
	}
	ss.s.count.received.Add(1)
	m := transport.Message{From: ss.addr, Data: data}
	if ss.s.gate.Deliver(m) {
		ss.deaf = false
		return true
	}
	if !ss.deaf {
		t := time.NewTimer(hold)
		defer t.Stop()
		select {
		case <-ss.s.gate.Opened():
			if ss.s.gate.Deliver(m) {
				return true
			}
		case <-ss.over:
			return false
		case <-t.C:
			ss.deaf = true
		}
	}
	ss.s.count.unheard.Add(1)
	return true
}

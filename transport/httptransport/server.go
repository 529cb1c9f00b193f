package httptransport

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// ServerConfig configures a Server. Key is required: without it every node is refused.
type ServerConfig struct {
	// Key returns the node's public key. A nil key, transport.ErrRefused, or an error of the kinds NotFound, Denied, Unauthenticated, Invalid and Conflict mean that there is no such
	// node: it is refused for good. Any other error sends the node away until later. It is called for each handshake, concurrently, with addresses that anybody made up.
	Key func(ctx context.Context, node transport.Address) (ed25519.PublicKey, error)
	// Enroll answers a request of somebody without an identity; nil means that there is no enrolment. The body is at most 64 KiB, and so may the answer be. remote is the TCP peer's
	// address. Of an error the other side sees code and message, of one without a fault in it only that there was one.
	Enroll func(ctx context.Context, remote string, body []byte) ([]byte, error)

	Logger *slog.Logger // nil: none

	KeepAlive time.Duration // how often a node gives a sign of life; default 30 s
	Handshake time.Duration // how long a handshake may take; default 10 s
	Write     time.Duration // how long a write may not move; default 20 s
	Poll      time.Duration // how long a long poll waits; default 25 s

	Queue      int // messages queued per node before Send answers ErrBusy; default 256
	QueueBytes int // bytes queued per node; default 4 MiB, at least transport.MaxMessage

	Admit          float64       // handshakes admitted a second; default 1,000: a fleet of 100,000 is back within two minutes
	AdmitBurst     int           // of them at once; default 500
	MaxRetryAfter  time.Duration // the longest that a node is sent away for; default 5 min
	MaxPending     int           // handshakes under way; default 2,000
	MaxConnections int           // nodes connected; default without limit
	EnrollRate     float64       // enrolments a second; default 20
	EnrollBurst    int           // of them at once; default 50

	// NoBinding takes signatures that are not bound to the TLS connection: for a server behind something that ends TLS and begins it anew.
	NoBinding bool
}

func (c ServerConfig) withDefaults() ServerConfig {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	num := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.KeepAlive, 30*time.Second)
	c.KeepAlive = min(max(c.KeepAlive, time.Millisecond), time.Hour)
	def(&c.Handshake, 10*time.Second)
	def(&c.Write, 20*time.Second)
	def(&c.Poll, 25*time.Second)
	def(&c.MaxRetryAfter, 5*time.Minute)
	num(&c.Queue, 256)
	num(&c.QueueBytes, 4<<20)
	c.QueueBytes = max(c.QueueBytes, transport.MaxMessage)
	num(&c.MaxPending, 2000)
	num(&c.AdmitBurst, 500)
	num(&c.EnrollBurst, 50)
	if !(c.Admit > 0) {
		c.Admit = 1000
	}
	if !(c.EnrollRate > 0) {
		c.EnrollRate = 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ServerStats are counts since NewServer, and what is now.
type ServerStats struct {
	Connected int    // nodes connected now
	Pending   int    // handshakes under way now
	Accepted  uint64 // handshakes that ended well
	Refused   uint64 // for an unknown node or a wrong key
	Throttled uint64 // sent away until later
	Replaced  uint64 // connections that gave way to a newer one of the same node
	Sent      uint64 // messages taken by Send
	Busy      uint64 // messages that Send did not take, the queue being full
	Received  uint64 // messages that arrived
	Unheard   uint64 // of them, those dropped because no Receive was running
}

// Server is the control plane's end. It implements transport.Transport and transport.Presence. It starts no goroutine until a node connects; Shutdown or Close end those.
type Server struct {
	cfg    ServerConfig
	log    *slog.Logger
	gate   end.Gate
	board  end.Board
	admit  *admission
	enroll *admission
	nobody ed25519.PublicKey // stands in for the key of an unknown node
	cookie [32]byte          // secret of long poll's challenges
	used   usedChallenges

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.RWMutex
	sessions map[transport.Address]*session
	tokens   map[[sha256.Size]byte]*session // of long polls, by the token's hash
	leaving  bool                           // Shutdown or Close was called
	running  sync.WaitGroup                 // sessions and handshakes; Add only with mu held and leaving false

	pending atomic.Int64
	count   struct {
		accepted, refused, throttled, replaced, sent, busy, received, unheard atomic.Uint64
	}
}

var (
	_ transport.Presence = (*Server)(nil)
	_ transport.Counter  = (*Server)(nil)
)

// NewServer returns a Server that waits for its Handler to be mounted.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{cfg: cfg.withDefaults(), sessions: make(map[transport.Address]*session), tokens: make(map[[sha256.Size]byte]*session)}
	s.log = s.cfg.Logger
	s.admit = newAdmission(s.cfg.Admit, s.cfg.AdmitBurst, s.cfg.MaxRetryAfter)
	s.enroll = newAdmission(s.cfg.EnrollRate, s.cfg.EnrollBurst, s.cfg.MaxRetryAfter)
	rand.Read(s.cookie[:])
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:])
	s.nobody = ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Route is one thing that a Server answers to, for a host's own table of handlers (rule R-01).
type Route struct {
	Method, Name string // Name is the last element of the path
	Needs        string // what the caller must show: "nothing", "node key" or "session token"
}

// Routes returns everything that Handler answers to.
func Routes() []Route {
	return []Route{
		{"GET", pathConnect, "node key"},
		{"POST", pathChallenge, "nothing"},
		{"POST", pathSession, "node key"},
		{"GET", pathPoll, "session token"},
		{"POST", pathSend, "session token"},
		{"POST", pathClose, "session token"},
		{"POST", pathEnroll, "nothing"},
	}
}

// Handler returns what the host mounts. It looks at the last element of a path only, so that it works below any prefix, stripped or not. It takes connections over, and keeps
// requests of long polls for Poll; set ReadHeaderTimeout on the http.Server, other timeouts of it are taken care of.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(headerOurs, "1")
	w.Header().Set("Cache-Control", "no-store")
	// Whatever the host's http.Server has set: no answer of ours takes longer than this.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.cfg.Poll + 60*time.Second))
	name := path.Base(r.URL.Path)
	for _, route := range Routes() {
		if route.Name != name {
			continue
		}
		if r.Method != route.Method {
			w.Header().Set("Allow", route.Method)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		switch name {
		case pathConnect:
			s.serveConnect(w, r)
		case pathChallenge:
			s.serveChallenge(w, r)
		case pathSession:
			s.serveSession(w, r)
		case pathPoll:
			s.servePoll(w, r)
		case pathSend:
			s.serveSend(w, r)
		case pathClose:
			s.serveClose(w, r)
		case pathEnroll:
			s.serveEnroll(w, r)
		}
		return
	}
	http.Error(w, "not found", http.StatusNotFound)
}

// Send is transport.Transport's. It never waits: a full queue is transport.ErrBusy.
func (s *Server) Send(ctx context.Context, to transport.Address, data []byte) error {
	if err := s.gate.Dead(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > transport.MaxMessage {
		return tooLarge(len(data))
	}
	s.mu.RLock()
	ss := s.sessions[to]
	s.mu.RUnlock()
	err := error(transport.ErrNotConnected)
	if ss != nil {
		err = ss.out.put(data)
	}
	switch err {
	case nil:
		s.count.sent.Add(1)
		return nil
	case transport.ErrBusy:
		s.count.busy.Add(1)
	}
	return fmt.Errorf("httptransport: %s: %w", fault.Clean(to.String()), err)
}

func tooLarge(n int) error {
	return fmt.Errorf("httptransport: %d bytes, at most %d: %w", n, transport.MaxMessage, transport.ErrTooLarge)
}

// Receive is transport.Transport's. A connection hands its messages over on its own goroutine: a handler that blocks stops that node and no other. Messages that arrive within
// two seconds before a Receive begins are kept for it.
func (s *Server) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	return s.gate.Receive(ctx, handle)
}

// Connected is transport.Presence's.
func (s *Server) Connected(a transport.Address) bool { return s.board.Connected(a) }

// Watch is transport.Presence's.
func (s *Server) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	return s.board.Watch(ctx, f)
}

// Len implements transport.Counter: how many nodes are connected.
func (s *Server) Len() int { return s.board.Len() }

// Stats returns the counts.
func (s *Server) Stats() ServerStats {
	c := &s.count
	return ServerStats{Connected: s.board.Len(), Pending: int(s.pending.Load()), Accepted: c.accepted.Load(), Refused: c.refused.Load(), Throttled: c.throttled.Load(),
		Replaced: c.replaced.Load(), Sent: c.sent.Load(), Busy: c.busy.Load(), Received: c.received.Load(), Unheard: c.unheard.Load()}
}

// Disconnect drops the node's connection, if it has one: it has to show its key anew. For a node that was deregistered or whose key changed.
func (s *Server) Disconnect(a transport.Address) {
	s.mu.RLock()
	ss := s.sessions[a]
	s.mu.RUnlock()
	if ss != nil {
		ss.end(codeDropped, "dropped")
	}
}

// begin counts a session or a handshake in; false means that the server is leaving.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return false
	}
	s.running.Add(1)
	return true
}

// Shutdown admits nobody any more, tells every node that the server is going away, so that it connects elsewhere at once, and returns when all connections have ended or, with ctx's error, when ctx
// ends; in that case what is left is cut. Receive goes on until then, and then ends with ErrClosed. The http.Server is the host's to shut down, after this.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.leaving = true
	all := make([]*session, 0, len(s.sessions))
	for _, ss := range s.sessions {
		all = append(all, ss)
	}
	s.mu.Unlock()
	for _, ss := range all {
		ss.goAway()
	}
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.cut()
	<-done
	return err
}

// Close ends everything at once and returns when it has ended. A handler of Receive that is running is waited for.
func (s *Server) Close() error {
	s.cut()
	s.running.Wait()
	return nil
}

func (s *Server) cut() {
	s.gate.Kill(transport.ErrClosed)
	s.mu.Lock()
	s.leaving = true
	all := make([]*session, 0, len(s.sessions))
	for _, ss := range s.sessions {
		all = append(all, ss)
	}
	s.mu.Unlock()
	s.cancel()
	for _, ss := range all {
		ss.kill()
	}
}

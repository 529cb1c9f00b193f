package httptransport

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Long poll. A node asks for a challenge and answers it; what the server must remember of the challenge travels with it under a MAC, so that strangers cost no memory:
//
//	cookie   expiry-unix-ms(8) binding(1) exporter(32, zeros without) challenge(32) mac(32)
//
// POST challenge gives hello, cookie; POST session takes cookie, auth and gives a welcome with the token that the other three requests carry as a bearer.
const lenCookie = 8 + 1 + lenExporter + lenChallenge + sha256.Size

// pollSession is the long-poll half of a session.
type pollSession struct {
	token [sha256.Size]byte // hash of the token
	turn  chan struct{}     // capacity 1: held while messages of the node are delivered
	heard uint64            // the last batch that was delivered; guarded by turn
	lapse *time.Timer       // ends the session when no poll came

	mu      sync.Mutex
	polls   int           // polls under way
	told    uint64        // the number of batch
	batch   []byte        // the last one that was sent, until the node says that it has it
	preempt chan struct{} // closed when a newer poll came
}

// usedChallenges remembers the challenges that were answered, until they have expired: a recorded answer opens no second session, and one challenge is good for one guess. Challenges are given under
// the admission's limit, and so there are few.
type usedChallenges struct {
	mu   sync.Mutex
	seen map[[lenChallenge]byte]time.Time
}

// add reports whether the challenge is new.
func (u *usedChallenges) add(c [lenChallenge]byte, expiry, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.seen[c]; ok {
		return false
	}
	if u.seen == nil {
		u.seen = make(map[[lenChallenge]byte]time.Time)
	}
	if len(u.seen)%256 == 255 {
		for k, e := range u.seen {
			if e.Before(now) {
				delete(u.seen, k)
			}
		}
	}
	u.seen[c] = expiry
	return true
}

func (s *Server) serveChallenge(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.enter(w)
	if !ok {
		return
	}
	defer leave()
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(s.cfg.Handshake).UnixMilli()))
	h := hello{binding: bindNone}
	var exp [lenExporter]byte
	if r.TLS != nil && !s.cfg.NoBinding {
		h.binding = bindExporter
		e, err := exporter(r.TLS)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		copy(exp[:], e)
	}
	rand.Read(h.challenge[:])
	b = append(append(append(b, h.binding), exp[:]...), h.challenge[:]...)
	b = append(b, s.mac(b)...)
	w.Header().Set("Content-Type", typeBytes)
	w.Write(append(h.append(nil), b...))
}

func (s *Server) mac(b []byte) []byte {
	m := hmac.New(sha256.New, s.cookie[:])
	m.Write(b)
	return m.Sum(nil)
}

// openCookie returns what a cookie of this server holds.
func (s *Server) openCookie(b []byte, now time.Time) (challenge [lenChallenge]byte, binding []byte, expiry time.Time, ok bool) {
	const body = lenCookie - sha256.Size
	if len(b) != lenCookie || !hmac.Equal(s.mac(b[:body]), b[body:]) {
		return
	}
	expiry = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	if now.After(expiry) {
		return
	}
	copy(challenge[:], b[9+lenExporter:])
	if b[8] == bindExporter {
		binding = b[9 : 9+lenExporter]
	}
	return challenge, binding, expiry, true
}

func (s *Server) serveSession(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		s.sendAway(w, s.admit.later(time.Now()))
		return
	}
	defer s.running.Done()
	body, ok := readBody(w, r, lenCookie+maxAuth)
	if !ok {
		return
	}
	answer := func(v welcome) {
		w.Header().Set("Content-Type", typeBytes)
		w.Write(v.append(nil))
	}
	if len(body) < lenCookie {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	now := time.Now()
	challenge, binding, expiry, ok := s.openCookie(body[:lenCookie], now)
	if !ok || !s.used.add(challenge, expiry, now) { // too old, of another control plane, or answered before, rightly or not: begin again
		answer(welcome{verdict: tryLater, token: make([]byte, lenToken)})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Handshake)
	defer cancel()
	addr, verdict := s.verify(ctx, mediumPoll, body[lenCookie:], challenge, binding)
	token := make([]byte, lenToken)
	if verdict == accepted {
		rand.Read(token)
		ss := s.newSession(addr)
		ss.out.wake = make(chan struct{}, 1)
		ss.poll = &pollSession{token: sha256.Sum256(token), turn: make(chan struct{}, 1)}
		ss.poll.startLapse(ss)
		if !s.register(ss) {
			ss.poll.lapse.Stop()
			verdict = tryLater
		}
	}
	if verdict != accepted {
		clear(token)
	}
	answer(welcome{verdict: verdict, keepAlive: s.cfg.Poll, token: token})
}

// startLapse makes the timer that ends the session when for two and a half keep-alive intervals no poll was under way.
func (p *pollSession) startLapse(ss *session) {
	p.lapse = time.AfterFunc(ss.s.cfg.KeepAlive*silence/2, func() {
		p.mu.Lock()
		idle := p.polls == 0
		p.mu.Unlock()
		if idle {
			ss.end(websocket.StatusNormalClosure, "lapsed")
		}
	})
}

// finish is what follows the end of a session: its last delivery, then it is off the list.
func (p *pollSession) finish(ss *session) {
	p.lapse.Stop()
	p.turn <- struct{}{} // for good
	ss.s.unregister(ss)
}

// bearer finds the session of a request.
func (s *Server) bearer(w http.ResponseWriter, r *http.Request) (*session, bool) {
	v, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var ss *session
	s.mu.RLock()
	leaving := s.leaving
	s.mu.RUnlock()
	if token, err := base64.RawURLEncoding.DecodeString(v); ok && err == nil && len(token) == lenToken {
		s.mu.RLock()
		ss = s.tokens[sha256.Sum256(token)]
		s.mu.RUnlock()
	}
	if ss == nil && leaving { // it may have been one until a moment ago
		w.Header().Set(headerRetry, "0")
		http.Error(w, "going away", http.StatusGone)
		return nil, false
	}
	if ss == nil {
		http.Error(w, "no such session", http.StatusUnauthorized)
		return nil, false
	}
	return ss, true
}

// servePoll waits for messages and gives them, or answers 204 after Poll, or sooner if the node asks for that because a proxy on the way is impatient. 410 says that the session is over and why.
func (s *Server) servePoll(w http.ResponseWriter, r *http.Request) {
	ss, ok := s.bearer(w, r)
	if !ok {
		return
	}
	p := ss.poll
	mine := make(chan struct{})
	p.mu.Lock()
	if p.preempt != nil {
		close(p.preempt)
	}
	p.preempt = mine
	p.polls++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.polls--
		if p.preempt == mine {
			p.preempt = nil
		}
		p.mu.Unlock()
		p.lapse.Reset(s.cfg.KeepAlive * silence / 2)
		select {
		case <-ss.over:
			p.lapse.Stop()
		default:
		}
	}()
	seen, err := strconv.ParseUint(r.Header.Get(headerSeq), 10, 64)
	if err != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	wait := s.cfg.Poll
	if ms, err := strconv.ParseUint(r.Header.Get(headerWait), 10, 32); err == nil {
		wait = min(wait, time.Duration(ms)*time.Millisecond)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ss.over:
			s.gone(w, ss)
			return
		default:
		}
		if batch, n := p.next(ss, seen); batch != nil {
			w.Header().Set("Content-Type", typeBytes)
			w.Header().Set(headerSeq, strconv.FormatUint(n, 10))
			w.Write(batch)
			return
		}
		select {
		case <-ss.out.wake:
		case <-ss.over:
		case <-mine:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-t.C:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// next returns the batch that follows the one that the node has seen: the last one again, if that got lost on its way, or what is queued.
func (p *pollSession) next(ss *session, seen uint64) ([]byte, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.batch != nil && seen < p.told {
		return p.batch, p.told
	}
	p.batch = nil
	for _, data := range ss.out.take() {
		p.batch = appendFrame(p.batch, data)
	}
	if p.batch != nil {
		p.told++
	}
	return p.batch, p.told
}

func (s *Server) gone(w http.ResponseWriter, ss *session) {
	if ss.code == websocket.StatusGoingAway {
		w.Header().Set(headerRetry, "0")
	}
	http.Error(w, "session is over: "+ss.text, http.StatusGone)
}

// serveSend delivers a batch, in turn and once. It answers when the last message was handled, which is the back-pressure.
func (s *Server) serveSend(w http.ResponseWriter, r *http.Request) {
	ss, ok := s.bearer(w, r)
	if !ok {
		return
	}
	body, ok := readBody(w, r, maxBatch)
	if !ok {
		return
	}
	frames, err := parseFrames(body)
	seq, serr := strconv.ParseUint(r.Header.Get(headerSeq), 10, 64)
	if err != nil || serr != nil || seq == 0 {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	select {
	case ss.poll.turn <- struct{}{}:
	case <-ss.over:
		s.gone(w, ss)
		return
	case <-r.Context().Done():
		return
	}
	defer func() { <-ss.poll.turn }()
	if seq <= ss.poll.heard { // its answer got lost, and it came once more
		w.WriteHeader(http.StatusNoContent)
		return
	}
	ss.poll.heard = seq
	for _, data := range frames {
		if !ss.deliver(data) {
			s.gone(w, ss)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// serveClose ends a session that the node needs no more.
func (s *Server) serveClose(w http.ResponseWriter, r *http.Request) {
	ss, ok := s.bearer(w, r)
	if !ok {
		return
	}
	ss.end(websocket.StatusNormalClosure, "closed by the node")
	w.WriteHeader(http.StatusNoContent)
}

// readBody reads a whole body of at most limit bytes, or answers.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(30 * time.Second))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		return nil, false
	case err != nil:
		http.Error(w, "bad request", http.StatusBadRequest)
		return nil, false
	}
	return body, true
}

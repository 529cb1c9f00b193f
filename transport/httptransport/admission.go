package httptransport

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/fleetwright/fleetwright/fault"
)

// admission is a token bucket that also spreads those who found it empty: each is told a time of its own to come back, one after another at the bucket's rate, so that a herd
// comes back as a queue. The queue begins when the bucket is half full again, so that hardly anybody finds it empty twice, although nobody is exactly in time.
type admission struct {
	limit *rate.Limiter
	every time.Duration // between two who are told to come back
	ahead time.Duration // from now to the first of a queue
	most  time.Duration

	mu   sync.Mutex
	next time.Time // the last time that somebody was told
}

func newAdmission(perSecond float64, burst int, most time.Duration) *admission {
	return &admission{limit: rate.NewLimiter(rate.Limit(perSecond), burst), every: time.Duration(float64(time.Second) / perSecond),
		ahead: time.Duration(float64(burst) / 2 * float64(time.Second) / perSecond), most: most}
}

// take takes a token, or says after what time to try again.
func (a *admission) take(now time.Time) (after time.Duration, ok bool) {
	if a.limit.AllowN(now, 1) {
		return 0, true
	}
	return a.later(now), false
}

// later returns when to come back: the next free time, with a little jitter, at most most and then spread over its second half.
func (a *admission) later(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next.Before(now) {
		a.next = now.Add(min(a.ahead, a.most/2))
	}
	if a.next.Sub(now)+a.every > a.most {
		return a.most/2 + rand.N(a.most/2+1)
	}
	a.next = a.next.Add(a.every)
	return a.next.Sub(now) + rand.N(a.every+100*time.Millisecond)
}

// problem is the body of an error.
type problem struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
}

func writeProblem(w http.ResponseWriter, status int, code fault.Code, msg string) {
	b, _ := json.Marshal(problem{code, msg})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
}

// sendAway answers that the caller shall come back after the time. The connection is not kept: it would cost more than it saves.
func (s *Server) sendAway(w http.ResponseWriter, after time.Duration) {
	s.count.throttled.Add(1)
	w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	w.Header().Set(headerRetry, strconv.FormatInt(after.Milliseconds(), 10))
	w.Header().Set("Connection", "close")
	writeProblem(w, http.StatusServiceUnavailable, fault.Throttling, "too many at once; come back after the time in Retry-After")
}

// enter admits a handshake, or answers it. leave is called when it has ended, well or not.
func (s *Server) enter(w http.ResponseWriter) (leave func(), ok bool) {
	now := time.Now()
	if !s.begin() {
		s.sendAway(w, s.admit.later(now))
		return nil, false
	}
	after, admitted := s.admit.take(now)
	if s.pending.Add(1) > int64(s.cfg.MaxPending) || s.cfg.MaxConnections > 0 && s.board.Len() >= s.cfg.MaxConnections {
		if admitted {
			after = s.admit.later(now)
		}
		admitted = false
	}
	if !admitted {
		s.pending.Add(-1)
		s.running.Done()
		s.sendAway(w, after)
		return nil, false
	}
	return func() { s.pending.Add(-1); s.running.Done() }, true
}

package ssmops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// HandlerOptions are options of [API.Handler]; nil is the zero value.
type HandlerOptions struct {
	// Stop, when it closes, ends streams with a line that says so, for the server to shut down without waiting for watchers.
	Stop <-chan struct{}
	// Calls and Streams limit what is under way at once; what comes on top is told to come again (ThrottlingException). 0 is 256 and 1,000.
	Calls, Streams int
	// Stall is how long the body of a request may take, and a write may not move. 0 is 30 seconds.
	Stall time.Duration
}

const (
	contentType  = "application/x-amz-json-1.1"
	targetPrefix = "AmazonSSM."
)

// handler speaks JSON 1.1.
type handler struct {
	api     *API
	auth    Authenticator
	stop    <-chan struct{}
	calls   chan struct{}
	streams chan struct{}
	stall   time.Duration

	mu      sync.Mutex
	refused time.Time // when the last refusal was recorded
	silent  int       // refusals since
}

// Handler returns what the host mounts at "/": every operation for whom auth knows. It demands credentials before it looks at anything else, so that whoever has none
// learns nothing. A nil auth refuses everybody.
func (a *API) Handler(auth Authenticator, o *HandlerOptions) http.Handler {
	if o == nil {
		o = &HandlerOptions{}
	}
	limit := func(n, def int) chan struct{} {
		if n <= 0 {
			n = def
		}
		return make(chan struct{}, n)
	}
	h := &handler{api: a, auth: auth, stop: o.Stop, calls: limit(o.Calls, 256), streams: limit(o.Streams, 1000), stall: o.Stall}
	if h.stall <= 0 {
		h.stall = 30 * time.Second
	}
	return h
}

// answer is the writer of one response: it knows whether something was written.
type answer struct {
	http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration
	begun bool
}

// Write writes b, and gives up on a reader that takes nothing for as long as stall.
func (w *answer) Write(b []byte) (int, error) {
	w.begun = true
	defer w.within(w.rc.SetWriteDeadline)()
	return w.ResponseWriter.Write(b)
}

// Flush sends what was written.
func (w *answer) Flush() error {
	defer w.within(w.rc.SetWriteDeadline)()
	return w.rc.Flush()
}

// within breaks what is under way off when it lasts longer than stall; the function it returns takes that back.
func (w *answer) within(set func(time.Time) error) func() {
	t := time.AfterFunc(w.stall, func() { set(time.Unix(1, 0)) }) //nolint:errcheck // a server without deadlines waits
	return func() { t.Stop() }
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answer{ResponseWriter: rw, rc: http.NewResponseController(rw), stall: h.stall}
	id := message.NewID(h.api.rand)
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		h.api.log.Error("a handler panicked", "request", id, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
		if w.begun {
			panic(http.ErrAbortHandler)
		}
		h.fail(w, fault.New("ssmops.Handler", fault.InternalServerError, ""))
	}()
	ctx, err := h.identify(r)
	if err != nil {
		h.refuse(r, err)
		w.Header().Set("WWW-Authenticate", "Bearer")
		h.fail(w, err)
		return
	}
	op, stream, err := h.serve(ctx, w, r)
	if err == nil {
		return
	}
	if k := fault.KindOf(err); k == fault.Internal || k == fault.Corrupt || k == fault.Unknown || k == fault.Unavailable {
		h.api.log.LogAttrs(ctx, slog.LevelError, "a call failed", slog.String("request", id), slog.String("operation", clip(op)), principal(ctx), slog.String("error", err.Error()))
	}
	switch {
	case !w.begun:
		h.fail(w, err)
	case stream && op != "WatchCommand": // what follows is bytes: only a broken connection says that they are not all
		panic(http.ErrAbortHandler)
	}
}

// identify returns a ctx that carries the caller.
func (h *handler) identify(r *http.Request) (context.Context, error) {
	unknown := fault.New("ssmops.Authenticate", fault.Unauthorized, "")
	if h.auth == nil {
		return nil, unknown
	}
	p, err := h.auth.Authenticate(r)
	if err != nil || p.Name == "" {
		return nil, unknown // whatever the reason is
	}
	return access.With(r.Context(), p), nil
}

// refuse records that somebody without credentials called. Anybody can make it do so: it writes at most one entry a second, which counts those between.
func (h *handler) refuse(r *http.Request, err error) {
	now := h.api.now()
	h.mu.Lock()
	h.silent++
	n := h.silent
	if !h.refused.IsZero() && now.Sub(h.refused) < time.Second && !now.Before(h.refused) {
		h.mu.Unlock()
		return
	}
	h.refused, h.silent = now, 0
	h.mu.Unlock()
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	e := audit.Of(ActionAuthenticate, "*", err)
	e.Outcome = audit.Denied
	e.IDs = map[string]string{"calls": strconv.Itoa(n), "remote": host}
	if err := h.api.Audit.Read(context.WithoutCancel(r.Context()), e); err != nil {
		h.api.log.Error("call not recorded", "action", e.Action, "error", err)
	}
	h.api.log.Warn("calls without valid credentials refused", "remote", host, "calls", n)
}

// ActionAuthenticate is the action of audit entries of callers without valid credentials. Its id "calls" counts those since the entry before; at most one entry a second is written.
const ActionAuthenticate = "fleetwright:Authenticate"

// serve carries a request out. It returns the operation's name, whether it streams, and the error.
func (h *handler) serve(ctx context.Context, w *answer, r *http.Request) (op string, stream bool, err error) {
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	if r.Method != http.MethodPost || r.URL.Path != "/" || !ok {
		return op, false, fault.New("ssmops.Handler", unknownOperation, "send POST / with the header X-Amz-Target: %sOPERATION", targetPrefix)
	}
	row, known := h.api.ops[op]
	slots := h.calls
	if known && row.Streams {
		slots = h.streams
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		return op, false, fault.New("ssmops.Handler", fault.Throttling, "too many calls are under way: try again later")
	}
	in, err := h.body(w, r)
	if err != nil {
		if known {
			h.api.audit(ctx, row.Permission, "*", err)
		}
		return op, false, err
	}
	if row, err = h.api.row(ctx, op, in); err != nil {
		return op, false, err
	}
	if !row.Streams {
		out, err := h.api.call(ctx, &row, in)
		if err != nil {
			return op, false, err
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(out)))
		w.Write(out) //nolint:errcheck // the caller went away
		return op, false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if h.stop != nil {
		stopped := make(chan struct{})
		defer func() { cancel(); <-stopped }()
		go func() {
			defer close(stopped)
			select {
			case <-h.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	to := &sink{w: w, flush: w.Flush, header: func(ct string, head http.Header) {
		for k, v := range head {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Type", ct)
	}}
	err = h.api.stream(ctx, &row, in, to)
	if err == nil && !w.begun { // nothing to tell
		w.WriteHeader(http.StatusOK)
	}
	return op, true, err
}

// body reads the request.
func (h *handler) body(w *answer, r *http.Request) ([]byte, error) {
	const op = "ssmops.Handler"
	stop := w.within(w.rc.SetReadDeadline)
	b, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, MaxRequest))
	stop()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fault.New(op, tooLarge, "the request is larger than %d bytes", MaxRequest)
	case err != nil:
		return nil, fault.New(op, serialization, "the request did not arrive whole")
	}
	return b, nil
}

// fail answers with an error.
func (h *handler) fail(w *answer, err error) {
	b, code := errorBody(err), fault.CodeOf(err)
	head := w.Header()
	head.Set("Content-Type", contentType)
	head.Set("X-Amzn-Errortype", fault.Clean(string(code)))
	head.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status(code))
	w.Write(b) //nolint:errcheck // the caller went away
}

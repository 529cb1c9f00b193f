package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// Integration is what is called (AWS: a webhook integration of Automation).
type Integration struct {
	URL     secret.Value            // https://…; many have a token in them
	Headers map[string]secret.Value // such as Authorization
	Payload string                  // what is sent when the step has no Body
}

// Integrations looks integrations up.
type Integrations interface {
	// Integration returns one by its name. It is asked as who started the execution. An error says what to do and holds no secret; a NotFound kind means that there is none.
	Integration(ctx context.Context, c automation.Call, name string) (Integration, error)
}

// Guard says which addresses may be connected to. action/download's Guard is one that lets only public addresses through, and those that its host allows.
type Guard interface {
	// Check reports why an address may not be connected to, nil when it may. It is safe for concurrent use.
	Check(a netip.Addr) error
}

// Options of New; nil is the zero value.
type Options struct {
	Plain    bool          // speak HTTP where an integration says so; secrets and bodies can be read on the way then
	AnyCode  bool          // succeed whatever the status code of the answer is, so that the runbook decides; else what is no 2xx fails the step
	Timeout  time.Duration // of one call; 0 is 60 s
	Response int           // bytes of the answer that are kept; 0 is 100 KB
	Tries    int           // when the answer is 429, Too Many Requests; 0 is 3
	Pause    time.Duration // before the second try, doubled each time; 0 is 1 s. A Retry-After of at most a minute is obeyed.
	TLS      *tls.Config   // such as authorities of the host's own; nil is the machine's
}

type hook struct {
	in     Integrations
	o      Options
	client *http.Client
}

// New returns the action aws:invokeWebhook. Its outputs are Response and ResponseCode. A call is not made again when a control plane crashed while it ran: nobody knows whether it was done, and the
// step is Interrupted.
func New(in Integrations, g Guard, o *Options) automation.Action {
	h := &hook{in: in}
	if o != nil {
		h.o = *o
	}
	if h.o.Timeout <= 0 {
		h.o.Timeout = 60 * time.Second
	}
	if h.o.Response <= 0 {
		h.o.Response = 100 << 10
	}
	if h.o.Tries <= 0 {
		h.o.Tries = 3
	}
	if h.o.Pause <= 0 {
		h.o.Pause = time.Second
	}
	t := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: h.o.TLS.Clone()}
	dialer := &net.Dialer{Timeout: 30 * time.Second, Control: func(network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		switch {
		case err != nil || network != "tcp4" && network != "tcp6":
			return refusal{"there is no address"}
		case g == nil:
			return refusal{"this control plane has no guard for webhooks"}
		}
		if err := g.Check(ap.Addr().WithZone("").Unmap()); err != nil {
			return refusal{"its address may not be connected to: it is not public, and was not allowed"}
		}
		return nil
	}}
	t.DialContext = dialer.DialContext
	h.client = &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		first := via[0].URL
		if len(via) > 3 || r.URL.Host != first.Host || r.URL.Scheme != first.Scheme || r.Method != via[0].Method {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return automation.Action{Run: h.run}
}

// refusal is an address that is not connected to.
type refusal struct{ why string }

func (r refusal) Error() string { return r.why }

func failure(stage automation.Stage, typ automation.FailureType, format string, a ...any) *automation.CallError {
	return &automation.CallError{Failure: automation.Failure{Stage: stage, Type: typ, Message: fmt.Sprintf(format, a...)}}
}

func (h *hook) run(ctx context.Context, c automation.Call) (any, error) {
	name, _ := c.Inputs["IntegrationName"].(string)
	if name == "" {
		return nil, failure(automation.InputValidation, automation.ActionFailure, "IntegrationName is empty")
	}
	shown := fault.Clean(clip(name))
	if h.in == nil {
		return nil, failure(automation.PreVerification, automation.InternalFailure, "this control plane has no integrations: its host was not given a way to find them")
	}
	in, err := h.in.Integration(ctx, c, name)
	switch fault.KindOf(err) {
	case fault.Denied, fault.Unauthenticated:
		return nil, failure(automation.PreVerification, automation.PermissionFailure, "who runs this may not use the integration %s", shown)
	}
	if err != nil {
		return nil, failure(automation.PreVerification, automation.ActionFailure, "the integration %s cannot be had: %s", shown, fault.MessageOf(err))
	}
	body := in.Payload
	if b, ok := c.Inputs["Body"]; ok && b != nil {
		if s, ok := b.(string); ok {
			body = s
		} else if enc, err := json.Marshal(b); err == nil {
			body = string(enc)
		}
	}
	pause := h.o.Pause
	for try := 1; ; try++ {
		out, code, wait, err := h.call(ctx, shown, &in, body)
		if code != http.StatusTooManyRequests || try >= h.o.Tries {
			return out, err
		}
		t := time.NewTimer(max(pause, wait))
		select {
		case <-ctx.Done():
			t.Stop()
			return out, err
		case <-t.C:
		}
		pause *= 2
	}
}

// call calls once. wait is how long the other side asks to be left alone.
func (h *hook) call(ctx context.Context, shown string, in *Integration, body string) (out any, code int, wait time.Duration, err error) {
	ctx, stop := context.WithTimeout(ctx, h.o.Timeout)
	defer stop()
	r, bad := h.request(ctx, in, body)
	if bad != "" {
		return nil, 0, 0, failure(automation.PreVerification, automation.ActionFailure, "the integration %s %s", shown, bad)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return nil, 0, 0, h.broken(ctx, shown, err)
	}
	defer resp.Body.Close() //nolint:errcheck // a reader
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(h.o.Response)+1))
	if err != nil {
		return nil, 0, 0, h.broken(ctx, shown, err)
	}
	if len(data) > h.o.Response {
		data = data[:h.o.Response]
	}
	text := strings.ToValidUTF8(string(data), "\uFFFD")
	if resp.StatusCode/100 == 2 || h.o.AnyCode && resp.StatusCode != http.StatusTooManyRequests {
		return map[string]any{"Response": text, "ResponseCode": int64(resp.StatusCode)}, resp.StatusCode, 0, nil
	}
	typ := automation.ActionFailure
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		typ = automation.ThrottlingFailure
		if d, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil && d > 0 && d <= time.Minute {
			wait = d
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		typ = automation.PermissionFailure
	}
	e := failure(automation.Invocation, typ, "the integration %s answered with status code %d", shown, resp.StatusCode)
	e.Failure.Details = map[string][]string{"ResponseCode": {fmt.Sprint(resp.StatusCode)}, "Response": {clipTo(text, 2000)}}
	return nil, resp.StatusCode, wait, e
}

// broken makes a failure of an error of the client. Its text may hold the URL, and what a server made up: only what is known of it is told.
func (h *hook) broken(ctx context.Context, shown string, err error) error {
	var refused refusal
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused):
		return failure(automation.PreVerification, automation.PermissionFailure, "the integration %s: %s", shown, refused.why)
	case ctx.Err() != nil:
		return failure(automation.Invocation, automation.ActionFailure, "the integration %s did not answer in time: nobody knows whether it was done", shown)
	case errors.As(err, &dns):
		return failure(automation.Invocation, automation.ActionFailure, "the integration %s: the name of its server cannot be resolved", shown)
	}
	return failure(automation.Invocation, automation.ActionFailure, "the integration %s cannot be reached, or its server does not speak HTTP or has no valid certificate", shown)
}

// request makes the request. bad says what is wrong with the integration, without what it holds.
func (h *hook) request(ctx context.Context, in *Integration, body string) (r *http.Request, bad string) {
	u, err := url.Parse(string(in.URL.Reveal()))
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, "has no valid URL"
	case u.User != nil:
		return nil, "has a user in its URL: put it into the header Authorization"
	case u.Scheme == "http" && !h.o.Plain:
		return nil, "has a URL that is not https"
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "has a URL that is not https"
	}
	r, err = http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, "has no valid URL"
	}
	r.Header.Set("User-Agent", "fleetwright")
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if json.Valid([]byte(body)) {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, v := range in.Headers {
		value := string(v.Reveal())
		if !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			return nil, "has a header that is none"
		}
		if strings.EqualFold(name, "Host") {
			return nil, "has a header Host, which is the URL's"
		}
		r.Header.Set(name, value)
	}
	return r, ""
}

// token reports whether a header can have a name.
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func clip(s string) string { return clipTo(s, 80) }

func clipTo(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

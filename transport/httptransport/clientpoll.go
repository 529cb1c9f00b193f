package httptransport

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxLapses is how many polls or sends in a row may fail until the session is given up.
const maxLapses = 3

// answer is a response that was read whole.
type answer struct {
	*http.Response
	body []byte
}

// ask makes one request and reads its answer. The answer's TLS state is what the request went over.
func ask(ctx context.Context, hc *http.Client, method, url, token string, body []byte, seq uint64, wait time.Duration) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", typeBytes)
	}
	if token != "" {
		req.Header.Set(headerSeq, strconv.FormatUint(seq, 10))
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if wait > 0 {
		req.Header.Set(headerWait, strconv.FormatInt(wait.Milliseconds(), 10))
	}
	resp, err := hc.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBatch+1))
	if err != nil {
		return answer{}, err
	}
	if len(b) > maxBatch {
		return answer{}, errShape
	}
	return answer{resp, b}, nil
}

func (a answer) ours() bool { return a.Header.Get(headerOurs) != "" }

func (a answer) err(what string) error {
	return fmt.Errorf("httptransport: %s: answer %s", what, a.Status)
}

// pollOnce connects by long poll and stays until the session ends.
func (c *Client) pollOnce(base string) ended {
	tr, err := c.cfg.transport()
	if err != nil {
		return ended{err: err}
	}
	defer tr.CloseIdleConnections()
	hc := httpClient(tr)
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Handshake)
	defer cancel()
	fail := func(err error) ended { return ended{err: fmt.Errorf("httptransport: during the handshake: %w", err)} }

	a, err := ask(ctx, hc, http.MethodPost, base+pathChallenge, "", []byte{}, 0, 0)
	switch {
	case err != nil:
		return fail(err)
	case a.StatusCode == http.StatusServiceUnavailable && a.ours():
		return ended{err: a.err("the control plane has too much to do"), awayFor: awayFor(a.Header)}
	case a.StatusCode != http.StatusOK || !a.ours() || len(a.body) != lenHello+lenCookie:
		return ended{err: a.err("no control plane answers at this URL")}
	}
	h, err := parseHello(a.body[:lenHello])
	if err != nil {
		return fail(err)
	}
	au, err := sign(c.cfg.Key, mediumPoll, c.cfg.Address, h, a.TLS)
	if err != nil {
		return fail(err)
	}
	a, err = ask(ctx, hc, http.MethodPost, base+pathSession, "", au.append(a.body[lenHello:]), 0, 0)
	switch {
	case err != nil:
		return fail(err)
	case a.StatusCode == http.StatusServiceUnavailable && a.ours():
		return ended{err: a.err("the control plane has too much to do"), awayFor: awayFor(a.Header)}
	case a.StatusCode != http.StatusOK || !a.ours():
		return ended{err: a.err("the control plane did not open a session")}
	}
	w, err := parseWelcome(a.body, lenToken)
	switch {
	case err != nil:
		return fail(err)
	case w.verdict == refused:
		return ended{refused: true}
	case w.verdict == tryLater:
		return ended{err: errors.New("httptransport: the control plane cannot check this node's key at present")}
	}
	return c.servePolls(hc, base, base64.RawURLEncoding.EncodeToString(w.token), w.keepAlive)
}

// servePolls is the life of a session.
func (c *Client) servePolls(hc *http.Client, base, token string, wait time.Duration) ended {
	start := time.Now()
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	var seq uint64
	out := &outbox{maxCount: c.cfg.Queue, maxBytes: c.cfg.QueueBytes, write: func(batch [][]byte) bool {
		seq++
		err := c.post(ctx, hc, base, token, seq, batch)
		if err != nil {
			cancel(err)
		}
		return err == nil
	}}
	c.up(out, mediumPoll)
	e := c.pollLoop(ctx, hc, base, token, wait)
	if cause := context.Cause(ctx); cause != nil && c.ctx.Err() == nil {
		e.err = cause
	}
	cancel(nil)
	e.lived = max(time.Since(start), 1)
	if c.ctx.Err() != nil { // closed by its owner: the server need not wait for the session to lapse
		bye, stop := context.WithTimeout(context.Background(), time.Second)
		ask(bye, hc, http.MethodPost, base+pathClose, token, []byte{}, 0, 0)
		stop()
	}
	return e
}

// pollLoop polls until the session ends.
func (c *Client) pollLoop(ctx context.Context, hc *http.Client, base, token string, wait time.Duration) ended {
	var deaf bool
	var seen uint64 // the last batch that arrived
	lapses := 0
	for {
		once, stop := context.WithTimeout(ctx, wait+15*time.Second)
		a, err := ask(once, hc, http.MethodGet, base+pathPoll, token, nil, seen, wait)
		stop()
		if ctx.Err() != nil {
			return ended{err: ctx.Err()}
		}
		switch {
		case err == nil && a.ours() && a.StatusCode == http.StatusOK:
			frames, err := parseFrames(a.body)
			n, serr := strconv.ParseUint(a.Header.Get(headerSeq), 10, 64)
			if err != nil || serr != nil {
				return ended{err: errShape}
			}
			lapses = 0
			if n <= seen {
				continue
			}
			seen = n
			for _, data := range frames {
				c.deliver(&deaf, bytes.Clone(data))
			}
			continue
		case err == nil && a.ours() && a.StatusCode == http.StatusNoContent:
			lapses = 0
			continue
		case err == nil && a.ours():
			return ended{err: a.err("the session is over"), goingAway: a.StatusCode == http.StatusGone && a.Header.Get(headerRetry) == "0"}
		case err == nil:
			err = a.err("something on the way answered a poll")
		}
		// A proxy that does not wait as long as the server does: ask for less. Others get the same patience.
		if lapses++; lapses >= maxLapses {
			return ended{err: err}
		}
		wait = max(wait/2, min(wait, time.Second))
		if !c.pause(ctx, lapses) {
			return ended{err: err}
		}
	}
}

// post sends a batch. What may or may not have arrived is sent again; by its number the server knows it.
func (c *Client) post(ctx context.Context, hc *http.Client, base, token string, seq uint64, batch [][]byte) error {
	var body []byte
	for _, data := range batch {
		body = appendFrame(body, data)
	}
	for lapses := 1; ; lapses++ {
		once, stop := context.WithTimeout(ctx, time.Minute)
		a, err := ask(once, hc, http.MethodPost, base+pathSend, token, body, seq, 0)
		stop()
		switch {
		case err == nil && a.ours() && a.StatusCode == http.StatusNoContent:
			return nil
		case err == nil && a.ours():
			return a.err("the session is over")
		case err == nil:
			err = a.err("something on the way answered")
		}
		if lapses >= maxLapses || !c.pause(ctx, lapses) {
			return err
		}
	}
}

// pause waits as the backoff says and reports whether ctx still lives.
func (c *Client) pause(ctx context.Context, n int) bool {
	t := time.NewTimer(backoff(n, c.cfg.BackoffBase, c.cfg.BackoffCap, c.cfg.Rand))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package ssmops

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// ClientOptions of NewClient; nil is the zero value.
type ClientOptions struct {
	Token       secret.Value     // sent as a bearer token
	Certificate *tls.Certificate // shown to the server
	CA          []byte           // PEM of the authorities to trust instead of the system's
	Pool        *x509.CertPool   // added to by CA; nil is the system's, or CA alone
	Timeout     time.Duration    // of a call, without streams; 0 is one minute
}

// Client calls a control plane's operations. It is safe for concurrent use. It tries each call once: whether to repeat it is the caller's to know.
type Client struct {
	url   string
	token secret.Value
	http  *http.Client
	wait  time.Duration
}

// NewClient returns a client of the control plane at the URL, "https://plane:8443". Plain http is taken for loopback addresses only, because the token goes with every call.
func NewClient(base string, o *ClientOptions) (*Client, error) {
	const op = "ssmops.NewClient"
	if o == nil {
		o = &ClientOptions{}
	}
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fault.New(op, fault.Validation, "%q is no address of a control plane: write https://HOST:PORT", clip(base))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, fault.New(op, fault.Validation, "%q has more than a host and a port: write https://HOST:PORT", clip(u.Redacted()))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fault.New(op, fault.Validation, "%q would send the token in the clear: write https://", clip(base))
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Pool}
	if len(o.CA) > 0 {
		if conf.RootCAs == nil {
			conf.RootCAs = x509.NewCertPool()
		} else {
			conf.RootCAs = conf.RootCAs.Clone()
		}
		if !conf.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, fault.New(op, fault.Validation, "the authority is no PEM certificate")
		}
	}
	if o.Certificate != nil {
		conf.Certificates = []tls.Certificate{*o.Certificate}
	}
	c := &Client{url: u.Scheme + "://" + u.Host + "/", token: o.Token, wait: o.Timeout}
	if c.wait <= 0 {
		c.wait = time.Minute
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute,
			ResponseHeaderTimeout: c.wait, MaxResponseHeaderBytes: 64 << 10,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
	}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// maxAnswer is the largest answer of a call that is read: a plan of a large fleet is the largest there is.
const maxAnswer = 256 << 20

// Call calls an operation with in as its request (nil is none) and reads its answer into out (nil throws it away). An error is a *fault.Error: with the control plane's code and text, or
// ServiceUnavailable when there was no answer; the call may have been carried out then. Requests and answers may be the services' own types: times travel as AWS's protocol has them, and values that hide
// are told.
func (c *Client) Call(ctx context.Context, operation string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	resp, err := c.do(ctx, operation, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fault.New("ssmops.Client", fault.ServiceUnavailable, "%s: the answer did not arrive whole: %w", operation, err)
	}
	if out == nil {
		return nil
	}
	if err := fromWire("ssmops.Client", b, out); err != nil {
		return fault.New("ssmops.Client", fault.ServiceUnavailable, "%s: the answer is not understood: %w", operation, err)
	}
	return nil
}

// Stream calls a streaming operation. The caller closes the body; header has what GetCommandOutput tells of the output.
func (c *Client) Stream(ctx context.Context, operation string, in any) (body io.ReadCloser, header http.Header, err error) {
	resp, err := c.do(ctx, operation, in)
	if err != nil {
		return nil, nil, err
	}
	return resp.Body, resp.Header, nil
}

// do sends a request and turns every answer but 200 into an error.
func (c *Client) do(ctx context.Context, operation string, in any) (*http.Response, error) {
	const op = "ssmops.Client"
	body := []byte("{}")
	if in != nil {
		var err error
		if body, err = wireOf(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, fault.New(op, fault.Validation, "the request cannot be made: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Amz-Target", targetPrefix+operation)
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+string(c.token.Reveal()))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return nil, fault.Wrap(op, ctx.Err())
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fault.New(op, fault.ServiceUnavailable, "the control plane at %s cannot be reached: %w", c.url, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // Message too
	}
	if err != nil || json.Unmarshal(b, &e) != nil || e.Type == "" {
		return nil, fault.New(op, fault.ServiceUnavailable, "%s answered %s: is this the control plane's address?", c.url, clip(resp.Status))
	}
	return nil, &fault.Error{Op: op, Code: fault.Code(clip(e.Type)), Msg: cleanLines(e.Message)}
}

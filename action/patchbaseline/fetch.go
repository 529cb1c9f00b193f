package patchbaseline

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

const (
	mostList      = 4 << 20 // bytes of an override
	mostRedirects = 5
)

func (a *Action) client() *http.Client {
	rt := a.o.Transport
	if rt == nil {
		g := a.o.Guard
		rt = &http.Transport{DialContext: g.Dialer().DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: time.Minute}
	}
	return &http.Client{Transport: rt, Timeout: 5 * time.Minute, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		switch {
		case req.URL.Scheme != "https":
			return errors.New("the server redirects to a location that is not https")
		case len(via) > mostRedirects:
			return errors.New("the server redirects too often")
		}
		return nil
	}}
}

// fetch reads the content of an https:// or s3:// location. Locations may be signed, so that errors do not name them.
func (a *Action) fetch(ctx context.Context, what, location string) ([]byte, error) {
	const op = "patchbaseline.Fetch"
	refuse := func(cause error, format string, args ...any) error {
		e := fault.New(op, fault.InvalidParameters, what+": "+format, args...)
		e.Err = cause
		return e
	}
	var body io.ReadCloser
	switch scheme, _, _ := strings.Cut(location, "://"); scheme {
	case "s3":
		if a.o.Open == nil {
			return nil, refuse(nil, "this node has no way to s3:// locations: give an https:// one, or let its host add a way")
		}
		r, err := a.o.Open(ctx, location)
		if err != nil {
			return nil, refuse(err, "the content of the s3:// location could not be read")
		}
		body = r
	case "https":
		u, err := url.Parse(location)
		if err != nil || u.Host == "" || u.User != nil {
			return nil, refuse(nil, "that is no https:// location, or one with credentials in it")
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, refuse(nil, "that is no https:// location")
		}
		req.Header.Set("User-Agent", "fleetwright")
		resp, err := a.http.Do(req)
		if err != nil {
			var ue *url.Error
			if errors.As(err, &ue) {
				err = ue.Err
			}
			return nil, refuse(err, "the content could not be fetched")
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close() //nolint:errcheck // its content does not matter
			return nil, refuse(nil, "the server answered %d", resp.StatusCode)
		}
		body = resp.Body
	default:
		return nil, refuse(nil, "the location is neither https:// nor s3://")
	}
	defer body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(body, mostList+1))
	switch {
	case err != nil:
		return nil, refuse(err, "the content broke off after %d bytes", len(b))
	case len(b) > mostList:
		return nil, refuse(nil, "the content has more than %d bytes", mostList)
	}
	return b, nil
}

package httptransport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport/internal/pins"
)

const opConfig = "httptransport.ClientConfig"

// urls returns the base URLs, each with a slash at the end.
func (c *ClientConfig) urls() ([]string, error) {
	var urls []string
	for _, raw := range append([]string{c.URL}, c.Alternates...) {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fault.New(opConfig, fault.InvalidParameters, "the control plane's URL does not parse: %s", fault.Clean(err.Error()))
		}
		if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fault.New(opConfig, fault.InvalidParameters, "the control plane's URL must be like https://host:8443/v1/node/, not %q", fault.Clean(raw))
		}
		if u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
			return nil, fault.New(opConfig, fault.InvalidParameters, "the control plane's URL must begin with https://, unless it is of this machine: %q", fault.Clean(raw))
		}
		if !strings.HasSuffix(u.Path, "/") {
			u.Path += "/"
		}
		urls = append(urls, u.String())
	}
	return urls, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transport makes a RoundTripper for one connection's life; it reads CAFile. Its TCP connections are timedConns.
func (c *ClientConfig) transport() (*http.Transport, error) {
	conf, err := c.tls()
	if err != nil {
		return nil, err
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	write := c.Write
	if write <= 0 {
		write = 20 * time.Second
	}
	return &http.Transport{
		Proxy:           c.Proxy,
		TLSClientConfig: conf,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			tc := &timedConn{Conn: conn}
			tc.stuck.Store(int64(write))
			return tc, nil
		},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only: an upgrade needs it
		DisableCompression:     true,
		MaxIdleConns:           2,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    15 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
		ReadBufferSize:         2 << 10,
		WriteBufferSize:        2 << 10,
	}, nil
}

// httpClient follows no redirects: a control plane has none, and whoever could make one could send a node anywhere (rule R-23).
func httpClient(tr http.RoundTripper) *http.Client {
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (c *ClientConfig) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if len(c.RootCAs) > 0 || c.CAFile != "" {
		conf.RootCAs = x509.NewCertPool()
		if len(c.RootCAs) > 0 && !conf.RootCAs.AppendCertsFromPEM(c.RootCAs) {
			return nil, fault.New(opConfig, fault.InvalidParameters, "RootCAs has no certificate in PEM")
		}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fault.New(opConfig, fault.InvalidParameters, "CAFile cannot be read: %w", err)
			}
			if !conf.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fault.New(opConfig, fault.InvalidParameters, "CAFile %q has no certificate in PEM", fault.Clean(c.CAFile))
			}
		}
	}
	if len(c.Pins) > 0 {
		var pinned [][sha256.Size]byte
		for _, p := range c.Pins {
			b, err := hex.DecodeString(strings.ReplaceAll(p, ":", ""))
			if err != nil || len(b) != sha256.Size {
				return nil, fault.New(opConfig, fault.InvalidParameters, "Pins has %q: a pin is the SHA-256 of a certificate, 64 hex digits", fault.Clean(p))
			}
			pinned = append(pinned, [sha256.Size]byte(b))
		}
		conf.InsecureSkipVerify = true // VerifyConnection does it: there is no way without
		conf.VerifyConnection = func(cs tls.ConnectionState) error { return verifyPins(cs, pinned, time.Now()) }
	}
	return conf, nil
}

var errPin = errors.New("httptransport: none of the certificates that the server showed has the pinned SHA-256")

// verifyPins is pins.Verify with this package's error.
func verifyPins(cs tls.ConnectionState, pinned [][sha256.Size]byte, now time.Time) error {
	return pins.Verify(cs, pinned, now, errPin)
}

// Pin returns what ClientConfig.Pins takes for the first certificate of a PEM: the hex SHA-256 of its DER.
func Pin(pemBytes []byte) (string, error) {
	certs, err := parseCertificates(pemBytes)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(certs[0].Raw)
	return hex.EncodeToString(sum[:]), nil
}

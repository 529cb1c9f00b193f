package download

import (
	"net"
	"net/http"
	"time"
)

// Dialer returns a dialer that connects only where g allows.
func (g *Guard) Dialer() *net.Dialer {
	return &net.Dialer{Timeout: 30 * time.Second, Control: g.Control}
}

// transport returns an http.Transport that keeps nothing between requests and asks no proxy.
func (g *Guard) transport() *http.Transport {
	return &http.Transport{DialContext: g.Dialer().DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: headerTimeout}
}

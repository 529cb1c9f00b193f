package natstransport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport/internal/pins"
)

// Brokers says where the brokers are and how they are known. It is the same for planes, nodes and enrolments.
type Brokers struct {
	// URLs are of one cluster's servers: tls://host:4222 or wss://host:443; plain nats:// and ws:// are taken for loopback addresses only. One is enough: the others of the cluster are
	// learnt from it, and tried after these.
	URLs []string
	// Local is a broker in this process (broker.Server's NATS), reached without a socket; nil takes URLs.
	Local nats.InProcessConnProvider

	// How the brokers' certificates are known. RootCAs (PEM) and CAFile (PEM, read again for each connection) add up; without either the system's roots hold. A certificate of Pins (hex
	// SHA-256 of its DER, the broker's own or an authority's that it sends along) is trusted in their place.
	RootCAs []byte
	CAFile  string
	Pins    []string

	// Dial makes TCP connections; nil is a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Handshake   time.Duration // how long connecting may take; default 10 s
	Write       time.Duration // how long a write may not move; default 10 s
	BackoffBase time.Duration // default 500 ms; the n-th wait is up to base x 2^n, full jitter
	BackoffCap  time.Duration // default 60 s for nodes, 5 s for planes
}

// dialer is Brokers with defaults, checked.
type dialer struct {
	Brokers
	op      string
	pins    [][sha256.Size]byte
	secrets func() (nats.Option, error) // how to show who one is; asked for each connection
	name    string

	mu    sync.Mutex
	urls  []*url.URL
	next  int
	conns map[net.Conn]struct{}
	gone  bool
}

func (b Brokers) dialer(op string, most time.Duration) (*dialer, error) {
	d := &dialer{Brokers: b, op: op, conns: map[net.Conn]struct{}{}}
	def := func(v *time.Duration, to time.Duration) {
		if *v <= 0 {
			*v = to
		}
	}
	def(&d.Handshake, 10*time.Second)
	def(&d.Write, 10*time.Second)
	def(&d.BackoffBase, 500*time.Millisecond)
	def(&d.BackoffCap, most)
	if b.Local == nil && len(b.URLs) == 0 {
		return nil, fault.New(op, fault.InvalidParameters, "URLs is empty: give a broker's, like tls://broker:4222")
	}
	for _, raw := range b.URLs {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fault.New(op, fault.InvalidParameters, "a broker's URL does not parse; give one like tls://broker:4222")
		}
		secure := u.Scheme == "tls" || u.Scheme == "wss"
		switch {
		case u.User != nil:
			return nil, fault.New(op, fault.InvalidParameters, "a broker's URL has a user in it; who connects shows its key")
		case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
			return nil, fault.New(op, fault.InvalidParameters, "a broker's URL must be like tls://broker:4222, not %q", fault.Clean(raw))
		case !secure && !((u.Scheme == "nats" || u.Scheme == "ws") && loopback(u.Hostname())):
			return nil, fault.New(op, fault.InvalidParameters, "a broker's URL must begin with tls:// or wss://, unless it is of this machine: %q", fault.Clean(raw))
		}
		d.urls = append(d.urls, u)
	}
	for _, p := range b.Pins {
		h, err := hex.DecodeString(strings.ReplaceAll(p, ":", ""))
		if err != nil || len(h) != sha256.Size {
			return nil, fault.New(op, fault.InvalidParameters, "Pins has %q: a pin is the SHA-256 of a certificate, 64 hex digits", fault.Clean(p))
		}
		d.pins = append(d.pins, [sha256.Size]byte(h))
	}
	if _, err := d.roots(); err != nil {
		return nil, err
	}
	return d, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// roots returns the authorities to trust; nil is the system's.
func (d *dialer) roots() (*x509.CertPool, error) {
	if len(d.RootCAs) == 0 && d.CAFile == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if len(d.RootCAs) > 0 && !pool.AppendCertsFromPEM(d.RootCAs) {
		return nil, fault.New(d.op, fault.InvalidParameters, "RootCAs has no certificate in PEM")
	}
	if d.CAFile != "" {
		pem, err := os.ReadFile(d.CAFile)
		if err != nil {
			return nil, fault.New(d.op, fault.InvalidParameters, "CAFile cannot be read: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fault.New(d.op, fault.InvalidParameters, "CAFile %q has no certificate in PEM", fault.Clean(d.CAFile))
		}
	}
	return pool, nil
}

func (d *dialer) tls() (*tls.Config, error) {
	roots, err := d.roots()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if len(d.pins) > 0 {
		conf.InsecureSkipVerify = true // VerifyConnection does it: there is no way without
		conf.VerifyConnection = func(cs tls.ConnectionState) error { return pins.Verify(cs, d.pins, time.Now(), errPin) }
	}
	return conf, nil
}

var errPin = errors.New("natstransport: none of the certificates that the broker showed has the pinned SHA-256")

// tracked is a TCP connection that the dialer can cut, whatever state its owner is in.
type tracked struct {
	net.Conn
	d *dialer
}

func (t *tracked) Close() error {
	t.d.mu.Lock()
	delete(t.d.conns, t.Conn)
	t.d.mu.Unlock()
	return t.Conn.Close()
}

// Unwrap lets nats.go reach the socket.
func (t *tracked) Unwrap() net.Conn { return t.Conn }

// oneDial is nats.CustomDialer for one connection.
type oneDial struct {
	d   *dialer
	ctx context.Context
}

func (o oneDial) Dial(network, address string) (net.Conn, error) {
	dial := o.d.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	ctx, cancel := context.WithTimeout(o.ctx, o.d.Handshake)
	defer cancel()
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	if o.d.gone {
		conn.Close()
		return nil, net.ErrClosed
	}
	o.d.conns[conn] = struct{}{}
	return &tracked{conn, o.d}, nil
}

// cut closes every socket, so that nothing that waits for one goes on waiting, and lets no other be opened.
func (d *dialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	for c := range d.conns {
		c.Close()
	}
}

// drop closes the sockets that there are.
func (d *dialer) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.Close()
	}
}

// connect makes one connection to the next broker of the list. closed is closed when it has ended.
func (d *dialer) connect(ctx context.Context, extra ...nats.Option) (*nats.Conn, <-chan struct{}, error) {
	secrets, err := d.secrets()
	if err != nil {
		return nil, nil, err
	}
	closed := make(chan struct{})
	opts := []nats.Option{
		nats.Name(d.name), secrets, nats.NoReconnect(), nats.Timeout(d.Handshake), nats.FlusherTimeout(d.Write), nats.NoEcho(),
		nats.PingInterval(20 * time.Second), nats.MaxPingsOutstanding(2), nats.SkipHostLookup(),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
	}
	opts = append(opts, extra...)
	where := "nats://in-process"
	if d.Local != nil {
		opts = append(opts, nats.InProcessServer(d.Local))
	} else {
		d.mu.Lock()
		u := d.urls[d.next%len(d.urls)]
		d.next++
		d.mu.Unlock()
		where = u.String()
		opts = append(opts, nats.SetCustomDialer(oneDial{d, ctx}))
		if u.Scheme == "tls" || u.Scheme == "wss" {
			conf, err := d.tls()
			if err != nil {
				return nil, nil, err
			}
			opts = append(opts, nats.Secure(conf))
		}
	}
	nc, err := nats.Connect(where, opts...)
	if err != nil {
		return nil, nil, err
	}
	if nc.MaxPayload() < minPayload {
		nc.Close()
		return nil, nil, fault.New(d.op, fault.InvalidParameters, "the broker's max_payload is %d bytes; at least %d are needed", nc.MaxPayload(), minPayload)
	}
	d.learn(nc.DiscoveredServers())
	return nc, closed, nil
}

// mostLearnt is how many brokers are kept beside those that were given.
const mostLearnt = 32

// learn adds brokers of the cluster that a broker told of, to be reached the way the first one is.
func (d *dialer) learn(found []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, raw := range found {
		u, err := url.Parse(raw)
		if err != nil || len(d.urls) == 0 || len(d.urls) >= len(d.URLs)+mostLearnt {
			continue
		}
		if u.Scheme = d.urls[0].Scheme; (u.Scheme == "nats" || u.Scheme == "ws") && !loopback(u.Hostname()) {
			continue
		}
		if !slices.ContainsFunc(d.urls, func(v *url.URL) bool { return v.Host == u.Host }) {
			d.urls = append(d.urls, &url.URL{Scheme: u.Scheme, Host: u.Host})
		}
	}
}

// minPayload is the smallest max_payload of a broker that is taken: every message still fits into a window in pieces.
const minPayload = 4 << 10

// backoff returns the wait before attempt n+1: full jitter below base x 2^n, at most most.
func backoff(n int, base, most time.Duration, rand float64) time.Duration {
	d := most
	if n < 32 && base<<n > 0 && base<<n < most {
		d = base << n
	}
	return time.Duration(rand * float64(d))
}

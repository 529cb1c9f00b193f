package httptransport

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/internal/end"
)

// ClientConfig configures a Client. URL, Address and Key are required.
type ClientConfig struct {
	// URL is where the server's Handler is mounted, "https://plane:8443/v1/node/". Plain http is taken for loopback addresses only.
	URL string
	// Alternates are further control planes, tried in turn when one fails or goes away.
	Alternates []string

	Address transport.Address // the node's own: tenant and node id
	// Key is the node's key, an ed25519.PrivateKey or anything whose Public is an ed25519.PublicKey; it is asked at each connect, so that a key may rotate behind it.
	Key crypto.Signer

	// How the server is known. RootCAs (PEM) and CAFile (PEM, read again for each connection) add up; without either, the system's roots hold. A certificate of Pins (hex SHA-256 of its DER,
	// the server's own or an authority's that the server sends along) is trusted in their place.
	RootCAs []byte
	CAFile  string
	Pins    []string

	// Proxy returns the proxy for a request, as http.Transport's; nil is none. http.ProxyFromEnvironment is one.
	Proxy func(*http.Request) (*url.URL, error)
	// Dial makes TCP connections; nil is a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	ForcePoll bool // long poll, without trying a websocket

	BackoffBase time.Duration  // default 500 ms; the n-th wait is up to base x 2^n, full jitter
	BackoffCap  time.Duration  // default 60 s
	Rand        func() float64 // of the jitter, in [0, 1); safe for concurrent use; nil: math/rand/v2

	Handshake time.Duration // how long connecting may take; default 15 s
	Write     time.Duration // how long a write may not move; default 20 s

	Queue      int // messages queued before Send answers ErrBusy; default 256
	QueueBytes int // bytes queued; default 4 MiB, at least transport.MaxMessage

	// OnState is told of each change: connected, or not any more. It is called on the client's own goroutine and must not block.
	OnState func(connected bool)
	Logger  *slog.Logger // nil: none
}

func (c ClientConfig) withDefaults() (ClientConfig, error) {
	const op = "httptransport.NewClient"
	if c.Key == nil {
		return c, fault.New(op, fault.InvalidParameters, "Key is missing: the node's Ed25519 key")
	}
	if _, ok := c.Key.Public().(ed25519.PublicKey); !ok {
		return c, fault.New(op, fault.InvalidParameters, "Key is a %T; only Ed25519 is taken", c.Key.Public())
	}
	if !validAddress(c.Address) {
		return c, fault.New(op, fault.InvalidParameters, "Address %q is no node's: a tenant of up to %d and a name of up to %d of [A-Za-z0-9._-], not %q",
			fault.Clean(c.Address.String()), maxTenant, maxName, message.Controller)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.BackoffBase, 500*time.Millisecond)
	def(&c.BackoffCap, time.Minute)
	def(&c.Handshake, 15*time.Second)
	def(&c.Write, 20*time.Second)
	if c.Queue <= 0 {
		c.Queue = 256
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 4 << 20
	}
	c.QueueBytes = max(c.QueueBytes, transport.MaxMessage)
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Client is a node's end. It implements transport.Transport, and transport.Presence for the control plane's address. It connects, and connects again, on a goroutine of its own until
// it is closed or refused.
type Client struct {
	cfg   ClientConfig
	urls  []string
	plane transport.Address
	gate  end.Gate
	board end.Board

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	out     *outbox       // of the present connection
	medium  string        // of the present connection
	err     error         // why the last attempt or connection ended
	changed chan struct{} // closed at the next change of what is above
}

var _ transport.Presence = (*Client)(nil)

// NewClient returns a Client that is connecting. Its error tells what is wrong with cfg; an unreachable server is none.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	urls, err := cfg.urls()
	if err != nil {
		return nil, err
	}
	if tr, err := cfg.transport(); err != nil {
		return nil, err
	} else {
		tr.CloseIdleConnections()
	}
	c := &Client{cfg: cfg, urls: urls, plane: transport.Address{Tenant: cfg.Address.Tenant, Name: message.Controller}, done: make(chan struct{}), changed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

// Dial returns a Client that is connected, or the reason why it is not when ctx ends or the server refuses.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Wait(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Wait returns nil once the client is connected, ErrRefused or ErrClosed when it will never be, or ctx's error with the reason of the last attempt.
func (c *Client) Wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		up, last, changed := c.out != nil, c.err, c.changed
		c.mu.Unlock()
		if up {
			return nil
		}
		if err := c.gate.Dead(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("httptransport: %w; the last attempt to connect: %v", ctx.Err(), last)
			}
			return ctx.Err()
		}
	}
}

// Err returns why the client is not connected, nil when it is.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		return nil
	}
	return c.err
}

// Medium returns "websocket" or "poll", and "" when the client is not connected.
func (c *Client) Medium() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.medium
}

// Send is transport.Transport's: to is the control plane's address within the node's tenant, there is no other that a node reaches. It never waits: a full queue is
// transport.ErrBusy. What is queued when the connection ends is lost.
func (c *Client) Send(ctx context.Context, to transport.Address, data []byte) error {
	if err := c.gate.Dead(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > transport.MaxMessage {
		return tooLarge(len(data))
	}
	c.mu.Lock()
	out := c.out
	c.mu.Unlock()
	err := error(transport.ErrNotConnected)
	if out != nil && to == c.plane {
		err = out.put(data)
	}
	if err != nil {
		return fmt.Errorf("httptransport: %s: %w", fault.Clean(to.String()), err)
	}
	return nil
}

// Receive is transport.Transport's. A handler that blocks stops the connection's reading; one that blocks for minutes loses it. Messages that arrive within two seconds before a Receive
// begins are kept for it.
func (c *Client) Receive(ctx context.Context, handle func(context.Context, transport.Message)) error {
	return c.gate.Receive(ctx, handle)
}

// Connected is transport.Presence's: it knows of the control plane's address only.
func (c *Client) Connected(a transport.Address) bool { return c.board.Connected(a) }

// Watch is transport.Presence's.
func (c *Client) Watch(ctx context.Context, f func(transport.Address, bool)) error {
	return c.board.Watch(ctx, f)
}

// Close ends the connection and returns when everything has ended, a running handler of Receive included; it must not be called by one.
func (c *Client) Close() error {
	c.gate.Kill(transport.ErrClosed)
	c.cancel()
	<-c.done
	return nil
}

// up makes out the present connection.
func (c *Client) up(out *outbox, medium string) {
	c.mu.Lock()
	c.out, c.medium, c.err = out, medium, nil
	c.signal()
	c.mu.Unlock()
	c.board.Set(c.plane, true)
	c.cfg.Logger.Info("connected to the control plane", "medium", medium)
	if c.cfg.OnState != nil {
		c.cfg.OnState(true)
	}
}

// down ends the present connection, if there is one, and says why.
func (c *Client) down(err error) {
	c.mu.Lock()
	was, again := c.out, c.err != nil && err != nil && c.err.Error() == err.Error()
	c.out, c.medium, c.err = nil, "", err
	c.signal()
	c.mu.Unlock()
	if was != nil {
		<-was.close()
		c.board.Set(c.plane, false)
		c.cfg.Logger.Info("disconnected from the control plane", "error", err)
		if c.cfg.OnState != nil {
			c.cfg.OnState(false)
		}
	} else if err != nil && !again && !errors.Is(err, transport.ErrClosed) {
		// Once for each reason: it goes on trying for ever, and a wrong address or authority would be invisible.
		c.cfg.Logger.Warn("no connection to the control plane", "error", err)
	}
}

// signal wakes all who wait for a change; the mutex is held.
func (c *Client) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// deliver hands a message to Receive.
func (c *Client) deliver(deaf *bool, data []byte) {
	m := transport.Message{From: c.plane, Data: data}
	if c.gate.Deliver(m) {
		*deaf = false
		return
	}
	if *deaf {
		return
	}
	t := time.NewTimer(hold)
	defer t.Stop()
	select {
	case <-c.gate.Opened():
		c.gate.Deliver(m)
	case <-c.ctx.Done():
	case <-t.C:
		*deaf = true
	}
}

// ended says how a connection or an attempt at one ended.
type ended struct {
	err        error
	lived      time.Duration // how long it was connected; 0: never
	awayFor    time.Duration // the server asked to come back after this; 0: it did not
	goingAway  bool          // the server is going away
	refused    bool
	noUpgrade  bool // the request arrived, and something on the way broke the upgrade
	perhapsNot bool // the request was sent and there was no answer: a server that died, or something that breaks upgrades without a word
}

var errRefused = errors.New("httptransport: the control plane refused this node: it is unknown there, or its key is another")

// run connects until the client is closed or refused.
func (c *Client) run() {
	defer close(c.done)
	var (
		poll     = c.cfg.ForcePoll
		url      int
		attempt  int
		doubtful int // attempts in a row that ended perhapsNot
	)
	for {
		url %= len(c.urls)
		var e ended
		if poll {
			e = c.pollOnce(c.urls[url])
		} else {
			e = c.wsOnce(c.urls[url])
		}
		if c.ctx.Err() != nil {
			c.down(transport.ErrClosed)
			return
		}
		if e.refused {
			err := fmt.Errorf("%w: %w", errRefused, transport.ErrRefused)
			c.gate.Kill(err)
			c.down(err)
			return
		}
		c.down(e.err)
		if e.lived >= settled {
			attempt = 0
		}
		if e.perhapsNot && !poll {
			doubtful++
		} else {
			doubtful = 0
		}
		switch {
		case !poll && (e.noUpgrade || doubtful >= 2):
			poll, doubtful = true, 0
			if e.noUpgrade {
				continue // at once: it is no failure of the server
			}
		case poll && !c.cfg.ForcePoll && e.awayFor == 0:
			poll = false // the way may be another by now
		}
		wait := backoff(attempt, c.cfg.BackoffBase, c.cfg.BackoffCap, c.cfg.Rand)
		switch {
		case e.goingAway:
			wait = time.Duration(c.cfg.Rand() * float64(c.cfg.BackoffBase))
			url++
		case e.awayFor > 0:
			wait = e.awayFor + time.Duration(c.cfg.Rand()*float64(c.cfg.BackoffBase))
		default:
			attempt++
			url++
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-c.ctx.Done():
			t.Stop()
			c.down(transport.ErrClosed)
			return
		}
	}
}

// settled is how long a connection must have lasted to count as a success that forgets earlier failures.
const settled = 10 * time.Second

// backoff returns the wait before attempt n+1: full jitter below base x 2^n, at most most.
func backoff(n int, base, most time.Duration, rand func() float64) time.Duration {
	d := most
	if n < 32 && base<<n > 0 && base<<n < most {
		d = base << n
	}
	return time.Duration(rand() * float64(d))
}

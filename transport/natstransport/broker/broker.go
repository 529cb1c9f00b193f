// Package broker is a NATS server in the process of its host: for tests, for small fleets whose control plane is its own broker, and for small clusters. It keeps nothing on disk and uses no JetStream.
package broker

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport/natstransport"
)

// Config configures a Server. Trust is required.
type Config struct {
	Trust natstransport.Trust

	// Listen is where nodes and planes connect, "127.0.0.1:0" or ":4222"; "" opens no port: only those of this process connect.
	Listen string
	// Certificate is shown to those who connect; it is asked for each connection, so that it may change (httptransport.ReloadingCertificate makes such a function of two files). Without it a
	// port is opened on loopback addresses only.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Cluster is where other servers of the cluster connect, "" for none; Routes are theirs, as host:port. Name is the cluster's. RouteTLS secures them; without it loopback addresses only.
	Name     string
	Cluster  string
	Routes   []string
	RouteTLS *tls.Config

	MaxConnections int           // default 200,000
	AuthTimeout    time.Duration // how long a plane may take to answer for a node; default 10 s
	Ping           time.Duration // how often those who are silent are asked; two unanswered are the end; default 10 s
	MaxPayload     int           // bytes of a NATS message; default 512 KiB
	Logger         *slog.Logger  // nil: none
}

// Server is a running NATS server.
type Server struct {
	s *server.Server
	c Config
}

// Start starts a server and returns when it takes connections.
func Start(c Config) (*Server, error) {
	const op = "broker.Start"
	if c.Trust.Issuer == "" {
		return nil, fault.New(op, fault.InvalidParameters, "Trust is missing: it is what Keys.Trust returns")
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = 200_000
	}
	if c.AuthTimeout <= 0 {
		c.AuthTimeout = 10 * time.Second
	}
	if c.Ping <= 0 {
		c.Ping = 10 * time.Second
	}
	if c.MaxPayload <= 0 {
		c.MaxPayload = 512 << 10
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	fleet, system := server.NewAccount(c.Trust.Account), server.NewAccount(c.Trust.System)
	o := &server.Options{
		NoLog: true, NoSigs: true, DontListen: c.Listen == "", MaxConn: c.MaxConnections, AuthTimeout: c.AuthTimeout.Seconds(), TLSTimeout: c.AuthTimeout.Seconds(),
		PingInterval: c.Ping, MaxPingsOut: 2, MaxPayload: int32(c.MaxPayload), WriteDeadline: 10 * time.Second, MaxPending: 64 << 20, MaxSubs: 0, DisableShortFirstPing: true,
		Accounts: []*server.Account{fleet, system}, SystemAccount: c.Trust.System, NoSystemAccount: false,
		Nkeys:       []*server.NkeyUser{{Nkey: c.Trust.Plane, Account: fleet}, {Nkey: c.Trust.Kicker, Account: system}},
		AuthCallout: &server.AuthCallout{Issuer: c.Trust.Issuer, Account: c.Trust.Account, AuthUsers: []string{c.Trust.Plane, c.Trust.Kicker}},
	}
	if c.Listen != "" {
		host, port, err := hostPort(op, c.Listen, c.Certificate != nil)
		if err != nil {
			return nil, err
		}
		o.Host, o.Port = host, port
	}
	if c.Certificate != nil {
		o.TLS, o.TLSConfig = true, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.Certificate}
	}
	if c.Cluster != "" {
		host, port, err := hostPort(op, c.Cluster, c.RouteTLS != nil)
		if err != nil {
			return nil, err
		}
		name := c.Name
		if name == "" {
			name = "fleetwright"
		}
		o.Cluster = server.ClusterOpts{Name: name, Host: host, Port: port, TLSConfig: c.RouteTLS, TLSTimeout: 5}
		for _, r := range c.Routes {
			if _, _, err := net.SplitHostPort(r); err != nil {
				return nil, fault.New(op, fault.InvalidParameters, "Routes has %q; give host:port", fault.Clean(r))
			}
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r})
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fault.New(op, fault.InvalidParameters, "the server does not take this configuration: %w", err)
	}
	s.SetLoggerV2(logger{c.Logger}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fault.New(op, fault.ServiceUnavailable, "the server did not begin to listen on %s", c.Listen)
	}
	return &Server{s, c}, nil
}

func hostPort(op, listen string, secure bool) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(listen)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fault.New(op, fault.InvalidParameters, "%q is no address to listen on; give host:port", fault.Clean(listen))
	}
	if ip := net.ParseIP(host); !secure && !(host == "localhost" || ip != nil && ip.IsLoopback()) {
		return "", 0, fault.New(op, fault.InvalidParameters, "%q is not of this machine alone: it needs a certificate", fault.Clean(listen))
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// URL returns where nodes and planes of other processes connect, "" without Listen. A wildcard address is shown as localhost.
func (s *Server) URL() string {
	if s.c.Listen == "" {
		return ""
	}
	a, ok := s.s.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	scheme, host := "nats", a.IP.String()
	if s.c.Certificate != nil {
		scheme = "tls"
	}
	if a.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// ClusterAddr returns what other servers put into their Routes, "" without Cluster.
func (s *Server) ClusterAddr() string {
	if a := s.s.ClusterAddr(); a != nil && s.c.Cluster != "" {
		return a.String()
	}
	return ""
}

// Routes returns how many servers of the cluster this one is connected with.
func (s *Server) Routes() int { return s.s.NumRemotes() }

// Clients returns how many planes and nodes are connected with this server.
func (s *Server) Clients() int { return s.s.NumClients() }

// InProcessConn makes a connection without a socket, for natstransport.Brokers.Local.
func (s *Server) InProcessConn() (net.Conn, error) { return s.s.InProcessConn() }

// Close ends the server and every connection, and returns when it has ended.
func (s *Server) Close() error {
	s.s.Shutdown()
	s.s.WaitForShutdown()
	return nil
}

// logger gives the server's log to a slog.Logger.
type logger struct{ l *slog.Logger }

func (l logger) Noticef(f string, a ...any) { l.l.Debug("nats: " + fault.Clean(fmt.Sprintf(f, a...))) }
func (l logger) Warnf(f string, a ...any)   { l.l.Debug("nats: " + fault.Clean(fmt.Sprintf(f, a...))) }
func (l logger) Fatalf(f string, a ...any)  { l.l.Error("nats: " + fault.Clean(fmt.Sprintf(f, a...))) }
func (l logger) Errorf(f string, a ...any)  { l.l.Warn("nats: " + fault.Clean(fmt.Sprintf(f, a...))) }
func (l logger) Debugf(f string, a ...any)  { l.l.Debug("nats: " + fault.Clean(fmt.Sprintf(f, a...))) }
func (l logger) Tracef(f string, a ...any)  {}

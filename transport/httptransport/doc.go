// Package httptransport carries messages between the control plane and its nodes over HTTPS: a websocket per node, and long poll where a proxy
// on the way breaks websockets. Both carry the same messages, and neither needs an open port on a node.
//
// The control plane makes a [Server], mounts its Handler in an http.Server of its own, and uses it as a transport.Transport with presence:
//
//	srv := httptransport.NewServer(httptransport.ServerConfig{Key: nodes.Key, Enroll: nodes.Enroll})
//	mux.Handle("/v1/node/", srv.Handler())
//	get, err := httptransport.ReloadingCertificate("server.pem", "server-key.pem")
//	hs := &http.Server{Handler: mux, TLSConfig: httptransport.ServerTLS(get), ReadHeaderTimeout: 10 * time.Second}
//	go hs.ListenAndServeTLS("", "")
//
// A node makes a [Client], which stays connected until it is closed:
//
//	c, err := httptransport.NewClient(httptransport.ClientConfig{URL: "https://plane:8443/v1/node/", Address: me, Key: private, RootCAs: caPEM})
//	err = c.Receive(ctx, handle)
//
// # Who is who
//
// TLS shows the server to the node: by a root certificate, or by a pin (its SHA-256). The node shows itself by its Ed25519 key: it signs the server's random challenge together with its
// tenant, its name, the medium, and a value that both derive from the TLS connection (RFC 5705, RFC 9266's idea), so that a signature is worth nothing on any other connection. There is one
// accepted shape, no negotiation (rules ). An unknown node and a wrong key take the same path and end as transport.ErrRefused at the node. Whatever passes here is
// still only a hint to what is above: envelopes are signed on their own.
//
// # Herds, slow ones and the dead
//
// The server admits so many handshakes a second and tells everybody else when to come back, each at a time of its own; clients wait with full jitter besides. Each connection has a
// bounded queue: a node that does not read makes its own Send answer ErrBusy, and is dropped when a write has not moved for [ServerConfig.Write]. A connection on which nothing was heard for two and a half
// times [ServerConfig.KeepAlive] is gone. A newer connection of a node replaces the older one. An idle websocket costs the server one goroutine and about 17 KiB, an idle long poll two
// goroutines and about 36 KiB.
//
// # Behind a proxy or a load balancer
//
// Where TLS ends before the server (r.TLS is nil) signatures are bound to the challenge alone. Where it ends and begins again on the way, set [ServerConfig.NoBinding]. Several
// control planes behind one name need a balancer that keeps a node's long-poll requests on one of them; websockets need nothing.
package httptransport

import (
	"time"

	"github.com/fleetwright/fleetwright/transport"
)

// The names below the mount point. connect is the websocket; challenge, session, poll, send and close are the long poll; enroll is for those without an identity.
const (
	pathConnect   = "connect"
	pathChallenge = "challenge"
	pathSession   = "session"
	pathPoll      = "poll"
	pathSend      = "send"
	pathClose     = "close"
	pathEnroll    = "enroll"
)

const (
	headerOurs  = "Fleetwright-Transport" // "1" on every answer of a Server, so that a proxy's is told apart
	headerRetry = "Fleetwright-Retry-Ms"  // when to come back, in milliseconds
	headerWait  = "Fleetwright-Wait-Ms"   // how long a poll shall wait at most, in milliseconds
	headerSeq   = "Fleetwright-Seq"       // of a batch: counted from 1 in each direction of a session
	typeBytes   = "application/octet-stream"

	maxBatch   = 1 << 20  // bytes of a batch of messages, their lengths included
	maxEnroll  = 64 << 10 // bytes of an enrolment's request and of its answer
	maxMessage = transport.MaxMessage
	hold       = 2 * time.Second
	silence    = 5 // a connection is dropped after silence/2 keep-alive intervals without a word
)

// Close codes of websockets beyond RFC 6455's.
const (
	codeReplaced = 4001 // a newer connection of the same node took over
	codeDropped  = 4002 // the host asked for it, Server.Disconnect
)

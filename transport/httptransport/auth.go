package httptransport

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
)

const (
	authContext   = "fleetwright/httptransport/v1/auth"
	exporterLabel = "EXPORTER-fleetwright-httptransport-v1"
	lenExporter   = 32
)

// The media that a signature names.
const (
	mediumWebsocket = "websocket"
	mediumPoll      = "poll"
)

// signed returns what a node signs: each field behind its length in four bytes, big endian, the context string first.
func signed(medium string, a transport.Address, challenge [lenChallenge]byte, binding []byte) []byte {
	var b []byte
	for _, f := range [][]byte{[]byte(authContext), []byte(medium), []byte(a.Tenant), []byte(a.Name), challenge[:], binding} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

// exporter returns the value that both ends of a TLS connection derive from it and nobody else can choose.
func exporter(cs *tls.ConnectionState) ([]byte, error) {
	if cs == nil {
		return nil, errors.New("httptransport: the connection has no TLS")
	}
	b, err := cs.ExportKeyingMaterial(exporterLabel, nil, lenExporter)
	if err != nil {
		return nil, fmt.Errorf("httptransport: this TLS connection cannot be bound to; use TLS 1.3: %w", err)
	}
	return b, nil
}

// sign answers a challenge.
func sign(key crypto.Signer, medium string, a transport.Address, h hello, cs *tls.ConnectionState) (auth, error) {
	var binding []byte
	if h.binding == bindExporter {
		var err error
		if binding, err = exporter(cs); err != nil {
			return auth{}, err
		}
	}
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return auth{}, fault.New("httptransport.sign", fault.InvalidParameters, "the node's key is a %T; only Ed25519 is taken", key.Public())
	}
	sig, err := key.Sign(rand.Reader, signed(medium, a, h.challenge, binding), crypto.Hash(0))
	if err != nil {
		return auth{}, fmt.Errorf("httptransport: the node's key did not sign: %w", err)
	}
	if len(sig) != lenSignature {
		return auth{}, fmt.Errorf("httptransport: the node's key gave a signature of %d bytes", len(sig))
	}
	au := auth{addr: a}
	copy(au.sig[:], sig)
	return au, nil
}

// verify says whether the body of an auth message is a right answer: accepted, refused, or tryLater when the keys cannot be asked now. A body of a wrong shape, an
// unknown node and a wrong key all look up a key, verify one signature, and are refused.
func (s *Server) verify(ctx context.Context, medium string, body []byte, challenge [lenChallenge]byte, binding []byte) (a transport.Address, verdict byte) {
	au, shapeErr := parseAuth(body)
	if shapeErr != nil {
		au = auth{addr: transport.Address{Tenant: "-", Name: "-"}}
	}
	var key ed25519.PublicKey
	err := errors.New("no keys are configured")
	if s.cfg.Key != nil {
		key, err = s.cfg.Key(ctx, au.addr)
		if err != nil && !unknown(err) {
			s.log.Warn("a node's key could not be looked up", "node", au.addr.String(), "error", err)
			return transport.Address{}, tryLater
		}
	}
	known := err == nil && len(key) == ed25519.PublicKeySize
	if !known {
		key = s.nobody
	}
	right := ed25519.Verify(key, signed(medium, au.addr, challenge, binding), au.sig[:])
	if !right || !known || shapeErr != nil {
		s.count.refused.Add(1)
		s.log.Info("a node was refused", "node", au.addr.String(), "medium", medium)
		return transport.Address{}, refused
	}
	return au.addr, accepted
}

// unknown reports whether a Key function's error says that there is no such node, and not that it could not be asked.
func unknown(err error) bool {
	if errors.Is(err, transport.ErrRefused) {
		return true
	}
	switch fault.KindOf(err) {
	case fault.NotFound, fault.Denied, fault.Unauthenticated, fault.Invalid, fault.Conflict:
		return true
	}
	return false
}

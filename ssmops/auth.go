package ssmops

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// Authenticator says who sent a request. An error, or a principal without a name, means that nobody knows: the caller is told nothing else, so that the error
// may say what it likes. Implementations are safe for concurrent use and take as long for a wrong credential as for an unknown one.
type Authenticator interface {
	Authenticate(r *http.Request) (access.Principal, error)
}

// AuthenticatorFunc is a function as an Authenticator.
type AuthenticatorFunc func(r *http.Request) (access.Principal, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(r *http.Request) (access.Principal, error) { return f(r) }

func errUnknown() error {
	return fault.New("ssmops.Authenticate", fault.Unauthorized, "the request has no valid credentials")
}

// Either knows a caller by the bearer token when there is a header Authorization, else by the client certificate: a wrong token is not made good by a certificate.
func Either(bearer, certificate Authenticator) Authenticator {
	return AuthenticatorFunc(func(r *http.Request) (access.Principal, error) {
		if _, ok := r.Header["Authorization"]; ok {
			return bearer.Authenticate(r)
		}
		return certificate.Authenticate(r)
	})
}

// Tokens are "fwt_" and 32 random bytes in base64url; what is shorter is taken for none, and so is what is longer than maxToken.
const (
	tokenPrefix = "fwt_"
	tokenBytes  = 32
	minToken    = 43 // 32 bytes in base64url
	maxToken    = 512
)

// NewToken returns a bearer token of 32 random bytes. What is kept of it is [TokenHash].
func NewToken() secret.Value {
	var b [tokenBytes]byte
	rand.Read(b[:])
	t := append([]byte(tokenPrefix), base64.RawURLEncoding.EncodeToString(b[:])...)
	clear(b[:])
	return secret.Take(t)
}

// TokenHash returns the SHA-256 of a token in hexadecimal, as a callers file has it. Tokens are long and random, so that one hash without stretching is enough.
func TokenHash(token secret.Value) string {
	sum := sha256.Sum256(token.Reveal())
	return hex.EncodeToString(sum[:])
}

// bearer returns the hash of a request's token; of one that is missing or malformed that of nothing, which no caller has.
func bearer(r *http.Request) (sum [sha256.Size]byte, ok bool) {
	hs := r.Header["Authorization"]
	var token string
	if len(hs) == 1 && len(hs[0]) <= maxToken {
		scheme, t, found := strings.Cut(hs[0], " ")
		if found && strings.EqualFold(scheme, "Bearer") && len(t) >= minToken {
			token, ok = t, true
		}
	}
	return sha256.Sum256([]byte(token)), ok
}

// commonName returns the name in the client certificate that TLS verified.
func commonName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return r.TLS.PeerCertificates[0].Subject.CommonName
}

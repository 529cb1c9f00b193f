package natstransport

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/transport"
)

const calloutSubject = "$SYS.REQ.USER.AUTH"

var (
	errShape = errors.New("natstransport: a client that is neither a node nor enrolling")
	errBusy  = errors.New("natstransport: too many at once")
	errGone  = errors.New("natstransport: no such node")
)

// rights is what a connection may do.
type rights struct {
	name     string
	pub, sub []string
	life     time.Duration
}

// callout answers a broker that asks whether a client may connect, and as what. Exactly one plane is asked for each.
func (c *Controller) callout(msg *nats.Msg) {
	select {
	case c.pending <- struct{}{}:
	default:
		c.count.throttled.Add(1)
		return // the broker gives up after its timeout; the node comes back
	}
	if !c.goes(func() {
		defer func() { <-c.pending }()
		c.answer(msg)
	}) {
		<-c.pending
	}
}

func (c *Controller) answer(msg *nats.Msg) {
	req, err := jwt.DecodeAuthorizationRequestClaims(string(msg.Data))
	if err != nil || req.UserNkey == "" || req.Server.ID == "" {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.d.Handshake)
	defer cancel()
	r, err := c.rightsOf(ctx, req)
	resp := jwt.NewAuthorizationResponseClaims(req.UserNkey)
	resp.Audience = req.Server.ID
	switch {
	case err == nil:
		if resp.Jwt, err = c.grant(req.UserNkey, r); err != nil {
			c.log.Error("a broker could not be answered", "error", err)
			return
		}
	case errors.Is(err, errBusy):
		c.count.throttled.Add(1)
		c.log.Debug("a client was sent away until later", "client", fault.Clean(req.ConnectOptions.Name), "error", err)
		resp.Error = "try later"
	case c.ctx.Err() != nil:
		return // another plane's turn
	default:
		c.log.Warn("a client was not let in", "client", fault.Clean(req.ConnectOptions.Name), "error", err)
		resp.Error = "refused"
	}
	token, err := resp.Encode(c.cfg.Keys.issuer)
	if err != nil {
		c.log.Error("a broker could not be answered", "error", err)
		return
	}
	msg.Respond([]byte(token)) //nolint:errcheck // the client comes back
}

// rightsOf decides on a client. An error that is not one of the transport's words sends it away until later.
func (c *Controller) rightsOf(ctx context.Context, req *jwt.AuthorizationRequestClaims) (rights, error) {
	who := req.ConnectOptions.Name
	if id, ok := strings.CutPrefix(who, whoEnroll); ok {
		if c.cfg.Enroll == nil || !validEnrollID(id) {
			return rights{}, errShape
		}
		if !c.enroll.Allow() {
			return rights{}, errBusy
		}
		p := string(c.names)
		return rights{name: "enroll", pub: []string{p + ".e." + id}, sub: []string{p + ".f." + id}, life: enrollLife}, nil
	}
	rest, ok := strings.CutPrefix(who, whoNode)
	if !ok {
		return rights{}, errShape
	}
	a, ok := twoTokens(rest + ".")
	if !ok || whoNode+token(a.Tenant)+"."+token(a.Name) != who {
		return rights{}, errShape
	}
	if err := c.admit.Wait(ctx); err != nil {
		return rights{}, errBusy
	}
	key, err := c.cfg.Key(ctx, a)
	if err != nil {
		switch k := fault.KindOf(err); {
		case errors.Is(err, transport.ErrRefused), k == fault.NotFound, k == fault.Denied, k == fault.Unauthenticated, k == fault.Invalid, k == fault.Conflict:
			key = nil
		default:
			return rights{}, fmt.Errorf("%w: %w", errBusy, err)
		}
	}
	real := len(key) == ed25519.PublicKeySize
	if !real {
		key = c.nobody
	}
	if !c.signed(key, req) || !real {
		// It is let in to be told so, and to nothing else: a broker's refusal cannot be told from a broker that reached no plane.
		c.count.refused.Add(1)
		c.log.Warn("a node was refused", "node", fault.Clean(a.String()), "error", errGone)
		return rights{name: "refused", life: refusedLife}, nil
	}
	c.count.accepted.Add(1)
	n := c.names.node(a)
	life := c.cfg.Validity/2 + time.Duration(rand.Float64()*float64(c.cfg.Validity/2))
	return rights{name: userName(a), pub: []string{n + ".p", n + ".u.*"}, sub: []string{n + ".d.*", c.names.all()}, life: max(life, 2*time.Second)}, nil
}

const (
	refusedLife = 5 * time.Second
	enrollLife  = time.Minute
	nothing     = "_NOTHING" // an allow list that is empty allows everything
)

// userName is what brokers call a node.
func userName(a transport.Address) string { return token(a.Tenant) + "." + token(a.Name) }

// signed reports whether the client signed the broker's nonce with the node's key.
func (c *Controller) signed(key ed25519.PublicKey, req *jwt.AuthorizationRequestClaims) bool {
	o := &req.ConnectOptions
	user, err := nkeys.Encode(nkeys.PrefixByteUser, key)
	if err != nil || o.Nkey != string(user) || !validNonce([]byte(req.ClientInformation.Nonce)) {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(o.SignedNonce)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(o.SignedNonce); err != nil {
			return false
		}
	}
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(key, []byte(req.ClientInformation.Nonce), sig)
}

// grant makes the credentials that the broker holds a connection to.
func (c *Controller) grant(user string, r rights) (string, error) {
	u := jwt.NewUserClaims(user)
	u.Name, u.Audience = r.name, c.cfg.Keys.trust.Account
	u.Expires = time.Now().Add(r.life).Unix() + 1
	u.Pub.Allow.Add(nothing)
	u.Sub.Allow.Add(nothing)
	if len(r.pub) > 0 {
		u.Pub.Allow = r.pub
	}
	if len(r.sub) > 0 {
		u.Sub.Allow = r.sub
	}
	return u.Encode(c.cfg.Keys.issuer)
}

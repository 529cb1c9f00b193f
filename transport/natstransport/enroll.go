package natstransport

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fleetwright/fleetwright/fault"
)

const maxEnroll = 64 << 10 // bytes of an enrolment's request and of its answer

func validEnrollID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16 && strings.ToLower(id) == id
}

// answer of an enrolment: a code, or the bytes.
type enrolled struct {
	Code    fault.Code `json:"code,omitempty"`
	Message string     `json:"message,omitempty"`
	Answer  []byte     `json:"answer,omitempty"`
}

// onEnroll takes a request of somebody without an identity. Exactly one plane gets each.
func (c *Controller) onEnroll(msg *nats.Msg) {
	select {
	case c.pending <- struct{}{}:
	default:
		c.count.throttled.Add(1)
		return
	}
	if !c.goes(func() {
		defer func() { <-c.pending }()
		id := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
		if !validEnrollID(id) {
			c.count.malformed.Add(1)
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, enrollLife)
		defer cancel()
		out, err := json.Marshal(c.enrolling(ctx, msg.Data))
		if err == nil {
			c.post(string(c.names)+".f."+id, "", out) //nolint:errcheck // it asks again
		}
	}) {
		<-c.pending
	}
}

func (c *Controller) enrolling(ctx context.Context, body []byte) enrolled {
	if len(body) > maxEnroll {
		return enrolled{Code: fault.Validation, Message: "the request is too large"}
	}
	answer, err := c.cfg.Enroll(ctx, "nats", body)
	if err == nil && len(answer) > maxEnroll {
		err = fmt.Errorf("the answer has %d bytes", len(answer))
	}
	if err == nil {
		return enrolled{Answer: answer}
	}
	msg := "internal error; the control plane's log has it"
	var f *fault.Error
	if errors.As(err, &f) && f.Kind() != fault.Internal {
		msg = fault.MessageOf(f)
	}
	c.log.Warn("an enrolment failed", "code", fault.CodeOf(err), "error", err)
	return enrolled{Code: fault.CodeOf(err), Message: msg}
}

// Enroll sends body to the planes' enrolment and returns the answer. It needs no identity. It tries each of the brokers given once. An error is a *fault.Error with the code that the plane gave, or
// ServiceUnavailable when none was reached or the answer got lost: it may have been carried out then, so an enrolment should be one that may be repeated.
func Enroll(ctx context.Context, b Brokers, prefix string, body []byte) ([]byte, error) {
	const op = "natstransport.Enroll"
	if len(body) > maxEnroll {
		return nil, fault.New(op, fault.Validation, "the request has %d bytes, at most %d are taken", len(body), maxEnroll)
	}
	p, err := parsePrefix(op, prefix)
	if err != nil {
		return nil, err
	}
	d, err := b.dialer(op, time.Minute)
	if err != nil {
		return nil, err
	}
	defer d.cut()
	var raw [16]byte
	rand.Read(raw[:]) //nolint:errcheck // it never fails
	id := hex.EncodeToString(raw[:])
	d.name = whoEnroll + id
	d.secrets = func() (nats.Option, error) { return nats.Token("enroll"), nil }
	var nc *nats.Conn
	for range max(1, len(d.urls)) {
		if nc, _, err = d.connect(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, fault.Wrap(op, ctx.Err())
		}
		return nil, fault.New(op, fault.ServiceUnavailable, "no broker let this enrolment in: none could be reached, no plane takes enrolments, or there are too many at once: %w", err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync(string(p) + ".f." + id)
	if err == nil {
		err = nc.PublishRequest(string(p)+".e."+id, string(p)+".f."+id, body)
	}
	if err != nil {
		return nil, fault.New(op, fault.ServiceUnavailable, "the request could not be sent: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, enrollLife)
	defer cancel()
	msg, err := sub.NextMsgWithContext(wait)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fault.Wrap(op, ctx.Err())
		}
		return nil, fault.New(op, fault.ServiceUnavailable, "no control plane answered: %w", err)
	}
	var e enrolled
	if err := json.Unmarshal(msg.Data, &e); err != nil || len(e.Answer) > maxEnroll {
		return nil, fault.New(op, fault.ServiceUnavailable, "the answer of the control plane did not arrive whole")
	}
	if e.Code != "" {
		return nil, fault.New(op, fault.Code(fault.Clean(string(e.Code))), "%s", fault.Clean(e.Message))
	}
	return e.Answer, nil
}

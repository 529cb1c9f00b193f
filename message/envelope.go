package message

import (
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Envelope is a message with everything that is signed: who, to whom, what, and when it holds.
type Envelope struct {
	Tenant    string    // 1 to MaxName bytes of the grammar of ValidName
	From, To  string    // node ids; the control plane is Controller
	Kind      Kind      // one that is Known
	ID        string    // unique for each message that is made; a resent copy keeps it
	Attempt   int       // of the command it speaks of, else 0; at most MaxAttempt
	Epoch     uint64    // the control plane's epoch, in messages from it; the highest one seen, in messages from nodes
	NotBefore time.Time // by the sender's clock; cut to the millisecond; of the years 1970 to 9999
	NotAfter  time.Time // not before NotBefore; the same range
	Body      []byte    // the JSON of the kind's type, at most MaxBody bytes
}

// Controller is the address of the control plane.
const Controller = "controller"

// The limits of an envelope (rule R-20).
const (
	// MaxEnvelope is the largest encoded envelope, signed and sealed, that transports carry.
	MaxEnvelope = 256 << 10
	// MaxBody is the largest body: what remains of MaxEnvelope beside the longest names, the signature and the seal.
	MaxBody = MaxEnvelope - 1<<10
	// MaxName is the longest tenant, name or id in bytes.
	MaxName = 128
	// MaxKind is the longest kind in bytes.
	MaxKind = 32
	// MaxAttempt is the largest attempt.
	MaxAttempt = 1<<31 - 1
)

// DefaultSkew is how far the clocks of a sender and a receiver may differ when nothing else is said.
const DefaultSkew = 5 * time.Minute

// Known reports whether the kind is one of this package's. Open refuses others (rule R-28: what a receiver does not know it leaves alone).
func (k Kind) Known() bool { return k.fromController() || k.fromNode() }

func (k Kind) fromController() bool {
	switch k {
	case KindOffer, KindRun, KindCancel, KindAck, KindWelcome, KindKeys, KindAnswer:
		return true
	}
	return false
}

func (k Kind) fromNode() bool {
	switch k {
	case KindHello, KindReady, KindReport, KindOutput, KindPinned, KindAsk:
		return true
	}
	return false
}

// ValidName reports whether s can be a tenant, a name or an id: 1 to MaxName bytes of [A-Za-z0-9_.:@-], the first a letter, digit or "_" (rule R-06).
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > MaxName {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == ':' || c == '@' || c == '-'):
		default:
			return false
		}
	}
	return true
}

func validKind(k Kind) bool {
	if len(k) == 0 || len(k) > MaxKind {
		return false
	}
	for i := 0; i < len(k); i++ {
		if c := k[i]; ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

const maxMillis = 253402300799999 // 9999-12-31T23:59:59.999Z

// Validate reports the first thing about e that cannot be encoded, as an error that is ErrMalformed. It does not ask whether the kind is Known nor whether the
// body is JSON of the kind's type.
func (e *Envelope) Validate() error {
	for _, f := range [...]struct{ name, value string }{{"tenant", e.Tenant}, {"from", e.From}, {"to", e.To}, {"id", e.ID}} {
		if !ValidName(f.value) {
			return malformed("%s %s is not 1 to %d characters of [A-Za-z0-9_.:@-] that begin with a letter, a digit or _", f.name, show(f.value), MaxName)
		}
	}
	nb, na := e.NotBefore.UnixMilli(), e.NotAfter.UnixMilli()
	switch {
	case !validKind(e.Kind):
		return malformed("kind %s is not 1 to %d characters of [a-z0-9-]", show(string(e.Kind)), MaxKind)
	case e.Attempt < 0 || e.Attempt > MaxAttempt:
		return malformed("attempt %d is not between 0 and %d", e.Attempt, MaxAttempt)
	case nb < 0 || nb > maxMillis:
		return malformed("NotBefore is not set, or outside of the years 1970 to 9999")
	case na < 0 || na > maxMillis:
		return malformed("NotAfter is not set, or outside of the years 1970 to 9999")
	case na < nb:
		return malformed("NotAfter is before NotBefore")
	case len(e.Body) > MaxBody:
		return malformed("the body has %d bytes, more than %d", len(e.Body), MaxBody)
	}
	return nil
}

// show quotes a stranger's text for an error, cut to a readable length.
func show(s string) string {
	if len(s) > 40 {
		return `"` + fault.Clean(s[:40]) + `"… (` + fmt.Sprint(len(s)) + " bytes)"
	}
	return `"` + fault.Clean(s) + `"`
}

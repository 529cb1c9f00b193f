package message

import (
	"time"
)

// Envelope is a message with everything that is signed: who, to whom, what, and when it holds.
type Envelope struct {
	Tenant    string
	From, To  string // node ids; the control plane is Controller
	Kind      Kind
	ID        string    // unique for each message that is made; a resent copy keeps it
	Attempt   int       // of the command it speaks of, else 0
	Epoch     uint64    // the control plane's epoch, in messages from it; the highest one seen, in messages from nodes
	NotBefore time.Time // to the millisecond
	NotAfter  time.Time
	Body      []byte // the JSON of the kind's type
}

// Controller is the address of the control plane.
const Controller = "controller"

// MaxEnvelope is the largest encoded envelope, signed and sealed, that transports carry.
const MaxEnvelope = 256 << 10

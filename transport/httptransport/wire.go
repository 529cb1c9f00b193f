package httptransport

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// The handshake. Each message has one shape and nothing behind it.
//
//	hello    version(1) binding(1) challenge(32)
//	auth     version(1) len(1) tenant len(1) name signature(64)
//	welcome  version(1) verdict(1) keepalive-ms(4)          and for long poll: token(32)
const (
	version      = 1
	lenChallenge = 32
	lenHello     = 2 + lenChallenge
	lenSignature = 64
	lenWelcome   = 6
	lenToken     = 32
	maxTenant    = 64
	maxName      = 128
	maxAuth      = 1 + 1 + maxTenant + 1 + maxName + lenSignature
)

// bindings of a signature.
const (
	bindNone     = 0
	bindExporter = 1
)

// verdicts of a welcome.
const (
	accepted = 0
	refused  = 1
	tryLater = 2
)

var errShape = errors.New("httptransport: the other side sent a message of a wrong shape")

type hello struct {
	binding   byte
	challenge [lenChallenge]byte
}

func (h hello) append(b []byte) []byte {
	return append(append(b, version, h.binding), h.challenge[:]...)
}

func parseHello(b []byte) (h hello, err error) {
	if len(b) != lenHello || b[0] != version || b[1] > bindExporter {
		return h, errShape
	}
	h.binding = b[1]
	copy(h.challenge[:], b[2:])
	return h, nil
}

type auth struct {
	addr transport.Address
	sig  [lenSignature]byte
}

func (a auth) append(b []byte) []byte {
	b = append(b, version, byte(len(a.addr.Tenant)))
	b = append(b, a.addr.Tenant...)
	b = append(b, byte(len(a.addr.Name)))
	b = append(b, a.addr.Name...)
	return append(b, a.sig[:]...)
}

func parseAuth(b []byte) (a auth, err error) {
	if len(b) < 2 || b[0] != version {
		return a, errShape
	}
	var ok bool
	b = b[1:]
	if a.addr.Tenant, b, ok = field(b); !ok {
		return auth{}, errShape
	}
	if a.addr.Name, b, ok = field(b); !ok || len(b) != lenSignature {
		return auth{}, errShape
	}
	if !validAddress(a.addr) {
		return auth{}, errShape
	}
	copy(a.sig[:], b)
	return a, nil
}

func field(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}

// validAddress reports whether a can be a node's: a tenant of 1 to 64 and a name of 1 to 128 bytes of [A-Za-z0-9._-] (rules ), and not the control plane's name.
func validAddress(a transport.Address) bool {
	return validName(a.Tenant, maxTenant) && validName(a.Name, maxName) && a.Name != message.Controller
}

func validName(s string, limit int) bool {
	if len(s) < 1 || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

type welcome struct {
	verdict   byte
	keepAlive time.Duration
	token     []byte // long poll: lenToken bytes; websocket: none
}

func (w welcome) append(b []byte) []byte {
	b = append(b, version, w.verdict)
	b = binary.BigEndian.AppendUint32(b, uint32(w.keepAlive/time.Millisecond))
	return append(b, w.token...)
}

func parseWelcome(b []byte, token int) (w welcome, err error) {
	if len(b) != lenWelcome+token || b[0] != version || b[1] > tryLater {
		return w, errShape
	}
	w.verdict = b[1]
	w.keepAlive = time.Duration(binary.BigEndian.Uint32(b[2:])) * time.Millisecond
	if w.verdict == accepted && (w.keepAlive < time.Millisecond || w.keepAlive > time.Hour) {
		return welcome{}, errShape
	}
	if token > 0 {
		w.token = b[lenWelcome:]
	}
	return w, nil
}

// appendFrame adds a message to a batch: length(4) data.
func appendFrame(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
}

// parseFrames cuts a batch into its messages, which alias b. A batch has at least one and nothing behind the last.
func parseFrames(b []byte) (frames [][]byte, err error) {
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errShape
		}
		n := binary.BigEndian.Uint32(b)
		if n > transport.MaxMessage || uint64(n) > uint64(len(b)-4) {
			return nil, errShape
		}
		frames = append(frames, b[4:4+n:4+n])
		b = b[4+n:]
	}
	if frames == nil {
		return nil, errShape
	}
	return frames, nil
}

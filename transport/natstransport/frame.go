package natstransport

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// planeID is a control plane's end, made anew at each start; sessionID is one connection of a node.
type (
	planeID   [8]byte
	sessionID [8]byte
)

func (p planeID) String() string   { return hex.EncodeToString(p[:]) }
func (s sessionID) String() string { return hex.EncodeToString(s[:]) }

func newID() (id [8]byte) {
	rand.Read(id[:]) //nolint:errcheck // it never fails
	return id
}

// kind says what a frame is.
type kind byte

const (
	kindHello   kind = 1 + iota // node to all planes: here I am; all answer with kindWelcome. Data: how long a silence means that it is gone; 0: as long as the plane thinks
	kindBeat                    // node to all planes: still here; the plane that is named answers with kindWelcome. Data as kindHello's
	kindBye                     // node to all planes: going
	kindWelcome                 // plane to node. Data: how often to beat
	kindData                    // both: a message or a piece of one
	kindAck                     // both: only Ack counts
	kindProbe                   // both: answer with kindAck when everything before was handled
	kindDrop                    // plane to node: connect anew
	kindRoll                    // plane to all nodes: answer with kindBeat for this plane. Data: within what time
	kindLeave                   // plane to all nodes: this plane is going
	lastKind    = kindLeave
)

// Pieces of a message.
const (
	flagFirst = 1
	flagLast  = 2
)

const (
	frameVersion = 1
	lenHeader    = 1 + 1 + 1 + 8 + 8 + 4 + 4
)

// frame is what one NATS message holds:
//
//	version(1) kind(1) flags(1) session(8) plane(8) seq(4) ack(4) data
type frame struct {
	kind    kind
	flags   byte
	session sessionID
	plane   planeID
	seq     uint32 // counted from 1 in each direction of a session with a plane
	ack     uint32 // the last one of the other direction that was handled
	data    []byte
}

var errFrame = errors.New("natstransport: not a frame of this version")

func (f *frame) append(b []byte) []byte {
	b = append(b, frameVersion, byte(f.kind), f.flags)
	b = append(b, f.session[:]...)
	b = append(b, f.plane[:]...)
	b = binary.BigEndian.AppendUint32(b, f.seq)
	b = binary.BigEndian.AppendUint32(b, f.ack)
	return append(b, f.data...)
}

func (f *frame) encode() []byte { return f.append(make([]byte, 0, lenHeader+len(f.data))) }

// parseFrame reads a frame, whose data aliases b.
func parseFrame(b []byte) (f frame, err error) {
	if len(b) < lenHeader || b[0] != frameVersion || b[1] == 0 || kind(b[1]) > lastKind || b[2] > flagFirst|flagLast {
		return f, errFrame
	}
	f.kind, f.flags = kind(b[1]), b[2]
	copy(f.session[:], b[3:])
	copy(f.plane[:], b[11:])
	f.seq = binary.BigEndian.Uint32(b[19:])
	f.ack = binary.BigEndian.Uint32(b[23:])
	f.data = b[lenHeader:]
	counted := f.kind == kindData || f.kind == kindProbe
	if counted != (f.seq != 0) || f.kind != kindData && f.flags != 0 {
		return frame{}, errFrame
	}
	switch f.kind {
	case kindHello, kindBeat, kindWelcome, kindRoll:
		if len(f.data) != 4 {
			return frame{}, errFrame
		}
	case kindData:
	default:
		if len(f.data) != 0 {
			return frame{}, errFrame
		}
	}
	return f, nil
}

// appendMillis and millis are the data of those frames that have a time; it is at most an hour.
func appendMillis(d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(min(max(d, 0), time.Hour)/time.Millisecond))
}

func millis(b []byte) time.Duration {
	return min(time.Duration(binary.BigEndian.Uint32(b))*time.Millisecond, time.Hour)
}

// patience is how long a silence of somebody who beats means that it is gone.
func patience(beat time.Duration) time.Duration { return beat * 5 / 2 }

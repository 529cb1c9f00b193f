package message

import (
	"encoding/binary"
	"time"
)

const (
	magicEnvelope = "fwe\x01"
	magicSealed   = "fws\x01"
)

// Encode returns the canonical encoding of e, or an error that is ErrMalformed when e breaks a limit. NotBefore and NotAfter lose what is finer than a millisecond.
func Encode(e Envelope) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return appendEnvelope(make([]byte, 0, encodedSize(&e)), &e), nil
}

func encodedSize(e *Envelope) int {
	return len(magicEnvelope) + 5*2 + len(e.Tenant) + len(e.From) + len(e.To) + len(e.Kind) + len(e.ID) + 4 + 3*8 + 4 + len(e.Body)
}

// appendEnvelope encodes a valid envelope.
func appendEnvelope(b []byte, e *Envelope) []byte {
	b = append(b, magicEnvelope...)
	b = appendText(b, e.Tenant)
	b = appendText(b, e.From)
	b = appendText(b, e.To)
	b = appendText(b, string(e.Kind))
	b = appendText(b, e.ID)
	b = binary.BigEndian.AppendUint32(b, uint32(e.Attempt))
	b = binary.BigEndian.AppendUint64(b, e.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(e.NotBefore.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(e.NotAfter.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Body)))
	return append(b, e.Body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// Decode reads a canonical encoding and nothing else: what it accepts, Encode gives back byte for byte. Every error is ErrMalformed. The envelope shares no bytes with data.
func Decode(data []byte) (Envelope, error) {
	var e Envelope
	if len(data) > MaxEnvelope {
		return e, malformed("%d bytes are more than %d", len(data), MaxEnvelope)
	}
	r := reader{b: data}
	r.magic(magicEnvelope)
	e.Tenant, e.From, e.To = r.text(MaxName), r.text(MaxName), r.text(MaxName)
	e.Kind, e.ID = Kind(r.text(MaxKind)), r.text(MaxName)
	attempt := r.uint32()
	e.Epoch = r.uint64()
	nb, na := r.uint64(), r.uint64()
	body := r.bytes(int64(r.uint32()))
	switch {
	case r.err != nil:
		return Envelope{}, r.err
	case len(r.b) > 0:
		return Envelope{}, malformed("%d bytes follow the body", len(r.b))
	case attempt > MaxAttempt:
		return Envelope{}, malformed("attempt %d is more than %d", attempt, MaxAttempt)
	case nb > maxMillis || na > maxMillis:
		return Envelope{}, malformed("a time is outside of the years 1970 to 9999")
	}
	e.Attempt = int(attempt)
	e.NotBefore, e.NotAfter = time.UnixMilli(int64(nb)).UTC(), time.UnixMilli(int64(na)).UTC()
	if len(body) > 0 {
		e.Body = append([]byte(nil), body...)
	}
	if err := e.Validate(); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

// reader takes fields off the front of b; the first failure sticks and all later fields are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) bytes(n int64) []byte {
	if r.err != nil {
		return nil
	}
	if n > int64(len(r.b)) {
		r.err = malformed("it ends in the middle of a field")
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) magic(want string) {
	if b := r.bytes(int64(len(want))); r.err == nil && string(b) != want {
		switch string(b) {
		case magicSealed:
			r.err = malformed("it is sealed, and this receiver reads plain envelopes")
		case magicEnvelope:
			r.err = malformed("it is a plain envelope, and this receiver reads sealed messages")
		default:
			r.err = malformed("it does not begin as a message does")
		}
	}
}

func (r *reader) text(limit int) string {
	b := r.bytes(2)
	if r.err != nil {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > limit {
		r.err = malformed("a text has %d bytes, more than %d", n, limit)
		return ""
	}
	return string(r.bytes(int64(n)))
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); r.err == nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); r.err == nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Header tells where a message goes, sealed or plain, without opening it: for routing only, since nothing of it is verified. Errors are ErrMalformed.
func Header(data []byte) (tenant, to string, err error) {
	r := reader{b: data}
	m := string(r.bytes(int64(len(magicSealed))))
	if m != magicSealed && m != magicEnvelope && r.err == nil {
		r.err = malformed("it does not begin as a message does")
	}
	tenant = r.text(MaxName)
	if m == magicEnvelope {
		r.text(MaxName) // from
	}
	to = r.text(MaxName)
	if r.err == nil && (!ValidName(tenant) || !ValidName(to)) {
		r.err = malformed("its address is not valid")
	}
	if r.err != nil {
		return "", "", r.err
	}
	return tenant, to, nil
}

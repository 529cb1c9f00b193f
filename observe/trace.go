package observe

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// TraceID returns the W3C trace id of a command: the 16 bytes of its id where that is a UUID, as the ids of this library and of AWS are, so that the trace's id is the
// command's without its dashes; else the first 16 bytes of a SHA-256 of it. It is never all zeroes.
func TraceID(command string) [16]byte {
	if id, ok := uuid(command); ok {
		return id
	}
	sum := sha256.Sum256([]byte("fleetwright trace\x00" + command))
	return [16]byte(sum[:16])
}

func uuid(s string) (id [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, false
	}
	at := 0
	for _, part := range [...][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		n, err := hex.Decode(id[at:], []byte(s[part[0]:part[1]]))
		if err != nil {
			return id, false
		}
		at += n
	}
	return id, id != [16]byte{}
}

// SpanID returns the id of a span of a command's trace, which depends on nothing but what the event is about: whoever tells of it, and however often, it is the same. Kinds that are
// no part of a command's story have none, which is all zeroes.
func SpanID(e *Event) [8]byte {
	switch e.Kind {
	case Send, Dispatch, Command:
		return span(e.Kind, e.Tenant, e.Command, "", 0, 0)
	case Deliver, Invocation, Run, Report:
		return span(e.Kind, e.Tenant, e.Command, e.Node, e.Attempt, 0)
	case Step:
		return span(e.Kind, e.Tenant, e.Command, e.Node, e.Attempt, e.Step)
	}
	return [8]byte{}
}

// ParentID returns the id of the span that an event's span lies in: of a Command that is none, all zeroes; of a Send, a Dispatch and an Invocation it is the Command; of a Deliver, a Run
// and a Report the Invocation; of a Step the Run.
func ParentID(e *Event) [8]byte {
	switch e.Kind {
	case Send, Dispatch, Invocation:
		return span(Command, e.Tenant, e.Command, "", 0, 0)
	case Deliver, Run, Report:
		return span(Invocation, e.Tenant, e.Command, e.Node, e.Attempt, 0)
	case Step:
		return span(Run, e.Tenant, e.Command, e.Node, e.Attempt, 0)
	}
	return [8]byte{}
}

func span(k Kind, tenant, command, node string, attempt, step int) [8]byte {
	b := make([]byte, 0, 160)
	b = append(b, "fleetwright span\x00"...)
	for _, s := range [...]string{k.String(), tenant, command, node} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(attempt))
	b = binary.BigEndian.AppendUint64(b, uint64(step))
	sum := sha256.Sum256(b)
	id := [8]byte(sum[:8])
	if id == [8]byte{} {
		id[0] = 1
	}
	return id
}

// TraceParent returns the W3C traceparent header of a command's trace, for what a host calls on its behalf.
func TraceParent(tenant, command string) string {
	t, s := TraceID(command), span(Command, tenant, command, "", 0, 0)
	return "00-" + hex.EncodeToString(t[:]) + "-" + hex.EncodeToString(s[:]) + "-01"
}

package message

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
)

// Ask is a node's question to the control plane, or something it hands in: an operation by its name, as AWS's agents call it (PutInventory,
// GetDeployablePatchSnapshotForInstance, …). A node repeats it until it is answered, so what an operation does it must do once however often it is asked.
type Ask struct {
	ID   string `json:"id"` // random; the answer carries it
	Op   string `json:"op"`
	Body []byte `json:"body,omitempty"` // the operation's input as Pack made it
}

// Answer answers an Ask. Code is empty when it was done.
type Answer struct {
	ID      string `json:"id"`
	Code    string `json:"code,omitempty"`    // a code of package fault, such as ValidationException
	Message string `json:"message,omitempty"` // for a person, with Code
	Body    []byte `json:"body,omitempty"`    // the operation's output as Pack made it
}

// The limits of an Ask and an Answer.
const (
	// MaxPacked is the largest Body in bytes.
	MaxPacked = 160 << 10
	// MaxUnpacked is the largest input or output in bytes.
	MaxUnpacked = 8 << 20
	// MaxOp is the longest name of an operation.
	MaxOp = 64
)

// Pack compresses an input or output with gzip, so that what is large on paper (an inventory of a thousand packages) travels in one message. Errors are ErrMalformed: it is over
// MaxUnpacked, or over MaxPacked when compressed.
func Pack(b []byte) ([]byte, error) {
	if len(b) > MaxUnpacked {
		return nil, malformed("%d bytes are more than the %d that one question or answer may have: send less at once", len(b), MaxUnpacked)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b) //nolint:errcheck // a buffer takes all
	w.Close()  //nolint:errcheck // a buffer takes all
	if out.Len() > MaxPacked {
		return nil, malformed("%d bytes, packed, are more than the %d that one question or answer may have: send less at once", out.Len(), MaxPacked)
	}
	return out.Bytes(), nil
}

// Unpack reverses Pack. Errors are ErrMalformed: it is not what Pack makes, is cut short, or holds more than MaxUnpacked; no more than that is ever unpacked.
func Unpack(b []byte) ([]byte, error) {
	if len(b) > MaxPacked {
		return nil, malformed("a packed body has %d bytes, more than %d", len(b), MaxPacked)
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, malformed("a packed body does not begin as gzip does")
	}
	r.Multistream(false)
	out, err := io.ReadAll(io.LimitReader(r, MaxUnpacked+1))
	switch {
	case len(out) > MaxUnpacked:
		return nil, malformed("a packed body holds more than %d bytes", MaxUnpacked)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, malformed("a packed body is cut short")
	case err != nil:
		return nil, malformed("a packed body is damaged")
	}
	return out, nil
}

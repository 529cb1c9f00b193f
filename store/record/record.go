// Package record frames what services write: a version byte, the payload, and a checksum over key and payload, so that a flipped bit or a record
// under the wrong key is named and never served (rule R-26).
//
// A [Table] is the typed view of a key space that services use:
//
//	commands := record.NewTable[Command](codec)
//	c, err := commands.Get(ctx, tx, k)      // store.ErrNotFound, ErrCorrupt
//	err = commands.Put(tx, k, c)
//	for e, err := range commands.Scan(ctx, r, k.Range()) { … }
//
// Frame: one byte 0x01; the payload; CRC-32C (4 bytes, big endian) over key and payload. With a MAC key, one byte 0x02; the payload; the first 16
// bytes of HMAC-SHA-256 over the key's length (4 bytes, big endian), key and payload; then the CRC-32C. Payloads of Tables are JSON. A codec reads
// the frames of every older release for ever; with a MAC key it refuses frames without one.
package record

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"iter"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	frameCRC = 0x01
	frameMAC = 0x02
	crcLen   = 4
	macLen   = 16
)

// Codec frames and opens records. It is immutable and safe for concurrent use; a nil *Codec frames with the checksum only.
type Codec struct{ mac []byte }

// NewCodec returns a codec that also authenticates each record with HMAC-SHA-256 under key, of at least 32 bytes.
func NewCodec(key secret.Value) (*Codec, error) {
	if key.Len() < 32 {
		return nil, fault.New("record.NewCodec", fault.Validation, "the MAC key has %d bytes; give at least 32", key.Len())
	}
	return &Codec{append([]byte(nil), key.Reveal()...)}, nil
}

// CorruptError says that the bytes under a key are not what was written there. Its code is DataCorrupt.
type CorruptError struct {
	Key    []byte
	Reason string
}

// Error names the record by its key.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("record: corrupt record under key %q: %s; restore it from a backup", e.Key, e.Reason)
}

// FaultCode returns DataCorrupt.
func (e *CorruptError) FaultCode() fault.Code { return fault.DataCorrupt }

func crc(key, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, payload)
}

func (c *Codec) sum(key, payload []byte) []byte {
	h := hmac.New(sha256.New, c.mac)
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(key)))
	h.Write(n[:])
	h.Write(key)
	h.Write(payload)
	return h.Sum(nil)[:macLen]
}

// Seal frames payload for key.
func (c *Codec) Seal(key, payload []byte) []byte {
	out := make([]byte, 0, 1+len(payload)+macLen+crcLen)
	if c == nil || c.mac == nil {
		out = append(append(out, frameCRC), payload...)
	} else {
		out = append(append(out, frameMAC), payload...)
		out = append(out, c.sum(key, payload)...)
	}
	return binary.BigEndian.AppendUint32(out, crc(key, out[1:]))
}

// Open returns the payload that Seal framed for key, or a *CorruptError. The payload aliases framed.
func (c *Codec) Open(key, framed []byte) ([]byte, error) {
	bad := func(reason string) ([]byte, error) {
		return nil, &CorruptError{Key: append([]byte(nil), key...), Reason: reason}
	}
	if len(framed) < 1+crcLen {
		return bad("too short")
	}
	body, tail := framed[1:len(framed)-crcLen], framed[len(framed)-crcLen:]
	if binary.BigEndian.Uint32(tail) != crc(key, body) {
		return bad("checksum does not match")
	}
	switch framed[0] {
	case frameCRC:
		if c != nil && c.mac != nil {
			return bad("it carries no MAC and this store demands one")
		}
		return body, nil
	case frameMAC:
		if c == nil || c.mac == nil {
			return bad("it carries a MAC and no key was given")
		}
		if len(body) < macLen {
			return bad("too short")
		}
		payload, sum := body[:len(body)-macLen], body[len(body)-macLen:]
		if !hmac.Equal(sum, c.sum(key, payload)) {
			return bad("MAC does not match")
		}
		return payload, nil
	}
	return bad(fmt.Sprintf("unknown frame version %d, written by a newer release?", framed[0]))
}

// Table is the typed view of records whose payload is the JSON of T. The zero Table uses checksums only. It is safe for concurrent use.
type Table[T any] struct{ codec *Codec }

// NewTable returns a table; codec may be nil.
func NewTable[T any](codec *Codec) Table[T] { return Table[T]{codec} }

// Entry is a record with its key. The key is a copy.
type Entry[T any] struct {
	Key   []byte
	Value T
}

func (t Table[T]) open(key, framed []byte) (v T, err error) {
	payload, err := t.codec.Open(key, framed)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(payload, &v); err != nil {
		return v, &CorruptError{Key: append([]byte(nil), key...), Reason: err.Error()}
	}
	return v, nil
}

// Get returns the record under key; store.ErrNotFound if there is none.
func (t Table[T]) Get(ctx context.Context, r store.Reader, key []byte) (v T, err error) {
	b, err := r.Get(ctx, key)
	if err != nil {
		return v, err
	}
	return t.open(key, b)
}

// GetMany returns a pointer for each key, nil for a missing one, in one call of the store.
func (t Table[T]) GetMany(ctx context.Context, r store.Reader, keys [][]byte) ([]*T, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	bs, err := r.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := make([]*T, len(keys))
	for i, b := range bs {
		if b == nil {
			continue
		}
		v, err := t.open(keys[i], b)
		if err != nil {
			return nil, err
		}
		out[i] = &v
	}
	return out, nil
}

// Put writes v under key.
func (t Table[T]) Put(tx store.Tx, key []byte, v T) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fault.New("record.Put", fault.InternalServerError, "cannot encode %T: %w", v, err)
	}
	return tx.Put(key, t.codec.Seal(key, payload))
}

// Scan yields the records of the range. A corrupt record is yielded as an error and the scan goes on if the caller does.
func (t Table[T]) Scan(ctx context.Context, r store.Reader, rng store.Range) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		for it, err := range r.Scan(ctx, rng) {
			var e Entry[T]
			if err == nil {
				e.Key = append([]byte(nil), it.Key...)
				e.Value, err = t.open(it.Key, it.Value)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

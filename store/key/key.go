// Package key builds and reads the keys of a store: tuples whose byte order is the order of their elements.
//
// A key begins with the tenant (DESIGN law 8), then the name of the key space, then what identifies the record, from what is scanned together to
// what differs:
//
//	k := key.New(tenant).Str("command").Str("invocation").Str(commandID).Str(nodeID)
//	r := key.New(tenant).Str("command").Str("invocation").Str(commandID).Range() // all invocations of the command
//
// Encoding: a string is 0x02, its bytes with 0x00 escaped as 0x00 0xff, then 0x00 0x01; an unsigned integer is 0x03 and 8 bytes big endian;
// a time is 0x04 and its Unix nanoseconds as 8 bytes big endian with the sign bit flipped. No encoding of an element is a prefix of another, so the
// range of a tuple holds exactly its extensions.
package key

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

// K is a key, or the beginning of one. Its methods return a longer key and never change the receiver's bytes.
type K []byte

// New begins a key with the tenant.
func New(tenant string) K { return K(nil).Str(tenant) }

const (
	tagStr  = 0x02
	tagUint = 0x03
	tagTime = 0x04
)

// Str appends a string.
func (k K) Str(s string) K {
	out := make(K, 0, len(k)+len(s)+3)
	out = append(append(out, k...), tagStr)
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			return append(append(out, s...), 0, 1)
		}
		out = append(append(out, s[:i]...), 0, 0xff)
		s = s[i+1:]
	}
}

// Uint appends an unsigned integer.
func (k K) Uint(u uint64) K {
	out := append(make(K, 0, len(k)+9), k...)
	return binary.BigEndian.AppendUint64(append(out, tagUint), u)
}

// Time appends an instant, to the nanosecond, of the years 1678 to 2262.
func (k K) Time(t time.Time) K {
	out := append(make(K, 0, len(k)+9), k...)
	return binary.BigEndian.AppendUint64(append(out, tagTime), uint64(t.UnixNano())^(1<<63))
}

// Range returns the range of all keys that extend k by at least one element.
func (k K) Range() store.Range {
	return store.Range{Start: append(append(K(nil), k...), 0x01), End: append(append(K(nil), k...), 0xff)}
}

// After returns the range of the extensions of k that come after last, which is a key of that range: the next page.
func (k K) After(last []byte) store.Range {
	r := k.Range()
	r.Start = append(append([]byte(nil), last...), 0)
	return r
}

// ErrMalformed is returned for bytes that are no key of this package, or not of the elements asked for.
var ErrMalformed = errors.New("key: malformed")

// Reader takes the elements of a key one by one. The first error sticks; see Err.
type Reader struct {
	rest []byte
	err  error
}

// Read begins reading k.
func Read(k []byte) *Reader { return &Reader{rest: k} }

// Err returns the first error, and ErrMalformed if elements are left over.
func (r *Reader) Err() error {
	if r.err == nil && len(r.rest) > 0 {
		return ErrMalformed
	}
	return r.err
}

// More reports whether elements are left.
func (r *Reader) More() bool { return r.err == nil && len(r.rest) > 0 }

// Str takes a string.
func (r *Reader) Str() string {
	if r.err != nil || len(r.rest) < 3 || r.rest[0] != tagStr {
		r.err = ErrMalformed
		return ""
	}
	var out []byte
	b := r.rest[1:]
	for i := 0; i < len(b); i++ {
		if b[i] != 0 {
			out = append(out, b[i])
			continue
		}
		if i+1 >= len(b) {
			break
		}
		switch b[i+1] {
		case 0xff:
			out = append(out, 0)
			i++
		case 1:
			r.rest = b[i+2:]
			return string(out)
		default:
			r.err = ErrMalformed
			return ""
		}
	}
	r.err = ErrMalformed
	return ""
}

// Uint takes an unsigned integer.
func (r *Reader) Uint() uint64 { return r.fixed(tagUint) }

// Time takes an instant, in UTC.
func (r *Reader) Time() time.Time {
	u := r.fixed(tagTime)
	if r.err != nil {
		return time.Time{}
	}
	return time.Unix(0, int64(u^(1<<63))).UTC()
}

func (r *Reader) fixed(tag byte) uint64 {
	if r.err != nil || len(r.rest) < 9 || r.rest[0] != tag {
		r.err = ErrMalformed
		return 0
	}
	u := binary.BigEndian.Uint64(r.rest[1:9])
	r.rest = r.rest[9:]
	return u
}

package fleet

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/fleetwright/fleetwright/inventory"
)

// An entry's canonical form is its attributes sorted by name, each as the length of the name (uvarint), the name, a zero byte and the value's length and bytes. Attributes that are there
// with an empty value are part of it: an entry that lacks an attribute is another one.
//
// The byte before a value is kept with the value in memory, so that an absent attribute ("") differs from an empty one.

// hash identifies an entry: the first half of SHA-256 over its type and canonical form. Nobody can make two entries of one hash with less than 2^64 work.
type hash [16]byte

func canonical(attrs map[string]string) []byte {
	n := 0
	for k, v := range attrs {
		n += len(k) + len(v) + 6
	}
	out := make([]byte, 0, n)
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		out = binary.AppendUvarint(out, uint64(len(k)))
		out = append(out, k...)
		v := attrs[k]
		out = binary.AppendUvarint(out, uint64(len(v)))
		out = append(append(out, 0), v...)
	}
	return out
}

func hashOf(typ string, canon []byte) hash {
	h := sha256.New()
	var b [binary.MaxVarintLen64]byte
	h.Write(b[:binary.PutUvarint(b[:], uint64(len(typ)))])
	h.Write([]byte(typ))
	h.Write(canon)
	var out hash
	copy(out[:], h.Sum(nil))
	return out
}

// eachAttr calls fn with each attribute of a canonical form; value has one byte before the value itself. It returns false if the bytes are none.
func eachAttr(canon string, fn func(name, value string)) bool {
	for len(canon) > 0 {
		name, rest, ok := cut(canon, 0)
		if !ok {
			return false
		}
		value, rest, ok := cut(rest, 1)
		if !ok || value[0] != 0 {
			return false
		}
		fn(name, value)
		canon = rest
	}
	return true
}

func cut(s string, more int) (head, rest string, ok bool) {
	var n uint64
	for i := 0; i < len(s) && i < 5; i++ {
		n |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			end := i + 1 + int(n) + more
			if n > 1<<24 || end > len(s) {
				return "", "", false
			}
			return s[i+1 : end], s[end:], true
		}
	}
	return "", "", false
}

func attributes(canon string) (inventory.Entry, bool) {
	out := inventory.Entry{}
	ok := eachAttr(canon, func(k, v string) { out[k] = v[1:] })
	return out, ok
}

// appendIDs appends a sorted list of ids as a count and differences.
func appendIDs(out []byte, ids []uint32) []byte {
	out = binary.AppendUvarint(out, uint64(len(ids)))
	last := uint32(0)
	for _, id := range ids {
		out = binary.AppendUvarint(out, uint64(id-last))
		last = id
	}
	return out
}

// readIDs takes what appendIDs appended; ok is false if b is none.
func readIDs(b []byte) (ids []uint32, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)) {
		return nil, nil, false
	}
	b = b[w:]
	ids = make([]uint32, n)
	last := uint64(0)
	for i := range ids {
		d, w := binary.Uvarint(b)
		if w <= 0 {
			return nil, nil, false
		}
		if last += d; last > 1<<32-1 || i > 0 && d == 0 {
			return nil, nil, false
		}
		ids[i], b = uint32(last), b[w:]
	}
	return ids, b, true
}

// difference returns what is in a and not in b, both sorted.
func difference(a, b []uint32) []uint32 {
	var out []uint32
	for _, x := range a {
		for len(b) > 0 && b[0] < x {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != x {
			out = append(out, x)
		}
	}
	return out
}

package message

import (
	"crypto/rand"
	"encoding/hex"
	"io"
)

// NewID returns a new random id as the text of a UUID (version 4), as AWS's command ids are. The bytes come from random, or from crypto/rand when it is nil or fails.
func NewID(random io.Reader) string {
	var b [16]byte
	if random != nil {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			random = nil
		}
	}
	if random == nil {
		rand.Read(b[:]) //nolint:errcheck // crypto/rand.Read never fails
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var t [36]byte
	hex.Encode(t[0:8], b[0:4])
	hex.Encode(t[9:13], b[4:6])
	hex.Encode(t[14:18], b[6:8])
	hex.Encode(t[19:23], b[8:10])
	hex.Encode(t[24:36], b[10:16])
	t[8], t[13], t[18], t[23] = '-', '-', '-', '-'
	return string(t[:])
}

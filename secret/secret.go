// Package secret makes secrecy a type instead of a flag (rule R-12).
//
// A [Value] holds secret bytes. Every way of printing it, by fmt, log/slog, encoding/json, encoding/xml or a text template, gives
// "***". The bytes are reached by the name [Value.Reveal] only, so that every place that reads one can be found by searching.
//
//	v := secret.String(password)
//	log.Info("connecting", "password", v) // password=***
//	conn.Auth(v.Reveal())
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Mask is what every formatter prints for a Value.
const Mask = "***"

// Value is a secret. The zero Value is the empty secret. Values are safe for concurrent reading. Copies share the same bytes.
//
// A field of this type that is not exported keeps its bytes too: package fmt, which cannot call methods there, comes to a pointer to a pointer and prints the
// address, where it would follow a single pointer for some verbs.
type Value struct{ p **cell }

type cell struct{ b []byte }

// New returns a Value with a copy of b.
func New(b []byte) Value { return Take(append([]byte(nil), b...)) }

// Take returns a Value of b itself, which the caller gives away and no longer reads or changes.
func Take(b []byte) Value {
	v := struct { // one allocation
		p *cell
		c cell
	}{c: cell{b}}
	v.p = &v.c
	return Value{&v.p}
}

// String returns a Value with the bytes of s.
func String(s string) Value { return New([]byte(s)) }

// Reveal returns the bytes. The caller must not change them, log them or keep them longer than it must.
func (v Value) Reveal() []byte {
	if v.p == nil {
		return nil
	}
	return (*v.p).b
}

// Len returns the number of bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// IsZero reports whether v holds no bytes.
func (v Value) IsZero() bool { return v.Len() == 0 }

// Equal compares in time that depends on the lengths only.
func (v Value) Equal(w Value) bool { return subtle.ConstantTimeCompare(v.Reveal(), w.Reveal()) == 1 }

// Wipe overwrites the bytes of v and of all its copies. Go may have moved them before: this is best effort.
func (v Value) Wipe() {
	if v.p != nil {
		clear((*v.p).b)
		(*v.p).b = nil
	}
}

// String returns Mask.
func (Value) String() string { return Mask }

// GoString returns Mask.
func (Value) GoString() string { return Mask }

// Format writes Mask, whatever the verb.
func (Value) Format(f fmt.State, _ rune) { io.WriteString(f, Mask) } //nolint:errcheck // fmt.State never fails

// MarshalText returns Mask.
func (Value) MarshalText() ([]byte, error) { return []byte(Mask), nil }

// MarshalJSON returns Mask as a JSON string.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + Mask + `"`), nil }

// MarshalBinary returns Mask, so that encoding/gob does not leak either.
func (Value) MarshalBinary() ([]byte, error) { return []byte(Mask), nil }

// LogValue returns Mask.
func (Value) LogValue() slog.Value { return slog.StringValue(Mask) }

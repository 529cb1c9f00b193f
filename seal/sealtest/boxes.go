package sealtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/fleetwright/fleetwright/seal"
)

// base is the record of most cases.
func base() seal.Binding {
	return seal.Binding{Tenant: "default", Kind: "parameter", Name: "/db/password", Version: 3, Type: "SecureString"}
}

func mustSeal(t T, x Box, keyID string, b seal.Binding, plaintext []byte) []byte {
	t.Helper()
	c, err := x.Seal(background(), keyID, b, plaintext, 1)
	if err != nil {
		t.Fatalf("sealing for %s: %v", b, err)
	}
	return c[0]
}

func mustOpen(t T, x Box, ciphertext []byte, b seal.Binding, want []byte) {
	t.Helper()
	v, err := x.Open(background(), ciphertext, b)
	if err != nil {
		t.Fatalf("opening for %s: %v", b, err)
	}
	if !bytes.Equal(v.Reveal(), want) {
		t.Fatalf("opening for %s gave another value", b)
	}
}

// closed fails unless the ciphertext is ErrTampered, or, for changes of the header, ErrKeyNotFound; with the cache empty and with it full.
func closed(t T, x Box, ciphertext []byte, b seal.Binding, what string) {
	t.Helper()
	v, err := x.Open(background(), ciphertext, b)
	if !v.IsZero() || !errors.Is(err, seal.ErrTampered) && !errors.Is(err, seal.ErrKeyNotFound) {
		t.Fatalf("opening %s gave %d bytes and the error %v, want ErrTampered", what, v.Len(), err)
	}
}

func boxRound(t T, s Subject) {
	for _, n := range []int{0, 1, 15, 16, 17, 1024, 8192, 64 << 10} {
		value := bytes.Repeat([]byte{0x5a}, n)
		c := mustSeal(t, s, "", base(), value)
		s.Forget()
		mustOpen(t, s, c, base(), value)
		mustOpen(t, s, c, base(), value)
	}
}

// The end of a ciphertext: nonce, payload, tag.
const tail = 12 + 16

func nonceOf(c []byte, plaintext int) string { return string(c[len(c)-tail-plaintext:][:12]) }

func headerOf(c []byte, plaintext int) string { return string(c[:len(c)-tail-plaintext]) }

func boxFresh(t T, s Subject) {
	value := []byte("the same value")
	nonces, headers := map[string]bool{}, map[string]bool{}
	for range 8 {
		cs, err := s.Seal(background(), "", base(), value, 8)
		if err != nil {
			t.Fatalf("sealing: %v", err)
		}
		for i, c := range cs {
			if n := nonceOf(c, len(value)); nonces[n] {
				t.Fatalf("a nonce was used twice")
			} else {
				nonces[n] = true
			}
			if h := headerOf(c, len(value)); i == 0 && headers[h] {
				t.Fatalf("a data key was used for two values")
			} else {
				headers[h] = true
			}
			mustOpen(t, s, c, base(), value)
		}
	}
}

func boxHide(t T, s Subject) {
	value := []byte("canary-6f1d2c9a-canary")
	c := mustSeal(t, s, "", base(), value)
	for n := 0; n+6 <= len(value); n++ {
		if bytes.Contains(c, value[n:n+6]) {
			t.Fatalf("the ciphertext shows %q", value[n:n+6])
		}
	}
}

// others returns bindings that differ from base in one thing each, moves of a byte from one field to the next included.
func others() map[string]seal.Binding {
	m := map[string]seal.Binding{}
	add := func(what string, change func(b *seal.Binding)) {
		b := base()
		change(&b)
		m[what] = b
	}
	add("tenant", func(b *seal.Binding) { b.Tenant = "other" })
	add("kind", func(b *seal.Binding) { b.Kind = "document" })
	add("name", func(b *seal.Binding) { b.Name = "/db/passwore" })
	add("longer name", func(b *seal.Binding) { b.Name += "/" })
	add("version", func(b *seal.Binding) { b.Version++ })
	add("earlier version", func(b *seal.Binding) { b.Version-- })
	add("high version", func(b *seal.Binding) { b.Version += 1 << 32 })
	add("no version", func(b *seal.Binding) { b.Version = 0 })
	add("type", func(b *seal.Binding) { b.Type = "String" })
	add("no type", func(b *seal.Binding) { b.Type = "" })
	add("tenant and kind shifted", func(b *seal.Binding) { b.Tenant, b.Kind = "defaultp", "arameter" })
	add("kind and name shifted", func(b *seal.Binding) { b.Kind, b.Name = "parameter/", "db/password" })
	return m
}

func boxBind(t T, s Subject) {
	value := []byte("value")
	c := mustSeal(t, s, "", base(), value)
	for what, b := range others() {
		s.Forget()
		closed(t, s, c, b, "for another "+what)
		mustOpen(t, s, c, base(), value)
		closed(t, s, c, b, "for another "+what+", the data key known")
	}
}

func boxSwap(t T, s Subject) {
	var records []seal.Binding
	for _, tenant := range []string{"a", "b"} {
		for _, name := range []string{"/x", "/y"} {
			for v := range uint64(2) {
				for _, typ := range []string{"SecureString", "String"} {
					records = append(records, seal.Binding{Tenant: tenant, Kind: "parameter", Name: name, Version: v + 1, Type: typ})
				}
			}
		}
	}
	var cs [][]byte
	for i, b := range records {
		cs = append(cs, mustSeal(t, s, s.Keys.IDs[i%len(s.Keys.IDs)], b, []byte("value")))
	}
	for i, b := range records {
		for j, c := range cs {
			if i == j {
				mustOpen(t, s, c, b, []byte("value"))
			} else {
				closed(t, s, c, b, fmt.Sprintf("the ciphertext of %s as that of %s", records[j], b))
			}
		}
	}
}

func boxSplice(t T, s Subject) {
	value := []byte("value")
	one, two := mustSeal(t, s, "", base(), value), mustSeal(t, s, "", base(), value)
	n := len(one) - tail - len(value)
	if len(one) != len(two) {
		n = min(n, len(two)-tail-len(value)) // the key service's wraps vary in length; the splice is malformed then, which must not open either
	}
	for _, cut := range []int{n, n + 12, n + 12 + len(value)} {
		closed(t, s, append(bytes.Clone(one[:cut]), two[cut:]...), base(), "a ciphertext put together of two")
		closed(t, s, append(bytes.Clone(two[:cut]), one[cut:]...), base(), "a ciphertext put together of two")
	}
}

// fields splits a ciphertext as the format of package seal has it: magic, key id, wrapped data key, nonce, payload with tag.
func fields(t T, c []byte) [5][]byte {
	t.Helper()
	text := func(at int) int {
		if at+2 > len(c) {
			t.Fatalf("a ciphertext is not of the format: it ends within a length")
		}
		return at + 2 + int(c[at])<<8 + int(c[at+1])
	}
	id := text(4)
	data := text(id)
	if data+tail > len(c) {
		t.Fatalf("a ciphertext is not of the format: it ends within its header")
	}
	return [5][]byte{c[:4], c[4:id], c[id:data], c[data : data+12], c[data+12:]}
}

func boxHeader(t T, s Subject) {
	value, other := []byte("value"), base()
	other.Name = "/db/passwore"
	names := [...]string{1: "key id", 2: "wrapped data key", 3: "nonce", 4: "payload"}
	for _, pair := range []struct {
		what   string
		id     [2]string
		record [2]seal.Binding
	}{
		{"two records", [2]string{s.Keys.IDs[0], s.Keys.IDs[0]}, [2]seal.Binding{base(), other}},
		{"two generations", [2]string{s.Keys.IDs[0], s.Keys.IDs[1]}, [2]seal.Binding{base(), base()}},
		{"two records and generations", [2]string{s.Keys.IDs[0], s.Keys.IDs[1]}, [2]seal.Binding{base(), other}},
		{"two values", [2]string{s.Keys.IDs[0], s.Keys.IDs[0]}, [2]seal.Binding{base(), base()}},
	} {
		whole := [2][]byte{mustSeal(t, s, pair.id[0], pair.record[0], value), mustSeal(t, s, pair.id[1], pair.record[1], value)}
		for i := range names {
			for n := range 2 {
				mine, theirs := fields(t, whole[n]), fields(t, whole[1-n])
				if i == 0 || bytes.Equal(mine[i], theirs[i]) {
					continue
				}
				mine[i] = theirs[i]
				mixed := bytes.Join(mine[:], nil)
				for warm := range 2 {
					if warm == 0 {
						s.Forget()
					}
					closed(t, s, mixed, pair.record[0], "a ciphertext with the "+names[i]+" of another, of "+pair.what)
					closed(t, s, mixed, pair.record[1], "a ciphertext with the "+names[i]+" of another, of "+pair.what)
					mustOpen(t, s, whole[0], pair.record[0], value)
					mustOpen(t, s, whole[1], pair.record[1], value)
				}
			}
		}
	}
}

func boxFlip(t T, s Subject) {
	c := mustSeal(t, s, "", base(), []byte("value"))
	for warm := range 2 {
		if warm == 1 {
			mustOpen(t, s, c, base(), []byte("value"))
		} else {
			s.Forget()
		}
		for i := range len(c) * 8 {
			d := bytes.Clone(c)
			d[i/8] ^= 1 << (i % 8)
			closed(t, s, d, base(), fmt.Sprintf("a ciphertext with bit %d changed", i))
		}
	}
}

func boxLength(t T, s Subject) {
	c := mustSeal(t, s, "", base(), []byte("value"))
	for n := range len(c) {
		closed(t, s, c[:n], base(), "a ciphertext that was cut")
	}
	closed(t, s, append(bytes.Clone(c), 0), base(), "a ciphertext that was lengthened")
	closed(t, s, append(bytes.Clone(c), c...), base(), "two ciphertexts")
}

func boxKeyID(t T, s Subject) {
	for _, id := range s.Keys.IDs {
		if got, err := seal.KeyID(mustSeal(t, s, id, base(), []byte("v"))); err != nil || got != id {
			t.Errorf("sealed under %q, the ciphertext names %q (%v)", id, got, err)
		}
	}
	if _, err := s.Seal(background(), "no such key", base(), []byte("v"), 1); !errors.Is(err, seal.ErrKeyNotFound) {
		t.Errorf("sealing under an unknown key gave %v, want ErrKeyNotFound", err)
	}
}

func boxRewrap(t T, s Subject) {
	value := []byte("value")
	from, to := s.Keys.IDs[0], s.Keys.IDs[1]
	c := mustSeal(t, s, from, base(), value)
	d, err := s.Rewrap(background(), c, to, base())
	if err != nil {
		t.Fatalf("rewrapping: %v", err)
	}
	if id, err := seal.KeyID(d); err != nil || id != to {
		t.Fatalf("rewrapped for %q, the ciphertext names %q (%v)", to, id, err)
	}
	n := tail + len(value)
	if !bytes.Equal(c[len(c)-n:], d[len(d)-n:]) {
		t.Fatalf("rewrapping changed the payload")
	}
	s.Forget()
	mustOpen(t, s, d, base(), value)
	mustOpen(t, s, c, base(), value)
	for what, b := range others() {
		closed(t, s, d, b, "a rewrapped ciphertext for another "+what)
		if _, err := s.Rewrap(background(), c, to, b); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("rewrapping for another %s gave %v, want ErrTampered", what, err)
		}
	}
	e, err := s.Rewrap(background(), d, to, base())
	if err != nil {
		t.Fatalf("rewrapping again: %v", err)
	}
	mustOpen(t, s, e, base(), value)
	d[len(d)-1] ^= 1
	if _, err := s.Rewrap(background(), d, from, base()); !errors.Is(err, seal.ErrTampered) {
		t.Errorf("rewrapping a changed ciphertext gave %v, want ErrTampered", err)
	}
}

func boxRotate(t T, s Subject) {
	if s.Keys.Rotate == nil {
		t.Skip("SKIPPED: these keys cannot be rotated by the suite")
	}
	value := []byte("value")
	id := func(c []byte) string {
		got, err := seal.KeyID(c)
		if err != nil {
			t.Fatalf("KeyID: %v", err)
		}
		return got
	}
	old := mustSeal(t, s, "", base(), value)
	to, err := s.Keys.Rotate(background())
	if err != nil {
		t.Fatalf("rotating: %v", err)
	}
	s.Forget()
	mustOpen(t, s, old, base(), value)
	now := mustSeal(t, s, "", base(), value)
	if id(now) != to || id(old) == to {
		t.Fatalf("after a rotation from %q to %q a new value has the key %q", id(old), to, id(now))
	}
	mustOpen(t, s, now, base(), value)
	moved := old
	for range 2 { // the second time there is nothing to do
		before := moved
		if moved, err = s.Rewrap(background(), moved, "", base()); err != nil {
			t.Fatalf("rewrapping for the primary key: %v", err)
		}
		if id(moved) != to || id(before) == to && !bytes.Equal(moved, before) {
			t.Fatalf("rewrapping from %q for the primary key %q gave the key %q, or a value that was done already was changed", id(before), to, id(moved))
		}
	}
	if s.Keys.Lose == nil {
		return
	}
	if err := s.Keys.Lose(background(), id(old)); err != nil {
		t.Fatalf("losing %q: %v", id(old), err)
	}
	s.Forget()
	mustOpen(t, s, now, base(), value)
	mustOpen(t, s, moved, base(), value)
	if _, err := s.Open(background(), old, base()); !errors.Is(err, seal.ErrKeyNotFound) {
		t.Errorf("opening what a lost key sealed gave %v, want ErrKeyNotFound", err)
	}
}

func boxCancel(t T, s Subject) {
	c := mustSeal(t, s, "", base(), []byte("v"))
	for range 2 {
		if _, err := s.Open(ended(), c, base()); !errors.Is(err, context.Canceled) {
			t.Errorf("Open with an ended ctx gave %v, want context.Canceled", err)
		}
		mustOpen(t, s, c, base(), []byte("v")) // and again with the data key known
	}
	if _, err := s.Seal(ended(), "", base(), []byte("v"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Prepare with an ended ctx gave %v, want context.Canceled", err)
	}
	if _, err := s.Rewrap(ended(), c, s.Keys.IDs[1], base()); !errors.Is(err, context.Canceled) {
		t.Errorf("Rewrap with an ended ctx gave %v, want context.Canceled", err)
	}
}

func boxLost(t T, s Subject) {
	if s.Keys.Lose == nil {
		t.Skip("SKIPPED: these keys cannot be destroyed by the suite")
	}
	value := []byte("value")
	kept := mustSeal(t, s, "", base(), value)
	primary, err := seal.KeyID(kept)
	if err != nil {
		t.Fatalf("KeyID: %v", err)
	}
	for _, id := range s.Keys.IDs {
		if id == primary {
			continue
		}
		c := mustSeal(t, s, id, base(), value)
		if err := s.Keys.Lose(background(), id); err != nil {
			t.Fatalf("losing %q: %v", id, err)
		}
		s.Forget()
		if _, err := s.Open(background(), c, base()); !errors.Is(err, seal.ErrKeyNotFound) {
			t.Errorf("opening what a lost key sealed gave %v, want ErrKeyNotFound", err)
		}
	}
	mustOpen(t, s, kept, base(), value)
}

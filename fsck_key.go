package fleetwright

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store/key"
)

// element is one element of a key.
type element struct {
	text string
	num  uint64
	at   time.Time
	kind byte // as the key has it: 2 a string, 3 a number, 4 a time
}

func (e element) String() string {
	switch e.kind {
	case 3:
		return strconv.FormatUint(e.num, 10)
	case 4:
		return e.at.Format(time.RFC3339Nano)
	}
	return fault.Clean(e.text)
}

// put appends the element to a key.
func (e element) put(k key.K) key.K {
	switch e.kind {
	case 3:
		return k.Uint(e.num)
	case 4:
		return k.Time(e.at)
	}
	return k.Str(e.text)
}

// place is what a key of the store says: whose, which service's, which kind of record, and what tells it from its kind.
type place struct {
	tenant, service, kind string
	rest                  []element
}

// parseKey takes a key apart. false: it is none that package key makes, with a tenant, a service and a kind.
func parseKey(k []byte) (p place, ok bool) {
	var all []element
	for len(k) > 0 {
		r := key.Read(k)
		e := element{kind: k[0]}
		switch k[0] {
		case 2:
			e.text = r.Str()
		case 3:
			e.num = r.Uint()
		case 4:
			e.at = r.Time()
		default:
			return p, false
		}
		n := len(e.put(nil))
		if !r.More() && r.Err() != nil || n > len(k) {
			return p, false
		}
		all, k = append(all, e), k[n:]
	}
	if len(all) < 2 || all[0].kind != 2 || all[1].kind != 2 {
		return p, false
	}
	p.tenant, p.service, p.rest = all[0].text, all[1].text, all[2:]
	if len(p.rest) > 0 && p.rest[0].kind == 2 {
		p.kind, p.rest = p.rest[0].text, p.rest[1:]
	}
	return p, true
}

// keyText is a key for a person: its elements behind slashes.
func keyText(k []byte) string {
	p, ok := parseKey(k)
	if !ok {
		return "0x" + hex.EncodeToString(k)
	}
	parts := []string{fault.Clean(p.tenant), fault.Clean(p.service)}
	if p.kind != "" {
		parts = append(parts, fault.Clean(p.kind))
	}
	for _, e := range p.rest {
		parts = append(parts, e.String())
	}
	if parts[0] == "" {
		parts[0] = "(system)"
	}
	return strings.Join(parts, "/")
}

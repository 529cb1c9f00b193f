package natstransport

import (
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// The limits of an address, in bytes. Any bytes may stand in one: they are encoded.
const (
	maxTenant = 64
	maxName   = 128
)

const hexDigits = "0123456789ABCDEF"

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// token makes one element of a subject of any string: letters, digits, - and _ stand for themselves, every other byte is =XX. No two strings have one token, and none has a dot, a
// wildcard, a space or a control character in it.
func token(s string) string {
	n := 0
	for i := range len(s) {
		if !plainByte(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	for i := range len(s) {
		if c := s[i]; plainByte(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// untoken is the inverse of token. It takes exactly what token makes.
func untoken(s string) (string, bool) {
	if strings.IndexByte(s, '=') < 0 {
		for i := range len(s) {
			if !plainByte(s[i]) {
				return "", false
			}
		}
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '=' {
			if !plainByte(c) {
				return "", false
			}
			b = append(b, c)
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 || plainByte(byte(hi<<4|lo)) {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), true
}

// nodeAddress reports whether a can be a node's.
func nodeAddress(a transport.Address) bool {
	return a.Tenant != "" && a.Name != "" && len(a.Tenant) <= maxTenant && len(a.Name) <= maxName && a.Name != message.Controller
}

// names are the subjects below a prefix.
//
//	P.n.TENANT.NODE.p        presence of a node, to every plane
//	P.n.TENANT.NODE.u.PLANE  a node's messages, to that plane
//	P.n.TENANT.NODE.d.m      messages of planes, to that node; d.PLANE takes the broker's word that PLANE is not there
//	P.all                    planes to all nodes: roll call, farewell
//	P.c.PLANE.TENANT.NODE.S  the broker's word, to that plane, that the node is not there in its session S
//	P.e.ID, P.f.ID           an enrolment's request and answer
type names string

func (p names) node(a transport.Address) string {
	return string(p) + ".n." + token(a.Tenant) + "." + token(a.Name)
}

func (p names) all() string { return string(p) + ".all" }

func (p names) presence() string { return string(p) + ".n.*.*.p" }

func (p names) up(id planeID) string { return string(p) + ".n.*.*.u." + id.String() }

func (p names) absent(id planeID) string { return string(p) + ".c." + id.String() + ".>" }

// from returns the node that a subject below P.n is about.
func (p names) from(subject string) (transport.Address, bool) {
	rest, ok := strings.CutPrefix(subject, string(p)+".n.")
	if !ok {
		return transport.Address{}, false
	}
	return twoTokens(rest)
}

// twoTokens reads TENANT.NODE at the beginning of s, which goes on after it.
func twoTokens(s string) (a transport.Address, ok bool) {
	t, rest, ok1 := strings.Cut(s, ".")
	n, _, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 {
		return a, false
	}
	if a.Tenant, ok = untoken(t); !ok {
		return a, false
	}
	if a.Name, ok = untoken(n); !ok {
		return a, false
	}
	return a, nodeAddress(a)
}

// who is what a client calls itself when it connects: fw1.n.TENANT.NODE or fw1.e.ID.
const (
	whoNode   = "fw1.n."
	whoEnroll = "fw1.e."
)

// parsePrefix returns the names below a prefix, "" being "fw": one or more tokens of letters, digits, - and _.
func parsePrefix(op, prefix string) (names, error) {
	if prefix == "" {
		prefix = "fw"
	}
	for t := range strings.SplitSeq(prefix, ".") {
		ok := t != "" && len(prefix) <= 64
		for i := range len(t) {
			ok = ok && plainByte(t[i])
		}
		if !ok {
			return "", fault.New(op, fault.InvalidParameters, "Prefix %q: use letters, digits, - and _, and dots between", fault.Clean(prefix))
		}
	}
	return names(prefix), nil
}

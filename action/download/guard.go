package download

import (
	"fmt"
	"net/netip"
	"syscall"
)

// Guard decides which addresses a node connects to for a document (rule R-23). Its Control is a net.Dialer's: it sees the address that a name was resolved to at the moment of
// connecting, so neither an odd spelling, a redirect nor a name that resolves differently the second time gets past it. The zero Guard lets only public addresses through.
type Guard struct {
	// Allow lists networks that may be reached although they are not public.
	Allow []netip.Prefix
}

// notPublic are the networks that a document has no business with: what IANA lists as special, and what carries an IPv4 address within an IPv6 one.
var notPublic = prefixes(
	"0.0.0.0/8",         // this network; 0.0.0.0 is this machine
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // carrier-grade NAT
	"127.0.0.0/8",       // loopback
	"169.254.0.0/16",    // link-local: metadata services
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments: metadata of some clouds
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarks
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, broadcast
	"168.63.129.16/32",  // Azure's wire server, a public address that is none
	"2001::/23",         // protocol assignments: Teredo, ORCHID
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4: carries an IPv4 address
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

// global is the only part of IPv6 with public addresses. Loopback, link-local, unique local, mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96) and all that lie outside of it.
var global = netip.MustParsePrefix("2000::/3")

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Check reports why the address may not be reached, nil when it may.
func (g *Guard) Check(a netip.Addr) error {
	plain := a.WithZone("").Unmap()
	if !plain.IsValid() {
		return fmt.Errorf("%w: no address", errRefused)
	}
	for _, p := range g.Allow {
		if p.Contains(plain) {
			return nil
		}
	}
	if plain.Is6() && !global.Contains(plain) {
		return fmt.Errorf("%w: %s is not a public address", errRefused, plain)
	}
	for _, p := range notPublic {
		if p.Contains(plain) {
			return fmt.Errorf("%w: %s is not a public address", errRefused, plain)
		}
	}
	return nil
}

// Control is for net.Dialer.Control.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp4", "tcp6":
	default:
		return fmt.Errorf("%w: network %s", errRefused, network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", errRefused, address)
	}
	return g.Check(ap.Addr())
}

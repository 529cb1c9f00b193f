package gather

import (
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/inventory"
)

// systemInterfaces lists the interfaces of this machine.
func systemInterfaces() ([]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		it := Interface{Name: i.Name, MAC: i.HardwareAddr.String(), Loopback: i.Flags&net.FlagLoopback != 0}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				it.Addrs = append(it.Addrs, *n)
			}
		}
		out = append(out, it)
	}
	return out, nil
}

// network gathers AWS:Network: every interface but loopback, also those without addresses (V12). Several addresses of an interface stand in one value, with commas.
func (g *Gatherer) network(context.Context) ([]inventory.Entry, error) {
	list, err := g.c.Interfaces()
	if err != nil {
		return nil, err
	}
	routes, _ := os.ReadFile(g.path("proc/net/route"))
	gateways := parseGateways(string(routes))
	resolv, _ := os.ReadFile(g.path("etc/resolv.conf"))
	dns := parseNameservers(string(resolv))
	out := make([]inventory.Entry, 0, len(list))
	for _, i := range list {
		if i.Loopback {
			continue
		}
		var v4, v6, masks []string
		for _, a := range i.Addrs {
			if ip := a.IP.To4(); ip != nil {
				v4 = append(v4, ip.String())
				if m := a.Mask; len(m) >= 4 {
					masks = append(masks, net.IP(m[len(m)-4:]).String())
				}
			} else {
				v6 = append(v6, a.IP.String())
			}
		}
		e := inventory.Entry{"Name": i.Name, "MacAddress": i.MAC, "IPV4": strings.Join(v4, ","), "IPV6": strings.Join(v6, ",")}
		add := func(k string, values []string) {
			if len(values) > 0 {
				e[k] = strings.Join(values, ",")
			}
		}
		add("SubnetMask", masks)
		add("Gateway", gateways[i.Name])
		if len(i.Addrs) > 0 {
			add("DNSServer", dns)
		}
		out = append(out, e)
	}
	return out, nil
}

// parseGateways returns the gateways of default routes by interface, from /proc/net/route.
func parseGateways(table string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(table) {
		w := strings.Fields(line)
		if len(w) < 8 || w[1] != "00000000" || w[7] != "00000000" {
			continue
		}
		b, err := hex.DecodeString(w[2])
		if err != nil || len(b) != 4 {
			continue
		}
		slices.Reverse(b) // the kernel prints the number as this machine's order of bytes has it: little endian
		a, _ := netip.AddrFromSlice(b)
		if s := a.String(); !a.IsUnspecified() && !slices.Contains(out[w[0]], s) {
			out[w[0]] = append(out[w[0]], s)
		}
	}
	return out
}

// parseNameservers returns the name servers of a resolv.conf.
func parseNameservers(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 || w[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(w[1]); err == nil && !slices.Contains(out, a.String()) {
			out = append(out, a.String())
		}
	}
	return out
}

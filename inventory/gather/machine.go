package gather

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// instance gathers AWS:InstanceInformation from what the agent knows of itself and from os-release.
func (g *Gatherer) instance(context.Context) ([]inventory.Entry, error) {
	f := g.c.Facts
	text, err := os.ReadFile(g.path("etc/os-release"))
	if err != nil {
		text, _ = os.ReadFile(g.path("usr/lib/os-release"))
	}
	release := parseOSRelease(string(text))
	name := f.ComputerName
	if name == "" {
		b, _ := os.ReadFile(g.path("proc/sys/kernel/hostname"))
		name = strings.TrimSpace(string(b))
	}
	address := f.IPAddress
	if address == "" {
		address = g.firstAddress()
	}
	kind := "ManagedInstance"
	if strings.HasPrefix(g.c.Node, "i-") {
		kind = "EC2Instance"
	}
	return []inventory.Entry{{
		"AgentType": f.AgentName, "AgentVersion": f.AgentVersion, "ComputerName": name, "InstanceId": g.c.Node, "IpAddress": address,
		"PlatformName": cmp.Or(f.PlatformName, release["NAME"]), "PlatformVersion": cmp.Or(f.PlatformVersion, release["VERSION_ID"]), "PlatformType": cmp.Or(f.PlatformType, g.c.Platform),
		"ResourceType": kind, "AgentStatus": "Active", "InstanceStatus": "Active",
	}}, nil
}

func (g *Gatherer) firstAddress() string {
	list, err := g.c.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range list {
		for _, a := range i.Addrs {
			if ip := a.IP.To4(); ip != nil && !i.Loopback {
				return ip.String()
			}
		}
	}
	return ""
}

// parseOSRelease reads assignments as a shell would, without expansions.
func parseOSRelease(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(k, "#") {
			continue
		}
		if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
			quote := v[0]
			v = v[1 : n-1]
			if quote == '"' {
				v = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, "\\`", "`").Replace(v)
			}
		}
		out[k] = v
	}
	return out
}

// detailed gathers AWS:InstanceDetailedInformation from /proc and /sys, with the meanings that lscpu has (V10, V11).
func (g *Gatherer) detailed(ctx context.Context) ([]inventory.Entry, error) {
	if g.c.Platform == "Windows" {
		return g.windowsDetailed(ctx)
	}
	text, err := os.ReadFile(g.path("proc/cpuinfo"))
	if err != nil {
		return nil, err
	}
	kernel, _ := os.ReadFile(g.path("proc/sys/kernel/osrelease"))
	c := parseCPUs(string(text))
	g.topology(&c)
	// Where the clock changes with the load, its highest value does not.
	if khz, err := os.ReadFile(g.path("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(khz))); err == nil && n > 0 {
			c.mhz = strconv.Itoa(n / 1000)
		}
	}
	e := inventory.Entry{"CPUModel": c.model, "CPUSpeedMHz": c.mhz, "CPUs": count(c.cpus), "CPUSockets": "", "CPUCores": "", "CPUHyperThreadEnabled": "", "OSServicePack": "",
		"KernelVersion": strings.TrimSpace(string(kernel))}
	if len(c.sockets) > 0 {
		e["CPUSockets"] = count(len(c.sockets))
	}
	if len(c.cores) > 0 {
		e["CPUCores"] = count(len(c.cores))
		e["CPUHyperThreadEnabled"] = strconv.FormatBool(c.cpus > len(c.cores))
	}
	return []inventory.Entry{e}, nil
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// cpus is what the kernel tells of the processors that are on line.
type cpus struct {
	model, mhz string
	cpus       int
	ids        []string
	sockets    map[string]bool
	cores      map[string]bool // socket and core
}

// parseCPUs reads /proc/cpuinfo.
func parseCPUs(text string) cpus {
	c := cpus{sockets: map[string]bool{}, cores: map[string]bool{}}
	implementer, part := "", ""
	for block := range strings.SplitSeq(text, "\n\n") {
		f := map[string]string{}
		for line := range strings.Lines(block) {
			k, v, ok := strings.Cut(line, ":")
			if ok {
				f[strings.TrimSpace(k)] = strings.TrimSpace(v)
			}
		}
		c.model = cmp.Or(c.model, f["model name"], f["Model Name"], f["cpu model"])
		if c.mhz == "" {
			mhz, _, _ := strings.Cut(cmp.Or(f["cpu MHz"], f["CPU MHz"]), ".")
			if _, err := strconv.Atoi(mhz); err == nil {
				c.mhz = mhz
			}
		}
		implementer, part = cmp.Or(implementer, f["CPU implementer"]), cmp.Or(part, f["CPU part"])
		id, ok := f["processor"]
		if !ok {
			continue
		}
		c.cpus++
		c.ids = append(c.ids, id)
		if socket, ok := f["physical id"]; ok {
			c.sockets[socket] = true
			c.cores[socket+"/"+cmp.Or(f["core id"], id)] = true
		}
	}
	if c.model == "" && implementer == "0x41" {
		c.model = armParts[part]
	}
	return c
}

// armParts are the names of Arm's own cores that servers have; the table is read only.
var armParts = map[string]string{"0xd03": "Cortex-A53", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1",
	"0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2"}

// topology adds sockets and cores from /sys where cpuinfo has none, as on Arm.
func (g *Gatherer) topology(c *cpus) {
	if len(c.cores) > 0 {
		return
	}
	for _, id := range c.ids {
		if _, err := strconv.Atoi(id); err != nil {
			continue
		}
		read := func(name string) string {
			b, _ := os.ReadFile(g.path("sys/devices/system/cpu", "cpu"+id, "topology", name))
			return strings.TrimSpace(string(b))
		}
		socket, core := read("physical_package_id"), read("core_id")
		if socket == "" || core == "" {
			continue
		}
		c.sockets[socket] = true
		c.cores[socket+"/"+core] = true
	}
}

// billing gathers AWS:BillingInfo.
func (g *Gatherer) billing(ctx context.Context) ([]inventory.Entry, error) {
	ids, err := g.c.Billing(ctx)
	if err != nil {
		return nil, err
	}
	var out []inventory.Entry
	for _, id := range ids {
		if id = strings.TrimSpace(id); id != "" {
			out = append(out, inventory.Entry{"BillingProductId": id})
		}
	}
	return out, nil
}

// IdentityBilling makes a Config's Billing of a function that fetches an EC2 instance identity document (from the instance metadata service); billing products and marketplace codes
// are both listed. A nil document without error is a machine that is none of EC2's.
func IdentityBilling(document func(ctx context.Context) ([]byte, error)) func(ctx context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		b, err := document(ctx)
		if err != nil || len(b) == 0 {
			return nil, err
		}
		var d struct {
			BillingProducts         []string `json:"billingProducts"`
			MarketplaceProductCodes []string `json:"marketplaceProductCodes"`
		}
		if err := json.Unmarshal(b, &d); err != nil {
			return nil, fault.New("gather.IdentityBilling", fault.Validation, "the instance identity document is no JSON object")
		}
		return append(d.BillingProducts, d.MarketplaceProductCodes...), nil
	}
}

// custom gathers the files of custom inventory. A file that is wrong is left out and told; of two of one type the first by name counts. More files than types are allowed is an error (V8).
func (g *Gatherer) custom(ctx context.Context, dir string) ([]inventory.Item, []Failure, error) {
	if dir == "" {
		return nil, nil, nil
	}
	lim := g.c.Limits.Resolved()
	list, err := os.ReadDir(g.path(dir))
	if os.IsNotExist(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fault.New("gather.Gather", fault.Validation, "the folder of custom inventory cannot be listed: %v", plain(err))
	}
	list = slices.DeleteFunc(list, func(e os.DirEntry) bool { return e.IsDir() || filepath.Ext(e.Name()) != ".json" })
	if inventory.Over(len(list), lim.CustomTypes) {
		return nil, nil, fault.New("gather.Gather", inventory.CustomSchemaCountLimit, "the folder of custom inventory has %d files, at most %d are allowed", len(list), lim.CustomTypes)
	}
	var items []inventory.Item
	var partial []Failure
	seen := map[string]bool{}
	for _, e := range list {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		it, err := g.customFile(filepath.Join(g.path(dir), e.Name()))
		if err == nil && seen[it.TypeName] {
			err = fault.New("gather.Gather", inventory.InvalidItemContent, "another file has the type %s already: remove one", it.TypeName)
		}
		if err != nil {
			partial = append(partial, Failure{"Custom", fault.Wrap("gather.Gather "+fault.Clean(e.Name()), err), true})
			continue
		}
		seen[it.TypeName] = true
		it.CaptureTime = inventory.CaptureTime(g.c.Now())
		items = append(items, it)
	}
	return items, partial, nil
}

func (g *Gatherer) customFile(path string) (inventory.Item, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fault.New("gather.Gather", inventory.InvalidItemContent, "it is no regular file")
	}
	if err == nil && inventory.Over(int(min(info.Size(), 1<<30)), g.c.Limits.Resolved().ItemBytes) {
		err = fault.New("gather.Gather", inventory.ItemSizeLimitExceeded, "it has %d bytes", info.Size())
	}
	if err != nil {
		return inventory.Item{}, plain(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return inventory.Item{}, plain(err)
	}
	return inventory.ParseCustom(b, g.c.Limits)
}

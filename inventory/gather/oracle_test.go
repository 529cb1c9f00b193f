package gather_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
)

// These tests compare with the tools of this machine. Where one is missing they say so.

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED: %s is not installed here, nothing to compare with", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("SKIPPED: %s does not work here: %v", name, err)
	}
	return string(out)
}

func item(t *testing.T, f gather.Found, name string) inventory.Item {
	t.Helper()
	for _, it := range f.Items {
		if it.TypeName == name {
			return it
		}
	}
	require.FailNow(t, "not gathered", "%s: %v", name, f.Failures)
	return inventory.Item{}
}

func TestApplicationsAgainstDpkgQuery(t *testing.T) {
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		t.Skip("SKIPPED: this machine has no dpkg database")
	}
	out := tool(t, "dpkg-query", "-W", "-f", `${Package}\t${Version}\t${Architecture}\t${Maintainer}\t${Section}\t${Homepage}\t${binary:Summary}\t${db:Status-Status}\n`)
	found := item(t, gather.New(gather.Config{}).Gather(t.Context(), gather.Plan{Applications: true}), inventory.Application)
	got := map[string]inventory.Entry{}
	debs := 0
	for _, e := range found.Content {
		if inventory.PackageFormat(e) == "deb" {
			debs++
			got[e["PackageId"]] = e
		}
	}
	want, removed := 0, 0
	for line := range strings.Lines(out) {
		w := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if w[7] == "config-files" {
			removed++
			continue
		}
		want++
		e, ok := got[w[0]+"_"+w[1]+"_"+w[2]+".deb"]
		require.True(t, ok, "%s %s", w[0], w[1])
		short := func(s string) string { // no value here has anything to escape
			for len(s) > 100 {
				_, size := lastRune(s)
				s = s[:len(s)-size]
			}
			return s
		}
		require.Equal(t, []string{w[0], short(w[1]), gather.Architecture(w[2]), short(w[3]), w[4], short(w[5]), short(strings.ReplaceAll(w[6], `"`, `"`))},
			[]string{e["Name"], e["Version"], e["Architecture"], e["Publisher"], e["ApplicationType"], e["URL"], e["Summary"]})
	}
	require.Equal(t, want, debs)
	t.Logf("dpkg-query: %d installed, %d removed but not purged (left out); gathered: %d, content of %d bytes", want, removed, debs, len(inventory.Canonical(found.Content)))
}

func lastRune(s string) (rune, int) {
	r := []rune(s)
	return r[len(r)-1], len(string(r[len(r)-1]))
}

func TestNetworkAgainstIP(t *testing.T) {
	var links []struct {
		Ifname, Address, Link_type string
		Addr_info                  []struct {
			Family, Local string
			Prefixlen     int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(tool(t, "ip", "-j", "addr")), &links))
	var routes []struct{ Dst, Gateway, Dev string }
	require.NoError(t, json.Unmarshal([]byte(tool(t, "ip", "-j", "route")), &routes))
	found := item(t, gather.New(gather.Config{}).Gather(t.Context(), gather.Plan{Network: true}), inventory.Network)
	want := map[string]inventory.Entry{}
	for _, l := range links {
		if l.Link_type == "loopback" {
			continue
		}
		e := inventory.Entry{"Name": l.Ifname, "MacAddress": l.Address}
		for _, a := range l.Addr_info {
			key := map[string]string{"inet": "IPV4", "inet6": "IPV6"}[a.Family]
			e[key] = strings.TrimPrefix(e[key]+","+a.Local, ",")
			if a.Family == "inet" {
				e["SubnetMask"] = strings.TrimPrefix(e["SubnetMask"]+","+net.IP(net.CIDRMask(a.Prefixlen, 32)).String(), ",")
			}
		}
		for _, r := range routes {
			if r.Dst == "default" && r.Dev == l.Ifname && r.Gateway != "" {
				e["Gateway"] = strings.TrimPrefix(e["Gateway"]+","+r.Gateway, ",")
			}
		}
		want[l.Ifname] = e
	}
	require.Len(t, found.Content, len(want))
	for _, e := range found.Content {
		w := want[e["Name"]]
		for _, k := range []string{"Name", "MacAddress", "IPV4", "IPV6", "SubnetMask", "Gateway"} {
			require.Equal(t, w[k], e[k], "%s of %s", k, e["Name"])
		}
	}
	t.Logf("ip: %d interfaces, all equal", len(want))
}

func TestProcessorsAgainstLscpu(t *testing.T) {
	out := tool(t, "lscpu")
	f := map[string]string{}
	for line := range strings.Lines(out) {
		k, v, _ := strings.Cut(line, ":")
		f[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	e := item(t, gather.New(gather.Config{}).Gather(t.Context(), gather.Plan{InstanceDetailedInformation: true}), inventory.InstanceDetailedInformation).Content[0]
	n := func(k string) int { v, _ := strconv.Atoi(f[k]); return v }
	require.Equal(t, f["Model name"], e["CPUModel"])
	require.Equal(t, f["Socket(s)"], e["CPUSockets"])
	require.Equal(t, strconv.Itoa(n("Socket(s)")*n("Core(s) per socket")), e["CPUCores"])
	require.Equal(t, strconv.FormatBool(n("Thread(s) per core") > 1), e["CPUHyperThreadEnabled"])
	on := strings.Split(f["On-line CPU(s) list"], ",")
	require.NotEmpty(t, on)
	require.Equal(t, f["CPU(s)"], e["CPUs"])
	require.Equal(t, strings.TrimSpace(tool(t, "uname", "-r")), e["KernelVersion"])
	t.Logf("lscpu: equal; CPUSpeedMHz %q from /proc/cpuinfo, lscpu prints %q", e["CPUSpeedMHz"], f["CPU MHz"])
}

func TestMachineAgainstFacter(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: facter needs up to a second")
	}
	var facts struct {
		Processors struct {
			Count, Physicalcount int
			Models               []string
		}
		OS struct {
			Name    string
			Release struct{ Full, Major string }
		} `json:"os"`
		Kernelrelease string
		Networking    struct{ IP, Mac, Hostname string }
	}
	require.NoError(t, json.Unmarshal([]byte(tool(t, "facter", "-j", "processors", "os", "kernelrelease", "networking")), &facts))
	found := gather.New(gather.Config{}).Gather(t.Context(), gather.Plan{InstanceDetailedInformation: true, InstanceInformation: true, Network: true})
	d, i := item(t, found, inventory.InstanceDetailedInformation).Content[0], item(t, found, inventory.InstanceInformation).Content[0]
	require.Equal(t, strconv.Itoa(facts.Processors.Count), d["CPUs"])
	require.Equal(t, strconv.Itoa(facts.Processors.Physicalcount), d["CPUSockets"])
	require.Equal(t, facts.Processors.Models[0], d["CPUModel"])
	require.Equal(t, facts.Kernelrelease, d["KernelVersion"])
	require.True(t, strings.HasPrefix(i["PlatformName"], facts.OS.Name), "facter %s, os-release %s", facts.OS.Name, i["PlatformName"])
	require.Equal(t, facts.OS.Release.Major, i["PlatformVersion"])
	require.Equal(t, facts.Networking.IP, i["IpAddress"])
	t.Logf("facter: equal; its os.release.full %s is /etc/debian_version, ours is VERSION_ID %s", facts.OS.Release.Full, i["PlatformVersion"])
}

func TestServicesAgainstSystemctl(t *testing.T) {
	out := tool(t, "systemctl", "list-unit-files", "--type=service", "--no-legend", "--no-pager")
	found := item(t, gather.New(gather.Config{}).Gather(t.Context(), gather.Plan{Services: true}), inventory.Service)
	got := map[string]string{}
	for _, e := range found.Content {
		got[e["Name"]] = e["StartType"]
	}
	n := 0
	for line := range strings.Lines(out) {
		w := strings.Fields(line)
		require.Equal(t, w[1], got[strings.TrimSuffix(w[0], ".service")], w[0])
		n++
	}
	require.NotZero(t, n)
	t.Logf("systemctl: %d unit files of services, all equal; gathered %d services", n, len(found.Content))
}

func TestFilesAgainstFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.conf", "b.conf", "c.txt", "sub/d.conf", "sub/deep/e.conf", "sub/f.txt", `odd " name.conf`, "sub/.hidden.conf"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
		require.NoError(t, os.Chtimes(filepath.Join(dir, name), time.Time{}, time.Date(2025, 3, 1, 12, 0, len(name), 0, time.UTC)))
	}
	for _, recursive := range []bool{false, true} {
		args := []string{dir}
		if !recursive {
			args = append(args, "-maxdepth", "1")
		}
		out := tool(t, "find", append(args, "-type", "f", "-name", "*.conf", "-printf", `%f\t%s\t%TY-%Tm-%TdT%TH:%TM:%.2TS\t%h\n`)...)
		want := strings.Split(strings.TrimSpace(out), "\n")
		found := item(t, gather.New(gather.Config{}).Gather(t.Context(), gather.Plan{Files: []gather.FileFilter{{Path: dir, Pattern: []string{"*.conf"}, Recursive: recursive}}}), inventory.File)
		var got []string
		for _, e := range found.Content {
			got = append(got, e["Name"]+"\t"+e["Size"]+"\t"+e["ModificationTime"][:19]+"\t"+e["InstalledDir"])
		}
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got)
	}
}

// V5, by the real tool: a package that was removed but not purged, one that was purged, one for another architecture, in a tree of their own.
func TestRemovedPackagesAgainstDpkg(t *testing.T) {
	for _, name := range []string{"dpkg", "dpkg-deb", "dpkg-query"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: %s is not installed here", name)
		}
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, f := range []string{"status", "available"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg", f), nil, 0o644))
	}
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Skipf("SKIPPED: %s does not work here: %v: %s", name, err, out)
		}
		return string(out)
	}
	dpkg := func(args ...string) {
		run("dpkg", append([]string{"--root=" + root, "--log=" + filepath.Join(dir, "log"), "--force-not-root", "--force-script-chrootless", "--force-architecture", "--force-depends"}, args...)...)
	}
	for _, name := range []string{"stays", "removed", "purged"} {
		pkg := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Join(pkg, "DEBIAN"), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Join(pkg, "etc"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(pkg, "etc", name+".conf"), []byte("x\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(pkg, "DEBIAN/conffiles"), []byte("/etc/"+name+".conf\n"), 0o644))
		control := "Package: " + name + "\nVersion: 1:2.0-3\nArchitecture: all\nMaintainer: A <a@example.org>\nSection: misc\nHomepage: https://example.org/\nDescription: a \"quoted\" thing\n more\n"
		require.NoError(t, os.WriteFile(filepath.Join(pkg, "DEBIAN/control"), []byte(control), 0o644))
		run("dpkg-deb", "--root-owner-group", "--build", pkg, pkg+".deb")
		dpkg("-i", pkg+".deb")
	}
	dpkg("-r", "removed")
	dpkg("-P", "purged")
	query := run("dpkg-query", "--admindir="+filepath.Join(root, "var/lib/dpkg"), "-W", "-f", `${Package} ${Version} ${db:Status-Status} ${binary:Summary}\n`)
	require.Equal(t, "removed 1:2.0-3 config-files a \"quoted\" thing\nstays 1:2.0-3 installed a \"quoted\" thing\n", query)
	names := func(keep bool) (out []string) {
		for _, e := range item(t, gather.New(gather.Config{Root: root, Platform: "Linux", Run: nothing, KeepRemoved: keep}).Gather(t.Context(), gather.Plan{Applications: true}), inventory.Application).Content {
			out = append(out, e["Name"]+" "+e["Version"]+" "+e["Summary"])
		}
		return out
	}
	require.Equal(t, []string{`stays 1:2.0-3 a "quoted" thing`}, names(false))
	require.Equal(t, []string{`removed 1:2.0-3 a "quoted" thing`, `stays 1:2.0-3 a "quoted" thing`}, names(true))
}

// V2, by the real tool: packages built and installed in a tree of their own.
func TestRPMAgainstRPM(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: building packages takes a second")
	}
	for _, name := range []string{"rpm", "rpmbuild"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: %s is not installed here", name)
		}
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Mkdir(root, 0o755))
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+dir)
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("SKIPPED: %s does not work here: %v", name, err)
		}
		return string(out)
	}
	spec := func(name, more string) {
		path := filepath.Join(dir, name+".spec")
		text := "Name: " + name + "\nVersion: 1.2.3\nRelease: 4%{?dist}\nSummary: A \"quoted\" thing of " + strings.Repeat("x", 90) + "\nLicense: MIT\nBuildArch: noarch\n" + more + "\n%description\nx\n%files\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		run("rpmbuild", "--define", "_topdir "+dir, "-bb", path)
		run("rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps", "--noscripts", "--nosignature", "-i", filepath.Join(dir, "RPMS/noarch", name+"-1.2.3-4.noarch.rpm"))
	}
	spec("plain", "")
	spec("full", "Epoch: 7\nVendor: The Vendor\nURL: https://example.org/\nGroup: System/Libraries")
	out := run("rpm", "--root", root, "--dbpath", "/var/lib/rpm", "-qa", "--qf", `%{NAME}|%{EPOCH}|%{VERSION}|%{RELEASE}|%{ARCH}|%{VENDOR}|%{GROUP}|%{URL}|%{SOURCERPM}|%{INSTALLTIME}\n`)
	got := map[string]inventory.Entry{}
	for _, e := range item(t, gather.New(gather.Config{Root: root, Platform: "Linux"}).Gather(t.Context(), gather.Plan{Applications: true}), inventory.Application).Content {
		got[e["Name"]] = e
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	require.Len(t, got, 2)
	for _, line := range lines {
		w := strings.Split(strings.ReplaceAll(line, "(none)", ""), "|")
		e := got[w[0]]
		seconds, err := strconv.ParseInt(w[9], 10, 64)
		require.NoError(t, err)
		require.Equal(t, []string{w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], time.Unix(seconds, 0).UTC().Format(time.RFC3339)},
			[]string{e["Epoch"], e["Version"], e["Release"], e["Architecture"], e["Publisher"], e["ApplicationType"], e["URL"], e["PackageId"], e["InstalledTime"]})
		require.Equal(t, `A "quoted" thing of `+strings.Repeat("x", 78), e["Summary"])
		require.Equal(t, "rpm", inventory.PackageFormat(e))
	}
	t.Logf("rpm: %d packages, all equal", len(lines))
}

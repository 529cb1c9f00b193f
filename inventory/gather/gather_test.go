package gather_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
	"github.com/fleetwright/fleetwright/message"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func now() time.Time { return noon }

// nothing is a Runner of a machine without programs.
func nothing(context.Context, string, ...string) ([]byte, error) { return nil, exec.ErrNotFound }

// tree writes files below a new root.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

const statusFile = `Package: zlib1g
Status: install ok installed
Maintainer: Someone <a@example.org>
Architecture: amd64
Multi-Arch: same
Version: 1:1.2.13.dfsg-1
Section: libs
Homepage: https://zlib.net
Description: compression library - runtime
 More of it.
 .
 Version: 9 is not a field here

Package: zlib1g
Status: install ok installed
Architecture: i386
Version: 1:1.2.13.dfsg-1
Description: compression library - runtime

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1.0
Conffiles:
 /etc/gone.conf 0123456789abcdef0123456789abcdef

Package: never
Status: purge ok not-installed

Package: Broken
Status: install reinstreq half-configured
Maintainer: "Quoted"	tab\ ` + "\r" + `
Architecture: all
Version: 2
Description: ` + "ééééééééééééééééééééééééééééééééééééééééééééééééééé" + `

Package: amazon-ssm-agent
Status: hold ok installed
Architecture: amd64
Version: 3.3.1
Description: agent`

func TestDpkg(t *testing.T) {
	root := tree(t, map[string]string{
		"var/lib/dpkg/status":                  statusFile,
		"var/lib/dpkg/status.d/tzdata":         "Package: tzdata\nVersion: 2025a\nArchitecture: all\n",
		"var/lib/dpkg/status.d/tzdata.md5sums": "abc\n",
	})
	c := gather.Config{Root: root, Run: nothing, Now: now, Platform: "Linux"}
	found := gather.New(c).Gather(t.Context(), gather.Plan{Applications: true, AWSComponents: true})
	require.NoError(t, found.Err())
	require.Equal(t, []inventory.Item{
		inventory.NewItem(inventory.AWSComponent, noon, []inventory.Entry{{"Name": "amazon-ssm-agent", "Publisher": "", "Version": "3.3.1", "Architecture": "x86_64"}}),
		inventory.NewItem(inventory.Application, noon, []inventory.Entry{
			{"Name": "amazon-ssm-agent", "Publisher": "", "Version": "3.3.1", "Architecture": "x86_64", "Summary": "agent", "PackageId": "amazon-ssm-agent_3.3.1_amd64.deb"},
			// V4: cut at 100 bytes between letters, CR dropped; quotes and tabs stay themselves.
			{"Name": "Broken", "Publisher": "\"Quoted\"\ttab\\ ", "Version": "2", "Architecture": "all", "Summary": strings.Repeat("é", 50), "PackageId": "Broken_2_all.deb"},
			{"Name": "tzdata", "Publisher": "", "Version": "2025a", "Architecture": "all", "PackageId": "tzdata_2025a_all.deb"},
			// V6: two architectures are two rows.
			{"Name": "zlib1g", "Publisher": "", "Version": "1:1.2.13.dfsg-1", "Architecture": "i386", "Summary": "compression library - runtime", "PackageId": "zlib1g_1:1.2.13.dfsg-1_i386.deb"},
			{"Name": "zlib1g", "Publisher": "Someone <a@example.org>", "Version": "1:1.2.13.dfsg-1", "Architecture": "x86_64", "ApplicationType": "libs", "URL": "https://zlib.net",
				"Summary": "compression library - runtime", "PackageId": "zlib1g_1:1.2.13.dfsg-1_amd64.deb"},
		}),
	}, found.Items)

	c.KeepRemoved = true
	apps := item(t, gather.New(c).Gather(t.Context(), gather.Plan{Applications: true}), inventory.Application)
	require.Len(t, apps.Content, 6, "V5: what was removed but not purged is an application for AWS")
	require.True(t, slices.ContainsFunc(apps.Content, func(e inventory.Entry) bool { return e["Name"] == "gone" }))
}

func TestRPMAndSnapsAreAddedToDpkg(t *testing.T) {
	root := tree(t, map[string]string{"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"})
	var asked []string
	run := func(_ context.Context, program string, args ...string) ([]byte, error) {
		asked = append(asked, program)
		require.Equal(t, []string{"--root", root, "-qa", "--queryformat"}, args[:4])
		record := strings.NewReplacer("%{NAME}", "bash", "%{VENDOR}", "Fedora\nProject", "%{VERSION}", "5.2", "%{RELEASE}", "3.fc41", "%{EPOCH}", "(none)", "%{INSTALLTIME}", "1700000000",
			"%{GROUP}", "Unspecified", "%{ARCH}", "x86_64", "%{URL}", "(none)", "%{SUMMARY}", "a shell", "%{SOURCERPM}", "bash-5.2-3.fc41.src.rpm").Replace(args[4])
		return []byte(record + record), nil
	}
	found := gather.New(gather.Config{Root: root, Run: run, Now: now, Platform: "Linux"}).Gather(t.Context(), gather.Plan{Applications: true, AWSComponents: true})
	require.NoError(t, found.Err())
	require.Equal(t, []string{"rpm"}, asked, "one listing serves both types")
	bash := inventory.Entry{"Name": "bash", "Publisher": "Fedora", "Version": "5.2", "Release": "3.fc41", "InstalledTime": "2023-11-14T22:13:20Z", "ApplicationType": "Unspecified",
		"Architecture": "x86_64", "Summary": "a shell", "PackageId": "bash-5.2-3.fc41.src.rpm"}
	content := item(t, found, inventory.Application).Content
	require.Equal(t, []inventory.Entry{{"Name": "a", "Publisher": "", "Version": "1", "Architecture": "all", "PackageId": "a_1_all.deb"}, bash, bash}, content)

	require.Equal(t, []inventory.Entry{{"Name": "core", "Version": "16-2", "Publisher": "canonical", "ApplicationType": "admin", "PackageId": "pkg:snap/canonical/core@16-2"}},
		gather.ParseSnaps("Name  Version Rev Tracking Publisher Notes\ncore  16-2  8689 stable canonical✓ core\n\n"))
}

func TestFieldsAreCut(t *testing.T) { // V4
	a := strings.Repeat("a", 97)
	for in, want := range map[string]string{"a\nb": "a", "a\r\nb": "a", "\n": "", a + "bcd": a + "bcd", a + "bcde": a + "bcd", a + "\"cd": a + "\"c", a + "\tcd": a + "\tc", a + "b\\d": a + "b\\",
		a + "béd": a + "bé", a + "bcé": a + "bc", "\xff": "\ufffd"} {
		require.Equal(t, want, gather.Cut(in), "%q", in)
	}
}

func TestArchitectures(t *testing.T) {
	for in, want := range map[string]string{"amd64": "x86_64", "386": "i386", "i386": "i386", " ARM64 ": "arm64", "noarch": "noarch", "all": "all", "": ""} {
		require.Equal(t, want, gather.Architecture(in), "V3")
	}
}

func TestNetworkKeepsAllAddresses(t *testing.T) {
	ip := func(s string) net.IPNet {
		a, n, err := net.ParseCIDR(s)
		require.NoError(t, err)
		return net.IPNet{IP: a, Mask: n.Mask}
	}
	root := tree(t, map[string]string{
		"proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
			"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\neth0\t00000000\tzz\t0\t0\t0\t0\t00000000\t0\t0\t0\nshort\n",
		"etc/resolv.conf": "# c\nnameserver 10.0.0.53\nnameserver nonsense\nsearch a\nnameserver fd00::53\n",
	})
	list := func() ([]gather.Interface, error) {
		return []gather.Interface{
			{Name: "lo", Loopback: true, Addrs: []net.IPNet{ip("127.0.0.1/8")}},
			{Name: "ifb0", MAC: "aa:bb:cc:dd:ee:ff"},
			{Name: "eth0", MAC: "02:fc:00:00:00:01", Addrs: []net.IPNet{ip("192.0.2.2/24"), ip("198.51.100.9/32"), ip("fd00::2/64")}},
		}, nil
	}
	found := gather.New(gather.Config{Root: root, Run: nothing, Interfaces: list, Now: now, Platform: "Linux", Node: "mi-1", Facts: message.Facts{AgentName: "a"}}).
		Gather(t.Context(), gather.Plan{Network: true, InstanceInformation: true})
	require.NoError(t, found.Err())
	require.Equal(t, []inventory.Entry{
		{"Name": "eth0", "MacAddress": "02:fc:00:00:00:01", "IPV4": "192.0.2.2,198.51.100.9", "IPV6": "fd00::2", "SubnetMask": "255.255.255.0,255.255.255.255", "Gateway": "192.0.2.1", "DNSServer": "10.0.0.53,fd00::53"},
		{"Name": "ifb0", "MacAddress": "aa:bb:cc:dd:ee:ff", "IPV4": "", "IPV6": ""},
	}, item(t, found, inventory.Network).Content, "V12")
	require.Equal(t, "192.0.2.2", item(t, found, inventory.InstanceInformation).Content[0]["IpAddress"])
}

func TestInstanceInformation(t *testing.T) {
	root := tree(t, map[string]string{"etc/os-release": "# c\nNAME=\"Debian \\\"GNU\\\"/Linux\"\nVERSION_ID='12'\nID=debian\n", "proc/sys/kernel/hostname": "box\n"})
	c := gather.Config{Root: root, Run: nothing, Interfaces: func() ([]gather.Interface, error) { return nil, errors.New("none") }, Now: now, Platform: "Linux", Node: "i-1"}
	e := item(t, gather.New(c).Gather(t.Context(), gather.Plan{InstanceInformation: true}), inventory.InstanceInformation).Content[0]
	require.Equal(t, inventory.Entry{"AgentType": "", "AgentVersion": "", "ComputerName": "box", "InstanceId": "i-1", "IpAddress": "", "PlatformName": `Debian "GNU"/Linux`, "PlatformVersion": "12",
		"PlatformType": "Linux", "ResourceType": "EC2Instance", "AgentStatus": "Active", "InstanceStatus": "Active"}, e)
}

func TestProcessors(t *testing.T) {
	x86 := func(processor, physical, core int) string {
		return fmt.Sprintf("processor\t: %d\nmodel name\t: A CPU\ncpu MHz\t\t: 2599.998\nphysical id\t: %d\ncore id\t\t: %d\n\n", processor, physical, core)
	}
	arm := "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string // CPUs CPUSockets CPUCores CPUHyperThreadEnabled CPUSpeedMHz CPUModel
	}{
		"V10 two sockets, threads":    {map[string]string{"proc/cpuinfo": x86(0, 0, 0) + x86(1, 0, 0) + x86(2, 1, 0) + x86(3, 1, 0)}, "4 2 2 true 2599 A CPU"},
		"one socket, no threads":      {map[string]string{"proc/cpuinfo": x86(0, 0, 0) + x86(1, 0, 1)}, "2 1 2 false 2599 A CPU"},
		"the highest clock is stable": {map[string]string{"proc/cpuinfo": x86(0, 0, 0), "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3500000\n"}, "1 1 1 false 3500 A CPU"},
		"arm with topology": {map[string]string{"proc/cpuinfo": arm, "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n", "sys/devices/system/cpu/cpu0/topology/core_id": "0\n",
			"sys/devices/system/cpu/cpu1/topology/physical_package_id": "0\n", "sys/devices/system/cpu/cpu1/topology/core_id": "1\n"}, "2 1 2 false  Neoverse-N1"},
		"arm without":     {map[string]string{"proc/cpuinfo": arm}, "2     Neoverse-N1"},
		"nothing in it":   {map[string]string{"proc/cpuinfo": "\n"}, "     "},
		"a strange clock": {map[string]string{"proc/cpuinfo": "processor: 0\ncpu MHz: fast\n"}, "1     "},
	} {
		root := tree(t, c.files)
		e := item(t, gather.New(gather.Config{Root: root, Run: nothing, Platform: "Linux"}).Gather(t.Context(), gather.Plan{InstanceDetailedInformation: true}), inventory.InstanceDetailedInformation).Content[0]
		require.Equal(t, c.want, strings.Join([]string{e["CPUs"], e["CPUSockets"], e["CPUCores"], e["CPUHyperThreadEnabled"], e["CPUSpeedMHz"], e["CPUModel"]}, " "), name)
	}
	found := gather.New(gather.Config{Root: t.TempDir(), Run: nothing, Platform: "Linux"}).Gather(t.Context(), gather.Plan{InstanceDetailedInformation: true})
	require.Empty(t, found.Items)
	require.Error(t, found.Err(), "no /proc: the type is missing, not empty")
}

func TestFileRules(t *testing.T) {
	files := map[string]string{"etc/a.conf": "1", "etc/b.conf": "22", "etc/c.txt": "333", "etc/sub/d.conf": "4444", "home/me/a.conf": ""}
	for i := range 30 {
		files[fmt.Sprintf("many/d%02d/f", i)] = ""
	}
	root := tree(t, files)
	require.NoError(t, os.Symlink("sub", filepath.Join(root, "etc/link.conf")))
	require.NoError(t, os.Symlink("a.conf", filepath.Join(root, "etc/file.conf")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(root, "etc/dangling.conf")))
	stamp := time.Date(2025, 1, 2, 3, 4, 5, 999, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(root, "etc/a.conf"), time.Time{}, stamp))
	c := gather.Config{Root: root, Run: nothing, Platform: "Linux", Zone: time.FixedZone("", 3600), Limits: &inventory.Limits{Files: 10, Directories: 20},
		Getenv: func(k string) string { return map[string]string{"WHERE": "/etc"}[k] }}
	ask := func(text string) (gather.Found, string) {
		filters, err := gather.ParseFileFilters(text)
		require.NoError(t, err)
		found := gather.New(c).Gather(t.Context(), gather.Plan{Files: filters})
		if found.Err() != nil {
			return found, ""
		}
		var names []string
		for _, e := range item(t, found, inventory.File).Content {
			names = append(names, e["InstalledDir"]+"/"+e["Name"])
		}
		return found, strings.Join(names, " ")
	}
	for text, want := range map[string]string{
		`[{"Path":"/etc","Pattern":["*.conf"]}]`:                                                    "/etc/a.conf /etc/b.conf /etc/file.conf",
		`[{"Path":"/etc","Pattern":["*.conf"],"Recursive":true}]`:                                   "/etc/a.conf /etc/b.conf /etc/file.conf /etc/sub/d.conf",
		`[{"Path":"$WHERE/","Pattern":["a*","?.txt","a.conf"]},{"Path":"/etc","Pattern":["a.c*"]}]`: "/etc/a.conf /etc/c.txt",
		`[{"Path":"/etc","Pattern":[]}]`:                                                            "",
		`[{"Path":"/etc","Pattern":["[","c.txt"]}]`:                                                 "/etc/c.txt",
		`[{"Path":"/nowhere","Pattern":["*"]},{"Path":"${WHERE}/sub","Pattern":["*"]}]`:             "/etc/sub/d.conf",
		`[{"Path":"/many","Pattern":["nothing"],"Recursive":true,"DirScanLimit":31}]`:               "",
		`[{"Path":"/etc","Pattern":["c.txt"],"DirScanLimit":0}]`:                                    "/etc/c.txt",
		`[]`: "",
	} {
		if text == "[]" {
			found := gather.New(c).Gather(t.Context(), gather.Plan{})
			require.Empty(t, found.Items)
			continue
		}
		found, got := ask(text)
		require.NoError(t, found.Err(), text)
		require.Equal(t, want, got, text)
		require.Equal(t, strings.Contains(text, "nowhere"), len(found.Failures) == 1, "a missing path is told")
	}
	for text, want := range map[string]string{
		`[{"Path":"/many","Pattern":["f"],"Recursive":true,"DirScanLimit":100}]`:      "File Count Limit Exceeded",
		`[{"Path":"/many","Pattern":["nothing"],"Recursive":true}]`:                   "Directory Scan Limit Exceeded",
		`[{"Path":"/many","Pattern":["nothing"],"Recursive":true,"DirScanLimit":30}]`: "Directory Scan Limit Exceeded",
	} {
		found, _ := ask(text)
		require.ErrorContains(t, found.Err(), want, text)
		require.Equal(t, inventory.ItemSizeLimitExceeded, fault.CodeOf(found.Failures[0].Err))
		require.Empty(t, found.Items, "V7: no data")
	}
	found, _ := ask(`[{"Path":"/etc","Pattern":["a.conf"]}]`)
	require.Equal(t, inventory.Entry{"Name": "a.conf", "Size": "1", "ModificationTime": "2025-01-02T04:04:05+01:00", "InstalledDir": "/etc", "Description": "", "FileVersion": "", "InstalledDate": "",
		"LastAccessTime": "", "ProductName": "", "ProductLanguage": "", "CompanyName": "", "ProductVersion": ""}, found.Items[0].Content[0])
}

func TestFilterTexts(t *testing.T) {
	f, err := gather.ParseFileFilters(`[{"Path":"C:\Program Files\Amazon","Pattern":["*.exe"]}]`)
	require.NoError(t, err)
	require.Equal(t, "C:/Program Files/Amazon", f[0].Path)
	r, err := gather.ParseRegistryFilters(`[{"Path":"HKEY_LOCAL_MACHINE\SOFTWARE\Amazon","ValueNames":["AMIName"]}]`)
	require.NoError(t, err)
	require.Equal(t, gather.RegistryFilter{Path: `HKEY_LOCAL_MACHINE\SOFTWARE\Amazon`, ValueNames: []string{"AMIName"}}, r[0])
	f, err = gather.ParseFileFilters(" \n")
	require.NoError(t, err)
	require.Empty(t, f)
	for _, text := range []string{"{}", "[1]", `[{"Path":1}]`, `[{}]`, `[{"Path":""}]`, "[", `[{"Path":"/a","Pattern":"*"}]`} {
		_, err := gather.ParseFileFilters(text)
		require.Equal(t, fault.Validation, fault.CodeOf(err), text)
	}
	_, err = gather.ParseRegistryFilters(`[{}]`)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
}

func TestCustomFolder(t *testing.T) {
	file := func(name string) string {
		return `{"SchemaVersion":"1.0","TypeName":"` + name + `","Content":{"a":"b"}}`
	}
	root := tree(t, map[string]string{"custom/1.json": file("Custom:A"), "custom/2.json": file("Custom:A"), "custom/3.json": "{", "custom/4.JSON": file("Custom:B"), "custom/5.json": file("Custom:C"),
		"custom/d.json/x.json": file("Custom:D"), "custom/6.json.bak": file("Custom:E")})
	g := gather.New(gather.Config{Root: root, Run: nothing, Now: now, CustomDir: "/custom", Limits: &inventory.Limits{CustomTypes: 4}})
	found := g.Gather(t.Context(), gather.Plan{Custom: true})
	require.NoError(t, found.Err())
	require.Len(t, found.Items, 2)
	require.Equal(t, []string{"Custom:A", "Custom:C"}, []string{found.Items[0].TypeName, found.Items[1].TypeName})
	require.Equal(t, "2026-03-01T12:00:00Z", found.Items[0].CaptureTime)
	require.Len(t, found.Failures, 2)
	require.ErrorContains(t, found.Failures[0].Err, "2.json")
	require.ErrorContains(t, found.Failures[1].Err, "3.json")

	g = gather.New(gather.Config{Root: root, Run: nothing, CustomDir: "/custom", Limits: &inventory.Limits{CustomTypes: 3}})
	found = g.Gather(t.Context(), gather.Plan{Custom: true})
	require.Equal(t, inventory.CustomSchemaCountLimit, fault.CodeOf(found.Err()), "V8")
	require.Empty(t, found.Items)
	found = g.Gather(t.Context(), gather.Plan{Custom: true, CustomDir: "/nowhere"})
	require.NoError(t, found.Err())
	require.Empty(t, found.Items)
}

func TestServicesOfSystemd(t *testing.T) {
	got := gather.ParseUnits("ssh.service enabled enabled\nold.service masked enabled\ngetty@.service enabled enabled\nx.socket enabled enabled\n",
		"ssh.service loaded active running OpenBSD Secure Shell server\ngetty@tty1.service loaded inactive dead Getty on tty1\nmissing.service not-found inactive dead missing.service\n")
	slices.SortFunc(got, inventory.Entry.Compare)
	var rows []string
	for _, e := range got {
		rows = append(rows, strings.Join([]string{e["Name"], e["DisplayName"], e["Status"], e["StartType"]}, "|"))
	}
	require.Equal(t, []string{"getty@|getty@|Stopped|enabled", "getty@tty1|Getty on tty1|Stopped|", "old|old|Stopped|masked", "ssh|OpenBSD Secure Shell server|Running|enabled"}, rows)
	require.Empty(t, gather.ParseUnits("ssh.service enabled enabled\n", "")[0]["Status"], "nobody knows where systemd does not run")
}

func TestBilling(t *testing.T) {
	ask := func(doc string, err error) gather.Found {
		b := gather.IdentityBilling(func(context.Context) ([]byte, error) { return []byte(doc), err })
		return gather.New(gather.Config{Run: nothing, Billing: b}).Gather(t.Context(), gather.Plan{BillingInfo: true})
	}
	require.Equal(t, []inventory.Entry{{"BillingProductId": "bp-1"}, {"BillingProductId": "mp"}}, ask(`{"billingProducts":[" bp-1 "],"marketplaceProductCodes":["mp",""]}`, nil).Items[0].Content)
	require.Equal(t, []inventory.Entry{}, ask(`{"billingProducts":null}`, nil).Items[0].Content)
	require.Empty(t, ask("", nil).Items[0].Content, "no EC2")
	require.Error(t, ask("x", nil).Err())
	require.Error(t, ask("", errors.New("away")).Err())
	require.Empty(t, gather.New(gather.Config{Run: nothing}).Gather(t.Context(), gather.Plan{BillingInfo: true}).Items)
}

func TestWindows(t *testing.T) {
	var scripts []string
	answer := map[string]string{
		"Win32_QuickFix": "\xef\xbb\xbf{\"HotFixId\":\"KB1\",\"Description\":\"Update\",\"InstalledTime\":\"2026-01-01T00:00:00Z\",\"InstalledBy\":null}\r\n",
		"Get-Service":    `[{"Name":"b","DisplayName":"B","Status":"Running"},{"Name":"a","Status":4}]`,
		"WindowsFeature": "",
		"'Registry::'":   `[{"KeyPath":"K","ValueName":"N","ValueType":"REG_SZ","Value":"V"}]`,
		"Uninstall":      `[{"Name":"App","Version":"1"}]`,
		"Processor":      `{"CPUModel":"M","CPUs":"2"}`,
	}
	ps := func(_ context.Context, script string) ([]byte, error) {
		for k, v := range answer {
			if strings.Contains(script, k) {
				scripts = append(scripts, script)
				return []byte(v), nil
			}
		}
		return nil, errors.New("no such script")
	}
	c := gather.Config{Platform: "Windows", Run: nothing, PowerShell: ps, Now: now, AtOnce: 1}
	plan := gather.Plan{Applications: true, Services: true, WindowsUpdates: true, WindowsRoles: true, InstanceDetailedInformation: true,
		Registry: []gather.RegistryFilter{{Path: `HKEY_LOCAL_MACHINE\O'Neil’s; rm`, Recursive: true, ValueNames: []string{"a'b"}}}}
	found := gather.New(c).Gather(t.Context(), plan)
	require.NoError(t, found.Err())
	require.Equal(t, []inventory.Entry{{"HotFixId": "KB1", "Description": "Update", "InstalledTime": "2026-01-01T00:00:00Z", "InstalledBy": ""}}, item(t, found, inventory.WindowsUpdate).Content)
	require.Equal(t, "a", item(t, found, inventory.Service).Content[0]["Name"])
	require.Empty(t, item(t, found, inventory.WindowsRole).Content)
	require.Equal(t, "V", item(t, found, inventory.WindowsRegistry).Content[0]["Value"])
	require.True(t, slices.ContainsFunc(scripts, func(s string) bool {
		return strings.Contains(s, `'HKEY_LOCAL_MACHINE\O''Neil’’s; rm'`) && strings.Contains(s, "@('a''b')")
	}), "what a document wrote is a literal")

	c.Limits = &inventory.Limits{Registry: 1}
	plan.Registry = slices.Repeat(plan.Registry, 2)
	found = gather.New(c).Gather(t.Context(), plan)
	require.Equal(t, inventory.ItemSizeLimitExceeded, fault.CodeOf(found.Err()), "V13")

	answer["Get-Service"] = "Get-Service : nonsense"
	found = gather.New(c).Gather(t.Context(), gather.Plan{Services: true, WindowsUpdates: true})
	require.Error(t, found.Err())
	require.Len(t, found.Items, 1, "the other type is there")
	c.Platform = "Linux"
	found = gather.New(c).Gather(t.Context(), gather.Plan{WindowsUpdates: true, WindowsRoles: true, Registry: plan.Registry})
	require.Empty(t, found.Items)
	require.Empty(t, found.Failures, "types of another platform are skipped silently")
}

func TestGatherersAreBoundedAndTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at, most atomic.Int32
		source := func(d time.Duration) func(context.Context) ([]inventory.Entry, error) {
			return func(ctx context.Context) ([]inventory.Entry, error) {
				n := at.Add(1)
				defer at.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				select {
				case <-time.After(d):
					return []inventory.Entry{{"a": "b"}}, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
		var more []gather.Source
		for i := range 7 {
			more = append(more, gather.Source{TypeName: fmt.Sprint("Custom:S", i), Gather: source(10 * time.Second)})
		}
		more = append(more, gather.Source{TypeName: "Custom:Slow", Gather: source(time.Hour)},
			gather.Source{TypeName: "Custom:Panic", Gather: func(context.Context) ([]inventory.Entry, error) { panic("x") }},
			gather.Source{TypeName: "Custom:Wrong", Gather: func(context.Context) ([]inventory.Entry, error) { return []inventory.Entry{nil}, nil }})
		start := time.Now()
		found := gather.New(gather.Config{Run: nothing, More: more, AtOnce: 3, Timeout: 30 * time.Second}).Gather(t.Context(), gather.Plan{})
		require.Len(t, found.Items, 7)
		require.Len(t, found.Failures, 3)
		require.ErrorContains(t, found.Failures[1].Err, "longer than 30s")
		require.Equal(t, int32(3), most.Load())
		require.LessOrEqual(t, time.Since(start), time.Minute)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		found = gather.New(gather.Config{Run: nothing, More: more}).Gather(ctx, gather.Plan{})
		require.Empty(t, found.Items)
		require.Equal(t, fault.RequestCanceled, fault.CodeOf(found.Failures[0].Err))
	})
}

func TestExec(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: there is no sh here")
	}
	out, err := gather.Exec(t.Context(), "sh", "-c", "echo $LC_ALL")
	require.NoError(t, err)
	require.Equal(t, "C.UTF-8\n", string(out))
	_, err = gather.Exec(t.Context(), "sh", "-c", "echo 'no\033[2J' >&2; exit 3")
	require.ErrorContains(t, err, `no\x1b[2J`)
	_, err = gather.Exec(t.Context(), "no-such-program-anywhere")
	require.ErrorIs(t, err, exec.ErrNotFound)
}

// FuzzDpkg: whatever the status file holds, entries pass the checks of a report, and a stanza that is complete is an entry.
func FuzzDpkg(f *testing.F) {
	f.Add(statusFile)
	f.Add("Package: a\nVersion: 1\n\n\n \nVersion: 2\n: x\nPackage b")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := gather.ReadDpkg(text + "\n\nPackage: last\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n")
		require.NoError(t, err)
		require.Equal(t, "last", entries[len(entries)-1]["Name"])
		if len(entries) <= 10_000 {
			require.NoError(t, (&inventory.Limits{ItemBytes: -1}).ValidateItem(inventory.NewItem(inventory.Application, noon, entries)))
		}
		_, err = json.Marshal(entries)
		require.NoError(t, err)
	})
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/patch/apt"
)

// ran is what one run of the program did.
type ran struct {
	code      int
	out, errs string
}

// patchscan runs the program on a fixed day; answer stands for rpm.
func patchscan(t *testing.T, answer func(args []string) (string, error), args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, host{stdin: strings.NewReader(handwritten), stdout: &out, stderr: &errs,
		now: func() time.Time { return time.Date(2024, 7, 14, 12, 0, 0, 0, time.UTC) },
		query: func(_ context.Context, name string, args ...string) ([]byte, error) {
			if answer == nil {
				return nil, errors.New("nobody asks " + name)
			}
			text, err := answer(args)
			return []byte(text), err
		}})
	return ran{code, out.String(), errs.String()}
}

const handwritten = `{"OperatingSystem": "DEBIAN", "ApprovalRules": {"PatchRules": [{"PatchFilterGroup": {"PatchFilters": [{"Key": "PRIORITY", "Values": ["*"]}]},
"ApproveAfterDays": 0, "EnableNonSecurity": true, "ComplianceLevel": "HIGH"}]}, "ApprovedPatches": ["absent"], "RejectedPatches": ["zip"], "RejectedPatchesAction": "BLOCK"}`

// tree copies a tree of the testdata, so that a test may change it.
func tree(t *testing.T, name string, change map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))))
	for file, text := range change {
		file = filepath.Join(dir, file)
		if text == "" {
			require.NoError(t, os.RemoveAll(file))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return dir
}

// golden compares with a file; with FLEETWRIGHT_UPDATE=1 it writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name+".golden")
	if os.Getenv("FLEETWRIGHT_UPDATE") != "" {
		require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestDebian: what each question answers over a tree of Debian's.
func TestDebian(t *testing.T) {
	for _, c := range []struct {
		name string
		code int
		args []string
	}{
		{"scan", exitNot, nil},
		{"all", exitNot, []string{"-all"}},
		{"explain", exitNot, []string{"-explain", "openssl"}},
		{"explain-arch", exitNot, []string{"-explain", "zip:amd64"}},
		{"baseline", exitNot, []string{"-baseline", "-"}},
		{"baseline-all", exitNot, []string{"-baseline", "-", "-all"}},
		{"list", exitNot, []string{"-override-list", "testdata/list.yaml"}},
		{"json", exitNot, []string{"-json", "-baseline", "-", "-explain", "zip", "-override-list", "testdata/list.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := patchscan(t, nil, append([]string{"-root", "testdata/debian"}, c.args...)...)
			require.Empty(t, got.errs)
			require.Equal(t, c.code, got.code)
			golden(t, "debian-"+c.name, got.out)
		})
	}
}

// TestCompliant: a machine that has everything is told so in three lines.
func TestCompliant(t *testing.T) {
	status, err := os.ReadFile("testdata/debian/var/lib/dpkg/status")
	require.NoError(t, err)
	root := tree(t, "debian", map[string]string{"var/lib/dpkg/status": strings.ReplaceAll(string(status), "3.0.11-1", "3.0.13-1")})
	got := patchscan(t, nil, "-root", root)
	require.Equal(t, ran{exitCompliant, `packages: 1 installed, 3 installed but not the baseline's
newer versions on offer that the baseline does not ask for: 1 (-all shows them)
COMPLIANT: Debian GNU/Linux 12 (bookworm), by AWS-DebianDefaultPatchBaseline on 2024-07-14 12:00 UTC, from lists of 2024-07-12 08:00 UTC
`, ""}, got)
}

// TestRPM: systems of dnf and zypper, with what rpm says.
func TestRPM(t *testing.T) {
	answer := func(args []string) (string, error) {
		require.Contains(t, args, "--dbpath")
		text, err := os.ReadFile("testdata/rpm-qa.txt")
		return strings.NewReplacer("|", "\x1f", ",", "\x1e").Replace(string(text)), err
	}
	for _, c := range []struct {
		name string
		code int
		args []string
	}{
		{"rocky-scan", exitNot, nil},
		{"rocky-all", exitNot, []string{"-all"}},
		{"rocky-later", exitNot, []string{"-at", "2024-07-16"}},
		{"rocky-explain", exitNot, []string{"-explain", "alpha.x86_64"}},
		{"rocky-when", exitNot, []string{"CVE-2024-2"}},
		{"rocky-when-past", exitCompliant, []string{"-at", "2024-07-16", "CVE-2024-2"}},
		{"suse-scan", exitNot, nil},
		{"suse-when", exitNot, []string{"alpha"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			system, verb, _ := strings.Cut(c.name, "-")
			args := []string{"-root", "testdata/" + system}
			if strings.HasPrefix(verb, "when") {
				args = append([]string{"when"}, args...)
			}
			got := patchscan(t, answer, append(args, c.args...)...)
			require.Empty(t, got.errs)
			require.Equal(t, c.code, got.code, got.out)
			golden(t, c.name, got.out)
		})
	}
}

// TestJSON: the object has everything, whatever the table leaves out.
func TestJSON(t *testing.T) {
	got := patchscan(t, nil, "-root", "testdata/debian", "-json")
	var r struct {
		System, Root, Arch string
		Sources            int
		Notes              []string
		Result             struct {
			Baseline, Compliance string
			Counts               map[string]int
			Patches              []map[string]any
		}
		Newer []newer
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &r))
	require.Equal(t, "NON_COMPLIANT", r.Result.Compliance)
	require.Equal(t, 4, len(r.Result.Patches))
	require.Equal(t, []string{}, r.Notes)
	require.Equal(t, 1, r.Result.Counts["missingCount"])
	require.Equal(t, 2, len(r.Newer))
}

// TestDiff: where two baselines differ, and what that does to a machine.
func TestDiff(t *testing.T) {
	same := patchscan(t, nil, "diff", "AWS-DebianDefaultPatchBaseline", "AWS-DebianDefaultPatchBaseline")
	require.Equal(t, ran{}, same)
	got := patchscan(t, nil, "diff", "-root", "testdata/debian", "-effect", "AWS-DebianDefaultPatchBaseline", "-")
	require.Equal(t, exitNot, got.code)
	require.Empty(t, got.errs)
	golden(t, "diff-effect", got.out)
	got = patchscan(t, nil, "diff", "-json", "AWS-DebianDefaultPatchBaseline", "-")
	require.Equal(t, exitNot, got.code)
	require.Contains(t, got.out, `"path": "$.ApprovedPatches[0]"`)
}

// TestWhenDebian: apt's lists have no dates and no CVE ids.
func TestWhenDebian(t *testing.T) {
	got := patchscan(t, nil, "when", "-root", "testdata/debian", "openssl")
	require.Equal(t, ran{exitCompliant, "PACKAGE        VERSION   NOTICE  DATE  APPROVED\nopenssl.amd64  3.0.13-1  -       none  at once\n\n", ""}, got)
	got = patchscan(t, nil, "when", "-root", "testdata/debian", "curl")
	require.Equal(t, exitNot, got.code)
	require.Contains(t, got.out, "never: patchscan -explain curl tells why")
	got = patchscan(t, nil, "when", "-root", "testdata/debian", "CVE-2024-1")
	require.Equal(t, exitUnknown, got.code)
	require.Contains(t, got.errs, "name no CVE ids: ask for the package that mends it")
}

// TestHonestAboutLists: what is not known is said, and is an error where nothing is known at all.
func TestHonestAboutLists(t *testing.T) {
	gone := "var/lib/apt/lists"
	got := patchscan(t, nil, "-root", tree(t, "debian", map[string]string{gone: ""}))
	require.Equal(t, ran{exitUnknown, "", "patchscan: no package lists: run apt-get update\n"}, got)
	got = patchscan(t, nil, "-root", tree(t, "debian", map[string]string{"etc/apt/sources.list": "", gone: ""}))
	require.Contains(t, got.errs, "no package sources")
	got = patchscan(t, nil, "-root", tree(t, "debian", map[string]string{"etc/apt/sources.list.d/more.list": "deb http://more.example.org/x stable main\n"}))
	require.Equal(t, exitNot, got.code)
	require.Equal(t, "patchscan: http://more.example.org/x/ stable has no lists, so what it offers is not known: run apt-get update\n", got.errs)
	rel := gone + "/d.example.org_security_dists_bookworm-security_InRelease"
	text, err := os.ReadFile("testdata/debian/" + rel)
	require.NoError(t, err)
	got = patchscan(t, nil, "-root", tree(t, "debian", map[string]string{rel: string(text) + "Valid-Until: Sat, 13 Jul 2024 00:00:00 UTC\n"}))
	require.Equal(t, exitNot, got.code)
	require.Equal(t, "patchscan: the lists of bookworm-security/main expired on 2024-07-13: run apt-get update\n", got.errs)
	got = patchscan(t, nil, "-root", tree(t, "debian", map[string]string{rel: "", gone + "/d.example.org_security_dists_bookworm-security_main_binary-amd64_Packages": ""}))
	require.Equal(t, ran{exitUnknown, "", "patchscan: http://d.example.org/security/ bookworm-security has no lists, and without those of a security archive nobody can say that nothing is missing: run apt-get update\n"}, got)
	answer := func([]string) (string, error) { return "", nil }
	got = patchscan(t, answer, "-root", "testdata/rocky")
	require.Equal(t, ran{exitUnknown, "", "patchscan: rpm says that nothing is installed\n"}, got)
	one := func([]string) (string, error) {
		return "alpha\x1f0\x1f1.0\x1f1\x1fx86_64\x1f0\x1f0\x1f\x1f\x1f.\n", nil
	}
	got = patchscan(t, one, "-root", tree(t, "rocky", map[string]string{"var/cache": ""}))
	require.Equal(t, ran{exitUnknown, "", "patchscan: no package lists: run dnf makecache\n"}, ran{got.code, got.out, got.errs})
	got = patchscan(t, one, "-root", tree(t, "rocky", map[string]string{"etc/yum.repos.d/more.repo": "[more]\nbaseurl=http://more.example.org/\n"}))
	require.Equal(t, "patchscan: repository more has no metadata here, so what it offers is not known: run dnf makecache\n", got.errs)
	got = patchscan(t, one, "-root", tree(t, "rocky", map[string]string{"etc/yum.repos.d": ""}))
	require.Contains(t, got.errs, "no repositories: none is enabled")
	got = patchscan(t, one, "-root", tree(t, "rocky", map[string]string{"var/lib/rpm": ""}))
	require.Contains(t, got.errs, "no rpm database")
	got = patchscan(t, one, "-root", tree(t, "rocky", map[string]string{"var/cache/dnf/base-0123456789abcdef/repodata/primary.xml": "<metadata/>"}))
	require.Equal(t, exitUnknown, got.code)
	require.Contains(t, got.errs, "repository base: ")
	require.Contains(t, got.errs, "run dnf makecache")
}

// TestBadInput: nothing is decided, the status is 2, and the message says what to do.
func TestBadInput(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		return name
	}
	debian := []string{"-root", "testdata/debian"}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown flag", []string{"-x"}, "flag provided but not defined"},
		{"argument", []string{"now"}, "is no flag and no command"},
		{"when without a name", []string{"when"}, "when takes 1 arguments, not 0"},
		{"diff with one", []string{"diff", "a"}, "diff takes 2 arguments, not 1"},
		{"diff of two inputs", []string{"diff", "-", "-"}, "only one of the baselines can be the standard input"},
		{"diff with a baseline", []string{"diff", "-baseline", "a", "b", "c"}, "diff takes its baselines as arguments"},
		{"effect of a scan", []string{"-effect"}, "-effect belongs to diff"},
		{"all of when", []string{"when", "-all", "x"}, "belong to a scan"},
		{"date", append(debian, "-at", "tomorrow"), `-at "tomorrow" is no date`},
		{"date that is none", append(debian, "-at", "2024-02-30"), "is no date"},
		{"system", append(debian, "-os", "BEOS"), "-os \"BEOS\" is none of AWS's: ALMA_LINUX, "},
		{"system that cannot be scanned", append(debian, "-os", "WINDOWS"), "WINDOWS cannot be scanned"},
		{"no root", []string{"-root", "testdata/none"}, "no such file"},
		{"root that is a file", []string{"-root", "main.go"}, "is no directory"},
		{"root that is empty", []string{"-root", ""}, "-root needs a directory"},
		{"root without a system", []string{"-root", t.TempDir()}, "is -root the root of a system?"},
		{"unknown system", []string{"-root", tree(t, "debian", map[string]string{"etc/os-release": "ID=arch\nNAME=\"Arch Linux\"\n"})}, "Arch Linux (ID=arch) is no system that has baselines"},
		{"no dpkg", []string{"-root", tree(t, "debian", map[string]string{"var/lib/dpkg": ""})}, "var/lib/dpkg/status cannot be read"},
		{"broken status", []string{"-root", tree(t, "debian", map[string]string{"var/lib/dpkg/status": "Package: x\nno field\n"})}, "/var/lib/dpkg/status:2"},
		{"no baseline", append(debian, "-baseline", "testdata/none.json"), "no such file"},
		{"baseline that is no JSON", append(debian, "-baseline", file("x")), "JSON"},
		{"baseline with an unknown field", append(debian, "-baseline", file(`{"OperatingSystem":"DEBIAN","Rules":[]}`)), "$.Rules"},
		{"baseline with a wrong level", append(debian, "-baseline", file(`{"OperatingSystem":"DEBIAN","ApprovedPatchesComplianceLevel":"HUGE"}`)), "$.ApprovedPatchesComplianceLevel"},
		{"baseline for another system", append(debian, "-baseline", "AWS-UbuntuDefaultPatchBaseline"), "the baseline is for UBUNTU, the node runs DEBIAN"},
		{"baseline for no system", append(debian, "-baseline", file(`{}`)), "names no OperatingSystem, which stands for WINDOWS"},
		{"baseline that is too long", append(debian, "-baseline", file(strings.Repeat(" ", most+1))), "is longer than"},
		{"no list", append(debian, "-override-list", "testdata/none.yaml"), "no such file"},
		{"list that is none", append(debian, "-override-list", file("patches:\n  - title: x\n")), "has no id"},
		{"explain what is not there", append(debian, "-explain", "ssl"), "no package \"ssl\" is installed or on offer: did you mean openssl?"},
		{"explain nonsense", append(debian, "-explain", "\x1b[2J"), "is installed or on offer"},
		{"when what is not there", append([]string{"when"}, append(debian, "nothing")...), "nothing on offer is, or names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := patchscan(t, nil, c.args...)
			require.Equal(t, exitUnknown, got.code, got.out)
			require.Empty(t, got.out)
			require.Contains(t, got.errs, c.want)
			require.NotContains(t, got.errs, "\x1b")
		})
	}
	require.Equal(t, exitCompliant, patchscan(t, nil, "-h").code)
}

// TestPolicy: what apt.conf says counts.
func TestPolicy(t *testing.T) {
	s := &scan{ctx: t.Context(), host: host{query: func(_ context.Context, name string, args ...string) ([]byte, error) {
		require.Equal(t, []string{"apt-config", "dump"}, append([]string{name}, args...))
		return []byte("APT \"\";\nAPT::Architecture \"arm64\";\nAPT::Default-Release \"bookworm\";\nAPT::Get::Always-Include-Phased-Updates \"true\";\nAPT::Get::Never-Include-Phased-Updates \"0\";\n"), nil
	}}}
	o := &apt.Options{}
	s.policy(o)
	require.Equal(t, apt.Policy{Native: "arm64", DefaultRelease: "bookworm", AlwaysPhased: true}, o.Policy)
}

// TestLinks: a link that leads out of the tree is not followed to the files of the machine that scans.
func TestLinks(t *testing.T) {
	root := tree(t, "debian", map[string]string{"etc/os-release": "", "usr/lib/os-release": "ID=debian\nVERSION_ID=12\nNAME=Inside\n"})
	outside := filepath.Join(t.TempDir(), "os-release")
	require.NoError(t, os.WriteFile(outside, []byte("ID=ubuntu\nNAME=Outside\n"), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "etc/os-release")))
	got := patchscan(t, nil, "-root", root)
	require.Equal(t, exitNot, got.code, got.errs)
	require.Contains(t, got.out, "NON_COMPLIANT: Inside")
	require.NoError(t, os.Remove(filepath.Join(root, "etc/os-release")))
	require.NoError(t, os.Symlink("../usr/lib/os-release", filepath.Join(root, "etc/os-release")))
	require.Contains(t, patchscan(t, nil, "-root", root).out, "NON_COMPLIANT: Inside")
}

// TestRPMFails: what rpm says is passed on.
func TestRPMFails(t *testing.T) {
	got := patchscan(t, func([]string) (string, error) { return "", errors.New("rpm: exit status 1: cannot open") }, "-root", "testdata/rocky")
	require.Equal(t, ran{exitUnknown, "", "patchscan: what is installed cannot be told: rpm: exit status 1: cannot open\n"}, got)
	got = patchscan(t, func([]string) (string, error) { return "alpha\x1f0\n", nil }, "-root", "testdata/rocky")
	require.Equal(t, exitUnknown, got.code)
	require.Contains(t, got.errs, "rpm -qa:1")
}

// TestSystems: whose rules count on which system, and how its version is written.
func TestSystems(t *testing.T) {
	for _, c := range []struct{ release, system, product, note string }{
		{"ID=debian\nVERSION_ID=\"12\"", "DEBIAN", "Debian12", ""},
		{"ID=debian", "DEBIAN", "", ""},
		{"ID=ubuntu\nVERSION_ID=\"22.04\"", "UBUNTU", "Ubuntu22.04", ""},
		{"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=21", "UBUNTU", "", "judged as UBUNTU"},
		{"ID=\"amzn\"\nVERSION_ID=\"2\"", "AMAZON_LINUX_2", "AmazonLinux2", ""},
		{"ID=\"amzn\"\nVERSION_ID=\"2023\"", "AMAZON_LINUX_2023", "AmazonLinux2023", ""},
		{"ID=\"amzn\"\nVERSION_ID=\"2018.03\"", "AMAZON_LINUX", "AmazonLinux2018.03", ""},
		{"ID=\"rhel\"\nVERSION_ID=\"8.4\"", "REDHAT_ENTERPRISE_LINUX", "RedhatEnterpriseLinux8.4", ""},
		{"ID=fedora\nVERSION_ID=41", "REDHAT_ENTERPRISE_LINUX", "", "judged as"},
		{"ID=nobara\nID_LIKE=fedora\nVERSION_ID=41", "REDHAT_ENTERPRISE_LINUX", "", "judged as"},
		{"ID=arch\nID_LIKE=archlinux\n", "", "", ""},
		{"ID='rocky'\nVERSION_ID='9.4'", "ROCKY_LINUX", "RockyLinux9.4", ""},
		{"ID=almalinux\nVERSION_ID=9.4", "ALMA_LINUX", "AlmaLinux9.4", ""},
		{"ID=ol\nVERSION_ID=8.9", "ORACLE_LINUX", "OracleLinux8.9", ""},
		{"ID=centos\nVERSION_ID=7", "CENTOS", "CentOS7", ""},
		{"ID=sles\nVERSION_ID=12", "SUSE", "Suse12.0", ""},
		{"ID=opensuse-leap\nVERSION_ID=15.6", "SUSE", "Suse15.6", ""},
	} {
		t.Run(strings.ReplaceAll(c.release, "\n", " "), func(t *testing.T) {
			s := &scan{root: tree(t, "debian", map[string]string{"etc/os-release": c.release + "\n"})}
			done, err := s.open()
			require.NoError(t, err)
			defer done()
			m, err := s.identify()
			if c.system == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.system, string(m.node.OperatingSystem))
			require.Equal(t, c.product, m.node.Product)
			require.Contains(t, strings.Join(m.notes, "\n"), c.note)
			require.Equal(t, c.note == "", len(m.notes) == 0)
		})
	}
}

// TestThisMachine: the program ends with a verdict, or with a reason why there is none, on whatever it runs.
func TestThisMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a whole distribution takes seconds under the race detector; -short leaves it out")
	}
	if _, err := os.Stat("/etc/os-release"); err != nil {
		t.Skip("SKIPPED: this machine does not say what it is")
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), nil, host{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, now: time.Now, query: query})
	if code == exitUnknown {
		require.NotEmpty(t, errs.String())
		t.Skip("SKIPPED: this machine has nothing to scan: " + strings.TrimSpace(errs.String()))
	}
	require.Contains(t, out.String(), "COMPLIANT: ")
	if _, err := exec.LookPath("apt"); err != nil || errs.Len() > 0 {
		return
	}
	list := exec.Command("apt", "list", "--upgradable")
	list.Env = append(os.Environ(), "LC_ALL=C")
	text, err := list.Output()
	require.NoError(t, err)
	var again bytes.Buffer
	run(t.Context(), []string{"-json"}, host{stdin: strings.NewReader(""), stdout: &again, stderr: &errs, now: time.Now, query: query})
	var r report
	r.Result = nil
	require.NoError(t, json.Unmarshal(again.Bytes(), &struct{ Newer *[]newer }{&r.Newer}))
	require.Equal(t, strings.Count(string(text), "[upgradable from: "), len(r.Newer), "apt list --upgradable sees another number")
}

package apt_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// machine is a private root with archives of its own, on which the real apt works.
type machine struct {
	t    *testing.T
	dir  string
	root string
}

// archive is one archive of a machine: its folder below the machine's, the head of its Release file and its packages as "name version [more control lines]".
type archive struct {
	path, suite, head string
	packages          []string
}

func control(p, arch string) string {
	head, more, _ := strings.Cut(p, "\n")
	f := strings.Fields(head)
	if len(f) > 2 {
		arch = f[2]
	}
	if more != "" {
		more += "\n"
	}
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nSection: misc\nPriority: optional\nMaintainer: x <x@example.org>\n%s", f[0], f[1], arch, more)
}

func newMachine(t *testing.T, archives []archive, installed []string) *machine {
	for _, tool := range []string{"apt-get", "apt-cache", "apt"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not on this machine, so nothing is compared with it", tool)
		}
	}
	m := &machine{t: t, dir: t.TempDir()}
	require.NoError(t, os.Chmod(m.dir, 0o755))
	m.root = filepath.Join(m.dir, "root")
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "etc/apt/preferences.d",
		"etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d", "etc/apt/sources.list.d", "var/log/apt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(m.root, d), 0o755))
	}
	var sources, status strings.Builder
	for _, a := range archives {
		var packages strings.Builder
		for _, p := range a.packages {
			packages.WriteString(control(p, "all") + fmt.Sprintf("Filename: pool/%x.deb\nSize: 1\nSHA256: %x\n\n", sha256.Sum256([]byte(a.suite+p)), sha256.Sum256([]byte(p))))
		}
		base := filepath.Join(m.dir, a.path, "dists", a.suite)
		m.write(filepath.Join(base, "main/binary-amd64/Packages"), packages.String())
		m.write(filepath.Join(base, "Release"), a.head+fmt.Sprintf("Architectures: amd64\nComponents: main\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n %x %d main/binary-amd64/Packages\n",
			sha256.Sum256([]byte(packages.String())), packages.Len()))
		fmt.Fprintf(&sources, "deb [trusted=yes] file:%s %s main\n", filepath.Join(m.dir, a.path), a.suite)
	}
	for _, p := range append([]string{"dpkg 1.21 amd64"}, installed...) {
		state := "install ok installed"
		if strings.Contains(p, "!hold") {
			p, state = strings.ReplaceAll(p, "!hold", ""), "hold ok installed"
		}
		status.WriteString(strings.Replace(control(p, "all"), "\nVersion", "\nStatus: "+state+"\nVersion", 1) + "\n")
	}
	m.write(filepath.Join(m.root, "etc/apt/sources.list"), sources.String())
	m.write(filepath.Join(m.root, "var/lib/dpkg/status"), status.String())
	m.write(filepath.Join(m.dir, "apt.conf"), fmt.Sprintf(`Dir "%s"; Dir::State::status "%[1]s/var/lib/dpkg/status"; APT::Architecture "amd64"; APT::Architectures:: "amd64";
APT::Sandbox::User "root"; Acquire::Languages "none"; Dir::Etc::parts "%[1]s/etc/apt/apt.conf.d"; Dir::Bin::dpkg "/bin/false";
`, m.root))
	m.run("apt-get", "update", "-q")
	return m
}

func (m *machine) write(name, text string) {
	require.NoError(m.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(m.t, os.WriteFile(name, []byte(text), 0o644))
}

func (m *machine) run(name string, args ...string) string {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(m.dir, "apt.conf"), "LC_ALL=C")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	require.NoError(m.t, err, "%s %v: %s%s", name, args, out, &stderr)
	return string(out)
}

// verdict is what is compared: the candidate, and the priority of each version that may be one.
type verdict struct {
	Installed, Candidate string
	Versions             []string // "version priority"
}

// policy reads apt-cache policy of all names.
func (m *machine) policy(args []string, names []string) map[string]verdict {
	out := m.run("apt-cache", append(append(slices.Clone(args), "policy"), names...)...)
	all := map[string]verdict{}
	var name string
	for l := range strings.Lines(out) {
		l = strings.TrimRight(l, "\n")
		v := all[name]
		switch f := strings.Fields(strings.Replace(l, "***", "", 1)); {
		case !strings.HasPrefix(l, " ") && strings.HasSuffix(l, ":"):
			name = strings.TrimSuffix(l, ":")
			v = verdict{}
		case strings.HasPrefix(l, "  Installed: "):
			v.Installed = strings.Replace(f[1], "(none)", "", 1)
		case strings.HasPrefix(l, "  Candidate: "):
			v.Candidate = strings.Replace(f[1], "(none)", "", 1)
		case len(f) >= 2:
			if _, err := strconv.Atoi(f[1]); err == nil { // not the line of an archive; "(phased 10%)" may follow
				v.Versions = append(v.Versions, f[0]+" "+f[1])
			}
		}
		all[name] = v
	}
	return all
}

// upgradable reads apt list --upgradable as "name version".
func (m *machine) upgradable(args ...string) []string {
	var all []string
	for l := range strings.Lines(m.run("apt", append(args, "list", "--upgradable")...)) {
		if f := strings.Fields(l); strings.Contains(l, "upgradable from") {
			n, _, _ := strings.Cut(f[0], "/")
			all = append(all, n+" "+f[1])
		}
	}
	sort.Strings(all)
	return all
}

func ours(h *apt.Host) (map[string]verdict, []string) {
	all := map[string]verdict{}
	var up []string
	for i := range h.Decisions {
		d := &h.Decisions[i]
		var v verdict
		if d.Installed != nil {
			v.Installed = d.Installed.Version
		}
		if d.Candidate != nil {
			v.Candidate = d.Candidate.Version
		}
		for _, ver := range d.Versions {
			v.Versions = append(v.Versions, ver.Version+" "+strconv.Itoa(ver.Priority))
		}
		all[d.Name] = v
		if d.Upgradable() {
			up = append(up, d.Name+" "+d.Candidate.Version)
		}
	}
	sort.Strings(up)
	return all, up
}

var world = []archive{
	{"main", "bookworm", "Origin: Debian\nLabel: Debian\nSuite: oldstable\nCodename: bookworm\nVersion: 12.15\n", []string{
		"sec-opt 1.0-1", "both 1.1-1", "main-newer 1.2-1", "epoch 9.0-1", "tilde 1.0-1", "uptodate 2.0-1", "newer 8.0-1", "pinned 1.0-1", "held 1.0-1",
		"perl 5.32.1", "perl 5.36.0", "gnome-a 1", "gnome-b 2", "lib-kde-x 3", "old 1.0", "src-a 2\nSource: bundle (7)", "src-b 2\nSource: bundle", "missing 1",
		"phased 2.0-1\nPhased-Update-Percentage: 10", "phased0 2.0-1\nPhased-Update-Percentage: 0"}},
	{"security", "bookworm-security", "Origin: Debian\nLabel: Debian-Security\nSuite: oldstable-security\nCodename: bookworm-security\nVersion: 12\n", []string{
		"sec-opt 1.0-1+deb12u2", "sec-opt 1.0-1+deb12u1", "both 1.1-1", "main-newer 1.1-1", "held 1.1-1", "pinned 1.1-1", "gnome-a 2"}},
	{"backports", "bookworm-backports", "Origin: Debian Backports\nLabel: Debian Backports\nSuite: oldstable-backports\nCodename: bookworm-backports\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n", []string{
		"uptodate 3.0~bpo12+1", "perl 5.40", "backported 2~bpo2", "gnome-b 9"}},
	{"experimental", "rc-buggy", "Origin: Debian\nLabel: Debian\nSuite: experimental\nCodename: rc-buggy\nNotAutomatic: yes\n", []string{"uptodate 4.0", "perl 6", "old 9"}},
	{"local", "here", "Suite: here\n", []string{"old 0.5", "gnome-a 0.1", "missing 2"}},
}

var onIt = []string{"sec-opt 1.0-1", "both 1.0-1", "main-newer 1.0-1", "epoch 1:1.0-1", "tilde 1.0~rc1-1", "uptodate 2.0-1", "newer 9.0-1", "held 1.0-1!hold",
	"pinned 1.0-1", "perl 5.34", "gnome-a 1", "gnome-b 1", "lib-kde-x 2", "old 1.0", "src-a 1", "src-b 1", "backported 2~bpo1", "alone 1", "phased 1.0-1", "phased0 1.0-1"}

// What apt says on a root with five archives, under many preferences, is what is decided here: candidates, priorities, upgradable packages.
func TestPolicyAgreesWithApt(t *testing.T) {
	m := newMachine(t, world, onIt)
	pin := func(lines ...string) string {
		return "Package: " + lines[0] + "\nPin: " + lines[1] + "\nPin-Priority: " + lines[2] + "\n\n"
	}
	cases := []struct {
		name, preferences string
		args              []string
		options           apt.Policy
	}{
		{name: "no preferences"},
		{name: "a version pinned", preferences: pin("pinned", "version 1.0-1", "1001")},
		{name: "a version pinned with a star", preferences: pin("perl", "version 5.32*", "1001")},
		{name: "a downgrade at 1000", preferences: pin("perl", "version 5.32*", "1000")},
		{name: "no downgrade at 999", preferences: pin("perl", "version 5.32*", "999")},
		{name: "the first specific pin wins", preferences: pin("perl", "version 5.3*", "400") + pin("perl", "version 5.36*", "900")},
		{name: "negative", preferences: pin("sec-opt", "release l=Debian-Security", "-1")},
		{name: "negative for all", preferences: pin("*", "release l=Debian-Security", "-1")},
		{name: "release by suite", preferences: pin("*", "release a=experimental", "600")},
		{name: "release by codename and origin", preferences: pin("*", "release n=bookworm,o=Debian", "50")},
		{name: "release by version", preferences: pin("*", "release v=12.*", "50")},
		{name: "release of one word", preferences: pin("*", "release bookworm-backports", "700")},
		{name: "release of one number", preferences: pin("*", "release 12", "50")},
		{name: "release of everything", preferences: pin("*", "release *", "50")},
		{name: "release now", preferences: pin("*", "release a=now", "600")},
		{name: "release by component and architecture", preferences: pin("*", "release c=main, b=amd64", "20")},
		{name: "release that matches nothing", preferences: pin("*", "release a=none", "20")},
		{name: "release without any part", preferences: pin("*", "release x=y", "20")},
		{name: "a glob in the release", preferences: pin("*", "release n=bookworm-*", "10")},
		{name: "an expression in the release", preferences: pin("*", "release l=/sec/", "10")},
		{name: "the last of two parts of a kind", preferences: pin("*", "release a=none,a=experimental", "600")},
		{name: "origin local", preferences: pin("*", `origin ""`, "1001")},
		{name: "origin elsewhere", preferences: pin("*", `origin "deb.debian.org"`, "1001")},
		{name: "globs of names", preferences: pin("gnome*", "release a=here", "1001")},
		{name: "expressions of names", preferences: pin("/kde/ /^perl$/", "release o=Debian", "20")},
		{name: "names without case", preferences: pin("GNOME*", "release a=here", "1001")},
		{name: "several names", preferences: pin("gnome-a perl old", "release a=here", "1001")},
		{name: "architectures of names", preferences: pin("gnome-a:amd64", "release a=here", "1001") + pin("old:any", "release a=here", "1001") + pin("gnome-b:i386", "version 2", "-5")},
		{name: "source packages", preferences: pin("src:bundle", "version 2", "-1")},
		{name: "versions of source packages", preferences: pin("src:bun*:any", "version *", "20")},
		{name: "never", preferences: pin("*", "release a=experimental", "never") + pin("old", "version 9", "990")},
		{name: "never after another", preferences: pin("*", "release o=Debian", "600") + pin("*", "release a=experimental", "never")},
		{name: "the first general pin wins", preferences: pin("*", "release o=Debian", "600") + pin("*", "release l=Debian-Security", "30")},
		{name: "at 1000 for all", preferences: pin("*", "release a=oldstable", "1000")},
		{name: "default release by codename", args: []string{"-o", "APT::Default-Release=bookworm"}, options: apt.Policy{DefaultRelease: "bookworm"}},
		{name: "default release by suite", args: []string{"-o", "APT::Default-Release=experimental"}, options: apt.Policy{DefaultRelease: "experimental"}},
		{name: "default release before pins", args: []string{"-o", "APT::Default-Release=oldstable-backports"}, options: apt.Policy{DefaultRelease: "oldstable-backports"},
			preferences: pin("*", "release a=oldstable-backports", "5") + pin("perl", "version 5.36*", "995")},
		{name: "phased by policy", args: []string{"-o", "APT::Get::Phase-Policy=true", "-o", "APT::Machine-ID=0123456789abcdef0123456789abcdef"},
			options: apt.Policy{PhasePolicy: true, MachineID: "0123456789abcdef0123456789abcdef"}},
		{name: "phased never", args: []string{"-o", "APT::Get::Phase-Policy=true", "-o", "APT::Get::Never-Include-Phased-Updates=true"}, options: apt.Policy{PhasePolicy: true, NeverPhased: true}},
		{name: "phased always", args: []string{"-o", "APT::Get::Phase-Policy=true", "-o", "APT::Get::Always-Include-Phased-Updates=true"}, options: apt.Policy{PhasePolicy: true, AlwaysPhased: true}},
	}
	if testing.Short() {
		cases = cases[:3]
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			m.t = t
			m.write(filepath.Join(m.root, "etc/apt/preferences"), tc.preferences)
			h, err := apt.ReadHost(os.DirFS(m.root), &apt.Options{Policy: tc.options, Names: []string{"missing"}, CheckIndexes: true})
			require.NoError(t, err)
			require.Empty(t, h.Missing)
			var names []string
			for _, d := range h.Decisions {
				names = append(names, d.Name)
			}
			got, up := ours(h)
			require.Empty(t, cmp.Diff(m.policy(tc.args, names), got), "apt is -, ours is +")
			require.Equal(t, m.upgradable(tc.args...), up)
		})
	}
}

func TestSecuritySplitOfTheMachine(t *testing.T) {
	m := newMachine(t, world, onIt)
	h, err := apt.ReadHost(os.DirFS(m.root), nil)
	require.NoError(t, err)
	var security, other []string
	for i := range h.Decisions {
		if d := &h.Decisions[i]; d.Upgradable() && d.Candidate.Security() {
			security = append(security, d.Name)
		} else if d.Upgradable() {
			other = append(other, d.Name)
		}
	}
	require.Equal(t, []string{"both", "gnome-a", "held", "pinned", "sec-opt"}, security, "main-newer is not: its candidate is in main alone (N5)")
	require.Contains(t, other, "main-newer")
	d, ok := h.Decision("held", "")
	require.True(t, ok)
	require.True(t, d.Held)
	d, _ = h.Decision("both", "amd64")
	require.Len(t, d.Candidate.Archives, 2, "one version in two archives (N7)")
	// The decision over what was read: the default baseline wants the security patches and nothing else; with the rest let in, what apt lists.
	baseline := patch.PredefinedDefault(patch.Debian)
	missing := func() (names []string) {
		res, err := patch.Evaluate(baseline, patch.NodeFacts{OperatingSystem: patch.Debian, Product: "Debian12"}, h.Installed(), h.Available(), time.Now())
		require.NoError(t, err)
		for _, p := range res.Patches {
			if p.State == patch.StateMissing {
				names = append(names, p.Name)
			}
		}
		slices.Sort(names)
		return names
	}
	require.Equal(t, security, missing())
	for i := range baseline.Rules {
		baseline.Rules[i].EnableNonSecurity = true
	}
	all := append(security, other...)
	slices.Sort(all)
	require.Equal(t, all, missing())
}

// The lists that apt keeps on this very machine: signatures, hashes, and the upgradable packages.
func TestThisMachine(t *testing.T) {
	if _, err := exec.LookPath("apt"); err != nil {
		t.Skip("SKIPPED: apt is not on this machine, so nothing is compared with it")
	}
	root := os.DirFS("/")
	h, err := apt.ReadHost(root, &apt.Options{Verify: keyringOf(t)})
	require.NoError(t, err)
	if len(h.Archives) == 0 {
		t.Skip("SKIPPED: this machine has no lists of packages; apt-get update fetches them")
	}
	for _, a := range h.Archives {
		t.Logf("%s: %d files, security %v, signed by %d keys", a.ID, a.Release.Len(), a.Security(), len(a.Release.Signers))
	}
	c := exec.Command("apt", "list", "--upgradable")
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.Output()
	require.NoError(t, err)
	var want []string
	for l := range strings.Lines(string(out)) {
		if f := strings.Fields(l); strings.Contains(l, "upgradable from") {
			n, _, _ := strings.Cut(f[0], "/")
			want = append(want, n+" "+f[1])
		}
	}
	sort.Strings(want)
	_, got := ours(h)
	require.Equal(t, want, got)
	t.Logf("%d installed, %d upgradable", len(h.Installed()), len(got))
}

// keyringOf returns the verifiers of the sources of this machine: the files that Signed-By names.
func keyringOf(t *testing.T) func(apt.Source) (apt.Verifier, error) {
	return func(s apt.Source) (apt.Verifier, error) {
		var rings []io.Reader
		for _, name := range s.SignedBy {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			rings = append(rings, bytes.NewReader(b))
		}
		if rings == nil {
			t.Logf("%s is not verified: no file is named by Signed-By", s.URI)
			return nil, nil
		}
		return apt.Keyring(nil, rings...)
	}
}

// gpgv agrees on whom a signature is from.
func TestKeyringAgreesWithGpgv(t *testing.T) {
	gpgv, err := exec.LookPath("gpgv")
	if err != nil {
		t.Skip("SKIPPED: gpgv is not on this machine, so nothing is compared with it")
	}
	now := time.Now().Add(-time.Minute) // gpgv looks at the clock of the machine
	good, other := newKeyAt(t, "good", now), newKeyAt(t, "other", now)
	dir := t.TempDir()
	signed := inReleaseAt(t, releaseText("Origin: Debian\n"), now, other, good)
	for name, b := range map[string][]byte{"good": signed, "bad": bytes.Replace(signed, []byte("Debian"), []byte("debian"), 1)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		keys, err := io.ReadAll(ring(t, false, good))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ring"), keys, 0o600))
		c := exec.Command(gpgv, "--homedir", dir, "--status-fd", "1", "--keyring", filepath.Join(dir, "ring"), filepath.Join(dir, name))
		out, _ := c.Output()
		v, err := apt.Keyring(nil, bytes.NewReader(keys))
		require.NoError(t, err)
		rel, err := apt.OpenInRelease(name, bytes.NewReader(b), v, nil)
		require.Equal(t, strings.Contains(string(out), "VALIDSIG"), err == nil, "%s: gpgv says %s", name, out)
		if err == nil {
			require.Contains(t, string(out), rel.Signers[0])
		}
	}
}

package rpm_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
	"github.com/stretchr/testify/require"
)

// fixture is a repository with notices and a root with older packages, both made by the real tools.
type fixture struct {
	t    *testing.T
	dir  string
	root string
}

type built struct {
	name, epoch, version, arch, more string
	installed                        bool
}

func (f *fixture) run(ok []int, name string, args ...string) string {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "HOME="+filepath.Join(f.dir, "home"), "LC_ALL=C", "SOURCE_DATE_EPOCH=1704067200")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if code := c.ProcessState.ExitCode(); !slices.Contains(ok, code) {
		require.NoError(f.t, err, "%s %v: %s%s", name, args, out, &stderr)
	}
	return string(out)
}

func newFixture(t *testing.T, packages []built, updateinfo string) *fixture {
	for _, tool := range []string{"rpm", "rpmbuild", "createrepo_c", "modifyrepo_c"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not on this machine, so nothing is compared with it", tool)
		}
	}
	f := &fixture{t: t, dir: t.TempDir()}
	f.root = filepath.Join(f.dir, "root")
	write := func(name, text string) {
		name = filepath.Join(f.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	write("home/.rpmmacros", "%_dbpath /var/lib/rpm\n")
	var specs, install []string
	for i, p := range packages {
		epoch := ""
		if p.epoch != "" {
			epoch = "Epoch: " + p.epoch + "\n"
		}
		spec := fmt.Sprintf("spec/%d.spec", i)
		write(spec, fmt.Sprintf("Name: %s\n%sVersion: %s\nRelease: 1.fx\nSummary: s\nLicense: MIT\nBuildArch: noarch\n%s\n%%description\nd\n%%files\n", p.name, epoch, p.version, p.more))
		specs = append(specs, filepath.Join(f.dir, spec))
		if p.installed {
			install = append(install, filepath.Join(f.dir, "repo/noarch", p.name+"-"+p.version+"-1.fx.noarch.rpm"))
		}
	}
	f.run([]int{0}, "rpmbuild", append([]string{"--quiet", "-bb", "--define", "_topdir " + f.dir + "/top", "--define", "_rpmdir " + f.dir + "/repo",
		"--define", "use_source_date_epoch_as_buildtime 1"}, specs...)...)
	f.run([]int{0}, "createrepo_c", "-q", filepath.Join(f.dir, "repo"))
	write("updateinfo.xml", updateinfo)
	f.run([]int{0}, "modifyrepo_c", "--mdtype=updateinfo", filepath.Join(f.dir, "updateinfo.xml"), filepath.Join(f.dir, "repo/repodata"))
	require.NoError(t, os.MkdirAll(filepath.Join(f.root, "var/lib/rpm"), 0o755))
	f.run([]int{0}, "rpm", append([]string{"--root", f.root, "--nodeps", "-i"}, install...)...)
	write("root/etc/yum.repos.d/fx.repo", "[fx]\nname=fx\nbaseurl=file://"+f.dir+"/repo\ngpgcheck=0\n")
	write("root/etc/products.d/fx.prod", "<?xml version=\"1.0\"?><product schemeversion=\"0\"><vendor>fx</vendor><name>fx</name><version>1</version><release>1</release><arch>x86_64</arch></product>")
	require.NoError(t, os.Symlink("fx.prod", filepath.Join(f.root, "etc/products.d/baseproduct")))
	require.NoError(t, os.MkdirAll(filepath.Join(f.dir, "log"), 0o755))
	return f
}

func (f *fixture) dnf(args ...string) string {
	return f.run([]int{0, 100}, "dnf", append([]string{"-q", "--installroot=" + f.root, "--releasever=1", "--setopt=reposdir=" + f.root + "/etc/yum.repos.d",
		"--setopt=cachedir=" + f.dir + "/cache", "--setopt=logdir=" + f.dir + "/log"}, args...)...)
}

var livePackages = []built{
	{"alpha", "", "1.0", "", "", true}, {"alpha", "", "1.1", "", "", false}, {"alpha", "", "1.2", "", "", false},
	{"delta", "1", "1.0", "", "", true}, {"delta", "1", "1.1", "", "", false}, {"delta", "", "9.0", "", "", false},
	{"theta", "", "1.0", "", "", true}, {"theta", "", "1.0~rc1", "", "", false}, {"theta", "", "1.0^git1", "", "", false},
	{"eta", "", "2.0", "", "", true}, {"eta", "", "1.9", "", "", false},
	{"user", "", "1.0", "", "Requires: lambda >= 1.0", true}, {"user", "", "1.1", "", "Requires: lambda >= 1.1", false},
	{"lambda", "", "1.0", "", "", true}, {"lambda", "", "1.1", "", "", false},
	{"oldname", "", "1.0", "", "", true}, {"newname", "", "2.0", "", "Obsoletes: oldname < 2.0\nProvides: oldname = 2.0", false},
	{"absent", "", "1.1", "", "", false},
}

func liveNotices() string {
	n := func(id, kind, severity, date, ref, name, epoch, version, inner string) string {
		return notice(id, kind, severity, `<issued date="`+date+`"/><updated date="`+date+`"/>`, ref, listed(name, epoch, version, "1.fx", "noarch", inner))
	}
	cve := func(id string) string { return `<reference href="h" id="` + id + `" title="t" type="cve"/>` }
	return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>" +
		n("FX-1", "security", "Critical", "2024-02-01 00:00:00", cve("CVE-2024-0001"), "alpha", "0", "1.1", "") +
		n("FX-2", "security", "Important", "2024-06-05 00:00:00", cve("CVE-2024-0002"), "alpha", "0", "1.2", "<reboot_suggested>1</reboot_suggested>") +
		n("FX-3", "security", "Moderate", "2024-03-03 00:00:00", cve("CVE-2024-0005")+cve("CVE-2024-0006"), "delta", "1", "1.1", "") +
		n("FX-4", "bugfix", "None", "2024-03-04 00:00:00", `<reference href="h" id="1234567" title="b" type="bugzilla"/>`, "theta", "0", "1.0^git1", "") +
		n("FX-5", "security", "Critical", "2024-03-05 00:00:00", "", "eta", "0", "1.9", "") +
		n("FX-6", "security", "Critical", "2024-03-05 00:00:00", "", "user", "0", "1.1", "") +
		n("FX-7", "security", "Important", "2024-03-07 00:00:00", "", "newname", "0", "2.0", "") +
		n("FX-8", "security", "Critical", "2024-03-07 00:00:00", "", "absent", "0", "1.1", "") + "</updates>"
}

// What rpm, dnf and zypper say of a repository and a root is what is read here.
func TestAgreesWithTheTools(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: building packages and running dnf takes seconds; -short leaves it out")
	}
	f := newFixture(t, livePackages, liveNotices())
	installed, err := rpm.ReadInstalled("rpm -qa", strings.NewReader(f.run([]int{0}, "rpm", "--root", f.root, "-qa", "--qf", rpm.QueryFormat)), nil)
	require.NoError(t, err)
	repo, err := rpm.ReadRepo(os.DirFS(filepath.Join(f.dir, "repo")), &rpm.RepoOptions{ID: "fx", Keep: rpm.Keep(installed)})
	require.NoError(t, err)
	available := rpm.Available(installed, repo)
	lines := func(s string) []string {
		var all []string
		for l := range strings.Lines(s) {
			if l = strings.TrimSpace(l); l != "" {
				all = append(all, l)
			}
		}
		sort.Strings(all)
		return all
	}

	t.Run("rpm", func(t *testing.T) {
		var got []string
		for _, p := range installed {
			epoch := "0:"
			if strings.Contains(p.Version, ":") {
				epoch = ""
			}
			got = append(got, fmt.Sprintf("%s %s%s %s %d %d", p.Name, epoch, p.Version, p.Arch, p.InstalledAt.Unix(), p.Built.Unix()))
			if p.Name == "user" {
				require.Equal(t, []string{"lambda"}, p.Requires)
			}
		}
		sort.Strings(got)
		require.Equal(t, lines(f.run([]int{0}, "rpm", "--root", f.root, "-qa", "--qf", "%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE} %{ARCH} %{INSTALLTIME} %{BUILDTIME}\n")), got)
	})

	current := map[string]string{}
	for _, p := range installed {
		current[p.Name] = p.Version
	}
	// newest is what would be installed; replaced names what takes the place of something.
	newest, replaced := map[string]string{}, map[string]bool{}
	var advisories []string
	for _, a := range available {
		is, ok := current[a.Name]
		for _, o := range a.Obsoletes {
			if _, there := current[o.Name]; there && !ok {
				replaced[a.Name] = true
			}
		}
		if !ok || patch.CompareRPM(a.Version, is) <= 0 {
			continue
		}
		newest[a.Name] = a.Version
		for _, n := range a.Advisories {
			advisories = append(advisories, n.ID+" "+a.Name+"-"+a.Version+"."+a.Arch)
		}
	}
	sort.Strings(advisories)

	t.Run("dnf", func(t *testing.T) {
		if _, err := exec.LookPath("dnf"); err != nil {
			t.Skip("SKIPPED: dnf is not on this machine, so nothing is compared with it")
		}
		f.t = t
		updates, obsoleting := map[string]string{}, map[string]bool{}
		section := false
		for l := range strings.Lines(f.dnf("check-update")) {
			fields := strings.Fields(l)
			switch {
			case strings.HasPrefix(l, "Obsoleting"):
				section = true
			case len(fields) == 3 && section && !strings.HasPrefix(l, " "):
				obsoleting[strings.TrimSuffix(fields[0], ".noarch")] = true
			case len(fields) == 3 && !section:
				updates[strings.TrimSuffix(fields[0], ".noarch")] = fields[1]
			}
		}
		require.Equal(t, updates, newest)
		require.Equal(t, obsoleting, replaced)
		var want []string
		for _, l := range lines(f.dnf("updateinfo", "list")) {
			fields := strings.Fields(l)
			want = append(want, fields[0]+" "+fields[len(fields)-1])
		}
		sort.Strings(want)
		require.Equal(t, want, advisories)
	})

	t.Run("zypper", func(t *testing.T) {
		if _, err := exec.LookPath("zypper"); err != nil {
			t.Skip("SKIPPED: zypper is not on this machine, so nothing is compared with it")
		}
		f.t = t
		zypper := func(args ...string) string {
			return f.run([]int{0, 100, 101, 102, 103}, "zypper", append([]string{"--root", f.root, "--no-gpg-checks"}, args...)...)
		}
		zypper("--non-interactive", "ar", "-f", "file://"+f.dir+"/repo", "fx")
		zypper("--non-interactive", "refresh")
		rep, err := rpm.ReadZypper("zypper lp", strings.NewReader(zypper(rpm.ZypperQuery()...)), nil)
		require.NoError(t, err)
		whole, err := rpm.ReadRepo(os.DirFS(filepath.Join(f.root, "var/cache/zypp/raw/fx")), nil)
		require.NoError(t, err, "the metadata that zypper keeps is a repository's")
		byID := map[string]*rpm.Notice{}
		for i := range whole.Notices {
			byID[whole.Notices[i].ID] = &whole.Notices[i]
		}
		require.Len(t, rep.Updates, len(byID))
		status := map[string]string{}
		for _, u := range rep.Updates {
			n := byID[u.Name]
			require.NotNil(t, n, u.Name)
			status[u.Name] = u.Status
			require.Equal(t, n.CVEs, u.CVEs)
			require.Equal(t, n.Bugzilla, u.Bugzilla)
			require.Equal(t, n.Updated, u.Issued, "zypper prints the date of the last change")
			require.Equal(t, n.Type, u.Category)
			require.Equal(t, strings.ToLower(n.Severity), u.Severity)
			require.Equal(t, n.RebootSuggested, u.Restart)
		}
		require.Equal(t, map[string]string{"FX-1": "needed", "FX-2": "needed", "FX-3": "needed", "FX-4": "needed", "FX-5": "applied", "FX-6": "needed", "FX-7": "not-needed", "FX-8": "not-needed"}, status)
		lu, err := rpm.ReadZypper("zypper lu", strings.NewReader(zypper("--non-interactive", "--xmlout", "list-updates")), nil)
		require.NoError(t, err)
		got := map[string]string{}
		for _, u := range lu.Updates {
			got[u.Name] = u.Edition
			require.Equal(t, current[u.Name], u.EditionOld)
		}
		require.Equal(t, got, newest)
	})
}

//go:build linux

package patchbaseline_test

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
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/patch"
)

// rpmRepo is a repository with notices that the real tools built.
type rpmRepo struct{ dir string }

type rpmPackage struct {
	name, version, more string
	installed           bool
}

func (p rpmPackage) evr() (epoch, version string) {
	if e, v, ok := strings.Cut(p.version, ":"); ok {
		return e, v
	}
	return "", p.version
}

var rpmWorld = []rpmPackage{
	{"alpha", "1.0", "", true}, {"alpha", "1.1", "", false}, {"alpha", "1.2", "", false},
	{"beta", "1.0", "", true}, {"beta", "1.1", "", false},
	{"gamma", "1.0", "", true}, {"gamma", "1.1", "", false},
	{"delta", "1:1.0", "", true}, {"delta", "1:1.1", "", false}, {"delta", "9.0", "", false},
	{"epsilon", "1.0", "", true}, {"epsilon", "1.1", "", false},
	{"theta", "1.0", "", true}, {"theta", "1.0~rc1", "", false}, {"theta", "1.0^git1", "", false},
	{"eta", "2.0", "", true}, {"eta", "1.9", "", false},
	{"user", "1.0", "Requires: lambda >= 1.0", true}, {"user", "1.1", "Requires: lambda >= 1.1", false},
	{"lambda", "1.0", "", true}, {"lambda", "1.1", "", false},
	{"noway", "1.0", "", true}, {"noway", "1.1", "Requires: not-there", false},
	{"oldname", "1.0", "", true}, {"newname", "2.0", "Obsoletes: oldname < 2.0\nProvides: oldname = 2.0", false},
	{"absent", "1.1", "", false},
	{"needy", "1.0", "", true}, {"needy", "1.1", "Requires: some-capability", false}, {"helper", "1.0", "Provides: some-capability", false},
}

// rpmNotices are of rpmWorld: id, type, severity, date, package, version.
var rpmNotices = [][6]string{
	{"FX-2024:0001", "security", "Critical", "2024-02-01 00:00:00", "alpha", "1.1"}, {"FX-2024:0002", "security", "Important", "2024-06-05 00:00:00", "alpha", "1.2"},
	{"FX-2024:0003", "bugfix", "None", "2024-03-01 00:00:00", "beta", "1.1"}, {"FX-2024:0004", "enhancement", "None", "2024-03-02 00:00:00", "gamma", "1.1"},
	{"FX-2024:0005", "security", "Moderate", "2024-03-03 00:00:00", "delta", "1:1.1"}, {"FX-2024:0007", "security", "Critical", "2024-03-05 00:00:00", "eta", "1.9"},
	{"FX-2024:0008", "security", "None", "2024-03-06 00:00:00", "theta", "1.0^git1"}, {"FX-2024:0009", "security", "Important", "2024-03-07 00:00:00", "newname", "2.0"},
	{"FX-2024:0011", "security", "Critical", "2024-03-09 00:00:00", "user", "1.1"}, {"FX-2024:0012", "security", "Critical", "2024-03-10 00:00:00", "absent", "1.1"},
	{"FX-2024:0013", "security", "Critical", "2024-03-11 00:00:00", "noway", "1.1"},
	{"FX-2024:0014", "security", "Critical", "2024-03-11 00:00:00", "needy", "1.1"},
}

func put(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

func buildRPMs(t *testing.T) *rpmRepo {
	t.Helper()
	need(t, "rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
	r := &rpmRepo{t.TempDir()}
	put(t, filepath.Join(r.dir, "home/.rpmmacros"), "%_dbpath /var/lib/rpm\n")
	var specs []string
	for i, p := range rpmWorld {
		epoch, version := p.evr()
		if epoch != "" {
			epoch = "Epoch: " + epoch + "\n"
		}
		spec := filepath.Join(r.dir, "spec", fmt.Sprint(i)+".spec")
		put(t, spec, fmt.Sprintf("Name: %s\n%sVersion: %s\nRelease: 1.fx\nSummary: s\nLicense: MIT\nBuildArch: noarch\n%s\n%%description\nd\n%%files\n", p.name, epoch, version, p.more))
		specs = append(specs, spec)
	}
	r.run(t, "rpmbuild", append([]string{"--quiet", "-bb", "--define", "_topdir " + r.dir + "/top", "--define", "_rpmdir " + r.dir + "/repo", "--define", "use_source_date_epoch_as_buildtime 1"}, specs...)...)
	r.run(t, "createrepo_c", "-q", r.dir+"/repo")
	var info strings.Builder
	info.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>")
	for _, n := range rpmNotices {
		epoch, version := rpmPackage{version: n[5]}.evr()
		if epoch == "" {
			epoch = "0"
		}
		fmt.Fprintf(&info, `<update from="fx" status="final" type="%s" version="1"><id>%s</id><title>%[2]s</title><severity>%[3]s</severity><release>fx</release><issued date="%[4]s"/><updated date="%[4]s"/>`+
			`<description>d</description><references><reference href="h" id="CVE-%[5]s" title="t" type="cve"/></references><pkglist><collection short="fx"><name>fx</name>`+
			`<package name="%[6]s" version="%[7]s" release="1.fx" epoch="%[8]s" arch="noarch" src="s.src.rpm"><filename>%[6]s-%[7]s-1.fx.noarch.rpm</filename></package></collection></pkglist></update>`,
			n[1], n[0], n[2], n[3], "2024-"+n[0][len(n[0])-4:], n[4], version, epoch)
	}
	info.WriteString("</updates>")
	put(t, filepath.Join(r.dir, "updateinfo.xml"), info.String())
	r.run(t, "modifyrepo_c", "--mdtype=updateinfo", r.dir+"/updateinfo.xml", r.dir+"/repo/repodata")
	return r
}

func (r *rpmRepo) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "HOME="+filepath.Join(r.dir, "home"), "LC_ALL=C", "SOURCE_DATE_EPOCH=1704067200")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if code := c.ProcessState.ExitCode(); code != 100 { // updates, to dnf
		require.NoError(t, err, "%s %v: %s%s", name, args, out, &stderr)
	}
	return string(out)
}

// root makes a tree with the older packages.
func (r *rpmRepo) root(t *testing.T, release string) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755))
	var files []string
	for _, p := range rpmWorld {
		if _, v := p.evr(); p.installed {
			files = append(files, filepath.Join(r.dir, "repo/noarch", p.name+"-"+v+"-1.fx.noarch.rpm"))
		}
	}
	r.run(t, "rpm", append([]string{"--root", root, "--nodeps", "-i"}, files...)...)
	put(t, filepath.Join(root, "etc/os-release"), release)
	return root
}

// installed asks rpm, "name epoch:version-release" by name.
func (r *rpmRepo) installed(t *testing.T, root string) []string {
	out := strings.Fields(strings.ReplaceAll(r.run(t, "rpm", "--root", root, "-qa", "--qf", "%{NAME}|%{VERSION}\n"), "|", "-"))
	sort.Strings(out)
	return out
}

func (r *rpmRepo) dnfOracle(t *testing.T, root string, args ...string) string {
	log := filepath.Join(r.dir, "log")
	require.NoError(t, os.MkdirAll(log, 0o755))
	return r.run(t, "dnf", append([]string{"-q", "--installroot=" + root, "--releasever=9", "--setopt=reposdir=" + root + "/etc/yum.repos.d", "--setopt=cachedir=" + root + "/oracle-cache", "--setopt=logdir=" + log}, args...)...)
}

// checkUpdate reads dnf check-update: updates as "name version", and what takes the place of something.
func checkUpdate(text string) (updates, obsoleting []string) {
	section := false
	updates = []string{}
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		switch {
		case strings.HasPrefix(l, "Obsoleting"):
			section = true
		case len(f) == 3 && section && !strings.HasPrefix(l, " "):
			obsoleting = append(obsoleting, strings.TrimSuffix(f[0], ".noarch")+" "+f[1])
		case len(f) == 3 && !section:
			updates = append(updates, strings.TrimSuffix(f[0], ".noarch")+" "+f[1])
		}
	}
	sort.Strings(updates)
	return updates, obsoleting
}

func TestRPMTrees(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED: rpmbuild and dnf take seconds; run without -short")
	}
	repo := buildRPMs(t)
	now := fixed("2024-07-14T00:00:00Z")
	dnfRoot := func(t *testing.T) string {
		need(t, "dnf")
		root := repo.root(t, "ID=\"rhel\"\nVERSION_ID=\"9.4\"\n")
		put(t, filepath.Join(root, "etc/yum.repos.d/fx.repo"), "[fx]\nname=fx\nbaseurl=file://"+repo.dir+"/repo\ngpgcheck=0\n")
		return root
	}

	t.Run("dnf", func(t *testing.T) {
		t.Parallel()
		root := dnfRoot(t)
		o := &patchbaseline.Options{Root: root, Now: now}
		all := *patch.PredefinedDefault(patch.RedHat)
		days := 0
		all.Rules = []patch.PatchRule{{EnableNonSecurity: true, ApproveAfterDays: &days}}
		p := &plane{baseline: all}
		got := (&runner{plane: p}).run(t.Context(), t, o, scan())
		require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
		updates, obsoleting := checkUpdate(repo.dnfOracle(t, root, "check-update"))
		require.Len(t, updates, 10)
		want := append(slices.Clone(updates), obsoleting...)
		sort.Strings(want)
		require.Empty(t, cmp.Diff(want, in(p.last(t), patch.StateMissing)), "dnf check-update is -, ours is +")
		require.Equal(t, []patch.Request{{OperatingSystem: patch.RedHat, Product: "RedhatEnterpriseLinux9.4"}}, p.asked)

		o.Refresh = patchbaseline.RefreshNever
		secure := all
		secure.Rules = []patch.PatchRule{{Filters: patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{"Security"}}}, ApproveAfterDays: &days}}
		p.baseline = secure
		(&runner{plane: p}).run(t.Context(), t, o, scan())
		updates, obsoleting = checkUpdate(repo.dnfOracle(t, root, "check-update", "--security"))
		want = append(slices.Clone(updates), obsoleting...)
		sort.Strings(want)
		require.Empty(t, cmp.Diff(want, in(p.last(t), patch.StateMissing)), "dnf check-update --security is -, ours is +")

		p.baseline = *patch.PredefinedDefault(patch.RedHat)
		got = (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
		require.Equal(t, message.Failed, got.Status, got.out)
		require.Contains(t, got.Reason, "noway.noarch")
		require.Contains(t, got.out, "not-there")
		require.Equal(t, []string{"alpha-1.2", "beta-1.1", "delta-1.0", "epsilon-1.0", "eta-2.0", "gamma-1.0", "helper-1.0", "lambda-1.1", "needy-1.1", "newname-2.0", "noway-1.0", "theta-1.0", "user-1.1"}, repo.installed(t, root),
			"lambda came along, newname took the place of oldname, nothing else was touched")
		require.Equal(t, []string{"noway 1.1-1.fx"}, in(p.last(t), patch.StateFailed))
		(&runner{plane: p}).run(t.Context(), t, o, scan())
		require.Equal(t, []string{"noway 1.1-1.fx"}, in(p.last(t), patch.StateMissing))
	})

	t.Run("dnf-blocked-and-locked", func(t *testing.T) {
		t.Parallel()
		root := dnfRoot(t)
		o := &patchbaseline.Options{Root: root, Now: now, LockWait: 100 * time.Millisecond}
		b := *patch.PredefinedDefault(patch.RedHat)
		b.RejectedPatches, b.RejectedAction = []string{"lambda-1.1-*", "noway-*", "helper-*"}, patch.Block
		p := &plane{baseline: b}
		release := hold(t, filepath.Join(root, "var/lib/rpm/.rpm.lock"))
		got := (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
		require.Contains(t, got.Reason, "still at work")
		require.Contains(t, repo.installed(t, root), "alpha-1.0")
		release()
		got = (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
		require.Contains(t, got.out, "rejected with BLOCK", "%s %s", got.Reason, got.err)
		have := repo.installed(t, root)
		require.Subset(t, have, []string{"user-1.0", "lambda-1.0", "alpha-1.2", "needy-1.0"})
		require.Equal(t, []string{"needy 1.1-1.fx", "user 1.1-1.fx"}, in(p.last(t), patch.StateFailed))
		require.Contains(t, got.out, "it needs helper, which is rejected with BLOCK")
	})

	t.Run("dnf-sources", func(t *testing.T) {
		t.Parallel()
		need(t, "dnf")
		root := repo.root(t, "ID=\"rhel\"\nVERSION_ID=\"9.4\"\n")
		b := *patch.PredefinedDefault(patch.RedHat)
		b.Sources = []patch.Source{{Name: "mine", Products: []string{"*"}, Configuration: "[main]\nname=mine\nbaseurl=file://" + repo.dir + "/repo\nenabled=1\ngpgcheck=0"}}
		p := &plane{baseline: b}
		got := (&runner{plane: p}).run(t.Context(), t, &patchbaseline.Options{Root: root, Now: now}, scan())
		require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
		require.Equal(t, []string{"alpha", "beta", "needy", "newname", "noway", "user"}, names(in(p.last(t), patch.StateMissing)))
		require.NoDirExists(t, filepath.Join(root, "var/cache/dnf"))
	})

	t.Run("zypper", func(t *testing.T) {
		t.Parallel()
		need(t, "zypper")
		root := repo.root(t, "ID=\"sles\"\nVERSION_ID=\"15.5\"\n")
		put(t, filepath.Join(root, "etc/products.d/fx.prod"), "<?xml version=\"1.0\"?><product schemeversion=\"0\"><vendor>fx</vendor><name>fx</name><version>1</version><release>1</release><arch>x86_64</arch></product>")
		require.NoError(t, os.Symlink("fx.prod", filepath.Join(root, "etc/products.d/baseproduct")))
		put(t, filepath.Join(root, "etc/zypp/repos.d/fx.repo"), "[fx]\nname=fx\nenabled=1\nautorefresh=0\nbaseurl=file://"+repo.dir+"/repo\ngpgcheck=0\ntype=rpm-md\n")
		o := &patchbaseline.Options{Root: root, Now: now}
		b := *patch.PredefinedDefault(patch.SUSE)
		days := 0
		b.Rules = []patch.PatchRule{{Filters: patch.FilterGroup{{Key: patch.KeyClassification, Values: []string{"security"}}}, ApproveAfterDays: &days}}
		p := &plane{baseline: b}
		got := (&runner{plane: p}).run(t.Context(), t, o, scan())
		require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
		require.Equal(t, []patch.Request{{OperatingSystem: patch.SUSE, Product: "Suse15.5"}}, p.asked)
		// zypper's own word: the patches that it calls needed.
		needed := []string{}
		for l := range strings.Lines(repo.run(t, "zypper", "--root", root, "--non-interactive", "--no-gpg-checks", "lp", "--category", "security")) {
			if f := strings.Split(l, "|"); len(f) == 7 && strings.TrimSpace(f[5]) == "needed" {
				needed = append(needed, strings.TrimSpace(f[1]))
			}
		}
		ours := []string{}
		for i := range p.last(t).Patches {
			if x := &p.last(t).Patches[i]; x.State == patch.StateMissing {
				ours = append(ours, x.Advisories...)
			}
		}
		sort.Strings(needed)
		sort.Strings(ours)
		require.NotEmpty(t, needed)
		require.Empty(t, cmp.Diff(needed, ours), "zypper is -, ours is +")

		got = (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
		require.Equal(t, message.Failed, got.Status, got.out)
		require.Equal(t, []string{"noway 1.1-1.fx"}, in(p.last(t), patch.StateFailed), "%s", got.out)
		require.Contains(t, got.out, "not-there")
		require.Equal(t, []string{"alpha-1.2", "beta-1.0", "delta-1.1", "epsilon-1.0", "eta-2.0", "gamma-1.0", "helper-1.0", "lambda-1.1", "needy-1.1", "noway-1.0", "oldname-1.0", "theta-1.0^git1", "user-1.1"}, repo.installed(t, root), "%s", got.out)
	})
}

//go:build linux

package patchbaseline_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
)

// A Debian that was released long ago and never updated, from the mirror that this machine uses: what Scan reports is what the apt within says, Install really installs it within, and a second Scan is compliant.
// With FLEETWRIGHT_PATCH_TREE the tree is taken from there instead of being made.
func TestRealDebian(t *testing.T) {
	tree := os.Getenv("FLEETWRIGHT_PATCH_TREE")
	if os.Getenv("FLEETWRIGHT_LONG") == "" {
		t.Skip("SKIPPED: a whole Debian is fetched and patched; set FLEETWRIGHT_LONG=1")
	}
	need(t, "apt-get", "chroot")
	host, err := apt.ReadHost(os.DirFS("/"), nil)
	if err != nil {
		t.Skipf("SKIPPED: this machine is no Debian with package lists: %v", err)
	}
	var main, security *apt.Source
	for i := range host.Sources {
		s := &host.Sources[i]
		switch {
		case s.Type != "deb":
		case strings.HasSuffix(s.Suite, "-security"):
			security = s
		case main == nil && strings.HasSuffix(s.URI, "/debian/"):
			main = s
		}
	}
	if main == nil || security == nil {
		t.Skip("SKIPPED: this machine does not name a mirror of Debian and its security archive")
	}
	if tree == "" {
		need(t, "debootstrap")
		tree = filepath.Join(t.TempDir(), "tree")
		out, err := exec.Command("debootstrap", "--variant=minbase", "--include=openssl,curl,ca-certificates,perl,libxml2,rsync,openssh-client,xz-utils,vim-tiny,busybox,tzdata,sudo", main.Suite, tree, main.URI).CombinedOutput()
		if err != nil {
			t.Skipf("SKIPPED: debootstrap could not make a tree: %v %s", err, out[max(0, len(out)-500):])
		}
	}
	put(t, filepath.Join(tree, "etc/apt/sources.list"), "deb "+main.URI+" "+main.Suite+" main\ndeb "+security.URI+" "+security.Suite+" main\n")
	o := &patchbaseline.Options{Root: tree, Chroot: true}
	p := &plane{baseline: everything()}
	r := &runner{plane: p}
	oracle := func() (all, secure []string) {
		c := exec.Command("chroot", tree, "apt", "list", "--upgradable")
		c.Env = append(os.Environ(), "LC_ALL=C")
		out, err := c.Output()
		require.NoError(t, err)
		all, secure = []string{}, []string{}
		for l := range strings.Lines(string(out)) {
			if f := strings.Fields(l); strings.Contains(l, "upgradable from") {
				n, archives, _ := strings.Cut(f[0], "/")
				all = append(all, n+" "+f[1])
				if strings.Contains(archives, "-security") {
					secure = append(secure, n+" "+f[1])
				}
			}
		}
		sort.Strings(all)
		sort.Strings(secure)
		return all, secure
	}
	got := r.run(t.Context(), t, o, scan())
	require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
	all, secure := oracle()
	require.NotEmpty(t, all)
	require.Empty(t, cmp.Diff(all, in(p.last(t), patch.StateMissing)), "apt is -, ours is +")
	installed := len(p.last(t).Patches)
	p.baseline = debian()
	r.run(t.Context(), t, o, scan())
	require.Empty(t, cmp.Diff(secure, in(p.last(t), patch.StateMissing)), "apt is -, ours is +")
	t.Logf("%d packages, %d upgradable, %d of them from the security archive: apt and Scan agree on each", installed, len(all), len(secure))

	got = r.run(t.Context(), t, o, install(patch.RebootIfNeeded))
	require.Equal(t, message.Success, got.Status, "%s %s %s", got.Reason, got.out, got.err)
	left, secureLeft := oracle()
	require.Empty(t, secureLeft)
	r.run(t.Context(), t, o, scan())
	require.Equal(t, patch.Compliant, p.last(t).Compliance)
	n := p.last(t).Counts
	t.Logf("installed %d; apt has %d left to upgrade, none of them from the security archive; %d Installed, %d InstalledOther, %d Missing", len(secure), len(left), n.Installed, n.InstalledOther, n.Missing)
	audit, err := exec.Command("chroot", tree, "dpkg", "--audit").CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(audit))
}

//go:build linux

package patchbaseline_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action/patchbaseline"
)

// deb is a package; more are further lines of its control file, script its postinst.
type deb struct {
	name, version, section, priority, more, script string
}

// file returns the package as dpkg-deb would build it.
func (d deb) file(t *testing.T) []byte {
	packed := func(files map[string]string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		var names []string
		for n := range files {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			h := &tar.Header{Name: n, Mode: 0o755, Size: int64(len(files[n])), Typeflag: tar.TypeReg, ModTime: time.Unix(1700000000, 0)}
			if strings.HasSuffix(n, "/") {
				h.Typeflag, h.Size = tar.TypeDir, 0
			}
			require.NoError(t, w.WriteHeader(h))
			_, err := w.Write([]byte(files[n]))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.NoError(t, z.Close())
		return b.Bytes()
	}
	control := map[string]string{"./": "", "./control": d.control()}
	if d.script != "" {
		control["./postinst"] = d.script
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", packed(control)},
		{"data.tar.gz", packed(map[string]string{"./": "", "./usr/": "", "./usr/share/": "", "./usr/share/fx/": "", "./usr/share/fx/" + d.name: d.version + "\n"})}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 1700000000, 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func (d deb) control() string {
	more := d.more
	if more != "" {
		more += "\n"
	}
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: fx <fx@example.org>\nSection: %s\nPriority: %s\n%sDescription: fixture\n", d.name, d.version, d.section, d.priority, more)
}

// debTree is a private root with a main and a security archive, and older packages than these have.
type debTree struct {
	t         *testing.T
	dir, root string
}

// opt is an optional package of section utils.
func opt(name, version string, more ...string) deb {
	return deb{name: name, version: version, section: "utils", priority: "optional", more: strings.Join(more, "\n")}
}

func newDebTree(t *testing.T, installed, main, security []deb) *debTree {
	t.Helper()
	need(t, "dpkg", "apt-get", "apt")
	m := &debTree{t: t, dir: t.TempDir()}
	require.NoError(t, os.Chmod(m.dir, 0o755))
	m.root = filepath.Join(m.dir, "root")
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "etc/apt/preferences.d",
		"etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d", "etc/apt/sources.list.d", "var/log/apt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(m.root, d), 0o755))
	}
	m.write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
	m.write("etc/apt/apt.conf.d/00fixture", "APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nDir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\nDPkg::Options:: \"--force-unsafe-io\";\n")
	m.write("var/lib/dpkg/status", "Package: dpkg\nStatus: install ok installed\nVersion: 1.21.22\nArchitecture: amd64\nMaintainer: fx <fx@example.org>\nSection: admin\nPriority: required\nDescription: fixture\n\n")
	m.write("var/lib/dpkg/available", "")
	m.write("etc/apt/sources.list", fmt.Sprintf("deb [trusted=yes] copy:%s/debian bookworm main\ndeb [trusted=yes] copy:%[1]s/debian-security bookworm-security main\n", m.dir))
	m.archive("debian", "bookworm", "Origin: Debian\nLabel: Debian\nSuite: oldstable\nCodename: bookworm\nVersion: 12.15\n", main)
	m.archive("debian-security", "bookworm-security", "Origin: Debian\nLabel: Debian-Security\nSuite: oldstable-security\nCodename: bookworm-security\nVersion: 12\n", security)
	var files []string
	for i, d := range installed {
		f := filepath.Join(m.dir, fmt.Sprintf("old%d.deb", i))
		require.NoError(t, os.WriteFile(f, d.file(t), 0o644))
		files = append(files, f)
	}
	m.dpkg(append([]string{"--force-depends", "--force-unsafe-io", "-i"}, files...)...)
	return m
}

func (m *debTree) write(name, text string) {
	m.t.Helper()
	name = filepath.Join(m.root, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(m.t, os.WriteFile(name, []byte(text), 0o644))
}

func (m *debTree) archive(path, suite, head string, packages []deb) {
	var index strings.Builder
	pool := filepath.Join(m.dir, path, "pool")
	require.NoError(m.t, os.MkdirAll(pool, 0o755))
	for _, p := range packages {
		b := p.file(m.t)
		name := fmt.Sprintf("%s_%x.deb", p.name, sha256.Sum256([]byte(p.version)))
		require.NoError(m.t, os.WriteFile(filepath.Join(pool, name), b, 0o644))
		fmt.Fprintf(&index, "%sFilename: pool/%s\nSize: %d\nSHA256: %x\n\n", p.control(), name, len(b), sha256.Sum256(b))
	}
	base := filepath.Join(m.dir, path, "dists", suite)
	require.NoError(m.t, os.MkdirAll(filepath.Join(base, "main/binary-amd64"), 0o755))
	require.NoError(m.t, os.WriteFile(filepath.Join(base, "main/binary-amd64/Packages"), []byte(index.String()), 0o644))
	require.NoError(m.t, os.WriteFile(filepath.Join(base, "Release"), fmt.Appendf(nil, "%sArchitectures: amd64\nComponents: main\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		head, sha256.Sum256([]byte(index.String())), index.Len()), 0o644))
}

func (m *debTree) dpkg(args ...string) string {
	m.t.Helper()
	c := exec.Command("dpkg", append([]string{"--root=" + m.root, "--log=" + m.root + "/var/log/dpkg.log"}, args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C", "DPKG_COLORS=never")
	out, err := c.CombinedOutput()
	require.NoError(m.t, err, "%s", out)
	return string(out)
}

func (m *debTree) hold(name string) {
	c := exec.Command("dpkg", "--root="+m.root, "--set-selections")
	c.Stdin = strings.NewReader(name + " hold\n")
	require.NoError(m.t, c.Run())
}

// upgradable is the oracle: apt's own list, as "name version".
func (m *debTree) upgradable() []string {
	conf := filepath.Join(m.dir, "oracle.conf")
	require.NoError(m.t, os.WriteFile(conf, fmt.Appendf(nil, "Dir \"%s\"; Dir::State::status \"%[1]s/var/lib/dpkg/status\"; APT::Architecture \"amd64\"; APT::Architectures:: \"amd64\";\n", m.root), 0o644))
	c := exec.Command("apt", "list", "--upgradable")
	c.Env = append(os.Environ(), "LC_ALL=C", "APT_CONFIG="+conf)
	out, err := c.Output()
	require.NoError(m.t, err)
	all := []string{}
	for l := range strings.Lines(string(out)) {
		if f := strings.Fields(l); strings.Contains(l, "upgradable from") {
			n, _, _ := strings.Cut(f[0], "/")
			all = append(all, n+" "+f[1])
		}
	}
	sort.Strings(all)
	return all
}

// installed reads dpkg's own list as name to version, of packages that are whole.
func (m *debTree) installed() map[string]string {
	out := map[string]string{}
	c := exec.Command("dpkg-query", "--admindir="+m.root+"/var/lib/dpkg", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n")
	b, err := c.Output()
	require.NoError(m.t, err)
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) == 3 && f[2] == "installed" {
			out[f[0]] = f[1]
		}
	}
	return out
}

func (m *debTree) options() *patchbaseline.Options { return &patchbaseline.Options{Root: m.root} }

// world has the cases that an archive and its packages can make hard.
func world(t *testing.T) *debTree {
	sec := func(name, version string, more ...string) deb {
		return deb{name: name, version: version, section: "net", priority: "optional", more: strings.Join(more, "\n")}
	}
	m := newDebTree(t, []deb{
		{name: "sec-imp", version: "1.0-1", section: "net", priority: "important"}, opt("sec-opt", "1.0-1"), {name: "main-req", version: "1.0-1", section: "admin", priority: "required"}, opt("both", "1.0-1"),
		opt("main-newer", "1.0-1"), opt("epoch", "1:1.0-1"), opt("tilde", "1.0~rc1-1"), opt("uptodate", "2.0-1"), opt("local-only", "1.0-1"), opt("newer-local", "9.0-1"),
		sec("held", "1.0-1"), sec("pinned", "1.0-1"), sec("needs-new", "1.0-1"), opt("oldname", "1.0-1"), {name: "extra-prio", version: "1.0-1", section: "misc", priority: "extra"}, sec("no-way", "1.0-1"), opt("user", "1.0-1"),
		opt("eats", "1.0-1"),
	}, []deb{
		{name: "main-req", version: "1.1-1", section: "admin", priority: "required"}, opt("both", "1.1-1"), opt("main-newer", "1.2-1"), opt("epoch", "9.0-1"), opt("tilde", "1.0-1"), opt("uptodate", "2.0-1"),
		opt("newer-local", "8.0-1"), {name: "sec-imp", version: "1.0-1", section: "net", priority: "important"}, opt("sec-opt", "1.0-1"),
		opt("newname", "2.0-1", "Replaces: oldname", "Conflicts: oldname", "Provides: oldname (= 2.0-1)"), opt("oldname", "2.0-1", "Depends: newname (= 2.0-1)"),
		{name: "extra-prio", version: "1.1-1", section: "misc", priority: "extra"}, opt("newdep", "1.0-1"), opt("baddep", "1.0-1"),
	}, []deb{
		{name: "sec-imp", version: "1.0-1+deb12u1", section: "net", priority: "important"}, sec("sec-opt", "1.0-1+deb12u2"), sec("sec-opt", "1.0-1+deb12u1"), opt("both", "1.1-1"), opt("main-newer", "1.1-1"),
		sec("held", "1.1-1"), sec("pinned", "1.1-1"), sec("needs-new", "1.1-1", "Depends: newdep"), sec("no-way", "1.1-1", "Depends: not-there"), opt("user", "1.1-1", "Depends: baddep"),
		opt("eats", "1.1-1", "Conflicts: local-only"),
	})
	m.write("etc/apt/preferences.d/pin", "Package: pinned\nPin: version 1.0-1\nPin-Priority: 1001\n")
	m.hold("held")
	return m
}

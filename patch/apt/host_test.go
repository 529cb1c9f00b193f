package apt_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

const lists = "var/lib/apt/lists/"

func gz(t testing.TB, text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// tree is a small machine: two archives, one package to upgrade, one held, one of another architecture.
func tree(t testing.TB) fstest.MapFS {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), ModTime: signedAt} }
	return fstest.MapFS{
		"etc/apt/sources.list":                   file("deb http://d.org/debian stable main\ndeb-src http://d.org/debian stable main\n"),
		"etc/apt/sources.list.d/flat.sources":    file("Types: deb\nURIs: file:/srv/flat\nSuites: ./\nTrusted: yes\n"),
		"etc/apt/sources.list.d/none.list":       file("deb http://gone.org/x stable main\n"),
		"etc/apt/sources.list.d/old.list.save":   file("this is not read\n"),
		"etc/apt/preferences.d/10-pin":           file("Package: pinned\nPin: version 1\nPin-Priority: 1001\n"),
		"etc/apt/preferences.d/ignored.disabled": file("this is not read\n"),
		"var/lib/dpkg/arch":                      file("amd64\ni386\n"),
		"var/lib/dpkg/info/tool.list":            file("/.\n"),
		"var/lib/dpkg/info/lib:i386.list":        file("/.\n"),
		"var/lib/dpkg/status":                    file("Package: dpkg\nStatus: install ok installed\nVersion: 1.21\nArchitecture: amd64\nPriority: required\nSection: admin\n\nPackage: tool\nStatus: hold ok installed\nVersion: 1\nArchitecture: amd64\nDepends: lib (>= 1)\nSection: utils\nPriority: optional\n\nPackage: lib\nStatus: install ok installed\nVersion: 1\nArchitecture: i386\n\nPackage: pinned\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"),
		lists + "d.org_debian_dists_stable_InRelease": file(fmt.Sprintf("Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: trixie\nValid-Until: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n %s\n",
			strings.Join([]string{sum("main/binary-amd64/Packages", amd64Packages), sum("main/binary-i386/Packages", i386Packages)}, "\n "))),
		lists + "d.org_debian_dists_stable_main_binary-amd64_Packages.gz": {Data: gz(t, amd64Packages)},
		lists + "d.org_debian_dists_stable_main_binary-i386_Packages":     file(i386Packages),
		lists + "_srv_flat_._Packages":                                    file("Package: pinned\nVersion: 2\nArchitecture: all\n"),
		lists + "lock":                                                    file(""),
	}
}

const (
	amd64Packages = "Package: tool\nSource: toolbox\nVersion: 2\nArchitecture: all\nSection: net\nPriority: important\nDepends: lib (>= 2)\n\nPackage: gone\nVersion: 3\nArchitecture: all\n\nPackage: extra\nVersion: 1\nArchitecture: amd64\n"
	i386Packages  = "Package: lib\nVersion: 2\nArchitecture: i386\n"
)

func sum(name, text string) string {
	f := sha(text)
	return fmt.Sprintf("%s %d %s", f, len(text), name)
}

func TestReadHost(t *testing.T) {
	h, err := apt.ReadHost(tree(t), &apt.Options{Names: []string{"extra", "none"}, CheckIndexes: true})
	require.NoError(t, err)
	require.Equal(t, "amd64", h.Native)
	require.Len(t, h.Missing, 1)
	require.Equal(t, "http://gone.org/x/", h.Missing[0].URI)
	require.Empty(t, cmp.Diff([]patch.Installed{
		{Name: "dpkg", Arch: "amd64", Version: "1.21", Priority: "required", Section: "admin"},
		{Name: "lib", Arch: "i386", Version: "1", InstalledAt: signedAt},
		{Name: "pinned", Arch: "all", Version: "1"},
		{Name: "tool", Arch: "amd64", Version: "1", InstalledAt: signedAt, Held: true, Priority: "optional", Section: "utils", Requires: []string{"lib"}},
	}, h.Installed()))
	require.Empty(t, cmp.Diff([]patch.Available{
		{Name: "extra", Arch: "amd64", Version: "1", Repo: "stable/main", Pin: 500},
		{Name: "lib", Arch: "i386", Version: "2", Repo: "stable/main", Pin: 500},
		{Name: "tool", Arch: "amd64", Version: "2", Repo: "stable/main", Source: "toolbox", Priority: "important", Section: "net", Pin: 500,
			Requires: []patch.Relation{{Name: "lib", Flag: "GE", Version: "2"}}},
	}, h.Available()))
	d, ok := h.Decision("pinned", "amd64")
	require.True(t, ok)
	require.False(t, d.Upgradable())
	require.Equal(t, 1001, d.Candidate.Priority)
	_, ok = h.Decision("gone", "")
	require.False(t, ok, "what only left its configuration is not installed")
	_, ok = h.Decision("lib", "amd64")
	require.False(t, ok)
	_, ok = h.Decision("zzz", "")
	require.False(t, ok)
}

func TestReadHostRefuses(t *testing.T) {
	inRel := lists + "d.org_debian_dists_stable_InRelease"
	index := lists + "d.org_debian_dists_stable_main_binary-amd64_Packages.gz"
	set := func(name, text string) func(fstest.MapFS) {
		return func(f fstest.MapFS) { f[name] = &fstest.MapFile{Data: []byte(text)} }
	}
	deny := func(apt.Source) (apt.Verifier, error) {
		return apt.Keyring(clock(signedAt), ring(t, false, newKey(t, "k")))
	}
	for name, tc := range map[string]struct {
		change func(fstest.MapFS)
		o      apt.Options
		want   string
	}{
		"no status file":            {func(f fstest.MapFS) { delete(f, "var/lib/dpkg/status") }, apt.Options{}, "/var/lib/dpkg/status"},
		"a damaged status file":     {set("var/lib/dpkg/status", "Package: a\nSta"), apt.Options{}, "/var/lib/dpkg/status:2"},
		"no architecture":           {set("var/lib/dpkg/status", ""), apt.Options{}, "architecture is not known"},
		"a damaged sources.list":    {set("etc/apt/sources.list", "\nhello\n"), apt.Options{}, "/etc/apt/sources.list:2"},
		"damaged preferences":       {set("etc/apt/preferences", "Package: a\nPin: version 1\nPin-Priority: x\n"), apt.Options{}, "/etc/apt/preferences:3"},
		"a Release file past date":  {func(fstest.MapFS) {}, apt.Options{Now: signedAt.AddDate(1, 0, 0)}, "was valid until"},
		"a damaged Release file":    {set(inRel, "nothing"), apt.Options{}, "InRelease:1"},
		"an armour that is cut":     {set(inRel, "-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: x\n"), apt.Options{}, "InRelease:1"},
		"no signature":              {func(fstest.MapFS) {}, apt.Options{Verify: deny}, "not that of a trusted key"},
		"no Release file for dists": {func(f fstest.MapFS) { delete(f, inRel) }, apt.Options{Verify: deny}, "debian/dists/stable/ has no Release file"},
		"no Release file": {func(f fstest.MapFS) {
			f["etc/apt/sources.list.d/flat.sources"].Data = []byte("Types: deb\nURIs: file:/srv/flat\nSuites: ./\n")
			delete(f, inRel)
		}, apt.Options{Verify: deny}, "has no Release file"},
		"an index with more":       {set(index, string(gz(t, amd64Packages+"\n"))), apt.Options{CheckIndexes: true}, "longer than"},
		"an index with less":       {set(index, string(gz(t, amd64Packages[1:]))), apt.Options{CheckIndexes: true}, "ends after"},
		"another index":            {set(index, string(gz(t, strings.Replace(amd64Packages, "net", "web", 1)))), apt.Options{CheckIndexes: true}, "another SHA256"},
		"an index that is cut off": {set(index, string(gz(t, amd64Packages)[:60])), apt.Options{}, "Packages.gz"},
		"a damaged index":          {set(index, string(gz(t, "Package: tool\nVersion: 1\nVersion: 2\n"))), apt.Options{}, "Packages.gz:3"},
		"an index too long":        {set(index, string(gz(t, amd64Packages+strings.Repeat("\n", 4000)))), apt.Options{Limits: &apt.Limits{Total: 2000}}, "more than 2000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := tree(t)
			tc.change(f)
			h, err := apt.ReadHost(f, &tc.o)
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, h)
			require.NotEqual(t, fault.InternalServerError, fault.CodeOf(err))
		})
	}
}

// A machine whose archives are signed is read when the signature is good, and only what it covers is taken.
func TestReadHostVerifies(t *testing.T) {
	f := tree(t)
	name := lists + "d.org_debian_dists_stable_InRelease"
	key := newKey(t, "archive")
	plain, err := fs.ReadFile(f, name)
	require.NoError(t, err)
	f[name] = &fstest.MapFile{Data: inRelease(t, string(plain), key)}
	asked := map[string]bool{}
	h, err := apt.ReadHost(f, &apt.Options{Now: signedAt, Verify: func(s apt.Source) (apt.Verifier, error) {
		asked[s.URI] = true
		return apt.Keyring(clock(signedAt.Add(time.Hour)), ring(t, false, key))
	}})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"http://d.org/debian/": true, "http://gone.org/x/": true}, asked, "a source that is trusted is not asked for")
	require.Len(t, h.Archives[0].Release.Signers, 1)
	f[lists+"d.org_debian_dists_stable_main_binary-i386_Packages"].Data = []byte(strings.Replace(i386Packages, "2", "3", 1))
	_, err = apt.ReadHost(f, &apt.Options{Verify: func(s apt.Source) (apt.Verifier, error) {
		return apt.Keyring(clock(signedAt.Add(time.Hour)), ring(t, false, key))
	}})
	require.ErrorContains(t, err, "another SHA256", "a signature speaks for the indexes too")
}

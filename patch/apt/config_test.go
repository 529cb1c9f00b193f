package apt_test

import (
	"strings"
	"testing"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

func TestParseSources(t *testing.T) {
	got, err := apt.ParseSources("L", strings.NewReader(`# a comment
deb http://deb.debian.org/debian bookworm main contrib # behind

deb-src [arch=amd64,arm64 signed-by=/a.gpg,/b.gpg trusted=yes check-valid-until=no lang=de] http://x.org/y/ stable main
deb [arch+=i386 arch-=amd64] file:/srv/repo ./
deb cdrom:[Debian GNU/Linux 12 _Bookworm_]/ bookworm main
	deb	http://t.org/	s	c`), nil)
	require.NoError(t, err)
	want := []apt.Source{
		{File: "L", Line: 2, Type: "deb", URI: "http://deb.debian.org/debian/", Suite: "bookworm", Components: []string{"main", "contrib"}, CheckValidUntil: true},
		{File: "L", Line: 4, Type: "deb-src", URI: "http://x.org/y/", Suite: "stable", Components: []string{"main"},
			Architectures: []string{"amd64", "arm64"}, SignedBy: []string{"/a.gpg", "/b.gpg"}, Trusted: "yes"},
		{File: "L", Line: 5, Type: "deb", URI: "file:/srv/repo/", Suite: "./", ArchAdd: []string{"i386"}, ArchRemove: []string{"amd64"}, CheckValidUntil: true},
		{File: "L", Line: 6, Type: "deb", URI: "cdrom:[Debian GNU/Linux 12 _Bookworm_]/", Suite: "bookworm", Components: []string{"main"}, CheckValidUntil: true},
		{File: "L", Line: 7, Type: "deb", URI: "http://t.org/", Suite: "s", Components: []string{"c"}, CheckValidUntil: true},
	}
	require.Empty(t, cmp.Diff(want, got, cmpopts.EquateEmpty()))
	require.True(t, got[2].Flat())
	require.Equal(t, "file:/srv/repo/./", got[2].Base())
	require.Equal(t, "http://deb.debian.org/debian/dists/bookworm/", got[0].Base())
	for name, tc := range map[string]string{
		"another word":          "rpm http://x y z",
		"no suite":              "deb http://x",
		"no component":          "deb http://x suite",
		"a flat one with one":   "deb http://x ./ main",
		"no scheme":             "deb x suite main",
		"options without end":   "deb [arch=amd64 http://x suite main",
		"an option with no '='": "deb [arch] http://x suite main",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apt.ParseSources("L", strings.NewReader("\n"+tc+"\n"), nil)
			require.ErrorContains(t, err, "L:2")
			require.Equal(t, fault.Validation, fault.CodeOf(err))
		})
	}
	_, err = apt.ParseSources("L", strings.NewReader("# "+strings.Repeat("x", 1<<21)), nil)
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
}

func TestParseDeb822Sources(t *testing.T) {
	got, err := apt.ParseDeb822Sources("D", strings.NewReader(`# nothing but a comment

Types: deb deb-src
# a comment inside
URIs: http://deb.debian.org/debian https://b.org
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/a.gpg
Architectures: amd64, arm64

Enabled: no
Types: deb
URIs: http://x
Suites: y
Components: z

Types: deb
URIs: file:/srv
Suites: /
Trusted: yes
Check-Valid-Until: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
`), nil)
	require.NoError(t, err)
	require.Len(t, got, 9)
	require.Empty(t, cmp.Diff(apt.Source{File: "D", Line: 3, Type: "deb-src", URI: "https://b.org/", Suite: "bookworm-updates", Components: []string{"main", "contrib"},
		SignedBy: []string{"/usr/share/keyrings/a.gpg"}, Architectures: []string{"amd64", "arm64"}, CheckValidUntil: true}, got[7]))
	require.Empty(t, cmp.Diff(apt.Source{File: "D", Line: 18, Type: "deb", URI: "file:/srv/", Suite: "/", Trusted: "yes",
		SignedByKey: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"}, got[8], cmpopts.EquateEmpty()))
	require.Equal(t, "file:/srv/", got[8].Base())
	for name, tc := range map[string]struct{ text, want string }{
		"no types":           {"URIs: http://x\nSuites: y\nComponents: z\n", "D:1"},
		"a type that is new": {"Types: rpm\nURIs: http://x\nSuites: y\nComponents: z\n", "D:1"},
		"no component":       {"Types: deb\nURIs: http://x\nSuites: y\n", "D:3"},
		"no scheme":          {"Types: deb\nURIs: x\nSuites: y\nComponents: z\n", "D:2"},
		"a field twice":      {"Types: deb\nTypes: deb\n", "D:2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apt.ParseDeb822Sources("D", strings.NewReader(tc.text), nil)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestListFile(t *testing.T) {
	for uri, want := range map[string]string{
		"http://deb.debian.org/debian/dists/bookworm/InRelease": "deb.debian.org_debian_dists_bookworm_InRelease",
		"https://user:secret@h.org:8080/a_b/x":                  "h.org:8080_a%5fb_x",
		"file:/srv/my repo/./Packages":                          "_srv_my%20repo_._Packages",
		"file:///srv/Packages":                                  "_srv_Packages",
		"http://h/~u/[x]":                                       "h_%7eu_%5bx%5d",
	} {
		require.Equal(t, want, apt.ListFile(uri), uri)
	}
}

func TestParsePreferences(t *testing.T) {
	got, err := apt.ParsePreferences("P", strings.NewReader(`# comment
Explanation: why
Package: perl
Pin: version 5.32*
Pin-Priority: 1001

Package: gnome* /kde/ src:apt:any
Pin:	release   a=stable, v=12
Pin-Priority: -10

Package: *
Pin: ORIGIN ""
Pin-Priority: never

Package: nothing
Pin-Priority: 5

Package: *
Pin: version 1
Pin-Priority: 5
`), nil)
	require.NoError(t, err)
	want := []apt.Pin{
		{File: "P", Line: 3, Packages: []string{"perl"}, Type: "version", Data: "5.32*", Priority: 1001},
		{File: "P", Line: 7, Packages: []string{"gnome*", "/kde/", "src:apt:any"}, Type: "release", Data: "a=stable, v=12", Priority: -10},
		{File: "P", Line: 11, Type: "origin", Data: `""`, Priority: apt.NeverPin},
	}
	require.Empty(t, cmp.Diff(want, got, cmpopts.IgnoreUnexported(apt.Pin{})))
	for name, tc := range map[string]struct{ text, want string }{
		"no package":                     {"Pin: version 1\nPin-Priority: 5\n", "P:1"},
		"no priority":                    {"Package: a\nPin: version 1\n", "P:1"},
		"a priority of zero":             {"Package: a\nPin: version 1\nPin-Priority: 0\n", "P:3"},
		"a priority that is none":        {"Package: a\nPin: version 1\nPin-Priority: high\n", "P:3"},
		"a priority out of range":        {"Package: a\nPin: version 1\nPin-Priority: 40000\n", "P:3"},
		"never, for one package":         {"Package: a\nPin: release a=b\nPin-Priority: never\n", "P:3"},
		"an expression that is none":     {"Package: a\nPin: release a=/(/\nPin-Priority: 1\n", "P:2"},
		"a name of such an expression":   {"Package: /(/\nPin: release a=b\nPin-Priority: 1\n", "P:1"},
		"a line that is no preference":   {"Package: a\nPin\n", "P:2"},
		"a package in two fields of one": {"Package: a\nPackage: b\n", "P:2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apt.ParsePreferences("P", strings.NewReader(tc.text), nil)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

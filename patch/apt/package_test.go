package apt_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const packages = `Package: openssl
Source: openssl-src (3.0.15-1)
Version: 3.0.15-1~deb12u1
Architecture: amd64
Essential: yes
Section: utils
Priority: optional
Pre-Depends: libc6 (>= 2.34)
Depends: libssl3 (= 3.0.15-1~deb12u1), perl:any | perl-x, zlib1g (<< 2), a (>> 1), b (<= 3),, c
Description: a tool
 Package: not a field

version: 2
PACKAGE: lower
Architecture: all
Phased-Update-Percentage: 30

Package: other
Version: 1
Architecture: all
Phased-Update-Percentage: many
`

func readAll(file string, r io.Reader, keep func([]byte) bool) ([]apt.Package, error) {
	var all []apt.Package
	err := apt.ReadPackages(file, r, keep, func(p apt.Package) error {
		all = append(all, p)
		return nil
	}, nil)
	return all, err
}

func TestReadPackages(t *testing.T) {
	want := []apt.Package{
		{Name: "openssl", Arch: "amd64", Version: "3.0.15-1~deb12u1", Source: "openssl-src", SourceVersion: "3.0.15-1", Section: "utils",
			Priority: "optional", Phased: 100, Essential: true, Requires: []patch.Relation{{Name: "libc6", Flag: "GE", Version: "2.34"},
				{Name: "libssl3", Flag: "EQ", Version: "3.0.15-1~deb12u1"}, {Name: "zlib1g", Flag: "LT", Version: "2"},
				{Name: "a", Flag: "GT", Version: "1"}, {Name: "b", Flag: "LE", Version: "3"}, {Name: "c"}}},
		{Name: "lower", Arch: "all", Version: "2", Source: "lower", SourceVersion: "2", Phased: 30},
		{Name: "other", Arch: "all", Version: "1", Source: "other", SourceVersion: "1", Phased: 100},
	}
	got, err := readAll("P", strings.NewReader(packages), nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))
	got, err = readAll("P", strings.NewReader(strings.ReplaceAll(packages, "\n", "\r\n")), nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))
	got, err = readAll("P", strings.NewReader(packages), func(n []byte) bool { return string(n) == "lower" })
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want[1:2], got))
	stop := errors.New("stop")
	require.Equal(t, stop, apt.ReadPackages("P", strings.NewReader(packages), nil, func(apt.Package) error { return stop }, nil))
}

// What keep leaves out of a reading of everything is what a reading with keep gives.
func TestReadPackagesKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "cc", "d-e", "f+"}), 0, 12).Draw(t, "names")
		keep := rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "cc", "d-e", "f+"}), rapid.Bool()).Draw(t, "keep")
		var b strings.Builder
		var want []string
		for i, n := range names {
			head := "Package: " + n + "\nVersion: "
			if rapid.Bool().Draw(t, "odd") {
				head = "Filename: x\nPackage:   " + n + "  \nVersion: "
			}
			b.WriteString(head + strings.Repeat("1", i+1) + "\nArchitecture: all\n\n")
			if keep[n] {
				want = append(want, n+strings.Repeat("1", i+1))
			}
		}
		got, err := readAll("P", strings.NewReader(b.String()), func(n []byte) bool { return keep[string(n)] })
		require.NoError(t, err)
		var have []string
		for _, p := range got {
			have = append(have, p.Name+p.Version)
		}
		require.Equal(t, want, have)
	})
}

func TestReadPackagesRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no name":             {"Package: a\nVersion: 1\nArchitecture: all\n\nVersion: 1\n", "P:5"},
		"an empty name":       {"Package:\nVersion: 1\nArchitecture: all\n", "P:1"},
		"a name that is none": {"Package: a/b\nVersion: 1\nArchitecture: all\n", "P:1"},
		"no version":          {"Package: a\nArchitecture: all\n", "P:1"},
		"a version of two":    {"Package: a\nArchitecture: all\nVersion: 1 2\n", "P:3"},
		"no architecture":     {"Package: a\nVersion: 1\n", "P:1"},
		"two versions":        {"Package: a\nVersion: 1\nVersion: 2\nArchitecture: all\n", "P:3"},
		"no deb822":           {"Package: a\n<html>\n", "P:2"},
		"html":                {"<html>\n<body>\n", "P:1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readAll("P", strings.NewReader(tc.text), nil)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, fault.Validation, fault.CodeOf(err))
		})
	}
}

func TestReadStatus(t *testing.T) {
	all, err := apt.ReadStatus("status", strings.NewReader(`Package: a
Status: install ok installed
Architecture: amd64
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 1:2-3

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: never
Status: unknown ok not-installed
Architecture: all

Package: broken
Status: install reinstreq half-configured
Architecture: all
Version: 4
`), nil)
	require.NoError(t, err)
	type row struct {
		name             string
		installed, held  bool
		want, flag, stat string
	}
	var got []row
	for _, p := range all {
		got = append(got, row{p.Name, p.Installed(), p.Held(), p.Want, p.Flag, p.State})
	}
	require.Equal(t, []row{{"a", true, false, "install", "ok", "installed"}, {"held", true, true, "hold", "ok", "installed"},
		{"gone", false, false, "deinstall", "ok", "config-files"}, {"broken", true, false, "install", "reinstreq", "half-configured"}}, got)
	for name, tc := range map[string]struct{ text, want string }{
		"no status":             {"Package: a\nVersion: 1\nArchitecture: all\n", "status:1"},
		"a status of two words": {"Package: a\nStatus: install ok\n", "status:2"},
		"a state that is none":  {"Package: a\nStatus: install ok there\n", "status:2"},
		"installed, no version": {"Package: a\nStatus: install ok installed\nArchitecture: all\n", "status:1"},
		"cut off within a line": {"Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\nPackage: b\nSta", "status:7"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apt.ReadStatus("status", strings.NewReader(tc.text), nil)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

package fleetwright_test

// What a package costs its importer is part of its interface: deps.golden lists, for each package, the packages of other modules that importing it pulls
// in. TestDependencies fails when the list changes, so that no library slips in unseen.

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite deps.golden with what the packages pull today")

const golden = "deps.golden"

const goldenHead = `# The packages of other modules that each package of the root module pulls into a program that imports it (tests apart), on linux/amd64 without cgo.
# Packages that pull none are not listed. Made by: go test -run TestDependencies . -update
`

// weightless are packages that must pull nothing, whatever the golden says: everyone imports them.
var weightless = []string{"fault", "secret", "message", "schedule", "target", "store", "store/key", "store/record", "store/memstore", "transport",
	"transport/memtransport", "seal", "seal/localkeys", "blob", "blob/dirblob", "blob/memblob", "access", "audit", "lease", "feed"}

// neverShipped are modules that only tests may use; a suite may use the property-test library.
var neverShipped = []string{"github.com/stretchr/testify", "github.com/google/go-cmp", "go.uber.org/goleak", "pgregory.net/rapid"}

// goPackage is what the go command says of a package.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	ImportMap  map[string]string
	Module     *struct{ Path string }
}

// pulls returns for each package of the root module, by its path below it, the foreign packages that it pulls by module, from the output of go list -json -deps.
func pulls(list []goPackage) map[string]map[string][]string {
	byPath := map[string]goPackage{}
	for _, p := range list {
		byPath[p.ImportPath] = p
	}
	closure := map[string]map[string]bool{} // memo; the import graph has no cycle
	var visit func(name string) map[string]bool
	visit = func(name string) map[string]bool {
		if c, ok := closure[name]; ok {
			return c
		}
		c := map[string]bool{}
		closure[name] = c
		for _, im := range byPath[name].Imports {
			if m, ok := byPath[name].ImportMap[im]; ok {
				im = m
			}
			if p, ok := byPath[im]; ok && !p.Standard {
				c[im] = true
				maps.Copy(c, visit(im))
			}
		}
		return c
	}
	out := map[string]map[string][]string{}
	for _, p := range list {
		if p.Module == nil || p.Module.Path != module {
			continue
		}
		short := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if short == "" {
			short = "."
		}
		if r, _ := find(table, short); r.floor == hosts {
			continue // nobody imports a program
		}
		out[short] = map[string][]string{}
		for _, dep := range slices.Sorted(maps.Keys(visit(p.ImportPath))) {
			if m := byPath[dep].Module; m != nil && m.Path != module {
				out[short][m.Path] = append(out[short][m.Path], "."+strings.TrimPrefix(dep, m.Path))
			}
		}
	}
	return out
}

// render writes one block a package: its path, and a line for each module with the pulled packages below it.
func render(pulled map[string]map[string][]string) string {
	var b strings.Builder
	b.WriteString(goldenHead)
	for _, pkg := range slices.Sorted(maps.Keys(pulled)) {
		if len(pulled[pkg]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", pkg)
		for _, mod := range slices.Sorted(maps.Keys(pulled[pkg])) {
			fmt.Fprintf(&b, "\t%s: %s\n", mod, strings.Join(pulled[pkg][mod], " "))
		}
	}
	return b.String()
}

// compareGolden returns one sentence for each package whose pulled packages are not those of the golden.
func compareGolden(want, got string) []string {
	type dep struct{ mod, pkg string }
	blocks := func(text string) map[string][]dep {
		out := map[string][]dep{}
		pkg := ""
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\n")
			switch {
			case line == "", line[0] == '#':
			case line[0] == '\t':
				mod, pkgs, _ := strings.Cut(line[1:], ": ")
				for p := range strings.FieldsSeq(pkgs) {
					out[pkg] = append(out[pkg], dep{mod, mod + strings.TrimPrefix(p, ".")})
				}
			default:
				pkg = line
				out[pkg] = nil
			}
		}
		return out
	}
	w, g := blocks(want), blocks(got)
	names := maps.Clone(w)
	maps.Copy(names, g)
	// missing names what a has and b has not: a whole module by its path, else the package.
	missing := func(a, b []dep) []string {
		var out []string
		for _, d := range a {
			name := d.pkg
			if !slices.ContainsFunc(b, func(o dep) bool { return o.mod == d.mod }) {
				name = d.mod
			}
			if !slices.Contains(b, d) && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
		return out
	}
	var out []string
	for _, pkg := range slices.Sorted(maps.Keys(names)) {
		if grew := missing(g[pkg], w[pkg]); len(grew) > 0 {
			out = append(out, fmt.Sprintf("importing %s now also pulls %s: everyone who imports it pays for that", pkg, strings.Join(grew, ", ")))
		}
		if shrank := missing(w[pkg], g[pkg]); len(shrank) > 0 {
			out = append(out, fmt.Sprintf("importing %s no longer pulls %s", pkg, strings.Join(shrank, ", ")))
		}
	}
	return out
}

// heavy returns one sentence for each package that pulls what its kind must never pull.
func heavy(pulled map[string]map[string][]string) []string {
	var out []string
	for _, pkg := range slices.Sorted(maps.Keys(pulled)) {
		mods := slices.Sorted(maps.Keys(pulled[pkg]))
		r, _ := find(table, pkg)
		for _, mod := range mods {
			switch {
			case slices.Contains(weightless, pkg):
				out = append(out, fmt.Sprintf("%s pulls %s, and it must pull nothing: everyone imports it", pkg, mod))
			case mod == "pgregory.net/rapid" && r.role == suite:
			case slices.Contains(neverShipped, mod):
				out = append(out, fmt.Sprintf("%s pulls %s, which is for tests only", pkg, mod))
			}
		}
	}
	return out
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: there is no go command to list the dependencies with")
	}
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports,ImportMap,Module", "./...")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", &stderr)
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// TestDependencies holds what the packages pull against deps.golden and against the limits that no golden can lift.
func TestDependencies(t *testing.T) {
	pulled := pulls(listPackages(t))
	require.Contains(t, pulled, "fault")
	for _, s := range heavy(pulled) {
		t.Error(s)
	}
	got := render(pulled)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	diff := compareGolden(string(want), got)
	for _, s := range diff {
		t.Error(s)
	}
	if len(diff) > 0 {
		t.Log("if that is meant, accept it with: go test -run TestDependencies . -update; and give the reason in the commit and in CHANGELOG.md")
	}
}

// TestDependenciesBites shows the golden failing on a library that slipped in, directly or through another package.
func TestDependenciesBites(t *testing.T) {
	mod := func(p string) *struct{ Path string } { return &struct{ Path string }{p} }
	base := []goPackage{
		{ImportPath: "os", Standard: true},
		{ImportPath: "example.org/yaml", Module: mod("example.org/yaml"), Imports: []string{"os"}},
		{ImportPath: module + "/fault", Module: mod(module), Imports: []string{"os"}},
		{ImportPath: module + "/document", Module: mod(module), Imports: []string{"example.org/yaml", module + "/fault"}},
		{ImportPath: module + "/command", Module: mod(module), Imports: []string{module + "/document"}},
	}
	want := render(pulls(base))
	require.Equal(t, goldenHead+"\ncommand\n\texample.org/yaml: .\n\ndocument\n\texample.org/yaml: .\n", want)
	require.Empty(t, compareGolden(want, want))

	grown := append(slices.Clone(base),
		goPackage{ImportPath: "example.org/big/v2/deep", Module: mod("example.org/big/v2")},
		goPackage{ImportPath: module + "/extra", Module: mod(module), Imports: []string{"example.org/big/v2/deep"}})
	grown[4].Imports = []string{module + "/document", module + "/extra"}
	require.Equal(t, []string{
		"importing command now also pulls example.org/big/v2: everyone who imports it pays for that",
		"importing extra now also pulls example.org/big/v2: everyone who imports it pays for that",
	}, compareGolden(want, render(pulls(grown))))

	lighter := slices.Clone(base)
	lighter[3].Imports = nil
	require.Equal(t, []string{"importing command no longer pulls example.org/yaml", "importing document no longer pulls example.org/yaml"},
		compareGolden(want, render(pulls(lighter))))

	require.Equal(t, []string{
		"command pulls github.com/stretchr/testify, which is for tests only",
		"fault pulls example.org/yaml, and it must pull nothing: everyone imports it",
	}, heavy(map[string]map[string][]string{
		"fault":           {"example.org/yaml": {"."}},
		"command":         {"github.com/stretchr/testify": {"./require"}},
		"store/storetest": {"pgregory.net/rapid": {"."}},
	}))
}

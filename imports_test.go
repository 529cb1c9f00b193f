package fleetwright_test

// The floors of the house as data. An arrow only ever points down: TestImports reads every import of every file, tests and all platforms
// included, and names the arrow that does not. docs/floors.md draws the same picture for people.

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/fleetwright/fleetwright"

// floor is the height of a package. Packages of one floor do not import each other, but for what a row of the table allows.
type floor int

const (
	support  floor = iota // internal/…: private helpers
	words                 // what everyone may import
	models                // pure: values in, values out
	seams                 // contracts, with their drivers and suites as guests
	duties                // built once, on the store
	services              // control plane and node side: one capability each
	faces                 // compose services
	hosts                 // programs; nothing may import them
)

var floorNames = map[floor]string{support: "private support", words: "floor 1, words", models: "floor 2, pure models", seams: "floor 3, seams",
	duties: "floor 3, shared duties", services: "floor 4, services and node side", faces: "floor 5, faces", hosts: "floor 6, hosts"}

// role is what a package is to others, beside its floor.
type role int

const (
	plain  role = iota
	driver      // implements a seam: only faces, hosts, suites and tests choose one
	suite       // testing aid: only tests, other suites and hosts import it
)

// row is what the table says of a package.
type row struct {
	floor floor
	role  role
	also  []string // packages of the same floor that it may import
	// tests are packages that its tests may import beside all that the package itself may.
	tests []string
	// guests are packages of any floor that its tests may import: for drivers in modules of their own, whose tests are the one place where services meet them.
	guests []string
}

// table has every package of the repository by its path below the module, "." being the root. A path that ends in /* stands for one more element. Packages that are
// not written yet may stand here; a package that stands not here fails the test.
var table = map[string]row{
	"internal/startstop": {floor: support},
	"internal/testenv":   {floor: support, role: suite},
	"internal/powercut":  {floor: support, role: suite},

	"fault":   {floor: words},
	"secret":  {floor: words, also: []string{"fault"}},
	"message": {floor: words, also: []string{"fault", "secret"}},
	"observe": {floor: words, also: []string{"fault"}},

	"document":       {floor: models},
	"schedule":       {floor: models},
	"target":         {floor: models},
	"patch":          {floor: models},
	"patch/apt":      {floor: models, also: []string{"patch"}},
	"patch/rpm":      {floor: models, also: []string{"patch"}},
	"inventory":      {floor: models},
	"inventory/sbom": {floor: models, also: []string{"inventory"}},

	"store":           {floor: seams},
	"store/key":       {floor: seams, also: []string{"store"}},
	"store/record":    {floor: seams, also: []string{"store"}, tests: []string{"store/key"}},
	"store/paging":    {floor: seams},
	"store/driver":    {floor: seams, also: []string{"store"}},
	"store/observed":  {floor: seams, also: []string{"store"}},
	"store/memstore":  {floor: seams, role: driver, also: []string{"store", "store/driver"}, tests: []string{"store/key", "store/record"}},
	"store/boltstore": {floor: seams, role: driver, also: []string{"store", "store/driver"}, tests: []string{"store/key", "store/record"}},
	"store/pgstore": {floor: seams, role: driver, also: []string{"store", "store/driver"}, tests: []string{"store/key", "store/record"},
		guests: []string{".", "access", "agent", "action", "action/*", "audit", "blob/*", "command", "lease", "library", "node", "parameter", "parameter/parametertest", "seal", "seal/localkeys", "transport", "transport/*"}},
	"store/pgstore/pgtest": {floor: seams, role: suite, also: []string{"store/pgstore"}},
	"store/storetest":      {floor: seams, role: suite, also: []string{"store", "store/driver", "store/memstore"}},

	"transport":               {floor: seams},
	"transport/memtransport":  {floor: seams, role: driver, also: []string{"transport"}},
	"transport/httptransport": {floor: seams, role: driver, also: []string{"transport"}},
	"transport/natstransport": {floor: seams, role: driver, also: []string{"transport"}, tests: []string{"transport/natstransport/broker"},
		guests: []string{".", "access", "action", "action/*", "agent", "blob/*", "command", "fleettest", "node", "seal/localkeys", "store/*"}},
	"transport/natstransport/broker": {floor: seams, role: driver, also: []string{"transport/natstransport"}},
	"transport/transporttest":        {floor: seams, role: suite, also: []string{"transport", "transport/memtransport"}},

	"seal":           {floor: seams},
	"seal/localkeys": {floor: seams, role: driver, also: []string{"seal"}},
	"seal/tinkkms":   {floor: seams, role: driver, also: []string{"seal"}},
	"seal/sealtest":  {floor: seams, role: suite, also: []string{"seal"}},

	"blob":           {floor: seams},
	"blob/dirblob":   {floor: seams, role: driver, also: []string{"blob"}},
	"blob/memblob":   {floor: seams, role: driver, also: []string{"blob"}},
	"blob/storeblob": {floor: seams, role: driver, also: []string{"blob", "store", "store/key", "store/record"}},
	"blob/blobtest":  {floor: seams, role: suite, also: []string{"blob", "blob/memblob"}},

	"access":     {floor: seams},
	"access/iam": {floor: seams, also: []string{"access"}},

	"audit": {floor: duties},
	"lease": {floor: duties},
	"feed":  {floor: duties},

	"library":                       {floor: services},
	"node":                          {floor: services},
	"command":                       {floor: services},
	"parameter":                     {floor: services},
	"parameter/parametertest":       {floor: services, role: suite, also: []string{"parameter"}},
	"automation":                    {floor: services},
	"automation/internal/realworld": {floor: services, role: suite, also: []string{"automation", "automation/*"}},
	"automation/script":             {floor: services, also: []string{"automation"}},
	"automation/script/scripttest":  {floor: services, role: suite, also: []string{"automation", "automation/automationtest", "automation/script"}},
	"automation/*":                  {floor: services, also: []string{"automation"}},
	"automation/automationtest":     {floor: services, role: suite, also: []string{"automation"}},
	"patch/patchstore":              {floor: services},
	"inventory/fleet":               {floor: services},
	"compliance":                    {floor: services},
	"association":                   {floor: services},
	"maintenance":                   {floor: services},
	"session":                       {floor: services},
	"opsitem":                       {floor: services},
	"appconfig":                     {floor: services},

	"action":               {floor: services},
	"action/inventory":     {floor: services, also: []string{"action", "inventory/gather"}},
	"action/download":      {floor: services, also: []string{"action"}},
	"action/patchbaseline": {floor: services, also: []string{"action", "action/download"}},
	"action/*":             {floor: services, also: []string{"action"}},
	"inventory/gather":     {floor: services, also: []string{"action"}},
	"agent":                {floor: services, also: []string{"action"}, tests: []string{"action/*"}},

	".":               {floor: faces, tests: []string{"fleettest", "fleettest/sim", "ssmops"}},
	"fleettest":       {floor: faces, role: suite, also: []string{"."}},
	"fleettest/sim":   {floor: faces, role: suite, also: []string{".", "fleettest"}},
	"ssmops":          {floor: faces, also: []string{"."}, tests: []string{"fleettest"}},
	"console":         {floor: faces, also: []string{".", "ssmops"}, tests: []string{"fleettest"}},
	"aws":             {floor: faces, also: []string{".", "ssmops"}},
	"aws/kms/kmstest": {floor: seams, role: suite, also: []string{"aws/kms"}},
	"aws/kms":         {floor: seams, role: driver, also: []string{"seal"}},
	"aws/*":           {floor: faces, also: []string{".", "ssmops", "aws"}, tests: []string{"fleettest"}},

	"telemetry/*": {floor: faces, also: []string{"."}, tests: []string{"fleettest"}},

	"examples/*": {floor: hosts},
	"tools/*":    {floor: hosts},
}

// edge is one import: who imports whom, and where.
type edge struct {
	from, to string // paths below the module; "." is the root
	test     bool   // in a _test.go file
	at       string // file:line
}

// find returns the row for a package: its own, else that of the pattern for its parent. A folder internal below a package is a part of that package.
func find(table map[string]row, pkg string) (row, bool) {
	if r, ok := table[pkg]; ok {
		return r, true
	}
	if owner, _, ok := strings.Cut(pkg, "/internal/"); ok {
		r, ok := find(table, owner)
		r.role, r.also = plain, append([]string{owner}, r.also...)
		return r, ok
	}
	r, ok := table[path.Dir(pkg)+"/*"]
	return r, ok
}

// inside reports whether the edge ends in a folder internal of the package it comes from, or of one above it.
func inside(e edge) bool {
	owner, _, ok := strings.Cut(e.to, "/internal/")
	return ok && strings.HasPrefix(e.from+"/", owner+"/")
}

func listed(list []string, pkg string) bool {
	return slices.Contains(list, pkg) || slices.Contains(list, path.Dir(pkg)+"/*")
}

// judge returns one sentence for every package that the table lacks and for every arrow that does not point down, sorted.
func judge(table map[string]row, packages []string, edges []edge) []string {
	var out []string
	for _, p := range packages {
		if _, ok := find(table, p); !ok {
			out = append(out, fmt.Sprintf("package %s stands on no floor: give it a row in the table of imports_test.go", p))
		}
	}
	for _, e := range edges {
		from, ok := find(table, e.from)
		to, known := find(table, e.to)
		if !ok || !known || e.from == e.to {
			continue // reported above, or an external test importing its own package
		}
		allowed := listed(from.also, e.to) || e.test && (listed(from.tests, e.to) || listed(from.guests, e.to))
		why := ""
		switch {
		case from.floor == hosts && strings.HasPrefix(e.to+"/", "internal/"):
			why = "a host is what a user would write, and users cannot import internal packages"
		case from.floor == hosts && strings.HasPrefix(e.to, e.from+"/"), to.role == suite && e.to == "internal/testenv" && e.test:
		case to.floor == hosts:
			why = "programs are imported by nobody; move what is shared down to the package that owns the idea"
		case allowed, inside(e): // the go command sees to it that only the owner imports what lies in its folder internal
		case to.role == suite && !e.test && from.role != suite && from.floor != hosts:
			why = "a suite or testing aid is for tests, other suites and hosts; production code must not carry it"
		case to.role == suite && e.test && to.floor <= from.floor: // the tests of a driver or service may use it
		case to.role == driver && !e.test && from.role != suite && from.floor < faces:
			why = "a driver is chosen by faces, hosts and tests; take the seam's interface instead and let the host hand the driver in"
		case to.role == driver && e.test && to.floor <= from.floor: // tests may choose drivers
		case from.floor == services && to.floor == services:
			why = "services and node-side packages never import each other; declare the small interface that you need over types of floors 1 to 3 and let the root connect them"
		case to.floor == from.floor:
			why = "packages of one floor do not import each other, but for the exceptions named in the table"
		case to.floor > from.floor:
			why = "an arrow only ever points down; move the shared type to a lower floor, or declare an interface where it is needed"
		}
		if why != "" {
			out = append(out, fmt.Sprintf("%s: %s (%s) imports %s (%s): %s", e.at, e.from, floorNames[from.floor], e.to, floorNames[to.floor], why))
		}
	}
	slices.Sort(out)
	return out
}

// forbidden are standard packages that a floor must do without: words and models do no I/O, and only programs may use the
// process's own flags and default multiplexers.
var forbidden = map[string]struct {
	upTo floor
	why  string
}{
	"os":           {models, "pure packages do no I/O: values in, values out"},
	"os/exec":      {models, "pure packages do no I/O: values in, values out"},
	"net":          {models, "pure packages do no I/O: values in, values out"},
	"net/http":     {models, "pure packages do no I/O: values in, values out"},
	"database/sql": {models, "pure packages do no I/O: values in, values out"},
	"log":          {faces, "there is no global logger; take a *slog.Logger from the host"},
	"flag":         {faces, "flags are a program's business; take an options struct"},
	"expvar":       {faces, "it registers globally; give the host an Observer hook"},
}

// stdlib returns one sentence for every import of a standard package that the floor must do without.
func stdlib(table map[string]row, edges []edge) []string {
	var out []string
	for _, e := range edges {
		f, bad := forbidden[e.to]
		from, ok := find(table, e.from)
		if ok && bad && !e.test && from.role != suite && from.floor >= words && from.floor <= f.upTo {
			out = append(out, fmt.Sprintf("%s: %s (%s) imports %s: %s", e.at, e.from, floorNames[from.floor], e.to, f.why))
		}
	}
	slices.Sort(out)
	return out
}

// sources calls fn for every Go file of the repository, nested modules included, testdata and hidden folders not.
func sources(t *testing.T, fn func(file string)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != "." && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") {
			fn(filepath.ToSlash(p))
		}
		return nil
	}))
}

// readImports returns all packages, the edges among them, and the edges to the standard library.
func readImports(t *testing.T) (packages []string, own, std []edge) {
	t.Helper()
	seen := map[string]bool{}
	fset := token.NewFileSet()
	sources(t, func(file string) {
		f, err := parser.ParseFile(fset, file, nil, parser.ImportsOnly)
		if err != nil {
			if os.IsNotExist(err) {
				return // removed while we looked
			}
			require.NoError(t, err)
		}
		pkg := path.Dir(file)
		seen[pkg] = true
		for _, im := range f.Imports {
			name, err := strconv.Unquote(im.Path.Value)
			require.NoError(t, err)
			e := edge{from: pkg, to: name, test: strings.HasSuffix(file, "_test.go"), at: fset.Position(im.Pos()).String()}
			first, _, _ := strings.Cut(name, "/")
			switch {
			case name == module:
				e.to = "."
				own = append(own, e)
			case strings.HasPrefix(name, module+"/"):
				e.to = strings.TrimPrefix(name, module+"/")
				own = append(own, e)
			case !strings.Contains(first, "."):
				std = append(std, e)
			}
		}
	})
	return slices.Sorted(maps.Keys(seen)), own, std
}

// TestImports holds the real imports against the table.
func TestImports(t *testing.T) {
	packages, own, std := readImports(t)
	require.Contains(t, packages, "fault", "the walk found no package fault; it must run in the root of the repository")
	for _, s := range append(judge(table, packages, own), stdlib(table, std)...) {
		t.Error(s)
	}
}

// TestImportsBites shows that each rule fails on a planted bad arrow, and what it must let pass.
func TestImportsBites(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to string
		test     bool
		want     string // part of the sentence; "" for an arrow that is right
	}{
		{"down", "command", "document", false, ""},
		{"far down", "examples/agent", "fault", false, ""},
		{"up", "document", "store", false, "an arrow only ever points down"},
		{"up, in a test", "document", "command", true, "an arrow only ever points down"},
		{"a word looks at a service", "fault", "library", false, "an arrow only ever points down"},
		{"services do not know each other", "command", "library", false, "services and node-side packages never import each other"},
		{"not in tests either", "command", "library", true, "services and node-side packages never import each other"},
		{"the node's side knows no service", "agent", "command", false, "services and node-side packages never import each other"},
		{"a service knows no action", "command", "action", false, "services and node-side packages never import each other"},
		{"named exception", "agent", "action", false, ""},
		{"named exception by pattern", "action/shell", "action", false, ""},
		{"built-ins do not know each other", "action/shell", "action/download", false, "services and node-side packages never import each other"},
		{"the agent does not bring the built-ins", "agent", "action/shell", false, "services and node-side packages never import each other"},
		{"its tests may", "agent", "action/shell", true, ""},
		{"a word knows a word by exception", "message", "secret", false, ""},
		{"one floor", "document", "target", false, "packages of one floor do not import each other"},
		{"one floor, other direction", "secret", "message", false, "packages of one floor do not import each other"},
		{"a seam knows no guest", "store", "store/memstore", false, "a driver is chosen by faces"},
		{"a guest knows its seam", "store/memstore", "store", false, ""},
		{"a guest knows no other seam", "store/memstore", "transport", false, "packages of one floor do not import each other"},
		{"duties stand on seams", "audit", "store/record", false, ""},
		{"duties do not know each other", "audit", "lease", false, "packages of one floor do not import each other"},
		{"a seam knows no duty", "store", "audit", false, "an arrow only ever points down"},
		{"a service chooses no driver", "library", "store/boltstore", false, "a driver is chosen by faces"},
		{"its tests do", "library", "store/memstore", true, ""},
		{"the root does", ".", "store/boltstore", false, ""},
		{"a driver's test runs the suite", "store/boltstore", "store/storetest", true, ""},
		{"a driver does not carry the suite", "store/boltstore", "store/storetest", false, "a suite or testing aid is for tests"},
		{"a face does not carry the suite", "ssmops", "fleettest", false, "a suite or testing aid is for tests"},
		{"fleettest knows the root", "fleettest", ".", false, ""},
		{"the root does not know fleettest", ".", "fleettest", false, "a suite or testing aid is for tests"},
		{"the root's tests may", ".", "fleettest", true, ""},
		{"a service's tests do not know the fleet", "command", "fleettest", true, "an arrow only ever points down"},
		{"an example knows nothing internal", "examples/agent", "internal/startstop", false, "users cannot import internal packages"},
		{"an example may use the test fleet", "examples/agent", "fleettest", false, ""},
		{"an example has parts of its own", "examples/agent", "examples/agent/flags", false, ""},
		{"nobody imports a program", ".", "examples/agent", false, "programs are imported by nobody"},
		{"programs do not import each other", "examples/agent", "examples/fleetctl", false, "programs are imported by nobody"},
		{"a private part belongs to its owner", "transport/memtransport", "transport/internal/end", false, ""},
		{"and stands on the owner's floor", "transport/internal/end", "seal", false, "packages of one floor do not import each other"},
		{"support may be used", "node", "internal/startstop", false, ""},
		{"support knows no service", "internal/startstop", "node", false, "an arrow only ever points down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := edge{from: c.from, to: c.to, test: c.test, at: "x.go:1"}
			got := judge(table, nil, []edge{e})
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], c.want)
			require.Contains(t, got[0], "x.go:1: "+c.from+" (")
			require.Contains(t, got[0], "imports "+c.to+" (")
		})
	}
	t.Run("a package without a row", func(t *testing.T) {
		got := judge(table, []string{"fault", "util"}, nil)
		require.Equal(t, []string{"package util stands on no floor: give it a row in the table of imports_test.go"}, got)
	})
	t.Run("standard packages", func(t *testing.T) {
		at := func(from, to string, test bool) []string { return stdlib(table, []edge{{from, to, test, "x.go:1"}}) }
		require.Len(t, at("document", "os", false), 1)
		require.Empty(t, at("document", "os", true))
		require.Empty(t, at("agent", "os", false))
		require.Len(t, at("command", "log", false), 1)
		require.Empty(t, at("examples/agent", "log", false))
		require.Empty(t, at("store/storetest", "flag", false))
	})
}

// TestImportsTable keeps the table itself honest: what it allows must exist in it, and no exception may point up.
func TestImportsTable(t *testing.T) {
	for _, pkg := range slices.Sorted(maps.Keys(table)) {
		r := table[pkg]
		for _, to := range append(slices.Clone(r.also), r.tests...) {
			other, ok := table[to]
			require.True(t, ok, "the row of %s names %s, which has no row", pkg, to)
			require.LessOrEqual(t, cmp.Compare(other.floor, r.floor), 0, "the row of %s lets it import %s, which stands higher", pkg, to)
		}
	}
}

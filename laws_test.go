package fleetwright_test

// What no reviewer should have to look for: nothing ambient (no init function, no global logger or multiplexer, no clock but the host's), and no
// key, token or password that everybody has (rule R-18).

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ambient maps a package and a name to why production code must not call or use it.
var ambient = map[string]string{
	"time.Now":              "take Now from the host; a constructor may default to the function time.Now, but nothing calls it directly",
	"time.Since":            "it reads the process's clock; subtract from the host's Now",
	"time.Until":            "it reads the process's clock; subtract from the host's Now",
	"slog.Default":          "take the host's *slog.Logger; without one, use slog.New(slog.DiscardHandler)",
	"slog.SetDefault":       "the global logger belongs to the program",
	"http.DefaultServeMux":  "it is shared by the whole process; make a mux",
	"http.Handle":           "it writes to the process's shared mux; make a mux",
	"http.HandleFunc":       "it writes to the process's shared mux; make a mux",
	"http.DefaultClient":    "it has no timeout and belongs to the whole process; take or make a client",
	"http.DefaultTransport": "it belongs to the whole process; clone it into a transport of your own",
	"os.Exit":               "only a program ends the process; return an error",
}

// clocks says where a call of the clock is right: what measures or makes deadlines outside of engines and services. Drivers, the node's own
// side and suites live in real time; services, duties, models and words do not.
func mayReadClock(r row) bool {
	return r.role != plain || r.floor == support || r.floor == hosts
}

// nodeSide are the plain packages that live on a real machine and in real time.
var nodeSide = []string{"action", "agent", "store", "transport"}

// laws returns one sentence for each breach in a file.
func laws(table map[string]row, fset *token.FileSet, file string, f *ast.File) []string {
	pkg := path.Dir(file)
	r, ok := find(table, pkg)
	if !ok || r.floor == hosts || r.role == suite || strings.HasSuffix(file, "_test.go") {
		return nil
	}
	names := map[string]string{} // local name -> import path
	for _, im := range f.Imports {
		p, _ := strconv.Unquote(im.Path.Value)
		name := path.Base(p)
		if im.Name != nil {
			name = im.Name.Name
		}
		names[name] = p
	}
	var out []string
	report := func(n ast.Node, format string, args ...any) {
		out = append(out, fset.Position(n.Pos()).String()+": "+fmt.Sprintf(format, args...))
	}
	called := map[ast.Node]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				report(n, "%s has a function init: nothing registers itself; the host composes", pkg)
			}
		case *ast.CallExpr:
			called[n.Fun] = true
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			imported := names[x.Name]
			name := path.Base(imported) + "." + n.Sel.Name
			why, bad := ambient[name]
			if !bad || strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
				return true
			}
			if imported == "time" && (!called[n] || mayReadClock(r) || slices.Contains(nodeSide, strings.SplitN(pkg, "/", 2)[0])) {
				return true
			}
			report(n, "%s uses %s: %s", pkg, name, why)
		}
		return true
	})
	return out
}

// whole skips what only reads the project's files where the race detector is to find races.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not under -short: it reads every file of the project")
	}
}

// TestNothingAmbient reads all production code for what the process shares.
func TestNothingAmbient(t *testing.T) {
	whole(t)
	fset := token.NewFileSet()
	sources(t, func(file string) {
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Skipf("SKIPPED: %s does not parse: %v", file, err)
		}
		for _, s := range laws(table, fset, file, f) {
			t.Error(s)
		}
	})
}

// TestNothingAmbientBites plants each breach once.
func TestNothingAmbientBites(t *testing.T) {
	for _, c := range []struct{ file, body, want string }{
		{"command/x.go", `import "time"; var now = time.Now`, ""},
		{"command/x.go", `import "time"; func f() { _ = time.Now() }`, "time.Now"},
		{"command/x.go", `import t "time"; func f() { _ = t.Since(t.Time{}) }`, "time.Since"},
		{"command/x_test.go", `import "time"; func f() { _ = time.Now() }`, ""},
		{"transport/httptransport/x.go", `import "time"; func f() { _ = time.Now() }`, ""},
		{"agent/x.go", `import "time"; func f() { _ = time.Now() }`, ""},
		{"agent/x.go", `import "os"; func f() { os.Exit(1) }`, "os.Exit"},
		{"command/x.go", `func init() {}`, "function init"},
		{"command/x.go", `type t struct{}; func (t) init() {}`, ""},
		{"library/x.go", `import "log/slog"; var l = slog.Default()`, "slog.Default"},
		{"library/x.go", `import "example.org/slog"; var l = slog.Default()`, ""},
		{".", `import "net/http"; var c = http.DefaultClient`, "http.DefaultClient"},
		{"examples/agent/x.go", `import "os"; func main() { os.Exit(1) }`, ""},
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, c.file, "package p; "+c.body, parser.SkipObjectResolution)
		require.NoError(t, err)
		got := laws(table, fset, c.file, f)
		if c.want == "" {
			require.Empty(t, got, c.body)
		} else {
			require.Len(t, got, 1, c.body)
			require.Contains(t, got[0], c.want)
		}
	}
}

// secretive are the packages in which what is compared may be a secret or prove something: what a stranger sends is compared there in a time that tells him nothing (rule R-15).
var secretive = []string{"message", "node", "secret", "seal", "seal/localkeys", "store/record", "transport/httptransport", "transport/natstransport"}

var secretName = regexp.MustCompile(`(?i)(code|hash|hmac|mac|passphrase|password|proof|secret|sig|signature|token)s?$`)

// plainCompares returns one sentence for each comparison of what may be a secret that ends at the first difference.
func plainCompares(fset *token.FileSet, file string, f *ast.File) (out []string) {
	if !slices.Contains(secretive, path.Dir(file)) || strings.HasSuffix(file, "_test.go") {
		return nil
	}
	named := func(e ast.Expr) bool {
		name := ""
		c, called := e.(*ast.CallExpr)
		if called {
			e = c.Fun
		}
		switch e := e.(type) {
		case *ast.Ident:
			name = e.Name
		case *ast.SelectorExpr:
			name = e.Sel.Name
		}
		if strings.HasPrefix(name, "len") || name == "code" && !called || strings.HasSuffix(name, "FaultCode") || strings.HasSuffix(name, "StatusCode") {
			return false // lengths, and codes of errors, are no secrets
		}
		return secretName.MatchString(name)
	}
	constant := func(e ast.Expr) bool {
		_, literal := e.(*ast.BasicLit)
		id, ok := e.(*ast.Ident)
		return literal || ok && id.Name == "nil"
	}
	check := func(n ast.Node, a, b ast.Expr) {
		if (named(a) || named(b)) && !constant(a) && !constant(b) {
			out = append(out, fset.Position(n.Pos()).String()+": this comparison ends at the first difference, and so tells how much was right: use crypto/subtle, hmac.Equal or secret.Value.Equal")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				check(n, n.X, n.Y)
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 2 {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "bytes" && (sel.Sel.Name == "Equal" || sel.Sel.Name == "Compare") {
					check(n, n.Args[0], n.Args[1])
				}
			}
		}
		return true
	})
	return out
}

func TestR15_SecretsAreComparedInConstantTime(t *testing.T) {
	whole(t)
	fset := token.NewFileSet()
	sources(t, func(file string) {
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return // go vet says so
		}
		for _, s := range plainCompares(fset, file, f) {
			t.Error(s)
		}
	})
	for _, c := range []struct {
		file, body string
		want       int
	}{
		{"node/x.go", `import "bytes"; func f(a, hash []byte) bool { return bytes.Equal(a, hash) }`, 1},
		{"node/x.go", `func f(a struct{ Token string }, b string) bool { return a.Token != b }`, 1},
		{"node/x.go", `func f(a struct{ Token string }) bool { return a.Token == "" }`, 0},
		{"node/x.go", `import "bytes"; func f(a interface{ code() []byte }, b []byte) bool { return bytes.Equal(a.code(), b) }`, 1},
		{"node/x_test.go", `func f(token, b string) bool { return token == b }`, 0},
		{"command/x.go", `func f(token, b string) bool { return token == b }`, 0},
	} {
		f, err := parser.ParseFile(fset, c.file, "package p; "+c.body, parser.SkipObjectResolution)
		require.NoError(t, err)
		require.Len(t, plainCompares(fset, c.file, f), c.want, c.body)
	}
}

// TestBenchmarksDoNotNest: testing.Benchmark within a benchmark waits for ever, and no timeout of go test ends it.
func TestBenchmarksDoNotNest(t *testing.T) {
	whole(t)
	fset := token.NewFileSet()
	sources(t, func(file string) {
		if !strings.HasSuffix(file, "_test.go") {
			return
		}
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return // go vet says so
		}
		for _, s := range nested(fset, f) {
			t.Error(s)
		}
	})
	f, err := parser.ParseFile(fset, "x_test.go", "package p; func BenchmarkX(b *testing.B) { testing.Benchmark(nil) }; func TestX(t *testing.T) { testing.Benchmark(nil) }", 0)
	require.NoError(t, err)
	require.Len(t, nested(fset, f), 1)
}

func nested(fset *token.FileSet, f *ast.File) (out []string) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(fn.Name.Name, "Benchmark") {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Benchmark" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "testing" {
					out = append(out, fset.Position(n.Pos()).String()+": testing.Benchmark within "+fn.Name.Name+" waits for ever: measure with b.Elapsed and a loop of b.N")
				}
			}
			return true
		})
	}
	return out
}

var (
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}`)
	awsKey     = regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`)
	// A name that ends in password, token or the like, given a literal of at least six characters.
	assigned = regexp.MustCompile(`(?i)\b[a-z_]*(password|passwd|passphrase|token|api_?key|secret|secret_?key)\b["']?\s*(:=|=|:)\s*["']([^"'\s{}<>$%/]{6,})["']`)
	flagged  = regexp.MustCompile(`(?i)flag\.String(Var)?\([^"\n]*"[a-z-]*(password|token|secret|api-?key)",\s*"([^"]+)"`)
)

// shippedSecrets returns one sentence for each key, token or password that a file ships. Tests and examples of documentation may have made-up ones, but no private keys.
func shippedSecrets(file, text string) []string {
	var out []string
	at := func(loc []int) string { return fmt.Sprintf("%s:%d", file, 1+strings.Count(text[:loc[0]], "\n")) }
	for _, loc := range privateKey.FindAllStringIndex(text, -1) {
		out = append(out, at(loc)+": a private key that everybody has protects nobody: make it at run time")
	}
	for _, loc := range awsKey.FindAllStringIndex(text, -1) {
		if !strings.HasSuffix(text[loc[0]:loc[1]], "EXAMPLE") {
			out = append(out, at(loc)+": this looks like an AWS access key: revoke it, and remove it from history")
		}
	}
	if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, ".md") || strings.Contains(file, "testdata/") {
		return out
	}
	for _, re := range []*regexp.Regexp{assigned, flagged} {
		for _, loc := range re.FindAllStringIndex(text, -1) {
			out = append(out, at(loc)+": a default password, token or key: refuse to run without one from the operator, or make a random one")
		}
	}
	return out
}

// TestNoDefaultSecrets walks every text file of the repository.
func TestNoDefaultSecrets(t *testing.T) {
	whole(t)
	require.NoError(t, filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return nil // removed while we looked
		}
		for _, s := range shippedSecrets(filepath.ToSlash(p), string(b)) {
			t.Error(s)
		}
		return nil
	}))
}

// TestNoDefaultSecretsBites plants each kind once. The samples are put together here so that this file has none.
func TestNoDefaultSecretsBites(t *testing.T) {
	for _, c := range []struct {
		file, text string
		want       int
	}{
		{"a.pem", "-----BEGIN EC PRIVATE " + "KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY\n", 1},
		{"a_test.go", "-----BEGIN PRIVATE " + "KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY\n", 1},
		{"a.go", "strings.Contains(s, \"-----BEGIN PRIVATE " + "KEY-----\")", 0},
		{"a.md", "AKIA" + "ABCDEFGHIJKLMNOP", 1},
		{"a.md", "AKIA" + "IOSFODNN7EXAMPLE", 0},
		{"a.go", "adminPassword := " + `"hunter2hunter"`, 1},
		{"a.yaml", "token" + `: "s3cr3t-value"`, 1},
		{"a.go", `fs.Parse(); flag.String("` + `token", "letmein", "bearer token")`, 1},
		{"a.go", `flag.String("token", "", "bearer token")`, 0},
		{"a.go", `token := os.Getenv("FLEETWRIGHT_TOKEN")`, 0},
		{"a.go", `password: "{{ password }}"`, 0},
	} {
		require.Len(t, shippedSecrets(c.file, c.text), c.want, "%s: %s", c.file, c.text)
	}
}

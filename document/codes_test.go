package document

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// codesPage is docs/codes.md.
func codesPage() string {
	var b strings.Builder
	b.WriteString("# What the checker says\n\nEvery finding of package `document` has one of these codes. *Error*: AWS refuses the document, or it cannot run, or would not do what it says. " +
		"*Warning*: it runs, and may hurt somebody. *Advice*: it runs, and could be clearer. Where *fix* says yes, a finding has a mechanical fix in most places, which `ssmlint -fix` applies; " +
		"everything else of the text, comments included, stays byte for byte.\n\nLetters and numbers in parentheses (A5, D4, I11) name rules of AWS as the doc comments cite them. " +
		"This page is generated from `document.Codes` (`FLEETWRIGHT_UPDATE=1 go test -run TestCodesPage ./document`).\n")
	group := ""
	for _, c := range Codes() {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "\n## %s\n\n| code | severity | fix | what is wrong |\n|---|---|---|---|\n", group)
		}
		var sev []string
		for _, s := range c.Severities {
			sev = append(sev, s.String())
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Code, strings.Join(sev, ", "), map[bool]string{true: "yes"}[c.Fix], c.About)
	}
	return b.String()
}

// TestCodesPage: the table in docs is that of the package.
func TestCodesPage(t *testing.T) {
	const file = "../docs/codes.md"
	if os.Getenv("FLEETWRIGHT_UPDATE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(codesPage()), 0o644))
	}
	have, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, codesPage(), string(have), "docs/codes.md is stale: FLEETWRIGHT_UPDATE=1 go test -run TestCodesPage ./document")
}

// TestCodesAreAll: every code that the source of the package can give is in the table, and the table has no other.
func TestCodesAreAll(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	form, told := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`), map[string]bool{}
	note := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && form.MatchString(s) {
				told[s] = true
			}
		}
	}
	place := map[string]int{"at": 2, "key": 2, "param": 1, "unknownKey": 2, "unknownType": 1, "refuse": 0}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "codes.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(k.Name, "code") {
					note(n.Value)
				}
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.SelectorExpr:
					name = f.Sel.Name
				case *ast.Ident:
					name = f.Name
				}
				if i, ok := place[name]; ok && i < len(n.Args) {
					note(n.Args[i])
				}
				if name == "fail" && len(n.Args) > 2 {
					note(n.Args[1])
				}
			}
			return true
		})
	}
	listed := map[string]bool{}
	for _, c := range Codes() {
		require.False(t, listed[c.Code], "%s stands twice", c.Code)
		require.NotEmpty(t, c.Severities, c.Code)
		listed[c.Code] = true
	}
	for c := range told {
		require.True(t, listed[c], "%s is not in the table", c)
	}
	for c := range listed {
		require.True(t, told[c], "nothing gives %s", c)
	}
}

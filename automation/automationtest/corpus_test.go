package automationtest_test

import (
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/automationtest"
	"github.com/fleetwright/fleetwright/document"
)

// runbooks reads the Automation documents of the corpus, which is not part of the project; without it the test is skipped aloud. With -short every eighth is read.
func runbooks(t testing.TB, each func(path string, rb *automation.Runbook)) (bad int) {
	t.Helper()
	dir := os.Getenv("FLEETWRIGHT_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	f, err := os.Open(filepath.Join(dir, "MANIFEST.tsv"))
	if err != nil {
		t.Skipf("SKIPPED: no corpus of real documents at %s (set FLEETWRIGHT_CORPUS)", dir)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	require.NoError(t, err)
	col := map[string]int{}
	for i, h := range rows[0] {
		col[h] = i
	}
	n := 0
	for _, row := range rows[1:] {
		if row[col["type"]] != "Automation" || row[col["schemaVersion"]] != "0.3" {
			continue
		}
		if n++; testing.Short() && n%8 != 0 {
			continue
		}
		path := row[col["stored_at"]]
		src, err := os.ReadFile(filepath.Join(dir, "documents", path))
		if err != nil {
			src, err = os.ReadFile(filepath.Join(dir, path))
		}
		require.NoError(t, err)
		rb, err := automation.ParseRunbook(src, &document.Options{File: path, MaxSize: -1})
		var findings document.Findings
		if errors.As(err, &findings) { // what the reader of documents refuses is its tests' matter; AWS's own it may not refuse
			owned := strings.HasPrefix(path, "ceshihao+ssm-public-documents/") || strings.HasPrefix(path, "yasser-alhawary+SSM-Documents/")
			require.False(t, owned, "%s: %v", path, err)
			bad++
			continue
		}
		require.NoError(t, err, path)
		each(path, rb)
	}
	return bad
}

// TestCorpusLoadsIsExploredAndRuns takes every real runbook through the engine: it loads, is explored to a bound without an engine error, and runs to an end with
// fakes that answer from its own selectors.
func TestCorpusLoadsIsExploredAndRuns(t *testing.T) {
	ends, warnings, truncated, loaded, states := map[automation.Status]int{}, map[automation.WarningKind]int{}, 0, 0, 0
	why := map[string]int{}
	bound := 60
	if os.Getenv("FLEETWRIGHT_LONG") != "" {
		bound = 2000
	}
	bad := runbooks(t, func(path string, rb *automation.Runbook) {
		loaded++
		e, err := rb.Explore(&automation.ExploreOptions{States: bound})
		require.NoError(t, err, path)
		require.NotZero(t, e.States)
		states += e.States
		if e.Truncated {
			truncated++
		}
		for _, w := range e.Warnings {
			warnings[w.Kind]++
		}
		w := automationtest.New(rb)
		x, err := w.Run(automation.Start{Document: path, Values: values(rb.Document()), System: automation.System{AccountID: "123456789012", Region: "eu-central-1"}})
		require.NoError(t, err, path)
		require.True(t, x.Status.Done(), path)
		ends[x.Status]++
		for i := range x.Steps {
			s := &x.Steps[i]
			require.True(t, s.Status.Done(), "%s: step %s is %s", path, s.Name, s.Status)
			if s.Failure != nil {
				require.NotEqual(t, automation.InternalFailure, s.Failure.Type, "%s: %s", path, s.Failure.Message)
				why[s.Action+": "+s.Failure.Message]++
				if os.Getenv("FLEETWRIGHT_LONG") != "" {
					t.Logf("%s: %s: %s", path, s.Name, s.Failure.Message)
				}
			}
		}
		again, err := w.Replay()
		require.NoError(t, err, path)
		require.Equal(t, x.Status, again.Status)
		require.NotEmpty(t, rb.Mermaid(x))
		require.NotEmpty(t, rb.SVG(x))
	})
	t.Logf("%d runbooks loaded, %d refused by the reader; ends %v; %d states explored, %d times to the bound; warnings %v", loaded, bad, ends, states, truncated, warnings)
	t.Logf("steps that failed: %v", why)
	if !testing.Short() {
		require.Greater(t, loaded, 700)
		require.Greater(t, ends[automation.Success]*10, loaded*9, "nearly all runbooks succeed when the world answers what they look for")
	}
}

// values gives parameters their defaults, else something that fits.
func values(d *document.Document) map[string]any {
	out := map[string]any{}
	for i := range d.Parameters {
		p := &d.Parameters[i]
		b := p.Default.Go()
		switch {
		case len(p.AllowedValues) > 0 && (p.Default == nil || p.Default.Text() == ""):
			b = p.AllowedValues[0].Go()
		case p.Default == nil && p.AllowedPattern != "":
			b = example(p.AllowedPattern)
		case p.Default == nil || p.Default.Kind() == document.Null:
			b = "1"
		}
		switch p.Type {
		case document.TypeInteger:
			if _, ok := b.(int64); !ok {
				b = int64(1)
			}
		case document.TypeBoolean:
			if s, ok := b.(string); ok {
				b = strings.EqualFold(s, "true")
			}
		case document.TypeStringMap:
			if _, ok := b.(map[string]any); !ok {
				b = map[string]any{"key": "1"}
			}
		case document.TypeStringList, document.TypeMapList:
			if _, ok := b.([]any); !ok {
				b = []any{b}
			}
		default:
			if s, ok := b.(string); ok && s == "" {
				b = "1"
			}
			if _, ok := b.([]any); ok && !strings.HasPrefix(string(p.Type), "List<") {
				b = "1"
			}
			if strings.HasPrefix(string(p.Type), "List<") {
				if _, ok := b.([]any); !ok {
					b = []any{b}
				}
			}
		}
		if b == nil {
			b = "1"
		}
		out[p.Name] = b
	}
	return out
}

// example returns a short text that matches a pattern, "1" for one that Go cannot read.
func example(pattern string) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "1"
	}
	var b strings.Builder
	var gen func(re *syntax.Regexp)
	gen = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			b.WriteString(string(re.Rune))
		case syntax.OpCharClass:
			if len(re.Rune) > 0 {
				b.WriteRune(re.Rune[0])
			}
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			b.WriteByte('1')
		case syntax.OpCapture, syntax.OpPlus:
			gen(re.Sub[0])
		case syntax.OpConcat:
			for _, s := range re.Sub {
				gen(s)
			}
		case syntax.OpAlternate:
			gen(re.Sub[0])
		case syntax.OpRepeat:
			for range re.Min {
				gen(re.Sub[0])
			}
		}
	}
	gen(re.Simplify())
	return b.String()
}

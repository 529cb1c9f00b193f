package document_test

import (
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// corpusDir finds the corpus of real documents, which is not part of the project; the test is skipped aloud without it.
func corpusDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("FLEETWRIGHT_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST.tsv")); err != nil {
		t.Skipf("SKIPPED: no corpus of real documents at %s (set FLEETWRIGHT_CORPUS)", dir)
	}
	return dir
}

// table reads a tab-separated table of the corpus.
func table(t testing.TB, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(corpusDir(t), name))
	require.NoError(t, err)
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	require.NoError(t, err)
	var out []map[string]string
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, h := range rows[0] {
			if i < len(row) {
				m[h] = row[i]
			}
		}
		out = append(out, m)
	}
	return out
}

// sample leaves every fourth row when tests are to be short.
func sample(rows []map[string]string) (out []map[string]string) {
	for i, row := range rows {
		if !testing.Short() || i%4 == 0 {
			out = append(out, row)
		}
	}
	return out
}

// owned reports whether a document is AWS's own: AWS accepts it, so an error in it is a false one.
func owned(path string) bool {
	return strings.HasPrefix(path, "ceshihao+ssm-public-documents/") || strings.HasPrefix(path, "yasser-alhawary+SSM-Documents/")
}

func readDocument(t testing.TB, dir, path string, o *document.Options) (*document.Document, error) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(dir, path))
	require.NoError(t, err)
	if o == nil {
		o = &document.Options{}
	}
	o.File, o.MaxSize = path, -1
	return document.Parse(src, o)
}

// TestCorpus: every real document parses, none of AWS's own has an error; what is told of each agrees with the manifest.
func TestCorpus(t *testing.T) {
	dir := corpusDir(t)
	kinds, refused, notes := map[string]int{}, map[string]int{}, map[string]int{}
	start := time.Now()
	infos := map[string]document.CodeInfo{}
	for _, c := range document.Codes() {
		infos[c.Code] = c
	}
	for _, row := range table(t, "MANIFEST.tsv") {
		path := row["stored_at"]
		d, err := readDocument(t, filepath.Join(dir, "documents"), path, nil)
		kinds[row["type"]]++
		if err != nil {
			refused[row["type"]]++
			var fs document.Findings
			require.True(t, errors.As(err, &fs))
			for _, f := range fs.Errors() {
				if owned(path) {
					t.Errorf("AWS owns it: %s", f)
				} else if _, ok := disputed[path]; !ok {
					t.Errorf("not looked at: %s", f)
				}
			}
			continue
		}
		if _, ok := disputed[path]; ok {
			t.Errorf("%s is read after all: take it off the list", path)
		}
		if d.Kind != document.Policy && string(d.Kind) != row["type"] && row["type"] != "Policy" {
			t.Errorf("%s: %s is read as %s", path, row["type"], d.Kind)
		}
		require.Equal(t, row["schemaVersion"], d.SchemaVersion, path)
		for _, f := range d.Check() {
			require.NotEqual(t, document.Error, f.Severity, f)
			info := infos[f.Code]
			require.Contains(t, info.Severities, f.Severity, f)
			require.True(t, info.Fix || len(f.Edits) == 0, f)
			notes[f.Code]++
			if os.Getenv("V") == f.Code {
				t.Log(f)
			}
		}
		again, err := document.Parse(d.JSON(), &document.Options{MaxSize: -1, Kind: d.Kind})
		require.NoError(t, err, path)
		require.Empty(t, cmp.Diff(d.Root.Go(), again.Root.Go()), path)
		require.Equal(t, string(d.JSON()), string(again.JSON()))
	}
	t.Logf("%v documents in %v; refused: %v; notes: %v", kinds, time.Since(start).Round(time.Millisecond), refused, notes)
}

// disputed are documents of other people that are refused, each looked at.
var disputed = map[string]string{
	"5inGularity+ssm-doc-visualizer/docs/branch.ssm.yaml":                                                       "{{ var }} is not declared, and steps four and five lead to each other",
	"5inGularity+ssm-doc-visualizer/docs/loop.ssm.yaml":                                                         "steps two and three lead to each other",
	"EmmanuelTsouris+aws-systems-manager-powershell-demo/AutomationDocuments/CreateVSSSnapshotWithTags.json":    "names parameters that it does not declare",
	"awsdocs+aws-systems-manager-user-guide/doc_source/distributor-working-with-packages-create.md_fence1.json": "a key stands twice: a sketch, not a package",
	"thomasvincent+aws-ssm-automation-scripts/cloudfront_distribution_management.yaml":                          "And holds a map instead of a list",
	"thomasvincent+aws-ssm-automation-scripts/lambda_function_management.yaml":                                  "And holds a map instead of a list",
}

// TestCorpusPairs: the JSON and the YAML form of one document are equal.
func TestCorpusPairs(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "documents")
	n := 0
	for _, row := range table(t, "PAIRS.tsv") {
		if row["equal_after_parsing"] != "True" {
			continue
		}
		a, err := readDocument(t, dir, row["json"], nil)
		require.NoError(t, err)
		b, err := readDocument(t, dir, row["yaml"], nil)
		require.NoError(t, err)
		require.Equal(t, document.JSON, a.Format)
		require.Equal(t, document.YAML, b.Format)
		if diff := cmp.Diff(a.Root.Go(), b.Root.Go()); diff != "" {
			t.Errorf("%s: %s", row["yaml"], diff)
		}
		n++
	}
	t.Logf("%d pairs", n)
}

// TestCorpusInvalid: what AWS refuses is refused, for the reason given.
func TestCorpusInvalid(t *testing.T) {
	dir := corpusDir(t)
	says := []struct{ reason, code string }{
		{"branch choice without NextStep", "choice-next"}, {"mainSteps has no step", "no-steps"}, {"outputs names a step", "reference-step"}, {"neither runtimeConfig nor mainSteps", "no-steps"},
		{"runtimeConfig plugin without properties", "no-properties"}, {"unknown action for this schema", "unknown-action"}, {"unknown parameter type", "parameter-type"},
		{"is not supported", "schema-unknown"}, {"schema 1.2 without runtimeConfig", "no-steps"}, {"not JSON", "syntax"}, {"is not one AWS accepts", "schema-unknown"},
		{"both runtimeConfig and mainSteps", "wrong-body"}, {"step without name", "step-name"}, {"raw line feed", "syntax"}, {"trailing comma", "syntax"},
		{"illegal parameter name", "parameter-name"}, {"illegal step name", "step-name"}, {"parameter without type", "parameter-type"}, {"unknown key in a parameter", "parameter-key"},
		{"step is not a map", "type"}, {"mainSteps is not a list", "no-steps"},
	}
	for _, row := range table(t, "INVALID.tsv") {
		_, err := readDocument(t, dir, row["stored_at"], nil)
		if !assertError(t, err, row["stored_at"]+": "+row["reason"]) {
			continue
		}
		var fs document.Findings
		require.True(t, errors.As(err, &fs))
		have := map[string]bool{}
		for _, f := range fs {
			require.Positive(t, f.Line)
			have[f.Code] = true
		}
		if have["syntax"] {
			continue // nothing else can be seen
		}
		for reason := range strings.SplitSeq(row["reason"], "; ") {
			known := false
			if have["wrong-body"] && strings.HasPrefix(reason, "mainSteps is not a list") {
				continue // of schema 1.2, where it should not be at all
			}
			for _, s := range says {
				if strings.Contains(reason, s.reason) {
					known = true
					if s.code != "" && !have[s.code] {
						t.Errorf("%s: %q should be %s:\n%v", row["stored_at"], reason, s.code, err)
					}
					break
				}
			}
			if !known {
				t.Errorf("unknown reason %q", reason)
			}
		}
		code := fault.CodeOf(err)
		require.Contains(t, []fault.Code{fault.InvalidDocumentContent, fault.InvalidDocumentSchemaVersion}, code)
		require.Equal(t, have["schema-unknown"] || have["schema-missing"], code == fault.InvalidDocumentSchemaVersion)
	}
}

func assertError(t *testing.T, err error, what string) bool {
	t.Helper()
	if err == nil {
		t.Errorf("not refused: %s", what)
	}
	return err != nil
}

package document_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
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
			m[h] = row[i]
		}
		out = append(out, m)
	}
	return out
}

func TestCorpusCommands(t *testing.T) {
	dir := corpusDir(t)
	n, bad := 0, 0
	for _, row := range table(t, "MANIFEST.tsv") {
		if row["type"] != "Command" && row["type"] != "Policy" {
			continue
		}
		src, err := os.ReadFile(filepath.Join(dir, "documents", row["stored_at"]))
		require.NoError(t, err)
		n++
		_, err = document.Parse(src, &document.Options{File: row["stored_at"], MaxSize: -1})
		if err != nil {
			bad++
			t.Logf("%s", err)
		}
	}
	t.Logf("%d documents, %d refused", n, bad)
}

func TestCorpusInvalid(t *testing.T) {
	dir := corpusDir(t)
	for _, row := range table(t, "INVALID.tsv") {
		src, err := os.ReadFile(filepath.Join(dir, row["stored_at"]))
		require.NoError(t, err)
		_, err = document.Parse(src, &document.Options{File: row["stored_at"], MaxSize: -1})
		if row["schemaVersion"] == "0.3" || row["schemaVersion"] == "1.0" {
			continue
		}
		t.Logf("%s: %s\n%v", row["stored_at"], row["reason"], err)
	}
}

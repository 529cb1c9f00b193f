package library_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/library"
)

// Format conversion keeps the meaning, and the text where nothing is to convert.
func TestFormats(t *testing.T) {
	s := service(nil)
	for _, name := range allBuiltin {
		asJSON, err := s.GetDocument(ann, library.GetDocumentRequest{Name: name, DocumentFormat: "JSON"})
		require.NoError(t, err)
		require.Equal(t, "JSON", asJSON.DocumentFormat)
		mine := "My-" + name
		_, err = s.CreateDocument(ann, library.CreateDocumentRequest{Name: mine, Content: asJSON.Content, DocumentFormat: "JSON"})
		require.NoError(t, err)
		asYAML, err := s.GetDocument(ann, library.GetDocumentRequest{Name: mine, DocumentFormat: "YAML"})
		require.NoError(t, err)
		a, err := document.Parse([]byte(asYAML.Content), &document.Options{Format: document.YAML})
		require.NoError(t, err, asYAML.Content)
		require.Equal(t, string(builtin(t, name).JSON()), string(a.JSON()))
		require.False(t, strings.HasPrefix(asYAML.Content, "{"))
	}
	create(t, s, "Say", "x")
	got, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Say", DocumentFormat: "YAML"})
	require.NoError(t, err)
	require.Equal(t, `schemaVersion: "2.2"
description: says x
parameters:
  who:
    type: String
    default: you
    description: to whom
  list:
    type: StringList
mainSteps:
  - action: aws:runShellScript
    name: say
    inputs:
      runCommand:
        - echo x {{ who }}
`, got.Content)
}

// FuzzYAML: whatever document JSON can hold, its YAML means the same.
func FuzzYAML(f *testing.F) {
	for _, v := range []string{`"x"`, `{"a":[],"b":{},"c":null,"d":[[1,[2.50,-3e9]],{"e":[{"f":"g"}]}]}`, `"- a\n  b: c # d"`, `"yes"`, `"0x10"`, `"1e3"`, `" lead"`, `"trail "`,
		`"a: b"`, `"\u0085\u2028\ufeff\u0000\u001b"`, `{"on":"off","~":"=","<<":{},"a b":"","\"":"\\"}`, `[[[]],[{}],[[[1]]],true]`, `"😀 \ud83d"`, `"2001-01-01"`, `"a\tb"`} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value string) {
		src := `{"schemaVersion":"2.2","parameters":{},"mainSteps":[{"action":"aws:softwareInventory","name":"a","inputs":{"files":` + value + `}}]}`
		doc, err := document.Parse([]byte(src), &document.Options{Format: document.JSON, MaxSize: -1})
		if err != nil || len(src) > 60_000 {
			return
		}
		s := service(nil)
		if _, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Doc", Content: src, DocumentFormat: "JSON"}); err != nil {
			return
		}
		got, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Doc", DocumentFormat: "YAML"})
		require.NoError(t, err)
		back, err := document.Parse([]byte(got.Content), &document.Options{Format: document.YAML, MaxSize: -1})
		require.NoError(t, err, got.Content)
		require.Equal(t, string(doc.JSON()), string(back.JSON()), got.Content)
	})
}

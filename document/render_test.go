package document_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/document"
)

// TestYAMLRendering: the bytes are what a person would write, and never change.
func TestYAMLRendering(t *testing.T) {
	d := parse(t, `{"schemaVersion":"2.2","description":"say: it","parameters":{},"mainSteps":[{"action":"aws:runShellScript","name":"on","inputs":{"timeoutSeconds":5,"runCommand":["set -e\necho \"hi\" # loud\n","#!/bin/sh","","  indented\nx"," ","\r","{{ x }}",["a","b"],[],null,true,1.50]}}]}`)
	require.Equal(t, `schemaVersion: "2.2"
description: "say: it"
parameters: {}
mainSteps:
  - action: aws:runShellScript
    name: "on"
    inputs:
      timeoutSeconds: 5
      runCommand:
        - |
          set -e
          echo "hi" # loud
        - "#!/bin/sh"
        - ""
        - "  indented\nx"
        - " "
        - "\r"
        - "{{ x }}"
        - - a
          - b
        - []
        - null
        - true
        - 1.50
`, string(d.YAML()))
	require.Nil(t, parse(t, "BEGIN:VCALENDAR\nEND:VCALENDAR\n").YAML())
}

// equalForms: a document in JSON and in YAML, there and back, is the same document and the same bytes.
func equalForms(t require.TestingT, d *document.Document) {
	o := &document.Options{MaxSize: -1, Kind: d.Kind, Format: document.YAML}
	y := d.YAML()
	again, err := document.Parse(y, o)
	require.NoError(t, err, "%s", y)
	require.Empty(t, cmp.Diff(d.Root.Go(), again.Root.Go()), "%s", y)
	require.Equal(t, string(d.JSON()), string(again.JSON()))
	require.Equal(t, string(y), string(again.YAML()))
	require.Equal(t, len(d.Parameters), len(again.Parameters))
	require.Equal(t, len(d.Steps), len(again.Steps))
}

// TestYAMLRoundTrip: any value survives YAML, whatever its texts look like.
func TestYAMLRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := &treeValue{rt}
		src := v.object(4)
		d, err := document.Parse([]byte(src), &document.Options{Kind: document.ApplicationConfiguration, Format: document.JSON})
		if err != nil {
			return // a key twice
		}
		equalForms(rt, d)
	})
}

// treeValue draws JSON texts.
type treeValue struct{ rt *rapid.T }

func (g *treeValue) text() string {
	words := rapid.SampledFrom([]string{"", "a", " ", "\n", "\t", "\\", "\"", "'", "#", ":", ": ", " #", "- ", "? ", "|", ">", "&a", "*a", "!x", "%", "@", "`", "{", "}", "[", "]", ",", "true", "No", "null", "~", "1", "0x1", "1e3", "1_0", "=", "<<", "---", "...", "\r", "\u0085", "\u2028", "\ufeff", "é", "日", "\x00", "\x7f", "line\nline", "2012-10-17", "\n\n", "{{ x }}"})
	s := ""
	for range rapid.IntRange(0, 5).Draw(g.rt, "n") {
		s += words.Draw(g.rt, "w")
	}
	return quote(s)
}

func (g *treeValue) value(depth int) string {
	switch k := rapid.IntRange(0, 7).Draw(g.rt, "k"); {
	case k == 0 && depth > 0:
		out := "["
		for i := range rapid.IntRange(0, 3).Draw(g.rt, "n") {
			if i > 0 {
				out += ","
			}
			out += g.value(depth - 1)
		}
		return out + "]"
	case k == 1 && depth > 0:
		return g.object(depth - 1)
	case k == 2:
		return rapid.SampledFrom([]string{"null", "true", "false", "0", "-1", "1.5", "1e3", "12345678901234567890", "-0", "0.10"}).Draw(g.rt, "v")
	}
	return g.text()
}

func (g *treeValue) object(depth int) string {
	out := "{"
	for i := range rapid.IntRange(0, 3).Draw(g.rt, "n") {
		if i > 0 {
			out += ","
		}
		out += g.text() + ":" + g.value(depth)
	}
	return out + "}"
}

// TestCorpusForms: every real document survives rendering as YAML and as JSON.
func TestCorpusForms(t *testing.T) {
	dir, n := filepath.Join(corpusDir(t), "documents"), 0
	for _, row := range sample(table(t, "MANIFEST.tsv")) {
		d, err := readDocument(t, dir, row["stored_at"], nil)
		if err != nil || d.Root == nil {
			continue
		}
		equalForms(t, d)
		n++
	}
	t.Logf("%d documents", n)
}

// TestUpgrade: a document of schema 1.2 does the same in schema 2.2.
func TestUpgrade(t *testing.T) {
	d := parse(t, `{"schemaVersion":"1.2","description":"d","parameters":{"c":{"type":"StringList"}},"runtimeConfig":{
"aws:runShellScript":{"settings":{"x":"y"},"properties":[{"id":"0.aws:runShellScript","runCommand":"{{ c }}","timeoutSeconds":"60"},{"id":"my step","runCommand":["b"]},{"id":"my_step","runCommand":["c"]}]},
"aws:updateSsmAgent":{"properties":{"agentName":"a","source":"https://x"}}}}`)
	out, err := d.Upgrade()
	require.NoError(t, err)
	require.Contains(t, string(out), "  \"schemaVersion\": \"2.2\",\n")
	sameSteps(t, d, out)
	names := []string{}
	for _, s := range parse(t, string(out)).Steps {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"runShellScript", "my_step", "my_step_2", "updateSsmAgent"}, names)

	y := parse(t, "schemaVersion: '2.0'\nmainSteps:\n- {action: aws:runShellScript, name: s, inputs: {runCommand: [a]}}\n")
	out, err = y.Upgrade()
	require.NoError(t, err)
	require.Equal(t, "schemaVersion: \"2.2\"\nmainSteps:\n  - action: aws:runShellScript\n    name: s\n    inputs:\n      runCommand:\n        - a\n", string(out))
	for _, other := range []string{`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["a"]}}]}`, `{"schemaVersion":"1.0","sessionType":"Port"}`} {
		_, err = parse(t, other).Upgrade()
		require.ErrorContains(t, err, "schema 1.2 or 2.0")
	}
}

// sameSteps: the upgraded text runs with the inputs of the old document.
func sameSteps(t *testing.T, d *document.Document, out []byte) {
	t.Helper()
	up, err := document.Parse(out, &document.Options{MaxSize: -1})
	require.NoError(t, err, "%s", out)
	require.Equal(t, "2.2", up.SchemaVersion)
	require.Equal(t, len(d.Parameters), len(up.Parameters))
	params := map[string][]string{}
	for _, p := range d.Parameters {
		if p.Required() && p.AllowedPattern == "" && p.AllowedValues == nil {
			params[p.Name] = []string{map[document.ParameterType]string{document.TypeStringMap: "{}", document.TypeInteger: "1", document.TypeBoolean: "true"}[p.Type] + ""}
		}
	}
	a, errA := d.Bind(params, &document.BindOptions{MaxSize: -1})
	b, errB := up.Bind(params, &document.BindOptions{MaxSize: -1})
	require.Equal(t, errA == nil, errB == nil, "%v %v", errA, errB)
	if errA != nil {
		return
	}
	for _, platform := range []string{"Linux", "Windows", "MacOS"} {
		was, is := a.Steps(platform), b.Steps(platform)
		require.Equal(t, len(was), len(is))
		for i := range was {
			delete(was[i].Inputs, "id")
			delete(is[i].Inputs, "id")
			require.Equal(t, was[i].Action, is[i].Action)
			require.Equal(t, was[i].Inputs, is[i].Inputs)
			require.Equal(t, was[i].Timeout, is[i].Timeout)
			require.Equal(t, was[i].Settings, is[i].Settings)
			if was[i].Verdict == document.Run {
				require.Equal(t, document.Run, is[i].Verdict)
			}
		}
	}
}

// TestCorpusUpgrade: every real document of an older schema can be upgraded.
func TestCorpusUpgrade(t *testing.T) {
	dir, n := filepath.Join(corpusDir(t), "documents"), 0
	for _, row := range sample(table(t, "MANIFEST.tsv")) {
		d, err := readDocument(t, dir, row["stored_at"], nil)
		if err != nil || d.Kind != document.Command || d.SchemaVersion == "2.2" {
			continue
		}
		out, err := d.Upgrade()
		require.NoError(t, err, d.File)
		sameSteps(t, d, out)
		n++
	}
	t.Logf("%d documents", n)
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lintIn runs the program in a directory with files and returns its exit status and what it printed.
func lintIn(t *testing.T, files map[string]string, args ...string) (int, string, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640))
	}
	t.Chdir(dir)
	var out, errs bytes.Buffer
	code := run(args, strings.NewReader(files["-"]), &out, &errs)
	return code, out.String(), errs.String()
}

const (
	good = "schemaVersion: \"2.2\"\nmainSteps:\n  - action: aws:runShellScript\n    name: go\n    inputs:\n      runCommand: [uptime]\n"
	bad  = "# keep me\nschemaVersion: \"2.2\"\nmainSteps:\n  - action: aws:runShelScript\n    name: go\n    inputs:\n      runCommand: [uptime]\n"
)

func TestText(t *testing.T) {
	code, out, errs := lintIn(t, map[string]string{"a.yaml": bad, "b.yaml": good}, "a.yaml", "b.yaml")
	require.Equal(t, exitFindings, code)
	require.Empty(t, errs)
	require.Equal(t, `a.yaml:4:13: error: unknown action "aws:runShelScript": did you mean aws:runShellScript? [unknown-action]
     4 |   - action: aws:runShelScript
       |             ^
2 documents: 1 error; -fix can mend 1
`, out)
	code, out, _ = lintIn(t, map[string]string{"b.yaml": good}, "b.yaml")
	require.Equal(t, exitClean, code)
	require.Equal(t, "1 document: nothing to say\n", out)
}

// TestExitStatus: 0 without errors, 1 with one, 2 where something could not be read.
func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"clean", []string{"b.yaml"}, exitClean},
		{"warnings only", []string{"w.json"}, exitClean},
		{"errors", []string{"a.yaml"}, exitFindings},
		{"errors in a directory", []string{"."}, exitFindings},
		{"missing", []string{"none.yaml", "a.yaml"}, exitUnread},
		{"unknown format", []string{"-format", "xml", "b.yaml"}, exitUnread},
		{"unknown severity", []string{"-min", "fatal", "b.yaml"}, exitUnread},
		{"unknown flag", []string{"-x"}, exitUnread},
		{"nothing", nil, exitUnread},
		{"help", []string{"-h"}, exitClean},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, _ := lintIn(t, map[string]string{"a.yaml": bad, "b.yaml": good, "w.json": `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"commands":["x"]}}]}`}, c.args...)
			require.Equal(t, c.want, code)
		})
	}
}

func TestMin(t *testing.T) {
	doc := map[string]string{"a.json": `{"schemaVersion":"0.3","parameters":{"p":{"type":"String","default":""}},"mainSteps":[{"name":"s","action":"aws:pause","inputs":{}}]}`}
	for least, want := range map[string]string{"error": "nothing to say", "warning": "1 warning", "advice": "1 warning, 1 advice"} {
		_, out, _ := lintIn(t, doc, "-min", least, "a.json")
		require.True(t, strings.HasSuffix(out, "1 document: "+want+"\n"), out)
	}
}

// TestDirectory: only what has the mark of a document, hidden directories not at all.
func TestDirectory(t *testing.T) {
	_, out, _ := lintIn(t, map[string]string{"x/a.yaml": bad, "x/package.json": `{"name":"x"}`, "x/.git/b.yaml": bad, "x/readme.md": "schemaVersion", "x/c.ics": "BEGIN:VCALENDAR\nEND:VCALENDAR\n"}, "x")
	require.True(t, strings.HasSuffix(out, "2 documents: 1 error; -fix can mend 1\n"), out)
}

// TestJSON: one object a line, a summary for each file.
func TestJSON(t *testing.T) {
	code, out, _ := lintIn(t, map[string]string{"a.yaml": bad, "b.json": `{"schemaVersion":`}, "-format", "json", "a.yaml", "b.json")
	require.Equal(t, exitFindings, code)
	var got []map[string]any
	for l := range strings.Lines(out) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(l), &m))
		got = append(got, m)
	}
	require.Equal(t, []map[string]any{
		{"file": "a.yaml", "line": 4.0, "column": 13.0, "code": "unknown-action", "severity": "error", "path": "$.mainSteps[0].action", "message": `unknown action "aws:runShelScript": did you mean aws:runShellScript?`},
		{"file": "a.yaml", "kind": "Command", "schemaVersion": "2.2", "steps": 1.0, "errors": 1.0, "warnings": 0.0},
		{"file": "b.json", "line": 1.0, "column": 18.0, "code": "syntax", "severity": "error", "path": "", "message": "not valid JSON: the text ends where a value should be"},
		{"file": "b.json", "kind": "", "schemaVersion": "", "steps": 0.0, "errors": 1.0, "warnings": 0.0},
	}, got)
}

func TestSARIF(t *testing.T) {
	_, out, _ := lintIn(t, map[string]string{"a b.yaml": bad}, "-format", "sarif", "a b.yaml")
	var got sarif
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, "2.1.0", got.Version)
	require.Len(t, got.Runs, 1)
	r := got.Runs[0].Results
	require.Len(t, r, 1)
	require.Equal(t, "error", r[0].Level)
	require.Equal(t, r[0].Rule, got.Runs[0].Tool.Driver.Rules[r[0].Index].ID)
	require.Equal(t, "a%20b.yaml", r[0].Locations[0].Physical.Artifact.URI)
	require.Equal(t, sarifRegion{4, 13}, *r[0].Locations[0].Physical.Region)
	_, out, _ = lintIn(t, map[string]string{"a.yaml": good}, "-format", "sarif", "a.yaml")
	require.Contains(t, out, `"results": []`)
}

// TestFix: the file is mended in place, keeps its comments and its rights, and is clean afterwards.
func TestFix(t *testing.T) {
	code, out, _ := lintIn(t, map[string]string{"a.yaml": bad}, "-fix", "a.yaml")
	require.Equal(t, exitClean, code)
	require.Equal(t, "a.yaml:4:13: fixed: unknown action \"aws:runShelScript\": did you mean aws:runShellScript?\n1 document: 1 fix\n", out)
	src, err := os.ReadFile("a.yaml")
	require.NoError(t, err)
	require.Equal(t, strings.Replace(bad, "Shel", "Shell", 1), string(src))
	info, err := os.Stat("a.yaml")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestFixStandardInput(t *testing.T) {
	code, out, _ := lintIn(t, map[string]string{"-": bad}, "-fix", "-")
	require.Equal(t, exitClean, code)
	require.Contains(t, out, strings.Replace(bad, "Shel", "Shell", 1))
}

func TestUpgrade(t *testing.T) {
	code, out, _ := lintIn(t, map[string]string{"a.json": `{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"runCommand":["ls"]}]}}}`}, "-upgrade", "a.json")
	require.Equal(t, exitClean, code)
	require.Equal(t, "a.json:1:1: fixed: schema 1.2 became 2.2\n1 document: 1 fix\n", out)
	src, err := os.ReadFile("a.json")
	require.NoError(t, err)
	require.Contains(t, string(src), `"schemaVersion": "2.2"`)
}

// TestTogether: documents of one directory that run each other are checked together.
func TestTogether(t *testing.T) {
	parent := `{"schemaVersion":"0.3","mainSteps":[{"name":"s","action":"aws:executeAutomation","inputs":{"DocumentName":"Child"}}]}`
	child := `{"schemaVersion":"0.3","parameters":{"Who":{"type":"String"}},"mainSteps":[{"name":"s","action":"aws:sleep","inputs":{"Duration":"PT1S","Timestamp":"{{ Who }}"}}]}`
	_, out, _ := lintIn(t, map[string]string{"d/Parent.json": parent, "d/Child.json": child}, "d")
	require.Contains(t, out, "document Child needs parameter Who, which step s does not give [child-parameter]")
	_, out, _ = lintIn(t, map[string]string{"d/Parent.json": parent, "e/Child.json": child}, ".")
	require.Contains(t, out, "nothing to say")
}

// TestNothingReachesTheTerminal: what a document or a name holds is escaped, in every form.
func TestNothingReachesTheTerminal(t *testing.T) {
	evil := "\u202e\u009b\x1b[31m"
	doc := `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:` + "\u202e\u009b" + `\u001b[31m","name":"s","inputs":{"runCommand":["x"]},"` + "\u202ekey" + `":1}]}`
	yaml := "schemaVersion: '2.2'\nmainSteps:\n- action: aws:\u202e\u2066x\n  name: s\n  \"a\\u009b\\u202e\": 1\n  inputs: {runCommand: [a]}\n"
	for _, format := range []string{"text", "json", "sarif"} {
		_, out, errs := lintIn(t, map[string]string{"x\u202ey.json": doc, "x.yaml": yaml, "raw.json": "{\x1b[31m\xff"}, "-format", format, "-min", "advice", "x\u202ey.json", "x.yaml", "raw.json", "none"+evil)
		for _, r := range out + errs {
			if r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%s: %q reaches the terminal:\n%q", format, r, out+errs)
			}
		}
	}
}

// TestSecretsAreNotShown: the line of a secret stays where it is.
func TestSecretsAreNotShown(t *testing.T) {
	_, out, _ := lintIn(t, map[string]string{"a.json": `{"schemaVersion":"2.2","parameters":{"DbPassword":{"type":"String","default":"hunter2"}},"mainSteps":[{"action":"aws:runDocument","name":"s","inputs":{"documentType":"LocalPath","documentPath":"x","documentParameters":{"p":"{{ DbPassword }}"}}}]}`}, "a.json")
	require.Contains(t, out, "[secret-plain]")
	require.NotContains(t, out, "hunter2")
}

// TestLongLines: the place of a finding is shown, not the whole line.
func TestLongLines(t *testing.T) {
	_, out, _ := lintIn(t, map[string]string{"a.json": `{"schemaVersion":"2.2","description":"` + strings.Repeat("é", 5000) + `","mainSteps":[{"action":"aws:x","name":"s","inputs":{"runCommand":["` + strings.Repeat("x", 5000) + `"]}}]}`}, "a.json")
	lines := strings.Split(out, "\n")
	require.Less(t, len(out), 1000)
	at := strings.IndexRune(lines[2], '^')
	require.Equal(t, `"aws:x"`, string([]rune(lines[1])[at:at+7]))
}

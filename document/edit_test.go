package document_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
)

// TestFixes: every mechanical fix, with everything else of the text as it was.
func TestFixes(t *testing.T) {
	step := func(in string) string {
		return `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":` + in + `}]}`
	}
	book := func(params, steps string) string {
		return "# ours\nschemaVersion: '0.3'\nparameters:\n  Fleet: {type: String, default: a} # é\n" + params + "mainSteps:\n" + steps
	}
	for _, c := range []struct{ name, src, want string }{
		{"comma", `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["a" , ],},}]}`, `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["a"  ]}}]}`},
		{"line feed in a string", "\xef\xbb\xbf" + step("{\"runCommand\":[\"a\r\nb\tc\"]}"), "\xef\xbb\xbf" + step(`{"runCommand":["a\r\nb\tc"]}`)},
		{"number", "schemaVersion: 2.2 # old\nmainSteps: [{action: aws:runShellScript, name: s, inputs: {runCommand: [a]}}]\n", "schemaVersion: \"2.2\" # old\nmainSteps: [{action: aws:runShellScript, name: s, inputs: {runCommand: [a]}}]\n"},
		{"key", strings.Replace(step(`{"runCommand":["a"]}`), `"name"`, `"Name"`, 1), step(`{"runCommand":["a"]}`)},
		{"old input", step(`{"commands":["a"]}`), step(`{"runCommand":["a"]}`)},
		{"action", strings.Replace(step(`{"runCommand":["a"]}`), "aws:runShellScript", "runshellscript", 1), step(`{"runCommand":["a"]}`)},
		{"quoted by hand", book("", "- {name: A, action: 'aws:slep', inputs: {Duration: PT1S}} # ü\n"), book("", "- {name: A, action: 'aws:sleep', inputs: {Duration: PT1S}} # ü\n")},
		{"step", book("", "- name: Alpha\n  action: aws:pause\n  nextStep: Betta   # on\n  timeoutSeconds: 5\n  inputs: {}\n- name: Beta\n  action: aws:pause\n  timeoutSeconds: 5\n  onFailure: step:Gama\n  inputs: {}\n- name: Gamma\n  action: aws:sleep\n  inputs: {Duration: PT1S}\n"),
			book("", "- name: Alpha\n  action: aws:pause\n  nextStep: Beta   # on\n  timeoutSeconds: 5\n  inputs: {}\n- name: Beta\n  action: aws:pause\n  timeoutSeconds: 5\n  onFailure: step:Gamma\n  inputs: {}\n- name: Gamma\n  action: aws:sleep\n  inputs: {Duration: PT1S}\n")},
		{"end and next", book("", "- name: Alpha\n  action: aws:sleep\n  isEnd: true\n  nextStep: Beta\n  # kept\n  inputs: {Duration: PT1S}\n- {name: Beta, action: aws:sleep, inputs: {Duration: PT1S}}\n"),
			book("", "- name: Alpha\n  action: aws:sleep\n  isEnd: true\n  # kept\n  inputs: {Duration: PT1S}\n- {name: Beta, action: aws:sleep, inputs: {Duration: PT1S}}\n")},
		{"type", "schemaVersion: '1.0'\nsessionType: Prot\nparameters:\n  p:\n    type: string # c\n", "schemaVersion: '1.0'\nsessionType: Port\nparameters:\n  p:\n    type: String # c\n"},
		{"reference", book("", "- name: A\n  action: aws:sleep\n  inputs: {Duration: '{{ Fleat }}'}\n"), book("", "- name: A\n  action: aws:sleep\n  inputs: {Duration: '{{ Fleet }}'}\n")},
		{"not when the key is there", step(`{"commands":["a"],"runCommand":["b"]}`), step(`{"commands":["a"],"runCommand":["b"]}`)},
		{"not when two are near", book("", "- {name: AA1, action: aws:sleep, inputs: {Duration: PT1S}, nextStep: AA3}\n- {name: AA2, action: aws:sleep, inputs: {Duration: PT1S}}\n"), book("", "- {name: AA1, action: aws:sleep, inputs: {Duration: PT1S}, nextStep: AA3}\n- {name: AA2, action: aws:sleep, inputs: {Duration: PT1S}}\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _ := document.Fix([]byte(c.src), nil, nil)
			require.Equal(t, c.want, string(got))
			again, more := document.Fix(got, nil, nil)
			require.Equal(t, string(got), string(again))
			require.Empty(t, more)
		})
	}
}

// TestFixEnvVar: RAW becomes ENV_VAR in the declaration and where a shell would not look the variable up.
func TestFixEnvVar(t *testing.T) {
	doc := func(decl, script string) string {
		return `{"schemaVersion":"2.2","parameters":{` + decl + `},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":[` + script + `]}}]}`
	}
	env := `"p":{"type":"String","interpolationType": "ENV_VAR", "description":"d"}`
	raw := `"p":{"type":"String","description":"d"}`
	for _, c := range []struct{ name, src, want string }{
		{"words", doc(raw, `"echo {{ p }}","echo \"{{p}}\" # {{ p }}"`), doc(env, `"echo {{ p }}","echo \"{{p}}\" # {{ p }}"`)},
		{"single quotes", doc(raw, `"echo '{{ p }}' 'a {{ p }} b'"`), doc(env, `"echo \"{{ p }}\" 'a '\"{{ p }}\"' b'"`)},
		{"said RAW", doc(`"p":{"type":"String","interpolationType":"RAW"}`, `"echo {{ p }}"`), doc(`"p":{"type":"String","interpolationType":"ENV_VAR"}`, `"echo {{ p }}"`)},
		{"only a type", doc(`"p":{"type":"String"}`, `"echo {{ p }}"`), doc(`"p":{"interpolationType": "ENV_VAR", "type":"String"}`, `"echo {{ p }}"`)},
		{"on lines", doc("\n  \"p\": {\r\n    \"type\": \"String\",\r\n    \"default\": \"\"\r\n  }", `"echo {{ p }}"`), doc("\n  \"p\": {\r\n    \"type\": \"String\",\r\n    \"interpolationType\": \"ENV_VAR\",\r\n    \"default\": \"\"\r\n  }", `"echo {{ p }}"`)},
		{"escapes in single quotes", doc(raw, `"echo $'a\\n{{ p }}'"`), ""},
		{"quotes opened on another line", doc(raw, `"echo '","{{ p }}","'"`), ""},
		{"code", doc(raw, `"{{ p }} --now"`), ""},
		{"code after then", doc(raw, `"if true; then {{ p }}; fi"`), ""},
		{"list of words", doc(raw, `"for x in {{ p }}; do echo $x; done"`), ""},
		{"evaluated", doc(raw, `"eval \"echo {{ p }}\""`), ""},
		{"the whole script", doc(raw, `"{{ p }}"`), ""},
		{"here-document", doc(raw, `"cat <<'E'\n{{ p }}\nE"`), ""},
		{"arithmetic", doc(raw, `"echo $(( {{ p }} + 1 ))"`), ""},
		{"other program", doc(raw, `"#!/usr/bin/python3\nprint('{{ p }}')"`), ""},
		{"a list", doc(`"p":{"type":"StringList"}`, `"echo {{ p }}"`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.src
			}
			got, _ := document.Fix([]byte(c.src), nil, nil)
			require.Equal(t, c.want, string(got))
		})
	}
	y := "# top\nschemaVersion: '2.2'\nparameters:\n  p: # what\n    type: String # text\n    # words\n    default: a\n  q: {type: String, default: b}\nmainSteps:\n- action: aws:runShellScript\n  name: s\n  inputs:\n    runCommand:\n    - echo '{{ p }}' é {{ q }} # not a comment of YAML? it is\n    - 'echo ''{{ p }}'''\n    - \"echo '{{ p }}'\"\n    - |\n      # {{ p }}\n      echo '{{ q }}'\n"
	want := "# top\nschemaVersion: '2.2'\nparameters:\n  p: # what\n    type: String # text\n    # words\n    interpolationType: ENV_VAR\n    default: a\n  q: {type: String, interpolationType: ENV_VAR, default: b}\nmainSteps:\n- action: aws:runShellScript\n  name: s\n  inputs:\n    runCommand:\n    - echo \"{{ p }}\" é {{ q }} # not a comment of YAML? it is\n    - 'echo \"{{ p }}\"'\n    - \"echo \\\"{{ p }}\\\"\"\n    - |\n      # {{ p }}\n      echo \"{{ q }}\"\n"
	got, done := document.Fix([]byte(y), nil, nil)
	require.Equal(t, want, string(got))
	require.Len(t, done, 6)
}

// TestFixOnlyWhatIsWanted: want decides.
func TestFixOnlyWhatIsWanted(t *testing.T) {
	src := `{"schemaVersion":"2.2","parameters":{"p":{"type":"string"}},"mainSteps":[{"action":"aws:runShelScript","name":"s","inputs":{"runCommand":["{{ p }}"]}}]}`
	got, done := document.Fix([]byte(src), nil, func(f document.Finding) bool { return f.Code == "parameter-type" })
	require.Len(t, done, 1)
	require.Equal(t, strings.Replace(src, "string", "String", 1), string(got))
}

// TestApply: the edits of a finding are made together or not at all.
func TestApply(t *testing.T) {
	e := func(a, b int, s string) document.Edit { return document.Edit{Start: a, End: b, Text: s} }
	got, n := document.Apply([]byte("abcdef"), document.Findings{
		{Edits: []document.Edit{e(0, 1, "A"), e(6, 6, "!")}},
		{Edits: []document.Edit{e(3, 4, "D"), e(0, 1, "A")}},
		{Edits: []document.Edit{e(3, 5, "x"), e(2, 3, "y")}},
		{Edits: []document.Edit{e(5, 9, "")}}, {Edits: []document.Edit{e(-1, 0, "")}}, {Edits: []document.Edit{e(2, 1, "")}}, {},
	})
	require.Equal(t, "AbcDef!", string(got))
	require.Equal(t, 2, n)
}

// TestCorpusFixes: fixing a real document leaves nothing to fix, adds no error, and loses no comment.
func TestCorpusFixes(t *testing.T) {
	dir, files, fixes := filepath.Join(corpusDir(t), "documents"), 0, map[string]int{}
	for _, row := range sample(table(t, "MANIFEST.tsv")) {
		d, err := readDocument(t, dir, row["stored_at"], nil)
		if d == nil {
			continue
		}
		o := &document.Options{MaxSize: -1}
		got, done := document.Fix(d.Source, o, nil)
		if len(done) == 0 {
			require.Equal(t, string(d.Source), string(got))
			continue
		}
		files++
		for _, f := range done {
			fixes[f.Code]++
		}
		after, errAfter := document.Parse(got, o)
		if err == nil {
			require.NoError(t, errAfter, d.File)
			for _, f := range after.Check() {
				require.Empty(t, f.Edits, f)
			}
		}
		for _, l := range strings.Split(string(d.Source), "\n") {
			if strings.HasPrefix(strings.TrimSpace(l), "#") {
				require.Contains(t, string(got), l)
			}
		}
	}
	t.Logf("%d documents: %v", files, fixes)
}

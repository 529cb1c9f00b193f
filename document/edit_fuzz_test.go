package document_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/fleetwright/fleetwright/document"
)

// FuzzFix: fixing a text makes no new error, comes to an end where nothing is left to fix, and rendering what is read gives equal forms.
func FuzzFix(f *testing.F) {
	for _, name := range []string{"logship.json", "logship.yaml", "patch-fleet.yaml"} {
		src, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("schemaVersion: 2.2\nparameters: {p: {type: string}}\nmainSteps: [{action: aws:runshellScript, name: s, inputs: {commands: [\"echo '{{ p }}'\"], \"é\": 1}}]\n"))
	f.Add([]byte(`{"schemaVersion":"2.2","parameters":{"p":{"type":"String"}},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":["echo '{{ p }}'",]},}]}`))
	f.Add([]byte("schemaVersion: '0.3'\nmainSteps:\n- name: a\n  isEnd: true\n  nextStep: b # c\n  action: aws:sleep\n  inputs: {Duration: x}\n- {name: b, isEnd: true, nextStep: b, action: aws:pause}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 20_000 {
			return
		}
		d, before := document.Parse(src, nil)
		out, done := document.Fix(src, nil, nil)
		if len(done) == 0 && !bytes.Equal(src, out) {
			t.Fatalf("changed without a fix: %q", out)
		}
		after, err := document.Parse(out, nil)
		if before == nil && err != nil {
			t.Fatalf("a good document became bad: %v\n%s", err, out)
		}
		if again, more := document.Fix(out, nil, nil); len(more) > 0 && len(done) < 50 {
			t.Fatalf("fixed again: %v\n%s\n%s", more, out, again)
		}
		if d != nil && before == nil && d.Root != nil && len(src) < 4000 {
			equalForms(t, d)
			equalForms(t, after)
		}
	})
}

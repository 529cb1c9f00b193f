package patch_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

func TestO3OverrideListForms(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want patch.OverrideList
	}{
		"guide's form":     {"patches:\n    -\n        id: 'kernel.x86_64'\n    -\n        id: 'bind*.x86_64'\n        title: '32:9.8.2-0.62.rc1.57.amzn1'\n", patch.OverrideList{{"kernel.x86_64", ""}, {"bind*.x86_64", "32:9.8.2-0.62.rc1.57.amzn1"}}},
		"compact":          {"patches:\n- id: kernel.x86_64\n- title: \"*1.2.27\" # narrow\n  id: apt.amd64\n", patch.OverrideList{{"kernel.x86_64", ""}, {"apt.amd64", "*1.2.27"}}},
		"unknown fields":   {"# list\n---\nversion: 1\nother:\n  - a: b\npatches:\n  - severity: high\n    id: a.b\n    more:\n      - x\n      - y\n    title: ''\n", patch.OverrideList{{"a.b", ""}}},
		"quotes":           {"patches:\n  - id: 'it''s'\n  - id: \"a\\u0041\"\n", patch.OverrideList{{"it's", ""}, {"aA", ""}}},
		"windows lines":    {"patches:\r\n  - id: KB1\r\n", patch.OverrideList{{"KB1", ""}}},
		"byte order mark":  {"\ufeffpatches:\n  - id: KB1\n", patch.OverrideList{{"KB1", ""}}},
		"empty":            {"patches:\n", patch.OverrideList{}},
		"empty flow":       {"patches: []\n", patch.OverrideList{}},
		"json":             {`{"patches":[{"id":"a.b","title":"1:*","x":{}}],"y":1}`, patch.OverrideList{{"a.b", "1:*"}}},
		"version as text":  {"patches:\n  - id: a.b\n    title: 1.10\n", patch.OverrideList{{"a.b", "1.10"}}},
		"colon in version": {"patches:\n  - id: a.b\n    title: a.b:1:2.0-1\n", patch.OverrideList{{"a.b", "a.b:1:2.0-1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := patch.ParseOverrideList([]byte(c.text))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestOverrideListRefusals(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"nothing":        {"", "must begin with"},
		"no patches":     {"other: 1\n", "must begin with"},
		"list alone":     {"- id: a\n", "line 1"},
		"no id":          {"patches:\n  - title: x\n  - id: b\n", "line 3: the entry before this line has no id"},
		"last has no id": {"patches:\n  - title: x\n", "has no id"},
		"id twice":       {"patches:\n  - id: a\n    id: b\n", "line 3"},
		"twice patches":  {"patches:\n  - id: a\npatches:\n  - id: b\n", "line 3"},
		"tab":            {"patches:\n\t- id: a\n", "line 2: a tab"},
		"flow":           {"patches: [{id: a}]\n", "line 1"},
		"flow entry":     {"patches:\n  - {id: a}\n", "line 2"},
		"alias":          {"patches:\n  - id: *x\n", "line 2: this is not plain text: put it in quotes"},
		"open quote":     {"patches:\n  - id: 'a\n", "line 2: the quote does not end"},
		"after quote":    {"patches:\n  - id: 'a' b\n", "line 2: text follows"},
		"column":         {"patches:\n  - id: a\n     title: b\n", "line 3"},
		"dash column":    {"patches:\n  - id: a\n - id: b\n", "line 3"},
		"block text":     {"patches:\n  - id: |\n      a\n", "line 2"},
		"empty id":       {"patches:\n  - id:\n", "line 2"},
		"utf-8":          {"patches:\n  - id: \xff\n", "UTF-8"},
		"json no id":     {`{"patches":[{"title":"x"}]}`, "$.patches[0]"},
		"json kinds":     {`{"patches":[{"id":1}]}`, "$.patches[0].id"},
		"json trouble":   {"{\"patches\":[\n{]}", "line 2"},
		"too long":       {"patches:\n" + strings.Repeat("#\n", 1<<20), "bytes"},
		"too many":       {"patches:\n" + strings.Repeat("- id: a\n", 10_001), "10001 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := patch.ParseOverrideList([]byte(c.text))
			require.ErrorContains(t, err, c.says)
			require.Nil(t, got)
			require.Equal(t, fault.Invalid, fault.KindOf(err))
		})
	}
}

// What is accepted means the same to a whole YAML reader; what it writes is accepted.
func FuzzOverrideList(f *testing.F) {
	f.Add("patches:\n  - id: 'a.b'\n    title: \"1:*\"\n")
	f.Add("patches:\n    -\n        id: kernel.x86_64 # c\n        z: {a: b}\n")
	f.Add("---\nx: 1\npatches:\n- id: a\n")
	f.Add(`{"patches":[{"id":"a"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := patch.ParseOverrideList([]byte(text))
		if err != nil {
			return
		}
		var want struct {
			Patches []struct{ ID, Title string }
		}
		if yaml.Unmarshal([]byte(text), &want) == nil && len(want.Patches) == len(got) { // passed-over fields may be what YAML refuses
			for i, e := range got {
				if want.Patches[i].ID != e.ID || want.Patches[i].Title != e.Title {
					t.Fatalf("entry %d of %q: %+v, YAML says %+v", i, text, e, want.Patches[i])
				}
			}
		}
		var doc struct {
			Patches []map[string]string `yaml:"patches"`
		}
		for _, e := range got {
			doc.Patches = append(doc.Patches, map[string]string{"id": e.ID, "title": e.Title})
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' || r > '~' }) {
			return // YAML writes such text in forms of its own
		}
		written, err := yaml.Marshal(doc)
		if err != nil || strings.ContainsAny(string(written), "|>") {
			return
		}
		again, err := patch.ParseOverrideList(written)
		if err != nil {
			if strings.Contains(string(written), "\\") || strings.Contains(err.Error(), "escapes") || strings.Contains(err.Error(), "end on this line") {
				return // a long text that YAML folds
			}
			t.Fatalf("%v\n%s", err, written)
		}
		if len(again) != len(got) {
			t.Fatalf("%v became %v", got, again)
		}
		for i := range got {
			if again[i] != got[i] {
				t.Fatalf("%v became %v by\n%s", got[i], again[i], written)
			}
		}
	})
}

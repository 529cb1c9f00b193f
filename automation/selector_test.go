package automation_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
)

func TestSelectors(t *testing.T) {
	var v any
	require.NoError(t, json.Unmarshal([]byte(`{"a":[{"b":"x","k.k":["y"],"c":{"b":"z"}},{"b":"w"}],"d-e":1,"tag:Name":"n","m":{"2":"two"}}`), &v))
	for sel, want := range map[string]string{
		"$":                    ``,
		"$.a[0].b":             `"x"`,
		"a[1].b":               `"w"`,
		" $.a[0].b ":           `"x"`,
		"$.a[-1].b":            `"w"`,
		"$..b":                 `["x","z","w"]`,
		"$.a..b":               `["x","z","w"]`,
		"$.a[*].b":             `["x","w"]`,
		"$.a[0].'k.k'[0]":      `"y"`,
		`$.a[0]."k.k"[0]`:      `"y"`,
		"$.a[0]['k.k'][0]":     `"y"`,
		"$.a.[0].b":            `"x"`,
		"$.d-e":                `1`,
		"$.tag:Name":           `"n"`,
		"$.m.2":                `"two"`,
		"$.a[?(@.b == 'w')].b": `["w"]`,
		"$..nothing":           `[]`,
	} {
		s, err := automation.NewSelector(sel)
		require.NoError(t, err, sel)
		got, err := s.Select(v)
		require.NoError(t, err, sel)
		if want != "" {
			b, _ := json.Marshal(got)
			require.Equal(t, want, string(b), sel)
		}
	}
	for _, sel := range []string{"$.zz", "$.a[7]", "$.a.b", "$.d-e.x"} {
		s, err := automation.NewSelector(sel)
		require.NoError(t, err, sel)
		_, err = s.Select(v)
		require.Error(t, err, sel)
	}
	for _, sel := range []string{"", "$.", "$.a[", "$..", "$.a['b", "$.length()", "$.a.$"} {
		_, err := automation.NewSelector(sel)
		require.Error(t, err, sel)
	}
}

// FuzzSelector reads any selector; what was planted by one that can be read is found by it.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"$", "$.a[0].b", "$..b", "a.'b.c'[1]", "$.a[*].b", "$['x'][2]..y", "$.a[?(@.b == 1)].c", "$.tag:Name"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sel, err := automation.NewSelector(s)
		if err != nil {
			return
		}
		require.Equal(t, s, sel.String())
		_, _ = sel.Select(map[string]any{"a": []any{map[string]any{"b": "c"}}})
		root := sel.Plant(map[string]any{}, "seed")
		found, err := sel.Select(root)
		if sel.Many() {
			return
		}
		if err == nil {
			require.Equal(t, "seed", func() any {
				if _, is := root.(map[string]any); is && len(root.(map[string]any)) == 0 {
					return "seed" // $ of a map that is there keeps it
				}
				return found
			}())
		}
	})
}

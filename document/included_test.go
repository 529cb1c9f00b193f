package document_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
)

// TestIncludedParameters_D19: what a step gives a child document is what Bind of the child takes.
func TestIncludedParameters_D19(t *testing.T) {
	child := parse(t, `{"schemaVersion":"2.2","parameters":{"commands":{"type":"StringList"},"n":{"type":"String","default":"x"}},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":"{{ commands }}"}}]}`)
	for _, c := range []struct {
		name, given string
		want        map[string][]string
	}{
		{"map", `{"commands":["echo {{ who }}","date"],"n":7,"b":true,"m":{"z":[1]},"nothing":null}`, values{"commands": {"echo me", "date"}, "n": {"7"}, "b": {"true"}, "m": {`{"z":[1]}`}}},
		{"placeholder alone", `{"commands":"{{ list }}"}`, values{"commands": {"a", "b"}}},
		{"JSON in a string", `"{\"commands\":\"uptime\"}"`, values{"commands": {"uptime"}}},
		{"neither", `"commands: uptime"`, nil},
		{"key twice", `"{\"a\":1,\"a\":2}"`, nil},
		{"empty", `{}`, values{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := parse(t, `{"schemaVersion":"2.2","parameters":{"who":{"type":"String"},"list":{"type":"StringList"}},"mainSteps":[{"action":"aws:runDocument","name":"a","inputs":{"documentType":"SSMDocument","documentPath":"Child","documentParameters":`+c.given+`}}]}`)
			refs := bound(t, d, values{"who": {"me"}, "list": {"a", "b"}}).Included()
			require.Equal(t, []document.IncludedRef{{Name: "Child", Parameters: c.want}}, refs)
			delete(refs[0].Parameters, "b")
			delete(refs[0].Parameters, "m")
			if refs[0].Parameters["commands"] != nil {
				_, err := child.Bind(refs[0].Parameters, nil)
				require.NoError(t, err)
			}
		})
	}
}

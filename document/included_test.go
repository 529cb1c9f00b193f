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

// TestIncludedFetched: a document that aws:downloadContent takes from the library must be shipped, or AWS-RunDocument could not run it.
func TestIncludedFetched(t *testing.T) {
	d := parse(t, `{"schemaVersion":"2.2","parameters":{"info":{"type":"StringMap","default":{}}},"mainSteps":[
		{"action":"aws:downloadContent","name":"f","inputs":{"sourceType":"SSMDocument","sourceInfo":"{{ info }}","destinationPath":"document"}},
		{"action":"aws:downloadContent","name":"h","inputs":{"sourceType":"HTTP","sourceInfo":"{\"url\":\"https://example.org\",\"name\":\"No\"}"}},
		{"action":"aws:runDocument","name":"r","inputs":{"documentType":"LocalPath","documentPath":"document","documentParameters":{"a":"b"}}}]}`)
	for given, want := range map[string][]document.IncludedRef{
		`{"name":"Mine"}`:         {{Name: "Mine", Parameters: values{"a": {"b"}}}},
		`{"name":"Mine:3"}`:       {{Name: "Mine", Version: "3", Parameters: values{"a": {"b"}}}},
		`{"name":"Mine:$LATEST"}`: {{Name: "Mine", Version: "$LATEST", Parameters: values{"a": {"b"}}}},
		`{"name":"arn:aws:ssm:us-east-1:111122223333:document/Mine"}`: {{Name: "arn:aws:ssm:us-east-1:111122223333:document/Mine", Parameters: values{"a": {"b"}}}},
		`{"name":""}`: nil,
		`{}`:          nil,
	} {
		require.Equal(t, want, bound(t, d, values{"info": {given}}).Included(), given)
	}
}

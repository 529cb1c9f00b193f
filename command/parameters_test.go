package command

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
)

func TestParseParameters(t *testing.T) {
	for text, want := range map[string]map[string][]string{
		"":                                      nil,
		"commands=uptime":                       {"commands": {"uptime"}},
		"commands=uptime,workingDirectory=/tmp": {"commands": {"uptime"}, "workingDirectory": {"/tmp"}},
		"commands=date,uptime":                  {"commands": {"date", "uptime"}},
		`commands=["echo a, b","ls -l"],executionTimeout=60`: {"commands": {"echo a, b", "ls -l"}, "executionTimeout": {"60"}},
		"commands=[date, uptime]":                            {"commands": {"date", "uptime"}},
		`commands="a=b, c \"d\""`:                            {"commands": {`a=b, c "d"`}},
		`commands=a\,b`:                                      {"commands": {"a,b"}},
		"commands=X=1 env":                                   {"commands": {"X=1 env"}},
		"commands=[]":                                        {"commands": {}},
		"commands=":                                          {"commands": {""}},
		`{"commands":["a","b"],"n":3,"t":true,"s":"x"}`:      {"commands": {"a", "b"}, "n": {"3"}, "t": {"true"}, "s": {"x"}},
	} {
		got, err := ParseParameters(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, place := range map[string]string{
		"uptime": "column 1", "commands=[a": "column 10", `commands="a`: "column 10", "=x": "column 1", "a=1,a=2": "twice", `a="x"y`: "column 6", "a=[x]y": "column 6",
		"{": "JSON", `{"a":null}`: "parameter a", `{"a":1} x`: "closing brace",
	} {
		_, err := ParseParameters(text)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err), text)
		require.ErrorContains(t, err, place, text)
	}
}

func FuzzParseParameters(f *testing.F) {
	for _, s := range []string{"a=b", `a=["x","y"],b=c`, `{"a":["b"]}`, `a="\""`, `a=\,`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseParameters(text)
		if err != nil || m == nil {
			return
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		var want map[string][]string // what JSON makes of bytes that are no UTF-8
		require.NoError(t, json.Unmarshal(b, &want))
		again, err := ParseParameters(string(b))
		require.NoError(t, err)
		require.Equal(t, want, again, "the JSON form means the same")
	})
}

package document_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
)

func TestSmoke(t *testing.T) {
	d, err := document.Parse([]byte(`{"schemaVersion":"2.2","description":"x","parameters":{"Message":{"type":"String","default":"hi","interpolationType":"ENV_VAR"},
"commands":{"type":"StringList"}},
"mainSteps":[{"action":"aws:runShellScript","name":"a","inputs":{"runCommand":["echo {{Message}}","echo \"{{ Message }}\"","{{ commands }}"],"TimeoutSeconds":"60"}},
{"action":"aws:runPowerShellScript","name":"b","precondition":{"StringEquals":["platformType","Windows"]},"inputs":{"runCommand":["echo {{Message}}"]}}]}`), nil)
	require.NoError(t, err)
	b, err := d.Bind(map[string][]string{"Message": {"x;y"}, "commands": {"ls", "uptime"}}, nil)
	require.NoError(t, err)
	steps := b.Steps("Linux")
	s, err := steps[0].Script()
	require.NoError(t, err)
	require.Equal(t, "echo \"${SSM_Message}\"\necho \"${SSM_Message}\"\nls\nuptime\n", s)
	require.Equal(t, document.Skip, steps[1].Verdict)
	require.Equal(t, map[string]string{"SSM_Message": "x;y"}, steps[0].Env)
	require.Equal(t, []string{"feature:ENV_VAR", "feature:preconditions"}, d.Needs())
}

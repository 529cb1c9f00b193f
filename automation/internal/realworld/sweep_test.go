package realworld

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
)

// TestOwn runs a runbook of the project's own, with a loop, a branch and scripts, so that something runs where AWS's are not there.
func TestOwn(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("testdata", "sweep.yaml"))
	require.NoError(t, err)
	row := story{runbook: "sweep", params: params{"InstanceIds": {"i-1", "i-2", "i-3"}, "AutomationAssumeRole": {role}}, world: func(a *aws) {
		a.instance("i-1", "running", nil).instance("i-2", "running", nil).instance("i-3", "running", nil)
		a.tagged("i-2")["owner"] = "bea"
		busy, real := 2, a.ops["ec2:describetags"]
		a.on("ec2:DescribeTags", func(in m) (m, error) {
			if busy--; busy >= 0 {
				return nil, no("RequestLimitExceeded", "Request limit exceeded.")
			}
			return real(in)
		})
	}, status: automation.Success, scripts: 4, order: "ec2:StopInstances ec2:StopInstances",
		steps:   "Each=Success Look=Success Decide=Success Stop=Success Count=Success Look=Success Decide=Success Look=Success Decide=Success Stop=Success Count=Success Report=Success",
		outputs: map[string]string{"Report.Text": `"2 stopped"`}, check: func(t *testing.T, a *aws, x *automation.Execution) {
			require.Equal(t, "stopped", a.things["instance"]["i-1"].state)
			require.Equal(t, "running", a.things["instance"]["i-2"].state)
			require.Equal(t, "stopped", a.things["instance"]["i-3"].state)
			require.Equal(t, map[string]bool{role: true}, a.roles)
			require.Equal(t, "in eu-west-1\n", x.Steps[len(x.Steps)-1].Outputs["Printed"])
		}}
	row.tell(t, &runbooks{own: map[string]string{"sweep": string(src)}})
}

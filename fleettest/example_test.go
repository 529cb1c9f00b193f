package fleettest_test

import (
	"testing"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fleettest"
)

func TestDeploy(t *testing.T) {
	fleet := fleettest.New(t, 100)
	fleet.Script = func(node, script string) (string, int) { return "deployed", 0 } // what a script does
	c, _, err := fleet.Commands.Execute(t.Context(), command.SendRequest{
		DocumentName: "AWS-RunShellScript", Targets: fleet.All(),
		Parameters: map[string][]string{"commands": {"deploy"}}})
	if err != nil || c.Counts["Success"] != 100 {
		t.Fatal(c.StatusDetails, err)
	}
}

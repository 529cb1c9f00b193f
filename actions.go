package fleetwright

import (
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/download"
	softwareinventory "github.com/fleetwright/fleetwright/action/inventory"
	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/action/rundocument"
	"github.com/fleetwright/fleetwright/action/shell"
)

// Actions returns the built-in actions for an agent, as AWS's agent has them: aws:runShellScript, aws:runPowerShellScript, aws:runDocument,
// aws:downloadContent and aws:softwareInventory, and fleetwright:patchBaseline, which AWS-RunPatchBaseline runs. Those
// of more take the place of a built-in of the same name, or are added. Hosts that want other options of a built-in put it together themselves with action.NewSet.
func Actions(more ...action.Action) (action.Set, error) {
	set, err := action.NewSet(shell.New(nil), shell.NewPowerShell(nil), rundocument.New(nil), download.New(nil), softwareinventory.New(softwareinventory.Options{Instance: true}),
		patchbaseline.New(nil))
	if err != nil {
		return set, err
	}
	return set.Replace(more...)
}

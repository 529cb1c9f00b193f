package agent

import (
	"strings"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// makePlan checks and reads a Run's document. After a restart the same Run gives the same plan.
func makePlan(run *message.Run, platform string, known *document.Actions) (*action.Plan, error) {
	hash := run.DocumentHash
	if hash == "" {
		hash = "missing"
	}
	return action.Read(&action.Source{Name: run.DocumentName, Document: run.Document, Format: run.Format, Hash: hash, Parameters: run.Parameters, SSM: run.SSM, RefuseRaw: run.RefuseRaw}, platform, known)
}

// shorten makes a reason safe to print and short enough to travel.
func shorten(reason string) string {
	const most = 1000
	reason = fault.Clean(reason)
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "") + "…"
	}
	return reason
}

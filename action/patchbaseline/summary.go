package patchbaseline

import (
	"cmp"
	"slices"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// mostListed is how many patches of a state are named in the output; the report has them all.
const mostListed = 200

// print tells a person what was found and done.
func (j *job) print(r *patch.Report, plan *patch.Plan) {
	j.say("")
	j.say("Operation          %s", r.Operation)
	j.say("Operating system   %s %s", r.OperatingSystem, r.Product)
	j.say("Baseline           %s", fault.Clean(cmp.Or(j.snap.Baseline.Name, r.BaselineID)))
	if r.PatchGroup != "" {
		j.say("Patch group        %s", fault.Clean(r.PatchGroup))
	}
	j.say("Snapshot           %s", r.SnapshotID)
	j.say("Compliance         %s", r.Compliance)
	n := r.Counts
	for _, c := range []struct {
		name string
		n    int
	}{{"Installed", n.Installed}, {"InstalledOther", n.InstalledOther}, {"InstalledPendingReboot", n.InstalledPendingReboot}, {"InstalledRejected", n.InstalledRejected}, {"Missing", n.Missing},
		{"Failed", n.Failed}, {"NotApplicable", n.NotApplicable}, {"AvailableSecurityUpdate", n.AvailableSecurityUpdates}} {
		j.say("  %-24s %6d", c.name, c.n)
	}
	for _, s := range []patch.State{patch.StateFailed, patch.StateMissing, patch.StateInstalledPendingReboot, patch.StateInstalledRejected} {
		listed := 0
		for i := range r.Patches {
			p := &r.Patches[i]
			if p.State != s {
				continue
			}
			if listed++; listed > mostListed {
				continue
			}
			line := fault.Clean(p.Key.String() + " " + p.Installed)
			if p.Wanted != "" && p.Wanted != p.Installed {
				line += " -> " + fault.Clean(p.Wanted)
			}
			if p.Severity != "" || p.Classification != "" {
				line += " (" + fault.Clean(p.Classification+" "+p.Severity) + ")"
			}
			if p.Held {
				line += " (held)"
			}
			if at := slices.IndexFunc(j.why, func(r reason) bool { return r.Key == p.Key }); at >= 0 && s == patch.StateFailed {
				line += ": " + fault.Clean(j.why[at].Why)
			}
			j.say("%-24s %s", s, line)
		}
		if listed > mostListed {
			j.say("%-24s … and %d more", s, listed-mostListed)
		}
	}
	if plan != nil && len(plan.Steps) > 0 {
		done := 0
		for _, s := range plan.Steps {
			if !slices.ContainsFunc(r.Patches, func(p patch.Patch) bool { return p.Key == s.Key && p.State == patch.StateFailed }) {
				done++
			}
		}
		j.say("%d of %d packages were brought to the version that was decided.", done, len(plan.Steps))
	}
}

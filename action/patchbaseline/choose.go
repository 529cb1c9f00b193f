package patchbaseline

import (
	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// manager returns the package manager of the machine.
func (a *Action) manager(c *action.Call, t *tools, s system) (Manager, error) {
	const op = "patchbaseline.Manager"
	if a.o.Manager != nil {
		return a.o.Manager(c)
	}
	switch s.os.Family() {
	case patch.FamilyApt:
		return newApt(t)
	case patch.FamilyYum:
		return newDnf(t, s)
	case patch.FamilyZypper:
		return newZypper(t)
	case patch.FamilyWindows:
		return &windows{t}, nil
	}
	return nil, fault.New(op, fault.UnsupportedOperatingSystem, "there is no package manager for %s here: the host can bring one in Options.Manager", s.os)
}

package patchbaseline

import (
	"context"
	"io/fs"

	"github.com/fleetwright/fleetwright/patch"
)

// Manager is the package manager of one machine, for one run of the action. Its methods are called one after another.
type Manager interface {
	// Refresh fetches the metadata of the repositories.
	Refresh(ctx context.Context) error
	// Read returns what is installed and on offer. names are packages that matter although they may not be installed.
	Read(ctx context.Context, names []string) (*Machine, error)
	// Install puts the steps on the machine, each in exactly its version, as many of them as can be. refused says of a package that comes along as a dependency whether it may not; nil: all may.
	// It returns, for steps that it knows not to have been done, why; what was done is read afterwards. An error means that nothing more was tried.
	Install(ctx context.Context, steps []patch.Step, refused func(patch.Available) bool) (map[patch.Key]string, error)
	// RebootRequired returns the machine's own word on whether it must be restarted.
	RebootRequired(ctx context.Context) (bool, error)
}

// Machine is what a Manager reads.
type Machine struct {
	Facts     patch.NodeFacts // Arch, and what else the reader knows; OperatingSystem and Product are filled in by the action
	Installed []patch.Installed
	Available []patch.Available
	// Warnings are for the operator: what is odd, but does not stop a decision.
	Warnings []string
	// Broken says why nothing can be installed before somebody looks at the machine; "" when all is well.
	Broken string
}

// tree is the file system of the machine.
type tree struct {
	fs.FS
	dir  string // "" for this machine
	done func() error
}

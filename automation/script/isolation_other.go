//go:build !linux

package script

import (
	"runtime"

	"github.com/fleetwright/fleetwright/fault"
)

func (*User) wrap(*box) error { return cannot() }

func (*Namespace) wrap(*box) error { return cannot() }

func cannot() error {
	return fault.New("script.Isolate", fault.UnsupportedOperation, "scripts cannot be kept apart on %s: run them on a node with script.NewAgent", runtime.GOOS)
}

func (b *box) start() error { return cannot() }

func (b *box) kill() {}

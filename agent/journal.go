package agent

import (
	"errors"

	"github.com/fleetwright/fleetwright/message"
)

// Store is the seam for the journal: where an agent keeps its entries. FileStore is the one on disk. One goroutine uses it at a time.
type Store interface {
	// Load returns every entry as it was last put. An entry that cannot be read whole is returned as far as it can, without its Run: the agent then never starts it.
	Load() ([]Entry, error)
	// Put makes the entry durable in the place of the one of its reference: when it returns nil the entry survives a power cut, when it returns an error
	// either the old or the new entry does.
	Put(e *Entry) error
	// Delete forgets the entry of the reference, if there is one. It need not be durable.
	Delete(ref message.Ref) error
}

// ErrDamaged: the journal has, under the reference's name, something that cannot be read. Nothing of that reference starts.
var ErrDamaged = errors.New("agent: the journal's record of this command is damaged")

package agent

import (
	"fmt"
	"io/fs"
	"os"
)

// private trusts the directory's access control list, which the installer of an agent sets.
func private(string, fs.FileInfo) error { return nil }

// syncDir: names are durable with their files.
func syncDir(*os.Root) error { return nil }

// lock takes the directory for this process alone, until the file is closed. What an agent that was killed left can be removed; what a living one holds cannot.
func lock(r *os.Root) (*os.File, error) {
	if err := r.Remove("lock"); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("another agent runs on this directory: %w", err)
	}
	return r.OpenFile("lock", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// free is not known.
func free(string) int64 { return -1 }

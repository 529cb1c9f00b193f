//go:build !unix || solaris || aix

package localkeys

import "os"

// lock does nothing where the platform has no flock: change a key file from one process at a time.
func lock(*os.Root) (unlock func() error, err error) { return func() error { return nil }, nil }

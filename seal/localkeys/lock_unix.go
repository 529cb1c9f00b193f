//go:build unix && !solaris && !aix

package localkeys

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps other processes from changing key files of the directory until unlock.
func lock(root *os.Root) (unlock func() error, err error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil // which releases the lock
}

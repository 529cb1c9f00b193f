//go:build linux || darwin

package patchbaseline

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

// lockHolder returns the process that holds a lock of fcntl on the file, 0 when none does or that cannot be seen. Asking takes no lock.
func lockHolder(fsys fs.FS, name string) int {
	f, err := fsys.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // read only
	file, ok := f.(*os.File)
	if !ok {
		return 0
	}
	l := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &l); err != nil || l.Type == syscall.F_UNLCK {
		return 0
	}
	return max(int(l.Pid), 1) // the holder may live where its id cannot be seen
}

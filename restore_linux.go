package fleetwright

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

const (
	atFDCWD        = -100
	renameExchange = 2
)

// exchange puts next in dir's place in one step, and what was there under the name before.
func exchange(next, dir, before string) error {
	nr := map[string]uintptr{"amd64": 316, "arm64": 276}[runtime.GOARCH] // renameat2
	if nr == 0 {
		return replaceInTwo(next, dir, before)
	}
	a, err := syscall.BytePtrFromString(next)
	if err != nil {
		return err
	}
	b, err := syscall.BytePtrFromString(dir)
	if err != nil {
		return err
	}
	at := atFDCWD
	_, _, errno := syscall.Syscall6(nr, uintptr(at), uintptr(unsafe.Pointer(a)), uintptr(at), uintptr(unsafe.Pointer(b)), renameExchange, 0)
	switch errno {
	case 0:
		return os.Rename(next, before)
	case syscall.ENOSYS, syscall.EINVAL: // an old kernel, or a file system that cannot
		return replaceInTwo(next, dir, before)
	}
	return errno
}

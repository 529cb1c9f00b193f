//go:build linux && (amd64 || arm64)

package boltstore

import (
	"os"
	"syscall"
)

// forget asks the kernel to drop what it caches of the file, so that the next reader sees what the disk has: after a failed fsync the cache holds
// what the disk may not.
func forget(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	_, _, _ = syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0)
}

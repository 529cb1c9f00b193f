//go:build linux || darwin || freebsd

package boltstore

import "syscall"

// diskFree returns how many bytes of path's file system are left for this process, -1 if that cannot be known.
func diskFree(path string) int64 {
	var st syscall.Statfs_t
	if syscall.Statfs(path, &st) != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

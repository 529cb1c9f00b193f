//go:build unix

package agent

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// private refuses a directory that is another user's, or that others may enter.
func private(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user: give the agent a directory of its own", path)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("%s is open to other users, and cannot be closed: %w", path, err)
	}
	return nil
}

const (
	lockTries = 20
	lockPause = 50 * time.Millisecond
)

// syncDir makes the names in a directory durable.
func syncDir(r *os.Root) error {
	f, err := r.Open(".")
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	return f.Sync()
}

// lock takes the directory for this process alone, until the file is closed. It waits a little: an agent that was killed in the very moment of starting a process
// holds its lock until that process has become the one to be started.
func lock(r *os.Root) (*os.File, error) {
	f, err := openFile(r, "lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if try == lockTries {
			f.Close() //nolint:errcheck // nothing was written
			return nil, fmt.Errorf("another agent runs on this directory: %w", err)
		}
		time.Sleep(lockPause)
	}
}

// free returns how many bytes are left for the agent on the directory's disk, -1 when that is not known.
func free(path string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the types differ between platforms
}

package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// fileLock is the right of this process to the store. Its file stays when it is released: a file that goes cannot be locked safely.
type fileLock struct{ f *os.File }

var errLocked = errors.New("locked")

// lockFile takes the lock, waiting at most wait, and writes into the file who has it, so that the loser can be told.
func lockFile(ctx context.Context, path string, wait time.Duration) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := tryLock(f)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return nil, fmt.Errorf("boltstore: cannot lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-deadline.C:
			holder, _ := io.ReadAll(io.LimitReader(f, 512))
			f.Close()
			return nil, fault.New("boltstore.Open", fault.ServiceUnavailable, "%s is in use by %s; stop that process, or give this one another path",
				strings.TrimSuffix(path, ".lock"), nameOf(holder))
		case <-tick.C:
		}
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "unknown program"
	}
	me := fmt.Sprintf("process %d (%s, since %s)", os.Getpid(), exe, time.Now().UTC().Format(time.RFC3339))
	// The name helps, the lock decides: a full disk keeps nobody from opening. Spaces cover what an earlier holder wrote.
	_, _ = f.WriteAt([]byte(fmt.Sprintf("%-511s\n", me)), 0)
	return &fileLock{f}, nil
}

func nameOf(holder []byte) string {
	if s := strings.TrimSpace(string(holder)); s != "" {
		return fault.Clean(s)
	}
	return "another process"
}

func (l *fileLock) release() { l.f.Close() }

//go:build unix && !linux

package action

import (
	"errors"
	"os/exec"
	"syscall"
)

// await returns a channel that is closed when the process ended and was reaped, and what gives Wait's error.
func await(cmd *exec.Cmd) (<-chan struct{}, func() error) {
	ended := make(chan struct{})
	var err error
	go func() { err = cmd.Wait(); close(ended) }()
	return ended, func() error { <-ended; return err }
}

// startTime is not known here.
func startTime(int) uint64 { return 0 }

// KillSession sends the signal to the process group of the leader. It reports whether any process was in it.
func KillSession(leader int, sig syscall.Signal) bool {
	return leader > 1 && syscall.Kill(-leader, sig) == nil
}

// Alive reports the leader of a process group that still has members. Without start times an id that was used again cannot be told apart, so it says no.
func Alive(string, Child) int { return 0 }

var errNoCgroup = errors.New("resource limits need control groups, which this platform does not have")

type cgroup struct{}

func newCgroup(_ string, l Limits) (*cgroup, error) {
	if l.IsZero() {
		return nil, nil
	}
	return nil, errNoCgroup
}

func (*cgroup) apply(*syscall.SysProcAttr) {}
func (*cgroup) kill()                      {}
func (*cgroup) oom() bool                  { return false }
func (*cgroup) remove()                    {}

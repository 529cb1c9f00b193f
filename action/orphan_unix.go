//go:build unix

package action

import (
	"syscall"
	"time"
)

// Stop ends a session that Alive found: SIGTERM, and SIGKILL once the grace is over or as soon as only stragglers are left. It blocks for as long.
func Stop(leader int, grace time.Duration) {
	for end := time.Now().Add(grace); KillSession(leader, syscall.SIGTERM) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	KillSession(leader, syscall.SIGKILL)
}

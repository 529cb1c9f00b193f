package main

import (
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// F4: a node whose disk has no room refuses to start anything, and says why; the others go on.
func TestANodeOnAFullDiskRefuses(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=12m"); err != nil { // less than an agent wants free
		t.Skipf("SKIPPED: needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) }) //nolint:errcheck // the directory goes
	f := &lab{t: t, dir: t.TempDir()}
	p := f.plane("127.0.0.1:0")
	full, ids := f.agents(1, "Role=web", "-dir", filepath.Join(disk, "node"))
	_, others := f.agents(1, "Role=web")
	out := f.ok("send", "-targets", "Key=tag:Role,Values=web", "-max-errors", "100%", "--", "echo it ran")
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(out)
	f.ctl("watch", "-q", id)
	said := f.ok("get", id, others[0])
	require.Contains(t, said, "Success")
	said, _, _ = f.ctl("get", id, ids[0])
	require.Contains(t, said, "Undeliverable")
	require.Contains(t, said, "the node's disk is full")
	require.NotContains(t, full[0].log.String(), "step begins")
	require.Zero(t, p.stop())
}

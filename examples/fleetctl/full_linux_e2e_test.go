package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// F4: the control plane's disk is full: it is not ready and says why, what would write is refused with a typed error, reads go on, and it recovers by itself when there is space.
func TestAFullDiskUnderAControlPlane(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("SKIPPED: needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) }) //nolint:errcheck // the directory goes
	f := &lab{t: t, dir: filepath.Join(disk, "data")}
	require.NoError(t, os.Mkdir(f.dir, 0o700))
	p := f.plane("127.0.0.1:0")
	_, ids := f.agents(1, "Role=web")
	first := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(f.ok("send", "-targets", "Key=tag:Role,Values=web", "--", "echo one"))
	f.ok("watch", "-q", first)

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ready := func() (int, string) {
		r, err := client.Get(f.url + "/readyz")
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	until := func(what string, cond func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(50 * time.Millisecond) {
			require.True(t, time.Now().Before(deadline), what)
		}
	}
	until("it is ready", func() bool { code, _ := ready(); return code == 200 })
	ballast := filepath.Join(disk, "ballast")
	b, err := os.Create(ballast)
	require.NoError(t, err)
	io.Copy(b, bytes.NewReader(make([]byte, 12<<20))) //nolint:errcheck // until it is full
	b.Close()
	var said string
	until("a write is refused", func() bool {
		_, errs, code := f.ctl("send", "-targets", "Key=tag:Role,Values=web", "-comment", strings.Repeat("x", 90), "--", "echo "+strings.Repeat("y", 30_000))
		said = errs
		return code == exitRefused
	})
	require.Contains(t, said, "ServiceUnavailable")
	until("it is not ready", func() bool {
		code, text := ready()
		return code == 503 && strings.Contains(text, "BAD writes")
	})
	r, err := client.Get(f.url + "/healthz")
	require.NoError(t, err)
	r.Body.Close()
	require.Equal(t, 200, r.StatusCode, "nobody should kill it for that")
	require.Contains(t, f.ok("get", first, ids[0]), "Success", "reads go on")

	require.NoError(t, os.Remove(ballast))
	until("it is ready again", func() bool { code, _ := ready(); return code == 200 })
	f.ok("run", "-q", "-targets", "Key=tag:Role,Values=web", "--", "echo two")
	require.Contains(t, f.ok("fsck"), "all is well")
	require.Zero(t, p.stop(), p.log.String())
}

// One command's id, searched for in the logs of the control plane and of the agent, is its story in order.
func TestOneCommandIsFollowedThroughTheLogs(t *testing.T) {
	f := &lab{t: t, dir: t.TempDir()}
	p := f.plane("127.0.0.1:0")
	agents, ids := f.agents(1, "Role=web")
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(f.ok("send", "-targets", "Key=tag:Role,Values=web", "--", "echo canary-secret-text"))
	f.ok("watch", "-q", id)
	grep := func(log string) (out []string) {
		for l := range strings.Lines(log) {
			if strings.Contains(l, "command="+id) {
				out = append(out, l)
			}
		}
		return out
	}
	story := grep(agents[0].log.String())
	for i, want := range []string{"command accepted", "step begins", "step ended", "command ended"} {
		require.Greater(t, len(story), i)
		require.Contains(t, story[i], want)
	}
	for _, l := range story {
		require.Contains(t, l, "node="+ids[0])
	}
	plane := grep(p.log.String())
	require.NotEmpty(t, plane)
	require.Contains(t, plane[len(plane)-1], "command ended")
	for _, log := range []string{p.log.String(), agents[0].log.String()} {
		require.NotContains(t, log, "canary-secret-text")
		require.NotContains(t, log, "level=DEBUG")
	}
	require.Zero(t, p.stop())
}

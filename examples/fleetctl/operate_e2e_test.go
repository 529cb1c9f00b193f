package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// Yesterday's backup is restored under running agents: they obey the new epoch, nothing runs twice, what was lost is named, and new commands work.
func TestARestoreUnderRunningAgents(t *testing.T) {
	rounds := 1
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_RESTORES")); err == nil {
		rounds = n
	} else if os.Getenv("FLEETWRIGHT_LONG") == "1" {
		rounds = 5
	}
	for range rounds {
		restoreRound(t)
	}
	t.Logf("FIGURE\trestores of a backup under running agents\t%d\t%d", rounds, 0)
}

func restoreRound(t *testing.T) {
	f := &lab{t: t, dir: filepath.Join(t.TempDir(), "data")}
	require.NoError(t, os.Mkdir(f.dir, 0o700))
	p := f.plane("127.0.0.1:0")
	agents, ids := f.agents(2, "Role=web")
	mark := filepath.Join(t.TempDir(), "ran")
	run := func(name string) (id string) {
		out := f.ok("send", "-targets", "Key=tag:Role,Values=web", "--", "echo "+name+" $AWS_SSM_INSTANCE_ID >> "+mark)
		return regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(out)
	}
	ended := func(id string) { f.ok("watch", "-q", id) }
	// doctor's screens hold what an operator wants to know, on a screen
	screen := func(code int, args ...string) string {
		out, errs, got := f.ctl(append([]string{"doctor"}, args...)...)
		require.Equal(t, code, got, out+errs)
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		require.LessOrEqual(t, len(lines), 24, out)
		for _, l := range lines {
			require.LessOrEqual(t, utf8.RuneCountInString(l), 80, l)
		}
		return out
	}
	before := run("before")
	ended(before)
	backup := filepath.Join(t.TempDir(), "fleet.backup")
	require.Contains(t, f.ok("backup", backup), "not in it   the key file")
	_, errs, code := f.ctl("backup", backup)
	require.Equal(t, exitArguments, code, errs)
	require.Contains(t, f.ok("fsck"), "all is well")
	lost := run("lost")
	ended(lost)
	require.Zero(t, p.stop(), p.log.String())

	// The directory is gone but for the key file, which was kept elsewhere.
	keys := filepath.Join(t.TempDir(), "keys.json")
	b, err := os.ReadFile(filepath.Join(f.dir, "keys.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(keys, b, 0o600))
	require.NoError(t, os.RemoveAll(f.dir))
	cmd := &lab{t: t, dir: t.TempDir()}
	require.Contains(t, cmd.ok("restore", backup, "-dir", f.dir, "-keys", keys), "epoch")
	_, errs, code = cmd.ctl("restore", backup, "-dir", f.dir, "-keys", keys)
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "is not empty")
	require.Contains(t, cmd.ok("fsck", "-dir", f.dir), "all is well")
	require.Contains(t, cmd.ok("compact", "-dir", f.dir), "KiB after")
	address := strings.TrimPrefix(f.url, "https://")
	p = f.plane(address)
	f.online(ids...)
	out := f.ok("get", before)
	require.Contains(t, out, "Success")
	_, _, code = f.ctl("get", lost)
	require.Equal(t, exitRefused, code)
	deadline := time.Now().Add(time.Minute)
	for {
		out, _, _ := f.ctl("doctor")
		if strings.Contains(out, lost) {
			break
		}
		require.True(t, time.Now().Before(deadline), "what was lost is not named: %s\n%s", out, p.log)
		time.Sleep(100 * time.Millisecond)
	}
	require.Contains(t, p.log.String(), lost)
	require.Contains(t, screen(exitRefused), "restored from a backup")
	after := run("after")
	ended(after)
	require.Contains(t, screen(exitOK, after, ids[0]), "it does not wait")
	ran, err := os.ReadFile(mark)
	require.NoError(t, err)
	count := map[string]int{}
	for l := range strings.Lines(string(ran)) {
		count[strings.TrimSpace(l)]++
	}
	require.Len(t, count, 6)
	for l, n := range count {
		require.Equal(t, 1, n, l)
	}
	// A node that goes away: doctor says so.
	require.Zero(t, agents[1].stop())
	away := run("away")
	deadline = time.Now().Add(time.Minute)
	for !strings.Contains(screen(exitOK, away, ids[1]), "not connected") {
		require.True(t, time.Now().Before(deadline))
	}
	require.Zero(t, p.stop(), p.log.String())
}

// /healthz and /readyz answer anybody with a line a check, and operators' requests need credentials.
func TestHealthAndReadiness(t *testing.T) {
	f := &lab{t: t, dir: filepath.Join(t.TempDir(), "data")}
	require.NoError(t, os.Mkdir(f.dir, 0o700))
	p := f.plane("127.0.0.1:0")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(path string) (int, string) {
		r, err := client.Get(f.url + path)
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	code, _ := ask("/healthz")
	require.Equal(t, 200, code)
	deadline := time.Now().Add(time.Minute)
	for {
		code, text := ask("/readyz")
		if code == 200 {
			require.Contains(t, text, "ok  store")
			require.Contains(t, text, "ok  keys")
			require.Contains(t, text, "ok  leases")
			break
		}
		require.True(t, time.Now().Before(deadline), text)
		time.Sleep(50 * time.Millisecond)
	}
	for _, path := range []string{"/v1/admin/doctor", "/v1/admin/health"} {
		code, _ := ask(path)
		require.Equal(t, 401, code)
	}
	var h struct {
		Checks []struct {
			Name string
			OK   bool
		}
	}
	out, errs, got := f.ctl("doctor", "-o", "json")
	require.Zero(t, got, out+errs)
	require.NoError(t, json.Unmarshal([]byte(out), &h))
	require.GreaterOrEqual(t, len(h.Checks), 8)
	require.Zero(t, p.stop())
}

//go:build linux

package fleetwright_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

// hostile is what a user without rights tries on the directory $D below $P, for ever. What works is said with FOUND; ROUND ends a round. The canary comes in two halves, so that it
// is never in this program's own arguments or environment.
const hostile = `
look() { awk -v what="$1" 'BEGIN { c = ENVIRON["HALF1"] ENVIRON["HALF2"] } index($0, c) { print "FOUND the canary in " what; exit }'; }
try() { what="$1"; shift; if "$@" >/dev/null 2>&1; then echo "FOUND $what"; fi; }
put() { echo x >"$1"; }
trap '' TERM
while :; do
	if [ -d "$D" ]; then
		find "$D" -mindepth 1 2>/dev/null | head -n 1 | sed 's/^/FOUND listed: /'
		try "a file could be made" put "$D/evil"
		try "a directory could be made" mkdir "$D/agents/evil"
		try "a link could be made in the directory" ln -s /etc "$D/agents/link"
		try "a link could be made over the store" ln -sf /etc/passwd "$D/fleet.db"
		try "the directory could be moved" mv "$D" "$D.moved"
		try "the directory could be opened to others" chmod 777 "$D"
		try "the keys could be read" cat "$D/keys.json"
	fi
	find "$P" -mindepth 1 -user 0 ! -type l -perm /022 ! -path "$P/tmp" 2>/dev/null | head -n 1 | sed 's/^/FOUND others may write /'
	for f in $(find "$P" -mindepth 1 -user 0 -type f -perm /044 2>/dev/null); do look "$f" <"$f"; done
	cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | look "a command line"
	cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | look "an environment"
	try "a process of the fleet could be stopped" kill -STOP "$CHILD"
	echo ROUND
done
`

// T-LOCAL: a user of the machine without rights, who tries what he can while the control plane and an agent work beside him under an open umask, gets nothing to read, to write or to
// redirect, and sees no secret in any command line, environment or temporary file.
func TestT_LOCAL(t *testing.T) {
	if dir := os.Getenv("FLEETWRIGHT_TEST_LOCAL"); dir != "" {
		localVictim(t, dir)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: T-LOCAL needs a second user, which root alone can become")
	}
	if testing.Short() {
		t.Skip("not under -short: it starts processes")
	}
	parent, err := os.MkdirTemp("", "local")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(parent) }) //nolint:errcheck // a temporary folder
	require.NoError(t, os.Chmod(parent, 0o1777|os.ModeSticky))
	require.NoError(t, os.Mkdir(filepath.Join(parent, "tmp"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(parent, "tmp"), 0o777|os.ModeSticky))
	dir := filepath.Join(parent, "fleet")
	canary := secretWord(t)

	victim := exec.Command(os.Args[0], "-test.run=^TestT_LOCAL$", "-test.v")
	victim.Env = append(os.Environ(), "FLEETWRIGHT_TEST_LOCAL="+dir, "TMPDIR="+filepath.Join(parent, "tmp"), "LD_PRELOAD=", "BASH_ENV=/nowhere/evil", "ENV=/nowhere/evil")
	in, err := victim.StdinPipe()
	require.NoError(t, err)
	var said bytes.Buffer
	victim.Stdout, victim.Stderr = &said, &said
	require.NoError(t, victim.Start())

	enemy := exec.Command("sh", "-c", hostile)
	enemy.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "D=" + dir, "P=" + parent, "HALF1=" + canary[:20], "HALF2=" + canary[20:], fmt.Sprintf("CHILD=%d", victim.Process.Pid)}
	enemy.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	enemy.Dir = "/"
	out, err := enemy.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, enemy.Start())
	rounds, found := make(chan struct{}, 1<<16), make(chan []string, 1)
	go func() { // ends with the enemy
		var got []string
		for s := bufio.NewScanner(out); s.Scan(); {
			if line := s.Text(); line != "ROUND" {
				got = append(got, line)
				continue
			}
			select {
			case rounds <- struct{}{}:
			default:
			}
		}
		found <- got
	}()
	stop := func() {
		syscall.Kill(-enemy.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it is gone
		enemy.Wait()                                      //nolint:errcheck // it was killed
	}
	defer stop()
	wait := func(n int) {
		for range n {
			<-rounds
		}
	}
	wait(1)
	fmt.Fprintln(in, canary)
	require.NoError(t, victim.Wait(), said.String())
	n := len(rounds) + 1
	for len(rounds) > 0 {
		<-rounds
	}
	wait(2) // what was left behind
	stop()
	got := <-found
	require.Empty(t, got)
	testenv.Figure(t, "rounds of a hostile local user", n+2, len(got))
}

// The enemy of TestT_LOCAL sees what is there to see.
func TestT_LOCAL_Bites(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: T-LOCAL needs a second user, which root alone can become")
	}
	parent, err := os.MkdirTemp("", "local")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(parent) }) //nolint:errcheck // a temporary folder
	require.NoError(t, os.Chmod(parent, 0o777))
	dir := filepath.Join(parent, "fleet")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.json"), []byte("0123456789012345678901234567890123456789"), 0o644))
	enemy := exec.Command("sh", "-c", strings.Replace(hostile, "echo ROUND", "break", 1))
	enemy.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "D=" + dir, "P=" + parent, "HALF1=01234567890123456789", "HALF2=01234567890123456789", "CHILD=999999999"}
	enemy.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	enemy.Dir = "/"
	out, err := enemy.Output()
	require.NoError(t, err)
	for _, want := range []string{"FOUND listed", "FOUND a file could be made", "FOUND the directory could be moved", "FOUND others may write"} {
		require.Contains(t, string(out), want)
	}
}

func secretWord(t *testing.T) string {
	t.Helper()
	return strings.ReplaceAll(message.NewID(nil), "-", "") + "canary"
}

// localVictim is the control plane with an agent, in a process of its own whose umask closes nothing.
func localVictim(t *testing.T, dir string) {
	syscall.Umask(0)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	require.NoError(t, err)
	canary := strings.TrimSpace(line)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := fleetwright.Open(ctx, dir, nil)
	require.NoError(t, err)
	a, err := f.StartAgent(ctx, "victim", nil)
	require.NoError(t, err)
	_, err = f.Parameters.PutParameter(ctx, parameter.PutParameterRequest{Name: "/secret", Type: parameter.SecureString, Value: parameter.Secret(secret.String(canary))})
	require.NoError(t, err)
	doc := `{"schemaVersion":"2.2","parameters":{"word":{"type":"String","interpolationType":"ENV_VAR"}},"mainSteps":[{"action":"aws:runShellScript","name":"s","inputs":{"runCommand":[
		"test -n \"$SSM_word\" || exit 9", "test -z \"$BASH_ENV$ENV$LD_PRELOAD\" || exit 8", "umask", "touch made", "echo done"]}}]}`
	for range 20 {
		req := command.SendRequest{Content: []byte(doc), Parameters: map[string][]string{"word": {canary}}}
		req.InstanceIDs = []string{a.ID}
		c, err := f.Commands.Send(ctx, req)
		for fault.CodeOf(err) == fault.UnsupportedPlatformType { // the agent has not said yet what it can do
			time.Sleep(10 * time.Millisecond)
			c, err = f.Commands.Send(ctx, req)
		}
		require.NoError(t, err)
		c, err = f.Commands.Wait(ctx, c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status, "the script's environment is not what it should be")
	}
	require.NoError(t, f.Close())
}

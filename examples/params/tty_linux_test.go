package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pseudo opens a terminal of the test's: what is written to the first is typed on the second.
func pseudo(t *testing.T) (screen, line *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("SKIPPED: no pseudo terminals here: " + err.Error())
	}
	t.Cleanup(func() { screen.Close() }) //nolint:errcheck // the test ends
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	line, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	return screen, line
}

// type what is asked for, and return all that the screen showed.
func converse(t *testing.T, args []string, answers ...string) (shown string, code int, echo bool) {
	t.Helper()
	dir := withSecret(t)
	screen, line := pseudo(t)
	cmd := tool(t, dir, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = line, line, line
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	var all strings.Builder
	buf := make([]byte, 4096)
	until := func(s string) {
		from := all.Len()
		for !strings.Contains(all.String()[from:], s) {
			n, err := screen.Read(buf)
			require.NoError(t, err, "it showed %q", all.String())
			all.Write(buf[:n])
		}
	}
	for _, a := range answers {
		until(": ")
		_, err := screen.WriteString(a)
		require.NoError(t, err)
	}
	err := cmd.Wait()
	termios, e := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	require.NoError(t, e)
	line.Close() //nolint:errcheck // then the screen ends
	for {
		n, err := screen.Read(buf)
		if err != nil {
			break
		}
		all.Write(buf[:n])
	}
	if cmd.ProcessState.Success() {
		out, err := tool(t, dir, "get", "-n", "/typed").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, strings.TrimSuffix(answers[0], "\n"), string(out))
	}
	return all.String(), codeOf(t, err), termios.Lflag&unix.ECHO != 0
}

func TestASecretIsTypedUnseen(t *testing.T) {
	put := []string{"put", "-secret", "/typed"}
	t.Run("twice alike", func(t *testing.T) {
		shown, code, echo := converse(t, put, "typed canary\n", "typed canary\n")
		require.Zero(t, code, shown)
		require.NotContains(t, shown, "canary")
		require.Contains(t, shown, "value, again: ")
		require.True(t, echo, "the terminal is as it was")
	})
	t.Run("twice, not alike", func(t *testing.T) {
		shown, code, echo := converse(t, put, "typed canary\n", "typed canarx\n")
		require.Equal(t, 2, code)
		require.NotContains(t, shown, "canar")
		require.Contains(t, shown, "not the same the second time")
		require.True(t, echo)
	})
	t.Run("interrupted", func(t *testing.T) {
		shown, code, echo := converse(t, put, "half of a can\x03")
		require.Equal(t, 1, code)
		require.NotContains(t, shown, "half")
		require.Contains(t, shown, "interrupted")
		require.True(t, echo, "the terminal is as it was")
	})
}

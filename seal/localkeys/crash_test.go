package localkeys_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/seal/localkeys"
)

// crashPath names the environment variable that turns the test binary into the process that is killed.
const crashPath = "LOCALKEYS_CRASH_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		for {
			k, err := localkeys.Open(path, nil)
			if err != nil {
				fmt.Println("error")
				fmt.Println(err)
				os.Exit(1)
			}
			id, err := k.Rotate(context.Background())
			if err != nil {
				fmt.Println("error")
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(id)
		}
	}
	os.Exit(m.Run())
}

// TestKilledRotationsLoseNoKey (T-KEYS) kills a process that rotates: every key that it named is in the file, which is always whole.
func TestKilledRotationsLoseNoKey(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	path, first := create(t, nil)
	promised := []string{first.Primary()}
	for round := range rounds {
		cmd := exec.Command(exe, "-test.run=^$")
		cmd.Env = append(os.Environ(), crashPath+"="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines, n := bufio.NewScanner(out), 0
		for lines.Scan() {
			require.NotEqual(t, "error", lines.Text())
			promised = append(promised, lines.Text())
			if n++; n == 1+round%5 {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
		k, err := localkeys.Open(path, nil)
		require.NoError(t, err)
		have := map[string]bool{}
		for _, g := range k.Generations() {
			have[g.ID] = true
		}
		for _, id := range promised {
			require.True(t, have[id], "%s was promised and is gone", id)
		}
	}
	k, err := localkeys.Open(path, nil)
	require.NoError(t, err)
	id, err := k.Rotate(t.Context())
	require.NoError(t, err)
	require.Equal(t, id, k.Primary())
	require.Equal(t, []string{filepath.Base(path)}, names(t, path))
}

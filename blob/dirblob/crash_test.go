package dirblob_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/dirblob"
)

// crashDir names the environment variable that turns the test binary into the writer that is killed.
const crashDir = "DIRBLOB_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		write(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write puts and deletes until it is killed, and says what was acknowledged.
func write(dir string) {
	s, err := dirblob.Open(dir, nil)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for i := 0; ; i++ {
		key := "tree/" + strconv.Itoa(i%5) + "/x"
		if i%7 == 6 {
			if err := s.Delete(context.Background(), "tree/"+strconv.Itoa(i%5)); err != nil {
				fmt.Println("error", err)
				return
			}
			fmt.Println("deleted", key, i)
			continue
		}
		if _, err := s.Put(context.Background(), key, bytes.NewReader(content(i))); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("put", key, i)
	}
}

func content(i int) []byte { return bytes.Repeat([]byte(strconv.Itoa(i)+"."), 5000) }

// TestKilledWritersLoseNothing kills a writer after a few acknowledgements, over and over in one directory: what was acknowledged is there, or what came after it; nothing is torn.
func TestKilledWritersLoseNothing(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "blobs")
	for round := range rounds {
		cmd := exec.Command(exe, "-test.run=^$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		acked := map[string]int{} // by key: the number whose content it has, -1 when deleted
		lines, n := bufio.NewScanner(out), 0
		last := -1
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			require.NotEqual(t, "error", f[0], lines.Text())
			i, err := strconv.Atoi(f[2])
			require.NoError(t, err)
			acked[f[1]], last = i, i
			if f[0] == "deleted" {
				acked[f[1]] = -1
			}
			if n++; n == 3+round%11 {
				require.NoError(t, cmd.Process.Kill()) // what it does until the signal arrives is acknowledged too, in the lines that follow
			}
		}
		_ = cmd.Wait()
		require.GreaterOrEqual(t, n, 3)
		s := open(t, dir, nil)
		for key, i := range acked {
			r, err := s.Open(t.Context(), key)
			if err != nil {
				require.ErrorIs(t, err, blob.ErrNotFound)
				next := last + 1
				require.True(t, i == -1 || next%7 == 6 && key == "tree/"+strconv.Itoa(next%5)+"/x", "%s was acknowledged and is gone", key)
				continue
			}
			b, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			got, _, _ := strings.Cut(string(b), ".")
			g, err := strconv.Atoi(got)
			require.NoError(t, err)
			require.Equal(t, content(g), b, "%s is torn", key)
			require.True(t, g == i || g == last+1, "%s holds %d, acknowledged was %d of %d", key, g, i, last)
		}
		for _, f := range files(t, dir) {
			require.False(t, strings.HasPrefix(f, ",tmp"), f)
		}
	}
}

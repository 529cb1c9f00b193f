package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// The test binary starts itself again as the process that is killed: the variable says what to do, its arguments follow.
const childEnv = "FLEETWRIGHT_BOLTSTORE_CHILD"

func TestMain(m *testing.M) {
	switch args := strings.Split(os.Getenv(childEnv), "|"); args[0] {
	case "":
		os.Exit(m.Run())
	case "hold":
		childHold(args[1])
	case "write":
		childWrite(args[1], args[2])
	case "faults":
		childFaults(args[1])
	}
}

func child(t *testing.T, wrap []string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	require.NoError(t, err)
	argv := append(wrap, exe, "-test.run=^$")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(args, "|"))
	cmd.Stderr = os.Stderr
	return cmd
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// childHold has the store until its input ends.
func childHold(path string) {
	s, err := boltstore.Open(context.Background(), path, nil)
	fatal(err)
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	fatal(s.Close())
}

func TestTheHolderIsNamedAcrossProcesses(t *testing.T) {
	path := fileOf(t)
	cmd := child(t, nil, "hold", path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)
	_, err = boltstore.Open(t.Context(), path, &boltstore.Options{LockWait: 50 * time.Millisecond})
	require.ErrorContains(t, err, fmt.Sprintf("in use by process %d (", cmd.Process.Pid))
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	mustOpen(t, path, nil)
}

const writers = 8

// childWrite writes until it is killed: each Update one record and a count of all records; what was acknowledged is printed.
func childWrite(path, round string) {
	s, err := boltstore.Open(context.Background(), path, nil)
	fatal(err)
	var mu sync.Mutex
	for w := range writers {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s/%d/%06d", round, w, i)
				fatal(s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
					n, err := tx.Get(ctx, []byte("count"))
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					count, _ := strconv.Atoi(string(n))
					return errors.Join(tx.Put([]byte("r/"+id), []byte(strings.Repeat(id, 5))), tx.Put([]byte("count"), []byte(strconv.Itoa(count+1))))
				}))
				mu.Lock()
				_, err := os.Stdout.WriteString(id + "\n")
				mu.Unlock()
				fatal(err)
			}
		}()
	}
	select {}
}

func kills(short, long int) int {
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_KILLS")); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return short
	}
	return long
}

// what was acknowledged is there after kill -9, and every Update is there whole or not at all.
func TestKilledProcessesLoseNothingAcknowledged(t *testing.T) {
	path := fileOf(t)
	acked := map[string]bool{}
	rounds := kills(3, 25)
	for round := range rounds {
		cmd := child(t, nil, "write", path, fmt.Sprintf("%04d", round))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		first := true
		for lines.Scan() {
			acked[lines.Text()] = true
			if first {
				first = false
				time.AfterFunc(time.Duration(rand.IntN(80_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		require.Error(t, cmd.Wait(), "it was to be killed")
		require.False(t, first, "the child acknowledged nothing")

		s, err := boltstore.Open(t.Context(), path, nil)
		require.NoError(t, err)
		require.NoError(t, s.Check(t.Context()))
		there, count := 0, ""
		require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			there = 0
			missing := len(acked)
			for it, err := range r.Scan(ctx, store.Range{Start: []byte("r/"), End: []byte("r0")}) {
				if err != nil {
					return err
				}
				id := string(it.Key[2:])
				if string(it.Value) != strings.Repeat(id, 5) {
					return fmt.Errorf("%s has the value %q", id, it.Value)
				}
				if acked[id] {
					missing--
				}
				there++
			}
			if missing != 0 {
				return fmt.Errorf("%d of %d acknowledged records are lost", missing, len(acked))
			}
			v, err := r.Get(ctx, []byte("count"))
			count = string(v)
			return err
		}), "round %d", round)
		require.Equal(t, strconv.Itoa(there), count, "records and their count are written together")
		require.NoError(t, s.Close())
	}
	t.Logf("%d kills, %d acknowledged records, none lost", rounds, len(acked))
}

// childFaults makes one Update after another while the system calls below fail now and then, and holds each to its word.
func childFaults(path string) {
	s, err := boltstore.Open(context.Background(), path, &boltstore.Options{RetryEvery: 5 * time.Millisecond})
	fatal(err)
	ctx := context.Background()
	want := map[string]bool{}
	readOnly, unknown := 0, 0
	for i := range 120 {
		key := fmt.Sprintf("%03d", i)
		err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte(key), make([]byte, 5000)) })
		switch {
		case err == nil:
			want[key] = true
		case errors.Is(err, store.ErrReadOnly):
			readOnly++
			want[key] = false
		case errors.Is(err, store.ErrCommitUnknown):
			unknown++
		default:
			fatal(err)
		}
		for n := 0; s.Err() != nil; n++ {
			if n > 5000 {
				fatal(fmt.Errorf("no recovery: %w", s.Err()))
			}
			time.Sleep(time.Millisecond)
		}
		fatal(s.View(ctx, func(ctx context.Context, r store.Reader) error {
			for k, there := range want {
				if _, err := r.Get(ctx, []byte(k)); errors.Is(err, store.ErrNotFound) == there {
					return fmt.Errorf("%s: there should be %v, and Get says %v", k, there, err)
				}
			}
			return nil
		}))
	}
	fatal(s.Check(ctx))
	fmt.Printf("readonly %d unknown %d\n", readOnly, unknown)
	for k, there := range want {
		fmt.Println(k, there)
	}
	fatal(s.Close())
}

func strace(t *testing.T) string {
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: strace is not installed, no faults are injected into system calls")
	}
	if out, err := exec.Command(path, "-qq", "-e", "trace=none", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: strace cannot trace here: %v %s", err, out)
	}
	return path
}

// F4: EIO and ENOSPC at any write or fsync are typed errors; what was acknowledged stays and what was refused never comes.
func TestFailingSystemCalls(t *testing.T) {
	tracer := strace(t)
	for _, inject := range []string{
		"fdatasync:error=EIO:when=12+9", "fdatasync:error=EIO:when=13+8", "pwrite64:error=ENOSPC:when=30+17", "pwrite64:error=EIO:when=31+23",
		"ftruncate:error=ENOSPC:when=1..2", "fsync:error=EIO:when=1",
	} {
		t.Run(inject, func(t *testing.T) {
			if testing.Short() && !strings.HasSuffix(inject, "12+9") && !strings.HasPrefix(inject, "pwrite64:error=ENOSPC") {
				t.Skip("SKIPPED: one of fdatasync and of pwrite64 is enough for -short")
			}
			path := fileOf(t)
			s := mustOpen(t, path, nil) // creation is not what is to fail
			require.NoError(t, s.Close())
			call, _, _ := strings.Cut(inject, ":")
			cmd := child(t, []string{tracer, "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-e", "trace=" + call, "-e", "inject=" + inject}, "faults", path)
			out, err := cmd.Output()
			require.NoError(t, err, "%s", out)
			s = mustOpen(t, path, nil)
			require.NoError(t, s.Check(t.Context()))
			have := map[string]bool{}
			for _, kv := range all(t, s) {
				have[kv[:3]] = true
			}
			var head string
			for line := range strings.Lines(string(out)) {
				if head == "" {
					head = line
					continue
				}
				var k string
				var there bool
				_, err := fmt.Sscan(line, &k, &there)
				require.NoError(t, err)
				require.Equal(t, there, have[k], "%s after the process ended", k)
			}
			t.Logf("%s: %s", inject, strings.TrimSpace(head))
		})
	}
}

// Killed at the n-th call of each kind: creation and commits are whole or not there.
func TestKilledAtEverySystemCall(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a hundred processes; run without -short")
	}
	tracer := strace(t)
	died := 0
	for _, call := range []string{"pwrite64", "fdatasync", "fsync", "ftruncate", "renameat", "rename", "openat"} {
		for n := 1; n <= 16; n++ {
			path := fileOf(t)
			inject := fmt.Sprintf("%s:signal=SIGKILL:when=%d", call, n)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cmd := child(t, []string{tracer, "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-e", "trace=" + call, "-e", "inject=" + inject}, "faults", path)
			go func() { <-ctx.Done(); _ = cmd.Process.Kill() }()
			if _, err := cmd.Output(); err != nil {
				died++
			}
			cancel()
			s, err := boltstore.Open(t.Context(), path, nil)
			require.NoError(t, err, inject)
			require.NoError(t, s.Check(t.Context()), inject)
			for _, kv := range all(t, s) {
				require.Len(t, kv, 4+5000, inject)
			}
			require.NoError(t, s.Close())
		}
	}
	t.Logf("%d processes died in the middle", died)
	require.Greater(t, died, 10)
}

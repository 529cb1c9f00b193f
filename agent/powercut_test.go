//go:build linux

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/powercut"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
)

// lazyDisk is the journal's directory with a bug planted: bytes are not made durable.
type lazyDisk struct{ *dirDisk }

func (d lazyDisk) Create(name string, data []byte) error {
	f, err := openFile(d.root, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (d lazyDisk) Append(name string, offset int64, data []byte) error {
	f, err := openFile(d.root, name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, offset)
	return errors.Join(err, f.Truncate(offset+int64(len(data))), f.Close())
}

const powerStates = 3 // that an entry gets after its first

func powerEntry(i int, seq uint64) *Entry {
	id := fmt.Sprint("c", i)
	return &Entry{Ref: message.Ref{Command: id, Attempt: 1}, Seq: seq, Detail: message.DetailInProgress,
		Run: &message.Run{Ref: message.Ref{Command: id, Attempt: 1}, Document: json.RawMessage(`{"d":"` + strings.Repeat(id, 1+i*13%400) + `"}`)}}
}

// powerJournal is a process that journals commands as the agent does: before a command starts, whenever it has come further, and when it is over and acknowledged, it is forgotten.
func powerJournal(dir string, lie bool) error {
	s, err := OpenFileStore(filepath.Join(dir, "journal"))
	if err != nil {
		return err
	}
	if lie {
		s.disk = lazyDisk{s.disk.(*dirDisk)}
	}
	if _, err := s.Load(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		for seq := range uint64(powerStates + 1) {
			if err := s.Put(powerEntry(i, seq)); err != nil {
				return err
			}
			powercut.Ack("at %d %d", i, seq) // the step starts: its effects are in the world
		}
		if i%3 == 2 {
			powercut.Ack("forget %d", i-1)
			if err := s.Delete(powerEntry(i-1, 0).Ref); err != nil {
				return err
			}
		}
	}
}

// journalLost opens the journal that a cut left and returns what is wrong with it.
func journalLost(dir string, acked []string) error {
	at, forgotten := map[int]uint64{}, map[int]bool{}
	for _, line := range acked {
		var i int
		var seq uint64
		if n, _ := fmt.Sscanf(line, "at %d %d", &i, &seq); n == 2 {
			at[i] = seq
		} else if n, _ := fmt.Sscanf(line, "forget %d", &i); n == 1 {
			forgotten[i] = true
		}
	}
	s, err := OpenFileStore(filepath.Join(dir, "journal"))
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // its contents were looked at
	all, err := s.Load()
	if err != nil {
		return err
	}
	if n := s.Damaged(); n > 0 {
		return fmt.Errorf("%d entries cannot be read", n)
	}
	there := map[int]bool{}
	for _, e := range all {
		var i int
		if _, err := fmt.Sscanf(e.Command, "c%d", &i); err != nil {
			return err
		}
		there[i] = true
		want := powerEntry(i, e.Seq)
		if e.Run == nil || string(e.Run.Document) != string(want.Run.Document) {
			return fmt.Errorf("%s has lost what it is to do", e.Command)
		}
		if e.Seq < at[i] {
			return fmt.Errorf("%s was at %d and is at %d", e.Command, at[i], e.Seq)
		}
	}
	for i := range at {
		if !there[i] && !forgotten[i] {
			return fmt.Errorf("c%d started, and the journal does not know it", i)
		}
	}
	return s.Put(powerEntry(len(at)+1, 0))
}

// F3, F5, G3, R-07: when the power goes, every command that has started is in the journal, whole and as far as it was said to be, on three file systems.
func TestPowerCutOfTheJournal(t *testing.T) {
	switch powercut.Role() {
	case "journal", "liar":
		if err := powerJournal(powercut.Args()[0], powercut.Role() == "liar"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	n := 9
	if testenv.Long() {
		n = testenv.Count(t, "FLEETWRIGHT_CUTS", 300)
	} else if testing.Short() {
		t.Skip("SKIPPED: power is cut in full runs only")
	}
	if !powercut.Enter(t) {
		return
	}
	rig := powercut.NewRig(t)
	rng := rand.New(rand.NewPCG(uint64(n), 4))
	run := func(disk *powercut.Disk, role string, n int) (failures int) {
		const life = 8 // cuts of one journal: what it holds has to be read after each
		var w *powercut.Writer
		var name string
		for i := range n {
			if i%life == 0 {
				if w != nil {
					w.Kill()
					require.NoError(t, os.RemoveAll(filepath.Join(disk.Dir, name)))
				}
				name = fmt.Sprint(role, i)
				require.NoError(t, os.Mkdir(filepath.Join(disk.Dir, name), 0o700))
				w = powercut.Start(t, role, filepath.Join(disk.Dir, name))
				require.True(t, w.Await(1), "the writer died")
			}
			time.Sleep(time.Duration(rng.IntN(15_000)) * time.Microsecond) // the instant of the cut
			cut := disk.Cut(w)
			wake := w.Rest()
			cut.Inspect(func(dir string) {
				if err := journalLost(filepath.Join(dir, name), cut.Acked); err != nil {
					failures++
					if role == "journal" {
						t.Errorf("cut %d of %s, %d acknowledged: %v", i, name, len(cut.Acked), err)
					}
				}
			})
			wake()
		}
		if w != nil {
			w.Kill()
		}
		return failures
	}
	for _, kind := range []string{"ext4", "ext4-5s", "xfs"} {
		share := (n + 2) / 3
		disk := rig.Disk(kind)
		testenv.Figure(t, "power cuts of an agent's journal on "+kind, share, run(disk, "journal", share))
		// The test bites: a journal that does not sync is caught (G17).
		lies := max(3, share/20)
		caught := run(disk, "liar", lies)
		require.Positive(t, caught, "a journal that is not made durable must be caught on %s", kind)
		testenv.Figure(t, "power cuts of a journal that does not sync, not caught, on "+kind, lies, lies-caught)
	}
}

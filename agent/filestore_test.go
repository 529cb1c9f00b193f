package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/message"
)

// strictDisk is a directory that keeps through a crash only what was made durable: of bytes that were being written any part may be there, of names that were changed since the last
// Sync any of the changes may have happened.
type strictDisk struct {
	now      map[string]*inode
	durable  map[string]*inode
	pending  []func(map[string]*inode)
	fail     func(op string) mishap // what happens to the next operation
	crashed  bool
	noFsync  bool // a deliberately wrong disk, to see that the test bites
	noSync   bool
	garbage  func(n int) []byte
	prefixOf func(n int) int
}

type inode struct{ bytes, durable []byte }

type mishap int

const (
	fine        mishap = iota
	fails              // an error, nothing or a part done
	crashBefore        // the machine goes down before
	crashAmid          // and in the middle
)

var errDown = errors.New("the machine is down")

func newStrictDisk() *strictDisk {
	return &strictDisk{now: map[string]*inode{}, durable: map[string]*inode{}, fail: func(string) mishap { return fine }}
}

func (d *strictDisk) begin(op string) (mishap, error) {
	if d.crashed {
		return crashBefore, errDown
	}
	f := d.fail(op)
	if f == crashBefore || f == crashAmid {
		d.crashed = true
	}
	if f == crashBefore {
		return f, errDown
	}
	return f, nil
}

func (d *strictDisk) Names() ([]string, error) { return slices.Sorted(maps.Keys(d.now)), nil }

func (d *strictDisk) Read(name string) ([]byte, error) {
	i := d.now[name]
	if i == nil {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(i.bytes), nil
}

// write puts data at the offset, wholly or, when it breaks off, in part with garbage behind.
func (d *strictDisk) write(f mishap, i *inode, offset int64, data []byte) error {
	whole := append(bytes.Clone(i.bytes[:min(offset, int64(len(i.bytes)))]), data...)
	switch f {
	case fails, crashAmid:
		n := d.prefixOf(len(data))
		i.bytes = append(whole[:int(offset)+n:int(offset)+n], d.garbage(8)...)
		i.durable = i.bytes
		if f == fails {
			return syscall.ENOSPC
		}
		return errDown
	}
	i.bytes = whole
	if !d.noFsync {
		i.durable = whole
	}
	return nil
}

func (d *strictDisk) Create(name string, data []byte) error {
	f, err := d.begin("create")
	if err != nil {
		return err
	}
	if d.now[name] != nil {
		return fs.ErrExist
	}
	i := &inode{}
	d.change(func(m map[string]*inode) { m[name] = i })
	return d.write(f, i, 0, data)
}

func (d *strictDisk) Append(name string, offset int64, data []byte) error {
	f, err := d.begin("append")
	if err != nil {
		return err
	}
	i := d.now[name]
	if i == nil {
		return fs.ErrNotExist
	}
	return d.write(f, i, offset, data)
}

func (d *strictDisk) change(do func(map[string]*inode)) {
	do(d.now)
	d.pending = append(d.pending, do)
}

func (d *strictDisk) Rename(from, to string) error {
	f, err := d.begin("rename")
	if err != nil {
		return err
	}
	if f == fails {
		return syscall.EIO
	}
	i := d.now[from]
	if i == nil {
		return fs.ErrNotExist
	}
	d.change(func(m map[string]*inode) {
		delete(m, from)
		m[to] = i
	})
	if f == crashAmid {
		return errDown
	}
	return nil
}

func (d *strictDisk) Remove(name string) error {
	f, err := d.begin("remove")
	if err != nil {
		return err
	}
	if f == fails {
		return syscall.EIO
	}
	if d.now[name] == nil {
		return fs.ErrNotExist
	}
	d.change(func(m map[string]*inode) { delete(m, name) })
	return nil
}

func (d *strictDisk) Sync() error {
	f, err := d.begin("sync")
	if err != nil {
		return err
	}
	if f == fails {
		return syscall.EIO
	}
	if f == crashAmid {
		return errDown
	}
	if !d.noSync {
		d.durable, d.pending = maps.Clone(d.now), nil
	}
	return nil
}

// reboot returns the disk as the next start of the machine finds it.
func (d *strictDisk) reboot(happened func() bool) *strictDisk {
	names := maps.Clone(d.durable)
	for _, do := range d.pending {
		if happened() {
			do(names)
		}
	}
	n := newStrictDisk()
	n.garbage, n.prefixOf, n.noFsync, n.noSync = d.garbage, d.prefixOf, d.noFsync, d.noSync
	for name, i := range names {
		j := &inode{bytes: i.durable, durable: i.durable}
		n.now[name], n.durable[name] = j, j
	}
	return n
}

func state(e *Entry) string {
	if e == nil {
		return "absent"
	}
	return fmt.Sprint("seq ", e.Seq, " run ", e.Run != nil)
}

// journalMachine drives a FileStore over a disk that fails and crashes, and returns what is wrong when after a start an entry is none that may be there. pick chooses a
// number below n.
func journalMachine(pick func(n int) int, prepare func(*strictDisk)) error {
	disk := newStrictDisk()
	disk.garbage = func(n int) []byte { return bytes.Repeat([]byte{byte(pick(256))}, pick(n)) }
	disk.prefixOf = func(n int) int { return pick(n + 1) }
	prepare(disk)
	allowed := map[message.Ref]map[string]bool{}
	refs := []message.Ref{{Command: "a", Attempt: 1}, {Command: "b", Attempt: 1}, {Command: "b", Attempt: 2}}
	for _, r := range refs {
		allowed[r] = map[string]bool{"absent": true}
	}
	var store *FileStore
	load := func() error {
		store = &FileStore{disk: disk}
		entries, err := store.Load()
		if err != nil {
			return err
		}
		found := map[message.Ref]*Entry{}
		for i := range entries {
			found[entries[i].Ref] = &entries[i]
		}
		for _, r := range refs {
			got := state(found[r])
			if !allowed[r][got] {
				return fmt.Errorf("%v is %s, allowed are %v", r, got, slices.Sorted(maps.Keys(allowed[r])))
			}
			allowed[r] = map[string]bool{got: true}
		}
		return nil
	}
	if err := load(); err != nil {
		return err
	}
	for seq := range pick(40) {
		var err error
		r := refs[pick(len(refs))]
		switch what := pick(10); {
		case what < 6:
			e := Entry{Ref: r, Seq: uint64(seq) + 1, Detail: message.DetailInProgress}
			if pick(5) > 0 {
				e.Run = &message.Run{Ref: r, Document: bytes.Repeat([]byte("d"), pick(200))}
			}
			if pick(2) > 0 {
				left, how := pick(7), []mishap{fails, crashBefore, crashAmid}[pick(3)]
				disk.fail = func(string) mishap {
					if left--; left == -1 {
						return how
					}
					return fine
				}
			}
			put := store.Put(&e)
			disk.fail = func(string) mishap { return fine }
			if put == nil {
				allowed[r] = map[string]bool{state(&e): true}
			} else {
				allowed[r][state(&e)] = true
			}
		case what < 7:
			if store.Delete(r) == nil {
				allowed[r]["absent"] = true
			}
		case what < 8: // the agent alone starts again: the machine's memory keeps everything
			if !disk.crashed {
				err = load()
			}
		default: // power cut
			disk = disk.reboot(func() bool { return pick(2) > 0 })
			err = load()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestTheJournalKeepsWhatItPromised(t *testing.T) { // law 4, F4, F5
	rapid.Check(t, func(t *rapid.T) {
		err := journalMachine(func(n int) int { return rapid.IntRange(0, max(n-1, 0)).Draw(t, "pick") }, func(*strictDisk) {})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheJournalKeepsWhatItPromisedAtRandom(t *testing.T) {
	t.Parallel()
	seeds := 12000
	switch {
	case testing.Short():
		seeds = 1000
	case testenv.Long():
		seeds = 50000
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		require.NoError(t, journalMachine(func(n int) int { return rng.IntN(max(n, 1)) }, func(*strictDisk) {}), "seed %d", seed)
	}
}

func TestTheJournalsTestBites(t *testing.T) { // G17
	for name, prepare := range map[string]func(*strictDisk){
		"bytes are not synced": func(d *strictDisk) { d.noFsync = true },
		"names are not synced": func(d *strictDisk) { d.noSync = true },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range 3000 {
				rng := rand.New(rand.NewPCG(uint64(seed), 1))
				if err := journalMachine(func(n int) int { return rng.IntN(max(n, 1)) }, prepare); err != nil {
					t.Logf("caught at seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("not caught")
		})
	}
}

func testEntry(n int) Entry {
	e := Entry{Ref: message.Ref{Command: fmt.Sprint("c", n), Attempt: 1}, Run: &message.Run{Document: []byte("doc"), Parameters: map[string][]string{"a": {"b"}}}, Arrived: dawn, Expires: dawn.Add(time.Hour), Seq: 7,
		Detail: message.DetailInProgress, ExitCode: -1, Steps: []StepEntry{{StepReport: message.StepReport{Name: "s", Status: message.InProgress, Reboots: 2, Stdout: message.Stream{Size: 5}}, Acked: [2]int64{3, 0}}}}
	e.Run.Ref = e.Ref
	return e
}

func TestFileStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	s, err := OpenFileStore(dir)
	require.NoError(t, err)
	got, err := s.Load()
	require.NoError(t, err)
	require.Empty(t, got)
	want := map[message.Ref]Entry{}
	for i := range 5 {
		e := testEntry(i)
		require.NoError(t, s.Put(&e))
		for range 3 {
			e.Seq++
			require.NoError(t, s.Put(&e))
		}
		want[e.Ref] = e
	}
	e := want[message.Ref{Command: "c1", Attempt: 1}]
	e = e.tombstone()
	require.NoError(t, s.Put(&e))
	want[e.Ref] = e
	require.NoError(t, s.Delete(message.Ref{Command: "c2", Attempt: 1}))
	require.NoError(t, s.Delete(message.Ref{Command: "c2", Attempt: 1}))
	delete(want, message.Ref{Command: "c2", Attempt: 1})
	require.NoError(t, s.Close())

	// What a crash may leave beside.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.tmp"), []byte("half"), 0o600))
	file := filepath.Join(dir, refHash(message.Ref{Command: "c3", Attempt: 1})+".j")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(b, 0, 0, 1, 0, 9, 9), 0o600))
	for range 2 {
		s, err = OpenFileStore(dir)
		require.NoError(t, err)
		got, err = s.Load()
		require.NoError(t, err)
		have := map[message.Ref]Entry{}
		for _, e := range got {
			have[e.Ref] = e
		}
		require.Empty(t, cmp.Diff(want, have))
		e := have[message.Ref{Command: "c3", Attempt: 1}]
		e.Seq++
		require.NoError(t, s.Put(&e))
		want[e.Ref] = e
		require.NoError(t, s.Close())
	}
}

func TestAFullDiskIsAnError(t *testing.T) { // F4
	d := newStrictDisk()
	d.garbage, d.prefixOf = func(int) []byte { return []byte("##") }, func(n int) int { return n / 2 }
	s := &FileStore{disk: d}
	_, err := s.Load()
	require.NoError(t, err)
	e := testEntry(1)
	d.fail = func(op string) mishap {
		if op == "create" || op == "append" {
			return fails
		}
		return fine
	}
	require.ErrorIs(t, s.Put(&e), syscall.ENOSPC)
	names, _ := d.Names()
	require.Empty(t, names, "nothing half-made stays")
	d.fail = func(string) mishap { return fine }
	require.NoError(t, s.Put(&e))
}

// TestDamageIsNoticed flips every bit of a journal file (F6): what is read is a state that was written, or known to be damaged, never something else.
func TestDamageIsNoticed(t *testing.T) {
	d := newStrictDisk()
	s := &FileStore{disk: d}
	_, err := s.Load()
	require.NoError(t, err)
	e := testEntry(1)
	written := map[string]bool{}
	for range 3 {
		require.NoError(t, s.Put(&e))
		written[fmt.Sprintf("%+v", mustRead(t, d))] = true
		e.Seq++
		e.Steps[0].Status = message.Success
	}
	name := refHash(e.Ref) + journalSuffix
	good := d.now[name].bytes
	for bit := range 8 * len(good) {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		got, _, known := decodeJournal(b)
		switch {
		case !known: // set aside under its name: the reference never starts
		case got.Run == nil && got.Ref == e.Ref && got.Detail == message.DetailInProgress: // Interrupted
		default:
			require.True(t, written[fmt.Sprintf("%+v", jsonOf(t, got))], "bit %d", bit)
		}
	}
	for cut := range len(good) {
		got, _, known := decodeJournal(good[:cut])
		if known && got.Run != nil {
			require.True(t, written[fmt.Sprintf("%+v", jsonOf(t, got))], "cut at %d", cut)
		}
	}
	testenv.Figure(t, "bits flipped and bytes cut off in an agent's journal", 9*len(good), 0)
	// Wholly unreadable: nothing of that name can start.
	d.now[name].bytes = []byte("nonsense")
	s = &FileStore{disk: d}
	all, err := s.Load()
	require.NoError(t, err)
	require.Empty(t, all)
	require.Equal(t, 1, s.Damaged())
	require.ErrorIs(t, s.Put(&e), ErrDamaged)
	other := testEntry(2)
	require.NoError(t, s.Put(&other))
	s = &FileStore{disk: d}
	all, err = s.Load()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.ErrorIs(t, s.Put(&e), ErrDamaged)
}

func mustRead(t *testing.T, d *strictDisk) string {
	for name, i := range d.now {
		if strings.HasSuffix(name, journalSuffix) {
			e, _, known := decodeJournal(i.bytes)
			require.True(t, known)
			return jsonOf(t, e)
		}
	}
	t.Fatal("no file")
	return ""
}

func jsonOf(t *testing.T, e Entry) string {
	run := ""
	if e.Run != nil {
		run = fmt.Sprintf("%+v", *e.Run)
	}
	e.Run = nil
	return fmt.Sprintf("%+v %s", e, run)
}

// neither does a link from one name in the directory to another lead anywhere.
func TestALinkBetweenFilesOfTheDirectoryIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	d, err := openDir(dir)
	require.NoError(t, err)
	require.NoError(t, d.Create("real", []byte("as it was")))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	_, err = d.Read("link")
	require.Error(t, err)
	require.Error(t, d.Append("link", 0, []byte("changed")))
	require.Error(t, d.Create("link", []byte("changed")))
	got, err := d.Read("real")
	require.NoError(t, err)
	require.Equal(t, "as it was", string(got))
}

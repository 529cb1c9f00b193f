package gather

import (
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/fault"
)

// FileJournal keeps the state in a file of that path, which it replaces as a whole: written aside, flushed, renamed. Its directory is made when it is needed, mode 0700. The file holds
// hashes only.
type FileJournal string

// maxJournal bounds what is read: 40 types of 10,000 entries.
const maxJournal = 32 << 20

// journalFile is the file's JSON.
type journalFile struct {
	Version int
	CRC     uint32 // of State, CRC-32C
	State   json.RawMessage
}

// Load implements Journal. A file that is damaged or of another version counts as none.
func (j FileJournal) Load(context.Context) (State, error) {
	info, err := os.Stat(string(j))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxJournal {
		return nil, nil
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(string(j))
	}
	if err != nil {
		return nil, fault.New("gather.Load", fault.ServiceUnavailable, "the inventory journal cannot be read: %v", plain(err))
	}
	var f journalFile
	var s State
	if json.Unmarshal(b, &f) != nil || f.Version != 1 || crc32.Checksum(f.State, crc32.MakeTable(crc32.Castagnoli)) != f.CRC || json.Unmarshal(f.State, &s) != nil {
		return nil, nil
	}
	return s, nil
}

// Save implements Journal.
func (j FileJournal) Save(_ context.Context, s State) error {
	if err := j.save(s); err != nil {
		return fault.New("gather.Save", fault.ServiceUnavailable, "the inventory journal cannot be written: %v", plain(err))
	}
	return nil
}

func (j FileJournal) save(s State) (err error) {
	state, err := json.Marshal(s)
	if err != nil {
		return err
	}
	b, err := json.Marshal(journalFile{1, crc32.Checksum(state, crc32.MakeTable(crc32.Castagnoli)), state})
	if err != nil {
		return err
	}
	dir := filepath.Dir(string(j))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(string(j))+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), string(j))
	}
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck // the first error counts
		return err
	}
	if d, err := os.Open(dir); err == nil {
		d.Sync()  //nolint:errcheck // not every filesystem can
		d.Close() //nolint:errcheck // read only
	}
	return nil
}

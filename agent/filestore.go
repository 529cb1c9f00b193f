package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/message"
)

// The journal's files: one for each reference, named by a hash of it (rule R-06), made of frames:
//
//	"fwj1\n" | frame of the reference | frame of the whole entry | frames of newer states, which lack the Run
//
// A frame is the length of its payload (4 bytes, big endian), the CRC-32C of length and payload (4 bytes), and the payload, which is JSON. A file is written whole under another
// name and made durable before it gets its own; newer states are appended and made durable one by one. So what can be torn is the last frame alone, and that was
// never promised to anybody.
const (
	journalMagic  = "fwj1\n"
	journalSuffix = ".j"
	journalBad    = ".bad"
	journalTemp   = ".tmp"
	journalGrowth = 64 << 10 // bytes of appended states after which a file is written anew
	maxFrame      = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// disk is what the journal needs of a directory. Names are plain. A real one is dirDisk; tests have one that loses what was not made durable.
type disk interface {
	Names() ([]string, error)
	Read(name string) ([]byte, error)
	// Create writes a new file and makes its bytes durable, not its name. An existing file is an error.
	Create(name string, data []byte) error
	// Append writes at the offset, cutting off what is behind it, and makes the bytes durable.
	Append(name string, offset int64, data []byte) error
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes names durable.
	Sync() error
}

// FileStore is a Store of files in one directory. See OpenFileStore.
type FileStore struct {
	disk  disk
	files map[string]*journalFile // by hash
	bad   map[string]bool         // hashes whose file cannot be read
}

type journalFile struct {
	ref     message.Ref
	hasRun  bool
	size    int64 // of the frames that are known good
	growth  int64
	rewrite bool // something unknown follows: write it anew
}

// OpenFileStore opens the journal in a directory, which it makes with mode 0700 when there is none. Files have mode 0600.
func OpenFileStore(dir string) (*FileStore, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	return &FileStore{disk: d}, nil
}

// Close closes the directory.
func (s *FileStore) Close() error {
	if d, ok := s.disk.(*dirDisk); ok {
		return d.root.Close()
	}
	return nil
}

// refHash returns the name of a reference on disk.
func refHash(r message.Ref) string {
	sum := sha256.Sum256([]byte(r.Command + "\x00" + strconv.Itoa(r.Attempt)))
	return hex.EncodeToString(sum[:16])
}

func frame(to []byte, payload []byte) []byte {
	var head [8]byte
	binary.BigEndian.PutUint32(head[:4], uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(head[:4], castagnoli), castagnoli, payload)
	binary.BigEndian.PutUint32(head[4:], sum)
	return append(append(to, head[:]...), payload...)
}

// nextFrame returns the payload of the first frame of b and how long the frame is; ok is false when it is not whole.
func nextFrame(b []byte) (payload []byte, n int, ok bool) {
	if len(b) < 8 {
		return nil, 0, false
	}
	size := int(binary.BigEndian.Uint32(b))
	if size > maxFrame || size > len(b)-8 {
		return nil, 0, false
	}
	payload = b[8 : 8+size]
	sum := crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, payload)
	return payload, 8 + size, sum == binary.BigEndian.Uint32(b[4:8])
}

// decodeJournal reads a file. known is false when not even its reference can be read. good is how many of its bytes are whole frames.
func decodeJournal(b []byte) (e Entry, good int64, known bool) {
	rest, ok := bytes.CutPrefix(b, []byte(journalMagic))
	if !ok {
		return Entry{}, 0, false
	}
	pos := len(journalMagic)
	p, n, ok := nextFrame(rest)
	if !ok || json.Unmarshal(p, &e.Ref) != nil || e.Command == "" {
		return Entry{}, 0, false
	}
	ref := e.Ref
	rest, pos = rest[n:], pos+n
	damaged := func() (Entry, int64, bool) {
		return Entry{Ref: ref, Detail: message.DetailInProgress, ExitCode: -1}, 0, true
	}
	p, n, ok = nextFrame(rest)
	if !ok {
		return damaged()
	}
	if json.Unmarshal(p, &e) != nil || e.Ref != ref {
		return damaged()
	}
	rest, pos = rest[n:], pos+n
	run := e.Run
	for {
		p, n, ok = nextFrame(rest)
		if !ok {
			break
		}
		next := Entry{}
		if json.Unmarshal(p, &next) != nil || next.Ref != ref {
			break
		}
		e = next
		e.Run = run
		rest, pos = rest[n:], pos+n
	}
	return e, int64(pos), true
}

// Load implements Store. Half-made files are removed; a file whose very reference cannot be read is kept under another name, and what it is named after never starts.
func (s *FileStore) Load() ([]Entry, error) {
	names, err := s.disk.Names()
	if err != nil {
		return nil, fmt.Errorf("agent: reading the journal: %w", err)
	}
	s.files, s.bad = map[string]*journalFile{}, map[string]bool{}
	var all []Entry
	for _, name := range names {
		hash, isEntry := strings.CutSuffix(name, journalSuffix)
		switch {
		case strings.HasSuffix(name, journalTemp):
			if err := s.disk.Remove(name); err != nil {
				return nil, fmt.Errorf("agent: cleaning the journal: %w", err)
			}
			continue
		case strings.HasSuffix(name, journalBad):
			s.bad[strings.TrimSuffix(name, journalBad)] = true
			continue
		case !isEntry:
			continue
		}
		b, err := s.disk.Read(name)
		if err != nil {
			return nil, fmt.Errorf("agent: reading the journal: %w", err)
		}
		e, good, known := decodeJournal(b)
		if !known || refHash(e.Ref) != hash {
			s.bad[hash] = true
			if err := s.disk.Rename(name, hash+journalBad); err != nil {
				return nil, fmt.Errorf("agent: setting a damaged record of the journal aside: %w", err)
			}
			continue
		}
		s.files[hash] = &journalFile{ref: e.Ref, hasRun: e.Run != nil, size: good, growth: good, rewrite: good != int64(len(b))}
		all = append(all, e)
	}
	return all, s.disk.Sync()
}

// Damaged returns how many files of the journal cannot be read at all.
func (s *FileStore) Damaged() int { return len(s.bad) }

// Put implements Store.
func (s *FileStore) Put(e *Entry) error {
	hash := refHash(e.Ref)
	if s.bad[hash] {
		return ErrDamaged
	}
	f := s.files[hash]
	if f != nil && f.hasRun == (e.Run != nil) && !f.rewrite && f.growth < journalGrowth {
		state := *e
		state.Run = nil
		p, err := json.Marshal(&state)
		if err != nil {
			return fmt.Errorf("agent: writing the journal: %w", err)
		}
		b := frame(nil, p)
		if err := s.disk.Append(hash+journalSuffix, f.size, b); err != nil {
			f.rewrite = true // what the file holds behind the known frames is not known any more (fsyncgate)
			return fmt.Errorf("agent: writing the journal: %w", err)
		}
		f.size += int64(len(b))
		f.growth += int64(len(b))
		return nil
	}
	return s.replace(hash, e)
}

// replace writes an entry's file anew.
func (s *FileStore) replace(hash string, e *Entry) error {
	ref, err := json.Marshal(e.Ref)
	if err != nil {
		return fmt.Errorf("agent: writing the journal: %w", err)
	}
	p, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("agent: writing the journal: %w", err)
	}
	b := frame(frame([]byte(journalMagic), ref), p)
	temp := hash + journalTemp
	err = s.disk.Create(temp, b)
	if errors.Is(err, fs.ErrExist) {
		if err = s.disk.Remove(temp); err == nil {
			err = s.disk.Create(temp, b)
		}
	}
	if err == nil {
		err = s.disk.Rename(temp, hash+journalSuffix)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("agent: writing the journal: %w", err), ignoreMissing(s.disk.Remove(temp)))
	}
	// From here on the file may be there after a crash, or not: whoever puts next writes it anew unless its name is durable.
	f := &journalFile{ref: e.Ref, hasRun: e.Run != nil, size: int64(len(b)), rewrite: true}
	s.files[hash] = f
	if err := s.disk.Sync(); err != nil {
		return fmt.Errorf("agent: writing the journal: %w", err)
	}
	f.rewrite = false
	return nil
}

// Delete implements Store.
func (s *FileStore) Delete(ref message.Ref) error {
	hash := refHash(ref)
	if s.files[hash] == nil {
		return nil
	}
	delete(s.files, hash)
	return ignoreMissing(s.disk.Remove(hash + journalSuffix))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

package agent

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/fleetwright/fleetwright/message"
)

// spool keeps one stream of a step on disk, up to a limit. Writing never fails: what cannot be kept is counted. It is safe for one writer and any readers.
type spool struct {
	mu      sync.Mutex
	f       *os.File
	head    []byte
	most    int // bytes of head
	size    int64
	limit   int64
	dropped int64
	room    func() bool         // whether the disk has room; asked now and then
	share   func(n int64) int64 // takes up to n bytes of what the whole node may keep, and returns how many; nil is n
	unasked int64
	changed bool
}

func spoolName(step, err int) string { return strconv.Itoa(step) + [2]string{".out", ".err"}[err] }

// openSpool opens a step's stream, going on where an earlier run of the same step (before a reboot) ended.
func openSpool(dir *os.Root, step, err int, limit int64, room func() bool, share func(n int64) int64) (*spool, error) {
	f, e := openFile(dir, spoolName(step, err), os.O_RDWR|os.O_CREATE, 0o600)
	if e != nil {
		return nil, e
	}
	s := &spool{f: f, most: headLimit(err), limit: limit, room: room, share: share}
	if info, e := f.Stat(); e == nil && info.Size() > 0 {
		s.size = info.Size()
		s.head = make([]byte, min(s.size, int64(s.most)))
		n, _ := f.ReadAt(s.head, 0)
		s.head = s.head[:n]
	}
	return s, nil
}

// Write implements io.Writer.
func (s *spool) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = true
	keep := b[:max(0, min(int64(len(b)), s.limit-s.size))]
	if s.unasked += int64(len(keep)); s.unasked > 1<<20 && s.room != nil {
		s.unasked = 0
		if !s.room() {
			keep = nil
			s.limit = s.size // it stays so: output has no holes
		}
	}
	if s.share != nil && len(keep) > 0 {
		if got := s.share(int64(len(keep))); got < int64(len(keep)) {
			keep = keep[:got]
			s.limit = s.size + got // likewise
		}
	}
	n := 0
	if len(keep) > 0 {
		var err error
		if n, err = s.f.WriteAt(keep, s.size); err != nil {
			s.limit = s.size + int64(n)
		}
		if want := s.most - len(s.head); want > 0 {
			s.head = append(s.head, keep[:min(want, n)]...)
		}
	}
	s.size += int64(n)
	s.dropped += int64(len(b) - n)
	return len(b), nil
}

// state returns what a report needs, and whether anything changed since the last time.
func (s *spool) state() (Output, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.changed
	s.changed = false
	return Output{Head: append([]byte(nil), s.head...), Size: s.size, Dropped: s.dropped}, changed
}

func (s *spool) close() error { return s.f.Close() }

// spooled returns what lies on disk of a step's stream; nothing when there is none.
func spooled(dir *os.Root, step, err int) Output {
	f, e := openFile(dir, spoolName(step, err), os.O_RDONLY, 0)
	if e != nil {
		return Output{}
	}
	defer f.Close() //nolint:errcheck // read only
	info, e := f.Stat()
	if e != nil {
		return Output{}
	}
	head := make([]byte, min(info.Size(), int64(headLimit(err))))
	n, e := f.ReadAt(head, 0)
	if e != nil && !errors.Is(e, io.EOF) {
		return Output{}
	}
	return Output{Head: head[:n], Size: info.Size()}
}

// piece reads a piece of a step's stream.
func piece(dir *os.Root, step, err int, offset int64, length int) ([]byte, error) {
	f, e := openFile(dir, spoolName(step, err), os.O_RDONLY, 0)
	if e != nil {
		return nil, e
	}
	defer f.Close() //nolint:errcheck // read only
	b := make([]byte, min(length, message.MaxPiece))
	if _, e := io.ReadFull(io.NewSectionReader(f, offset, int64(len(b))), b); e != nil {
		return nil, e
	}
	return b, nil
}
